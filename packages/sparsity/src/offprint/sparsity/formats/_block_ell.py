"""Blocks by column, with padded tables that say what every output gathers: the format that is multiplied fast."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.sparsity._bits import block_mask, clog
from offprint.sparsity.formats._bsr import blocks_at, check_block, from_blocks
from offprint.sparsity.formats._kept import kept, kernel_matrix, value_bits

LINES = 4
"""Least lines of a table, which are padded to one length: several are multiplied at once."""
TABLES = 8
"""At most so many tables, each of which is a program of its own to compile."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("order", "counts", "sources", "slots"),
    meta_fields=("tables",),
)
@dataclass(frozen=True)
class Lines:
    """What every line (block column of the product) gathers, longest lines first.

    The padded tables lie one after the other: table t has `tables[t] = (lines, width)`, row-major. Lines of similar
    length share a table, so little is padded whatever the pattern. Without tables the lines are compressed: in their
    natural order, one after the other, nothing padded.
    """

    order: Any  # int32 [lines], the block column that each makes
    counts: Any  # int32 [lines], blocks of each
    sources: Any  # int32 [table entries], block of the input; 0 in the padding
    slots: Any  # int32 [table entries], block of the kernel; the number of blocks in the padding
    tables: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, line: np.ndarray, source: np.ndarray, lines: int) -> "Lines":
        """From the line and the source of every block of the kernel."""
        counts = np.bincount(line, minlength=lines)
        order = np.argsort(-counts, kind="stable")
        by_line = np.lexsort((source, line))  # the blocks, line after line
        start = np.concatenate([[0], np.cumsum(counts)])
        size = max(LINES, -(-lines // (4 * TABLES)) * 4)
        tables, slots = [], []
        for first in range(0, lines, size):
            chosen = order[first : first + size]
            width = max(int(counts[chosen].max()), 1)
            place = np.arange(width)
            present = place < counts[chosen][:, None]
            found = by_line[np.minimum(start[chosen][:, None] + place, line.size - 1)]
            tables.append((chosen.size, width))
            slots.append(np.where(present, found, line.size).ravel())
        table = np.concatenate(slots)
        sources = np.where(table < line.size, source[np.minimum(table, line.size - 1)], 0)
        return cls(_int32(order), _int32(counts[order]), _int32(sources), _int32(table), tuple(tables))

    @classmethod
    def compressed(cls, line: np.ndarray, source: np.ndarray, lines: int) -> "Lines":
        """From the line and the source of every block of the kernel, without tables."""
        by_line = np.lexsort((source, line))
        counts = np.bincount(line, minlength=lines)
        return cls(_int32(np.arange(lines)), _int32(counts), _int32(source[by_line]), _int32(by_line), ())


def _int32(array: np.ndarray) -> Array:
    return jnp.asarray(array.astype(np.int32))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("values", "rows", "columns", "forward", "backward"),
    meta_fields=("block", "shape"),
)
@dataclass(frozen=True)
class BlockELL:
    """Blocks of a kernel (in, out), stored exactly and multiplied through padded tables (blocked ELL).

    The blocks lie column by column. What is padded to fixed shapes is only the tables of block numbers that the
    product gathers by: `forward` for x @ W, `backward` for dy @ W.T. Every block with a kept entry is stored whole and
    trained whole; blocks over the edge are filled up with zeros. Blocks of (1, 1) make it an unstructured format, whose
    product is XLA's for compressed rows.
    """

    values: Any  # [blocks, height, width]
    rows: Any  # int32 [blocks], block row of each
    columns: Any  # int32 [blocks], block column of each
    forward: Lines
    backward: Lines
    block: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def from_dense(
        cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None, *, block: tuple[int, int] = (16, 16)
    ) -> "BlockELL":
        """Store the blocks in which `mask` keeps an entry (default: one is not zero). The values may be traced.

        A kernel without any stores one block of zeros.
        """
        check_block(block)
        kernel_matrix(dense, "BlockELL")
        keep = kept(dense, mask, "BlockELL")
        present = block_mask(keep, *block)
        if not present.any():
            present[0, 0] = True
        columns, rows = np.nonzero(present.T)
        values = blocks_at(dense, None if mask is None else keep, block, rows, columns)
        return cls(
            values,
            _int32(rows),
            _int32(columns),
            Lines.of(columns, rows, present.shape[1]),
            (Lines.compressed if block == (1, 1) else Lines.of)(rows, columns, present.shape[0]),
            block,
            (int(keep.shape[0]), int(keep.shape[1])),
        )

    def to_dense(self) -> Float[Array, "in out"]:
        """The kernel, with zeros where nothing is stored."""
        return from_blocks(self.values, self.rows, self.columns, self.block, self.shape)

    def with_values(self, values: Any) -> "BlockELL":
        """The same blocks with other values of the same shape."""
        return replace(self, values=values)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the blocks and of the forward tables: a block row an entry, padding included, a column a line.

        The tables for the transposed product follow from those and are not counted.
        """
        height, width = self.block
        down, across = -(-self.shape[0] // height), -(-self.shape[1] // width)
        entries = sum(lines * length for lines, length in self.forward.tables)
        blocks = entries * clog(down) + across * (clog(across) + clog(down + 1))
        return blocks + self.values.shape[0] * height * width * value_bits(self.values, bits)
