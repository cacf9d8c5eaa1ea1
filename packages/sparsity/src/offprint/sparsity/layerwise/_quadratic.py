"""The layer-wise problem: min ‖Xw' − Xw‖² for every output, one Hessian H = 2XᵀX for all of them.

Kernels are (in, out); rows of H belong to inputs. An input that is zero throughout ("dead", H_jj = 0) tells nothing
about its weights: they are set to zero and H_jj to 1, as the authors of SparseGPT do.
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Kernel = Float[Array | np.ndarray, "in out"]
Hessian = Float[Array | np.ndarray, "in in"]
EXACT = jax.lax.Precision.HIGHEST
TRIES = 3  # how often the damping is raised tenfold
LEAST = 1e-4  # what it is raised from, where none was asked for


class Pruned(NamedTuple):
    """A kernel after pruning."""

    kernel: Float[Array, "in out"]
    """The weights that are left, corrected; the removed ones are exactly 0."""
    mask: Bool[Array, "in out"]
    """True where a weight is kept."""


def reconstruction_error(kernel: Kernel, pruned: Kernel, H: Hessian) -> Float[Array, ""]:
    """½ Σ_o δ_oᵀHδ_o with δ = pruned − kernel; for H = 2XᵀX this is ‖X pruned − X kernel‖²."""
    delta = jnp.asarray(pruned) - jnp.asarray(kernel)
    return jnp.vdot(delta, jnp.matmul(jnp.asarray(H, delta.dtype), delta, precision=EXACT)) / 2


def check_problem(kernel: Kernel, H: Hessian, damp: float | int) -> None:
    """ValueError unless the Hessian has the size of the kernel's inputs; a warning of dead inputs."""
    if kernel.ndim != 2:
        raise ValueError(f"kernel must be (in, out); got shape {tuple(kernel.shape)}. `as_matrix` makes it so")
    if H.shape != (kernel.shape[0], kernel.shape[0]):
        raise ValueError(
            f"a kernel of shape {tuple(kernel.shape)} needs H of shape {(kernel.shape[0],) * 2}, inputs by inputs; "
            f"got {tuple(H.shape)}"
        )
    if damp < 0:
        raise ValueError(f"damp, a share of the mean of H's diagonal, must not be negative; got {damp:g}")
    if not is_traced(kernel, H):
        diagonal = np.diagonal(np.asarray(H))
        if not np.all(np.isfinite(diagonal)):
            raise ValueError("H is not finite: were all inputs of the calibration finite?")
        dead = np.flatnonzero(diagonal == 0)
        if dead.size:
            warnings.warn(
                f"{dead.size} of {diagonal.size} inputs are zero throughout the calibration (as {dead[:5].tolist()}); "
                "their weights are set to zero",
                stacklevel=4,
            )


def is_traced(*arrays: Any) -> bool:
    """Whether any of the arrays is abstract, under jit or vmap."""
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def widened(kernel: Kernel) -> Array:
    """The kernel in float32 at least, in which it is worked on."""
    kernel = jnp.asarray(kernel)
    return kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))


def prepare(kernel: Kernel, H: Hessian, damp: float | int) -> tuple[Array, Array]:
    """The kernel without the weights of dead inputs, and upper triangular U with UᵀU = (H + damp·mean(diag H)·I)⁻¹.

    U comes in the precision of the kernel; on the CPU it is computed in float64. Where the factorisation fails, the
    damping is raised tenfold, up to three times, with a warning (none under jit: there a failure shows as NaN).
    """
    check_problem(kernel, H, damp)
    kernel = widened(kernel)
    dtype = kernel.dtype
    dead = jnp.diagonal(jnp.asarray(H)) == 0
    kernel = jnp.where(dead[:, None], 0, kernel)
    if is_traced(H) or not _on_cpu(H):
        upper, used = _factor(jnp.asarray(H, dtype), jnp.asarray(damp, dtype))
    else:
        upper, used = _factor_on_host(np.array(H, np.float64), float(damp))
        upper = jnp.asarray(upper, dtype)
    if not is_traced(used):
        _report(float(used), float(damp), bool(jnp.all(jnp.isfinite(upper[-1]))))
    return kernel, upper


