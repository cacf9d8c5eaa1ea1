"""The official code's way to shuffle batches, and what it does to the results."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from offprint.core.experiments import Claim, Run, at_most, equals, experiment, holds_when
from offprint.core.plots import new_figure
from offprint.resnet_scaling import data, official_shuffle
from offprint.resnet_scaling._classify import classify_scaling
from offprint.resnet_scaling.experiments._sweeps import PUBLISHED, sweep_of, synthetic


@dataclass(frozen=True)
class ShuffleConfig:
    """Settings of the study of the official shuffle."""

    batches: int = 20
    """Batches that are shuffled again and again."""
    epochs: int = 60
    """Shuffles, and epochs of training at most."""
    depths: tuple[int, ...] = (8, 32, 128, 512)
    """Depths L of the tanh sweeps."""
    seeds: int = 3
    """Networks for each depth."""


@experiment(
    "shuffle",
    reproduces="The official code's shuffle of minibatches",
    paper=ShuffleConfig(depths=data.depth_grid(3, 10_321), epochs=200),
)
def shuffle(config: ShuffleConfig, run: Run) -> Iterator[Claim]:
    """The official shuffle duplicates batches until one is left; on the synthetic task the exponents barely move."""
    counts = _distinct(config.batches, config.epochs)
    figure, ax = new_figure()
    ax.step(np.arange(len(counts)), counts, where="post")
    ax.set(xlabel="epoch", ylabel="distinct batches")
    run.figure("distinct", figure, f"Distinct batches left of {config.batches} by the official shuffle.")
    run.log(distinct_batches=counts)
    settings = replace(PUBLISHED, num_epochs=config.epochs)
    reports = {
        kind: classify_scaling(sweep_of(run, replace(settings, shuffle=kind), synthetic, config.depths, config.seeds))
        for kind in ("samples", "official")
    }
    for kind, report in reports.items():
        run.log(shuffle=kind, alpha=report.alpha, beta=report.beta, regime=report.regime)
    yield Claim(
        "distinct batches after each epoch never increase",
        paper="20, 12, 7, 5, 2, 2, 1",
        here=counts[:12],
        rule=holds_when("a sequence that never increases", lambda here: all(a >= b for a, b in pairwise(here))),
    )
    yield Claim("distinct batches in the end", 1, counts[-1], equals(1))
    for name in ("alpha", "beta"):
        proper, official = (getattr(reports[kind], name) for kind in ("samples", "official"))
        yield Claim(
            f"{name} with the official shuffle, distance from that with proper permutations",
            paper="α 0.67, β 0.22 against 0.68 to 0.69, 0.22 to 0.25",
            here=abs(official - proper),
            rule=at_most(0.05),
        )


def _distinct(batches: int, epochs: int) -> list[int]:
    """How many different batches there are at first and after each epoch."""
    rng, order = np.random.RandomState(0), np.arange(batches)
    counts = [batches]
    for _ in range(epochs):
        order = official_shuffle(order, rng)
        counts.append(len(np.unique(order)))
    return counts
