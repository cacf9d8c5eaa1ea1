"""The evolution with fixed steps on fixed points, as one differentiable function."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._linear import Info, LinearSolver
from offprint.neural_ivp._step import attempt, solver_of
from offprint.neural_ivp._theta_dot import theta_dot


def evolve(
    problem: Any,
    apply: Functional,
    theta: Float[Array, " p"],
    ts: Float[Array | np.ndarray, " n"],
    X: Float[Array | np.ndarray, "N d"],
    linear: LinearSolver,
    *,
    steps: int = 10,
    method: str | diffrax.AbstractSolver = "rk23",
    weights: Float[Array | np.ndarray, " N"] | None = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "n p"]:
    """theta at the times ts, by fixed steps: pure, for use inside jit, vmap and grad.

    The derivative is that of the discrete solution, through every step and every linear solve, with respect to
    theta, ts, X and whatever the equation closes over: a `Problem` may be built from traced numbers inside the
    differentiated function. `solve_ivp` has error control, restarts and reports, but is no such function.

    Args:
        problem: a `Problem`, or anything with `pde(u, x, t) -> (k,)`.
        apply: the network, from `functional`.
        theta: the weights at ts[0].
        ts: output times, ascending.
        X: the points of every projection.
        linear: how the projection is solved.
        steps: fixed steps between two outputs.
        method: a method of `RK`, or an explicit Runge-Kutta solver of diffrax.
        weights: of the points; None for 1.
        key: for linear solvers that draw; each right-hand side draws anew.

    Returns:
        The weights at all times, the first row being theta.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"at least one step between two outputs is needed, but steps is {steps}")
    solver, times = solver_of(method), jnp.asarray(ts, theta.dtype)

    def rhs(t: Array, theta: Array, draws: Any) -> tuple[Array, Info]:
        return theta_dot(problem, apply, theta, X, t, linear, draws, weights=weights)

    def one_step(theta: Array, at: tuple[Array, Array, Array]) -> tuple[Array, None]:
        t, h, number = at
        draws = None if key is None else jax.random.fold_in(key, number)
        return attempt(rhs, solver, t, h, theta, draws).theta, None

    def to_next(theta: Array, at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        t, end, first = at
        h = (end - t) / steps
        inner = jnp.arange(steps)
        theta, _ = jax.lax.scan(one_step, theta, (t + h * inner, jnp.full(steps, h), first + inner))
        return theta, theta

    first = steps * jnp.arange(len(times) - 1)
    _, later = jax.lax.scan(to_next, theta, (times[:-1], times[1:], first))
    return jnp.concatenate([theta[None], later])
