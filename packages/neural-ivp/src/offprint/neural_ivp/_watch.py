"""What ends a stretch of the evolution: its goal, a restart, or a failure. And what is worth a warning."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from offprint.core.train import Callback, Event, ProgressBar
from offprint.neural_ivp._evolution import Evolution, EvolutionState, adapted
from offprint.neural_ivp._gram import pde_values
from offprint.neural_ivp._restart import Restart

REMEDIES = "Restarts (restart=...), a larger mu or more points N are the remedies to try"


class Watch(Callback):
    """Looks at every step. The text that ends a stretch is `status: message`.

    Args:
        policy: when to restart.
        evolution: the step.
        due: numbers of the stops, from 1, at which a restart is due.
        num_stops: the number of the last one.
        span: the first and the last time.
        begun: time of the problem when the last fit was made.
        fit_seconds: how long a fit takes on average.
        strict: conjugate gradients that have not converged are an error.
    """

    def __init__(
        self,
        policy: Restart,
        evolution: Evolution,
        *,
        due: set[int],
        num_stops: int,
        span: tuple[float, float],
        begun: float,
        fit_seconds: float,
        strict: bool,
    ):
        self.policy, self.evolution, self.due, self.num_stops = policy, evolution, due, num_stops
        self.span, self.begun, self.fit_seconds, self.strict = span, begun, fit_seconds, strict
        self._clock = time.monotonic()
        self._said: set[str] = set()

    def __call__(self, event: Event) -> str | None:
        """Why the stretch ends with this step, or None."""
        row = event.row
        t = float(row["t"])
        if row["bad_stage"] >= 0:
            return f"non-finite: {diagnose(self.evolution, event.state, row)}"
        self._warn(row)
        if row["rho"] > (limit := self.evolution.max_residual):
            return (
                f"residual: the relative residual {row['rho']:.3g} at t = {t:.6g} is above {limit:g}: "
                f"the network can no longer follow the equation. {REMEDIES}"
            )
        passed = int(row["passed"])
        if passed == self.num_stops:
            return "finished: the last time is reached"
        if row["accepted"]:
            if row["reached"] and passed in self.due:
                return "restart: due at this time"
            now = t + float(row["h"])
            ratio = (time.monotonic() - self._clock) / max(self.fit_seconds, 1e-9)
            if reason := self.policy.fires(row, now - self.begun, self.span[1] - self.span[0], ratio):
                return f"restart: {reason}"
            if adapted(linear := self.evolution.linear, row) != linear:
                return f"adapt: {linear} is replaced"
        smallest = 1e-10 * (self.span[1] - self.span[0])
        if row["h_next"] < smallest and not (row["accepted"] and row["h_next"] > row["h"]):
            return (
                f"step size: the step at t = {t:.6g} would have to be {row['h_next']:.3g}, below {smallest:.3g}: "
                f"the error control cannot be satisfied. {REMEDIES}; so are a larger rtol and norm='function'"
            )
        return None

    def _warn(self, row: dict[str, Any]) -> None:
        if not row["converged"]:
            text = (
                f"the conjugate gradients have not converged at t = {row['t']:.6g}: relative residual "
                f"{row['cg_residual']:.3g} after {row['cg_iters']:.0f} iterations. "
                "A larger rank, maxiter or mu helps"
            )
            if self.strict:
                raise RuntimeError(text)
            self._once("converged", text)
        if row["rho_fresh"] > 3 * row["rho"] > 0:
            self._once(
                "fresh",
                f"at t = {row['t']:.6g} the residual on fresh points, {row['rho_fresh']:.3g}, is more than 3 times "
                f"that on the points of the solve, {row['rho']:.3g}: there are too few points for so many weights. "
                "Take more points N or a larger mu",
            )

    def _once(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(text, stacklevel=2)


def diagnose(evolution: Evolution, state: EvolutionState, row: dict[str, Any]) -> str:
    """Which term is not finite, in words."""
    apply, theta, X, t, stage = evolution.apply, state.theta, state.points, state.t, int(row["bad_stage"])
    u = apply.values(theta, X, t)
    f = pde_values(apply, evolution.problem.pde, theta, X, t)
    if not jnp.isfinite(u).all():
        term = "the network u"
    elif not jnp.isfinite(f).all():
        first = np.asarray(X)[int(jnp.argmin(jnp.isfinite(f).all(axis=1)))]
        term = f"the right-hand side of the pde, first at x = {first.tolist()},"
    elif stage > 0:
        term = f"d theta / dt at stage {stage + 1} of the step of length {row['h']:.3g}"
    else:
        term = "d theta / dt, which the linear solver gave,"
    return f"{term} is not finite at t = {float(t):.6g}. {REMEDIES}; so is a smaller step (rtol, first_step)"


class Continued(Callback):
    """A callback of the user over several stretches: it sees one run whose steps count on.

    Args:
        inner: the callback.
        offset: steps of the stretches before.
    """

    def __init__(self, inner: Callback | Callable[[Event], str | None], offset: int):
        self.inner, self.offset = inner, offset

    def start(self, step: int, num_steps: int) -> None:
        """See `Callback`."""
        if isinstance(self.inner, Callback):
            self.inner.start(self.offset + step, self.offset + num_steps)

    def __call__(self, event: Event) -> str | None:
        """See `Callback`."""
        step, total = self.offset + event.step, self.offset + event.num_steps
        reason = self.inner(Event(step, total, {**event.row, "step": step}, lambda: event.state))
        return None if reason is None else f"callback: {reason}"

    def finish(self) -> None:
        """See `Callback`."""
        if isinstance(self.inner, Callback):
            self.inner.finish()

    def memory(self) -> dict[str, Any]:
        """See `Callback`."""
        return self.inner.memory() if isinstance(self.inner, Callback) else {}

    def remember(self, memory: dict[str, Any]) -> None:
        """See `Callback`."""
        if isinstance(self.inner, Callback):
            self.inner.remember(memory)


class Progress(Callback):
    """The bar of `offprint.core.train`, over the time of the problem.

    Args:
        t0: the first time.
        t1: the last.
    """

    def __init__(self, t0: float, t1: float):
        self.t0, self.t1, self._bar = t0, t1, ProgressBar("solving")

    def start(self, step: int, num_steps: int) -> None:
        """See `Callback`."""
        self._bar.start(0, 1000)

    def __call__(self, event: Event) -> str | None:
        """See `Callback`."""
        row = {name: event.row[name] for name in ("t", "h", "rho", "cg_iters")}
        done = round(1000 * (row["t"] - self.t0) / (self.t1 - self.t0))
        return self._bar(Event(done, 1000, row, lambda: event.state))

    def finish(self) -> None:
        """See `Callback`."""
        self._bar.finish()
