"""The evolution of theta in time as a pure step, `step(state, batch, key)`, with a report of everything in it."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.neural_ivp._controller import RK, Control, norm2, sizes
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._gram import pde_values, relative_residual
from offprint.neural_ivp._linear import Info, LinearSolver
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._optimized import Optimized
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._samplers import GaussLegendre, Grid, Sampler
from offprint.neural_ivp._step import attempt, finite_stages
from offprint.neural_ivp._theta_dot import theta_dot


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EvolutionState:
    """Where the evolution stands."""

    t: Float[Array, ""]
    """Time."""
    theta: Float[Array, " p"]
    """The network's weights, flat."""
    control: Control
    """The step to be tried next, and what the controller remembers."""
    passed: Int[Array, ""]
    """How many of the stops have been reached."""
    outputs: Float[Array, "n_out p"]
    """theta at the output times that have been reached."""
    stops: Float[Array, " n_stops"]
    """Times where a step has to end: outputs and known restarts, ascending."""
    slots: Int[Array, " n_stops"]
    """Which row of the outputs belongs to a stop, or n_out for none."""
    velocity: Float[Array, " p"]
    """d theta / dt at the start of the last accepted step, which some samplers follow; zeros at first."""
    points: Float[Array, "n d"]
    """The points of the last attempted step; those of the whole run, if the sampler never draws others."""
    weights: Float[Array, " n"] | None
    """Their weights."""


def start(
    theta: Float[Array, " p"],
    ts: np.ndarray,
    restarts: list[float],
    ode: RK | Optimized,
    points: tuple[Array, Array | None],
) -> EvolutionState:
    """The state at ts[0], with the first output in place.

    Args:
        theta: the weights.
        ts: the output times, ascending.
        restarts: times of known restarts.
        ode: method and control.
        points: the first points and their weights.
    """
    known = {float(t): i for i, t in enumerate(ts) if i > 0}
    stops = sorted({*known, *restarts})
    dtype = theta.dtype
    return EvolutionState(
        t=jnp.asarray(ts[0], dtype),
        theta=theta,
        control=ode.start(float(ts[-1] - ts[0]), dtype),
        passed=jnp.int32(0),
        outputs=jnp.zeros((len(ts), theta.shape[0]), dtype).at[0].set(theta),
        stops=jnp.asarray(stops, dtype),
        slots=jnp.asarray([known.get(stop, len(ts)) for stop in stops], jnp.int32),
        velocity=jnp.zeros_like(theta),
        points=points[0],
        weights=points[1],
    )


