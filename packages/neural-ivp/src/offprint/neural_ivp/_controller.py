"""Step-size control: which steps are accepted, and how long the next one is."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from offprint.neural_ivp._step import estimates_error, num_stages, order_of, solver_of


class Control(NamedTuple):
    """What the controller remembers between steps."""

    h: Float[Array, ""]
    """Length of the step to be tried next."""
    memory: Float[Array, " 2"]
    """Of the standard controller: the last two inverse errors. Of the official one: its tolerance, and nothing."""


class Verdict(NamedTuple):
    """What the controller says about an attempted step."""

    accepted: Bool[Array, ""]
    control: Control


@dataclass(frozen=True)
class RK:
    """An explicit Runge-Kutta method and the control of its steps.

    The error is measured by one number and compared with the size of the solution. `norm="theta"` takes the
    2-norms of theta's error and of theta. Since most of d theta / dt lies along directions that hardly change u,
    `norm="function"` is the more meaningful: the root mean square of J err over that of u, on the points of the step.

    Args:
        method: "euler", "heun", "rk23" (Bogacki-Shampine), "rk4", "tsit5", "dopri5", or an explicit Runge-Kutta
            solver of diffrax.
        rtol: accepted error of a step, relative to the solution.
        atol: accepted error on top of that, absolute (not of the official controller).
        step: a fixed step; no error control then.
        first_step: the first step tried; 20 rtol times the whole time if None.
        norm: "theta" or "function".
        controller: "standard" is diffrax's; "official" that of the authors' code: safety 0.97, no limits to the
            factor, the tolerance fixed by the first state.

    Raises:
        ValueError: an argument that does not serve.
    """

    method: str | diffrax.AbstractSolver = "rk23"
    rtol: float | int = 1e-4
    atol: float | int = 1e-12
    step: float | int | None = None
    first_step: float | int | None = None
    norm: str = "theta"
    controller: str = "standard"

    def __post_init__(self) -> None:
        solver = solver_of(self.method)
        if self.norm not in ("theta", "function"):
            raise ValueError(f"norm must be 'theta' or 'function', but is {self.norm!r}")
        if self.controller not in ("standard", "official"):
            raise ValueError(f"controller must be 'standard' or 'official', but is {self.controller!r}")
        for name, value in {"rtol": self.rtol, "step": self.step, "first_step": self.first_step}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, but is {value}")
        if self.atol < 0:
            raise ValueError(f"atol must not be negative, but is {self.atol}")
        if self.step is None and not estimates_error(solver):
            raise ValueError(
                f"the method {self.method!r} has no error estimate, so its steps cannot be controlled; "
                "give a fixed one, RK(method, step=...), or take rk23"
            )

    @property
    def solver(self) -> diffrax.AbstractSolver:
        """The diffrax stepper."""
        return solver_of(self.method)

    @property
    def order(self) -> int:
        """Order of convergence."""
        return order_of(self.solver)

    @property
    def num_rhs(self) -> int:
        """Right-hand sides of an attempted step."""
        return num_stages(self.solver)

    def start(self, span: float | int, dtype: Any = float) -> Control:
        """The control before the first step of a run over a time `span`."""
        h = self.step or self.first_step or min(20 * self.rtol, 1.0) * span
        # NaN: the official controller takes its tolerance from the first state that it sees.
        memory = [jnp.nan, 0.0] if self.controller == "official" else [1.0, 1.0]
        return Control(jnp.asarray(h, dtype), jnp.asarray(memory, dtype))

    def restarted(self, control: Control) -> Control:
        """The control after theta has been replaced: the standard one forgets the errors of the old theta."""
        if self.controller == "official":
            return control
        return control._replace(memory=jnp.ones_like(control.memory))

    def clip(self, control: Control, remaining: Float[Array, ""]) -> Float[Array, ""]:
        """The step to be tried, which ends at the latest where the next output is due.

        But for the official controller, a step that would nearly get there is stretched, so that no sliver is left.
        """
        if self.controller == "official":
            return jnp.minimum(control.h, remaining)
        return jnp.where(control.h * (1 + 1e-6) < remaining, control.h, remaining)

    def judge(
        self,
        control: Control,
        h: Float[Array, ""],
        error: Float[Array, ""],
        before: Float[Array, ""],
        after: Float[Array, ""],
    ) -> Verdict:
        """Accept or refuse a step.

        Args:
            control: as it was before the step.
            h: the step tried, shorter than `control.h` if an output was due.
            error: size of the error.
            before: size of the solution at the start of the step.
            after: the same at its end.

        Returns:
            Whether it is accepted, and the control for the next step.
        """
        clipped = h < control.h
        if self.step is not None:
            return Verdict(jnp.isfinite(after), control)
        if self.controller == "official":
            return self._official(control, h, error, before, clipped)
        pid = diffrax.PIDController(rtol=self.rtol, atol=self.atol, norm=jnp.abs)  # type: ignore[arg-type]
        last = (control.memory[0], control.memory[1], False)
        kept, start, end, _, memory, _ = pid.adapt_step_size(
            jnp.zeros_like(h), h, before, after, None, error, self.order, last
        )
        proposed = end - start
        # A step cut short for an output says nothing against the longer one.
        proposed = jnp.where(kept & clipped, jnp.maximum(proposed, control.h), proposed)
        return Verdict(jnp.asarray(kept), Control(proposed, jnp.stack([memory[0], memory[1]])))

    def _official(self, control: Control, h: Array, error: Array, size: Array, clipped: Bool[Array, ""]) -> Verdict:
        tolerance = jnp.where(jnp.isnan(control.memory[0]), self.rtol * size, control.memory[0])
        accepted = error < tolerance
        # Written so that an error of 0 gives a large step and not 0 / 0.
        excess = tolerance / jnp.maximum(error, jnp.finfo(error.dtype).tiny)
        scaled = 0.97 * h * jnp.minimum(excess, 1e30) ** (1 / self.order)
        proposed = jnp.where(accepted & clipped, control.h, scaled)
        return Verdict(accepted, Control(proposed, control.memory.at[0].set(tolerance)))


def norm2(x: Float[Array, " p"]) -> Float[Array, ""]:
    """The 2-norm."""
    return jnp.sqrt(jnp.sum(x**2))


def rms(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The root mean square."""
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def sizes(
    u: Any, theta: Float[Array, " p"], new: Float[Array, " p"], error: Float[Array, " p"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """The sizes of the error, of the solution before and after a step, in function space.

    Args:
        u: theta -> (N, k), the solution on the points of the step.
        theta: before the step.
        new: after the step.
        error: estimated error of `new`.

    Returns:
        The root mean squares of J error, u(theta) and u(new).
    """
    before, moved = jax.jvp(u, (theta,), (error,))
    return rms(moved), rms(before), rms(u(new))
