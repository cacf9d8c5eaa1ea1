"""Training a network on images in each of the ways that are compared: augmentation learned, left out or given."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.core.train import Checkpoint, fit
from offprint.network_partitioning._affine import half_ranges
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._baselines import init_baseline_state, make_baseline_step, width_penalty
from offprint.network_partitioning._hyper import AffineAugmentation, split_input
from offprint.network_partitioning._objective import nll_matrix
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches, assign_shards
from offprint.network_partitioning._train import State, init_state, make_step
from offprint.network_partitioning.data import ImageData
from offprint.network_partitioning.experiments._networks import Apply, Init

Way = Literal["none", "training loss", "Augerino", "validation", "partitioned", "oracle"]
"""No augmentation; ranges learned on the training loss, with Augerino's penalty, on the last shard kept out, by the
marginal likelihood; rotation by every angle, which is what rotated images need."""
GENERATOR_NAMES = ("translation x", "translation y", "rotation", "scale x", "scale y", "shear")
ROTATION = 2
AT_ONCE = 2000
"""Images, samples counted, in one call when a network is tested."""


@dataclass(frozen=True)
class Recipe:
    """How networks are trained: all that the ways have in common."""

    steps: int
    batch_size: int
    tx: optax.GradientTransformation = field(repr=False)
    hyper_tx: optax.GradientTransformation = field(repr=False)
    samples: int
    """S, maps of every image in training, out of sample and in the ways that augment."""
    test_samples: int
    chunks: tuple[float, ...] = (0.8, 0.2)
    scheme: str = "random_weight"
    start: float = -3.0
    """Raw ranges of "softplus_half" at the start."""
    penalty: float = 0.01
    """Weight of Augerino's regulariser."""
    burn_in: int = 0
    """Updates before the first one of the ranges, when partitioned."""
    finetune: int = 0
    """Updates on all data with fixed ranges after "validation"."""
    finetune_tx: optax.GradientTransformation | None = field(default=None, repr=False)
    """Their optimiser."""
    looks: int = 40
    """How often the ranges are recorded."""


class Outcome(NamedTuple):
    """What a training gave."""

    accuracy: float
    """Test accuracy in percent."""
    half_ranges: Float[np.ndarray, "6"]
    """Of the six generators at the end; zeros without augmentation."""
    steps: np.ndarray
    """When the ranges were recorded."""
    ranges: Float[np.ndarray, "times 6"]
    matrix: Float[np.ndarray, "subnetworks shards"] | None
    """Mean NLL of the subnetworks on the first training images of each shard; when partitioned."""
    augment: Callable[[Array, PRNGKeyArray, int], Array] | None
    """Samples of images under the learned augmentation."""

    @property
    def others(self) -> float:
        """The widest half-range of all generators but the rotation."""
        return float(np.delete(self.half_ranges, ROTATION).max())


