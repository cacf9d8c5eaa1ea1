"""Rotated MNIST with few and with many images: where learning the augmentation gains most."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax

from offprint.core.experiments import Claim, Run, Unavailable, at_least, experiment, ordered
from offprint.network_partitioning import plots
from offprint.network_partitioning.data import ImageData, mnist, rotated_set
from offprint.network_partitioning.experiments._cifar import TOO_MUCH
from offprint.network_partitioning.experiments._images import ROTATION, Outcome, Recipe, Way, train
from offprint.network_partitioning.experiments._networks import CNN, functional
from offprint.network_partitioning.experiments._runs import available, listing


@dataclass(frozen=True)
class DataSizeConfig:
    """Settings of the sweep over the size of the training set."""

    sizes: tuple[int, ...] = (500, 1250, 5000, 20_000, 60_000)
    """Training images, the first ones."""
    test: int = 10_000
    """Test images."""
    ways: tuple[Way, ...] = ("none", "Augerino", "partitioned")
    """What is compared."""
    chunks: tuple[float, ...] = (0.8, 0.2)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    steps: int = 10_000
    """Updates."""
    batch_size: int = 128
    """Images in a batch."""
    samples: int = 8
    """Affine maps of each image in an update."""
    test_samples: int = 32
    """Affine maps of each image when the network is tested."""
    learning_rate: float = 1e-3
    """Of Adam for the weights, falling to 0 along a cosine."""
    hyper_rate: float = 0.02
    """Of Adam for the ranges."""
    seeds: int = 0
    """Networks, rotations and shards; with 0 nothing is run."""


@experiment(
    "data-size",
    reproduces="Accuracy over the size of the training set, rotated MNIST",
    paper=DataSizeConfig(seeds=3),
    long=True,
)
def data_size(config: DataSizeConfig, run: Run) -> Iterator[Claim]:
    """A learned augmentation gains most where there are few data."""
    if not config.seeds:
        raise Unavailable(TOO_MUCH)
    digits = available(mnist)
    accuracy: dict[str, np.ndarray] = {way: np.zeros((len(config.sizes), config.seeds)) for way in config.ways}
    rotation = np.zeros((len(config.sizes), config.seeds))
    for row, size in enumerate(config.sizes):
        for seed in range(config.seeds):
            images = rotated_set(digits.first(size, config.test), jax.random.fold_in(jax.random.key(7), seed))
            images = images.normalised(0, 255 / 3)
            for way in config.ways:
                outcome = _train(config, way, images, seed)
                accuracy[way][row, seed] = outcome.accuracy
                if way == "partitioned":
                    rotation[row, seed] = outcome.half_ranges[ROTATION]
                run.log(images=size, way=way, seed=seed, accuracy=outcome.accuracy, half_ranges=outcome.half_ranges)
    run.figure(
        "accuracy",
        plots.accuracy_over(config.sizes, accuracy, xlabel="training images"),
        f"Test accuracy on rotated MNIST over the size of the training set: mean and range of {config.seeds} seed(s).",
    )
    run.figure(
        "rotation",
        plots.curves(
            {
                "half-range of the rotation, rad": {
                    "partitioned": [(np.array(config.sizes), seed) for seed in rotation.T]
                }
            },
            truth={"half-range of the rotation, rad": np.pi},
            xlabel="training images",
        ),
        "Learned half-range of the rotation.",
    )
    gain = accuracy["partitioned"].mean(1) - accuracy["none"].mean(1)
    yield Claim(
        f"points of test accuracy gained over no augmentation, {listing(config.sizes, '.0f')} images",
        paper="partitioned is better at every size",
        here=gain,
        rule=at_least(0),
    )
    yield Claim(
        "points gained with the most and with the fewest images",
        paper="gains are largest with little data",
        here={"most": gain[-1], "fewest": gain[0]},
        rule=ordered("most < fewest"),
    )


def _train(config: DataSizeConfig, way: Way, images: ImageData, seed: int) -> Outcome:
    init, apply = functional(lambda rngs: CNN(images.train_images.shape[1], 1, 10, rngs=rngs))
    recipe = Recipe(
        steps=config.steps,
        batch_size=config.batch_size,
        tx=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        hyper_tx=optax.adam(config.hyper_rate),
        samples=config.samples,
        test_samples=config.test_samples,
        chunks=config.chunks,
        scheme=config.scheme,
    )
    return train(way, init, apply, images, recipe, jax.random.key(seed))
