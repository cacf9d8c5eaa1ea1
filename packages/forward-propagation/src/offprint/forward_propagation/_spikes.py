"""Spike trains: the times at which each of n sources fires, sorted and padded with +inf."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from offprint.forward_propagation._neuron import is_concrete


class SpikeTrain(NamedTuple):
    """Spikes of n sources, at most S of each; a pytree, batched by leading axes."""

    times: Float[Array, "*batch n S"]
    """Spike times, ascending for each source, +inf where there is none."""
    count: Int32[Array, "*batch n"]  # type: ignore[assignment]  # the field hides tuple.count
    """Number of spikes, at most S."""
    overflow: Bool[Array, "*batch n"]
    """Whether the source would have fired again, before the horizon, after the S spikes that are kept."""


def spike_train(times: Any, *, dtype: Any = None) -> SpikeTrain:
    """Spike trains from given times, in any order.

    Args:
        times: array (..., n, S) of times, +inf where a source has fewer than S spikes; or n lists of times, one for
            each source, of any lengths.
        dtype: float32 or float64; by default that of the array (for lists JAX's default).

    Returns:
        The trains, sorted, with `overflow` False throughout.

    Raises:
        TypeError: integer, float16 or other times that are neither float32 nor float64.
        ValueError: NaN or -inf among the times; an array without the axes (n, S); float64 while JAX has it off.
    """
    if not hasattr(times, "dtype"):
        times = _padded(times, dtype)
    array = as_times(times, dtype)
    if array.ndim < 2:
        raise ValueError(f"times have shape {array.shape}; (..., n, S), S spikes of each of n sources, is needed")
    ordered = jnp.sort(array, axis=-1)
    return SpikeTrain(ordered, count_spikes(ordered), jnp.zeros(ordered.shape[:-1], bool))


def as_times(times: Any, dtype: Any = None) -> Float[Array, "..."]:
    """Times as an array of float32 or float64; raises as `spike_train`. Tracers' values pass."""
    given = np.dtype(times.dtype if dtype is None else dtype)
    if given not in (np.dtype("float32"), np.dtype("float64")):
        raise TypeError(
            f"spike times must be float32 or float64, got {given}: convert them, as in times.astype('float32')"
        )
    if dtype is not None and given == np.float64 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            "float64 was asked for, but JAX has it off: call jax.config.update('jax_enable_x64', True) first"
        )
    if is_concrete(times):
        values = np.asarray(times)
        wrong = np.isnan(values) | (values == -np.inf)
        if wrong.any():
            where = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(f"spike times must be numbers or +inf (no spike), but {values[where]} stands at {where}")
    return jnp.asarray(times, dtype)


def count_spikes(times: Float[Array, "*batch n S"]) -> Int32[Array, "*batch n"]:
    """Number of finite times of each source."""
    return jnp.sum(jnp.isfinite(times), axis=-1, dtype=jnp.int32)


def events(train: SpikeTrain) -> tuple[Float[Array, "E"], Int[Array, "E"]]:
    """All spikes of one sample in order of time: (times, sources), E = n S, padding (+inf) at the end.

    Spikes at the same time stay in the order of their sources.
    """
    s = train.times.shape[-1]
    flat = train.times.reshape(-1)
    order = jnp.argsort(flat, stable=True)
    return flat[order], order // s


def from_events(
    times: Float[Array | np.ndarray, "E"],
    sources: Int[Array | np.ndarray, "E"],
    n: int,
    *,
    max_spikes: int | None = None,
    dtype: Any = None,
) -> SpikeTrain:
    """Trains of n sources from a list of events, as simulators and event cameras give them; outside jit.

    Args:
        times: when, in any order.
        sources: which source, 0 to n - 1.
        n: number of sources.
        max_spikes: S; by default the largest number that a source has. Later spikes of a source with more are left
            out and flagged as `overflow`.
        dtype: as for `spike_train`.

    Raises:
        TypeError, ValueError: as `spike_train`; a source outside 0 to n - 1; lengths that differ.
    """
    when, who = np.asarray(times), np.asarray(sources)
    if when.shape != who.shape or when.ndim != 1:
        raise ValueError(f"times and sources must be two lists of one length, got shapes {when.shape} and {who.shape}")
    if who.size and (who.min() < 0 or who.max() >= n):
        raise ValueError(f"sources must be 0 to {n - 1}, but go from {who.min()} to {who.max()}")
    lists = [np.sort(when[who == source]) for source in range(n)]
    full = spike_train(lists, dtype=jax.dtypes.canonicalize_dtype(when.dtype) if dtype is None else dtype)
    if max_spikes is None or full.times.shape[-1] <= max_spikes:
        return full
    kept = full.times[:, :max_spikes]
    return SpikeTrain(kept, count_spikes(kept), full.count > max_spikes)


def _padded(lists: Sequence[Any], dtype: Any) -> np.ndarray:
    """Lists of any lengths as one array, +inf behind the short ones."""
    rows = [np.asarray(row, dtype or jnp.result_type(float)) for row in lists]
    if any(row.ndim != 1 for row in rows):
        return np.stack(rows)
    longest = max((len(row) for row in rows), default=0)
    array = np.full((len(rows), max(longest, 1)), np.inf, dtype or jnp.result_type(float))
    for place, row in zip(array, rows):
        place[: len(row)] = row
    return array
