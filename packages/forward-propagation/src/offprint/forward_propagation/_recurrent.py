"""Recurrent networks of LIF neurons: exact spike times, with exact derivatives by everything that they depend on."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from offprint.forward_propagation._neuron import (
    LIF,
    check_delays,
    check_neuron,
    check_weights,
    is_concrete,
    rates,
    warn_of_units,
)
from offprint.forward_propagation._recurrent_forward import Network, asynchronous, synchronous
from offprint.forward_propagation._spike_time_rule import Rule, with_derivatives
from offprint.forward_propagation._spikes import SpikeTrain, as_times, count_spikes

Real = Float[Array | np.ndarray, "..."] | float | int


class RecurrentParams(NamedTuple):
    """A recurrent network; a pytree, so gradients come back in the same shape."""

    w_in: Float[Array | np.ndarray, "n_in n"]
    """Weights from the inputs, [pre, post]."""
    w_rec: Float[Array | np.ndarray, "n n"]
    """Weights between the neurons, [pre, post]; the diagonal are self loops."""
    neuron: LIF
    delay_in: Real = 0.0
    """Delays of the inputs >= 0: one number, (n_in,) or (n_in, n)."""
    delay_rec: Real = 0.0
    """Delays between neurons >= 0: one number, (n,) or (n, n)."""
    mask_rec: Bool[Array | np.ndarray, "n n"] | None = None
    """Which recurrent synapses exist; None: all of them."""


def recurrent(
    spikes_in: SpikeTrain,
    w_in: Float[Array | np.ndarray, "n_in n"],
    w_rec: Float[Array | np.ndarray, "n n"],
    neuron: LIF,
    *,
    delay_in: Real = 0.0,
    delay_rec: Real = 0.0,
    mask_rec: Bool[Array | np.ndarray, "n n"] | None = None,
    t_max: float | int | Float[Array | np.ndarray, ""],
    max_spikes: int,
    max_events: int | None = None,
    reset_coupling: bool = True,
    slope_floor: float | int = 0.0,
    strict: bool = False,
) -> SpikeTrain:
    """Spikes of a recurrent network before `t_max`, each the exact root of its membrane equation.

    Any connectivity, self loops included. An arrival acts on what comes strictly after it; a spike and an arrival at
    the same neuron and time: the spike first. Batch with `jax.vmap`.

    Recurrent delays that are known to be 0 (the default) take the fastest engine; for all others, and for input
    delays that differ between the targets of one input, every neuron has its own clock.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        w_in: weights from the inputs, [pre, post].
        w_rec: weights between neurons, [pre, post].
        neuron: time constants and thresholds, each one number or (n,).
        delay_in: one number, (n_in,) or (n_in, n).
        delay_rec: one number, (n,) or (n, n).
        mask_rec: which recurrent synapses exist. The others have weight 0 and gradient 0.
        t_max: horizon T; spikes at or after it do not count.
        max_spikes: S, the most spikes of one neuron. A neuron that has fired S times is silent from then on.
        max_events: the most spikes of all neurons together; n S by default. The simulation ends with the last one.
        reset_coupling: False leaves out that a neuron's later spikes depend on the times of its own earlier ones, as
            the authors' code does.
        slope_floor: least slope V' by which derivatives divide; a bound for those of nearly tangential crossings.
        strict: raise where spikes are left out, instead of only flagging them. Outside jit only.

    Returns:
        The spikes of the n neurons, `overflow` marking neurons that would fire again before `t_max` (all of them
        after `max_events` spikes). The times are differentiable to any order, forwards and backwards, by inputs,
        weights, delays, threshold and time constants.

    Raises:
        TypeError: spike times that are neither float32 nor float64.
        ValueError: weights, delays or neuron parameters of the wrong shape or sign; numbers that are not finite; with
            `strict`, spikes that were left out.

    Source: the paper's claim ("arbitrary recurrent connectivity, up to self loops").
    """
    params = RecurrentParams(w_in, w_rec, neuron, delay_in, delay_rec, mask_rec)
    times = as_times(spikes_in.times)
    check_recurrent(params, times.shape)
    _check_limits(t_max, max_spikes, max_events)
    warn_of_units(times, neuron)
    network = as_network(params, times.dtype)
    n = network.weights.shape[1]
    events = n * max_spikes if max_events is None else min(max_events, n * max_spikes)
    horizon = jax.lax.stop_gradient(jnp.asarray(t_max, times.dtype))
    # the forward pass has no derivative of its own; the rule gives the times theirs
    fixed_times, fixed = jax.lax.stop_gradient((times, network))
    if _known_zero(delay_rec) and network.delays.shape[1] == 1:
        run: Callable[..., tuple[Array, Array]] = synchronous
    else:
        run = functools.partial(asynchronous, exists=_existing(mask_rec, n))
    found, overflow = run(fixed_times, fixed, t_max=horizon, max_events=events, max_spikes=max_spikes)
    if strict and _overflown(overflow):
        raise ValueError(
            f"{int(np.sum(np.asarray(overflow)))} neurons would fire again before t_max after the max_spikes = "
            f"{max_spikes} of each, or the max_events = {events} of all, that are kept: "
            + _needed(lambda s: run(fixed_times, fixed, t_max=horizon, max_events=n * s, max_spikes=s), max_spikes)
        )
    spikes = with_derivatives(Rule(events, reset_coupling, float(slope_floor)), found, times, network)
    return SpikeTrain(spikes, count_spikes(found), overflow)


def as_network(params: RecurrentParams, dtype: Any) -> Network:
    """The parameters as the equations have them, differentiable: sources are the inputs and then the neurons."""
    w_in, w_rec = jnp.asarray(params.w_in, dtype), jnp.asarray(params.w_rec, dtype)
    if params.mask_rec is not None:
        w_rec = jnp.where(jnp.asarray(params.mask_rec, bool), w_rec, 0)
    (n_in, n), delays = w_in.shape, (params.delay_in, params.delay_rec)
    targets = n if any(np.ndim(delay) == 2 for delay in delays) else 1
    columns = [_column(delay, n_pre, targets, dtype) for delay, n_pre in zip(delays, (n_in, n))]
    return Network(jnp.concatenate([w_in, w_rec]), jnp.concatenate(columns), rates(params.neuron, dtype))


def _column(delay: Real, n_pre: int, targets: int, dtype: Any) -> Float[Array, "n_pre targets"]:
    array = jnp.asarray(delay, dtype)
    return jnp.broadcast_to(array[:, None] if array.ndim == 1 else array, (n_pre, targets))


def check_recurrent(params: RecurrentParams, inputs: tuple[int, ...]) -> None:
    """Raise ValueError unless the parameters fit together and the input times (n_in, S_in). Tracers' values pass."""
    if len(inputs) != 2:
        raise ValueError(f"input times have shape {inputs}; (n_in, S_in) of one sample is needed: batch with jax.vmap")
    check_weights(params.w_in, inputs[0], name="w_in")
    n = np.shape(params.w_in)[1]
    check_weights(params.w_rec, n, n_post=n, name="w_rec")
    check_neuron(params.neuron, n)
    check_delays(params.delay_in, inputs[0], n, name="delay_in")
    check_delays(params.delay_rec, n, n, name="delay_rec")
    if params.mask_rec is not None and np.shape(params.mask_rec) != (n, n):
        raise ValueError(f"mask_rec has shape {np.shape(params.mask_rec)}; ({n}, {n}) [pre, post] is needed")


