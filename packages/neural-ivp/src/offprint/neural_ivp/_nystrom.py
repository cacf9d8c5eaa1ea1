"""Randomised Nystrom approximation of a positive semi-definite matrix, and the preconditioner made of it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from offprint.neural_ivp._products import at_highest_precision, one_by_one


class Nystrom(NamedTuple):
    """M ≈ U diag(lam) Uᵀ, lam descending; `...` are matrices approximated side by side."""

    U: Float[Array, "... p rank"]
    lam: Float[Array, "... rank"]
    shift: Float[Array, "..."]
    """ν, added to M while it was approximated and taken off lam again."""


@at_highest_precision
def nystrom(
    matmat: Callable[[Array], Array],
    p: int | tuple[int, ...],
    rank: int,
    key: Key[Array, ""] | Float[Array | np.ndarray, "... p rank"],
    eps: float | int | None = None,
    dtype: Any = None,
) -> Nystrom:
    """The randomised Nystrom approximation of M from products with `rank` random vectors.

        Q = orth(Ω),  Y = M Q,  ν = eps ‖Y‖_F,  B = (Y + ν Q) C⁻ᵀ with C Cᵀ = Qᵀ (Y + ν Q),  B = U s Vᵀ,  lam = s² - ν

    Instead of the singular values of the tall B, the eigenvalues of Bᵀ B (rank x rank) are taken, and Q comes from
    those of Ωᵀ Ω rather than from a QR decomposition, unless the columns of Ω are nearly dependent. Where rounding
    leaves Qᵀ Y without a Cholesky factor, its eigenvalues that are not positive are left out.

    Args:
        matmat: V (..., p, rank) -> M V.
        p: the size of M; or (B, p) for B matrices at once.
        rank: r <= p. With r >= 2⌈1.5 d_eff(a)⌉ + 1 the preconditioned matrix is well conditioned; below d_eff(a)
            the iterations rise fast.
        key: makes Ω ~ N(0, 1); or Ω itself.
        eps: relative shift; None for 1e-8. At least √p times the rounding unit is taken.
        dtype: of Ω where a key makes it; None for float64 with x64, else float32.

    Returns:
        U, lam, shift. The largest lam is an estimate, from below, of the largest eigenvalue.

    Raises:
        ValueError: a rank above p or below 1, an Ω of another shape.

    Source: Frangella, Tropp and Udell (2023), arXiv 2110.02820, whose sketch the authors' code uses.
    """
    shape = (p,) if isinstance(p, int) else tuple(p)
    if not 1 <= rank <= shape[-1]:
        raise ValueError(f"rank={rank}; between 1 and p={shape[-1]} is needed")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        omega = jax.random.normal(key, (*shape, rank), jnp.result_type(float) if dtype is None else dtype)
    else:
        omega = jnp.asarray(key)
        if omega.shape != (*shape, rank):
            raise ValueError(f"the test matrix has shape {omega.shape}; {(*shape, rank)} is needed")
    stacked = (-1, shape[-1], rank)
    Q = one_by_one(_orthonormal, omega.reshape(stacked))
    Y = matmat(Q.reshape(omega.shape)).reshape(stacked)
    result = one_by_one(lambda q, y: Nystrom(*_approximation(q, y, eps)), Q.astype(Y.dtype), Y)
    return Nystrom(*(part.reshape(*shape[:-1], *part.shape[1:]) for part in result))


def _orthonormal(omega: Array) -> Array:
    """Orthonormal columns with the span of Ω: an eighth of the time of a QR decomposition where p is large."""
    d, W = jnp.linalg.eigh(omega.T @ omega)
    # Qᵀ Q is I to rounding times the condition of Ωᵀ Ω, which for p >> r normal columns is about 1
    well = d[0] > 1e-3 * d[-1]
    return jax.lax.cond(well, lambda: omega @ (W * jax.lax.rsqrt(d)), lambda: jnp.linalg.qr(omega)[0])


def _approximation(Q: Array, Y: Array, eps: float | None) -> tuple[Array, Array, Array]:
    """U, lam and the shift of one matrix from Q and Y = M Q."""
    p, rank = Y.shape
    unit = float(jnp.finfo(Y.dtype).eps)
    shift = max(1e-8 if eps is None else eps, math.sqrt(p) * unit) * jnp.sqrt(jnp.sum(jnp.square(Y)))
    Y = Y + shift * Q
    B = _whitened(Y, _symmetric(Q.T @ Y), unit)
    squares, V = jnp.linalg.eigh(_symmetric(B.T @ B))
    squares, V = squares[::-1], V[:, ::-1]
    kept = squares > rank * unit * squares[0]  # what is left out has lam = 0 and no direction
    scaled = jnp.where(kept, V / jnp.sqrt(jnp.where(kept, squares, 1)), 0)
    U = jnp.einsum("rs,pr->sp", scaled, B).T  # held by columns of U, which the preconditioner goes through fastest
    return U, jnp.where(kept, jnp.maximum(squares - shift, 0), 0), shift


def _whitened(Y: Array, core: Array, unit: float) -> Array:
    """Y C⁻ᵀ with C Cᵀ = core, or the like from the eigenvalues of core that are positive."""

    def by_cholesky(_: None) -> Array:
        return jax.lax.linalg.triangular_solve(C, Y, left_side=False, lower=True, transpose_a=True)

    def by_eigenvalues(_: None) -> Array:
        d, W = jnp.linalg.eigh(core)
        positive = d > d.shape[0] * unit * d[-1]
        return (Y @ W) * jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, d, 1)), 0)

    C = jnp.linalg.cholesky(core, symmetrize_input=False)
    return jax.lax.cond(jnp.isfinite(C).all(), by_cholesky, by_eigenvalues, None)


def _symmetric(A: Array) -> Array:
    return (A + A.T) / 2


@at_highest_precision
def nystrom_apply(
    nys: Nystrom, a: Float[Array | np.ndarray, "..."] | float | int, z: Float[Array | np.ndarray, "... p"]
) -> Float[Array, "... p"]:
    """The preconditioner P⁻¹ z = z + U ((lam_r + a) / (lam + a) - 1) Uᵀ z, about (lam_r + a) (M + a I)⁻¹ z.

    Args:
        nys: the approximation of M.
        a: the regularisation, above 0; one number, or one for each matrix.
        z: vectors (..., p).

    Source: Frangella, Tropp and Udell (2023), arXiv 2110.02820.
    """
    return preconditioner(nys, a)(jnp.asarray(z))


def preconditioner(nys: Nystrom, a: Any) -> Callable[[Array], Array]:
    """`nystrom_apply` for many vectors one after another, with what they share done before: z (..., p) -> P⁻¹ z."""
    a = jnp.asarray(a)[..., None]
    factors = (nys.lam[..., -1:] + a) / (nys.lam + a) - 1
    # made outside the loop: inside, XLA would turn U over in each iteration
    rows = nys.U.mT.reshape(-1, *nys.U.mT.shape[-2:])
    factors = factors.reshape(-1, factors.shape[-1])

    @at_highest_precision
    def apply(z: Array) -> Array:
        # matrix times vector, block by block: several times faster on the CPU than a batch of them
        parts = zip(rows, factors, z.reshape(-1, z.shape[-1]))
        return jnp.stack([part + (factor * (Ut @ part)) @ Ut for Ut, factor, part in parts]).reshape(z.shape)

    return apply
