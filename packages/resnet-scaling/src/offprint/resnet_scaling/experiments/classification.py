"""The decision procedure on random sequences whose regime is known."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, near
from offprint.resnet_scaling import plots
from offprint.resnet_scaling._classification_study import classification_study


@dataclass(frozen=True)
class ClassificationConfig:
    """Settings of the classification study."""

    draws: int = 50
    """Sequences of every kind."""
    depths: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    """Depths L."""
    dim: int = 3
    """Width of the layers."""
    seed: int = 0
    """Of the sequences."""


@experiment("classification", reproduces="Table of statistics and the decision procedure", long=True)
def classification(config: ClassificationConfig, run: Run) -> Iterator[Claim]:
    """The procedure finds the regime of synthetic sequences, and their exponents."""
    studies = classification_study(jax.random.key(config.seed), config.draws, depths=config.depths, dim=config.dim)
    for name, study in studies.items():
        run.log(
            kind=name,
            regime=study.regime,
            accuracy=study.accuracy,
            found=[report.regime for report in study.reports],
            beta=[report.beta for report in study.reports],
            hurst=[report.hurst for report in study.reports],
            exponents=study.exponents.tolist(),
        )
    run.figure(
        "classification",
        plots.classification(studies),
        f"Slopes that decide, for {config.draws} random sequences of every kind "
        f"(L = {config.depths[0]} to {config.depths[-1]}, {config.dim} x {config.dim} layers).",
    )
    for name, study in studies.items():
        yield Claim(f"share classified right: {name}", study.regime, study.accuracy, at_least(0.95))
    smooth = studies["smooth"]
    beta = np.array([report.beta for report in smooth.reports])
    yield Claim("error of β of smooth sequences, root mean square", 0, _rms(beta - smooth.exponents), at_most(0.01))
    brownian = [-report.hurst for report in studies["brownian"].reports]
    yield Claim("slope of the RMS norm of Brownian increments", -0.5, float(np.mean(brownian)), near(-0.5, 0.02))
    fractional = studies["fractional"]
    hurst = np.array([report.hurst for report in fractional.reports])
    yield Claim(
        "error of H of fractional Gaussian noise, root mean square",
        0,
        _rms(hurst - fractional.exponents),
        at_most(0.05),
    )


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))
