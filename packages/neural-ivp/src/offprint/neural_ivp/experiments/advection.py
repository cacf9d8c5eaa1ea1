"""Advection in two dimensions: errors against the exact solution, for two regularisations."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax.numpy as jnp

from offprint.core.experiments import Claim, Run, between, experiment, ordered
from offprint.neural_ivp import ics, integrate, interior_grid, plots, problems, square
from offprint.neural_ivp.experiments._solving import SolveConfig, draw, error_claims, errors, fields_at, network, solve

LIMITS = {0.25: 2.4e-3, 0.5: 7.8e-3}
"""Twice the errors of a plain dense solver in float64 for the pulse of width 0.2 and μ = 1e-7."""
NARROW = {0.25: 4e-3}
"""For the pulse of the authors' code, of width 0.05."""


@dataclass(frozen=True)
class AdvectionConfig(SolveConfig):
    """Settings of the experiment on advection."""

    coarse_mu: float = 1e-5
    """A larger μ to compare with; the fit is the same."""
    centre: float = 0.25
    """Both coordinates of the pulse at the start. It moves towards smaller ones, and has to stay away from the walls,
    where the network is 0 and the solution in all of space is not."""


@experiment(
    "advection",
    reproduces="Advection run of the authors' code; choice of the regularisation μ",
    quick=AdvectionConfig(),
    paper=AdvectionConfig(100, 5, 0.05, (0.0, 0.25, 0.5), 1e-8, 10_000, 1e-3, 100, 400, centre=0.0),
    x64=True,
    long=True,
)
def advection(config: AdvectionConfig, run: Run) -> Iterator[Claim]:
    """A pulse is carried along with a small error, which a larger μ makes worse; its square integral stays."""
    narrow = config.sigma < 0.1
    height = None if narrow else 1.0
    problem = problems.advection(ic=ics.gaussian(config.sigma, height, config.centre))
    X = interior_grid(problem.domain, 200 if narrow else 60)
    solution = solve(problem, config, run, "fine")
    found = errors(solution, X)
    plain = "1e-3 to 4e-3 (README of the authors' code)" if narrow else "no figure; plain dense solver: 1.2e-3, 3.9e-3"
    yield from error_claims(solution, found, NARROW if narrow else LIMITS, plain, run, config.times)
    apply, _ = network(problem, config)
    fitted = apply, jnp.asarray(solution.thetas[0])
    coarse = solve(problem, replace(config, mu=config.coarse_mu), run, "coarse", model=fitted, fit=None)
    found_coarse = errors(coarse, X)
    run.log(problem=problem.name, mu=config.coarse_mu, errors=found_coarse)
    yield Claim(
        f"error at the last time that both reached, μ = {config.coarse_mu:g} and μ = {config.mu:g}",
        paper="a large μ holds the weights back",
        here=dict(zip(("fine", "coarse"), list(zip(found, found_coarse))[-1])),
        rule=ordered("fine < coarse"),
    )
    squares = [
        float(integrate(square(), fields_at(solution, i), problem.domain, jnp.asarray(X)).value) for i in (0, -1)
    ]
    yield Claim(f"∫u² at t = {solution.ts[-1]:g} over that at t = 0", 1.0, squares[1] / squares[0], between(0.98, 1.02))
    draw(solution, run)
    curves = {f"μ = {config.mu:g}": (solution.ts, found), f"μ = {config.coarse_mu:g}": (coarse.ts, found_coarse)}
    run.figure("errors", plots.over_time(curves, "relative L2 error"), "Two regularisations, one fit.")
