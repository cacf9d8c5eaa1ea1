"""Products with a block-sparse kernel in plain XLA: what runs on CPU, and wherever the GPU kernel does not fit.

Everything is computed feature-major, on transposed inputs: a gathered block of inputs is then one stretch of memory,
and every product has the batch as its long axis. A loop multiplies a few lines at a time, whose gathered inputs stay in
the cache, and writes the result in place: measured on 2 cores (2048 x 2048, batch 256, float32, 90 % sparse) that is 3
to 8 times as fast as one gather and one batched product, which write and read back several times the inputs in fresh
memory.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import sparse
from jaxtyping import Array

from offprint.sparsity.formats._block_ell import BlockELL

SMALL_BATCH = 8
"""Up to this batch a table is multiplied at once: its gathered inputs are small, and a loop would cost more."""
AT_ONCE = 4
"""Lines of a table in one step of the loop."""


def block_matmul(x: Array, kernel: BlockELL, transpose: bool) -> Array:
    """x @ W, or x @ W.T: [batch, inputs] -> [batch, outputs], where both are filled up to whole blocks."""
    height, width = kernel.block
    lines = kernel.backward if transpose else kernel.forward
    inner, outer = (width, height) if transpose else (height, width)
    if inner == outer == 1:
        return _unstructured(x, kernel, transpose)
    inputs = x.T.reshape(-1, inner, x.shape[0])
    product = jnp.zeros((lines.order.shape[0], outer, x.shape[0]), x.dtype)
    line = first = 0
    for count, length in lines.tables:
        step = count if x.shape[0] <= SMALL_BATCH else _step(count)

        def add(
            product: Array, at: tuple[Array | int, Array | int], step: int = step, length: int = length
        ) -> tuple[Array, None]:
            """The product of `step` lines, put at its place."""
            line, first = at
            source, slot = (lax.dynamic_slice_in_dim(a, first, step * length) for a in (lines.sources, lines.slots))
            gathered = inputs.at[source].get(mode="promise_in_bounds").reshape(step, length, inner, -1)
            blocks = kernel.values.at[slot].get(mode="fill", fill_value=0)  # zeros for the padding
            column = lax.dynamic_slice_in_dim(lines.order, line, step)
            lined = _lines(blocks.reshape(step, length, height, width), gathered, transpose)
            return product.at[column].set(lined, mode="promise_in_bounds", unique_indices=True), None

        if step == count:
            product, _ = add(product, (line, first))
        else:
            steps = jnp.arange(count // step, dtype=jnp.int32) * step
            product, _ = lax.scan(add, product, (line + steps, first + steps * length))
        line, first = line + count, first + count * length
    return product.reshape(-1, x.shape[0]).T


def _step(count: int) -> int:
    """Lines in one step: a divisor of `count`, and not all, since XLA takes a loop of one step apart."""
    return next(step for step in range(min(AT_ONCE, max(count // 2, 1)), 0, -1) if count % step == 0)


def _lines(blocks: Array, gathered: Array, transpose: bool) -> Array:
    """Sum over the blocks of every line: [lines, length, height, width], [lines, length, inner, batch]."""
    if transpose:
        return lax.dot_general(blocks, gathered, (((1, 3), (1, 2)), ((0,), (0,))))
    return lax.dot_general(_joined(blocks), _joined(gathered), (((1,), (1,)), ((0,), (0,))))


def _joined(blocks: Array) -> Array:
    """The blocks of each line below each other."""
    return blocks.reshape(blocks.shape[0], -1, blocks.shape[3])


def _unstructured(x: Array, kernel: BlockELL, transpose: bool) -> Array:
    """The product with blocks of one entry, which stand compressed already: by columns, and in `backward` by rows.

    XLA has a product for compressed rows, several times as fast as sums of gathered rows; it takes no batch axes, so
    vmap loops, and no 16-bit types. A batch below 8 takes it four times as long as one of 8: it is filled up.
    """
    values = kernel.values[:, 0, 0]
    if transpose:
        lines = kernel.backward
        entries, sources, counts = values[lines.slots], lines.sources, lines.counts
    else:
        lines = kernel.forward
        entries, sources = values, kernel.rows
        counts = jnp.zeros_like(lines.counts).at[lines.order].set(lines.counts)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(counts, dtype=jnp.int32)])
    wide = jnp.promote_types(x.dtype, jnp.float32)
    filled = jnp.pad(x.astype(wide), ((0, max(SMALL_BATCH - x.shape[0], 0)), (0, 0)))
    product = _csr_product(entries.astype(wide), sources, starts, filled.T)
    return product.T[: x.shape[0]].astype(x.dtype)


@jax.custom_batching.sequential_vmap
def _csr_product(entries: Array, sources: Array, starts: Array, rows: Array) -> Array:
    shape = (starts.shape[0] - 1, rows.shape[0])
    return sparse.BCSR((entries, sources, starts), shape=shape) @ rows


def block_sddmm(x: Array, dy: Array, kernel: BlockELL) -> Array:
    """x.T @ dy at the stored blocks: [blocks, height, width]; x and dy are filled up to whole blocks."""
    height, width = kernel.block
    lines = kernel.forward
    inputs = x.T.reshape(-1, height, x.shape[0])
    errors = dy.T.reshape(-1, width, x.shape[0])
    blocks = jnp.zeros((kernel.rows.shape[0], height, width), x.dtype)
    line = first = 0
    for count, length in lines.tables:
        step = _step(count)

        def add(blocks: Array, at: tuple[Array, Array], step: int = step, length: int = length) -> tuple[Array, None]:
            """The blocks of `step` lines, put at their places; what stands for the padding is dropped."""
            line, first = at
            source, slot = (lax.dynamic_slice_in_dim(a, first, step * length) for a in (lines.sources, lines.slots))
            gathered = inputs.at[source].get(mode="promise_in_bounds").reshape(step, length * height, -1)
            error = errors.at[lax.dynamic_slice_in_dim(lines.order, line, step)].get(mode="promise_in_bounds")
            product = lax.dot_general(gathered, error, (((2,), (2,)), ((0,), (0,))))
            return blocks.at[slot].set(product.reshape(-1, height, width), mode="drop"), None

        steps = jnp.arange(count // step, dtype=jnp.int32) * step
        blocks, _ = lax.scan(add, blocks, (line + steps, first + steps * length))
        line, first = line + count, first + count * length
    return blocks


def fill(x: Array, side: int) -> Array:
    """[batch, features] with zeros up to a multiple of `side` features."""
    return jnp.pad(x, ((0, 0), (0, -x.shape[1] % side))) if x.shape[1] % side else x
