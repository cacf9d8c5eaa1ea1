"""What the experiments share: settings of a solve, its errors, what is logged and drawn of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Run, at_most, equals
from offprint.neural_ivp import (
    RK,
    Auto,
    Functional,
    GaussNewtonFit,
    Problem,
    SinusoidalMLP,
    Sobol,
    Solution,
    Uniform,
    functional,
    plots,
    relative_l2,
    solve_ivp,
)

Points = Float[Array | np.ndarray, "_ d"]


@dataclass(frozen=True)
class SolveConfig:
    """Settings of one solve."""

    width: int = 16
    """Units of each of the three hidden layers."""
    n_freq: int = 3
    """Frequencies of the embedding."""
    sigma: float = 0.2
    """Width of the pulse at the start, where the problem leaves it open."""
    times: tuple[float, ...] = (0.0, 0.25, 0.5)
    """Output times."""
    mu: float = 1e-7
    """Regularisation μ."""
    points: int = 1500
    """Points of each projection."""
    rtol: float = 1e-3
    """Accepted error of a step in time."""
    fit_steps: int = 40
    """Most Gauss-Newton steps of the fit of the initial condition."""
    rank: int = 200
    """Of the sketch, where the network is too large for an exact solve."""
    seed: int = 0
    """Of the network, the fit and the points."""


def network(problem: Problem, config: SolveConfig) -> tuple[Functional, Array]:
    """The network of the paper for a problem, with random weights."""
    model = SinusoidalMLP(
        problem.domain,
        problem.n_fields,
        config.width,
        n_freq=config.n_freq,
        bc=problem.bc,
        rngs=nnx.Rngs(config.seed),
    )
    return functional(model)


def solve(problem: Problem, config: SolveConfig, run: Run, way: str = "", **options: Any) -> Solution:
    """A solve with the settings; `options` are other arguments of `solve_ivp`.

    Args:
        problem: the problem.
        config: the settings.
        run: where the solve is logged.
        way: what it is called there.
        **options: of `solve_ivp`, instead of those that follow from the settings.
    """
    settings: dict[str, Any] = {
        "fit": GaussNewtonFit(steps=config.fit_steps),
        "linear": Auto(mu=config.mu, rank=config.rank, tol=1e-8, maxiter=1000),
        "ode": RK("rk23", rtol=config.rtol),
        "sampler": Uniform(config.points),
    }
    settings |= options
    model = settings.pop("model", None)
    began = time.process_time()
    solution = solve_ivp(
        problem,
        network(problem, config) if model is None else model,
        settings.pop("ts", config.times),
        key=jax.random.key(config.seed),
        **settings,
    )
    history = solution.history
    run.log(
        problem=problem.name,
        way=way,
        p=solution.apply.num_params,
        status=solution.status,
        message=solution.message,
        num_rhs=solution.num_rhs,
        rejected=int((~history["accepted"]).sum()),
        fits=[{name: fit[name] for name in ("t", "reason", "error", "kept")} for fit in solution.restarts],
        rho=history["rho"][[0, -1]] if len(history) else [],
        rho_fresh=history["rho_fresh"][[0, -1]] if len(history) else [],
        d_eff=history["d_eff"][[0, -1]] if len(history) else [],
        cpu_seconds=round(time.process_time() - began, 2),
    )
    return solution


def exact_values(reference: Callable[[Array, Any], Array], X: Points, t: float) -> Float[np.ndarray, "_ k"]:
    """A reference `(x, t) -> (k,)` at many points."""
    return np.asarray(jax.jit(lambda X: jax.lax.map(lambda x: reference(x, t), X, batch_size=1024))(jnp.asarray(X)))


def errors(solution: Solution, X: Points, field: int = 0) -> list[float]:
    """Relative L2 error of a field at each output that was reached, against `exact` of the problem."""
    exact = solution.problem.exact
    assert exact is not None
    return [
        float(relative_l2(solution(X, i)[:, field], exact_values(exact, X, float(t))[:, field]))
        for i, t in enumerate(solution.ts)
    ]


def error_claims(
    solution: Solution, found: list[float], limits: dict[float, float], plain: str, run: Run, times: tuple[float, ...]
) -> list[Claim]:
    """That the end was reached, and the errors at the times for which there is a limit; they are logged.

    Args:
        solution: the solve.
        found: its errors at the output times.
        limits: time -> most.
        plain: what is known of the error elsewhere, for the column of the paper.
        run: where they are logged.
        times: those that were asked for.
    """
    name, p = solution.problem.name, solution.apply.num_params
    run.log(problem=name, times=solution.ts, errors=found)
    at = {round(float(t), 9): error for t, error in zip(solution.ts, found)}
    claims = [Claim(f"{name}: last time reached", float(times[-1]), solution.t_last, equals(float(times[-1])))]
    return claims + [
        Claim(
            f"{name}, {p} weights: relative L2 error of u at t = {t:g} (of the fit: {found[0]:.2g})",
            paper=plain,
            here=at.get(t, float("nan")),
            rule=at_most(limit),
        )
        for t, limit in limits.items()
        if t in times
    ]


def draw(solution: Solution, run: Run, found: list[float] | None = None, axes: tuple[int, int] = (0, 1)) -> None:
    """Slices along two axes, history, errors and a film (2-D alone)."""
    problem, p = solution.problem, solution.apply.num_params
    run.figure("slices", plots.slices(solution, axes=axes), f"{problem.name}, {p} weights.")
    if solution.history["accepted"].any():  # not where the run ended at once
        run.figure("history", plots.evolution(solution), f"{problem.name}: every accepted step.")
    if found is not None:
        curves = {problem.name: (solution.ts, found)}
        run.figure("errors", plots.over_time(curves, "relative L2 error"), f"{problem.name}, {p} weights.")
    if problem.domain.dim == 2:
        plots.animation(solution, run.folder / "figures" / "solution.gif", frames=16)


def quadrature(solution: Solution, power: int = 15) -> Float[Array, "m d"]:
    """2^power quasi-random points of the box, for integrals in many dimensions."""
    points, _ = Sobol(2**power).sample(jax.random.key(7), solution.apply, jnp.asarray(solution.thetas[0]))
    return points


def fields_at(solution: Solution, i: int) -> Callable[[Array], Array]:
    """The solution at an output time as a function of one point."""
    theta, t = jnp.asarray(solution.thetas[i]), float(solution.ts[i])
    return lambda x: solution.apply(theta, x, t)
