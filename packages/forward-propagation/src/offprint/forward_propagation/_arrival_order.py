"""Times in order, each with its place before."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._batch_wide import largest


def sort_with_source(times: Float[Array, "events"]) -> tuple[Float[Array, "events"], Int[Array, "events"]]:
    """Times in ascending order and where each stood; equal ones keep their order.

    XLA sorts plain integers on a CPU about five times faster than pairs of a time and a place. So the place takes the
    lowest bits of the time, and the few neighbours that only those bits tell apart are put right afterwards.
    """
    events = times.shape[0]
    bits = max(events - 1, 1).bit_length()
    width = 32 if times.dtype == jnp.float32 else 64
    if bits > width // 3:
        ordered, order = lax.sort((times, jnp.arange(events, dtype=jnp.int32)), num_keys=1)
        return ordered, order
    whole = jnp.int32 if width == 32 else jnp.int64
    key = lax.bitcast_convert_type(times + 0, whole)  # + 0: -0 comes to stand with 0
    key = jnp.where(key < 0, key ^ jnp.iinfo(whole).max, key)  # as integers negative floats descend
    mask = (1 << bits) - 1
    order = (lax.sort((key & ~mask) | jnp.arange(events, dtype=whole), is_stable=False) & mask).astype(jnp.int32)
    return _settled(times[order], order)


def _settled(times: Array, order: Array) -> tuple[Array, Array]:
    """Neighbours exchanged until all are in order."""
    first = jnp.arange(times.shape[0]) % 2 == 0

    def wrong(state: tuple[Array, Array]) -> Array:
        times, order = state
        later = (times[:-1] > times[1:]) | ((times[:-1] == times[1:]) & (order[:-1] > order[1:]))
        return largest(jnp.any(later).astype(jnp.int32)) > 0

    def exchanged(state: tuple[Array, Array]) -> tuple[Array, Array]:
        for low in (first, ~first):
            state = _exchange(*state, low)
        return state

    return lax.while_loop(wrong, exchanged, (times, order))


def _exchange(times: Array, order: Array, low: Array) -> tuple[Array, Array]:
    """Every place of `low` compared with the next, and the other way round."""
    last = times.shape[0] - 1
    place = jnp.arange(times.shape[0])
    partner = jnp.clip(jnp.where(low, place + 1, place - 1), 0, last)
    other, other_order = times[partner], order[partner]
    before = (other < times) | ((other == times) & (other_order < order))
    swap = jnp.where(low, before, ~before & (partner != place))
    return jnp.where(swap, other, times), jnp.where(swap, other_order, order)
