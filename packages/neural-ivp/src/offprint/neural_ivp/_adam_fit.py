"""The fit by Adam, as the paper does it."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.train import FullBatch, fit
from offprint.neural_ivp._fit import FitReport, check_positive, report
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._samplers import Sampler, Uniform
from offprint.neural_ivp._target import Target, as_target, target_values

State = tuple[Array, optax.OptState]


@dataclass(frozen=True)
class AdamFit:
    """Adam on the mean square error, with new points at every step.

    The defaults are those of the paper's code. [`GaussNewtonFit`][offprint.neural_ivp.GaussNewtonFit] does the same
    in a small part of the time.

    Args:
        steps: updates ("epochs" of the authors' code).
        lr: constant learning rate.
        batch: uniform points of each step.
        sampler: where points come from, instead of uniform ones (`batch` is then not used).
        progress: draw a bar, if standard error is a terminal.

    Raises:
        ValueError: a number that is not positive.
    """

    steps: int = 100_000
    lr: float | int = 3e-4
    batch: int = 10_000
    sampler: Sampler | None = None
    progress: bool = False

    def __post_init__(self):
        check_positive(steps=self.steps, lr=self.lr, batch=self.batch)

    def __call__(
        self, apply: Functional, theta: Float[Array, " p"], target: Target, key: PRNGKeyArray, *, t: Any = 0.0
    ) -> tuple[Float[Array, " p"], FitReport]:
        """Fit u(·, t; θ) to the target.

        Args:
            apply: the network.
            theta: where the fit starts, such as `apply.init(key)`.
            target: from a point (d,) to the fields (k,).
            key: where points are drawn from.
            t: the time, which matters to time-dependent boundary values.

        Returns:
            The new weights and how well they do.

        Raises:
            ValueError: the target has another number of fields, or is not finite at a point.
            NonFiniteError: the loss is not finite any more.
        """
        goal = as_target(target)
        run_key, end_key = jax.random.split(key)
        report(apply, theta, goal, end_key, t, 0, [])  # a target that is NaN is named here, before the run
        sampler = Uniform(self.batch) if self.sampler is None else self.sampler
        state = (jnp.asarray(theta), optax.adam(self.lr).init(theta))
        data = FullBatch((goal, jnp.asarray(t, jnp.result_type(float))))
        step = _AdamStep(apply, sampler, self.lr)
        every = max(1, self.steps // 100)
        done = fit(step, state, data, num_steps=self.steps, key=run_key, log_every=every, progress=self.progress)
        theta = done.state[0]
        history = [row["relative"] for row in done.history]
        return theta, report(apply, theta, goal, end_key, t, done.step, history)


@dataclass(frozen=True)
class _AdamStep:
    """One update, as a step of the training loop."""

    apply: Functional
    sampler: Sampler
    lr: float | int

    def __call__(self, state: State, batch: tuple[Partial, Array], key: PRNGKeyArray) -> tuple[State, dict[str, Any]]:
        (theta, opt_state), (target, t) = state, batch
        x, weights = self.sampler.sample(key, self.apply, theta, t)
        wanted = target_values(target, x, self.apply.n_fields)

        def loss(theta: Array) -> Array:
            squares = jnp.mean((self.apply.values(theta, x, t) - wanted) ** 2, axis=1)
            return jnp.mean(squares if weights is None else weights * squares)

        value, gradient = jax.value_and_grad(loss)(theta)
        updates, opt_state = optax.adam(self.lr).update(gradient, opt_state, theta)
        size = jnp.mean(wanted**2)
        relative = jnp.sqrt(value / jnp.where(size > 0, size, 1))
        return (optax.apply_updates(theta, updates), opt_state), {"loss": value, "relative": relative}