@dataclass(frozen=True)
class Evolution:
    """One attempted step of the evolution; a static function of the state.

    Args:
        problem: the equation.
        apply: the network.
        linear: how M v = F is solved.
        ode: method and control of its steps.
        sampler: where points come from.
        max_residual: a step that begins with a relative residual above this is not taken.
        mesh: the points are split over this mesh's first axis.
    """

    problem: Problem
    apply: Functional
    linear: LinearSolver
    ode: RK | Optimized
    sampler: Sampler
    max_residual: float | int = 0.9
    mesh: Mesh | None = None

    def __call__(
        self, state: EvolutionState, batch: None, key: PRNGKeyArray
    ) -> tuple[EvolutionState, dict[str, Array]]:
        """Attempt a step.

        Returns:
            The state after it, and what the history holds of it.
        """
        points_key, fresh_key, linear_key = jax.random.split(key, 3)
        t, theta = state.t, state.theta
        points = (state.points, state.weights)
        if self.sampler.resample != "never":
            points = self.sample(points_key, theta, t, state)

        fresh = self._fresh(fresh_key, state)

        def rhs(t: Array, theta: Array, args: Any) -> tuple[Array, Any]:
            # a stage is known by its theta: each draws for itself
            stage = jax.lax.bitcast_convert_type(jnp.sum(theta).astype(jnp.float32), jnp.uint32)
            X, weights = points
            if self.sampler.resample == "rhs":
                X, weights = self.sample(jax.random.fold_in(points_key, stage), theta, t, state)
            draws = jax.random.fold_in(linear_key, stage)
            return theta_dot(self.problem, self.apply, theta, X, t, self.linear, draws, weights=weights)

        span = state.stops[-1] - t
        stop = state.stops[jnp.minimum(state.passed, state.stops.shape[0] - 1)]
        remaining = jnp.maximum(stop - t, 0)
        h = self.ode.clip(state.control, remaining)
        if isinstance(self.ode, Optimized):
            made, rho_fresh = self.ode.attempt(
                self.problem, self.apply, self.linear, linear_key, points, fresh, t, h, theta
            )
        else:
            made = attempt(rhs, self.ode.solver, t, h, theta)
            rho_fresh = self._residual(fresh, t, theta, made.stages[0])
        error, before, after = self._sizes(points[0], t, theta, made.theta, made.error)
        verdict = self.ode.judge(state.control, h, error, before, after)
        finite = finite_stages(made).all() & jnp.isfinite(after)
        accepted = verdict.accepted & finite & ~(made.reports.rho[0] > self.max_residual)

        arrived = jnp.where(h >= remaining, stop, t + h)
        reached = accepted & (arrived > stop - self._slack(stop, span))
        row = jnp.where(reached, state.slots[jnp.minimum(state.passed, state.slots.shape[0] - 1)], len(state.outputs))
        new = jnp.where(accepted, made.theta, theta)
        after_step = EvolutionState(
            t=jnp.where(accepted, arrived, t),
            theta=new,
            control=verdict.control,
            passed=state.passed + reached,
            outputs=state.outputs.at[row].set(new, mode="drop"),
            stops=state.stops,
            slots=state.slots,
            velocity=jnp.where(accepted, made.stages[0], state.velocity),
            points=points[0],
            weights=points[1],
        )
        report = {
            "t": t,
            "h": h,
            "h_next": verdict.control.h,
            "accepted": accepted,
            "reached": reached,
            "passed": after_step.passed,
            "error": error / jnp.maximum(before, jnp.finfo(before.dtype).tiny),
            "theta_norm": norm2(theta),
            "speed": norm2(made.stages[0]),
            "rho_fresh": rho_fresh,
            "bad_stage": jnp.where(finite, -1, jnp.argmin(finite_stages(made))),
            **summary(made.reports._asdict()),
        }
        return after_step, report

    def sample(
        self, key: PRNGKeyArray, theta: Array, t: Array, state: EvolutionState | None = None
    ) -> tuple[Array, Array | None]:
        """Points (N, d) and their weights (N,) or None, split over the mesh; the first ones without a state."""
        last = {} if state is None else {"velocity": state.velocity, "previous": state.points}
        points = self.sampler.sample(key, self.apply, theta, t, pde=self.problem.pde, **last)
        if self.mesh is None:
            return points
        split = NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names[0]))
        return jax.tree.map(lambda array: jax.lax.with_sharding_constraint(array, split), points)

    def _sizes(self, X: Array, t: Array, theta: Array, new: Array, error: Array) -> tuple[Array, Array, Array]:
        if self.ode.norm == "theta":
            return norm2(error), norm2(theta), norm2(new)
        return sizes(lambda weights: self.apply.values(weights, X, t), theta, new, error)

    def _slack(self, stop: Array, span: Array) -> Array:
        """How near to a stop is there: the authors' 1e-7, or what rounding leaves open."""
        if self.ode.controller == "official":
            return jnp.maximum(jnp.asarray(1e-7, stop.dtype), 4 * jnp.finfo(stop.dtype).eps * jnp.abs(stop))
        return 8 * jnp.finfo(stop.dtype).eps * jnp.maximum(jnp.abs(stop), span)

    def _fresh(self, key: PRNGKeyArray, state: EvolutionState) -> tuple[Array, Array | None]:
        """Points that nothing is solved on; where a sampler has a fixed rule, uniform ones."""
        X, weights = self.sample(key, state.theta, state.t, state)
        if isinstance(self.sampler, Grid | GaussLegendre):
            return self.problem.domain.uniform(key, len(X)).astype(X.dtype), None
        return X, weights

    def _residual(self, points: tuple[Array, Array | None], t: Array, theta: Array, v: Array) -> Array:
        """rho of the velocity v on points."""
        (X, weights), chunk = points, self.linear.chunk
        maps = linear_maps(self.apply, theta, X, t, weights, chunk=chunk)
        f = pde_values(self.apply, self.problem.pde, theta, X, t, chunk=chunk)
        return relative_residual(maps.jvp(v), f, maps.weights)


MOST = ("iterations", "residual")
"""Of these the history holds the largest of the stages; of everything else what the first stage said."""


def summary(info: dict[str, Float[Array, "s *rest"]]) -> dict[str, Float[Array, ""]]:
    """What the linear solver said at the stages of a step, as one number each."""
    found = {}
    for name, stages in info.items():
        if name in ("iterations", "rank", "converged"):
            stages = jnp.round(stages)  # counts, which came here as floats
        found[name] = jnp.min(stages) if name == "converged" else jnp.max(stages if name in MOST else stages[0])
    found["cg_iters"] = found.pop("iterations")
    found["cg_residual"] = found.pop("residual")
    return found


def adapted(linear: LinearSolver, row: dict[str, Any]) -> LinearSolver:
    """The linear solver for the next step, after what a row of the history says of this one."""
    names = {"iterations": "cg_iters", "residual": "cg_residual"}
    return linear.adapt(Info(**{name: row[names.get(name, name)] for name in Info._fields}))
