"""What the experiments share: the data as pairs of arrays, and networks of several seeds."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Key, Num

from offprint.core.experiments import Run
from offprint.forward_propagation import FittedSeeds, Recipe, SpikeTrain, encode_examples, first_spike, plots
from offprint.forward_propagation._train import Encoded, Examples
from offprint.forward_propagation.data import ClassificationData


def pair(data: ClassificationData) -> tuple[Examples, Examples]:
    """Training and test set as training takes them."""
    return (data.train_x, data.train_y), (data.test_x, data.test_y)


def keys(seeds: int, offset: int = 0) -> Key[Array, " seeds"]:
    """Keys of the seeds from `offset` on; the first ones do not depend on how many there are."""
    return jax.vmap(jax.random.key)(np.arange(offset, offset + seeds))


def model_of(result: FittedSeeds, seed: int = 0) -> Any:
    """The trained network of one seed."""
    return jax.tree.map(lambda leaf: leaf[seed], result.state).model


def encoded_test(train: Examples, test: Examples, recipe: Recipe, dtype: Any = jnp.float32) -> Encoded:
    """The test set as input spikes."""
    return encode_examples(train, test, recipe.encoding, dtype)[1]


def first_times(model: Any, encoded: Encoded, recipe: Recipe) -> np.ndarray:
    """First spike times (samples, n) of the output neurons, those of silent ones at the horizon."""
    return np.asarray(first_spike(_outputs(model, encoded.spikes), recipe.t_max))


def near_step(loss: Num[np.ndarray, "seeds steps"], step: int, window: int) -> list[float]:
    """Mean loss of each seed over the `window` steps around a step."""
    start = max(0, step - window // 2)
    return loss[:, start : start + window].mean(1).tolist()


def mean(values: Any) -> float:
    """The mean."""
    return float(np.mean(values))


def percent(shares: Any) -> list[float]:
    """Shares in %."""
    return (100 * np.asarray(shares, float)).tolist()


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation for people."""
    return f"{np.mean(values):.1f}±{np.std(values):.1f}"


def figure_of_activity(run: Run, model: Any, encoded: Encoded, recipe: Recipe, sample: int = 0) -> None:
    """The figure of one sample's spikes and potentials."""
    spikes = jax.tree.map(lambda leaf: leaf[sample], encoded.spikes)
    trains = _activity(model, spikes)
    run.figure(
        "activity",
        plots.activity(spikes, trains, [layer.layer for layer in model.layers], recipe.t_max),
        "One test sample: spikes of inputs and layers, and the potentials of the neurons that fire most, thresholds "
        "dotted. Only the first spike of the outputs is simulated.",
    )


@nnx.jit
def _outputs(model: Any, spikes: SpikeTrain) -> SpikeTrain:
    return model(spikes)


@nnx.jit
def _activity(model: Any, spikes: SpikeTrain) -> list[SpikeTrain]:
    return model.activity(spikes)
