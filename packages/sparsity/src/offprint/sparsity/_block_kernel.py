"""Products with a block-sparse kernel on an NVIDIA GPU: Pallas kernels, lowered by Triton.

One program makes one tile of the output: it walks over the blocks of its line, as many as there are, and loads the
tile of x that each needs. So nothing is gathered in memory, and the padding of the tables is never read.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from offprint.sparsity.formats._block_ell import BlockELL, Lines

LEAST = 16  # rows and columns of the smallest product of tiles
MOST_ROWS = 128
DEPTH_BYTES = 128  # of the contracted axis of one product of tiles: limits shared memory


def misfit(kernel: BlockELL, x: Array) -> str | None:
    """Why the kernels cannot run, or None if they can."""
    height, width = kernel.block
    if not all(side >= LEAST and side & (side - 1) == 0 and side <= MOST_ROWS for side in (height, width)):
        return f"its blocks must have sides of 16, 32, 64 or 128, but are {height}x{width}"
    dtype = jnp.result_type(x, kernel.rows.dtype if kernel.values is None else kernel.values)
    if dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        return f"it takes float32, bfloat16 or float16, but the type here is {dtype}"
    return None


def _rows(batch: int) -> int:
    """Rows of a tile: a power of two that does not exceed the batch by much."""
    return min(max(LEAST, 1 << max(batch - 1, 0).bit_length()), MOST_ROWS)


def _starts(lines: Lines) -> Array:
    """Where the entries of each line begin in the flat tables: known from their static shapes."""
    starts, first = [], 0
    for count, length in lines.tables:
        starts.append(first + np.arange(count) * length)
        first += count * length
    return jnp.asarray(np.concatenate(starts).astype(np.int32))


def _whole(*arrays: Any) -> list[pl.BlockSpec]:
    """Every program sees the whole of these arrays and loads what it needs."""
    return [pl.BlockSpec(memory_space=pl.ANY) for _ in arrays]


def _parameters(tile: int) -> triton.CompilerParams:
    return triton.CompilerParams(num_warps=8 if tile >= 128 * 64 else 4, num_stages=2)


def block_matmul(x: Array, kernel: BlockELL, transpose: bool, *, interpret: bool = False) -> Array:
    """x @ W, or x @ W.T: [batch, inputs] -> [batch, outputs], where both are filled up to whole blocks.

    Sums are in float32. float32 products are as precise as XLA makes those of dense arrays by default (TensorFloat-32
    on recent GPUs; `jax.default_matmul_precision` applies).
    """
    batch = x.shape[0]
    dtype = jnp.result_type(x, kernel.values)
    rows = _rows(batch)
    x = jnp.pad(x.astype(dtype), ((0, -batch % rows), (0, 0)))
    lines = kernel.backward if transpose else kernel.forward
    inner, outer = kernel.block[::-1] if transpose else kernel.block
    operands = (_starts(lines), lines.counts, lines.order, lines.sources, lines.slots, x, kernel.values.astype(dtype))
    y = pl.pallas_call(
        partial(_product, rows=rows, inner=inner, outer=outer, transpose=transpose),
        grid=(x.shape[0] // rows, lines.order.shape[0]),
        in_specs=_whole(*operands),
        out_specs=pl.BlockSpec(memory_space=pl.ANY),
        out_shape=jax.ShapeDtypeStruct((x.shape[0], lines.order.shape[0] * outer), dtype),
        compiler_params=_parameters(rows * outer),
        interpret=interpret,
        name="block_matmul",
    )(*operands)
    return y[:batch]


def _product(
    starts: Any,
    counts: Any,
    order: Any,
    sources: Any,
    slots: Any,
    x: Any,
    blocks: Any,
    y: Any,
    *,
    rows: int,
    inner: int,
    outer: int,
    transpose: bool,
) -> None:
    row, line = pl.program_id(0) * rows, pl.program_id(1)
    start, column = starts[line], order[line]
    depth = min(inner, max(LEAST, DEPTH_BYTES // x.dtype.itemsize))

    def add(entry: Array, total: Array) -> Array:
        source, slot = sources[start + entry] * inner, slots[start + entry]
        for part in range(0, inner, depth):
            tile = x[pl.ds(row, rows), pl.ds(source + part, depth)]
            if transpose:
                total += _dot(tile, blocks[slot, :, pl.ds(part, depth)].T)
            else:
                total += _dot(tile, blocks[slot, pl.ds(part, depth), :])
        return total

    total = lax.fori_loop(0, counts[line], add, jnp.zeros((rows, outer), jnp.float32))
    y[pl.ds(row, rows), pl.ds(column * outer, outer)] = total.astype(y.dtype)


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def block_sddmm(x: Array, dy: Array, kernel: BlockELL, *, interpret: bool = False) -> Array:
    """x.T @ dy at the stored blocks: [blocks, height, width]; x and dy are filled up to whole blocks."""
    dtype = jnp.result_type(x, dy)
    rows = min(_rows(x.shape[0]), max(LEAST, DEPTH_BYTES // np.dtype(dtype).itemsize))
    x, dy = (jnp.pad(a.astype(dtype), ((0, -a.shape[0] % rows), (0, 0))) for a in (x, dy))
    height, width = kernel.block
    operands = (kernel.rows, kernel.columns, x, dy)
    return pl.pallas_call(
        partial(_sample, rows=rows, height=height, width=width),
        grid=(kernel.rows.shape[0],),
        in_specs=_whole(*operands),
        out_specs=pl.BlockSpec(memory_space=pl.ANY),
        out_shape=jax.ShapeDtypeStruct((kernel.rows.shape[0], height, width), dtype),
        compiler_params=_parameters(height * width),
        interpret=interpret,
        name="block_sddmm",
    )(*operands)


def _sample(
    block_rows: Any, block_columns: Any, x: Any, dy: Any, blocks: Any, *, rows: int, height: int, width: int
) -> None:
    slot = pl.program_id(0)
    source, column = block_rows[slot] * height, block_columns[slot] * width

    def add(step: Array, total: Array) -> Array:
        here = pl.ds(step * rows, rows)
        return total + _dot(x[here, pl.ds(source, height)].T, dy[here, pl.ds(column, width)])

    total = lax.fori_loop(0, x.shape[0] // rows, add, jnp.zeros((height, width), jnp.float32))
    blocks[slot] = total.astype(blocks.dtype)
