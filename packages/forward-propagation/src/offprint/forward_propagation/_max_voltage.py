"""The largest membrane potential of neurons that do not fire: the readout of max-over-time losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from offprint.forward_propagation._kernel import decay, kernel, kernel_ds
from offprint.forward_propagation._neuron import LIF, check_delays, check_neuron, check_weights
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Given = Number | Float[Array, "..."] | Float[np.ndarray, "..."]


class _Peak(NamedTuple):
    """Where a potential is largest."""

    place: Array  # of the arrival that begins the interval; -1 before the first
    time: Array
    interior: Array  # between two arrivals, where V' = 0
    at_end: Array  # at the next arrival, or at the horizon


def max_voltage(
    spikes_in: SpikeTrain,
    weights: Float[Array, "n_pre n_post"],
    neuron: LIF,
    *,
    t_max: Number,
    delays: Given = 0.0,
) -> Float[Array, " n_post"]:
    """Largest potential of each readout neuron over [0, T], exactly; one sample, batch it with `jax.vmap`.

    Readout neurons integrate their inputs as all others do but never fire, so that the threshold is not used. The
    potential between two arrivals has one peak, in closed form; the largest of these is differentiated at its fixed
    time (envelope theorem), or, where it lies on an arrival, with the arrival's time. Derivatives of second order are
    exact as well.

    Args:
        spikes_in: spikes of n_pre sources.
        weights: [pre, post].
        neuron: time constants, each () or (n_post,).
        t_max: horizon T.
        delays: one number, (n_pre,) or (n_pre, n_post).

    Returns:
        Potentials (n_post,), at least V(0) = 0.

    Raises:
        ValueError: weights, delays or time constants of a wrong shape or sign, or spikes with batch axes.
    """
    if spikes_in.times.ndim != 2:
        raise ValueError(f"spikes of one sample (n_pre, S) are needed, got {spikes_in.times.shape}; use jax.vmap")
    n_pre = len(spikes_in.times)
    check_weights(weights, n_pre)
    n_post = weights.shape[1]
    check_neuron(neuron, n_post)
    check_delays(delays, n_pre, n_post)
    return _largest_of_each(spikes_in.times, weights, neuron.tau_syn, neuron.tau_mem, delays, t_max)


@jax.jit
def _largest_of_each(
    times: Array, weights: Array, tau_syn: Given, tau_mem: Given, delays: Given, t_max: Given
) -> Array:
    (n_pre, per_source), n_post, dtype = times.shape, weights.shape[1], times.dtype
    delay = jnp.asarray(delays, dtype)
    delay = jnp.broadcast_to(delay[:, None] if delay.ndim == 1 else delay, (n_pre, n_post))
    arrivals = (times[:, :, None] + delay[:, None, :]).reshape(-1, n_post)
    feeds = jnp.repeat(jnp.asarray(weights, dtype), per_source, axis=0)
    alpha, beta = (jnp.broadcast_to(1 / jnp.asarray(tau, dtype), n_post) for tau in (tau_syn, tau_mem))
    one = jax.vmap(_largest, in_axes=(1, 1, 0, 0, None))
    return one(arrivals, feeds, alpha, beta, jnp.asarray(t_max, dtype))


def _largest(arrivals: Array, feeds: Array, alpha: Array, beta: Array, t_max: Array) -> Array:
    order = jnp.argsort(arrivals)
    times, w = arrivals[order], feeds[order]
    peak = _find(*jax.tree.map(jax.lax.stop_gradient, (times, w, alpha, beta, t_max)))

    def gather(index: Array) -> Array:
        there = (index >= 0) & (index < len(times))
        return jnp.where(there, times[jnp.clip(index, 0, len(times) - 1)], jnp.where(index < 0, 0, jnp.inf))

    since = peak.time - times
    slope = jnp.sum(w * kernel_ds(since, alpha, beta))
    current = jnp.sum(w * decay(since, alpha))
    curvature = jax.lax.stop_gradient(alpha * current + beta * slope)  # -V''
    # The peak's time moves with the parameters. Its value's first derivative does not notice, the second does.
    moved = (slope - jax.lax.stop_gradient(slope)) / jnp.where(curvature > 0, curvature, jnp.inf)
    edge = jnp.where(peak.at_end, jnp.minimum(gather(peak.place + 1), t_max), gather(peak.place))
    at = jnp.where(peak.interior, peak.time + moved, edge)
    return jnp.sum(w * kernel(at - times, alpha, beta))


def _find(times: Array, w: Array, alpha: Array, beta: Array, t_max: Array) -> _Peak:
    """The largest potential of all intervals between sorted arrivals."""
    start = jnp.minimum(times, t_max)
    length = jnp.append(start[1:], t_max) - start
    current, voltage = _states(start, jnp.where(times < t_max, w, 0), alpha, beta)
    possible, s = _peak_time(voltage, current, alpha, beta)
    s = jnp.where(possible, s, 0)
    interior = possible & (s < length)
    s = jnp.minimum(s, length)
    value = voltage * decay(s, beta) + current * kernel(s, alpha, beta)
    best = jnp.argmax(value)
    rests = value[best] <= 0
    return _Peak(
        place=jnp.where(rests, -1, best),
        time=jnp.where(rests, 0, start[best] + s[best]),
        interior=interior[best] & ~rests,
        at_end=possible[best] & ~interior[best] & ~rests,
    )


def _states(start: Array, w: Array, alpha: Array, beta: Array) -> tuple[Array, Array]:
    """Current just after each arrival, and potential there, by an associative scan over the linear flow."""
    gap = jnp.diff(start, prepend=start[:1])
    element = (decay(gap, alpha), decay(gap, beta), kernel(gap, alpha, beta), w, jnp.zeros_like(w))

    def then(first: tuple, second: tuple) -> tuple:
        a1, b1, c1, i1, v1 = first
        a2, b2, c2, i2, v2 = second
        return a1 * a2, b1 * b2, c2 * a1 + b2 * c1, a2 * i1 + i2, b2 * v1 + c2 * i1 + v2

    _, _, _, current, voltage = jax.lax.associative_scan(then, element)
    return current, voltage


def _peak_time(v: Array, i: Array, alpha: Array, beta: Array) -> tuple[Bool[Array, "..."], Array]:
    """Whether the potential rises from (V, I) to a peak, and after which time: log1p(εq) / ε with ε = β - α."""
    possible = (i > 0) & (i > beta * v)
    q = jnp.where(possible, (i - beta * v) / (alpha * jnp.where(possible, i, 1)), 0)
    x = (beta - alpha) * q
    possible &= x > -1  # else V rises towards 0 from below
    x = jnp.where(possible, x, 0)
    small = jnp.abs(x) < 1e-8
    return possible, q * jnp.where(small, 1 - x / 2, jnp.log1p(x) / jnp.where(small, 1, x))
