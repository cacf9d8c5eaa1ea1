"""The Fokker-Planck equation in five dimensions: mass, mean and variance against their equations."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.experiments import Claim, Run, at_most, between, equals, experiment
from offprint.neural_ivp import (
    Estimate,
    GaussLegendre,
    GaussNewtonFit,
    Sobol,
    Solution,
    fokker_planck_moments,
    integrate,
    mass,
    moments,
    plots,
    problems,
)
from offprint.neural_ivp.experiments._solving import SolveConfig, draw, fields_at, quadrature, solve

DIM = 5
NODES = 12
"""Of the quadrature in each direction."""


@experiment(
    "fokker-planck",
    reproduces="Fokker-Planck equation, comparison with EDNN",
    quick=SolveConfig(14, 2, points=4096, fit_steps=30),
    paper=SolveConfig(100, 2, 0.2, (0.0, 0.25, 0.5), 1e-8, 2**14, 1e-4, 150, 800),
    x64=True,
    long=True,
)
def fokker_planck(config: SolveConfig, run: Run) -> Iterator[Claim]:
    """The density of five particles keeps its mass, and its moments follow their own equations."""
    problem = problems.fokker_planck(dim=DIM)
    # Gauss-Newton from weights with u = 0 would leave them in pairs: the start is a multiple of the boundary factor
    fit = GaussNewtonFit(steps=config.fit_steps, start="given")
    solution = solve(problem, config, run, fit=fit, sampler=Sobol(config.points))
    last = float(config.times[-1])
    yield Claim(f"{problem.name}: last time reached", last, solution.t_last, equals(last))
    found = [_moments(solution, i) for i in range(len(solution.ts))]
    masses = [float(m.value) for m, _, _ in found]
    means = np.stack([np.asarray(m.value) for _, m, _ in found])
    variances = np.stack([np.diag(c.value) for _, _, c in found])
    wanted = [fokker_planck_moments(float(t), jnp.zeros(DIM), 0.2 * jnp.eye(DIM)) for t in solution.ts]
    true_means = np.stack([np.asarray(m) for m, _ in wanted])
    true_variances = np.stack([np.diag(c) for _, c in wanted])
    run.log(times=solution.ts, mass=masses, mean=means, variance=variances, true_mean=true_means[:, 0])
    at = f"at t = {solution.ts[-1]:g}"
    yield Claim(f"mass {at}", 1.0, masses[-1], between(0.99, 1.01))
    gap = np.abs(means[-1] - true_means[-1]).max()
    yield Claim(f"largest error of a mean {at} (exact: {true_means[-1, 0]:.4f})", 0.0, gap, at_most(0.01))
    ratio = np.abs(variances[-1] / true_variances[-1] - 1).max()
    exact = f"{true_variances[-1, 0]:.4f}"
    yield Claim(f"largest relative error of a variance {at} (exact: {exact})", 0.0, ratio, at_most(0.05))
    draw(solution, run)
    curves = {f"mean of x{i + 1}": (solution.ts, means[:, i]) for i in range(DIM)}
    curves["exact"] = (solution.ts, true_means[:, 0])
    run.figure("means", plots.over_time(curves, "mean", log=False), "The means follow m' = a - m.")
    run.figure(
        "marginals",
        plots.marginals(solution, quadrature(solution, 13), axes=(0, 1)),
        "Marginal densities of two particles.",
    )


def _moments(solution: Solution, i: int) -> tuple[Estimate, Estimate, Estimate]:
    """Mass, mean and covariance at an output time, by a product of Gauss-Legendre rules."""
    u, box = fields_at(solution, i), solution.problem.domain
    X, weights = GaussLegendre(NODES).sample(jax.random.key(0), solution.apply, jnp.asarray(solution.thetas[i]))
    return jax.jit(lambda X, w: (integrate(mass(), u, box, X, weights=w), *moments(u, X, w)))(X, weights)
