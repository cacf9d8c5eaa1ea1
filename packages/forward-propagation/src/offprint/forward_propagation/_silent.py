"""Help for silent neurons, on which exact gradients have no hold: a spike that is not there has no time to move."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
REMEDIES = (
    "start from larger weights, use gamma > 0 or silent='skip' in first_spike_cross_entropy, wake_silent or "
    "rate_projection after each update, gradient clipping (optax.clip_by_global_norm), a smaller learning rate"
)


def wake_silent(
    weights: Float[Array, "n_pre n_post"], train: SpikeTrain, *, step: Number | Float[Array, ""] = 0.1
) -> Float[Array, "n_pre n_post"]:
    """Weights with `step` added to all inputs of every neuron that fired in no sample of the batch.

    lolemacs/pytorch-eventprop does this after every update, with the same step.

    Args:
        weights: into the layer, [pre, post].
        train: spikes (..., n_post, S) of the layer on the batch.
        step: what is added.

    Raises:
        ValueError: the spikes are not of the neurons that the weights lead to.
    """
    if train.times.shape[-2] != weights.shape[-1]:
        raise ValueError(
            f"weights {weights.shape} [pre, post] lead to {weights.shape[-1]} neurons, but the spikes "
            f"{train.times.shape} are of {train.times.shape[-2]}"
        )
    fired = jnp.isfinite(train.times[..., 0])
    return raise_silent(weights, fired.any(axis=tuple(range(fired.ndim - 1))), step)


def raise_silent(
    weights: Float[Array, "n_pre n_post"], fired: Bool[Array, " n_post"], step: Number | Float[Array, ""]
) -> Float[Array, "n_pre n_post"]:
    """Weights with `step` added to all inputs of the neurons that have not fired."""
    return weights + jnp.where(fired, 0, jnp.asarray(step, weights.dtype))


def rate_projection(
    weights: Float[Array, "n_pre n_post"],
    rate_in: Float[Array, " n_pre"],
    rate_out: Float[Array, " n_post"],
    neuron: LIF,
    *,
    zeta0: Number = -10.0,
) -> Float[Array, "n_pre n_post"]:
    """Weights moved so that no neuron is held too far below its threshold.

    Over a long time, Σ_j w_j r_j / α = (r_out + ζ β) θ, where ζ measures how far the mean potential lies from rest.
    Neurons with ζ below `zeta0` get the nearest weights with ζ = `zeta0`; the others keep theirs.

    Args:
        weights: into the layer, [pre, post].
        rate_in: r_j, spikes of every input per unit of time.
        rate_out: spikes of every neuron per unit of time.
        neuron: time constants and threshold of the layer.
        zeta0: least ζ.

    Returns:
        Weights of the same shape. Where no input fires, they stay.

    Source: the authors' code, where the projection is there but switched off.
    """
    feed = jnp.broadcast_to(jnp.reshape(rate_in, (-1, 1)) * neuron.tau_syn, weights.shape)
    drive = (weights * feed).sum(0)
    zeta = (drive - rate_out * neuron.threshold) * neuron.tau_mem / neuron.threshold
    wanted = neuron.threshold * (rate_out + zeta0 / neuron.tau_mem)
    length = (feed**2).sum(0)
    shift = jnp.where(length > 0, (wanted - drive) / jnp.where(length > 0, length, 1), 0)
    return weights + jnp.where(zeta < zeta0, shift, 0) * feed


def warn_if_silent(
    t: Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"], t_max: Number, *, tolerated: Number = 0.5
) -> float:
    """Warn, outside jit, if in more than the `tolerated` share of samples no output neuron fires.

    Args:
        t: first spike times (..., n) of the output neurons, those of silent ones at `t_max` or infinite.
        t_max: horizon T.
        tolerated: share of samples without any output spike that is accepted.

    Returns:
        The share of silent output neurons, over all samples; NaN, without a warning, for traced values.
    """
    if isinstance(t, jax.core.Tracer):
        return float("nan")
    silent = np.asarray(t) >= t_max
    warn_of_silence(float(silent.all(-1).mean()), float(silent.mean()), tolerated=tolerated, stacklevel=3)
    return float(silent.mean())


def warn_of_silence(unanswered: float, silent: float, *, tolerated: Number = 0.5, stacklevel: int = 2) -> None:
    """Warn if the share of samples without any output spike is above `tolerated`.

    Args:
        unanswered: that share.
        silent: share of silent output neurons over all samples.
        tolerated: what is accepted.
        stacklevel: as in `warnings.warn`.
    """
    if unanswered > tolerated:
        warnings.warn(
            f"no output neuron fires in {unanswered:.0%} of the samples ({silent:.0%} of all outputs are silent), "
            f"so their gradient is zero; remedies: {REMEDIES}",
            stacklevel=stacklevel,
        )
