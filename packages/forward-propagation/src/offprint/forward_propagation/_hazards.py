"""Spikes at which a gradient does not exist, or is ruled by rounding: how many there are."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._layer import spike_slopes
from offprint.forward_propagation._neuron import LIF, Real
from offprint.forward_propagation._spikes import SpikeTrain


class Hazards(NamedTuple):
    """Spikes of a layer whose derivatives call for care."""

    tangential: Int[Array, ""]
    """Spikes at which V rises more slowly than the floor."""
    coincident: Int[Array, ""]
    """Spikes on which an arrival at the same neuron falls to the last bit: the derivative is one-sided there."""
    steepest: Float[Array, ""]
    """The largest 1/V', by which derivatives are multiplied; 0 without spikes."""


def gradient_hazards(
    spikes_in: SpikeTrain,
    spikes: SpikeTrain,
    weights: Float[Array | np.ndarray, "n_pre n_post"],
    neuron: LIF,
    *,
    delays: Real = 0.0,
    slope_floor: Real = 1e-2,
) -> Hazards:
    """Count the spikes of a layer at which the spike times have no derivative, or hardly one.

    Where many are tangential, give `lif_layer` this `slope_floor`, or clip gradients.

    Args:
        spikes_in: the input of the layer, one sample; `jax.vmap` it over samples.
        spikes: its spikes, from `lif_layer`.
        weights, neuron, delays: as for `lif_layer`.
        slope_floor: V' below which a spike counts as tangential.

    Raises:
        ValueError, TypeError: as `lif_layer`.
    """
    slopes = spike_slopes(spikes_in, spikes, weights, neuron, delays=delays)
    w, d = jnp.asarray(weights), jnp.asarray(delays, spikes.times.dtype)
    by_synapse = jnp.broadcast_to(d[:, None] if d.ndim == 1 else d, w.shape)
    arrivals = spikes_in.times[:, :, None, None] + by_synapse[:, None, :, None]
    met = (arrivals == spikes.times) & jnp.isfinite(spikes.times) & (w != 0)[:, None, :, None]
    return Hazards(
        jnp.sum(slopes < slope_floor),
        jnp.sum(jnp.any(met, axis=(0, 1))),
        jnp.max(1 / slopes, initial=0.0),
    )
