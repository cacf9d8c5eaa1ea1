"""Criteria that need only the weights: magnitude, LAMP, a threshold in standard deviations, and chance."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import map_named
from offprint.sparsity.scores._leaves import as_scores, score_leaves, wide


def magnitude(
    params: PyTree,
    *,
    p: float | int = 1,
    normalise: Literal["l2"] | None = None,
    filter: Filter | None = None,
) -> PyTree:
    """|w|^p, the size of a weight (Han et al. 2015, `han2015`).

    Args:
        params: tree of arrays.
        p: the power; it changes no unstructured ranking, but what a block or a channel adds up to.
        normalise: 'l2' divides by the L2 norm of the leaf, so that a global ranking compares weights relative to
            their layer (what jaxpruner calls global pruning); None compares them as they are.
        filter: which leaves; default: kernels.

    Returns:
        scores, high = keep, in the shapes of params and at least float32; `None` at leaves that are not chosen.

    Raises:
        ValueError: p is not positive, `normalise` is unknown, or the filter chooses nothing.
    """
    if p <= 0:
        raise ValueError(f"p must be positive; got {p}")
    if normalise not in (None, "l2"):
        raise ValueError(f"normalise must be None or 'l2'; got {normalise!r}")

    def score(w: Array) -> Array:
        size = jnp.abs(w)
        if normalise == "l2":
            # Divided by the largest first: squares of small or large numbers leave the range of float32.
            size = _ratio(size, jnp.max(size, initial=0))
            size = _ratio(size, jnp.sqrt(jnp.sum(size**2)))
        return size if p == 1 else size**p

    return score_leaves(score, params, filter=filter, names="")


def random(key: PRNGKeyArray, params: PyTree, *, filter: Filter | None = None) -> PyTree:
    """Uniform numbers in [0, 1): the baseline that every criterion should beat. Shapes as in `magnitude`."""
    chosen = prunable(params, filter)
    keys = jax.random.split(key, len(chosen))
    draws = {path: jax.random.uniform(k, leaf.shape, wide(leaf).dtype) for k, (path, leaf) in zip(keys, chosen.items())}
    return as_scores(params, draws)


def lamp(params: PyTree, *, filter: Filter | None = None) -> PyTree:
    """Layer-adaptive magnitude, for a global ranking: w_u² / Σ {w_v² : w_v² ≥ w_u²} (Lee et al. 2021, `lee2021lamp`).

    The sum is over the weights of the same leaf that are no smaller, so the largest weight of every leaf scores 1
    (unless it ties) and no layer is emptied before all the others are down to one weight. The order within a leaf is
    that of magnitude. One sort per leaf; weights of equal size share their score, where the authors' code tells them
    apart by position.
    """
    return score_leaves(_lamp, params, filter=filter, names="")


def _lamp(w: Array) -> Array:
    flat = jnp.abs(w).ravel()
    # The score is the same for a multiple of the weights; this one keeps their squares within range.
    squares = _ratio(flat, jnp.max(flat, initial=0)) ** 2
    order = jnp.argsort(squares)
    ordered = squares[order]
    from_here = jnp.cumsum(ordered[::-1])[::-1]
    place = jnp.arange(flat.size)
    is_new = jnp.concatenate([jnp.ones(1, bool), ordered[1:] > ordered[:-1]])
    first = jax.lax.cummax(jnp.where(is_new, place, 0))  # where the run of equal weights begins
    scores = jnp.zeros_like(squares).at[order].set(_ratio(ordered, from_here[first]), unique_indices=True)
    return scores.reshape(w.shape)


def std_threshold(
    params: PyTree, quality: float | int | Mapping[str, float | int], *, filter: Filter | None = None
) -> PyTree:
    """Masks that keep |w| ≥ q std(w), the standard deviation being that of the leaf (Han et al. 2015, `han2015`).

    The sparsity follows from the distribution: a normal one with q = 1 loses 68 % of its weights. From memory of the
    paper, not checked against it.

    Args:
        params: tree of arrays.
        quality: q for every leaf, or {path pattern: q}; the first pattern that matches counts.
        filter: which leaves; default: kernels.

    Raises:
        ValueError: q is negative, or no pattern matches a chosen leaf.
    """
    chosen = prunable(params, filter)
    factors = {path: _quality(path, quality) for path in chosen}

    def keep(path: str, leaf: Array | None) -> Array | None:
        if leaf is None or path not in chosen:
            return None
        w = wide(leaf)
        return jnp.abs(w) >= factors[path] * jnp.std(w)

    return map_named(keep, params)


def _quality(path: str, quality: float | int | Mapping[str, float | int]) -> float | int:
    if isinstance(quality, Mapping):
        found = [q for pattern, q in quality.items() if fnmatchcase(path, pattern)]
        if not found:
            raise ValueError(f"quality has no pattern for the leaf {path}; its patterns are {', '.join(quality)}")
        quality = found[0]
    if quality < 0:
        raise ValueError(f"quality must not be negative; got {quality} for {path}")
    return quality


def _ratio(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """x / y, and 0 where y is 0: a leaf of zeros scores zero."""
    return x / jnp.where(y > 0, y, 1)
