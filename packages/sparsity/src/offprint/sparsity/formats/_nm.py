"""n of every m consecutive inputs, with packed positions."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.sparsity._bits import clog
from offprint.sparsity.formats._kept import kept, kernel_matrix, on_host, value_bits

SLABS = 8  # groups whose bits share a byte


@partial(jax.tree_util.register_dataclass, data_fields=("values", "planes"), meta_fields=("n", "m", "shape"))
@dataclass(frozen=True)
class NMPacked:
    """n values of every group of m consecutive inputs of a kernel (in, out), and their places in clog(m) bits each.

    16-bit values at 2:4 take 36 bits a group instead of 64 (mishra2021). The places are bit planes: bit s of byte g
    belongs to group s * slab + g, where slab is an eighth of the groups. So a tile of bytes serves eight tiles of
    groups, and no row has to be interleaved when the kernel is unpacked in registers. Groups are filled up with zeros
    to a multiple of 8 (of 128 from 1024 groups on, so that tiles fit).
    """

    values: Any  # [n, groups, out]
    planes: Any  # uint8 [n, clog(m), groups / 8, out]
    n: int
    m: int
    shape: tuple[int, int]

    @classmethod
    def from_dense(
        cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None, *, n: int = 2, m: int = 4
    ) -> "NMPacked":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced.

        A group that keeps fewer than n stores zeros at its first pruned places.

        Raises:
            ValueError: a group of m consecutive inputs keeps more than n, or the array is not a matrix.
        """
        if not 1 <= n <= m:
            raise ValueError(f"n:m needs 1 <= n <= m, but is {n}:{m}")
        kernel_matrix(dense, "NMPacked")
        keep = kept(dense, mask, "NMPacked")
        groups = -(-keep.shape[0] // m)
        padded = groups + -groups % (128 if groups >= 1024 else SLABS)
        fill = ((0, padded * m - keep.shape[0]), (0, 0))
        grouped = np.pad(keep, fill).reshape(padded, m, -1)
        counts = grouped.sum(1)
        if counts.max(initial=0) > n:
            group, column = np.argwhere(counts > n)[0]
            raise ValueError(
                f"the mask is not {n}:{m} along axis -2: inputs {group * m}..{group * m + m - 1} of output {column} "
                f"keep {counts[group, column]}; make it with the pattern NM({n}, {m})" + _turned(keep, n, m)
            )
        places = np.sort(np.argsort(~grouped, axis=1, kind="stable")[:, :n], axis=1).transpose(1, 0, 2)
        dense, xp = on_host(dense)
        source = xp.pad(xp.where(keep, dense, xp.zeros_like(dense)), fill).reshape(padded, m, -1)
        values = jnp.asarray(xp.take_along_axis(source, places.transpose(1, 0, 2), axis=1).transpose(1, 0, 2))
        return cls(values, jnp.asarray(_pack(places, clog(m))), n, m, keep.shape)

    def places(self) -> Int[Array, "n groups out"]:
        """The place of every value in its group, 0..m-1."""
        shifts = jnp.arange(SLABS, dtype=jnp.uint8)[:, None, None]
        bits = (self.planes[:, :, None] >> shifts) & 1  # [n, clog(m), slabs, slab, out]
        weights = jnp.left_shift(1, jnp.arange(bits.shape[1], dtype=jnp.int32))
        places = (bits.astype(jnp.int32) * weights[:, None, None, None]).sum(1)
        return places.reshape(self.n, -1, self.shape[1])

    def to_dense(self) -> Float[Array, "in out"]:
        """The kernel, with zeros where nothing is stored."""
        return expand(self.values, self.places(), self.m)[: self.shape[0]]

    def with_values(self, values: Any) -> "NMPacked":
        """The same places with other values of the same shape."""
        return replace(self, values=values)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        groups = -(-self.shape[0] // self.m)
        return groups * self.shape[1] * self.n * (value_bits(self.values, bits) + clog(self.m))


def _turned(keep: np.ndarray, n: int, m: int) -> str:
    """What to add where the mask is n:m, but along the outputs."""
    if keep.shape[1] % m or keep.reshape(keep.shape[0], -1, m).sum(2).max(initial=0) > n:
        return ""
    return f". It is {n}:{m} along axis -1, the output axis, but products skip along the contraction axis, which is -2"


def expand(values: Array, places: Array, m: int) -> Array:
    """[groups * m, out]: every value at its place."""
    at = jnp.arange(m, dtype=jnp.int32)[:, None]  # against [groups, 1, out]
    rows = sum(jnp.where(place[:, None] == at, value[:, None], 0) for value, place in zip(values, places, strict=True))
    return jnp.asarray(rows).reshape(-1, values.shape[-1])


def _pack(places: np.ndarray, width: int) -> np.ndarray:
    """[n, groups, out] numbers below 2^width as bit planes uint8 [n, width, groups / 8, out]."""
    slabs = places.reshape(places.shape[0], 1, SLABS, -1, places.shape[2])
    bits = (slabs >> np.arange(width)[:, None, None, None]) & 1
    return np.packbits(bits.astype(np.uint8), axis=2, bitorder="little")[:, :, 0]
