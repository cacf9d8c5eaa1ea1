"""Compressed rows of blocks."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.sparsity._bits import block_mask, clog
from offprint.sparsity.formats._kept import kept, matrix, on_host, value_bits


def check_block(block: tuple[int, int]) -> None:
    """Raise unless `block` is two positive sides."""
    if len(block) != 2 or min(block) < 1:
        raise ValueError(f"block must be two positive sides (rows, columns), but is {block}")


def blocks_at(
    dense: Any, mask: np.ndarray | None, block: tuple[int, int], rows: np.ndarray, columns: np.ndarray
) -> Array:
    """The blocks of a matrix at these block rows and columns, zero where the mask (if any) is; over the edge: zeros."""
    height, width = block
    dense, xp = on_host(dense)
    if mask is not None:
        dense = xp.where(mask, dense, xp.zeros_like(dense))
    padded = xp.pad(dense, ((0, -dense.shape[0] % height), (0, -dense.shape[1] % width)))
    tiles = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width)
    return jnp.asarray(tiles.transpose(0, 2, 1, 3)[rows, columns])


def from_blocks(blocks: Any, rows: Array, columns: Array, block: tuple[int, int], shape: tuple[int, int]) -> Array:
    """The matrix that has these blocks at these block rows and columns."""
    height, width = block
    count = -(-shape[0] // height), -(-shape[1] // width)
    tiles = jnp.zeros((*count, height, width), blocks.dtype).at[rows, columns].set(blocks)
    return tiles.transpose(0, 2, 1, 3).reshape(count[0] * height, count[1] * width)[: shape[0], : shape[1]]


@partial(jax.tree_util.register_dataclass, data_fields=("values", "columns", "starts"), meta_fields=("block", "shape"))
@dataclass(frozen=True)
class BSR:
    """The block columns of every block row, and where each starts; every block with a kept entry is stored whole.

    Seen as a matrix, the last axis the columns. Blocks over the edge are filled up with zeros.
    """

    values: Any  # [blocks, height, width]
    columns: Any  # int32 [blocks]
    starts: Any  # int32 [block rows + 1]
    block: tuple[int, int]
    shape: tuple[int, ...]

    @classmethod
    def from_dense(
        cls, dense: Array | np.ndarray, mask: Array | np.ndarray | None = None, *, block: tuple[int, int] = (16, 16)
    ) -> "BSR":
        """Store the blocks in which `mask` keeps an entry (default: one is not zero). The values may be traced."""
        check_block(block)
        keep = kept(dense, mask, "BSR").reshape(matrix(tuple(dense.shape)))
        present = block_mask(keep, *block)
        rows, columns = np.nonzero(present)
        values = blocks_at(dense.reshape(keep.shape), None if mask is None else keep, block, rows, columns)
        starts = np.concatenate([[0], np.cumsum(present.sum(1))]).astype(np.int32)
        return cls(values, jnp.asarray(columns.astype(np.int32)), jnp.asarray(starts), block, tuple(dense.shape))

    def to_dense(self) -> Array:
        """The array, with zeros where nothing is stored."""
        count = jnp.arange(self.values.shape[0], dtype=jnp.int32)
        rows = jnp.searchsorted(self.starts, count, side="right") - 1
        return from_blocks(self.values, rows, self.columns, self.block, matrix(self.shape)).reshape(self.shape)

    def bits(self, bits: int | None = None) -> int:
        """Bits of the storage, for values of `bits` bits (default: their type's)."""
        count, height, width = self.values.shape
        across = -(-matrix(self.shape)[1] // width)
        one = clog(across) + height * width * value_bits(self.values, bits)
        return count * one + (self.starts.size) * clog(count + 1)
