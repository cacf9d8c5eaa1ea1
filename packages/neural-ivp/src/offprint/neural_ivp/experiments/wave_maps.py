"""Waves around a black hole: errors against Chebyshev collocation."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, experiment
from offprint.neural_ivp import CurvedWaveReference, plots, problems, relative_l2
from offprint.neural_ivp.experiments._solving import SolveConfig, draw, error_claims, solve

LARGE = 20_000
"""Weights from which on the small limit is asked for."""


@dataclass(frozen=True)
class WaveMapsConfig(SolveConfig):
    """Settings of the experiment on wave maps."""

    intervals: int = 20
    """Of the reference along each axis."""


@experiment(
    "wave-maps",
    reproduces="Wave maps in the Schwarzschild metric",
    quick=WaveMapsConfig(12, 2, points=2000, fit_steps=80),
    paper=WaveMapsConfig(100, 4, 0.25, (0.0, 0.25, 0.5), 1e-8, 20_000, 1e-4, 150, 800, intervals=32),
    x64=True,
)
def wave_maps(config: WaveMapsConfig, run: Run) -> Iterator[Claim]:
    """A scalar wave near a black hole agrees with a spectral reference."""
    problem = problems.wave_maps()
    solution = solve(problem, config, run)
    X = np.asarray(problem.domain.uniform(jax.random.key(11), 4000))
    reference = CurvedWaveReference(problem.ic, num_intervals=config.intervals)
    true = np.asarray(reference.at(reference.solve(np.asarray(solution.ts)), X))
    found = [float(relative_l2(solution(X, i)[:, 0], true[i, 0])) for i in range(len(solution.ts))]
    limits = {0.5: 1e-2 if solution.apply.num_params >= LARGE else 5e-2}
    yield from error_claims(solution, found, limits, "no figure", run, config.times)
    draw(solution, run)
    run.figure("errors", plots.over_time({"φ": (solution.ts, found)}, "relative L2 error"), "Against collocation.")
