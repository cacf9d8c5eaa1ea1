"""One update of a dynamic mask: drop some active entries, grow equally many others, with exact counts."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt32

from offprint.sparsity._mask import masks_by_count

FractionWords = UInt32[Array, "2"]


def drop_and_grow(
    masks: PyTree[Bool[Array, "..."]],
    keep_scores: PyTree[Float[Array, "..."]],
    grow_scores: PyTree[Float[Array, "..."]],
    n_drop: PyTree[Int[Array, ""]],
    n_grow: PyTree[Int[Array, ""]] | None = None,
    *,
    axis_name: str | None = None,
) -> PyTree[Bool[Array, "..."]]:
    """Masks after one update of SET, RigL and their kin: the number of active entries of a leaf stays the same.

    Of the A active entries of a leaf, the A - n_drop with the largest keep score stay. Then n_grow (default: n_drop)
    of *all* entries that are not active, those dropped just now included, become active: the ones with the largest
    growth score. As google-research/rigl does it, without its noise of 1e-5 on the scores for dropping; ties keep the
    lower flat index.

    Args:
        masks: True where active; `None` at leaves that are never pruned, in the other trees too.
        keep_scores, grow_scores: high = keep, high = grow.
        n_drop, n_grow: per leaf, as whole numbers (see `drop_counts`).
        axis_name: mesh axis over which the leaves are split, inside `shard_map`.
    """
    kept = keep_best(masks, keep_scores, n_drop, axis_name=axis_name)
    return grow_best(kept, grow_scores, n_drop if n_grow is None else n_grow, axis_name=axis_name)


def keep_best(
    masks: PyTree[Bool[Array, "..."]],
    scores: PyTree[Float[Array, "..."]],
    n_drop: PyTree[Int[Array, ""]],
    *,
    axis_name: str | None = None,
) -> PyTree[Bool[Array, "..."]]:
    """`masks` without the `n_drop` active entries of each leaf whose score is lowest."""
    n_keep = jax.tree.map(lambda active, drop: jnp.maximum(active - drop, 0), active_counts(masks, axis_name), n_drop)
    return masks_by_count(scores, n_keep, previous=masks, axis_name=axis_name)


def grow_best(
    masks: PyTree[Bool[Array, "..."]],
    scores: PyTree[Float[Array, "..."]],
    n_grow: PyTree[Int[Array, ""]],
    *,
    axis_name: str | None = None,
) -> PyTree[Bool[Array, "..."]]:
    """`masks` and the `n_grow` inactive entries of each leaf whose score is highest."""
    inactive = jax.tree.map(jnp.logical_not, masks)
    n_grow = jax.tree.map(jnp.minimum, n_grow, active_counts(inactive, axis_name))
    grown = masks_by_count(scores, n_grow, previous=inactive, axis_name=axis_name)
    return jax.tree.map(jnp.logical_or, masks, grown)


def keep_signwise(
    masks: PyTree[Bool[Array, "..."]],
    params: PyTree[Float[Array, "..."]],
    fraction: FractionWords,
    *,
    axis_name: str | None = None,
) -> PyTree[Bool[Array, "..."]]:
    """SET's own drop rule: the smallest share of the positive weights and the largest of the negative (mocanu2018set).

    `fraction` is a row of `fraction_words`. Active weights that are exactly zero go before any other would: they are
    dropped, as they are of neither sign.
    """
    positive = jax.tree.map(lambda m, w: m & (w > 0), masks, _like(params, masks))
    negative = jax.tree.map(lambda m, w: m & (w < 0), masks, _like(params, masks))
    sizes = jax.tree.map(lambda m, w: jnp.abs(w), masks, _like(params, masks))
    kept = [
        keep_best(part, sizes, drop_counts(part, fraction, axis_name), axis_name=axis_name)
        for part in (positive, negative)
    ]
    return jax.tree.map(jnp.logical_or, *kept)


def active_counts(masks: PyTree[Bool[Array, "..."]], axis_name: str | None = None) -> PyTree[Int[Array, ""]]:
    """Number of active entries of each leaf, over all shards (below 2^31 per leaf)."""
    counts = jax.tree.map(lambda mask: jnp.sum(mask, dtype=jnp.int32), masks)
    return counts if axis_name is None else jax.lax.psum(counts, axis_name)


def drop_counts(
    masks: PyTree[Bool[Array, "..."]], fraction: FractionWords, axis_name: str | None = None
) -> PyTree[Int[Array, ""]]:
    """floor(fraction * active) of each leaf."""
    return jax.tree.map(lambda active: floor_share(fraction, active), active_counts(masks, axis_name))


def fraction_words(fractions: np.ndarray | list[float] | float) -> np.ndarray:
    """Shares in [0, 1] as whole numbers of 2^-64, in two words of 32 bits: [..., 2] uint32, for `floor_share`."""
    fractions = np.asarray(fractions, np.float64)
    whole = [min(int(Fraction(share) * 2**64), 2**64 - 1) for share in fractions.ravel().tolist()]
    words = np.array([(value >> 32, value & 0xFFFFFFFF) for value in whole], np.uint32)
    return words.reshape(*fractions.shape, 2)


def floor_share(fraction: FractionWords, count: Int[Array, ""]) -> Int[Array, ""]:
    """floor(fraction * count), exactly, by integer arithmetic, for any count below 2^31.

    In float32 the product is off by whole entries above 2^24. A product within 2^-20 below a whole number is taken
    for that number: 0.3 * 90 is 27, although the float64 next to 0.3 is a little less.
    """
    count = jnp.asarray(count).astype(jnp.uint32)
    high, middle = _multiply(fraction[0], count)
    carried, low = _multiply(fraction[1], count)
    del low
    for addend in (carried, jnp.uint32(1 << 12)):
        middle = middle + addend
        high = high + (middle < addend).astype(jnp.uint32)
    return high.astype(jnp.int32)


def _multiply(a: Array, b: Array) -> tuple[Array, Array]:
    """The high and the low 32 bits of a product of two uint32 numbers."""
    a, b = jnp.asarray(a, jnp.uint32), jnp.asarray(b, jnp.uint32)
    half = jnp.uint32(0xFFFF)
    a1, a0, b1, b0 = a >> 16, a & half, b >> 16, b & half
    cross = a1 * b0 + ((a0 * b0) >> 16)  # below 2^32
    other = a0 * b1 + (cross & half)
    return a1 * b1 + (cross >> 16) + (other >> 16), a * b


def _like(tree: PyTree, masks: PyTree) -> PyTree:
    """`tree` with `None` where `masks` have it, so that the masks may come first in `jax.tree.map`."""
    return jax.tree.map(lambda leaf, mask: None if mask is None else leaf, tree, masks)
