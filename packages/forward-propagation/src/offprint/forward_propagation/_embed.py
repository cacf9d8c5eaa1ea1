"""A feed-forward network as the recurrent network that it is, so that all that serves the one serves the other."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.forward_propagation._neuron import (
    LIF,
    LayerParams,
    check_delays,
    check_neuron,
    check_weights,
    is_concrete,
)
from offprint.forward_propagation._recurrent import RecurrentParams
from offprint.forward_propagation._spikes import SpikeTrain, count_spikes

Parameters = RecurrentParams | LayerParams | Sequence[LayerParams]
"""Of a recurrent network, of one layer, or of layers in a row."""


def as_recurrent(layers: Sequence[LayerParams]) -> RecurrentParams:
    """The layers as one recurrent network, differentiable by their parameters.

    Args:
        layers: in order, the outputs of one being the inputs of the next.

    Returns:
        Parameters of a network of all neurons, numbered through the layers, the first hidden layer from 0. Weights
        between neurons of successive layers stand in blocks; `mask_rec` says that there are no others.

    Raises:
        ValueError: no layers; layers that do not fit together; parameters as `recurrent`.
    """
    _check_layers(layers)
    sizes = [np.shape(layer.weights)[1] for layer in layers]
    dtype = jnp.result_type(*(jnp.asarray(layer.weights) for layer in layers), jnp.float32)
    n, ends = sum(sizes), np.cumsum(sizes)
    first = layers[0]
    w_in = jnp.zeros((np.shape(first.weights)[0], n), dtype).at[:, : sizes[0]].set(jnp.asarray(first.weights))
    w_rec, mask = jnp.zeros((n, n), dtype), np.zeros((n, n), bool)
    for layer, start, pre, post in zip(layers[1:], ends, sizes, sizes[1:]):
        block = slice(start - pre, start), slice(start, start + post)
        w_rec = w_rec.at[block].set(jnp.asarray(layer.weights))
        mask[block] = True
    neuron = LIF(
        *(
            jnp.concatenate([jnp.broadcast_to(jnp.asarray(value), (size,)) for value, size in zip(values, sizes)])
            for values in zip(*(layer.neuron for layer in layers))
        )
    )
    delay_in = _widened(first.delays, sizes[0], n)
    return RecurrentParams(w_in, w_rec, neuron, delay_in, _recurrent_delays(layers[1:], sizes, dtype), mask)


def recurrent_params(params: Parameters) -> RecurrentParams:
    """Any kind of parameters as those of a recurrent network."""
    if isinstance(params, RecurrentParams):
        return params
    return as_recurrent([params] if isinstance(params, LayerParams) else params)


def joined(trains: SpikeTrain | Sequence[SpikeTrain]) -> SpikeTrain:
    """The spikes of all layers as one train, neurons numbered through the layers, padded to the longest."""
    if isinstance(trains, SpikeTrain):
        return trains
    longest = max(train.times.shape[-1] for train in trains)
    times = [
        jnp.pad(train.times, ((0, 0), (0, longest - train.times.shape[-1])), constant_values=jnp.inf)
        for train in trains
    ]
    together = jnp.concatenate(times)
    return SpikeTrain(together, count_spikes(together), jnp.concatenate([train.overflow for train in trains]))


def _recurrent_delays(layers: Sequence[LayerParams], sizes: Sequence[int], dtype: Any) -> Float[Array, "..."] | float:
    """0 where no layer has delays, one for each source where that says it all, else (n, n)."""
    delays = [layer.delays for layer in layers]
    if all(is_concrete(delay) and not np.any(np.asarray(delay)) for delay in delays):
        return 0.0
    n, ends = sum(sizes), np.cumsum(sizes)
    if all(np.ndim(delay) < 2 for delay in delays):
        of_each = [jnp.broadcast_to(jnp.asarray(delay, dtype), (pre,)) for delay, pre in zip(delays, sizes)]
        return jnp.concatenate([*of_each, jnp.zeros(sizes[-1], dtype)])
    full = jnp.zeros((n, n), dtype)
    for delay, start, pre, post in zip(delays, ends, sizes, sizes[1:]):
        array = jnp.asarray(delay, dtype)
        block = slice(start - pre, start), slice(start, start + post)
        full = full.at[block].set(array[:, None] if array.ndim == 1 else array)
    return full


def _widened(delay: Any, post: int, n: int) -> Any:
    """Delays of the inputs to the first layer, with columns for the neurons that inputs do not reach."""
    return jnp.pad(jnp.asarray(delay), ((0, 0), (0, n - post))) if np.ndim(delay) == 2 else delay


def _check_layers(layers: Sequence[LayerParams]) -> None:
    if not len(layers):
        raise ValueError("a network needs at least one layer")
    n_pre = np.shape(layers[0].weights)[0] if np.ndim(layers[0].weights) == 2 else 0
    for number, layer in enumerate(layers):
        check_weights(layer.weights, n_pre, name=f"weights of layer {number}")
        n_post = np.shape(layer.weights)[1]
        check_neuron(layer.neuron, n_post)
        check_delays(layer.delays, n_pre, n_post, name=f"delays of layer {number}")
        n_pre = n_post