def train(
    way: Way,
    init: Init,
    apply: Apply,
    images: ImageData,
    recipe: Recipe,
    key: PRNGKeyArray,
    *,
    checkpoint: Any = None,
) -> Outcome:
    """Train one network.

    Args:
        way: how the augmentation comes about.
        init, apply: the network, see `functional`.
        images: normalised.
        recipe: everything else.
        key: of network, shards, partition, batches and noise.
        checkpoint: folder from which an interrupted training goes on.
    """
    init_key, shard_key, ids_key, run_key, test_key = jax.random.split(key, 5)
    data = (jnp.asarray(images.train_images), jnp.asarray(images.train_labels))
    shards = assign_shards(len(data[1]), recipe.chunks, key=shard_key, stratify=data[1])
    batches = ShardedBatches(data, shards, recipe.batch_size)
    augment, hyper = _augmentation(way, recipe)
    samples = 1 if augment is None else recipe.samples
    predict = averaged(lambda params, hyper, x, key: apply(params, x), augment, samples)
    loglik = loglik_of(predict)
    params = init(init_key)
    part = None
    if way == "partitioned":
        part = partition(params, recipe.chunks, scheme=recipe.scheme, key=ids_key)
        step = make_step(loglik, part, recipe.tx, recipe.hyper_tx, sizes=batches.sizes, burn_in=recipe.burn_in)
        state = init_state(params, part, hyper, recipe.tx, recipe.hyper_tx)
    else:
        step = _baseline(way, loglik, recipe)
        state = init_baseline_state(params, hyper, recipe.tx, recipe.hyper_tx)
    every = max(recipe.steps // recipe.looks, 1)
    seen = [(0, _ranges(hyper))]
    state = fit(
        step,
        state,
        batches,
        num_steps=recipe.steps,
        key=run_key,
        log_every=every,
        callbacks=[lambda event: seen.append((event.step, _ranges(event.state.hyper)))],
        checkpoint=None if checkpoint is None else Checkpoint(checkpoint, every=4 * every),
        progress=False,
    ).state
    if seen[-1][0] < recipe.steps:  # all of it had been done by an earlier, interrupted run
        seen.append((recipe.steps, _ranges(state.hyper)))
    if recipe.finetune and recipe.finetune_tx is not None and way == "validation":
        again = make_baseline_step(loglik, recipe.finetune_tx, recipe.hyper_tx, method="fixed")
        state = init_baseline_state(state.params, state.hyper, recipe.finetune_tx, recipe.hyper_tx)
        state = fit(again, state, batches, num_steps=recipe.finetune, key=test_key, progress=False).state
    matrix = None
    if part is not None:
        rows = slice(0, AT_ONCE // samples)
        few = (data[0][rows], data[1][rows])
        matrix = np.asarray(
            jax.jit(lambda state: nll_matrix(loglik, state.params, part, state.hyper, few, shards[rows], test_key))(
                state
            )
        )
    shown = None if augment is None else lambda x, key, count: augment(state.hyper, x, key, count)
    tested = averaged(predict.apply, augment, 1 if augment is None else recipe.test_samples)
    accuracy = _accuracy(tested, state, images, test_key)
    steps, ranges = (np.asarray(column) for column in zip(*seen, strict=True))
    last = np.array([0, 0, math.pi, 0, 0, 0]) if way == "oracle" else ranges[-1]
    return Outcome(accuracy, last, steps, ranges, matrix, shown)


def before_and_after(
    images: ImageData, start: float, learned: Mapping[Any, Outcome]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Six test images, and two samples of each under the augmentation at the start and under those that were learned.

    For `plots.augmented_images`.
    """
    shown = images.test_images[:6]
    key = jax.random.key(0)
    augment, hyper = split_input(AffineAugmentation(init=start))
    samples = {"start": np.asarray(augment(hyper, jnp.asarray(shown), key, 2))}
    for name, outcome in learned.items():
        if outcome.augment is not None:
            samples[name] = np.asarray(outcome.augment(jnp.asarray(shown), key, 2))
    return shown, samples


def _augmentation(way: Way, recipe: Recipe) -> tuple[Any, PyTree]:
    """The augmentation as a function, and its learned parameters."""
    if way == "none":
        return None, {}
    module = AffineAugmentation.fixed({"rotate": math.pi}) if way == "oracle" else AffineAugmentation(init=recipe.start)
    return split_input(module)


def _baseline(way: Way, loglik: Any, recipe: Recipe) -> Any:
    method = {
        "none": "none",
        "oracle": "fixed",
        "training loss": "training",
        "Augerino": "augerino",
        "validation": "validation",
    }[way]
    penalty = width_penalty(recipe.penalty) if way == "Augerino" else None
    return make_baseline_step(loglik, recipe.tx, recipe.hyper_tx, method=method, penalty=penalty)  # type: ignore[arg-type]


def _ranges(hyper: PyTree) -> np.ndarray:
    leaves = jax.tree.leaves(hyper)
    return np.asarray(half_ranges(leaves[0])) if leaves else np.zeros(6)


def _accuracy(predict: Any, state: State, images: ImageData, key: PRNGKeyArray) -> float:
    count = max(AT_ONCE // predict.samples, 1)
    right = jax.jit(lambda state, x, y, key: (predict(state.params, state.hyper, x, key).argmax(-1) == y).sum())
    total = 0
    for start in range(0, len(images.test_labels), count):
        part = slice(start, start + count)
        x, y = images.test_images[part], images.test_labels[part]
        total += int(right(state, x, y, jax.random.fold_in(key, start)))
    return 100 * total / len(images.test_labels)
