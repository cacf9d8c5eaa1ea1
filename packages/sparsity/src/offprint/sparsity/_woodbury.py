"""The empirical Fisher matrix F = λI + GᵀG/m of m gradient rows G, inverted without being formed.

By Woodbury's identity F⁻¹ = (I − Gᵀ(λmI + GGᵀ)⁻¹G)/λ, so all that is factored is m × m. With L the Cholesky factor of
λmI + GGᵀ and A = L⁻¹G it reads (I − AᵀA)/λ. Blocks along the diagonal of F are the first axis of `rows`:
(blocks, m, size), the size being all of a leaf or part of it.

Rows that are NumPy arrays are handled in float64, a piece at a time, since 1 − ΣA² loses digits; JAX arrays (traced
ones, and those of an accelerator) are handled where they are in their own precision.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Rows = Float[Array | np.ndarray, "blocks m size"]
Square = Float[Array | np.ndarray, "blocks m m"]
Columns = Float[Array | np.ndarray, "blocks m 1"]
Vector = Float[Array | np.ndarray, "blocks 1 size"]

PIECE = 1 << 16  # columns that become float64 at a time: 52 MB for a hundred rows
EXACT = jax.lax.Precision.HIGHEST


def split(rows: Any, block: int | None) -> Any:
    """(m, *shape) as (blocks, m, size): consecutive elements of the flat leaf, the last block filled with zeros."""
    xp = np if isinstance(rows, np.ndarray) else jnp
    flat = rows.reshape(rows.shape[0], -1)
    size = flat.shape[1] if block is None else min(block, flat.shape[1])
    if flat.shape[1] % size:
        flat = xp.pad(flat, ((0, 0), (0, -flat.shape[1] % size)))
    return xp.swapaxes(flat.reshape(flat.shape[0], -1, size), 0, 1)


def join(blocks: Any, shape: tuple[int, ...]) -> Any:
    """(blocks, ..., size) of one vector as an array of `shape`; undoes `split`."""
    return blocks.reshape(-1)[: int(np.prod(shape))].reshape(shape)


def gram(rows: Rows) -> Square:
    """GGᵀ of every block."""
    if not isinstance(rows, np.ndarray):
        return jnp.matmul(rows, rows.mT, precision=EXACT)
    blocks, m, _ = rows.shape
    total = np.zeros((blocks, m, m))
    for block, columns, piece in _pieces(rows):
        del columns
        total[block] += piece @ piece.mT
    return total


def inverse_factor(gram: Square, damp: Any) -> Square:
    """L⁻¹, where LLᵀ = λmI + GGᵀ; in float64 on the host unless the matrix is traced."""
    m = gram.shape[-1]
    if isinstance(gram, jax.core.Tracer):
        factor = jnp.linalg.cholesky(gram + damp * m * jnp.eye(m, dtype=gram.dtype))
        eye = jnp.broadcast_to(jnp.eye(m, dtype=gram.dtype), factor.shape)
        return jax.lax.linalg.triangular_solve(factor, eye, left_side=True, lower=True)
    exact = np.asarray(gram, np.float64) + float(damp) * m * np.eye(m)
    inverse = np.linalg.inv(np.linalg.cholesky(exact))
    return inverse if isinstance(gram, np.ndarray) else jnp.asarray(inverse, gram.dtype)


def diagonal(rows: Rows, factor: Square, damp: Any) -> Float[Array | np.ndarray, "blocks size"]:
    """The diagonal of F⁻¹: (1 − Σ_k A_k²)/λ."""
    if not isinstance(rows, np.ndarray):
        whitened = jnp.matmul(factor, rows, precision=EXACT)
        return (1 - jnp.sum(whitened * whitened, axis=1)) / damp
    result = np.empty((rows.shape[0], rows.shape[2]))
    for block, columns, piece in _pieces(rows):
        whitened = factor[block] @ piece
        result[block, columns] = (1 - np.einsum("bmk,bmk->bk", whitened, whitened)) / float(damp)
    return result


def times(rows: Rows, x: Vector) -> Columns:
    """G x of every block, x being (blocks, 1, size)."""
    if not isinstance(rows, np.ndarray):
        return jnp.matmul(rows, x.mT, precision=EXACT)
    total = np.zeros((rows.shape[0], rows.shape[1], 1))
    exact = np.asarray(x, np.float64)
    for block, columns, piece in _pieces(rows):
        total[block] += piece @ exact[block, :, columns].mT
    return total


def transposed(rows: Rows, z: Columns) -> Vector:
    """(Gᵀ z)ᵀ of every block, (blocks, 1, size)."""
    if not isinstance(rows, np.ndarray):
        return jnp.matmul(z.mT, rows, precision=EXACT)
    result = np.empty((rows.shape[0], 1, rows.shape[2]))
    for block, columns, piece in _pieces(rows):
        result[block, :, columns] = z[block].mT @ piece
    return result


def solve(factor: Square, y: Columns) -> Columns:
    """(λmI + GGᵀ)⁻¹ y from L⁻¹."""
    if isinstance(factor, np.ndarray) and isinstance(y, np.ndarray):
        return factor.mT @ (factor @ y)
    return jnp.matmul(factor.mT, jnp.matmul(factor, y, precision=EXACT), precision=EXACT)


def coupled(of_leaves: dict[str, Any], network: bool) -> dict[str, Any]:
    """What every leaf has: its own, or, if all leaves are one block, the sum over them."""
    return dict.fromkeys(of_leaves, sum(of_leaves.values())) if network else of_leaves


def _pieces(rows: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Parts of `rows` in float64, with the blocks and the columns that they are."""
    blocks, _, size = rows.shape
    step = max(1, PIECE // size)
    for first in range(0, blocks, step):
        for start in range(0, size, PIECE):
            block, columns = slice(first, first + step), slice(start, start + PIECE)
            yield block, columns, np.ascontiguousarray(rows[block, :, columns], dtype=np.float64)
