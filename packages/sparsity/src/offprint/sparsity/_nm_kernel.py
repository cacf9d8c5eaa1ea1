"""x @ W for an n:m kernel on an NVIDIA GPU, read in its packed form: a Pallas kernel, lowered by Triton.

At small batches a layer takes as long as reading its kernel takes, and a packed one has fewer bytes (36 of 64 bits a
group for 16-bit values at 2:4). Values are unpacked in registers: the product is split by the place r in the group,
x @ W = sum over r of x[:, r::m] @ W[r::m], where W[r::m] is the values whose place is r. The sparse tensor cores are
not used: JAX offers no way to them on Hopper.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array

from offprint.sparsity._bits import clog
from offprint.sparsity.formats._nm import SLABS, NMPacked

LEAST = 16  # rows and columns of the smallest product of tiles
COLUMNS = 64
MOST_ROWS = 64
PROGRAMS = 512  # enough for every multiprocessor to have several


def misfit(kernel: NMPacked, x: Array) -> str | None:
    """Why the kernel cannot run, or None if it can."""
    slab = kernel.planes.shape[2]
    if slab % LEAST:
        return f"the groups of {kernel.m} must be a multiple of {SLABS * LEAST}, but are {SLABS * slab}"
    if kernel.shape[1] % COLUMNS:
        return f"the outputs must be a multiple of {COLUMNS}, but are {kernel.shape[1]}"
    dtype = x.dtype if kernel.values is None else jnp.result_type(x, kernel.values)
    if dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
        return f"it takes float32, bfloat16 or float16, but the type here is {dtype}"
    return None


def nm_matmul(x: Array, kernel: NMPacked, *, interpret: bool = False) -> Array:
    """x @ W: [batch, in] -> [batch, out]. Sums are in float32."""
    (batch, features), out = x.shape, kernel.shape[1]
    groups, slab = kernel.values.shape[1], kernel.planes.shape[2]
    dtype = jnp.result_type(x, kernel.values)
    rows = min(max(LEAST, 1 << max(batch - 1, 0).bit_length()), MOST_ROWS)
    x = jnp.pad(x.astype(dtype), ((0, -batch % rows), (0, groups * kernel.m - features)))
    by_place = x.reshape(-1, groups, kernel.m).transpose(2, 0, 1)  # [m, batch, groups]
    tile = next(size for size in (64, 32, LEAST) if slab % size == 0)
    grid = x.shape[0] // rows, out // COLUMNS
    shares = _shares(slab // tile, grid[0] * grid[1])
    operands = (by_place, kernel.values.astype(dtype), kernel.planes)
    partial_sums = pl.pallas_call(
        partial(_product, kernel=(kernel.n, kernel.m), rows=rows, tile=tile, steps=slab // tile // shares),
        grid=(*grid, shares),
        in_specs=[pl.BlockSpec(memory_space=pl.ANY) for _ in operands],
        out_specs=pl.BlockSpec(memory_space=pl.ANY),
        out_shape=jax.ShapeDtypeStruct((shares, x.shape[0], out), jnp.float32),
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
        name="nm_matmul",
    )(*operands)
    return partial_sums.sum(0)[:batch].astype(dtype)


def _shares(steps: int, programs: int) -> int:
    """Programs that share one output: the smallest divisor of `steps` that makes enough of them."""
    divisors = [share for share in range(1, steps + 1) if steps % share == 0]
    return next((share for share in divisors if share * programs >= PROGRAMS), divisors[-1])


def _product(
    x: Any, values: Any, planes: Any, y: Any, *, kernel: tuple[int, int], rows: int, tile: int, steps: int
) -> None:
    n, m = kernel
    here = pl.ds(pl.program_id(0) * rows, rows)
    columns = pl.ds(pl.program_id(1) * COLUMNS, COLUMNS)
    share = pl.program_id(2)
    slab = planes.shape[2]

    def add(step: Array, total: Array) -> Array:
        first = (share * steps + step) * tile
        packed = [
            [planes[k, bit, pl.ds(first, tile), columns].astype(jnp.int32) for bit in range(clog(m))] for k in range(n)
        ]
        for s in range(SLABS):
            groups = pl.ds(s * slab + first, tile)
            found = [values[k, groups, columns] for k in range(n)]
            places = [sum(((plane >> s) & 1) << bit for bit, plane in enumerate(packed[k])) for k in range(n)]
            for r in range(m):
                chosen = jnp.where(places[0] == r, found[0], 0)
                for k in range(1, n):
                    chosen += jnp.where(places[k] == r, found[k], 0)
                total += jnp.dot(x[r, here, groups], chosen.astype(x.dtype), preferred_element_type=jnp.float32)
        return total

    y[share, here, columns] = lax.fori_loop(0, steps, add, jnp.zeros((rows, COLUMNS), jnp.float32))
