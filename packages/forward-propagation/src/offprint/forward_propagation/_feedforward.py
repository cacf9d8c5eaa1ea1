"""A feed-forward network of LIF layers, and how much of it a first-spike loss really needs."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._neuron import LayerParams, Real
from offprint.forward_propagation._spikes import SpikeTrain


def feedforward(
    spikes_in: SpikeTrain,
    layers: Sequence[LayerParams],
    *,
    t_max: Real,
    max_spikes: Sequence[int],
    reset_coupling: bool = True,
    slope_floor: Real = 0.0,
    strict: bool = False,
) -> list[SpikeTrain]:
    """Exact spike times of every layer of a feed-forward network for one sample; `jax.vmap` it over samples.

    A loss of first output spikes needs `max_spikes[-1] = 1` and, of every hidden neuron, only the spikes before the
    last of those output spikes: few are enough, and `truncation_is_exact` tells whether they were.

    Args:
        spikes_in: spikes of the sources, (n_in, S_in).
        layers: parameters of the layers, first hidden layer first.
        t_max: horizon T, for all layers.
        max_spikes: S of each layer.
        reset_coupling, slope_floor, strict: as for `lif_layer`.

    Returns:
        The spikes of every layer, output layer last, differentiable as those of `lif_layer`.

    Raises:
        ValueError: no layers, or not one S for each layer; otherwise as `lif_layer`, naming the layer.
        TypeError: as `lif_layer`.
    """
    if not layers or len(layers) != len(max_spikes):
        raise ValueError(
            f"{len(layers)} layers and {len(max_spikes)} numbers of max_spikes; at least one layer, and one number "
            "for each, is needed"
        )
    trains: list[SpikeTrain] = []
    for number, (layer, spikes) in enumerate(zip(layers, max_spikes)):
        try:
            train = lif_layer(
                trains[-1] if trains else spikes_in,
                layer.weights,
                layer.neuron,
                delays=layer.delays,
                t_max=t_max,
                max_spikes=spikes,
                reset_coupling=reset_coupling,
                slope_floor=slope_floor,
                strict=strict,
            )
        except ValueError as error:
            raise ValueError(f"layer {number}: {error}") from error
        trains.append(train)
    return trains


def truncation_is_exact(
    trains: Sequence[SpikeTrain], *, used_until: Float[Array, "*batch"] | float | int | None = None
) -> Bool[Array, "*batch"]:
    """Whether keeping only `max_spikes` spikes of hidden neurons changed nothing that a loss looks at.

    It changed nothing if every hidden neuron that overflowed fired its last kept spike after the last output spike
    that is used: all the spikes that were left out are later still.

    Args:
        trains: the spikes of all layers, from `feedforward`, with or without leading batch axes.
        used_until: time of the last output spike that the loss uses; by default the latest of the first spikes of
            the output neurons. An output that stays silent is used up to the horizon: a hidden spike that was left
            out might have made it fire, so then no hidden neuron may have overflowed.

    Returns:
        One bool for each sample. True is certain; False means only that more hidden spikes should be kept.

    Raises:
        ValueError: no trains.
    """
    if not trains:
        raise ValueError("no spike trains were given; those of all layers, output layer last, are needed")
    *hidden, output = trains
    last = jnp.max(output.times[..., 0], axis=-1) if used_until is None else jnp.asarray(used_until)
    exact = jnp.ones(output.count.shape[:-1], bool)
    for train in hidden:
        later = train.times[..., -1] > last[..., None]
        exact &= jnp.all(later | ~train.overflow, axis=-1)
    return exact