def _check_limits(t_max: Any, max_spikes: int, max_events: int | None) -> None:
    if max_spikes < 1:
        raise ValueError(f"max_spikes must be 1 or more, got {max_spikes}")
    if max_events is not None and max_events < 1:
        raise ValueError(f"max_events must be 1 or more, got {max_events}")
    if is_concrete(t_max) and not (np.asarray(t_max) > 0 and np.isfinite(np.asarray(t_max))):
        raise ValueError(f"t_max must be positive and finite, got {t_max}")


def _overflown(overflow: Bool[Array, "n"]) -> bool:
    if not is_concrete(overflow):
        raise ValueError("strict=True needs values: call it outside jit, vmap and grad, or look at `overflow`")
    return bool(np.any(np.asarray(overflow)))


def _needed(run: Callable[[int], tuple[Array, Array]], max_spikes: int) -> str:
    """What limits would do, found by trying."""
    for factor in (4, 16, 64):
        times, overflow = run(factor * max_spikes)
        if not np.any(np.asarray(overflow)):
            count = np.isfinite(np.asarray(times)).sum(axis=1)
            return f"max_spikes={int(count.max())} and max_events={int(count.sum())} are needed"
    return f"more than max_spikes={64 * max_spikes} are needed"


def _existing(mask_rec: Bool[Array | np.ndarray, "n n"] | None, n: int) -> Bool[Array, "n n"]:
    return jnp.ones((n, n), bool) if mask_rec is None else jnp.asarray(mask_rec, bool)


def _known_zero(delay: Real) -> bool:
    return is_concrete(delay) and not np.any(np.asarray(delay))
