"""Exact spike times of a layer of LIF neurons, forward only: no time grid, and every neuron at its own pace.

A layer without connections inside needs no event queue. Its arrivals are sorted once; between two of them every
neuron follows the closed form. A *round* runs once through the arrivals, for all neurons in step, and notes for
each the first interval after its last spike in which it may cross its threshold; the root is then found for all
neurons together. A neuron with S spikes takes part in about S rounds, however many arrivals there are; when few
neurons are left, the rounds go on with these alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from offprint.forward_propagation._arrival_order import sort_with_source
from offprint.forward_propagation._batch_wide import largest
from offprint.forward_propagation._kernel import kernel
from offprint.forward_propagation._neuron import Rates
from offprint.forward_propagation._next_spike import advance, rising, root


class Arrivals(NamedTuple):
    """The E arrivals at a layer in order of time; those that all neurons share are stored once."""

    times: Float[Array, "E #n"]
    """Arrival times, none beyond the horizon: later ones stand at it."""
    ends: Float[Array, "E #n"]
    """Where the interval after the arrival ends: the next arrival, or the horizon."""
    source: Int[Array, "E"]
    """Row of `weights` that arrives."""
    weights: Float[Array, "rows n"]
    used: Int[Array, ""]
    """How many come before the horizon, for the neuron with the most of them."""


def spikes_of_layer(
    times_in: Float[Array, "n_pre S_in"],
    weights: Float[Array, "n_pre n"],
    delays: Float[Array, "..."],
    neuron: Rates,
    t_max: Float[Array, ""],
    max_spikes: int,
) -> tuple[Float[Array, "n S"], Float[Array, "n S"], Bool[Array, "n"]]:
    """The first S spikes of every neuron before `t_max`, I at them, and whether there would be more.

    Not differentiable. Where there is no spike, I is 0.
    """
    arrivals = sort_arrivals(times_in, weights, delays, t_max)
    n = weights.shape[1]
    zero = jnp.zeros(n, times_in.dtype)
    start = Search(
        times=jnp.full((max_spikes, n), jnp.inf, times_in.dtype),
        currents=jnp.zeros((max_spikes, n), times_in.dtype),
        found=jnp.zeros(n, jnp.int32),
        place=jnp.full(n, -1, jnp.int32),
        fired=jnp.full(n, -1, jnp.int32),
        since=zero,
        current=zero,
        resting=jnp.zeros(n, bool),
        done=jnp.zeros(n, bool),
    )
    flow = _flow(arrivals, neuron)
    kept = _rounds(start, arrivals, flow, neuron, t_max, max_spikes)
    # on its own, so that it costs nothing where nobody asks for the flag
    more = _rounds(kept, arrivals, flow, neuron, t_max, max_spikes + 1)
    return kept.times.T, kept.currents.T, more.found > max_spikes


def sort_arrivals(times_in: Array, weights: Array, delays: Array, t_max: Array) -> Arrivals:
    """All arrivals at the layer in order of time; arrivals at the same time keep the order of their sources."""
    n_pre, s_in = times_in.shape
    n = weights.shape[1]
    events = n_pre * s_in
    if delays.ndim < 2:
        flat = (times_in + jnp.broadcast_to(delays, (n_pre,))[:, None]).reshape(events)
        flat, order = sort_with_source(flat)
        when, source = flat[:, None], order // s_in
    else:
        flat = (times_in[:, :, None] + delays[:, None]).reshape(events, n)
        rows = jnp.broadcast_to(weights[:, None], (n_pre, s_in, n)).reshape(events, n)
        when, weights = lax.sort((flat, rows), dimension=0, num_keys=1)
        source = jnp.arange(events, dtype=jnp.int32)
    used = jnp.max(jnp.sum(when < t_max, axis=0, dtype=jnp.int32))
    when = jnp.minimum(when, t_max)
    ends = jnp.concatenate([when[1:], jnp.full((1, when.shape[1]), t_max, when.dtype)])
    return Arrivals(when, ends, source, weights, largest(used))


class Search(NamedTuple):
    """How far the search of every neuron has come."""

    times: Float[Array, "S n"]
    currents: Float[Array, "S n"]
    """I at the spikes."""
    found: Int[Array, "n"]
    """Number of spikes found."""
    place: Int[Array, "n"]
    """The last interval that has been searched, or is half searched, after a spike in it; -1 at the start."""
    fired: Int[Array, "n"]
    """Interval of the last spike, -1 before the first."""
    since: Float[Array, "n"]
    """Time of the last spike."""
    current: Float[Array, "n"]
    """I at the last spike, which may be one more than are kept."""
    resting: Bool[Array, "n"]
    """Whether the rest of interval `fired` = `place`, after the spike in it, has not been searched yet."""
    done: Bool[Array, "n"]


class Flow(NamedTuple):
    """What an interval does to the state: I <- a I, V <- b V + c I."""

    a: Float[Array, "E #n"]
    b: Float[Array, "E #n"]
    c: Float[Array, "E #n"]


class Candidate(NamedTuple):
    """An interval in which a neuron may cross its threshold, and its state at both ends (after, before arrivals)."""

    place: Int[Array, "n"]
    v: Float[Array, "n"]
    i: Float[Array, "n"]
    v_end: Float[Array, "n"]


def _flow(arrivals: Arrivals, neuron: Rates) -> Flow:
    gap = arrivals.ends - arrivals.times
    return Flow(jnp.exp(-neuron.alpha * gap), jnp.exp(-neuron.beta * gap), kernel(gap, neuron.alpha, neuron.beta))


def _rounds(search: Search, arrivals: Arrivals, flow: Flow, neuron: Rates, t_max: Array, limit: int) -> Search:
    """Round after round until every neuron has `limit` spikes or no more crossings."""
    n = search.found.shape[0]
    few = max(n // 4, 8)

    def searching(search: Search) -> Array:
        return ~search.done & (search.found < limit)

    def many(search: Search) -> Array:
        return largest(jnp.sum(searching(search), dtype=jnp.int32)) > (few if few < n else 0)

    def one_round(search: Search) -> Search:
        return _round(search, arrivals, flow, neuron, t_max, limit)

    def round_of_few(search: Search) -> Search:
        """A round of the first few neurons that are still searching."""
        who = jnp.nonzero(searching(search), size=few, fill_value=n)[0]
        own, here, course, cells = jax.tree.map(lambda x: _columns(x, who, n), (search, arrivals, flow, neuron))
        after = _round(own, here, course, cells, t_max, limit)
        return jax.tree.map(lambda x, new: x.at[..., who].set(new, mode="drop"), search, after)

    search = lax.while_loop(many, one_round, search)
    if few >= n:
        return search
    return lax.while_loop(lambda s: largest(jnp.sum(searching(s), dtype=jnp.int32)) > 0, round_of_few, search)


def _columns(x: Array, who: Int[Array, "few"], n: int) -> Array:
    """What belongs to some neurons; what all neurons share as it is."""
    return x.at[..., who].get(mode="clip") if x.ndim and x.shape[-1] == n else x


def _round(search: Search, arrivals: Arrivals, flow: Flow, neuron: Rates, t_max: Array, limit: int) -> Search:
    """The next crossing of every neuron that is still searching, if its next candidate is one."""
    alpha, beta, theta = neuron
    still = jnp.zeros_like(search.since)
    rest = jnp.maximum(_pick(arrivals.ends, search.fired) - search.since, 0)
    v_rest, i_rest = advance(still, search.current, rest, alpha, beta)
    in_rest = search.resting & _may_cross(still, search.current, v_rest, i_rest, rest, neuron)
    found = _first_candidate(search.place, search.fired, v_rest, arrivals, flow, neuron)

    place = jnp.where(in_rest, search.place, found.place)
    exists = in_rest | (place < arrivals.source.size)
    v = jnp.where(in_rest, 0, found.v)
    i = jnp.where(in_rest, search.current, found.i)
    v_end = jnp.where(in_rest, v_rest, found.v_end)
    begin = jnp.where(in_rest, search.since, _pick(arrivals.times, place))
    end = _pick(arrivals.ends, place)

    rise = rising(v, i, neuron)
    gap = jnp.maximum(end - begin, 0)
    # a potential that ends above θ has crossed it, whatever rounding does to the peak
    crosses = exists & rise.possible & ((v_end >= theta) | ((rise.peak < gap) & (rise.v_peak > theta)))
    s = root(v, i, neuron, rise, jnp.minimum(rise.peak, gap))
    when = jnp.minimum(begin + s, end)
    crosses &= when < t_max

    moving = ~search.done & (search.found < limit)
    fires = crosses & moving
    current = i * jnp.exp(-alpha * s)
    here = (jnp.arange(search.times.shape[0], dtype=jnp.int32)[:, None] == search.found) & fires
    return Search(
        times=jnp.where(here, when, search.times),
        currents=jnp.where(here, current, search.currents),
        found=search.found + fires,
        place=jnp.where(moving & exists, place, search.place),
        fired=jnp.where(fires, place, search.fired),
        since=jnp.where(fires, when, search.since),
        current=jnp.where(fires, current, search.current),
        resting=jnp.where(moving, crosses, search.resting),
        done=search.done | ~exists,
    )


def _first_candidate(
    place: Array, fired: Array, v_rest: Array, arrivals: Arrivals, flow: Flow, neuron: Rates
) -> Candidate:
    """The first interval after `place` in which a neuron may cross; interval E, which there is not, if none.

    The potential restarts at the end of interval `fired` with `v_rest`, its value there after the last spike.
    """
    events = arrivals.source.size
    zero = jnp.zeros_like(v_rest)

    def step(k: Array, carry: tuple) -> tuple:
        v, i, found = carry
        begin, end, a, b, c = (lax.dynamic_index_in_dim(x, k, keepdims=False) for x in each)
        i = i + arrivals.weights[arrivals.source[k]]
        v_end, i_end = b * v + c * i, a * i
        v_end = jnp.where(k == fired, v_rest, v_end)
        fits = (k > place) & (found.place == events) & _may_cross(v, i, v_end, i_end, end - begin, neuron)
        here = Candidate(jnp.full_like(place, k), v, i, v_end)
        found = Candidate(*(jnp.where(fits, new, old) for new, old in zip(here, found)))
        return v_end, i_end, found

    none = Candidate(jnp.full_like(place, events), zero, zero, zero)
    each = (arrivals.times, arrivals.ends, *flow)
    return lax.fori_loop(0, arrivals.used, step, (zero, zero, none))[2]


def _may_cross(v: Array, i: Array, v_end: Array, i_end: Array, gap: Array, neuron: Rates) -> Bool[Array, "n"]:
    """False only if V does not cross θ in an interval, by arithmetic alone: no logarithm, root or division.

    V crosses if it ends above θ. If it ends below, it may have been above only if it rises first and falls at the
    end. Where it is concave throughout it then lies below its tangents at both ends, and their intersection decides;
    elsewhere the first tangent does.
    """
    alpha, beta, theta = neuron
    slope, slope_end = i - beta * v, i_end - beta * v_end
    below_both = (v - theta) * (slope - slope_end) + slope * (v_end - v - slope_end * gap) > 0
    below_first = v + slope * gap > theta
    concave = alpha * i_end + beta * slope_end >= 0
    hump = (slope > 0) & (slope_end < 0) & jnp.where(concave, below_both, below_first)
    return (i > beta * theta) & ((v_end >= theta) | hump)


def _pick(table: Float[Array, "E #n"], place: Int[Array, "n"]) -> Float[Array, "n"]:
    """The entry of each neuron in a table that may be shared; any entry where there is no such interval."""
    index = jnp.clip(place, 0, table.shape[0] - 1)
    if table.shape[1] == 1:
        return table[index, 0]
    return jnp.take_along_axis(table, index[None], axis=0)[0]
