"""Rotated MNIST: of six affine generators the rotation is learned, and only the rotation."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
import optax

from offprint.core.experiments import Claim, Run, Unavailable, at_least, at_most, experiment
from offprint.network_partitioning import plots
from offprint.network_partitioning.data import ImageData, mnist, rotated_set
from offprint.network_partitioning.experiments._images import (
    GENERATOR_NAMES,
    ROTATION,
    Outcome,
    Recipe,
    Way,
    before_and_after,
    train,
)
from offprint.network_partitioning.experiments._networks import CNN, functional
from offprint.network_partitioning.experiments._runs import available, listing

Outcomes = dict[Way, list[Outcome]]


@dataclass(frozen=True)
class RotmnistConfig:
    """Settings of the experiment on rotated MNIST."""

    train: int = 2000
    """Training images of 14x14 pixels (means of 2x2 squares), the first ones."""
    test: int = 2000
    """Test images."""
    ways: tuple[Way, ...] = ("none", "partitioned", "oracle")
    """What is compared; "none", "partitioned" and "oracle" are needed for the claims."""
    chunks: tuple[float, ...] = (0.8, 0.2)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    steps: int = 1600
    """Updates."""
    batch_size: int = 32
    """Images in a batch."""
    samples: int = 4
    """Affine maps of each image in an update."""
    test_samples: int = 16
    """Affine maps of each image when the network is tested."""
    learning_rate: float = 1e-3
    """Of Adam for the weights, falling to 0 along a cosine."""
    hyper_rate: float = 0.02
    """Of Adam for the ranges."""
    start: float = -3.0
    """Raw ranges at the start: softplus(-3) = 0.05."""
    penalty: float = 0.01
    """Weight of Augerino's regulariser."""
    seeds: int = 0
    """Networks, rotations and shards, of which the median counts: one run of 1600 updates says little."""
    whole: bool = False
    """Also all 60 000 images of 28x28 pixels, shards (0.7, 0.2, 0.1), 20 000 updates on 128 images, one seed."""


@experiment(
    "rotmnist",
    reproduces="Learned affine augmentation, on rotated MNIST",
    paper=RotmnistConfig(ways=("none", "Augerino", "partitioned", "oracle"), seeds=3, whole=True),
    long=True,
)
def rotmnist(config: RotmnistConfig, run: Run) -> Iterator[Claim]:
    """Without validation data a network learns that digits were rotated, and nothing else."""
    if not config.seeds:
        raise Unavailable("the median of three networks takes a quarter of an hour on a CPU: add --seeds 3")
    digits = available(mnist)
    small = digits.first(config.train, config.test).halved()
    found: Outcomes = {way: [] for way in config.ways}
    for seed in range(config.seeds):
        images = _turned(small, seed)
        for way in config.ways:
            found[way].append(_train(config, way, images, seed, run))
    _figures(found, images, config.start, run)
    yield from _claims(found, config)
    if config.whole:
        yield from _whole(digits, run)


def _claims(found: Outcomes, config: RotmnistConfig) -> Iterator[Claim]:
    ranges = np.stack([outcome.half_ranges for outcome in found["partitioned"]])
    accuracy = {way: float(np.median([outcome.accuracy for outcome in outcomes])) for way, outcomes in found.items()}
    texts = ", ".join(f"{way} {value:.1f}" for way, value in accuracy.items())
    who = f"{config.seeds} seed{'s, median' if config.seeds > 1 else ''}; the full setting has 3"
    if config.seeds >= 3:
        who = f"median of {config.seeds} seeds"
    yield Claim(
        f"half-range of the rotation, rad ({who}; each: {listing(ranges[:, ROTATION])})",
        paper="pi: all angles occur; values above it are harmless",
        here=np.median(ranges[:, ROTATION]),
        rule=at_least(1.5),
    )
    yield Claim(
        f"widest half-range of the other five generators ({who}; each: "
        f"{listing([outcome.others for outcome in found['partitioned']], '.3f')})",
        paper="nothing but rotation is in the data",
        here=np.median([outcome.others for outcome in found["partitioned"]]),
        rule=at_most(0.1),
    )
    yield Claim(
        f"test accuracy minus that without augmentation, in points ({who}; {texts} %)",
        paper="far better than without",
        here=accuracy["partitioned"] - accuracy["none"],
        rule=at_least(5),
    )
    yield Claim(
        f"test accuracy minus that of the oracle, which rotates by every angle, in points ({who})",
        paper="nearly as good as the right augmentation",
        here=accuracy["partitioned"] - accuracy["oracle"],
        rule=at_least(-4),
    )


