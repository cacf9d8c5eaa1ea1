"""How spikes move spikes: the causal, linear system behind the gradient, with O(K n) numbers instead of K x K.

The kernels are exponentials, so all that a spike of neuron m has to know of the past is the pair (V, I) just before
it. Write y = (δV, δI) for the change of that pair at the fixed time of spike q of neuron m. It has three sources: the
change right after spike q - 1 of m, which flows on; the spikes of others that arrive between the two, each of which
counts through the change of its own time; and the change of the parameters. The time of the spike itself changes by
δt = -(δV - δθ) / V'. This is the lower triangular system A δt = -B δp of the paper in sparse form.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._kernel import decay, kernel
from offprint.forward_propagation._recurrent_forward import Network


class Arrivals(NamedTuple):
    """Arrival of each spike e (of inputs, then the K of neurons) at each neuron m, seen from m's next spike."""

    source: Int[Array, "E"]
    own: Int[Array, "E n"]
    """Index of the first spike of m after the arrival; S if there is none."""
    gap: Float[Array, "E n"]
    """Time from the arrival to that spike; -1 if there is none."""


class Influence(NamedTuple):
    """The coefficients of the causal system."""

    order: Int[Array, "K"]
    """Spikes in order of time: index neuron * S + number."""
    own: Int[Array, "K n"]
    """As in `Arrivals`."""
    to_v: Float[Array, "K n"]
    """δV that one unit of δt brings, -w h'(gap)."""
    to_i: Float[Array, "K n"]
    """δI that it brings, α w e^(-α gap)."""
    keep_v: Float[Array, "n S"]
    """e^(-β g), with g the time since the last own spike; 0 for the first."""
    gain: Float[Array, "n S"]
    """h(g)."""
    keep_i: Float[Array, "n S"]
    """e^(-α g)."""
    inverse_slope: Float[Array, "n S"]
    """1 / V' just before the spike; 0 where there is no spike."""
    reset: Float[Array, "n"]
    """βθ, the change of V after a spike by a change of its time."""


def time_order(times: Float[Array, "n S"], max_events: int) -> Int[Array, "K"]:
    """Indices neuron * S + number of the spikes in order of time, padding last."""
    return jnp.argsort(times.reshape(-1), stable=True)[: min(max_events, times.size)]


def arrivals(
    input_times: Float[Array, "n_in S_in"],
    times: Float[Array, "n S"],
    order: Int[Array, "K"],
    delays: Float[Array, "src targets"],
) -> Arrivals:
    """Where every spike of an input and of a neuron arrives, and which spike of the target comes next."""
    n_in, s_in = input_times.shape
    n, s = times.shape
    source = jnp.concatenate([jnp.repeat(jnp.arange(n_in), s_in), n_in + order // s])
    sent = jnp.concatenate([input_times.reshape(-1), times.reshape(-1)[order]])
    exists = jnp.isfinite(sent)
    arrival = jnp.where(exists, sent, 0)[:, None] + delays[source]
    # an arrival acts on what comes strictly after it
    own, following = jnp.full((source.size, n), s, jnp.int32), jnp.full((source.size, n), jnp.inf, times.dtype)
    for q in reversed(range(s)):  # one fused pass; a sum over S and a gather take twice as long
        later = times[:, q] > arrival
        own, following = jnp.where(later, q, own), jnp.where(later, times[:, q], following)
    acts = exists[:, None] & jnp.isfinite(following)
    gap = jnp.where(acts, jnp.where(acts, following, 0) - arrival, -1)
    return Arrivals(source, jnp.where(acts, own, s), gap)


def into_spikes(values: Float[Array, "E n"], own: Int[Array, "E n"], s: int) -> Float[Array, "n S"]:
    """Sum over the arrivals before each spike and after the one before it."""
    n = values.shape[1]
    place = jnp.arange(n) * (s + 1) + own
    total = jnp.zeros(n * (s + 1), values.dtype).at[place.reshape(-1)].add(values.reshape(-1))
    return total.reshape(n, s + 1)[:, :s]


def own_gaps(times: Float[Array, "n S"]) -> Float[Array, "n S"]:
    """Time since the neuron's spike before; -1 for its first spike and where there is no spike."""
    real = jnp.isfinite(times)
    finite = jnp.where(real, times, 0)
    gaps = jnp.where(real[:, 1:], finite[:, 1:] - finite[:, :-1], -1)
    return jnp.concatenate([jnp.full_like(times[:, :1], -1), gaps], axis=1)


def currents(
    received: Float[Array, "n S"], keep_i: Float[Array, "n S"]
) -> tuple[Float[Array, "n S"], Float[Array, "n S"]]:
    """The current I at each spike, and at the spike before it (0 for the first)."""
    before, now = [], []
    last = jnp.zeros_like(received[:, 0])
    for q in range(received.shape[1]):
        before.append(last)
        last = last * keep_i[:, q] + received[:, q]
        now.append(last)
    return jnp.stack(now, axis=1), jnp.stack(before, axis=1)


def influence(
    network: Network,
    input_times: Float[Array, "n_in S_in"],
    times: Float[Array, "n S"],
    max_events: int,
    *,
    reset_coupling: bool,
    slope_floor: float,
) -> tuple[Influence, Arrivals, Float[Array, "n S"]]:
    """The system for given spikes, the arrivals that it comes from, and the current at the spike before each."""
    n, s = times.shape
    alpha, beta, theta = (jnp.broadcast_to(x, (n,)) for x in network.rates)
    order = time_order(times, max_events)
    arrived = arrivals(input_times, times, order, network.delays)
    synaptic, h = decay(arrived.gap, alpha), kernel(arrived.gap, alpha, beta)
    weights = network.weights[arrived.source]
    gaps = own_gaps(times)
    keep_i = decay(gaps, alpha[:, None])
    current, before = currents(into_spikes(weights * synaptic, arrived.own, s), keep_i)
    slope = current - (beta * theta)[:, None]
    # a potential that only touches its threshold has no derivative; it gets a large one, not NaN
    least = jnp.maximum(slope_floor, jnp.finfo(times.dtype).eps * (beta * theta)[:, None])
    neurons = slice(input_times.size, None)
    return (
        Influence(
            order=order,
            own=arrived.own[neurons],
            to_v=(weights * (beta * h - synaptic))[neurons],
            to_i=(alpha * weights * synaptic)[neurons],
            keep_v=decay(gaps, beta[:, None]),
            gain=kernel(gaps, alpha[:, None], beta[:, None]),
            keep_i=keep_i,
            inverse_slope=jnp.where(jnp.isfinite(times), 1 / jnp.maximum(slope, least), 0),
            reset=beta * theta if reset_coupling else jnp.zeros_like(theta),
        ),
        arrived,
        before,
    )


def spread(
    system: Influence, dt: Float[Array, "n S"], v: Float[Array, "n S"], i: Float[Array, "n S"]
) -> Float[Array, "n S 2"]:
    """What (δV, δI) before each spike get from the earlier ones: from their δt, and from (δV, δI) right after them."""
    s = dt.shape[1]
    moved = dt.reshape(-1)[system.order][:, None]
    last_v, last_i = (jnp.pad(x[:, :-1], ((0, 0), (1, 0))) for x in (v, i))
    to_v = into_spikes(system.to_v * moved, system.own, s) + system.keep_v * last_v + system.gain * last_i
    to_i = into_spikes(system.to_i * moved, system.own, s) + system.keep_i * last_i
    return jnp.stack([to_v, to_i], axis=-1)
