"""The Vlasov equation in six-dimensional phase space: errors against characteristics, and the square integral."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, between, experiment
from offprint.neural_ivp import Box, GaussNewtonFit, Solution, Weighted, integrate, problems, square
from offprint.neural_ivp.experiments._solving import (
    SolveConfig,
    draw,
    error_claims,
    errors,
    fields_at,
    quadrature,
    solve,
)

LARGE = 20_000
"""Weights from which on the small limit is asked for."""


def cloud(z: Float[Array, "d"]) -> Float[Array, ""]:
    """Where the points go: a little wider than the particles, of whose density the box is nearly empty."""
    return jnp.exp(-(z @ z) / (2 * 0.35**2))


@experiment(
    "vlasov",
    reproduces="Vlasov equation in 6 dimensions, comparison with EDNN",
    quick=SolveConfig(14, 2, 0.3, points=2500),
    paper=SolveConfig(100, 2, 0.3, (0.0, 0.25, 0.5), 1e-8, 50_000, 1e-4, 150, 800),
    x64=True,
)
def vlasov(config: SolveConfig, run: Run) -> Iterator[Claim]:
    """A cloud of particles moves in six dimensions as its characteristics say; its square integral stays."""
    problem = problems.vlasov()
    points = Weighted(cloud, config.points)  # with weights, so that the measure stays uniform
    fit = GaussNewtonFit(steps=config.fit_steps, sampler=points)
    solution = solve(problem, config, run, fit=fit, sampler=points)
    X = np.asarray(quadrature(solution, 16))
    found = errors(solution, X)
    limits = {0.25: 2e-2} if solution.apply.num_params >= LARGE else {0.25: 1.42e-1, 0.5: 1.72e-1}
    plain = "no figure; plain dense solver: 7.1e-2, 8.6e-2"
    yield from error_claims(solution, found, limits, plain, run, config.times)
    Z, weights = _near(problem.domain, config.seed)
    squares = [_square(solution, i, Z, weights) for i in (0, -1)]
    yield Claim(f"∫f² at t = {solution.ts[-1]:g} over that at t = 0", 1.0, squares[1] / squares[0], between(0.98, 1.02))
    draw(solution, run, found, axes=(0, 3))


def _square(solution: Solution, i: int, Z: Float[Array, "n d"], weights: Float[Array, " n"]) -> float:
    """∫f² at an output time."""
    u, box = fields_at(solution, i), solution.problem.domain
    return float(jax.jit(lambda Z, w: integrate(square(), u, box, Z, weights=w).value)(Z, weights))


def _near(box: Box, seed: int, n: int = 2**16) -> tuple[Float[Array, "n d"], Float[Array, " n"]]:
    """Normal points near the middle, with the weights that make them stand for uniform ones."""
    std = 0.25
    Z = std * jax.random.normal(jax.random.key(seed + 1), (n, box.dim))
    density = jnp.exp(-(Z**2).sum(axis=1) / (2 * std**2)) / (std * np.sqrt(2 * np.pi)) ** box.dim
    return Z, jnp.where((jnp.abs(Z) < 1).all(axis=1), 1 / (density * box.volume), 0.0)
