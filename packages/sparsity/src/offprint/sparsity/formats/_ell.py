"""Rows padded to one length."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity._bits import clog
from offprint.sparsity.formats._kept import kept, matrix, on_host, value_bits


@partial(jax.tree_util.register_dataclass, data_fields=("values", "columns"), meta_fields=("shape",))
@dataclass(frozen=True)
class ELL:
    """Every row has as many entries as the longest: the missing ones are zeros at column 0.

    Seen as a matrix, the last axis the columns.
    """

    values: Any  # [rows, longest]
    columns: Any  # int32 [rows, longest]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "ELL":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "ELL")
        rows = keep.reshape(-1, keep.shape[-1])
        counts = rows.sum(1)
        longest = int(counts.max(initial=0))
        present = np.arange(longest) < counts[:, None]
        columns = np.zeros(present.shape, np.int32)
        columns[present] = np.nonzero(rows)[1]
        values, xp = on_host(dense)
        values = xp.take_along_axis(values.reshape(rows.shape), columns, 1)
        values = jnp.asarray(xp.where(present, values, xp.zeros_like(values)))
        return cls(values, jnp.asarray(columns), keep.shape)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        rows = jnp.arange(self.values.shape[0], dtype=jnp.int32)[:, None]
        empty = jnp.zeros(matrix(self.shape), self.values.dtype)
        return empty.at[rows, self.columns].add(self.values).reshape(self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, padding included, for values of `bits` bits (default: their type's)."""
        return self.values.size * (clog(matrix(self.shape)[1]) + value_bits(self.values, bits))
