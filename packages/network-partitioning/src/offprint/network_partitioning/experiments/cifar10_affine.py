"""Affine augmentation of CIFAR-10, learned: on the images as they are, and on rotated ones."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, Unavailable, at_least, at_most, experiment, ordered
from offprint.network_partitioning import plots
from offprint.network_partitioning.data import ImageData
from offprint.network_partitioning.experiments._cifar import TOO_MUCH, Source, cifar, range_adam, resnet, sgd
from offprint.network_partitioning.experiments._images import (
    GENERATOR_NAMES,
    ROTATION,
    Outcome,
    Recipe,
    Way,
    before_and_after,
    train,
)
from offprint.network_partitioning.experiments._networks import functional
from offprint.network_partitioning.experiments._runs import listing

Variant = Literal["plain", "rotated"]


@dataclass(frozen=True)
class Cifar10AffineConfig:
    """Settings of the experiment on CIFAR-10: those of the public scripts of LILA, for a comparison like for like."""

    data: Source = "cifar10"
    """"cifar10": all of it (170 MB to download); "subset": the part in the folder that OFFPRINT_DATA names."""
    variants: tuple[Variant, ...] = ("plain", "rotated")
    """The images as they are, and each rotated once by an angle from U[-pi, pi]."""
    ways: tuple[Way, ...] = ("none", "Augerino", "partitioned")
    """What is compared."""
    train: int = 50_000
    """Training images."""
    depth: int = 8
    """Of the residual network without normalisation (Fixup)."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Its channels."""
    epochs: int = 200
    """Epochs."""
    batch_size: int = 250
    """Images in a batch."""
    samples: int = 20
    """Affine maps of each image, in training and when tested."""
    learning_rate: float = 0.1
    """Of SGD with momentum, falling along a cosine."""
    hyper_rate: float = 0.05
    """Of Adam for the ranges, falling to a tenth."""
    burn_in: int = 10
    """Epochs before the ranges are learned."""
    start: float = -3.0
    """Raw ranges at the start."""
    penalty: float = 0.01
    """Weight of Augerino's regulariser."""
    chunks: tuple[float, ...] = (0.8, 0.2)
    """Shares of the data in each shard, and of the weights in each partition."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    seeds: int = 0
    """Networks, rotations and shards; with 0 nothing is run."""


@experiment(
    "cifar10-affine",
    reproduces="Learned affine augmentation, on CIFAR-10 and rotated CIFAR-10",
    paper=Cifar10AffineConfig(seeds=3),
    long=True,
)
def cifar10_affine(config: Cifar10AffineConfig, run: Run) -> Iterator[Claim]:
    """Augmentation learned without validation data beats none and Augerino, and turns images only where it should."""
    if not config.seeds:
        raise Unavailable(TOO_MUCH)
    found: dict[tuple[Variant, Way], list[Outcome]] = {}
    for variant in config.variants:
        for seed in range(config.seeds):
            images = cifar(config.data, config.train, rotated=variant == "rotated", seed=seed)
            for way in config.ways:
                found.setdefault((variant, way), []).append(_train(config, way, images, variant, seed, run))
        _figures(found, variant, images, config.start, run)
    mean = {key: float(np.mean([one.accuracy for one in outcomes])) for key, outcomes in found.items()}
    rotation = {
        variant: [one.half_ranges[ROTATION] for one in found[variant, "partitioned"]] for variant in config.variants
    }
    if "plain" in config.variants:
        yield Claim(
            f"CIFAR-10: test accuracy, %, mean of {config.seeds} seed(s)",
            paper="none < Augerino < partitioned",
            here={way.lower(): mean["plain", way] for way in ("none", "Augerino", "partitioned")},
            rule=ordered("none < augerino < partitioned"),
        )
        yield Claim(
            f"CIFAR-10: learned half-range of the rotation, rad, mean (each: {listing(rotation['plain'])})",
            paper="objects stand upright",
            here=np.mean(rotation["plain"]),
            rule=at_most(1.0),
        )
    if "rotated" in config.variants:
        texts = ", ".join(f"{way} {mean['rotated', way]:.1f}" for way in config.ways)
        yield Claim(
            f"rotated CIFAR-10: test accuracy minus Augerino's, in points ({texts} %)",
            paper="better, or as good",
            here=mean["rotated", "partitioned"] - mean["rotated", "Augerino"],
            rule=at_least(-0.5),
        )
        yield Claim(
            f"rotated CIFAR-10: test accuracy minus that without augmentation, in points ({texts} %)",
            paper="far better than without",
            here=mean["rotated", "partitioned"] - mean["rotated", "none"],
            rule=at_least(15),
        )
        yield Claim(
            f"rotated CIFAR-10: learned half-range of the rotation, rad, mean (each: {listing(rotation['rotated'])})",
            paper="pi: all angles occur",
            here=np.mean(rotation["rotated"]),
            rule=at_least(2.5),
        )


def _train(config: Cifar10AffineConfig, way: Way, images: ImageData, variant: Variant, seed: int, run: Run) -> Outcome:
    per_epoch = math.ceil(len(images.train_labels) / config.batch_size)
    steps = config.epochs * per_epoch
    recipe = Recipe(
        steps=steps,
        batch_size=config.batch_size,
        tx=sgd(config.learning_rate, steps),
        hyper_tx=range_adam(config.hyper_rate, steps),
        samples=config.samples,
        test_samples=config.samples,
        chunks=config.chunks,
        scheme=config.scheme,
        start=config.start,
        penalty=config.penalty,
        burn_in=config.burn_in * per_epoch,
    )
    init, apply = functional(resnet(config.depth, config.widths))
    folder = run.checkpoints / f"{variant}-{way}-{seed}"
    outcome = train(way, init, apply, images, recipe, jax.random.key(seed), checkpoint=folder)
    ranges = dict(zip(GENERATOR_NAMES, outcome.half_ranges))
    run.log(variant=variant, way=way, seed=seed, accuracy=outcome.accuracy, half_ranges=ranges)
    return outcome


def _figures(
    found: dict[tuple[Variant, Way], list[Outcome]], variant: Variant, images: ImageData, start: float, run: Run
) -> None:
    ours = found[variant, "partitioned"]
    panels = {
        "half-range": {
            name: [(one.steps, one.ranges[:, number]) for one in ours] for number, name in enumerate(GENERATOR_NAMES)
        }
    }
    run.figure(
        f"ranges-{variant}",
        plots.curves(panels, truth={"half-range": np.pi} if variant == "rotated" else None),
        f"Half-ranges of the six affine generators over the steps, {variant} images.",
    )
    run.figure(
        f"accuracy-{variant}",
        plots.bars(
            {
                "test accuracy, %": {
                    way: [one.accuracy for one in out] for (of, way), out in found.items() if of == variant
                }
            }
        ),
        f"Test accuracy on {variant} images.",
    )
    run.figure(
        f"samples-{variant}",
        plots.augmented_images(*before_and_after(images, start, {"learned": ours[-1]})),
        "Test images, and each under two samples of the augmentation at the start and of the learned one.",
    )
