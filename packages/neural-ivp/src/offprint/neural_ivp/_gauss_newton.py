"""The fit by damped Gauss-Newton steps on fresh points."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._antisymmetric import antisymmetric
from offprint.neural_ivp._fit import FitReport, check_positive, report
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._linear_maps import LinearMaps, linear_maps
from offprint.neural_ivp._products import at_highest_precision
from offprint.neural_ivp._samplers import Sampler, Uniform
from offprint.neural_ivp._target import Target, as_target, check_finite_target, target_values

LARGEST_GRAM = 2500
"""Weights of a block up to which the default has more rows than weights, so that M itself is factored."""
KERNEL_ROWS = 4096
"""Rows of a block in a default step above that: their kernel is factored, and M never formed."""
CANDIDATES = (0.1, 1.0, 10.0)


class _State(NamedTuple):
    theta: Float[Array, " p"]
    damping: Float[Array, " blocks"]


@dataclass(frozen=True)
class GaussNewtonFit:
    """Levenberg-Marquardt: (JᵀJ/N + λ tr(JᵀJ/N)/p I) δ = Jᵀ(target - u)/N, with new points at every step.

    It reaches in tens of steps what Adam needs 10⁴ to 10⁵ for. Each step tries λ/10, λ and 10 λ and keeps what is
    best on a second set of fresh points, or nothing. With one network for each field the fields are fitted side by
    side, each with its own λ. With more weights than rows (points times fields) the same step is taken from the
    kernel J Jᵀ, whose size is that of the rows.

    Args:
        steps: at most so many steps.
        points: of one step; None for twice as many rows as a field's network has weights, at least 1000, and 4096
            rows where it has more than 2500 weights.
        damping: λ at the start.
        min_damping: the least λ.
        tol: stop at this relative error.
        patience: stop when the error is not 5% below that of so many steps before.
        sampler: where points come from, instead of uniform ones (`points` is then not used).
        chunk: points to hold the Jacobian of at a time, where JᵀJ is formed.
        start: "antisymmetric": the given random weights are first changed into ones with u = 0, which makes better
            fits and keeps all layers able to move u (see `antisymmetric`). "given": they are taken as they are, as
            it must be for weights that are no random ones.

    Raises:
        ValueError: a number that is not positive.
    """

    steps: int = 100
    points: int | None = None
    damping: float | int = 1e-2
    min_damping: float | int = 1e-9
    tol: float | int = 1e-6
    patience: int = 12
    sampler: Sampler | None = None
    chunk: int = 512
    start: Literal["antisymmetric", "given"] = "antisymmetric"

    def __post_init__(self):
        check_positive(
            steps=self.steps,
            points=self.points,
            damping=self.damping,
            min_damping=self.min_damping,
            tol=self.tol,
            patience=self.patience,
            chunk=self.chunk,
        )
        if self.start not in ("antisymmetric", "given"):
            raise ValueError(f"start of a fit must be 'antisymmetric' or 'given', but is {self.start!r}")

    def __call__(
        self, apply: Functional, theta: Float[Array, " p"], target: Target, key: PRNGKeyArray, *, t: Any = 0.0
    ) -> tuple[Float[Array, " p"], FitReport]:
        """Fit u(·, t; θ) to the target.

        Args:
            apply: the network.
            theta: where the fit starts (see `start`), such as `apply.init(key)`.
            target: from a point (d,) to the fields (k,); by `snapshot` for another network's present solution.
            key: where points are drawn from.
            t: the time, which matters to time-dependent boundary values.

        Returns:
            The new weights and how well they do.

        Raises:
            ValueError: the target has another number of fields, or is not finite at a point.
        """
        goal, sampler = as_target(target), self._sampler(apply)
        theta = jnp.asarray(theta)
        if self.start == "antisymmetric":
            theta = antisymmetric(apply, theta)
        state = _State(theta, jnp.full(apply.blocks, self.damping, theta.dtype))
        history: list[float] = []
        for step in range(self.steps):
            state, relative, worst = _step(
                apply, sampler, self.chunk, state, goal, jax.random.fold_in(key, step), t, self._least(theta)
            )
            if not jnp.isfinite(relative):
                check_finite_target(*worst)
                raise ValueError("the network is not finite where the fit starts: draw other weights")
            history.append(float(relative))
            if history[-1] <= self.tol or self._stalls(history):
                break
        end = jax.random.fold_in(key, self.steps)
        return state.theta, report(apply, state.theta, goal, end, t, len(history), history)

    def _sampler(self, apply: Functional) -> Sampler:
        if self.sampler is not None:
            return self.sampler
        if self.points is not None:
            return Uniform(self.points)
        weights, outputs = apply.num_params // apply.blocks, apply.n_fields // apply.blocks
        rows = max(1000, 2 * weights) if weights <= LARGEST_GRAM else KERNEL_ROWS
        return Uniform(-(-rows // outputs))

    def _least(self, theta: Array) -> float:
        return max(float(self.min_damping), 10 * float(jnp.finfo(theta.dtype).eps))

    def _stalls(self, history: list[float]) -> bool:
        return len(history) > self.patience and min(history) > 0.95 * min(history[: -self.patience])


@partial(jax.jit, static_argnames=("apply", "sampler", "chunk"))
@at_highest_precision
def _step(
    apply: Functional,
    sampler: Sampler,
    chunk: int,
    state: _State,
    target: Partial,
    key: PRNGKeyArray,
    t: Any,
    least: Any,
) -> tuple[_State, Array, tuple[Array, Array]]:
    """One step; with the relative error after it and the points and values of the target it was measured on."""
    theta, damping = state
    solve_key, try_key = jax.random.split(key)
    x, weights = sampler.sample(solve_key, apply, theta, t)
    wanted = target_values(target, x, apply.n_fields)
    changes = _changes(apply, theta, x, weights, t, wanted, jnp.stack([damping * c for c in CANDIDATES]), chunk)

    x, weights = sampler.sample(try_key, apply, theta, t)
    wanted = target_values(target, x, apply.n_fields)
    losses = jax.lax.map(lambda d: _losses(apply, theta + d, x, weights, t, wanted), changes)
    before = _losses(apply, theta, x, weights, t, wanted)
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    best = jnp.argmin(losses, axis=0)  # of each block
    after = jnp.min(losses, axis=0)
    better = after < before
    change = jnp.take_along_axis(changes.reshape(len(CANDIDATES), apply.blocks, -1), best[None, :, None], axis=0)[0]
    theta += jnp.where(better[:, None], change, 0).reshape(-1)
    factor = jnp.where(better, jnp.asarray(CANDIDATES, damping.dtype)[best], CANDIDATES[-1])
    size = jnp.sum(_average(wanted**2, weights))
    error = jnp.sum(jnp.where(better, after, before))
    relative = jnp.sqrt(error / jnp.where(size > 0, size, 1))
    return _State(theta, jnp.maximum(damping * factor, least)), relative, (x, wanted)


def _changes(
    apply: Functional,
    theta: Array,
    x: Array,
    weights: Array | None,
    t: Any,
    wanted: Array,
    dampings: Float[Array, "candidates blocks"],
    chunk: int,
) -> Float[Array, "candidates p"]:
    rows = len(x) * apply.n_fields // apply.blocks
    maps = linear_maps(apply, theta, x, t, weights, chunk=chunk if rows >= theta.size // apply.blocks else None)
    solve = _by_gram if rows >= theta.size // apply.blocks else _by_kernel
    return solve(maps, (wanted - maps.u).astype(theta.dtype), dampings)


def _by_gram(maps: LinearMaps, r: Array, dampings: Array) -> Float[Array, "candidates p"]:
    M, F = maps.gram(), maps.project(r).reshape(maps.blocks, -1)
    return jax.lax.map(lambda damping: _damped(M, F, damping).reshape(-1), dampings)


def _by_kernel(maps: LinearMaps, r: Array, dampings: Array) -> Float[Array, "candidates p"]:
    root = maps.root_weights()
    K = root[:, :, None] * maps.kernel() * root[:, None]
    rows = root * jnp.transpose(r.reshape(len(r), maps.blocks, -1), (1, 0, 2)).reshape(maps.blocks, -1)

    def one(damping: Array) -> Array:
        # tr K = tr M, but its mean is to be that over the weights
        c = root * _damped(K, rows, damping * K.shape[-1] * maps.blocks / maps.num_params)
        return maps.vjp(jnp.transpose(c.reshape(maps.blocks, len(r), -1), (1, 0, 2)).reshape(len(r), -1))

    return jax.lax.map(one, dampings)


def _damped(A: Float[Array, "blocks m m"], b: Float[Array, "blocks m"], damping: Float[Array, " blocks"]) -> Array:
    """(A + λ tr(A)/m I)⁻¹ b of each block."""

    def one(A: Array, b: Array, damping: Array) -> Array:
        m = len(b)
        return cho_solve(cho_factor(A + damping * jnp.trace(A) / m * jnp.eye(m, dtype=A.dtype)), b)

    return jax.vmap(one)(A, b, damping)


def _losses(
    apply: Functional, theta: Array, x: Array, weights: Array | None, t: Any, wanted: Array
) -> Float[Array, " blocks"]:
    squares = _average((apply.values(theta, x, t) - wanted) ** 2, weights)
    return squares.reshape(apply.blocks, -1).sum(axis=1)


def _average(values: Float[Array, "n k"], weights: Float[Array, " n"] | None) -> Float[Array, " k"]:
    return jnp.mean(values if weights is None else weights[:, None] * values, axis=0)