def _whole(digits: ImageData, run: Run) -> Iterator[Claim]:
    config = RotmnistConfig(
        train=60_000, test=10_000, ways=("none", "partitioned"), chunks=(0.7, 0.2, 0.1), steps=20_000, batch_size=128
    )
    images = _turned(digits, 0)
    none, ours = (_train(config, way, images, 0, run) for way in config.ways)
    yield Claim(
        f"60 000 images, K = 3: half-range of the rotation, rad (accuracy {ours.accuracy:.2f}, without augmentation "
        f"{none.accuracy:.2f} %)",
        paper="pi: all angles occur",
        here=ours.half_ranges[ROTATION],
        rule=at_least(1.5),
    )
    yield Claim(
        "60 000 images, K = 3: widest half-range of the other five generators",
        paper="nothing but rotation is in the data",
        here=ours.others,
        rule=at_most(0.1),
    )


def _train(config: RotmnistConfig, way: Way, images: ImageData, seed: int, run: Run) -> Outcome:
    size = images.train_images.shape[1]
    init, apply = functional(lambda rngs: CNN(size, 1, 10, rngs=rngs))
    recipe = Recipe(
        steps=config.steps,
        batch_size=config.batch_size,
        tx=optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps)),
        hyper_tx=optax.adam(config.hyper_rate),
        samples=config.samples,
        test_samples=config.test_samples,
        chunks=config.chunks,
        scheme=config.scheme,
        start=config.start,
        penalty=config.penalty,
    )
    outcome = train(way, init, apply, images, recipe, jax.random.key(seed))
    run.log(
        way=way,
        seed=seed,
        images=len(images.train_labels),
        accuracy=outcome.accuracy,
        half_ranges=dict(zip(GENERATOR_NAMES, outcome.half_ranges)),
    )
    return outcome


def _figures(found: Outcomes, images: ImageData, start: float, run: Run) -> None:
    ours = found["partitioned"]
    panels = {
        "half-range": {
            name: [(outcome.steps, outcome.ranges[:, number]) for outcome in ours]
            for number, name in enumerate(GENERATOR_NAMES)
        }
    }
    run.figure(
        "ranges",
        plots.curves(panels, truth={"half-range": np.pi}),
        "Half-ranges of the six affine generators over the steps, learned by the marginal likelihood: radians for the "
        "rotation, half an image's width for translations. The images were rotated by every angle.",
    )
    run.figure(
        "accuracy",
        plots.bars(
            {
                "test accuracy, %": {way: [one.accuracy for one in outcomes] for way, outcomes in found.items()},
                "half-range of the rotation, rad": {
                    way: [one.half_ranges[ROTATION] for one in outcomes] for way, outcomes in found.items()
                },
            }
        ),
        "Test accuracy, and the rotation that was learned (the oracle is given it).",
    )
    learned = {way: found[way][-1] for way in ("Augerino", "partitioned") if way in found}
    run.figure(
        "samples",
        plots.augmented_images(*before_and_after(images, start, learned)),
        "Test images, and each under two samples of the augmentation at the start and of the learned one.",
    )
    matrix = ours[0].matrix
    if matrix is not None:
        run.figure("nll-matrix", plots.nll_heat_map(matrix), "Mean loss of the subnetworks on the shards, first seed.")


def _turned(images: ImageData, seed: int) -> ImageData:
    """Rotated, with pixels from 0 to 3."""
    return rotated_set(images, jax.random.fold_in(jax.random.key(7), seed)).normalised(0, 255 / 3)
