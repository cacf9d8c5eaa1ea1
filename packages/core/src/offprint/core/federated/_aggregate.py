"""What the clients return, as one value: means over a stacked axis of clients."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree


def _per_client(weights: Array, leaf: Array | np.ndarray) -> Array:
    """Weights with as many axes as the leaf."""
    return weights.reshape(weights.shape + (1,) * (leaf.ndim - weights.ndim))


def weighted_mean(stacked: PyTree, weights: PyTree, otherwise: PyTree = None) -> PyTree:
    """Σ_c n_c x_c / Σ_c n_c for every entry, with the weights of that entry.

    Args:
        stacked: pytree of (clients, ...) arrays.
        weights: (clients,) weights n_c >= 0 such as numbers of examples; or a pytree like `stacked` whose leaves have
            the leaf's leading axes, from (clients,) to the whole shape: a weight for each cell, as visits to it.
            A client of weight 0 counts for nothing, even where its values are NaN.
        otherwise: pytree like one client's; taken where the weights sum to 0. Zeros if not given.

    Returns:
        Pytree like one client's.
    """
    if isinstance(weights, jax.Array | np.ndarray):
        weights = jax.tree.map(lambda leaf: weights, stacked)
    if otherwise is None:
        otherwise = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), stacked)

    def mean(leaf: Array | np.ndarray, weight: Array | np.ndarray, fallback: Array | np.ndarray) -> Array:
        w = _per_client(jnp.asarray(weight, leaf.dtype), leaf)
        total = w.sum(axis=0)
        summed = jnp.where(w > 0, w * leaf, 0).sum(axis=0)
        return jnp.where(total > 0, summed / jnp.where(total > 0, total, 1), fallback)

    return jax.tree.map(mean, stacked, weights, otherwise)


def _masked(leaf: Array | np.ndarray, present: Array | np.ndarray | None) -> Array:
    return jnp.asarray(leaf) if present is None else jnp.where(_per_client(jnp.asarray(present), leaf), leaf, jnp.nan)


def coordinate_median(stacked: PyTree, present: Bool[Array | np.ndarray, " clients"] | None = None) -> PyTree:
    """The median of the clients that are present, entry by entry (Yin et al., 2018); NaN without any.

    Args:
        stacked: pytree of floating (clients, ...) arrays.
        present: (clients,) who takes part; everybody if not given.
    """
    return jax.tree.map(lambda leaf: jnp.nanmedian(_masked(leaf, present), axis=0), stacked)


def trimmed_mean(
    stacked: PyTree, fraction: float | int = 0.2, present: Bool[Array | np.ndarray, " clients"] | None = None
) -> PyTree:
    """The mean without the smallest and the largest values, entry by entry (Yin et al., 2018).

    Args:
        stacked: pytree of floating (clients, ...) arrays.
        fraction: in [0, 0.5), share of the clients that is left out at each end, rounded down.
        present: (clients,) who takes part; everybody if not given.

    Raises:
        ValueError: the fraction is out of range.
    """
    if not 0 <= fraction < 0.5:
        raise ValueError(f"fraction must be in [0, 0.5), what is cut off at each end, but is {fraction}")

    def mean(leaf: Array | np.ndarray) -> Array:
        n = jnp.asarray(leaf.shape[0] if present is None else jnp.sum(present))
        cut = jnp.floor(fraction * n + 1e-6).astype(n.dtype)  # so that 0.2 of 5 in float32 is 1
        ordered = jnp.sort(_masked(leaf, present), axis=0)  # NaN, the absent, last
        rank = _per_client(jnp.arange(leaf.shape[0]), leaf)
        kept = (rank >= cut) & (rank < n - cut)
        return jnp.where(kept, ordered, 0).sum(axis=0) / (n - 2 * cut)

    return jax.tree.map(mean, stacked)


def krum(
    stacked: PyTree,
    num_malicious: int,
    num_selected: int = 1,
    present: Bool[Array | np.ndarray, " clients"] | None = None,
) -> PyTree:
    """The client (or the mean of several) whose values are closest to its neighbours' (Blanchard et al., 2017).

    A client's score is the sum of the squared distances to its n - f - 2 nearest others, over all leaves together.

    Args:
        stacked: pytree of floating (clients, ...) arrays.
        num_malicious: f, how many clients may send anything whatever.
        num_selected: how many clients of the lowest scores are averaged; more than one makes it multi-Krum.
        present: (clients,) who takes part; everybody if not given. Their number n should be f + 3 at least.

    Raises:
        ValueError: fewer than f + 3 clients, or `num_selected` out of range.
    """
    leaves = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(stacked)]
    count = leaves[0].shape[0]
    if num_malicious < 0 or count < num_malicious + 3:
        raise ValueError(f"krum needs f + 3 clients, but there are {count} with f = {num_malicious}")
    if not 1 <= num_selected <= count:
        raise ValueError(f"num_selected must be in 1..{count}, but is {num_selected}")
    here = jnp.ones(count, bool) if present is None else jnp.asarray(present)
    flat = jnp.where(here[:, None], jnp.concatenate(leaves, axis=1), 0)
    squared = jnp.sum((flat[:, None] - flat[None]) ** 2, axis=-1)
    apart = here[None] & ~jnp.eye(count, dtype=bool)
    nearest = jnp.sort(jnp.where(apart, squared, jnp.inf), axis=1)
    neighbours = jnp.maximum(here.sum() - num_malicious - 2, 1)
    score = jnp.where(jnp.arange(count) < neighbours, nearest, 0).sum(axis=1)
    chosen = jnp.argsort(jnp.where(here, score, jnp.inf))[:num_selected]
    return weighted_mean(jax.tree.map(lambda leaf: leaf[chosen], stacked), here[chosen])
