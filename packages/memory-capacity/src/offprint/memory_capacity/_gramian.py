"""The controllability Gramian: the covariance of the state of a linear network under white input."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.linalg import solve_discrete_lyapunov

from offprint.memory_capacity._network import check_mask, check_matrix, check_radius, concrete


def gramian(
    A: ArrayLike, C: ArrayLike, method: Literal["doubling", "lyapunov"] | str = "doubling"
) -> Float[Array, "N N"]:
    """Γ = Σ_j A^j C Cᵀ (Aᵀ)^j, the solution of Γ = A Γ Aᵀ + C Cᵀ, of shape (N, N).

    Args:
        A: (N, N) reservoir matrix with spectral radius below 1; C: (N,) input mask.
        method: `"doubling"` repeats Γ ← P Γ Pᵀ + Γ, P ← P² until ‖P‖ is below eps, as the paper's code does;
            `"lyapunov"` solves the Stein equation by SciPy on the host (not inside `jit`).

    Raises:
        ValueError: wrong shapes or values, a spectral radius of 1 or more, an unknown method, or `"lyapunov"`
            inside `jit`.

    cond(Γ) is the square of the Krylov matrix's condition, so a memory curve through Γ⁻¹ loses twice the digits.
    """
    if method not in ("doubling", "lyapunov"):
        raise ValueError(f"method must be 'doubling' or 'lyapunov', got {method!r}.")
    matrix = check_matrix(A)
    mask = check_mask(C, matrix.shape[0], matrix.dtype)
    value, vector = concrete(matrix), concrete(mask)
    if value is not None:
        check_radius(float(np.abs(np.linalg.eigvals(value)).max()))
    if method == "doubling":
        return doubling_gramian(matrix, mask)
    if value is None or vector is None:
        raise ValueError("method='lyapunov' runs on the host and can't be used inside jit; use 'doubling'.")
    return jnp.asarray(solve_discrete_lyapunov(value, np.outer(vector, vector)), matrix.dtype)


# Each pass squares the power of A: after 60 passes it stands at 2**60, far beyond any usable spectral radius.
_PASSES = 60


@jax.jit
def doubling_gramian(A: Float[Array, "N N"], C: Float[Array, "N"]) -> Float[Array, "N N"]:
    """`gramian` by doubling, differentiable in A and C."""

    # The doubling loop has no derivative of its own. The equation is linear in its right-hand side, and its
    # transpose is the same equation with Aᵀ: that is all JAX needs to know.
    def residual(gamma: Array) -> Array:
        return gamma - A @ gamma @ A.T

    def solve(_: object, right: Array) -> Array:
        return _sum_of_powers(A, right)

    def solve_transposed(_: object, right: Array) -> Array:
        return _sum_of_powers(A.T, right)

    return jax.lax.custom_linear_solve(residual, jnp.outer(C, C), solve, solve_transposed)


def _sum_of_powers(A: Array, W: Array) -> Array:
    """Σ_j A^j W (Aᵀ)^j."""
    eps = jnp.finfo(A.dtype).eps

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, P, passes = carry
        return (jnp.linalg.norm(P) > eps) & (passes < _PASSES)

    def double(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        gamma, P, passes = carry
        return P @ gamma @ P.T + gamma, P @ P, passes + 1

    return jax.lax.while_loop(unfinished, double, (W, A, jnp.asarray(0)))[0]
