"""Against a validation split: augmentation learned on held-out data and fine-tuned, for every share held out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, Unavailable, at_least, experiment
from offprint.network_partitioning import plots
from offprint.network_partitioning.data import ImageData
from offprint.network_partitioning.experiments._cifar import TOO_MUCH, Source, cifar, range_adam, resnet, sgd
from offprint.network_partitioning.experiments._images import GENERATOR_NAMES, Outcome, Recipe, Way, train
from offprint.network_partitioning.experiments._networks import functional
from offprint.network_partitioning.experiments._runs import listing


@dataclass(frozen=True)
class ValidationSplitConfig:
    """Settings of the comparison with a validation split."""

    data: Source = "cifar10"
    """"cifar10": all of it (170 MB to download); "subset": the part in the folder that OFFPRINT_DATA names."""
    train: int = 20_000
    """Training images, those held out included."""
    splits: tuple[float, ...] = (0.3, 0.5, 0.7, 0.8, 0.9)
    """Share of the first chunk; the rest is the second chunk, or the validation data."""
    scheme: str = "random_weight"
    """How weights are partitioned."""
    depth: int = 8
    """Of the residual network without normalisation (Fixup)."""
    widths: tuple[int, ...] = (16, 32, 64)
    """Its channels."""
    epochs: int = 250
    """Epochs over all images."""
    finetune: int = 20
    """Epochs on all images after those with a validation split; none are added to partitioned training."""
    finetune_rate: float = 0.01
    """Of SGD in them (our choice)."""
    batch_size: int = 250
    """Images in a batch."""
    samples: int = 20
    """Affine maps of each image, in training and when tested."""
    learning_rate: float = 0.1
    """Of SGD with momentum, falling along a cosine."""
    hyper_rate: float = 0.05
    """Of Adam for the ranges, falling to a tenth."""
    seeds: int = 0
    """Networks and shards; with 0 nothing is run."""


@experiment(
    "validation-split",
    reproduces="Against learning augmentation on a validation split, on CIFAR-10",
    paper=ValidationSplitConfig(seeds=3),
    long=True,
)
def validation_split(config: ValidationSplitConfig, run: Run) -> Iterator[Claim]:
    """Partitioned training beats a validation split with fine-tuning, whatever the share held out."""
    if not config.seeds:
        raise Unavailable(TOO_MUCH)
    images = cifar(config.data, config.train)
    accuracy: dict[Way, np.ndarray] = {
        way: np.zeros((len(config.splits), config.seeds)) for way in ("validation", "partitioned")
    }
    for row, share in enumerate(config.splits):
        for seed in range(config.seeds):
            for way, values in accuracy.items():
                outcome = _train(config, way, share, images, seed, run)
                values[row, seed] = outcome.accuracy
    run.figure(
        "accuracy",
        plots.accuracy_over(
            config.splits,
            {"validation, then fine-tuned": accuracy["validation"], "partitioned": accuracy["partitioned"]},
            xlabel="share of the first chunk",
            logarithmic=False,
        ),
        f"Test accuracy over the share that is not held out: mean and range of {config.seeds} seed(s).",
    )
    ours, theirs = (accuracy[way].mean(1) for way in ("partitioned", "validation"))
    yield Claim(
        f"test accuracy minus that of a validation split with fine-tuning, in points, first chunk of "
        f"{listing(config.splits, 'g')} ({listing(ours, '.1f')} against {listing(theirs, '.1f')} %)",
        paper="better in every split; the gap shrinks towards 0.9",
        here=ours - theirs,
        rule=at_least(0),
    )


def _train(config: ValidationSplitConfig, way: Way, share: float, images: ImageData, seed: int, run: Run) -> Outcome:
    per_epoch = math.ceil(len(images.train_labels) / config.batch_size)
    steps, finetune = config.epochs * per_epoch, config.finetune * per_epoch
    recipe = Recipe(
        steps=steps,
        batch_size=config.batch_size,
        tx=sgd(config.learning_rate, steps),
        hyper_tx=range_adam(config.hyper_rate, steps),
        samples=config.samples,
        test_samples=config.samples,
        chunks=(share, 1 - share),
        scheme=config.scheme,
        finetune=finetune,
        finetune_tx=sgd(config.finetune_rate, finetune) if finetune else None,
    )
    init, apply = functional(resnet(config.depth, config.widths))
    folder = run.checkpoints / f"{way}-{share}-{seed}"
    outcome = train(way, init, apply, images, recipe, jax.random.key(seed), checkpoint=folder)
    ranges = dict(zip(GENERATOR_NAMES, outcome.half_ranges))
    run.log(way=way, share=share, seed=seed, accuracy=outcome.accuracy, half_ranges=ranges)
    return outcome
