"""The marginal recurrence as one GPU kernel for all of time, forwards and backwards.

Groups and sequences do not see each other, so that one program takes one group and a tile of the batch through all
steps, with the recurrent weights and the state on the chip: a scan launches several kernels per step instead. Hidden
units and batch are padded to the tiles of the hardware with zeros, which stay zero.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

LEAST_TILE = 16  # of a matrix product on the chip
LARGEST_TILE = 64  # of the batch, so that state and gates stay in registers


def kernel_forward(
    gates_in: Float[Array, "groups time batch both"],
    candidate_in: Float[Array, "groups time batch hidden"],
    w_hh: Float[Array, "groups hidden gates"],
    h0: Float[Array, "groups batch hidden"],
    *,
    precision: jax.lax.PrecisionLike = None,
    interpret: bool = False,
) -> tuple[Float[Array, "groups batch hidden"], tuple[Float[Array, "groups time batch _"], ...]]:
    """The last state, and h_{t-1}, r beside z, n and q = U_n h_{t-1} of every step; as the scan gives them.

    Args:
        gates_in: W x_t + b for r and z.
        candidate_in: W x_t + b for n.
        w_hh: recurrent weights U.
        h0: the state to start from.
        precision: of the matrix product.
        interpret: run the kernel by the interpreter, on any device.
    """
    G, T, B, hidden = candidate_in.shape
    tile, units = _tiles(B, hidden)
    fill, more = -B % tile, units - hidden
    gates_in = _pad(gates_in.reshape(G, T, B, 2, hidden), (0, 0, fill, 0, more))
    inputs = (gates_in, _pad(candidate_in, (0, 0, fill, more)), _pad_weights(w_hh, units), _pad(h0, (0, fill, more)))
    over_time, pair = (G, T, B + fill, units), (G, T, B + fill, 2, units)
    shapes = ((G, B + fill, units), over_time, pair, over_time, over_time)
    last, *saved = pl.pallas_call(
        partial(_forward_kernel, T, precision),
        grid=(G, (B + fill) // tile),
        in_specs=[
            _time_spec(T, tile, 2, units),
            _time_spec(T, tile, units),
            _weight_spec(units),
            _state_spec(tile, units),
        ],
        out_specs=[
            _state_spec(tile, units),
            _time_spec(T, tile, units),
            _time_spec(T, tile, 2, units),
            *[_time_spec(T, tile, units)] * 2,
        ],
        out_shape=[jax.ShapeDtypeStruct(shape, h0.dtype) for shape in shapes],
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
        name="mgrn_marginal_forward",
    )(*inputs)
    return last[:, :B, :hidden], tuple(_unpad(array, B, hidden) for array in saved)


def kernel_backward(
    residuals: tuple[Float[Array, "groups time batch _"], ...],
    w_hh: Float[Array, "groups hidden gates"],
    dcandidates: Float[Array, "groups time batch hidden"],
    dlast: Float[Array, "groups batch hidden"],
    *,
    precision: jax.lax.PrecisionLike = None,
    interpret: bool = False,
) -> tuple[tuple[Float[Array, "groups time batch _"], ...], Float[Array, "groups batch hidden"]]:
    """Cotangents of `gates_in` and `candidate_in`, and of `h0`, from those of the candidates and the last state.

    Args:
        residuals: of `kernel_forward`.
        w_hh: recurrent weights U.
        dcandidates, dlast: cotangents.
        precision, interpret: as in `kernel_forward`.
    """
    G, T, B, hidden = dcandidates.shape
    tile, units = _tiles(B, hidden)
    fill, more = -B % tile, units - hidden
    before, gates, candidate, q = residuals
    before, candidate, q, dn = (_pad(array, (0, 0, fill, more)) for array in (before, candidate, q, dcandidates))
    gates = _pad(gates.reshape(G, T, B, 2, hidden), (0, 0, fill, 0, more))
    transposed = _pad_weights(w_hh, units).swapaxes(2, 3)
    one, two = _time_spec(T, tile, units), _time_spec(T, tile, 2, units)
    shapes = ((G, T, B + fill, 2, units), (G, T, B + fill, units), (G, B + fill, units))
    *dprojected, dh0 = pl.pallas_call(
        partial(_backward_kernel, T, precision),
        grid=(G, (B + fill) // tile),
        in_specs=[one, two, one, one, one, _weight_spec(units), _state_spec(tile, units)],
        out_specs=[two, one, _state_spec(tile, units)],
        out_shape=[jax.ShapeDtypeStruct(shape, dlast.dtype) for shape in shapes],
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
        name="mgrn_marginal_backward",
    )(before, gates, candidate, q, dn, transposed, _pad(dlast, (0, fill, more)))
    return tuple(_unpad(array, B, hidden) for array in dprojected), dh0[:, :B, :hidden]


def _forward_kernel(
    steps: int,
    precision: Any,
    gates_in: Any,
    candidate_in: Any,
    w_hh: Any,
    h0: Any,
    last: Any,
    before: Any,
    gates: Any,
    candidate: Any,
    recurrent: Any,
) -> None:
    weights = [w_hh[0, k] for k in range(3)]

    def cell(t: Any, h: Array) -> Array:
        to_r, to_z, q = (_dot(h, w, precision) for w in weights)
        r = jax.nn.sigmoid(gates_in[0, t, :, 0, :] + to_r)
        z = jax.nn.sigmoid(gates_in[0, t, :, 1, :] + to_z)
        n = jnp.tanh(candidate_in[0, t] + r * q)
        before[0, t], candidate[0, t], recurrent[0, t] = h, n, q
        gates[0, t, :, 0, :], gates[0, t, :, 1, :] = r, z
        return (1 - z) * n + z * h

    last[0] = jax.lax.fori_loop(0, steps, cell, h0[0])


def _backward_kernel(
    steps: int,
    precision: Any,
    before: Any,
    gates: Any,
    candidate: Any,
    recurrent: Any,
    dcandidates: Any,
    transposed: Any,
    dlast: Any,
    dgates: Any,
    dcandidate_in: Any,
    dh0: Any,
) -> None:
    weights = [transposed[0, k] for k in range(3)]

    def cell(i: Any, dh: Array) -> Array:
        t = steps - 1 - i
        h, n, q, dn = (ref[0, t] for ref in (before, candidate, recurrent, dcandidates))
        r, z = gates[0, t, :, 0, :], gates[0, t, :, 1, :]
        dp = (dn + dh * (1 - z)) * (1 - n * n)
        dr = dp * q * r * (1 - r)
        dz = dh * (h - n) * z * (1 - z)
        dgates[0, t, :, 0, :], dgates[0, t, :, 1, :], dcandidate_in[0, t] = dr, dz, dp
        return dh * z + sum(_dot(d, w, precision) for d, w in zip((dr, dz, dp * r), weights))

    dh0[0] = jax.lax.fori_loop(0, steps, cell, dlast[0])


def _dot(state: Array, weights: Array, precision: Any) -> Array:
    """A product in the weights' type, accumulated in the state's."""
    return jnp.dot(state.astype(weights.dtype), weights, precision=precision, preferred_element_type=state.dtype)


def _tiles(batch: int, hidden: int) -> tuple[int, int]:
    """Sequences of one program, and hidden units after padding: powers of two that the chip can multiply."""
    return min(max(LEAST_TILE, pl.next_power_of_2(batch)), LARGEST_TILE), max(LEAST_TILE, pl.next_power_of_2(hidden))


def _pad(array: Array, widths: tuple[int, ...]) -> Array:
    return jnp.pad(array, [(0, width) for width in widths])


def _unpad(array: Array, batch: int, hidden: int) -> Array:
    """Without the padding, and r and z side by side."""
    cut = array[:, :, :batch, ..., :hidden]
    return cut.reshape(*cut.shape[:3], -1)


def _pad_weights(w_hh: Array, units: int) -> Array:
    """(G, H, 3H) as (G, 3, H, H), padded."""
    G, hidden, _ = w_hh.shape
    return _pad(w_hh.reshape(G, hidden, 3, hidden).swapaxes(1, 2), (0, 0, units - hidden, units - hidden))


def _time_spec(steps: int, tile: int, *units: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, steps, tile, *units), lambda g, b: (g, 0, b, *[0] * len(units)))


def _weight_spec(units: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, 3, units, units), lambda g, b: (g, 0, 0, 0))


def _state_spec(tile: int, units: int) -> pl.BlockSpec:
    return pl.BlockSpec((1, tile, units), lambda g, b: (g, b, 0))
