"""Heat conduction in two dimensions: errors against the sine series."""

from collections.abc import Iterator

from offprint.core.experiments import Claim, Run, experiment
from offprint.neural_ivp import ics, interior_grid, problems
from offprint.neural_ivp.experiments._solving import SolveConfig, draw, error_claims, errors, solve

LIMITS = {0.25: 1.12e-3, 0.5: 1.08e-3}
"""Twice the errors of a plain dense solver in float64 for the pulse of width 0.2."""


@experiment(
    "heat",
    reproduces="Heat problem of the authors' code",
    quick=SolveConfig(rtol=3e-4),
    paper=SolveConfig(100, 5, 0.05, (0.0, 0.25, 0.5), 1e-8, 10_000, 1e-4, 100, 400),
    x64=True,
)
def heat(config: SolveConfig, run: Run) -> Iterator[Claim]:
    """A hot spot spreads as the series says."""
    problem = problems.heat(ic=ics.gaussian(config.sigma, amp=1.0))
    solution = solve(problem, config, run)
    found = errors(solution, interior_grid(problem.domain, 60))
    plain = "no figure; plain dense solver: 5.6e-4, 5.4e-4"
    yield from error_claims(solution, found, LIMITS, plain, run, config.times)
    draw(solution, run, found)
