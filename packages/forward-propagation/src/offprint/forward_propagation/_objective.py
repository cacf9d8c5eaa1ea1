"""What a classifier is trained for: the loss of every sample, its predicted label, and who was silent."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from offprint.forward_propagation._first_spike import first_spike, predict_first_spike
from offprint.forward_propagation._losses import first_spike_cross_entropy
from offprint.forward_propagation._recipe import Recipe
from offprint.forward_propagation._spikes import SpikeTrain
from offprint.forward_propagation.surrogate import Decoding, count_loss, decode, rate_loss


class Answer(NamedTuple):
    """What a network made of a batch."""

    loss: Float[Array, " batch"]
    """Of every sample."""
    predicted: Int[Array, " batch"]
    """Label."""
    silent: Bool[Array, "batch n"]
    """Output neurons that did not fire."""
    fired: tuple[Bool[Array, "_"], ...] = ()
    """For each layer, which of its neurons fired in some sample; empty unless the recipe wakes silent neurons."""


@runtime_checkable
class Objective(Protocol):
    """From a model, the input spikes (batch, n_in, S) and the labels (batch,) to an `Answer`; hashable."""

    def __call__(self, model: Any, spikes: SpikeTrain, labels: Int[Array, " batch"], /) -> Answer: ...


@dataclass(frozen=True)
class FirstSpikeObjective:
    """The first-spike cross-entropy of a recipe; the model gives spike trains."""

    recipe: Recipe

    def of_outputs(self, out: SpikeTrain, labels: Int[Array, " batch"]) -> Answer:
        """The answer from the output layer's spikes."""
        r = self.recipe
        t = first_spike(out, r.t_max)
        loss = first_spike_cross_entropy(
            t, labels, r.tau0, r.tau1, r.gamma, silent=r.silent, t_max=r.t_max, regulariser_sign=r.regulariser_sign
        )
        return Answer(loss, predict_first_spike(t), t >= r.t_max)

    def __call__(self, model: Any, spikes: SpikeTrain, labels: Int[Array, " batch"]) -> Answer:
        if not self.recipe.wake:
            return self.of_outputs(model(spikes), labels)
        trains = model.activity(spikes)
        fired = tuple(jnp.isfinite(train.times[..., 0]).any(axis=0) for train in trains)
        return self.of_outputs(trains[-1], labels)._replace(fired=fired)


@dataclass(frozen=True)
class SurrogateObjective:
    """The loss of a network on the time grid, such as `surrogate.SurrogateNetwork`.

    With `decoding` `"first"` loss and prediction are those of exact training, from the times of the first spikes: the
    matched comparison. `"count"` and `"rate"` are the losses of the authors' comparison.
    """

    recipe: Recipe
    decoding: Decoding = "first"

    def __call__(self, model: Any, spikes: SpikeTrain, labels: Int[Array, " batch"]) -> Answer:
        r = self.recipe
        out = model(spikes)
        scores, predicted = decode(out, self.decoding, model.dt)
        if self.decoding == "first":
            loss = first_spike_cross_entropy(
                scores, labels, r.tau0, r.tau1, r.gamma, regulariser_sign=r.regulariser_sign
            )
        else:
            loss = (count_loss if self.decoding == "count" else rate_loss)(out, labels)
        return Answer(loss, predicted, jax.lax.stop_gradient(jnp.max(out, axis=-2)) == 0)
