"""Steps that discretise first and optimise then: u at the next time is what the network is fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._controller import RK, Control, Verdict
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._gram import relative_residual
from offprint.neural_ivp._linear import Info, LinearSolver
from offprint.neural_ivp._linear_maps import linear_maps
from offprint.neural_ivp._problem import Problem
from offprint.neural_ivp._step import Attempt

Scheme = Literal["euler", "heun", "implicit-euler", "trapezoidal"]
SCHEMES: dict[Scheme, tuple[float, int]] = {
    "euler": (0.0, 1),
    "heun": (0.0, 2),
    "implicit-euler": (1.0, 1),
    "trapezoidal": (0.5, 1),
}
"""Share w of the new time's slope in the unknown, and how many fits there are in a step."""


@dataclass(frozen=True)
class Optimized:
    """Discretise-then-optimise steps of fixed length: theta' with u(theta') - w h f(theta') = u + (1 - w) h f.

    The projection of `RK` makes an error in every step that depends on the tangent space at theta alone; here
    Gauss-Newton iterations move the tangent space with theta', so that only what the network cannot represent is
    left. The explicit schemes are those of time-evolving natural gradients (TENG; Chen, McCarran, Vizcaino, Soljacic
    and Luo, 2024, arXiv 2404.10771). The implicit ones (w = 1: Euler, w = 1/2: trapezoidal) are stable for stiff
    equations at any step; they differentiate the equation by theta, at several times the cost.

    Args:
        scheme: "euler" and "heun" (explicit, of order 1 and 2), "implicit-euler", "trapezoidal" (order 1 and 2).
        step: length of the steps.
        iterations: Gauss-Newton iterations of each fit; one that does not lower the misfit is not taken.

    Raises:
        ValueError: an unknown scheme, or a number that is not positive.
    """

    scheme: Scheme = "heun"
    step: float | int = 0.01
    iterations: int = 5

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, but is {self.scheme!r}")
        if not self.step > 0 or self.iterations < 1:
            raise ValueError(
                f"step must be positive and iterations at least 1, but step={self.step}, iterations={self.iterations}"
            )

    norm = "theta"
    controller = "standard"

    @property
    def num_rhs(self) -> int:
        """Linear solves in a step."""
        return self.iterations * SCHEMES[self.scheme][1]

    @property
    def _fixed(self) -> RK:
        return RK("euler", step=self.step)

    def start(self, span: float | int, dtype: Any = float) -> Control:
        """See `RK`."""
        return self._fixed.start(span, dtype)

    def restarted(self, control: Control) -> Control:
        """See `RK`."""
        return control

    def clip(self, control: Control, remaining: Float[Array, ""]) -> Float[Array, ""]:
        """See `RK`."""
        return self._fixed.clip(control, remaining)

    def judge(
        self,
        control: Control,
        h: Float[Array, ""],
        error: Float[Array, ""],
        before: Float[Array, ""],
        after: Float[Array, ""],
    ) -> Verdict:
        """See `RK`."""
        return self._fixed.judge(control, h, error, before, after)

    def attempt(
        self,
        problem: Problem,
        apply: Functional,
        linear: LinearSolver,
        key: PRNGKeyArray,
        points: tuple[Float[Array, "N d"], Float[Array, " N"] | None],
        fresh: tuple[Float[Array, "N d"], Float[Array, " N"] | None],
        t: Float[Array, ""],
        h: Float[Array, ""],
        theta: Float[Array, " p"],
    ) -> tuple[Attempt, Float[Array, ""]]:
        """One step from theta(t).

        Args:
            problem: the equation.
            apply: the network.
            linear: solves each Gauss-Newton step.
            key: for linear solvers that draw.
            points: where u is fitted, and their weights.
            fresh: others, to measure the misfit.
            t: time at the start.
            h: length of the step.
            theta: the weights at t.

        Returns:
            The attempt, with (theta' - theta) / h as its one stage and as `rho` the misfit relative to the change of
            u that the scheme asks for; and that misfit on the fresh points.
        """
        (X, weights), (w, fits) = points, SCHEMES[self.scheme]

        def slope(theta: Array, t: Array, X: Array) -> Array:
            return jax.vmap(lambda x: problem.pde(lambda y: apply(theta, y, t), x, t))(X)

        def unknown(theta: Array, x: Array, t: Array) -> Array:
            return apply(theta, x, t) - w * h * problem.pde(lambda y: apply(theta, y, t), x, t)

        u, f = apply.values(theta, X, t), slope(theta, t, X)
        fit = _GaussNewton(apply if w == 0 else unknown, linear, X, weights, t + h, self.iterations)
        new, info = fit(theta, u + (1 - w) * h * f, key)
        end, share = new, w
        if fits == 2:  # the second slope of Heun's method is that of Euler's step
            share = 0.5
            new, info = fit(new, u + h * (f + slope(end, t + h, X)) / 2, jax.random.fold_in(key, 1))

        def misfit(X: Array, weights: Array | None) -> Array:
            asked = h * ((1 - share) * slope(theta, t, X) + share * slope(end, t + h, X))
            made = apply.values(new, X, t + h) - apply.values(theta, X, t)
            return relative_residual(made, asked, jnp.ones(len(X), made.dtype) if weights is None else weights)

        info = info._replace(rho=misfit(X, weights))
        reports = jax.tree.map(lambda leaf: jnp.asarray(leaf, theta.dtype)[None], info)
        return Attempt(new, jnp.zeros_like(theta), ((new - theta) / h)[None], reports), misfit(*fresh)


@dataclass(frozen=True)
class _GaussNewton:
    """Fits `function(theta, x, t)` on points to values."""

    function: Callable[[Array, Array, Array], Array]
    linear: LinearSolver
    X: Array
    weights: Array | None
    t: Array
    iterations: int

    def __call__(self, theta: Array, target: Array, key: PRNGKeyArray) -> tuple[Array, Info]:
        """theta, and what the last solve said."""

        def misfit(theta: Array) -> Array:
            return jax.vmap(lambda x: self.function(theta, x, self.t))(self.X) - target

        def size(left: Array) -> Array:
            squares = jnp.sum(left**2, axis=1)
            return jnp.sum(squares if self.weights is None else self.weights * squares)

        def iterate(theta: Array, key: PRNGKeyArray) -> tuple[Array, Info]:
            linear = self.linear
            maps = linear_maps(
                self.function, theta, self.X, self.t, self.weights, chunk=linear.chunk, dtype=linear.products
            )
            left = (maps.u - target).astype(maps.weights.dtype)
            change, info = linear.solve(maps, -left, key, None)
            better = size(misfit(theta + change)) < size(left)
            return jnp.where(better, theta + change, theta), info

        theta, infos = jax.lax.scan(iterate, theta, jax.random.split(key, self.iterations))
        return theta, jax.tree.map(lambda leaf: leaf[-1], infos)
