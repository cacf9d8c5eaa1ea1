"""Formats that store the place of every entry: coordinates, compressed rows, compressed columns."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity._bits import clog
from offprint.sparsity.formats._kept import at, kept, matrix, value_bits


@partial(jax.tree_util.register_dataclass, data_fields=("values", "rows", "columns"), meta_fields=("shape",))
@dataclass(frozen=True)
class COO:
    """Row and column of every entry, in row-major order."""

    values: Any  # [nnz]
    rows: Any  # int32 [nnz]
    columns: Any  # int32 [nnz]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "COO":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "COO")
        flat = np.flatnonzero(keep)
        rows, columns = np.divmod(flat, keep.shape[-1])
        return cls(at(dense, flat), _int32(rows), _int32(columns), keep.shape)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        return _scatter(self.values, self.rows, self.columns, self.shape)

    def bits(self, bits: int | None = None, *, flat: bool = False) -> int:
        """Bits of the storage, with one `flat` index an entry or with a row and a column."""
        rows, columns = matrix(self.shape)
        index = clog(rows * columns) if flat else clog(rows) + clog(columns)
        return self.values.size * (index + value_bits(self.values, bits))


@partial(jax.tree_util.register_dataclass, data_fields=("values", "columns", "starts"), meta_fields=("shape",))
@dataclass(frozen=True)
class CSR:
    """The columns of every row's entries, and where each row starts; seen as a matrix, the last axis the columns."""

    values: Any  # [nnz]
    columns: Any  # int32 [nnz]
    starts: Any  # int32 [rows + 1]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "CSR":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "CSR")
        flat = np.flatnonzero(keep)
        counts = keep.reshape(-1, keep.shape[-1]).sum(1)
        return cls(at(dense, flat), _int32(flat % keep.shape[-1]), _starts(counts), keep.shape)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        return _scatter(self.values, _line_of(self.starts, self.values.size), self.columns, self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        rows, columns = matrix(self.shape)
        nnz = self.values.size
        return nnz * (clog(columns) + value_bits(self.values, bits)) + (rows + 1) * clog(nnz + 1)


@partial(jax.tree_util.register_dataclass, data_fields=("values", "rows", "starts"), meta_fields=("shape",))
@dataclass(frozen=True)
class CSC:
    """The rows of every column's entries, and where each column starts; seen as a matrix, the last axis the columns."""

    values: Any  # [nnz], column by column
    rows: Any  # int32 [nnz]
    starts: Any  # int32 [columns + 1]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None) -> "CSC":
        """Store the entries that `mask` keeps (default: those that are not zero). The values may be traced."""
        keep = kept(dense, mask, "CSC")
        by_column = keep.reshape(-1, keep.shape[-1]).T
        columns, rows = np.nonzero(by_column)
        flat = rows * keep.shape[-1] + columns
        return cls(at(dense, flat), _int32(rows), _starts(by_column.sum(1)), keep.shape)

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        return _scatter(self.values, self.rows, _line_of(self.starts, self.values.size), self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        rows, columns = matrix(self.shape)
        nnz = self.values.size
        return nnz * (clog(rows) + value_bits(self.values, bits)) + (columns + 1) * clog(nnz + 1)


def _int32(array: np.ndarray) -> Array:
    return jnp.asarray(array.astype(np.int32))


def _starts(counts: np.ndarray) -> Array:
    return _int32(np.concatenate([[0], np.cumsum(counts)]))


def _line_of(starts: Array, nnz: int) -> Array:
    """The row (or column) of every entry, from where each starts."""
    return jnp.searchsorted(starts, jnp.arange(nnz, dtype=jnp.int32), side="right").astype(jnp.int32) - 1


def _scatter(values: Array, rows: Array, columns: Array, shape: tuple[int, ...]) -> Array:
    return jnp.zeros(matrix(shape), values.dtype).at[rows, columns].set(values).reshape(shape)
