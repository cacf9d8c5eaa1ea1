"""Exact event-driven simulation of a recurrent network: no time grid, every spike a root of the membrane equation.

Two engines give the same spikes. `synchronous` has one clock for all neurons and takes one event after another; it
needs recurrent delays of zero and inputs that reach all neurons at once. `asynchronous` serves every delay: each
neuron has its own clock and goes on as long as no spike that is still to come can reach it before its next event.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from offprint.forward_propagation._neuron import Rates
from offprint.forward_propagation._next_spike import advance, rising, root

EVENTS_PER_CHECK = 16
"""Steps between two looks whether all is done: under vmap each look copies the whole state."""


class Network(NamedTuple):
    """All synapses of a recurrent network in one array, the sources being the inputs and then the neurons."""

    weights: Float[Array, "src n"]
    delays: Float[Array, "src targets"]
    """One column where a spike of a source reaches all its targets at once, else one for each neuron."""
    rates: Rates


class _Clock(NamedTuple):
    time: Float[Array, ""]
    v: Float[Array, "n"]
    i: Float[Array, "n"]
    due: Bool[Array, "n"]
    """Neurons that have reached their threshold at `time` and are still to fire."""
    next_input: Int[Array, ""]
    times: Float[Array, "n S"]
    spikes: Int[Array, "n"]
    overflow: Bool[Array, "n"]
    done: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames=("max_events", "max_spikes"))
def synchronous(
    input_times: Float[Array, "n_in S_in"], network: Network, *, t_max: Array, max_events: int, max_spikes: int
) -> tuple[Float[Array, "n S"], Bool[Array, "n"]]:
    """Spike times, +inf padded, and overflow flags, of a network without recurrent delays."""
    n_in, s_in = input_times.shape
    n = network.weights.shape[1]
    arrivals = (input_times + network.delays[:n_in]).reshape(-1)
    order = jnp.argsort(arrivals, stable=True)
    inputs = jnp.append(arrivals[order], jnp.inf), jnp.append(order // s_in, 0)
    zero, off = jnp.zeros(n, input_times.dtype), jnp.zeros(n, bool)
    start = _Clock(
        time=jnp.zeros((), input_times.dtype),
        v=zero,
        i=zero,
        due=off,
        next_input=jnp.zeros((), jnp.int32),
        times=jnp.full((n, max_spikes), jnp.inf, input_times.dtype),
        spikes=jnp.zeros(n, jnp.int32),
        overflow=off,
        done=jnp.zeros((), bool),
    )

    def some_events(clock: _Clock) -> _Clock:
        def event(_: Array, clock: _Clock) -> _Clock:
            return _next_event(clock, inputs, network, t_max, max_events)

        return lax.fori_loop(0, EVENTS_PER_CHECK, event, clock)

    end = lax.while_loop(lambda clock: ~clock.done, some_events, start)
    return end.times, end.overflow


def _next_event(clock: _Clock, inputs: tuple[Array, Array], network: Network, t_max: Array, max_events: int) -> _Clock:
    """One spike or one input, whichever comes first; nothing once all is done."""
    n_in = network.weights.shape[0] - network.weights.shape[1]
    arrival = jnp.minimum(inputs[0][clock.next_input], t_max)
    waiting = jnp.any(clock.due)
    interval = jnp.where(waiting, 0, arrival - clock.time)
    next_due, gap, v, i, over = _to_next(clock, interval, network.rates, closed=arrival < t_max)
    due = jnp.where(waiting, clock.due, next_due)
    fires = jnp.any(due)
    full = fires & (jnp.sum(clock.spikes) >= max_events)
    now = jnp.where(fires, clock.time + jnp.where(waiting, 0, gap), arrival)
    done = clock.done | full | (now >= t_max)
    neuron = jnp.argmax(due)
    fired = (jnp.arange(due.size) == neuron) & fires & ~done
    source = jnp.where(fires, n_in + neuron, inputs[1][clock.next_input])
    place = jnp.where(fires & ~done, clock.spikes[neuron], clock.times.shape[1])
    return _Clock(
        time=jnp.where(done, clock.time, now),
        v=jnp.where(fired, 0, v),  # V = θ at the spike, so that V - θ is 0
        i=i + jnp.where(done, 0, 1) * network.weights[source],
        due=due & ~fired,
        next_input=clock.next_input + jnp.where(fires | done, 0, 1),
        times=clock.times.at[neuron, place].set(now, mode="drop"),
        spikes=clock.spikes + fired,
        overflow=clock.overflow | ((over & ~waiting | full) & ~clock.done),
        done=done,
    )


class _Search(NamedTuple):
    """Of the first spike within an interval."""

    earlier: Bool[Array, "n"]
    """Neurons that have crossed before `first`."""
    tried: Bool[Array, "n"]
    winner: Int[Array, ""]
    first: Float[Array, ""]
    v: Float[Array, "n"]
    i: Float[Array, "n"]


def _to_next(
    clock: _Clock, interval: Array, rates: Rates, *, closed: Array
) -> tuple[Bool[Array, "n"], Float[Array, ""], Float[Array, "n"], Float[Array, "n"], Bool[Array, "n"]]:
    """On to the first spike within the interval, or to its end.

    The neurons that cross first (more than one if at the same time), the time that passes, V and I then, and the
    neurons that cross but have fired as often as they may. Only the root of a candidate is refined; a neuron that has
    crossed by then is the next candidate.
    """
    v, i = advance(clock.v, clock.i, interval, rates.alpha, rates.beta)
    reach, peak = _reaches(clock, interval, v, rates, closed)
    may = reach & (clock.spikes < clock.times.shape[1])
    tolerance = 4 * jnp.finfo(v.dtype).eps * rates.theta
    # V is concave where it rises: no crossing before this
    slope = clock.i - rates.beta * clock.v
    bound = jnp.where(may, (rates.theta - clock.v) / jnp.where(slope > 0, slope, 1), jnp.inf)

    def refine(state: _Search) -> _Search:
        candidate = jnp.argmin(jnp.where(state.earlier, bound, jnp.inf))
        of_it = Rates(*(jnp.broadcast_to(x, may.shape)[candidate] for x in rates))
        v_now, i_now = clock.v[candidate], clock.i[candidate]
        rise = rising(v_now, i_now, of_it)
        crossing = root(v_now, i_now, of_it, rise, jnp.minimum(rise.peak, interval))
        winner = jnp.where(crossing <= state.first, candidate, state.winner)
        first = jnp.minimum(crossing, state.first)
        v, i = advance(clock.v, clock.i, first, rates.alpha, rates.beta)
        tried = state.tried | (jnp.arange(may.size) == candidate)
        earlier = may & ~tried & ((peak < first) | (v > rates.theta + tolerance))
        return _Search(earlier, tried, winner, first, v, i)

    start = _Search(may, jnp.zeros_like(may), jnp.asarray(may.size), interval, v, i)
    end = lax.while_loop(lambda state: jnp.any(state.earlier), refine, start)
    together = may & (peak >= end.first) & (end.v >= rates.theta - tolerance)
    met = together | (jnp.arange(may.size) == end.winner)
    return met, end.first, end.v, end.i, reach & ~may


def _reaches(
    state: Any, length: Array, v_end: Array, rates: Rates, closed: Array
) -> tuple[Bool[Array, "n"], Float[Array, "n"]]:
    """Whether V reaches θ from below within an interval, at whose end it is `v_end`; also the time of its peak.

    A crossing on the very end counts where `closed` (a spike goes before an arrival at its time), a peak that only
    touches θ does not. As V' = 0 at the peak s*, V(s*) = I(s*) / β, which exceeds θ if αs* < log(I / (βθ)).
    """
    rise = rising(state.v, state.i, rates)
    current = jnp.where(rise.possible, state.i, 1)
    over_the_top = rates.alpha * rise.peak < jnp.log(current / (rates.beta * rates.theta))
    at_end = jnp.where(closed, v_end >= rates.theta, v_end > rates.theta)
    return rise.possible & jnp.where(rise.peak < length, over_the_top, at_end), rise.peak


class _Clocks(NamedTuple):
    time: Float[Array, "n"]
    v: Float[Array, "n"]
    i: Float[Array, "n"]
    next_input: Int[Array, "n"]
    arrivals: Float[Array, "n n"]
    """[pre, post] when the earliest spike on its way along a synapse arrives, +inf if there is none."""
    arrived: Int[Array, "n n"]
    """[pre, post] number of spikes that have arrived."""
    times: Float[Array, "n S"]
    spikes: Int[Array, "n"]
    overflow: Bool[Array, "n"]
    done: Bool[Array, ""]


@functools.partial(jax.jit, static_argnames=("max_events", "max_spikes"))
def asynchronous(
    input_times: Float[Array, "n_in S_in"],
    network: Network,
    exists: Bool[Array, "n n"],
    *,
    t_max: Array,
    max_events: int,
    max_spikes: int,
) -> tuple[Float[Array, "n S"], Bool[Array, "n"]]:
    """Spike times, +inf padded, and overflow flags, with any delays; `exists` says which recurrent synapses are."""
    n_in, s_in = input_times.shape
    n = network.weights.shape[1]
    delays = jnp.broadcast_to(network.delays, network.weights.shape)
    arrivals = (input_times[:, :, None] + delays[:n_in, None, :]).reshape(n_in * s_in, n)
    order = jnp.argsort(arrivals, axis=0, stable=True)
    last = jnp.full((1, n), jnp.inf, input_times.dtype)
    inputs = (
        jnp.concatenate([jnp.take_along_axis(arrivals, order, 0), last]),
        jnp.concatenate([order // s_in, jnp.zeros((1, n), order.dtype)]),
    )
    recurrent_delays = jnp.where(exists, delays[n_in:], jnp.inf)
    zero, none = jnp.zeros(n, input_times.dtype), jnp.zeros(n, jnp.int32)
    start = _Clocks(
        time=zero,
        v=zero,
        i=zero,
        next_input=none,
        arrivals=jnp.full((n, n), jnp.inf, input_times.dtype),
        arrived=jnp.zeros((n, n), jnp.int32),
        times=jnp.full((n, max_spikes), jnp.inf, input_times.dtype),
        spikes=none,
        overflow=jnp.zeros(n, bool),
        done=jnp.zeros((), bool),
    )

    def some_events(clocks: _Clocks) -> _Clocks:
        def event(_: Array, clocks: _Clocks) -> _Clocks:
            return _next_events(clocks, inputs, network, recurrent_delays, t_max, max_events)

        return lax.fori_loop(0, EVENTS_PER_CHECK, event, clocks)

    end = lax.while_loop(lambda clocks: ~clocks.done, some_events, start)
    return _keep_first(end.times, max_events), end.overflow


def _next_events(
    clocks: _Clocks, inputs: tuple[Array, Array], network: Network, delays: Array, t_max: Array, max_events: int
) -> _Clocks:
    """One event of each neuron whose next event cannot be overtaken; nothing once all is done."""
    n = clocks.v.size
    n_in = network.weights.shape[0] - n
    me = jnp.arange(n)
    sender = jnp.argmin(clocks.arrivals, axis=0)
    by_input, by_neuron = inputs[0][clocks.next_input, me], clocks.arrivals[sender, me]
    arrival = jnp.minimum(jnp.minimum(by_input, by_neuron), t_max)

    v, _ = advance(clocks.v, clocks.i, arrival - clocks.time, *network.rates[:2])
    reach, _ = _reaches(clocks, arrival - clocks.time, v, network.rates, arrival < t_max)
    may = reach & (clocks.spikes < clocks.times.shape[1])
    rise = rising(clocks.v, clocks.i, network.rates)
    gap = jnp.minimum(root(clocks.v, clocks.i, network.rates, rise, rise.peak), arrival - clocks.time)
    spike = jnp.where(may, clocks.time + gap, jnp.inf)
    earliest = jnp.minimum(spike, jnp.where(arrival < t_max, arrival, jnp.inf))
    # no spike is still to come before the earliest event of all, so nothing unknown arrives before `unknown`, and
    # nothing unknown that follows from a neuron's next event before `safe`
    unknown = jnp.min(earliest) + jnp.min(delays, axis=0)
    safe = jnp.min(jnp.minimum(earliest, unknown)[:, None] + delays, axis=0)
    going = ~clocks.done
    fires = may & (spike <= safe) & (spike < t_max) & going
    receives = ~may & (arrival <= safe) & (arrival < t_max) & going

    now = jnp.where(fires, spike, jnp.where(receives, arrival, clocks.time))
    v, i = advance(clocks.v, clocks.i, now - clocks.time, *network.rates[:2])
    from_input = receives & (by_input <= by_neuron)
    source = jnp.where(from_input, inputs[1][clocks.next_input, me], n_in + sender)
    received = (me[:, None] == sender) & receives & ~from_input
    arrived = clocks.arrived + received
    times = clocks.times.at[me, jnp.where(fires, clocks.spikes, clocks.times.shape[1])].set(now, mode="drop")
    following = arrived[sender, me]
    next_sent = jnp.where(
        following < clocks.spikes[sender],
        clocks.times.at[sender, following].get(mode="fill", fill_value=jnp.inf) + delays[sender, me],
        jnp.inf,
    )
    arrivals = jnp.where(received, next_sent, clocks.arrivals)
    on_its_way = fires[:, None] & (arrived == clocks.spikes[:, None])
    count = clocks.spikes + fires
    full = jnp.sum(count) > max_events
    return _Clocks(
        time=now,
        v=jnp.where(fires, 0, v),
        i=i + jnp.where(receives, network.weights[source, me], 0),
        next_input=clocks.next_input + from_input,
        arrivals=jnp.where(on_its_way, now[:, None] + delays, arrivals),
        arrived=arrived,
        times=times,
        spikes=count,
        overflow=clocks.overflow | (reach & ~may & (arrival <= safe) & going) | full,
        done=clocks.done | full | ~jnp.any(fires | receives),
    )


def _keep_first(times: Float[Array, "n S"], max_events: int) -> Float[Array, "n S"]:
    """The first `max_events` spikes of all; the others +inf."""
    if max_events >= times.size:
        return times
    flat = times.reshape(-1)
    rank = jnp.argsort(jnp.argsort(flat, stable=True), stable=True)
    return jnp.where(rank < max_events, flat, jnp.inf).reshape(times.shape)
