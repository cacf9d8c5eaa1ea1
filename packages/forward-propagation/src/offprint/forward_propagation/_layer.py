"""A layer of LIF neurons: spikes in, exact spikes out, with exact derivatives by everything that enters."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from offprint.forward_propagation._implicit import Inputs, implicit_times
from offprint.forward_propagation._implicit import spike_slopes as slopes_of
from offprint.forward_propagation._layer_forward import spikes_of_layer
from offprint.forward_propagation._neuron import (
    LIF,
    Rates,
    Real,
    check_delays,
    check_neuron,
    check_weights,
    is_concrete,
    rates,
    warn_of_units,
)
from offprint.forward_propagation._spikes import SpikeTrain, as_times, count_spikes


def lif_layer(
    spikes_in: SpikeTrain,
    weights: Float[Array | np.ndarray, "n_pre n_post"],
    neuron: LIF,
    *,
    delays: Real = 0.0,
    t_max: Real,
    max_spikes: int,
    reset_coupling: bool = True,
    slope_floor: Real = 0.0,
    strict: bool = False,
) -> SpikeTrain:
    """Exact spike times of one layer of LIF neurons for one sample; `jax.vmap` it over samples.

    Args:
        spikes_in: spikes of n_pre sources; `times` (n_pre, S_in), +inf where there is none, in any order.
        weights: w_ji, [pre, post].
        neuron: τ_mem, τ_syn and θ of the neurons, each one number or (n_post,).
        delays: d_ji >= 0, one number, (n_pre,) or (n_pre, n_post).
        t_max: horizon T; spikes at t < T count.
        max_spikes: S, how many spikes of each neuron are kept: the first ones.
        reset_coupling: False leaves out of the derivatives that a spike depends on its neuron's earlier spikes, as
            the authors' public code does: the spike times are the same, the gradient is wrong where neurons fire
            more than once. For comparison only.
        slope_floor: the least V' by which a derivative is divided. V' is 0 where a spike is about to vanish, and the
            derivatives grow without bound; a floor (1e-2 to 1e-1 of θ/τ_mem) keeps them from ruling a gradient.
        strict: raise where spikes did not fit into `max_spikes`, instead of flagging them; outside jit only.

    Returns:
        Spikes of the n_post neurons, (n_post, S), in the dtype of the input times. Derivatives of every order by the
        input times, weights, delays, τ_mem, τ_syn and θ are exact; padding has derivative 0. They do not exist, and
        are finite but one-sided or arbitrary, where an arrival meets a spike of the neuron it reaches to the last
        bit, and where V only touches θ. `overflow` says which neurons would have fired again before T.

    Raises:
        ValueError: weights, delays or parameters of a wrong shape or value; NaN or -inf among the times;
            `max_spikes` below 1; with `strict`, spikes that did not fit. Values are not looked at inside jit.
        TypeError: times that are neither float32 nor float64.

    Source: the paper's gradient by the implicit function theorem; the forward pass is ours.
    """
    times = check_input(spikes_in)
    check_layer(times, weights, neuron, delays)
    check_horizon(t_max, max_spikes)
    warn_of_units(times, neuron)
    inputs = inputs_of(times, weights, neuron, delays)
    out, overflow = _run(inputs, np.ndim(delays) == 2, t_max, max_spikes, reset_coupling, slope_floor)
    if strict:
        raise_overflow(overflow, lambda spikes: _run(inputs, np.ndim(delays) == 2, t_max, spikes), max_spikes)
    return SpikeTrain(out, count_spikes(out), overflow)


def spike_slopes(
    spikes_in: SpikeTrain,
    spikes: SpikeTrain,
    weights: Float[Array | np.ndarray, "n_pre n_post"],
    neuron: LIF,
    *,
    delays: Real = 0.0,
) -> Float[Array, "n_post S"]:
    """V' just before every spike of a layer; derivatives of spike times go like 1/V'.

    A diagnosis: the few smallest of them rule a gradient, and where one is near 0 (a spike that is about to vanish)
    a `slope_floor` or gradient clipping helps.

    Args:
        spikes_in: the input of the layer.
        spikes: its spikes, from `lif_layer`.
        weights, neuron, delays: as for `lif_layer`.

    Returns:
        V' > 0 in units of θ per time, (n_post, S), +inf where there is no spike.

    Raises:
        ValueError, TypeError: as `lif_layer`.
    """
    times = check_input(spikes_in)
    check_layer(times, weights, neuron, delays)
    return slopes_of(spikes.times, inputs_of(times, weights, neuron, delays))


def check_input(spikes_in: SpikeTrain) -> Float[Array, "n_pre S_in"]:
    """The input times, once their dtype, axes and values are in order."""
    times = as_times(spikes_in.times)
    if times.ndim != 2:
        raise ValueError(
            f"input times have shape {times.shape}; (n_pre, S), the spikes of one sample, is needed: use jax.vmap for "
            "a batch"
        )
    return times


def check_layer(
    times: Float[Array, "n_pre S_in"], weights: Float[Array | np.ndarray, "..."], neuron: LIF, delays: Real
) -> None:
    """Raise ValueError where the parameters do not fit the input or each other."""
    check_weights(weights, times.shape[0])
    check_neuron(neuron, np.shape(weights)[1])
    check_delays(delays, *np.shape(weights))


def check_horizon(t_max: Real, *spikes: int) -> None:
    """Raise ValueError unless the horizon is positive and finite and every number of spikes at least 1."""
    if is_concrete(t_max) and not (np.ndim(t_max) == 0 and 0 < float(t_max) < np.inf):
        raise ValueError(f"t_max must be one positive, finite number, but is {t_max}")
    if min(spikes) < 1:
        raise ValueError(f"max_spikes must be at least 1, but is {min(spikes)}")


def inputs_of(
    times: Float[Array, "n_pre S_in"], weights: Float[Array | np.ndarray, "n_pre n_post"], neuron: LIF, delays: Real
) -> Inputs:
    """What the spike times of a layer depend on, in the dtype of the times and as the equations have it."""
    dtype, n_pre = times.dtype, times.shape[0]
    delays = jnp.asarray(delays, dtype)
    columns = delays if delays.ndim == 2 else jnp.broadcast_to(delays, (n_pre,))[:, None]
    return Inputs(times, jnp.asarray(weights, dtype), columns, *rates(neuron, dtype))


def raise_overflow(overflow: Array, attempt: Callable[[int], tuple[Array, Array]], max_spikes: int) -> None:
    """Raise ValueError with the number of spikes that is needed, if `max_spikes` were not enough.

    Args:
        overflow: the flag of every neuron.
        attempt: times and flags with so many spikes allowed.
        max_spikes: how many were allowed.
    """
    if not is_concrete(overflow):
        raise ValueError("strict=True needs the numbers: use it outside jit, or look at the flag `overflow` instead")
    neurons = np.flatnonzero(np.asarray(overflow))
    if not neurons.size:
        return
    allowed, over = max_spikes, overflow
    while bool(np.any(np.asarray(over))):
        allowed *= 4
        times, over = attempt(allowed)
    raise ValueError(
        f"max_spikes={max_spikes} is too small: {len(neurons)} neurons, the first of them {neurons[0]}, fire more "
        f"often before t_max; max_spikes={int(np.max(count_spikes(times)))} is needed"
    )


# compiled also where the caller does not: a loop that is met outside jit would be compiled at every call
@functools.partial(jax.jit, static_argnames=("own_order", "max_spikes", "reset_coupling"), inline=True)
def _run(
    inputs: Inputs,
    own_order: bool,
    t_max: Real,
    max_spikes: int,
    reset_coupling: bool = True,
    slope_floor: Real = 0.0,
) -> tuple[Array, Array]:
    """Spike times (n_post, S) and overflow (n_post,); `own_order`: each neuron has its own order of arrivals."""
    fixed: Inputs = jax.tree.map(lax.stop_gradient, inputs)
    delays = fixed.delays if own_order else fixed.delays[:, 0]
    neuron = Rates(fixed.alpha, fixed.beta, fixed.theta)
    horizon = lax.stop_gradient(jnp.asarray(t_max, inputs.times.dtype))
    found, currents, overflow = spikes_of_layer(fixed.times, fixed.weights, delays, neuron, horizon, max_spikes)
    return implicit_times(found, currents, inputs, reset_coupling=reset_coupling, slope_floor=slope_floor), overflow
