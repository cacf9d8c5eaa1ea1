"""The paper's experiments, each with the claims that it checks."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax

from offprint.core.experiments import Claim, Run, at_most, experiment
from offprint.core.plots import new_figure
from offprint.moex import standardize
from offprint.moex.data import gaussian


@dataclass(frozen=True)
class MomentsConfig:
    """Settings of the moments experiment."""

    samples: int = 1000
    """Number of samples."""
    seed: int = 0
    """Seed of the data."""


@experiment("moments", reproduces="Definition of the standard score", paper=MomentsConfig(samples=100_000))
def moments(config: MomentsConfig, run: Run) -> Iterator[Claim]:
    """Standard scores have zero mean and unit variance."""
    scores = standardize(gaussian(jax.random.key(config.seed), config.samples, 2))
    mean, variance = abs(scores.mean(axis=0)).max(), abs(scores.var(axis=0) - 1).max()
    run.log(mean=float(mean), variance=float(variance))
    figure, ax = new_figure()
    ax.hist(scores[:, 0], bins=30)
    ax.set(xlabel="standard score", ylabel="samples")
    run.figure("histogram", figure)
    yield Claim("largest distance of a mean from 0", paper=0.0, here=float(mean), rule=at_most(1e-4))
    yield Claim("largest distance of a variance from 1", paper=0.0, here=float(variance), rule=at_most(1e-4))
