"""Products with the Jacobian of a chain of dense layers, from what goes into each layer and what it does to u."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._products import Products

TILE, ROWS = 2**22, 128
"""Numbers of a layer of J that are formed at a time for a product with many columns: few enough for the caches, but
of so many points that reading and writing the result is not the larger part."""

FEW_COLUMNS = 16
"""Below so many columns, forming J costs more than it saves."""


def layerwise_products(chain: Any, X: Float[Array, "n d"], dtype: Any) -> Products:
    """Products for an MLP (or one MLP for each component) without a sequence of layers: plain matrix products.

    With z = A W + b the pre-activations of layer l, A its input with a column of ones in front (for the bias) and
    S = ∂u/∂z, one backward pass for all layers:

        J v = Σ_l Σ_o (A V)_o S_o        Jᵀ c = { Aᵀ (c S) }_l        J Jᵀ = Σ_l (A Aᵀ) * (S Sᵀ)

    Half of the flops of a linearised program, n Σ(n_in + n_out) numbers of memory.

    Args:
        chain: `layers` [(W (B, n_in, n_out), b (B, n_out))], `activation`, `features(x) -> (n_in,)` and
            `scale(x) -> () or (k,)`, with u = G + scale * head; θ is ordered by (block, layer, bias before W).
        X: the points.
        dtype: in which the products are computed.
    """
    inputs, outputs = _factors(chain, X, dtype)
    shapes = [(A.shape[-1], S.shape[-1]) for A, S in zip(inputs, outputs)]
    blocks, n, m = outputs[0].shape[:3]
    splits = np.cumsum([i * o for i, o in shapes])

    def layers_of(v: Array) -> list[Array]:
        """v (..., p) cut into the layers, each (..., B, n_in + 1, n_out)."""
        v = v.reshape(*v.shape[:-1], blocks, -1)
        cut = jnp.split(v, splits[:-1], axis=-1)
        return [piece.reshape(*piece.shape[:-1], *shape) for piece, shape in zip(cut, shapes)]

    def jvp(v: Array) -> Array:
        total = sum(((A @ V)[:, :, None] * S).sum(-1) for A, S, V in zip(inputs, outputs, layers_of(v)))
        return jnp.transpose(total, (1, 0, 2)).reshape(n, blocks * m)

    def vjp(c: Array) -> Array:
        c = jnp.transpose(c.reshape(n, blocks, m), (1, 0, 2))[..., None]
        layers = [A.mT @ (c * S).sum(2) for A, S in zip(inputs, outputs)]
        return jnp.concatenate([layer.reshape(blocks, -1) for layer in layers], axis=1).reshape(-1)

    def pair(V: Array, w: Array) -> Array:
        if V.shape[1] < FEW_COLUMNS:
            return jax.vmap(lambda v: vjp(w[:, None] * jvp(v)), in_axes=1, out_axes=1)(V)
        cut = jnp.split(V.reshape(blocks, -1, V.shape[1]), splits[:-1], axis=1)
        return _pair_by_tiles(inputs, outputs, cut, w).reshape(V.shape)

    def jacobian() -> Array:
        return jnp.concatenate([_outer(A, S) for A, S in zip(inputs, outputs)], axis=-1)

    rows, columns_of = _positions(shapes)

    def columns(idx: Array) -> Array:
        A = jnp.concatenate([jnp.broadcast_to(A, (blocks, *A.shape[1:])) for A in inputs], axis=-1)
        S = jnp.concatenate(outputs, axis=-1)
        chosen_inputs = jnp.take_along_axis(A, rows[idx][:, None], axis=-1)
        chosen_outputs = jnp.take_along_axis(S, columns_of[idx][:, None, None], axis=-1)
        return (chosen_inputs[:, :, None] * chosen_outputs).reshape(blocks, n * m, -1)

    def kernel() -> Array:
        total = jnp.zeros((blocks, n * m, n * m), dtype)
        for A, S in zip(inputs, outputs):
            flat = S.reshape(blocks, n * m, -1)
            total += jnp.repeat(jnp.repeat(A @ A.mT, m, axis=1), m, axis=2) * (flat @ flat.mT)
        return total

    return Products(jvp, vjp, pair, jacobian, columns, kernel, n)


def _pair_by_tiles(inputs: list[Array], outputs: list[Array], V: list[Array], w: Array) -> Array:
    """Jᵀ diag(w) J V for many columns, with a layer of J formed for some points at a time.

    A tile of J is an outer product that serves all columns twice: cheaper than what each column would need by itself.
    """
    n, m = outputs[0].shape[1:3]
    most = max(ROWS, TILE // (m * max(piece.shape[1] for piece in V)))
    count = -(-n // most)
    rows = -(-n // count)

    def tiles(values: Array, axis: int) -> Array:
        # strided: each tile has its share of every device that the points are split over
        pad = [(0, count * rows - n if i == axis else 0) for i in range(values.ndim)]
        shape = (*values.shape[:axis], rows, count, *values.shape[axis + 1 :])
        return jnp.moveaxis(jnp.pad(values, pad).reshape(shape), axis + 1, 0)

    def add(total: list[Array], tile: tuple[list[Array], list[Array], Array]) -> tuple[list[Array], None]:
        A, S, weight = tile
        J = [_outer(a, s) for a, s in zip(A, S)]
        C = jnp.repeat(weight, m)[:, None] * sum(j @ v for j, v in zip(J, V))
        return [t + j.mT @ C for t, j in zip(total, J)], None

    tiled = ([tiles(A, 1) for A in inputs], [tiles(S, 1) for S in outputs], tiles(w, 0))
    start = [jnp.zeros_like(v) for v in V]
    return jnp.concatenate(jax.lax.scan(add, start, tiled)[0], axis=1)


def _outer(A: Float[Array, "_ n i"], S: Float[Array, "B n m o"]) -> Float[Array, "B rows weights"]:
    """The part of J that belongs to a layer: rows (point, component), columns (input, output)."""
    J = A[:, :, None, :, None] * S[:, :, :, None, :]
    return J.reshape(J.shape[0], J.shape[1] * J.shape[2], -1)


def _factors(chain: Any, X: Array, dtype: Any) -> tuple[list[Array], list[Array]]:
    """Of each layer: its input with ones in front (B or 1, n, n_in + 1), and ∂u/∂z (B, n, m, n_out)."""
    layers = [(W.astype(dtype), b.astype(dtype)) for W, b in chain.layers]
    last_W = layers[-1][0]
    blocks, m = last_W.shape[0], last_W.shape[2]
    a = jax.vmap(chain.features)(X).astype(dtype)[None]
    inputs, slopes = [], []
    for W, b in layers[:-1]:
        inputs.append(_with_ones(a))
        z = a @ W + b[:, None]
        a, slope = jax.jvp(chain.activation, (z,), (jnp.ones_like(z),))
        slopes.append(slope)
    inputs.append(_with_ones(a))
    scale = jax.vmap(lambda x: jnp.broadcast_to(chain.scale(x), (blocks * m,)))(X).astype(dtype)
    scale = jnp.transpose(scale.reshape(-1, blocks, m), (1, 0, 2))
    S = scale[..., None] * jnp.eye(m, dtype=dtype)
    outputs = [S]
    for (W, _), slope in zip(reversed(layers[1:]), reversed(slopes)):
        S = (S.reshape(blocks, -1, S.shape[-1]) @ W.mT).reshape(*S.shape[:3], -1) * slope[:, :, None]
        outputs.append(S)
    return inputs, outputs[::-1]


def _with_ones(a: Array) -> Array:
    return jnp.concatenate([jnp.ones_like(a[..., :1]), a], axis=-1)


def _positions(shapes: list[tuple[int, int]]) -> tuple[Array, Array]:
    """Of each entry of a block of θ: which column of all inputs side by side, and which of all outputs, it joins."""
    rows, columns = [], []
    first_row = first_column = 0
    for i, o in shapes:
        row, column = np.divmod(np.arange(i * o), o)
        rows.append(first_row + row)
        columns.append(first_column + column)
        first_row, first_column = first_row + i, first_column + o
    return jnp.asarray(np.concatenate(rows)), jnp.asarray(np.concatenate(columns))
