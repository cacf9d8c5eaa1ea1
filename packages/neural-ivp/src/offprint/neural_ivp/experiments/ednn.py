"""The 2-D wave equation by Neural-IVP and by the methods before and beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from offprint.core.experiments import Claim, Run, equals, experiment, holds_when, ordered
from offprint.neural_ivp import (
    RK,
    Auto,
    GaussNewtonFit,
    LinearSolver,
    Solution,
    ics,
    interior_grid,
    plots,
    presets,
    problems,
    residual,
    theta_dot,
)
from offprint.neural_ivp.experiments._solving import SolveConfig, errors, solve


@dataclass(frozen=True)
class BaselinesConfig(SolveConfig):
    """Settings of the comparison."""

    ednn_width: int = 10
    """Units of the four tanh layers of EDNN."""
    galerkin_width: int = 12
    """Units of the three tanh layers of the Neural Galerkin baselines."""
    baselines: tuple[str, ...] = ("ednn",)
    """Which: ednn, neural_galerkin, rsng."""
    sparse: int = 200
    """Weights that move at a time in the randomised sparse scheme."""
    step: float = 0.025
    """Its step in time."""


TITLES = {"ednn": "EDNN", "neural_galerkin": "Neural Galerkin", "rsng": "random sparse"}


@experiment(
    "ednn",
    reproduces="Validation: residual over time against EDNN on the 2-D wave equation",
    quick=BaselinesConfig(10, 3, 0.2, (0.0, 0.25, 0.5), 1e-8, 1000),
    paper=BaselinesConfig(
        100,
        5,
        0.2,
        (0.0, 0.5, 1.0),
        1e-8,
        10_000,
        1e-3,
        100,
        400,
        ednn_width=30,
        galerkin_width=30,
        baselines=("ednn", "neural_galerkin", "rsng"),
    ),
    x64=True,
    long=True,
)
def ednn(config: BaselinesConfig, run: Run) -> Iterator[Claim]:
    """The residual of Neural-IVP lies below that of EDNN at every output time."""
    problem = problems.wave(dim=2, ic=ics.gaussian(config.sigma, amp=1.0))
    X, linears = interior_grid(problem.domain, 60), {}
    solutions: dict[str, Solution] = {}
    for name in ("Neural-IVP", *(TITLES[preset] for preset in config.baselines)):
        options = _options(name, config, problem)
        linears[name] = options.get("linear", Auto(mu=config.mu, rank=config.rank, tol=1e-8, maxiter=1000))
        solutions[name] = solve(problem, config, run, name, **options)
    found = {name: errors(solution, X) for name, solution in solutions.items()}
    rho = {name: _residuals(solution, linears[name], config) for name, solution in solutions.items()}
    for name, solution in solutions.items():
        run.log(way=name, p=solution.apply.num_params, times=solution.ts, errors=found[name], residuals=rho[name])
    own = solutions["Neural-IVP"]
    yield Claim("last time reached by Neural-IVP", config.times[-1], own.t_last, equals(config.times[-1]))
    if "ednn" in config.baselines:
        ours, theirs = rho["Neural-IVP"], rho["EDNN"]
        yield Claim(
            f"relative residuals on fresh points at t = {', '.join(f'{t:g}' for t in own.ts)}: Neural-IVP with "
            f"{own.apply.num_params} weights, EDNN with {solutions['EDNN'].apply.num_params}",
            paper="Neural-IVP far below EDNN",
            here={"Neural-IVP": ours, "EDNN": theirs},
            rule=holds_when(
                "Neural-IVP below EDNN at every output time that EDNN reached",
                lambda here: (
                    len(here["Neural-IVP"]) >= len(here["EDNN"])
                    and all(a < b for a, b in zip(here["Neural-IVP"], here["EDNN"]))
                ),
            ),
        )
        yield Claim(
            "relative L2 error of u at the last time that both reached",
            paper="Neural-IVP below EDNN",
            here=dict(zip(("ours", "ednn"), list(zip(found["Neural-IVP"], found["EDNN"]))[-1])),
            rule=ordered("ours < ednn"),
        )
    run.figure(
        "residuals",
        plots.over_time({name: (solutions[name].ts, values) for name, values in rho.items()}, "relative residual"),
        "On fresh points, each with its own linear solver.",
    )
    curves = {name: (solutions[name].ts, values) for name, values in found.items()}
    run.figure("errors", plots.over_time(curves, "relative L2 error of u"), _sizes(solutions))
    run.figure("history", plots.evolution(solutions, ("rho_fresh", "h", "theta_norm")), "Every accepted step.")


def _options(name: str, config: BaselinesConfig, problem: Any) -> dict[str, Any]:
    """The arguments of `solve_ivp` in which a method differs: its network, linear solver, steps and points."""
    rngs, points, width = nnx.Rngs(config.seed), config.points, config.galerkin_width
    common = {"fit": GaussNewtonFit(steps=config.fit_steps), "max_residual": float("inf")}
    if name == "EDNN":
        preset = presets.ednn(problem, width=config.ednn_width, points=points, rngs=rngs)
        return preset | common | {"ode": RK("rk23", rtol=config.rtol)}
    if name == "Neural Galerkin":
        preset = presets.neural_galerkin(problem, width=width, points=points, rngs=rngs)
        return preset | common | {"ode": RK("dopri5", rtol=config.rtol)}
    if name == "random sparse":
        preset = presets.rsng(problem, step=config.step, width=width, size=config.sparse, points=points, rngs=rngs)
        return preset | common
    return {}


def _residuals(solution: Solution, linear: LinearSolver, config: BaselinesConfig) -> list[float]:
    """Relative residual on fresh points of the velocity that the method's own solver finds, at each output."""
    apply, problem = solution.apply, solution.problem

    @jax.jit
    def compute(theta: jax.Array, t: Any, key: jax.Array) -> jax.Array:
        solve_key, fresh_key, linear_key = jax.random.split(key, 3)
        X = problem.domain.uniform(solve_key, config.points)
        v, _ = theta_dot(problem, apply, theta, X, t, linear, linear_key)
        return residual(apply, problem.pde, theta, problem.domain.uniform(fresh_key, 2000), v, t)

    keys = jax.random.split(jax.random.key(19), len(solution.ts))
    return [float(compute(jnp.asarray(theta), t, key)) for theta, t, key in zip(solution.thetas, solution.ts, keys)]


def _sizes(solutions: dict[str, Solution]) -> str:
    return "Weights: " + ", ".join(f"{name} {solution.apply.num_params}" for name, solution in solutions.items()) + "."
