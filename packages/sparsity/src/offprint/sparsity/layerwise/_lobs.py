"""L-OBS (Dong et al. 2017): the optimal brain surgeon for a layer, with one inverse for all removals."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from offprint.sparsity._counts import n_prune
from offprint.sparsity._mask import masks_by_count
from offprint.sparsity._obs import joint_removal
from offprint.sparsity.layerwise._choice import Rounding, check_choice
from offprint.sparsity.layerwise._quadratic import EXACT, Hessian, Kernel, Pruned, prepare


def lobs(
    kernel: Kernel,
    H: Hessian,
    sparsity: float | int,
    *,
    update: Literal["sweep", "joint"] = "sweep",
    damp: float | int = 1e-6,
    rounding: Rounding = "nearest",
) -> Pruned:
    """Remove the weights of least w²/[H⁻¹]_qq over the whole kernel, all ranked at the start.

    Args:
        kernel: weights.
        H: 2XᵀX of the layer's inputs; see `collect`.
        sparsity: share of all weights of the kernel that is removed.
        update: 'sweep' removes one after the other, each with the single-weight correction from the inverse of the full
            Hessian, as the authors' code does, so that later corrections disturb earlier zeros, which are set to zero
            at the end; 'joint' solves for the kept weights of every output exactly.
        damp: share of the mean of H's diagonal that is added to it.
        rounding: of the number removed.

    Returns:
        Kernel and mask. Works under jit and vmap, in the precision of the kernel (float32 at least).

    Raises:
        ValueError: a sparsity outside [0, 1), an unknown update, shapes that do not fit, a singular H.

    Source: dong2017lobs, and the ranking and the sweep of the authors' code.
    """
    check_choice(sparsity, None, kernel.shape[0])
    if update not in ("sweep", "joint"):
        raise ValueError(f"update must be 'sweep' or 'joint'; got {update!r}")
    weights, upper = prepare(kernel, H, damp)
    pruned, mask = _lobs(weights, upper, weights.size - n_prune(weights.size, sparsity, rounding), update)
    return Pruned(pruned.astype(kernel.dtype), mask)


@partial(jax.jit, static_argnums=(2, 3))
def _lobs(weights: Array, upper: Array, kept: int, update: str) -> tuple[Array, Array]:
    inverse = jnp.matmul(upper.T, upper, precision=EXACT)
    diagonal = jnp.diagonal(inverse)
    score = weights**2 / diagonal[:, None]
    mask = masks_by_count(score, kept)
    if update == "joint":
        solved = jax.lax.map(
            lambda each: each[0] + joint_removal(each[0], inverse, ~each[1])[1],
            (weights.T, mask.T),
            batch_size=min(32, weights.shape[1]),
        ).T
        return jnp.where(mask, solved, 0), mask
    # Outputs do not act on each other, so they are swept side by side, each in its own order.
    order = jnp.argsort(jnp.where(mask, jnp.inf, score), axis=0, stable=True)
    columns = jnp.arange(weights.shape[1])

    def step(weights: Array, rank: Array) -> tuple[Array, None]:
        q = order[rank]
        gone = ~mask[q, columns]
        change = jnp.where(gone, weights[q, columns] / diagonal[q], 0)
        return weights - inverse[:, q] * change, None

    swept = jax.lax.scan(step, weights, jnp.arange(weights.shape[0]))[0]
    return jnp.where(mask, swept, 0), mask
