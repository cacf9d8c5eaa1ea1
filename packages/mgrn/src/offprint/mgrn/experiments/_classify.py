"""Training of classifiers on padded sequences, several seeds at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from offprint.core.train import Minibatches, TrainState
from offprint.mgrn._network import SequenceModel, make_optimizer
from offprint.mgrn.experiments._members import Metrics, new_members, run_epoch


class Labelled(NamedTuple):
    """Sequences with their classes; `lengths` None where the padding is read as data."""

    x: Float[Array, "n steps features"]
    lengths: Int[Array, "n"] | None
    y: Int[Array, "n"]


class Parts(NamedTuple):
    """What is trained on, and what the accuracy is measured on after every epoch."""

    train: Labelled
    measured: dict[str, Labelled]


@dataclass(frozen=True)
class Training:
    """Settings of Adam, with the L2 term in the gradient as PyTorch has it."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0


class Accuracies(NamedTuple):
    """After every epoch, for every member; and the classes predicted in the end."""

    accuracy: dict[str, Float[np.ndarray, "members epochs"]]
    predicted: dict[str, Int[np.ndarray, "members n"]]


def train(
    make: Callable[[nnx.Rngs], SequenceModel], parts: Parts, keys: Key[Array, "members"], training: Training
) -> Accuracies:
    """Trains one network for every key, each with its own order of the examples."""
    to_init, to_run = jax.vmap(jax.random.split)(keys).T
    tx: optax.GradientTransformation = make_optimizer("adam", training.learning_rate, training.weight_decay)
    states = new_members(make, tx, to_init)
    batches = Minibatches(jnp.arange(len(parts.train.y)), min(training.batch_size, len(parts.train.y)))
    none = jnp.zeros(len(keys))
    rows: list[Metrics] = []
    for epoch in range(training.epochs):
        states, metrics = run_epoch(_step, _predict, states, batches, parts, none, to_run, epoch)
        rows.append({name: np.asarray(values) for name, values in metrics.items()})
    accuracy = {
        name: np.stack([(row[name] == np.asarray(part.y)).mean(axis=1) for row in rows], axis=1)
        for name, part in parts.measured.items()
    }
    return Accuracies(accuracy, rows[-1])


def _step(state: TrainState, rows: Array, key: PRNGKeyArray, shared: Parts, own: Any) -> TrainState:
    x, lengths, y = jax.tree.map(lambda array: array[rows], shared.train)

    def loss(params: Any) -> Array:
        model = nnx.merge(state.graphdef, params, state.rest, copy=True)
        logits = model(x, lengths=lengths, rngs=nnx.Rngs(dropout=key))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return state.apply_gradients(jax.grad(loss)(state.params))


def _predict(model: Any, shared: Parts, own: Any) -> Metrics:
    return {name: model(part.x, lengths=part.lengths).argmax(axis=-1) for name, part in shared.measured.items()}
