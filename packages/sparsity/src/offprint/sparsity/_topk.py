"""Exact selection of the k highest scores of a pytree by counting: no sort, no concatenation, no gather.

Every pass counts how many scores reach a trial threshold, so sharded leaves only exchange one integer; k may be traced.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from offprint.sparsity import _limbs as limbs
from offprint.sparsity._bracket import search

Keys = Int[Array, "..."]

_SAMPLE = 2**14
_WORTH_SAMPLING = 2**20
_WORTH_STRIPS = 2**16
_ONE_LIMB = 2**limbs.BITS  # elements from which on counts need two
_SPREAD = (-2.0, 2.0, -8.0, 8.0)  # standard deviations of the sample's quantile


def ordered_keys(score: Array) -> Keys:
    """Signed integers in the order of the scores; -0.0 and 0.0 are equal, and denormal numbers are told apart.

    The least and the greatest integer of the type stay free: what must not be kept gets the least, and the search
    starts at the greatest. (Of integer scores, these two share the keys of their neighbours.)
    """
    if jnp.issubdtype(score.dtype, jnp.floating):
        integer = jnp.dtype(f"int{8 * score.dtype.itemsize}")
        bits = jax.lax.bitcast_convert_type(score, integer)
        # Negative numbers have sign and magnitude: reflect them.
        return jnp.where(bits < 0, jnp.iinfo(integer).min - bits, bits)
    if score.dtype.itemsize < 4:
        return score.astype(jnp.int32)
    return jnp.clip(score, jnp.iinfo(score.dtype).min + 1, jnp.iinfo(score.dtype).max - 1)


def reserved(dtype: jnp.dtype) -> Array:
    """The key of what must not be kept."""
    return jnp.array(jnp.iinfo(dtype).min, dtype)


def zero_like(*arrays: Array) -> Int[Array, ""]:
    """0, typed inside `shard_map` as something that differs between devices wherever one of the arrays does.

    Loops must begin with the types that they go on with. Compilers see that nothing has to be computed.
    """
    zero = jnp.zeros((), jnp.int32)
    for array in arrays:
        if array.size:
            zero += array[(0,) * array.ndim].astype(jnp.int32) & 0
    return zero


class _Leaf(NamedTuple):
    """Scores, or a part of them from the flat index `start` on."""

    score: Array
    allowed: Array | None  # True where an element may be kept; None: everywhere
    first: Array | None  # True where an element comes before all others; None: nowhere
    start: Array | int = 0

    def keys(self) -> Keys:
        key = ordered_keys(self.score)
        if self.first is not None:
            key = jnp.where(self.first, jnp.iinfo(key.dtype).max - 1, key)
        if self.allowed is not None:
            key = jnp.where(self.allowed, key, reserved(key.dtype))
        return key

    def place(self) -> Int[Array, "..."]:
        """A key below 2^31 - 1 that falls by one from each element to the next in C order; nothing is reshaped."""
        flat = jnp.broadcast_to(jnp.asarray(self.start, jnp.uint32), self.score.shape)
        stride = self.score.size
        for axis, length in enumerate(self.score.shape):
            stride //= max(length, 1)
            flat += jax.lax.broadcasted_iota(jnp.uint32, self.score.shape, axis) * jnp.uint32(stride)
        return jax.lax.bitcast_convert_type(jnp.uint32(2**31 - 2) - flat, jnp.int32)

    def part(self, start: int, stop: int | None, stride: int = 1) -> "_Leaf":
        """A slice of the flattened leaf."""
        score, allowed, first = (
            None if array is None else array.reshape(-1)[start:stop:stride]
            for array in (self.score, self.allowed, self.first)
        )
        assert score is not None
        return _Leaf(score, allowed, first, self.start + start)

    def how_many(self, flags: Callable[["_Leaf"], Bool[Array, "..."]]) -> Array:
        """How many elements have their flag set."""
        size = self.score.size
        if jax.device_count() > 1 or not _WORTH_STRIPS <= size < 2**31:
            return limbs.total(flags(self))
        # Adding eight strips to each other is elementwise, which compilers turn into vector instructions; the sum of
        # all elements is what they do not. The strips of a leaf on many devices would have to be moved, though.
        length = size // 8
        columns = jnp.zeros(length, jnp.int8)
        for strip in range(8):
            columns += flags(self.part(strip * length, (strip + 1) * length))
        rest = limbs.total(flags(self.part(8 * length, size)))
        return limbs.total(jax.lax.optimization_barrier(columns)) + rest


def top_k_masks(
    scores: Sequence[Array],
    groups: Sequence[int],
    n_keep: Int[Array, "groups 2"],
    *,
    candidates: Sequence[Array | None] | None = None,
    forced: Sequence[Array | None] | None = None,
    axis_name: str | None = None,
) -> list[Bool[Array, "..."]]:
    """Masks that keep exactly `n_keep[g]` of the elements of group g: those of the highest scores.

    Ties keep the earlier leaf and, within a leaf, the lower flat index in C order.

    Args:
        scores: leaves of any shape and of one dtype.
        groups: the ranking that each leaf takes part in, 0 to the number of rankings.
        n_keep: count of each ranking as limbs (`count_limbs`).
        candidates: True where an element may be kept; if fewer are than `n_keep` asks for, all of them are.
        forced: True where an element comes before all others.
        axis_name: an axis of `shard_map` over which the leaves are split in equal blocks of their first axis.
    """
    none = [None] * len(scores)
    parts = zip(scores, candidates or none, forced or none, _starts(scores, axis_name))
    whole = [_Leaf(*part) for part in parts]
    dtype = jax.eval_shape(ordered_keys, scores[0]).dtype
    member = np.equal.outer(np.arange(n_keep.shape[0]), np.asarray(groups))
    sizes = [score.size * _devices(axis_name) for score in scores]
    if sum(sizes) < _ONE_LIMB:
        n_keep = limbs.single(n_keep)
    alone = member.shape[0] == member.shape[1] and bool(member.diagonal().all())  # every leaf a ranking of its own

    def count(pivots: Array) -> Int[Array, "groups limbs"]:
        leaves, pivots = _anew(whole, pivots)
        each = [
            leaf.how_many(lambda part, group=group: part.keys() >= pivots[group]) for leaf, group in zip(leaves, groups)
        ]
        counts = _over_devices(each, n_keep.shape[1], axis_name)
        return counts if alone else limbs.sums(counts, member)

    zero = zero_like(n_keep, *(array for leaf in whole for array in leaf[:3] if array is not None))
    if axis_name is not None:
        zero = jax.lax.psum(zero, axis_name)
    bottom = jnp.full(len(member), jnp.iinfo(dtype).min + 1, dtype)
    all_of = None
    if candidates is None:
        totals = member.astype(object) @ np.array(sizes, object)
        all_of = jnp.asarray(np.stack([limbs.count_limbs(int(n)) for n in totals])[:, -n_keep.shape[1] :])
    hints = _hints(whole, member, n_keep, dtype)
    low, high, above = search(count, lambda _: n_keep, bottom, all_of, hints, zero, n_keep.shape[1])
    need = limbs.subtract(n_keep, above)  # ties to keep, all of them equal to `low`

    def cut() -> Int[Array, " leaves"]:
        return _cut_ties(whole, groups, member, low, need, zero, axis_name)

    last = jax.lax.cond(jnp.any(need > 0), cut, lambda: jnp.full(len(whole), 2**31 - 1, jnp.int32) + zero)
    return [
        (leaf.keys() >= high[group]) | _tied(leaf, low[group], last[i])
        for i, (leaf, group) in enumerate(zip(whole, groups))
    ]


def top_k_mask(score: Array, n_keep: Int[Array, "2"], *, axis_name: str | None = None) -> Bool[Array, "..."]:
    """`top_k_masks` of a single leaf."""
    return top_k_masks([score], [0], n_keep[None], axis_name=axis_name)[0]


def count_not_finite(scores: Sequence[Array]) -> Int[Array, "leaves 2"]:
    """How many scores of each leaf are NaN or infinite."""
    return limbs.stack([_Leaf(score, None, None).how_many(lambda part: ~jnp.isfinite(part.score)) for score in scores])


def _over_devices(each: list[Array], width: int, axis_name: str | None) -> Int[Array, "leaves limbs"]:
    """The counts of the leaves, over all devices."""
    counts = jnp.stack(each)[:, None] if width == 1 else limbs.stack(each)
    return counts if axis_name is None else limbs.over_devices(counts, axis_name)


def _anew(leaves: list[_Leaf], pivots: Array) -> tuple[list[_Leaf], Array]:
    """The same, such that keys and places are computed anew in every pass instead of stored for all of them."""
    offset = jnp.zeros((), jnp.uint32)
    scores, offset, pivots = jax.lax.optimization_barrier(([leaf.score for leaf in leaves], offset, pivots))
    parts = [leaf._replace(score=score, start=leaf.start + offset) for leaf, score in zip(leaves, scores)]
    return parts, pivots


def _devices(axis_name: str | None) -> int:
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def _hints(
    leaves: list[_Leaf], member: np.ndarray, n_keep: Int[Array, "groups limbs"], dtype: jnp.dtype
) -> Shaped[Array, "trials groups"]:
    """Trial thresholds that a sample puts just below and just above the cut, then further away, should it be beyond.

    Worth its while for many elements. Only where there is a single device: slices of sharded leaves would be gathered.
    """
    sizes = [sum(leaf.score.size for leaf, there in zip(leaves, row) if there) for row in member]
    if max(sizes) < _WORTH_SAMPLING or jax.device_count() > 1:
        return jnp.zeros((0, len(member)), dtype)
    return jnp.stack(
        [
            _hint([leaf for leaf, there in zip(leaves, row) if there], n, want)
            if n >= _WORTH_SAMPLING
            else jnp.zeros(len(_SPREAD), dtype)
            for row, n, want in zip(member, sizes, n_keep)
        ],
        axis=1,
    )


def _hint(leaves: list[_Leaf], n: int, want: Int[Array, " limbs"]) -> Shaped[Array, " trials"]:
    stride = n // _SAMPLE | 1  # odd, so that it does not follow the rows
    sample = jnp.sort(jnp.concatenate([leaf.part(0, None, stride).keys() for leaf in leaves]))
    share = limbs.to_float(want) / n
    place = (1 - share) * sample.size
    deviation = jnp.sqrt(share * (1 - share) * sample.size) + 1
    places = place + jnp.array(_SPREAD, jnp.float32) * deviation
    return sample[jnp.clip(places.astype(jnp.int32), 0, sample.size - 1)]


def _tied(part: _Leaf, low: Array, last: Array) -> Bool[Array, "..."]:
    """Ties to keep: those whose place is at least `last`."""
    return (part.keys() == low) & (part.place() >= last)


def _cut_ties(
    leaves: list[_Leaf],
    groups: Sequence[int],
    member: np.ndarray,
    low: Array,
    need: Int[Array, "groups limbs"],
    zero: Int[Array, ""],
    axis_name: str | None,
) -> Int[Array, " leaves"]:
    """The place in every leaf up to which ties at `low` are kept, so that the first `need` ones of each ranking are.

    It is found in the same way as the threshold, by counting: a cumulative sum over a sharded array would have to
    move it.
    """

    def count(last: Array) -> Int[Array, "leaves limbs"]:
        parts, last = _anew(leaves, last)
        each = [
            leaf.how_many(partial(_tied, low=low[group], last=last[i]))
            for i, (leaf, group) in enumerate(zip(parts, groups))
        ]
        return _over_devices(each, need.shape[1], axis_name)

    earlier = np.tril(member.T.astype(int) @ member.astype(int), -1)  # leaves of the same ranking that come first

    def want_of(ties: Int[Array, "leaves limbs"]) -> Int[Array, "leaves limbs"]:
        left = limbs.subtract(need[np.asarray(groups)], limbs.sums(ties, earlier))
        return limbs.minimum(ties, jnp.where(left[:, :1] < 0, 0, left))

    bottom = jnp.array([2**31 - 1 - leaf.score.size * _devices(axis_name) for leaf in leaves], jnp.int32)
    _, last, _ = search(count, want_of, bottom, None, jnp.zeros((0, len(leaves)), jnp.int32), zero, need.shape[1])
    return last


def _starts(scores: Sequence[Array], axis_name: str | None) -> list[Array | int]:
    """Flat index of the first element that each leaf has on this device."""
    for score in scores:
        size = score.size * _devices(axis_name)
        if size >= 2**32 - 2:
            raise ValueError(f"ties in a leaf of {size} elements cannot be ordered: split the leaf")
    if axis_name is None:
        return [0] * len(scores)
    return [jax.lax.axis_index(axis_name).astype(jnp.uint32) * jnp.uint32(score.size) for score in scores]
