"""A worked example: a small classifier on handwritten digits, trained through `fit`, its claims checked.

It is core's own experiment, so that training is exercised on real data wherever core is installed. The digits are
those that scikit-learn ships (1797 images of 8x8 pixels, UCI repository, CC BY 4.0).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, at_most, equals, experiment
from offprint.core.plots import new_figure
from offprint.core.train import (
    Checkpoint,
    Evaluation,
    JsonlLog,
    Minibatches,
    TrainState,
    fit,
    scan,
    supervised_step,
)

Images = Float[Array, "images pixels"]
Labels = Int[Array, " images"]


class MLP(nnx.Module):
    """64 pixels, one hidden layer, ten classes."""

    def __init__(self, hidden: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, hidden, rngs=rngs)
        self.out = nnx.Linear(hidden, 10, rngs=rngs)

    def __call__(self, x: Images) -> Float[Array, "images 10"]:
        return self.out(nnx.relu(self.hidden(x)))


@dataclass(frozen=True)
class DigitsConfig:
    """Settings of the digits experiment."""

    hidden: int = 128
    """Units of the hidden layer."""
    batch_size: int = 32
    """Images in a batch."""
    num_steps: int = 3000
    """Steps of training."""
    learning_rate: float = 1e-3
    """Of Adam."""
    seed: int = 0
    """Of the parameters and of the order of the batches."""


Split = tuple[
    tuple[Float[Array, "train pixels"], Int[Array, " train"]], tuple[Float[Array, "test pixels"], Int[Array, " test"]]
]


def load_digits(seed: int = 0) -> Split:
    """Training (1437 images) and test set (360), pixels in [0, 1], each class split in the same proportion."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    images, labels = load(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 16.0, labels, test_size=0.2, stratify=labels, random_state=seed)
    pixels, classes = np.float32, np.int32
    return (
        (jnp.asarray(x, pixels), jnp.asarray(y, classes)),
        (jnp.asarray(x_test, pixels), jnp.asarray(y_test, classes)),
    )


def cross_entropy(model: MLP, batch: tuple[Images, Labels], key: PRNGKeyArray) -> Float[Array, ""]:
    """Mean cross-entropy of a batch."""
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


def correct(model: MLP, batch: tuple[Images, Labels]) -> dict[str, Array]:
    """Whether each image of a batch is classified right."""
    x, y = batch
    return {"accuracy": (model(x).argmax(-1) == y).astype(jnp.float32)}


@experiment(
    "digits",
    reproduces="no paper: what core says of its own training loop",
    paper=DigitsConfig(hidden=512, num_steps=20_000),
)
def digits(config: DigitsConfig, run: Run) -> Iterator[Claim]:
    """A small network learns handwritten digits, whichever loop runs it, and resumes exactly."""
    train, test = load_digits(config.seed)
    key = jax.random.key(config.seed)
    step = supervised_step(cross_entropy)
    batches = Minibatches(train, config.batch_size, check_finite=True)

    def new_state() -> TrainState:
        return TrainState.create(MLP(config.hidden, nnx.Rngs(config.seed)), optax.adam(config.learning_rate))

    accuracy = Evaluation(correct, test)
    result = fit(
        step,
        new_state(),
        batches,
        num_steps=config.num_steps,
        key=key,
        evaluate=accuracy,
        eval_every=100,
        callbacks=[JsonlLog(run.folder / "metrics.jsonl")],
        checkpoint=Checkpoint(run.checkpoints / "whole"),
    )
    run.figure("learning", _figure(result), "Training loss and test accuracy of the digits classifier.")
    yield Claim(
        "test accuracy after training",
        paper="0.97 (nearest neighbours and kernel machines on these digits)",
        here=accuracy(result.state)["accuracy"],
        rule=at_least(0.96),
    )

    fused, _ = jax.jit(lambda state: scan(step, state, batches, config.num_steps, key))(new_state())
    yield Claim(
        "largest difference between the parameters of fit and of a hand-written scan",
        paper="0",
        here=_difference(result.state.params, fused.params),
        rule=at_most(1e-4),
    )

    half = run.checkpoints / "half"
    options: dict[str, Any] = {"key": key, "checkpoint": Checkpoint(half, every=500), "progress": False}
    fit(step, new_state(), batches, num_steps=config.num_steps // 2, **options)
    resumed = fit(step, new_state(), batches, num_steps=config.num_steps, **options)
    yield Claim(
        "difference after a stop half-way and a resume",
        paper="0",
        here=_difference(result.state.params, resumed.state.params),
        rule=equals(0.0),
    )


def _difference(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in pairs)


def _figure(result: Any) -> Any:
    figure, (left, right) = new_figure(1, 2)
    left.semilogy(*result.series("loss"))
    left.set(xlabel="step", ylabel="cross-entropy, mean of 100 steps", title="Training loss")
    right.plot(*result.series("accuracy"))
    right.set(xlabel="step", ylabel="accuracy", title="Test accuracy", ylim=(0.8, 1.0))
    return figure