def _report(used: float, damp: float, finite: bool) -> None:
    if not finite:
        raise ValueError(
            f"H is singular even with a damping of {used:g} times its mean diagonal; collect more calibration inputs, "
            "or give a larger damp"
        )
    if used > damp * (1 + 1e-6):
        warnings.warn(
            f"H is singular with damp {damp:g}: too few calibration inputs, or inputs that depend on each other; damp "
            f"was raised to {used:g}",
            stacklevel=5,
        )


def _on_cpu(H: Hessian) -> bool:
    return isinstance(H, np.ndarray) or all(device.platform == "cpu" for device in H.devices())


def _raised(damp: Any, tries: Any) -> Any:
    """The damping after a number of failures."""
    xp = np if isinstance(damp, float) else jnp
    return xp.where(tries == 0, damp, xp.where(damp > 0, damp * 10.0**tries, LEAST * 10.0 ** (tries - 1.0)))


def _factor_on_host(H: np.ndarray, damp: float) -> tuple[np.ndarray, float]:
    diagonal = np.einsum("ii->i", H)  # a view
    diagonal[diagonal == 0] = 1
    level, used = float(np.mean(diagonal)), damp
    for tries in range(TRIES + 1):
        used = float(_raised(damp, tries))
        shifted = H[::-1, ::-1].copy()
        np.einsum("ii->i", shifted)[:] += used * level
        try:
            lower = np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            continue
        if _sound(lower, shifted):
            # H read backwards is LLᵀ, so H = RRᵀ with R upper triangular, and U = R⁻¹.
            return inverse_of_lower(lower)[::-1, ::-1], used
    return np.full_like(H, np.nan), used


def _sound(lower: Any, matrix: Any) -> Any:
    """Whether every pivot is more than rounding, beside its own diagonal: inputs may differ much in scale."""
    xp = np if isinstance(lower, np.ndarray) else jnp
    pivots = xp.diagonal(lower) ** 2
    rounding = 10 * np.sqrt(lower.shape[0]) * float(jnp.finfo(lower.dtype).eps)
    return xp.all(pivots > rounding * xp.diagonal(matrix))  # False for NaN


def inverse_of_lower(lower: np.ndarray) -> np.ndarray:
    """The inverse of a lower triangular matrix by halves, which is all matrix products."""
    n = lower.shape[0]
    if n <= 64:
        return np.tril(np.linalg.inv(lower))
    half = n // 2
    first, second = inverse_of_lower(lower[:half, :half]), inverse_of_lower(lower[half:, half:])
    result = np.zeros_like(lower)
    result[:half, :half], result[half:, half:] = first, second
    result[half:, :half] = -second @ (lower[half:, :half] @ first)
    return result


@jax.jit
def _factor(H: Array, damp: Array) -> tuple[Array, Array]:
    """The same where the matrix is, in its own precision."""
    n = H.shape[0]
    diagonal = jnp.diagonal(H)
    H = H + jnp.diag((diagonal == 0).astype(H.dtype))
    level = jnp.mean(jnp.diagonal(H))
    eye = jnp.eye(n, dtype=H.dtype)

    def attempt(tries: Array) -> Array:
        return jnp.linalg.cholesky(jnp.flip(H + (_raised(damp, tries) * level).astype(H.dtype) * eye))

    def bad(state: tuple[Array, Array]) -> Array:
        lower, tries = state
        return ~_sound(lower, jnp.flip(H)) & (tries < TRIES)

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        return attempt(state[1] + 1), state[1] + 1

    lower, tries = jax.lax.while_loop(bad, again, (attempt(jnp.int32(0)), jnp.int32(0)))
    inverse = jax.lax.linalg.triangular_solve(lower, eye, left_side=True, lower=True)
    return jnp.flip(inverse), _raised(damp, tries)
