"""Exact counts of more elements than int32 holds, without 64-bit integers: two limbs, `[high, low]` in base 2^30.

The arithmetic takes counts of a single limb as well, where none can reach 2^30: that is half as much to compile.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

BITS = 30
_MASK = (1 << BITS) - 1
_HALF = BITS // 2
_LOWER = (1 << _HALF) - 1


def count_limbs(count: int) -> np.ndarray:
    """A count as the int32 pair `[high, low]` that `masks_by_count` takes, for counts from 2^31 on.

    Tables of counts that a schedule looks up are stacked pairs: `np.stack([count_limbs(k) for k in counts])`.
    """
    if count < 0:
        raise ValueError(f"a count must not be negative; got {count}")
    if count >> (2 * BITS):
        raise ValueError(f"a count must be below 2^{2 * BITS}; got {count}")
    return np.array([count >> BITS, count & _MASK], np.int32)


def as_limbs(count: "int | Array | np.ndarray") -> Int[Array, "2"]:
    """Limbs of a Python int, of an int32 scalar (traced or not), or of limbs themselves."""
    if isinstance(count, int):
        return jnp.asarray(count_limbs(count))
    array = jnp.asarray(count)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"counts are integers; got {array.dtype}")
    if array.shape == (2,):
        return array.astype(jnp.int32)
    if array.shape != ():
        raise ValueError(f"a count is one integer or the two limbs of count_limbs; got shape {array.shape}")
    return normalise(jnp.zeros((), jnp.int32), array)


def normalise(high: Array, low: Array) -> Int[Array, "*batch 2"]:
    """The pair of `high * 2^30 + low`, whatever the sign of `low`."""
    carry = low >> BITS
    return jnp.stack([(high + carry).astype(jnp.int32), (low & _MASK).astype(jnp.int32)], axis=-1)


def total(flags: Shaped[Array, "..."]) -> Int[Array, ""] | Int[Array, "2"]:
    """Sum of flags (or of small counts of them): an int32 scalar where that holds it, else limbs."""
    if flags.size < 2**31:
        return jnp.sum(flags, dtype=jnp.int32)
    # Sums of as many trailing axes as stay below 2^31, then of their halves, which stay below it as well.
    split = next(axis for axis in range(flags.ndim + 1) if math.prod(flags.shape[axis:]) < 2**31)
    if split == flags.ndim or math.prod(flags.shape[:split]) > 2**_HALF:
        raise ValueError(f"a leaf of shape {flags.shape} is too large to count: split it along its first axis")
    parts = jnp.sum(flags, axis=tuple(range(split, flags.ndim)), dtype=jnp.int32)
    upper, lower = jnp.sum(parts >> _HALF, dtype=jnp.int32), jnp.sum(parts & _LOWER, dtype=jnp.int32)
    return _join(jnp.zeros((), jnp.int32), upper, lower)


def single(counts: Int[Array, "*batch 2"]) -> Int[Array, "*batch 1"]:
    """One limb instead of two; counts that it does not hold become the largest it does, and negative ones 0."""
    high, low = counts[..., :1], counts[..., 1:]
    return jnp.where(high > 0, _MASK, jnp.where(high < 0, 0, low))


def stack(counts: "Sequence[int | Array | np.ndarray]") -> Int[Array, "n 2"]:
    """Limbs of many counts, see `as_limbs`; scalars go together, since tiny kernels take long to compile."""
    known = [count for count in counts if isinstance(count, int)]
    if len(known) == len(counts):
        return jnp.asarray(np.stack([count_limbs(count) for count in known]))
    if all(jnp.shape(count) == () and jnp.issubdtype(jnp.result_type(count), jnp.integer) for count in counts):
        low = jnp.stack([jnp.asarray(count, jnp.int32) for count in counts])
        return normalise(jnp.zeros_like(low), low)
    return jnp.stack([as_limbs(count) for count in counts])


def sums(counts: Int[Array, "n limbs"], which: np.ndarray) -> Int[Array, "m limbs"]:
    """Sums of the counts that each row of the 0/1 matrix `which` (m, n) chooses, up to 2^15 of them."""
    chosen = jnp.asarray(which, jnp.int32)
    if counts.shape[-1] == 1:
        return jnp.sum(chosen * counts[:, 0], axis=1, dtype=jnp.int32)[:, None]
    return _join(*(jnp.sum(chosen * part, axis=1, dtype=jnp.int32) for part in _parts(counts)))


def over_devices(counts: Int[Array, "*batch limbs"], axis_name: str) -> Int[Array, "*batch limbs"]:
    """Sum of the counts of all devices along an axis of `shard_map`."""
    if counts.shape[-1] == 1:
        return jax.lax.psum(counts, axis_name)
    return _join(*jax.lax.psum(_parts(counts), axis_name))


def _parts(counts: Int[Array, "*batch 2"]) -> tuple[Array, Array, Array]:
    """High limb and the halves of the low one, of which 2^15 can be added without overflow."""
    return counts[..., 0], counts[..., 1] >> _HALF, counts[..., 1] & _LOWER


def _join(high: Array, upper: Array, lower: Array) -> Int[Array, "*batch 2"]:
    """The count high 2^30 + upper 2^15 + lower."""
    return normalise(high + (upper >> _HALF), ((upper & _LOWER) << _HALF) + lower)


def subtract(a: Int[Array, "*batch limbs"], b: Int[Array, "*batch limbs"]) -> Int[Array, "*batch limbs"]:
    """a - b; negative results have a negative first limb."""
    if a.shape[-1] == 1:
        return a - b
    return normalise(a[..., 0] - b[..., 0], a[..., 1] - b[..., 1])


def less(a: Int[Array, "*batch limbs"], b: Int[Array, "*batch limbs"]) -> Bool[Array, "*batch"]:
    """a < b."""
    if a.shape[-1] == 1:
        return a[..., 0] < b[..., 0]
    return (a[..., 0] < b[..., 0]) | ((a[..., 0] == b[..., 0]) & (a[..., 1] < b[..., 1]))


def minimum(a: Int[Array, "*batch limbs"], b: Int[Array, "*batch limbs"]) -> Int[Array, "*batch limbs"]:
    """The smaller of the two."""
    return jnp.where(less(a, b)[..., None], a, b)


def to_float(a: Int[Array, "*batch limbs"]) -> Float[Array, "*batch"]:
    """Rounded to float32."""
    if a.shape[-1] == 1:
        return a[..., 0].astype(jnp.float32)
    return a[..., 0].astype(jnp.float32) * 2.0**BITS + a[..., 1].astype(jnp.float32)
