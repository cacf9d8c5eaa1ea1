"""The leaky integrate-and-fire neuron, the parameters of a layer of them, and what is checked of both."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Float

Real = Float[Array | np.ndarray, "..."] | np.floating | float | int


class LIF(NamedTuple):
    """Leaky integrate-and-fire neurons with exponential synaptic current: I' = -I/τ_syn, V' = -V/τ_mem + I.

    An input spike adds its weight to I; when V reaches the threshold from below the neuron fires and V falls by the
    threshold. I is not reset and there is no refractory time. Each field is one number for all neurons, or (n,).

    Eventprop, Norse and jaxsnn write τ_mem V' = -V + I: divide their weights by τ_mem to get the same spikes here.
    """

    tau_mem: Real
    """Membrane time constant τ_mem = 1/β, in the unit of the spike times."""
    tau_syn: Real
    """Synaptic time constant τ_syn = 1/α."""
    threshold: Real = 1.0
    """Threshold θ > 0."""


class LayerParams(NamedTuple):
    """A layer of neurons and the synapses into it; a pytree, so gradients come back in the same shape."""

    weights: Float[Array | np.ndarray, "n_pre n_post"]
    """Weights w_ji, [pre, post]."""
    neuron: LIF
    delays: Real = 0.0
    """Transmission delays d_ji >= 0: one number, (n_pre,) or (n_pre, n_post)."""


class Rates(NamedTuple):
    """The parameters of neurons as the equations have them, all of one dtype, each () or (n,)."""

    alpha: Float[Array, "..."]
    """α = 1/τ_syn."""
    beta: Float[Array, "..."]
    """β = 1/τ_mem."""
    theta: Float[Array, "..."]
    """θ."""


def rates(neuron: LIF, dtype: Any) -> Rates:
    """α, β and θ of the neurons in `dtype`, differentiable by the time constants."""
    tau_mem, tau_syn, threshold = (jnp.asarray(value, dtype) for value in neuron)
    return Rates(1 / tau_syn, 1 / tau_mem, threshold)


def check_neuron(neuron: LIF, n_post: int) -> None:
    """Raise ValueError unless τ_mem, τ_syn and θ are positive, finite, and () or (n_post,).

    Here and below the values of tracers pass, unless the caller asks for the checks with `checkify.checkify`.
    """
    for name, value in neuron._asdict().items():
        if np.shape(value) not in ((), (n_post,)):
            raise ValueError(
                f"{name} has shape {np.shape(value)}; one number, or ({n_post},) for the {n_post} neurons of this "
                "layer, is needed"
            )
        if is_concrete(value) and not (np.all(np.asarray(value) > 0) and np.all(np.isfinite(np.asarray(value)))):
            raise ValueError(f"{name} must be positive and finite, but is {_extreme(value)}")
        _check_traced(value, lambda v: (v > 0) & jnp.isfinite(v), f"{name} must be positive and finite")


def check_weights(
    weights: Float[Array | np.ndarray, "..."], n_pre: int, *, n_post: int | None = None, name: str = "weights"
) -> None:
    """Raise ValueError unless the weights are finite and (n_pre, n_post). Tracers' values pass."""
    shape = np.shape(weights)
    if len(shape) != 2 or shape[0] != n_pre or (n_post is not None and shape[1] != n_post):
        expected = f"({n_pre}, {'n_post' if n_post is None else n_post})"
        hint = "; transpose them" if len(shape) == 2 and shape[1] == n_pre and n_post in (None, shape[0]) else ""
        raise ValueError(
            f"{name} are [pre, post]: {expected} is needed for spikes of {n_pre} sources, got {tuple(shape)}{hint}"
        )
    if is_concrete(weights) and not np.all(np.isfinite(np.asarray(weights))):
        bad = np.argwhere(~np.isfinite(np.asarray(weights)))
        raise ValueError(f"{name} must be finite, but {len(bad)} are not, the first at {tuple(map(int, bad[0]))}")
    _check_traced(weights, jnp.isfinite, f"{name} must be finite")


def check_delays(delays: Real, n_pre: int, n_post: int, *, name: str = "delays") -> None:
    """Raise ValueError unless delays are >= 0, finite, and (), (n_pre,) or (n_pre, n_post). Tracers' values pass."""
    shape = np.shape(delays)
    if shape not in ((), (n_pre,), (n_pre, n_post)):
        raise ValueError(
            f"{name} have shape {shape}; a number, ({n_pre},) or ({n_pre}, {n_post}) [pre, post] is needed"
        )
    if is_concrete(delays) and not (np.all(np.asarray(delays) >= 0) and np.all(np.isfinite(np.asarray(delays)))):
        raise ValueError(f"{name} must be finite and not negative, but the least is {np.min(np.asarray(delays))}")
    _check_traced(delays, lambda d: (d >= 0) & jnp.isfinite(d), f"{name} must be finite and not negative")


def warn_of_units(times: Float[Array | np.ndarray, "..."], neuron: LIF) -> None:
    """Warn where spikes lie so far apart, or so close, that their unit can hardly be that of the time constants.

    The measure is the median gap between successive input times, all sources together, over the time constants:
    below 1e-3 or above 1e3 of each of them. Nothing is said of tracers or of fewer than three different times.
    """
    if not all(map(is_concrete, (times, neuron.tau_mem, neuron.tau_syn))):
        return
    finite = np.unique(np.asarray(times)[np.isfinite(np.asarray(times))])
    if finite.size < 3:
        return
    tau = np.concatenate([np.ravel(np.asarray(neuron.tau_mem)), np.ravel(np.asarray(neuron.tau_syn))])
    # a long train of many sources is dense without being wrong: its own span must be short as well
    gap, span = np.median(np.diff(finite)), finite[-1] - finite[0]
    if gap > 1e3 * tau.max() or (gap < 1e-3 * tau.min() and span < 1e-2 * tau.min()):
        warnings.warn(
            f"input spikes are {gap:.3g} apart (median) but the time constants are {tau.min():.3g} to {tau.max():.3g}: "
            "are both in the same unit?",
            stacklevel=3,
        )


def is_concrete(value: Any) -> bool:
    """Whether the numbers are known now, not only when a jitted or transformed function runs."""
    return not isinstance(value, jax.core.Tracer)


def _check_traced(value: Any, allowed: Callable[[Array], Array], message: str) -> None:
    """Under `checkify` the same error for values that are known only later; otherwise this costs nothing."""
    if not is_concrete(value):
        checkify.debug_check(jnp.all(allowed(value)), message)


def _extreme(value: Any) -> float:
    flat = np.ravel(np.asarray(value))
    return float(flat[np.argmax(~(flat > 0) | ~np.isfinite(flat))])
