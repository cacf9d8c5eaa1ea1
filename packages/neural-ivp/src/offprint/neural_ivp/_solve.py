"""Solving an initial-value problem: fit the initial condition, evolve the weights, restart where the policy says so."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.train import Callback, Checkpoint, CheckpointError, CheckpointFolder, Event, FitResult
from offprint.core.train import fit as run_steps
from offprint.neural_ivp._adam_fit import AdamFit
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Auto
from offprint.neural_ivp._evolution import Evolution, EvolutionState, adapted, start
from offprint.neural_ivp._fit import Fit
from offprint.neural_ivp._functional import Functional, functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._linear import LinearSolver
from offprint.neural_ivp._optimized import Optimized
from offprint.neural_ivp._penalty import penalized
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._problem_checks import check_model, check_problem
from offprint.neural_ivp._refit import Fitter, Record
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import Sampler, Uniform
from offprint.neural_ivp._solution import Solution, structured
from offprint.neural_ivp._watch import Continued, Progress, Watch

# What solve_ivp does when it is told nothing else.
FIT, LINEAR, ODE, SAMPLER, RESTART = GaussNewtonFit(), Auto(), RK(), Uniform(), Restart.never()


def solve_ivp(
    problem: Problem,
    model: nnx.Module | tuple[Functional, Float[Array, " p"]],
    ts: Sequence[float | int] | Float[Array | np.ndarray, " n"],
    *,
    key: PRNGKeyArray,
    fit: Fit | None = FIT,
    head_tune: bool | None = None,
    linear: LinearSolver = LINEAR,
    ode: RK | Optimized = ODE,
    sampler: Sampler = SAMPLER,
    restart: Restart = RESTART,
    callbacks: Sequence[Callback | Callable[[Event], str | None]] = (),
    checkpoint: Checkpoint | str | Path | None = None,
    strict: bool = False,
    max_steps: int = 100_000,
    max_residual: float | int = 0.9,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> Solution:
    """Solve u_t = L[u] with a network whose weights move in time (Neural-IVP).

    Every step that is attempted is one compiled function; between steps the host looks at what it reported. The same
    key gives the same bits on the same machine (but for `Restart.wallclock`).

    Args:
        problem: the equation, its initial condition, domain and boundary conditions.
        model: an NNX module from a point (d,) to the fields (k,), which is not changed; or what `functional` gave.
        ts: output times, ascending. The first is that of the initial condition, 0 if it is fitted.
        key: a typed key: points, sketches, fits and restarts draw from it.
        fit: how the initial condition is fitted, and the present solution at restarts. None takes the weights of
            the model as they are, for a model that satisfies the initial condition; there are no restarts then.
        head_tune: after each fit overwrite the last layer by ridge regression where that lowers the error. None does
            so after an `AdamFit`; a Gauss-Newton fit leaves nothing to gain.
        linear: how the projection is solved.
        ode: `RK`, a Runge-Kutta method and control of its steps; or `Optimized`, discretise-then-optimise.
        sampler: where the points come from.
        restart: when to restart.
        callbacks: called after every attempted step, as in `offprint.core.train.fit`; a returned text ends the run.
        checkpoint: a folder to save in, and to go on from: the same call goes on where it was cut off, and ends in
            the same weights. Ctrl-C finishes the step and saves. A path saves every 20 steps.
        strict: conjugate gradients that do not converge are an error, instead of a warning.
        max_steps: at most so many attempted steps.
        max_residual: a relative residual above this ends the run.
        mesh: the points are split over this mesh's first axis.
        progress: draw a bar, if standard error is a terminal.

    Returns:
        The solution; a part of it, with `status` and `message`, if the run ended early: a value that is not finite,
        a residual above `max_residual`, a step size that would have to be too small, `max_steps`.

    Raises:
        ValueError: times that do not ascend, a model that does not fit the problem, values that are not finite at
            the start, restarts of a model whose weights cannot be drawn.
        RuntimeError: conjugate gradients that do not converge, if `strict`.
        Interrupted: on Ctrl-C or SIGTERM, after saving.
        CheckpointError: the folder cannot be written, or is of another run.
    """
    times = checked_times(ts, fitted=fit is not None)
    apply, theta = functional(model, domain=problem.domain) if isinstance(model, nnx.Module) else model
    check_model(problem, lambda x: apply(theta, x, times[0]))
    check_key, fit_key, step_key, points_key = jax.random.split(key, 4)
    check_problem(problem, check_key, float(times[0]))
    _check_restarts(restart, apply, fit)
    tune = isinstance(fit, AdamFit) if head_tune is None else head_tune
    solved, sampler = penalized(problem, sampler)
    if mesh is not None:  # axes of type Auto, whatever was given: the points are constrained, XLA does the rest
        mesh = Mesh(mesh.devices, mesh.axis_names)
    run = _Run(
        evolution=Evolution(solved, apply, linear.limited(theta.dtype), ode, sampler, max_residual, mesh),
        fitter=Fitter(solved, apply, fit, tune, fit_key, restart.tolerance),
        policy=restart,
        ts=times,
        key=step_key,
        callbacks=[*callbacks, *([Progress(float(times[0]), float(times[-1]))] if progress else [])],
        checkpoint=Checkpoint(checkpoint, every=20) if isinstance(checkpoint, str | Path) else checkpoint,
        strict=strict,
        max_steps=max_steps,
    )
    return run.solve(theta, points_key)


@dataclass
class _Run:
    """One solve: stretches of steps, with a fit or another linear solver between them."""

    evolution: Evolution
    fitter: Fitter
    policy: Restart
    ts: np.ndarray
    key: PRNGKeyArray
    callbacks: Sequence[Callback | Callable[[Event], str | None]]
    checkpoint: Checkpoint | None
    strict: bool
    max_steps: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    fits: list[Record] = field(default_factory=list)

    def solve(self, theta: Array, points_key: PRNGKeyArray) -> Solution:
        evolution, t0 = self.evolution, float(self.ts[0])
        restarts = self.policy.due(t0, float(self.ts[-1]))

        def at_first() -> tuple[EvolutionState, Record]:
            fitted, record = self.fitter.first(theta, t0)
            points = evolution.sample(points_key, fitted, jnp.asarray(t0, fitted.dtype))
            return start(fitted, self.ts, restarts, evolution.ode, points), record

        points = evolution.sample(points_key, theta, jnp.asarray(t0, theta.dtype))
        template = start(theta, self.ts, restarts, evolution.ode, points)
        due = {int(np.searchsorted(np.asarray(template.stops), t)) + 1 for t in np.asarray(restarts, theta.dtype)}
        state, stretch, status, message = self._begun(0, template, at_first), 0, "", ""
        while True:
            result = self._stretch(state, stretch, due)
            state = result.state
            self.rows += [{**row, "step": len(self.rows) + i + 1} for i, row in enumerate(result.history)]
            status, _, message = result.stopped.partition(": ")
            if status not in ("restart", "adapt"):
                break
            stretch += 1
            state = self._begun(stretch, state, lambda: self._between(status, message, state))  # noqa: B023
            if status == "adapt":
                linear = adapted(self.evolution.linear, self.rows[-1])
                self.evolution = replace(self.evolution, linear=linear)
        if status == "num_steps":
            status, message = "max steps", f"{self.max_steps} steps have been attempted (max_steps)"
        return self._solution(state, status, message)

    def _begun(
        self, stretch: int, template: EvolutionState, begin: Callable[[], tuple[EvolutionState, Record | None]]
    ) -> EvolutionState:
        """The state at the start of a stretch: from the checkpoint, or made and saved."""
        if self.checkpoint is None:
            state, record = begin()
        else:
            folder = CheckpointFolder(self._folder(stretch) / "start", keep=1)
            try:
                if folder.steps() and not self.checkpoint.resume:
                    raise CheckpointError(
                        f"{self.checkpoint.directory} holds a run already, and resume=False; choose another folder"
                    )
                found = folder.restore(template)
                if found is None:
                    state, record = begin()
                    folder.save(0, state, {"record": record, "settings": self._settings()})
                else:
                    state, record = found[0], found[2]["record"]
                    self._check_settings(found[2]["settings"])
            finally:
                folder.close()
        if record is not None:
            self.fits.append(record)
        return state

    def _between(self, status: str, message: str, state: EvolutionState) -> tuple[EvolutionState, Record | None]:
        """The state after a refit, or as it is if only the linear solver changes."""
        if status == "adapt":
            return state, None
        theta, record = self.fitter.again(state.theta, float(state.t), len(self.fits), message)
        if not record["kept"]:
            return state, record
        control = self.evolution.ode.restarted(state.control)
        return replace(state, theta=theta, control=control, velocity=jnp.zeros_like(theta)), record

    def _stretch(self, state: EvolutionState, stretch: int, due: set[int]) -> FitResult[EvolutionState]:
        """Steps, until there is something for the host to do."""
        done = len(self.rows)
        watch = Watch(
            self.policy,
            self.evolution,
            due=due,
            num_stops=len(state.stops),
            span=(float(self.ts[0]), float(self.ts[-1])),
            begun=float(self.fits[-1]["t"]),
            fit_seconds=float(np.mean([record["seconds"] for record in self.fits])),
            strict=self.strict,
        )
        checkpoint = self.checkpoint
        if checkpoint is not None:
            checkpoint = replace(checkpoint, directory=self._folder(stretch) / "steps", resume=True)
        return run_steps(
            self.evolution,
            state,
            num_steps=max(self.max_steps - done, 0),
            key=jax.random.fold_in(self.key, stretch),
            log_every=1,
            callbacks=[watch, *(Continued(callback, done) for callback in self.callbacks)],
            checkpoint=checkpoint,
            mesh=self.evolution.mesh,
            loop="dispatch",
            chunk=1,
            finite=False,  # the watch names the term that is not
            progress=False,
        )

    def _folder(self, stretch: int) -> Path:
        assert self.checkpoint is not None
        return Path(self.checkpoint.directory) / f"stretch-{stretch:04d}"

    def _settings(self) -> str:
        """What a run is known by, without addresses in memory."""
        evolution = self.evolution
        parts = [evolution.problem.name, self.ts.tolist(), evolution.ode, evolution.linear, evolution.sampler]
        return re.sub(r" at 0x[0-9a-f]+", "", repr([*parts, evolution.max_residual, self.policy, self.fitter.fit]))

    def _check_settings(self, saved: str) -> None:
        if saved != self._settings():
            assert self.checkpoint is not None
            raise CheckpointError(
                f"the checkpoints in {self.checkpoint.directory} are of a run with other settings: {saved} there, "
                f"{self._settings()} here. Give the same settings to go on, or choose another folder"
            )

    def _solution(self, state: EvolutionState, status: str, message: str) -> Solution:
        passed = int(state.passed)
        reached = 1 + int((np.asarray(state.slots)[:passed] < len(self.ts)).sum())
        if reached == len(self.ts):
            status, message = "finished", "the last time is reached"
        columns = {name: [row[name] for row in self.rows] for name in self.rows[0]} if self.rows else {}
        return Solution(
            ts=self.ts[:reached],
            thetas=np.asarray(state.outputs)[:reached],
            apply=self.evolution.apply,
            problem=self.evolution.problem,
            history=structured(columns),
            restarts=tuple(self.fits),
            status=status,
            message=message,
            t_last=float(state.t),
            theta_last=np.asarray(state.theta),
            num_rhs=self.evolution.ode.num_rhs * len(self.rows),
        )


def checked_times(ts: Any, *, fitted: bool) -> np.ndarray:
    times = np.asarray(ts, float)
    if times.ndim != 1 or len(times) < 2 or not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError(f"ts must be at least two finite times that ascend, such as [0, 0.5, 1], but is {ts!r:.200}")
    if fitted and times[0] != 0:
        raise ValueError(
            f"ts must begin with 0, where the initial condition holds, but begins with {times[0]}; to go on from a "
            "solution at a later time give a model that has it, and fit=None"
        )
    return times


def _check_restarts(policy: Restart, apply: Functional, fit: Fit | None) -> None:
    if policy == Restart.never():
        return
    if fit is None:
        raise ValueError("restarts need a fit, but fit is None; give fit=GaussNewtonFit(), or Restart.never()")
    if apply.make is None:
        raise ValueError(
            "restarts need new random weights, but this model cannot draw them: give it a method fresh(rngs) that "
            "returns a new one, or use Restart.never()"
        )
