"""The wave equation in two and three dimensions: errors against the sine series, and the energy."""

from collections.abc import Iterator

import jax.numpy as jnp

from offprint.core.experiments import Claim, Run, at_most, experiment
from offprint.neural_ivp import Problem, Solution, ics, integrate, interior_grid, plots, problems, wave_energy
from offprint.neural_ivp.experiments._solving import (
    Points,
    SolveConfig,
    draw,
    error_claims,
    errors,
    fields_at,
    quadrature,
    solve,
)

LIMITS_2D = {0.5: 1.1e-2, 1.0: 2e-2}
"""Twice the errors of a plain dense solver in float64 for the pulse of width 0.2."""
LIMITS_3D = {0.3: 5e-2}


@experiment(
    "wave2d",
    reproduces="2-D wave equation, comparison with EDNN",
    quick=SolveConfig(10, 3, 0.2, (0.0, 0.5, 1.0), points=1200),
    paper=SolveConfig(100, 5, 0.05, (0.0, 0.5, 1.0), 1e-8, 10_000, 1e-4, 100, 400),
    x64=True,
)
def wave2d(config: SolveConfig, run: Run) -> Iterator[Claim]:
    """A pulse spreads as a ring, and keeps its energy."""
    problem = problems.wave(dim=2, ic=ics.gaussian(config.sigma, amp=1.0))
    solution = solve(problem, config, run)
    X = interior_grid(problem.domain, 60)
    yield from _claims(solution, X, X, LIMITS_2D, "no figure; plain dense solver: 5.5e-3, 1.0e-2", config, run)


@experiment(
    "wave3d",
    reproduces="3-D wave equation, comparison with EDNN",
    quick=SolveConfig(12, 2, 0.25, (0.0, 0.15, 0.3), points=1500),
    paper=SolveConfig(100, 4, 0.12, (0.0, 0.15, 0.3), 1e-8, 10_000, 1e-4, 100, 400),
    x64=True,
)
def wave3d(config: SolveConfig, run: Run) -> Iterator[Claim]:
    """A pulse spreads as a sphere, and keeps its energy."""
    problem = problems.wave(dim=3, ic=ics.gaussian(config.sigma, amp=1.0))
    solution = solve(problem, config, run)
    X = interior_grid(problem.domain, 12)
    yield from _claims(solution, X, quadrature(solution, 13), LIMITS_3D, "no figure", config, run)


def _claims(
    solution: Solution,
    X: Points,
    uniform: Points,
    limits: dict[float, float],
    plain: str,
    config: SolveConfig,
    run: Run,
) -> Iterator[Claim]:
    problem: Problem = solution.problem
    found = errors(solution, X)
    yield from error_claims(solution, found, limits, plain, run, config.times)
    speed2 = 0.1 if problem.domain.dim == 2 else 1.0
    energies = [
        float(integrate(wave_energy(speed2), fields_at(solution, i), problem.domain, jnp.asarray(uniform)).value)
        for i in range(len(solution.ts))
    ]
    run.log(problem=problem.name, times=solution.ts, energies=energies)
    yield Claim(
        f"{problem.name}: largest relative drift of the energy up to t = {solution.ts[-1]:g}",
        paper="conserved",
        here=max(abs(energy / energies[0] - 1) for energy in energies),
        rule=at_most(0.05),
    )
    draw(solution, run, found)
    run.figure("energy", plots.over_time({"energy": (solution.ts, energies)}, "energy", log=False), problem.name)
