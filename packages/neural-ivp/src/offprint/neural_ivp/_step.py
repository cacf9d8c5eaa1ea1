"""One attempted step of a Runge-Kutta method on theta: diffrax's steppers, with a report from every stage."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

Rhs = Callable[[Any, Array, Any], tuple[Array, PyTree]]
"""`rhs(t, theta, args) -> (d theta / dt, report)`; the report is any pytree of numbers."""


class RK4(diffrax.AbstractERK):
    """The classical method of order 4, which diffrax has not. It has no error estimate: fixed steps only."""

    tableau: ClassVar[diffrax.ButcherTableau] = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.zeros(4),
        c=np.array([0.5, 0.5, 1.0]),
    )
    interpolation_cls: ClassVar[Any] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms: Any) -> int:
        """4."""
        return 4


METHODS: dict[str, diffrax.AbstractSolver] = {
    "euler": diffrax.Euler(),
    "heun": diffrax.Heun(),
    "rk23": diffrax.Bosh3(),
    "rk4": RK4(),
    "tsit5": diffrax.Tsit5(),
    "dopri5": diffrax.Dopri5(),
}
"""Explicit methods by name: order 1, 2, 3 (Bogacki-Shampine), 4, 5 and 5."""


class Attempt(NamedTuple):
    """What one attempted step gave."""

    theta: Float[Array, " p"]
    """theta at the end of the step."""
    error: Float[Array, " p"]
    """The embedded method's estimate of the error of theta; zeros where the method has none."""
    stages: Float[Array, "s p"]
    """d theta / dt at every stage."""
    reports: PyTree
    """The reports of the right-hand side, with a leading axis of the stages."""


def solver_of(method: str | diffrax.AbstractSolver) -> diffrax.AbstractSolver:
    """The diffrax stepper of that name, or the one given.

    Raises:
        ValueError: no such name, or a stepper that is not an explicit Runge-Kutta method.
    """
    if isinstance(method, str):
        if method not in METHODS:
            raise ValueError(f"there is no method {method!r}; give one of {', '.join(METHODS)} or a diffrax solver")
        return METHODS[method]
    if not isinstance(method, diffrax.AbstractERK | diffrax.Euler):
        raise ValueError(
            f"the method must be one of {', '.join(METHODS)} or an explicit Runge-Kutta solver of diffrax, "
            f"but {method!r} was given"
        )
    return method


def order_of(solver: diffrax.AbstractSolver) -> int:
    """The order of convergence, which is the order of the local error of its embedded estimate too."""
    order = solver.order(diffrax.ODETerm(lambda t, y, args: y))
    assert order is not None  # every explicit Runge-Kutta method of diffrax has one
    return int(order)


def num_stages(solver: diffrax.AbstractSolver) -> int:
    """How many right-hand sides one attempted step takes."""
    return 1 if isinstance(solver, diffrax.Euler) else int(solver.tableau.num_stages)  # type: ignore[attr-defined]


def estimates_error(solver: diffrax.AbstractSolver) -> bool:
    """Whether the method has an embedded one, as an adaptive step needs."""
    return not isinstance(solver, diffrax.Euler) and bool(np.any(solver.tableau.b_error))  # type: ignore[attr-defined]


def attempt(
    rhs: Rhs,
    solver: diffrax.AbstractSolver,
    t: Float[Array, ""] | float | int,
    h: Float[Array, ""] | float | int,
    theta: Float[Array, " p"],
    args: Any = None,
) -> Attempt:
    """One step of length h from theta(t), every stage evaluated anew.

    The first stage is never taken over from the step before, not even where the method would allow it: the points
    of the new step are others, so the last slope on the old points is not its first one.

    Args:
        rhs: the right-hand side.
        solver: a stepper, see `solver_of`.
        t: time at the start.
        h: length of the step.
        theta: the state at t.
        args: handed to the right-hand side.

    Returns:
        The attempt. Differentiable in reverse mode.
    """
    shape = jax.eval_shape(rhs, t, theta, args)[1]
    # The reports ride along as further components of the state that nothing depends on: diffrax returns the slopes
    # of all stages, and so the reports of all stages.
    riders = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, theta.dtype), shape)

    def slope(t: Any, y: tuple[Array, PyTree], args: Any) -> tuple[Array, PyTree]:
        velocity, report = rhs(t, y[0], args)
        return velocity, jax.tree.map(lambda leaf: jax.lax.stop_gradient(jnp.asarray(leaf, theta.dtype)), report)

    t = jnp.asarray(t, theta.dtype)
    end = t + h
    if isinstance(solver, diffrax.Euler):
        velocity, reports = jax.tree.map(lambda leaf: leaf[None], slope(t, (theta, riders), args))
        return Attempt(theta + h * velocity[0], jnp.zeros_like(theta), velocity, reports)
    term = diffrax.ODETerm(slope)
    state = solver.init(term, t, end, (theta, riders), args)
    (new, _), (error, _), dense, _, _ = solver.step(term, t, end, (theta, riders), args, state, made_jump=True)
    stages, reports = jax.tree.map(lambda leaf: leaf / (end - t), dense["k"])
    return Attempt(new, error, stages, reports)


def finite_stages(made: Attempt) -> Bool[Array, " s"]:
    """Which stages have no NaN or infinity."""
    return jnp.isfinite(made.stages).all(axis=1)
