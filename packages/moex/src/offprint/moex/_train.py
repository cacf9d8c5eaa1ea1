"""Training with moment exchange, CutMix and soft targets through core's loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int, PRNGKeyArray, Shaped

from offprint.core.train import Checkpoint, Evaluation, FitResult, Minibatches, TrainState, fit, supervised_step
from offprint.moex._augment import crop_and_flip, standardise
from offprint.moex._compose import Mixing, mix_batch
from offprint.moex._evaluate import classification_metrics, exposure_metrics
from offprint.moex._recipe import CIFAR_MEAN, CIFAR_STD, Recipe, optimiser
from offprint.moex._targets import dominant_labels, soft_cross_entropy

TrainingSet = tuple[Shaped[np.ndarray, "train *dims"], Int[np.ndarray, " train"]]
TestSet = tuple[Shaped[np.ndarray, "test *dims"], Int[np.ndarray, " test"]]
Prepare = Callable[[PRNGKeyArray, Array], Array]


class Batch(NamedTuple):
    """What a training step is given."""

    x: Shaped[Array, "batch *dims"]
    labels: Int[Array, "batch"]
    mixing: Mixing


@jax.tree_util.register_pytree_node_class
class MixedBatches:
    """Minibatches with what is mixed in them as data: other probabilities need no other compiled step."""

    def __init__(self, minibatches: Minibatches, mixing: Mixing):
        self.minibatches, self.mixing = minibatches, mixing
        self.size, self.batch_size = minibatches.size, minibatches.batch_size

    def tree_flatten(self) -> tuple[tuple, None]:
        return (self.minibatches, self.mixing), None

    @classmethod
    def tree_unflatten(cls, _: None, children: tuple) -> "MixedBatches":
        batches = object.__new__(cls)
        batches.minibatches, batches.mixing = children
        return batches

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> Batch:
        """The batch of a step."""
        x, labels = self.minibatches.batch_at(step, key)
        return Batch(x, labels, self.mixing)


class Outcome(NamedTuple):
    """What a run came to. Test metrics are those of the last epoch; `best_error` is the least at any evaluation."""

    error: float
    """Share of test examples classified wrong."""
    nll: float
    """Mean negative log-probability of the test labels, in nats."""
    exposure: float
    """Mean probability of the label of the moments' donor, over exchanged test pairs with different labels."""
    train_loss: float
    """Mean loss of the last epoch."""
    best_error: float
    """Least test error of all evaluations: the figure that the official code reports."""
    result: FitResult
    """State and history."""


class Training:
    """What all runs on one data set by one recipe share, so that they are compiled once.

    Args:
        train: examples and integer labels; images (N, H, W, C) with intensities from 0 to 255, or anything else
            with `prepare` and `standard` given.
        test: likewise.
        classes: number of classes K.
        recipe: optimiser, length, crops and flips.
        statistics: mean and standard deviation of the image channels divided by 255; CIFAR's by default.
        prepare: `prepare(key, x)` augments a training batch, before standardisation; crops and flips by default.
        standard: standardises a batch for training and test; by `statistics` by default.
    """

    def __init__(
        self,
        train: TrainingSet,
        test: TestSet,
        classes: int,
        recipe: Recipe,
        *,
        statistics: tuple[Any, Any] = (CIFAR_MEAN, CIFAR_STD),
        prepare: Prepare | None = None,
        standard: Callable[[Array], Array] | None = None,
    ):
        mean, std = (np.asarray(values, np.float32) for values in statistics)
        self.recipe, self.classes = recipe, classes
        self.standard = standard or (lambda x: standardise(x, mean, std))
        self.prepare = prepare or (lambda key, x: crop_and_flip(key, x, recipe.pad, flip=recipe.flip))
        self.minibatches = Minibatches(train, min(recipe.batch_size, len(train[1])))
        self.step = supervised_step(self.loss)
        size = min(500, len(test[1]))
        order = np.random.default_rng(0).permutation(len(test[1]))
        self.test = Evaluation(self._view(classification_metrics), tuple(part[order] for part in test), batch_size=size)
        self.pairs = Evaluation(self._view(exposure_metrics), tuple(part[order] for part in test), batch_size=size)

    @property
    def num_steps(self) -> int:
        """Steps of a run."""
        return self.recipe.epochs * self.minibatches.steps_per_epoch

    def state(self, network: nnx.Module) -> TrainState:
        """The state in which a run of this network starts."""
        network.train()
        return TrainState.create(network, optimiser(self.recipe, self.minibatches.steps_per_epoch))

    def run(
        self,
        network: nnx.Module,
        mixing: Mixing,
        key: PRNGKeyArray,
        *,
        evaluations: int = 1,
        checkpoint: str | Path | None = None,
        mesh: Mesh | None = None,
        progress: bool = True,
    ) -> Outcome:
        """Train and evaluate.

        Args:
            network: has an attribute `moex` and is called as `network(x, plan)`.
            mixing: what is mixed in the batches.
            key: of order, augmentation and plans.
            evaluations: how often the test error is measured in the run, the last time at its end.
            checkpoint: folder to save in every ten epochs, and to go on from.
            mesh: devices that share every batch.
            progress: draw a bar, if standard error is a terminal.
        """
        epoch = self.minibatches.steps_per_epoch
        every = max(1, self.recipe.epochs // evaluations) * epoch
        result = fit(
            self.step,
            self.state(network),
            MixedBatches(self.minibatches, mixing),
            num_steps=self.num_steps,
            key=key,
            evaluate=self.test,
            eval_every=every,
            log_every=epoch,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint, every=10 * epoch),
            mesh=mesh,
            progress=progress,
        )
        last = result.history[-1]
        given = self.pairs(result.state)
        return Outcome(
            error=last["error"],
            nll=last["nll"],
            exposure=given["donor"] / given["pairs"] if given["pairs"] else float("nan"),
            train_loss=last["loss"],
            best_error=float(result.series("error")[1].min()),
            result=result,
        )

    def loss(self, model: nnx.Module, batch: Batch, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        """Soft cross-entropy of an augmented and mixed batch, and the error against the dominant labels."""
        for_prepare, for_mixing = jax.random.split(key)
        x = self.standard(self.prepare(for_prepare, batch.x))
        mixed = mix_batch(for_mixing, x, batch.labels, batch.mixing, self.classes)
        network: Any = model
        logits = network(mixed.x, mixed.plan)
        wrong = logits.argmax(-1) != dominant_labels(batch.labels, mixed.cutmix)
        return soft_cross_entropy(logits, mixed.targets), {"train_error": wrong.mean(dtype=jnp.float32)}

    def _view(self, metrics: Callable[[Any, Any], dict[str, Array]]) -> Callable[[Any, Any], dict[str, Array]]:
        return lambda model, batch: metrics(model, (self.standard(batch[0]), batch[1]))
