"""Formats that store the way from one entry to the next: gaps, and runs of zeros of a fixed width."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity._bits import clog, gaps
from offprint.sparsity.formats._kept import at, kept, on_host, value_bits


def _narrow(numbers: np.ndarray) -> Array:
    """In the smallest unsigned type that holds them."""
    return jnp.asarray(numbers.astype(np.min_scalar_type(int(numbers.max(initial=0)))))


@partial(jax.tree_util.register_dataclass, data_fields=("values", "gaps"), meta_fields=("shape", "width"))
@dataclass(frozen=True)
class Delta:
    """The gap of every entry to the one before it, in row-major order; the first counts from position -1."""

    values: Any  # [nnz]
    gaps: Any  # unsigned [nnz], at least 1
    shape: tuple[int, ...]
    width: int  # bits of a gap

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "Delta":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "Delta")
        distance = gaps(keep.ravel())
        return cls(at(dense, np.flatnonzero(keep)), _narrow(distance), keep.shape, clog(int(distance.max(initial=0))))

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        return _place(self.values, jnp.cumsum(self.gaps, dtype=jnp.int32) - 1, self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        return self.values.size * (self.width + value_bits(self.values, bits))


@partial(jax.tree_util.register_dataclass, data_fields=("values", "runs"), meta_fields=("shape", "width"))
@dataclass(frozen=True)
class RunLength:
    """Zeros before every entry in `width` bits; where that is not enough, zeros are stored as entries.

    This is the relative index of Deep Compression (han2016deepcompression): a stored zero stands for every
    2^width zeros of a run that overflow. Zeros after the last entry cost nothing.
    """

    values: Any  # [entries and fillers], 0 at the fillers
    runs: Any  # unsigned [entries and fillers]
    shape: tuple[int, ...]
    width: int

    @classmethod
    def from_dense(
        cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None, *, width: int = 4
    ) -> "RunLength":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        if not 1 <= width <= 31:
            raise ValueError(f"width must be 1 to 31 bits, but is {width}")
        keep = kept(dense, mask, "RunLength")
        runs = gaps(keep.ravel()) - 1
        fillers = runs >> width
        # Entry e comes after its fillers, each of which is a full run and the zero itself.
        ends = np.cumsum(fillers + 1) - 1
        stored = np.full(int(fillers.sum()) + runs.size, 2**width - 1, np.int64)
        stored[ends] = runs - (fillers << width)
        is_entry = np.zeros(stored.size, bool)
        is_entry[ends] = True
        positions = np.cumsum(stored + 1) - 1
        values, xp = on_host(dense)
        values = values.reshape(-1)[positions]
        values = jnp.asarray(xp.where(is_entry, values, xp.zeros_like(values)))
        return cls(values, _narrow(stored), keep.shape, width)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        return _place(self.values, jnp.cumsum(self.runs.astype(jnp.int32) + 1, dtype=jnp.int32) - 1, self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, fillers included, for values of `bits` bits (default: their type's)."""
        return self.values.size * (self.width + value_bits(self.values, bits))


def _place(values: Array, positions: Array, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(int(np.prod(shape)), values.dtype).at[positions].set(values).reshape(shape)
