"""A Hebbian learning rule: the direct term of the exact gradient, without what propagates through the network."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._modules import LIFDense, Sequential
from offprint.forward_propagation._objective import Answer, FirstSpikeObjective
from offprint.forward_propagation._recipe import Recipe
from offprint.forward_propagation._spikes import SpikeTrain


@dataclass(frozen=True)
class HebbianObjective:
    """Every spike is moved by its own synapses alone: dt_k/dw_ji = -y_ji(t_k) / V_i'(t_k), the feeding kernel of the
    presynaptic spikes at the postsynaptic one.

    In the exact gradient these direct terms are weighted by errors that the triangular system propagates back. Here
    the output spikes get the derivative of the loss, and a hidden spike gets, through the synapses to the next layer
    as they are (or nothing, with `feedback="none"`), the errors of the spikes that come after it; neither the slopes
    nor the kernels on the way count, nor do a neuron's earlier spikes. It is a local rule with a broadcast error, to
    compare exact gradients with, and no gradient of anything.

    Args:
        recipe: the loss.
        feedback: `"weights"` sends errors to hidden layers, `"none"` trains the output layer only.

    The loss and the predictions that are reported are the exact ones; only the derivative is the rule's.
    """

    recipe: Recipe
    feedback: Literal["weights", "none"] = "weights"

    def __call__(self, model: Sequential, spikes: SpikeTrain, labels: Int[Array, " batch"]) -> Answer:
        trains = _direct_activity(model, spikes)
        loss = FirstSpikeObjective(self.recipe)
        answer = loss.of_outputs(trains[-1], labels)
        if self.feedback == "none":
            return answer
        out = jax.lax.stop_gradient(trains[-1])
        error = jax.grad(lambda times: loss.of_outputs(out._replace(times=times), labels).loss.sum())(out.times)
        moved = jnp.zeros_like(answer.loss)
        for place in range(len(trains) - 2, -1, -1):
            weights = jax.lax.stop_gradient(model.layers[place + 1].kernel[...])
            error = _broadcast_error(error, weights, trains[place], trains[place + 1])
            times = jnp.where(jnp.isfinite(trains[place].times), trains[place].times, 0)
            moved += (error * times).sum((-1, -2))
        return answer._replace(loss=answer.loss + moved - jax.lax.stop_gradient(moved))


def _direct_activity(model: Sequential, spikes: SpikeTrain) -> list[SpikeTrain]:
    """Spikes of every layer, each differentiable by its own parameters alone, and each spike on its own."""
    trains = []
    for layer in model.layers:
        if not isinstance(layer, LIFDense):
            raise TypeError(f"the Hebbian rule needs layers of type LIFDense, not {type(layer).__name__}")
        spikes = _direct_layer(layer, jax.lax.stop_gradient(spikes))
        trains.append(spikes)
    return trains


def _direct_layer(layer: LIFDense, spikes: SpikeTrain) -> SpikeTrain:
    params = layer.layer

    def sample(train: SpikeTrain) -> SpikeTrain:
        return lif_layer(
            train,
            params.weights,
            params.neuron,
            delays=params.delays,
            t_max=layer.t_max,
            max_spikes=layer.max_spikes,
            reset_coupling=False,
            slope_floor=layer.slope_floor,
        )

    return jax.vmap(sample)(spikes)


def _broadcast_error(
    error: Float[Array, "batch post S"], weights: Float[Array, "pre post"], before: SpikeTrain, after: SpikeTrain
) -> Float[Array, "batch pre Q"]:
    """Errors of the spikes `before` from those of the spikes `after` them, through the weights between."""
    t_before, t_after = (jax.lax.stop_gradient(train.times) for train in (before, after))

    def sample(error: Array, t_before: Array, t_after: Array) -> Array:
        def neuron(times: Array, feedback: Array) -> Any:  # of one presynaptic neuron (Q,), (post,)
            later = times[:, None, None] < t_after
            return jnp.where(later & jnp.isfinite(t_after), feedback[:, None] * error, 0).sum((-1, -2))

        return jax.vmap(neuron)(t_before, weights)

    return jax.vmap(sample)(error, t_before, t_after)
