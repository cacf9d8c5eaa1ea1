"""A whole feature extractor as hyperparameter: two of three stages of a residual network learn out of sample only."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import PRNGKeyArray

from offprint.core.experiments import Claim, Run, Unavailable, at_least, experiment
from offprint.core.train import Checkpoint, fit
from offprint.network_partitioning import plots
from offprint.network_partitioning._aggregate import averaged, loglik_of
from offprint.network_partitioning._baselines import init_baseline_state, make_baseline_step
from offprint.network_partitioning._hyper import split_hyper
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches, assign_shards
from offprint.network_partitioning._train import init_state, make_step
from offprint.network_partitioning.data import ImageData
from offprint.network_partitioning.experiments._cifar import TOO_MUCH, Source, cifar, resnet, sgd
from offprint.network_partitioning.experiments._runs import listing

Way = Literal["validation", "partitioned"]


@dataclass(frozen=True)
class FeatureExtractorConfig:
    """Settings of the experiment with a feature extractor as hyperparameter."""

    data: Source = "cifar10"
    """"cifar10": all of it (170 MB to download); "subset": the part in the folder that OFFPRINT_DATA names."""
    train: int = 50_000
    """Training images."""
    depth: int = 20
    """Of the residual network: with 20, the first two of three stages hold 13 convolutions."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Its channels."""
    chunks: tuple[float, ...] = (0.1, 0.8, 0.1)
    """Shares of the data in each shard and of the other weights in each partition."""
    split: tuple[float, float] = (0.9, 0.1)
    """Shares of training and validation data in the comparison."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    epochs: int = 200
    """Epochs."""
    batch_size: int = 250
    """Images in a batch."""
    learning_rate: float = 0.1
    """Of SGD with momentum for the weights, falling along a cosine."""
    hyper_rate: float = 1e-3
    """Of Adam for the feature extractor, falling along a cosine (our choice)."""
    seeds: int = 0
    """Networks and shards; with 0 nothing is run."""


class Outcome(NamedTuple):
    """What a training gave."""

    accuracy: float
    """Test accuracy in percent."""
    loss: Any
    """(steps, training loss)."""
    oos: Any
    """(steps, loss on what the weights haven't seen)."""


@experiment(
    "feature-extractor",
    reproduces="A feature extractor as hyperparameter, on CIFAR-10",
    paper=FeatureExtractorConfig(seeds=3),
    long=True,
)
def feature_extractor(config: FeatureExtractorConfig, run: Run) -> Iterator[Claim]:
    """Thousands of hyperparameters: a validation split collapses, partitioned training works."""
    if not config.seeds:
        raise Unavailable(TOO_MUCH)
    images = cifar(config.data, config.train)
    found: dict[Way, list[Outcome]] = {"validation": [], "partitioned": []}
    for seed in range(config.seeds):
        for way, outcomes in found.items():
            outcomes.append(_train(config, way, images, seed, run))
            run.log(way=way, seed=seed, accuracy=outcomes[-1].accuracy)
    run.figure(
        "curves",
        plots.curves(
            {
                "training loss, nats": {way: [one.loss for one in out] for way, out in found.items()},
                "loss out of sample, nats": {way: [one.oos for one in out] for way, out in found.items()},
            }
        ),
        "Loss on what the weights are trained on, and on what the feature extractor is trained on.",
    )
    run.figure(
        "accuracy",
        plots.bars({"test accuracy, %": {way: [one.accuracy for one in out] for way, out in found.items()}}),
        "Test accuracy with a feature extractor learned on validation data, and by partitioned training.",
    )
    accuracy = {way: [one.accuracy for one in out] for way, out in found.items()}
    yield Claim(
        f"test accuracy minus that with a validation split, in points, mean of {config.seeds} seed(s) "
        f"({listing(accuracy['partitioned'], '.1f')} against {listing(accuracy['validation'], '.1f')} %)",
        paper="the validation split collapses",
        here=np.mean(accuracy["partitioned"]) - np.mean(accuracy["validation"]),
        rule=at_least(15),
    )


def _is_extractor(path: Any, value: Any) -> bool:
    """The first convolution and the first two stages."""
    return path[0] == "stem" or (path[0] == "stages" and path[1] in (0, 1))


def _train(config: FeatureExtractorConfig, way: Way, images: ImageData, seed: int, run: Run) -> Outcome:
    init_key, shard_key, ids_key, run_key = jax.random.split(jax.random.key(seed), 4)
    graphdef, params, hyper, rest = split_hyper(resnet(config.depth, config.widths)(nnx.Rngs(init_key)), _is_extractor)
    data = (jnp.asarray(images.train_images), jnp.asarray(images.train_labels))
    chunks = config.chunks if way == "partitioned" else config.split
    shards = assign_shards(len(data[1]), chunks, key=shard_key, stratify=data[1])
    batches = ShardedBatches(data, shards, config.batch_size)
    predict = averaged(lambda params, hyper, x, key: nnx.merge(graphdef, params, hyper, rest)(x))
    steps = config.epochs * math.ceil(len(data[1]) / config.batch_size)
    tx = sgd(config.learning_rate, steps)
    hyper_tx = optax.adam(optax.cosine_decay_schedule(config.hyper_rate, steps))
    loglik = loglik_of(predict)
    if way == "partitioned":
        part = partition(params, chunks, scheme=config.scheme, key=ids_key)
        step = make_step(loglik, part, tx, hyper_tx, sizes=batches.sizes)
        state = init_state(params, part, hyper, tx, hyper_tx)
    else:
        step = make_baseline_step(loglik, tx, hyper_tx, method="validation")
        state = init_baseline_state(params, hyper, tx, hyper_tx)
    every = max(steps // 50, 1)
    checkpoint = Checkpoint(run.checkpoints / f"{way}-{seed}", every=10 * every)
    result = fit(
        step, state, batches, num_steps=steps, key=run_key, log_every=every, checkpoint=checkpoint, progress=False
    )
    accuracy = _accuracy(predict, result.state, images, run_key)
    return Outcome(accuracy, result.series("loss"), result.series("oos"))


def _accuracy(predict: Any, state: Any, images: ImageData, key: PRNGKeyArray) -> float:
    right = jax.jit(lambda state, x, y: (predict(state.params, state.hyper, x, key).argmax(-1) == y).sum())
    total = 0
    for start in range(0, len(images.test_labels), 1000):
        part = slice(start, start + 1000)
        total += int(right(state, images.test_images[part], images.test_labels[part]))
    return 100 * total / len(images.test_labels)
