"""Features as spike times: latency encoding."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Bound = Number | Num[Array, " d"] | Num[np.ndarray, " d"]
Bias = Literal["append", "official"]


def encode_latency(
    x: Num[Array, "*batch d"] | Num[np.ndarray, "*batch d"],
    t_min: Number,
    t_max: Number,
    *,
    low: Bound = 0.0,
    high: Bound = 1.0,
    invert: bool = False,
    bias_time: Number | None = None,
    mirror: bool = False,
    bias: Bias = "append",
    silent_below: Number | None = None,
) -> SpikeTrain:
    """One spike for each feature: at t_min + (t_max - t_min) u with u = (x - low) / (high - low), clipped to [0, 1].

    Yin-Yang of the authors' experiments is `encode_latency(x, 0.15, 2, bias_time=0.9)`, Iris
    `encode_latency(x, 0, 16, low=x.min(0), high=x.max(0), invert=True)`, XOR `encode_latency(x, 0, 1)`.

    Args:
        x: features (..., d), floats or integers. The times have the dtype of float features, else JAX's default.
        t_min, t_max: earliest and latest time.
        low, high: the values that are sent at the ends, for all features or for each.
        invert: large values fire early: u becomes 1 - u.
        bias_time: one more input that fires then in every sample.
        mirror: d more inputs, after the first d, with 1 - u for u, so that something fires early for every value.
        bias: where the bias spike goes. `"append"`: the last channel. `"official"`: the authors' script inserts it
            at `searchsorted` of the unsorted times, so that its channel and the features behind it depend on the
            sample; needed only to repeat their figures.
        silent_below: features with smaller values do not fire at all, such as the black pixels of an image.

    Returns:
        Spikes of d inputs (2d with `mirror`, one more with `bias_time`), one for each, differentiable in `x`.

    Raises:
        TypeError: features of another dtype than integer, float32 or float64.
        ValueError: features, bounds or times that are not finite; `low` not below `high`; `t_min` not below `t_max`;
            an unknown `bias`.
    """
    _check(x, t_min, t_max, low, high, bias_time, bias)
    values = jnp.asarray(x)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(float)
    dtype = values.dtype
    floor, ceiling = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    u = jnp.clip((values - floor) / (ceiling - floor), 0, 1)
    times = t_min + (t_max - t_min) * (1 - u if invert else u)
    if mirror:
        times = jnp.concatenate([times, t_min + (t_max - t_min) * (u if invert else 1 - u)], axis=-1)
    if silent_below is not None:
        dark = values < silent_below
        times = jnp.where(jnp.concatenate([dark, dark], -1) if mirror else dark, jnp.inf, times)
    if bias_time is not None:
        last = times.shape[-1]
        index = jnp.full(times.shape[:-1], last) if bias == "append" else _bisect(times, bias_time)
        times = _inserted(times, index, jnp.asarray(bias_time, dtype))
    fired = jnp.isfinite(times)
    return SpikeTrain(times[..., None], fired.astype(jnp.int32), jnp.zeros_like(fired))


def _inserted(times: Float[Array, "*batch d"], index: Num[Array, "*batch"], value: Array) -> Float[Array, "*batch d+1"]:
    """`times` with `value` before position `index`."""
    place = jnp.arange(times.shape[-1] + 1)
    at = index[..., None]
    source = jnp.clip(place - (place > at), 0, times.shape[-1] - 1)
    return jnp.where(place == at, value, jnp.take_along_axis(times, source, axis=-1))


def _bisect(times: Float[Array, "*batch d"], value: Number) -> Num[Array, "*batch"]:
    """What NumPy's `searchsorted` answers for times that are not sorted: its bisection, step by step."""
    first = jnp.zeros(times.shape[:-1], jnp.int32)
    last = jnp.full(times.shape[:-1], times.shape[-1], jnp.int32)
    for _ in range(times.shape[-1].bit_length()):
        middle = (first + last) // 2
        probe = jnp.take_along_axis(times, jnp.minimum(middle, times.shape[-1] - 1)[..., None], axis=-1)[..., 0]
        going, above = first < last, probe < value
        first, last = jnp.where(going & above, middle + 1, first), jnp.where(going & ~above, middle, last)
    return first


def _check(
    x: object, t_min: Number, t_max: Number, low: Bound, high: Bound, bias_time: Number | None, bias: str
) -> None:
    if bias not in ("append", "official"):
        raise ValueError(f"bias={bias!r} is unknown; 'append' or 'official' is needed")
    finite = np.isfinite([t_min, t_max, 0.0 if bias_time is None else bias_time]).all()
    if not finite or t_min < 0 or not t_min < t_max or (bias_time is not None and bias_time < 0):
        raise ValueError(
            f"finite times with 0 <= t_min < t_max and 0 <= bias_time are needed, "
            f"got t_min={t_min}, t_max={t_max}, bias_time={bias_time}"
        )
    if not isinstance(low, jax.core.Tracer) and not isinstance(high, jax.core.Tracer):
        least, most = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
        if not (least < most).all() or not np.isfinite(most - least).all():
            where = int(np.argmin(np.atleast_1d(most - least)))
            raise ValueError(
                f"low must be below high, both finite, but feature {where} has low={np.atleast_1d(least)[where]} and "
                f"high={np.atleast_1d(most)[where]}; leave constant features out"
            )
    dtype = np.dtype(getattr(x, "dtype", float))
    if dtype not in (np.float32, np.float64) and not np.issubdtype(dtype, np.integer) and dtype != np.bool_:
        raise TypeError(f"features must be integers, float32 or float64, but are {dtype}; use x.astype('float32')")
    if not isinstance(x, jax.core.Tracer):
        array = np.asarray(x)
        if array.ndim < 1:
            raise ValueError("features (..., d) are needed, but a single number was given")
        if not np.isfinite(array).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"features must be finite, but x{list(bad)} is {array[bad]}; fill in missing values first")
