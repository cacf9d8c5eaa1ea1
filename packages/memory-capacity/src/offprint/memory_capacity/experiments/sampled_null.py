"""Calibration of the threshold above which a capacity counts."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from offprint.core.experiments import Claim, Run, between, experiment, near
from offprint.memory_capacity import data, empirical_memory_curve, mask, plots, reservoir, simulate


@dataclass(frozen=True)
class NullConfig:
    """Settings of the calibration experiment."""

    neurons: int = 20
    """Number of neurons N."""
    samples: int = 2000
    """Sample size T."""
    targets: int = 2000
    """Unrelated targets."""
    level: float = 0.01
    """Probability p of the threshold."""
    seed: int = 0
    """Of the reservoir, its input and the targets."""


@experiment("null", reproduces="Null law of in-sample capacities", paper=NullConfig(targets=100_000))
def null(config: NullConfig, run: Run) -> Iterator[Claim]:
    """Of targets that a network knows nothing of, as many pass the Beta threshold as its level says."""
    N, T = config.neurons, config.samples
    to_A, to_C, to_z, to_targets = jax.random.split(jax.random.key(config.seed), 4)
    A, C = reservoir.orthogonal(to_A, N), mask.normal(to_C, N)
    states = simulate(A, C, data.gaussian(to_z, T + 200), washout=200)

    def capacity(key: PRNGKeyArray) -> tuple[Array, Array, Array]:
        curve = empirical_memory_curve(
            states, data.gaussian(key, T), 1, estimator="insample", p=config.level, check=False
        )
        return curve.values[0], curve.significant[0], curve.threshold

    values, passed, thresholds = jax.vmap(capacity)(jax.random.split(to_targets, config.targets))
    share, mean = float(np.mean(passed)), float(np.mean(values))
    run.log(share=share, mean=mean, threshold=float(thresholds[0]))
    run.figure(
        "null",
        plots.null_law(values, N, T, float(thresholds[0])),
        f"In-sample capacities of {config.targets} targets unrelated to the states of a tanh network (N = {N}, "
        f"T = {T}), the Beta law, and the threshold of level {config.level:g}.",
    )
    yield Claim("share of unrelated targets above the threshold of level 0.01", 0.01, share, between(0.006, 0.015))
    yield Claim("mean in-sample capacity over r/(T-1)", 1, mean * (T - 1) / N, near(1, 0.02))
