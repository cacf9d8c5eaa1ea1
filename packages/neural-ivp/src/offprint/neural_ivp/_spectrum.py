"""Eigenvalues of M and what they say: effective dimension, condition number."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from offprint.neural_ivp._linear_maps import LinearMaps
from offprint.neural_ivp._nystrom import nystrom
from offprint.neural_ivp._products import at_highest_precision, one_by_one

LANCZOS_STEPS = 40


def effective_dimension(
    lam: Float[Array | np.ndarray, "... n"], a: Float[Array | np.ndarray, "..."] | float | int
) -> Float[Array, "..."]:
    """d_eff(a) = Σ_j λ_j / (λ_j + a): how many directions the regularisation a leaves free.

    Args:
        lam: eigenvalues; negative ones, which are rounding, count as 0.
        a: the regularisation, above 0.
    """
    lam = jnp.maximum(jnp.asarray(lam), 0)
    return jnp.sum(lam / (lam + jnp.asarray(a)[..., None]), axis=-1)


def condition_number(
    lam: Float[Array | np.ndarray, "... n"], a: Float[Array | np.ndarray, "..."] | float | int = 0.0
) -> Float[Array, "..."]:
    """(λ_max + a) / (λ_min + a) of eigenvalues in any order; infinite where the denominator is not above 0."""
    lam = jnp.asarray(lam)
    least = lam.min(-1) + a
    return jnp.where(least > 0, (lam.max(-1) + a) / jnp.where(least > 0, least, 1), jnp.inf)


@at_highest_precision
def spectrum(maps: LinearMaps, rank: int | None = None, key: Key[Array, ""] | None = None) -> Float[Array, " n"]:
    """Eigenvalues of M, descending.

    Args:
        maps: from `linear_maps`.
        rank: None for all eigenvalues, from M itself (O(p³), by blocks); else so many of the largest of each block,
            by a Nystrom approximation, from below.
        key: for the approximation.

    Raises:
        ValueError: a rank without a key.
    """
    if rank is None:
        lam = one_by_one(jnp.linalg.eigvalsh, maps.gram())
    else:
        if key is None:
            raise ValueError("the approximation of the spectrum is random: give a key")
        lam = nystrom(block_matmat(maps), (maps.blocks, maps.num_params // maps.blocks), rank, key).lam
    return jnp.sort(lam.reshape(-1), descending=True)


def block_matmat(maps: LinearMaps) -> Callable[[Array], Array]:
    """V (B, p/B, r) -> M V for all diagonal blocks at once: between them M is 0, so one product with M does it."""

    def product(V: Array) -> Array:
        return maps.matmat(V.reshape(maps.num_params, -1)).reshape(V.shape)

    return product


def largest_eigenvalue(
    matvec: Callable[[Array], Array], size: int, dtype: Any, steps: int = LANCZOS_STEPS
) -> Float[Array, ""]:
    """λ_max of a symmetric positive semi-definite matrix, by Lanczos with full reorthogonalisation.

    The eigenvector q is held fixed for gradients and λ = qᵀ A q: its derivative is qᵀ dA q.

    Args:
        matvec: v (size,) -> A v.
        size: of A.
        dtype: of the vectors.
        steps: products, at most `size`.
    """
    steps = min(steps, size)
    start = jax.random.normal(jax.random.key(0), (size,), dtype)  # fixed: the result is a function of A alone

    def extend(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, images = carry
        image = matvec(basis[i])
        fresh = image
        for _ in range(2):  # once leaves what rounding left
            fresh = fresh - basis.T @ (basis @ fresh)
        length = jnp.linalg.norm(fresh)
        # an invariant subspace is found when nothing is left: then further vectors are 0 and change nothing
        left = length > 100 * jnp.finfo(dtype).eps * jnp.linalg.norm(image)
        fresh = jnp.where(left, fresh / jnp.where(left, length, 1), 0)
        return basis.at[i + 1].set(fresh, mode="drop"), images.at[i].set(image)

    basis = jnp.zeros((steps, size), dtype).at[0].set(start / jnp.linalg.norm(start))
    basis, images = jax.lax.fori_loop(0, steps, extend, (basis, jnp.zeros_like(basis)))
    projected = basis @ images.T
    vectors = jnp.linalg.eigh((projected + projected.T) / 2)[1]
    q = jax.lax.stop_gradient(vectors[:, -1] @ basis)
    square = q @ q  # 1, or 0 for the matrix 0
    return jnp.where(square > 0, q @ matvec(q) / jnp.where(square > 0, square, 1), 0)
