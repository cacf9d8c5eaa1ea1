"""Points where a density is high: one that is given, or the residual of the equation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._samplers import Points, Resample, box_of, check_sampler

UNIFORM_SHARE = 0.1
"""Share of the points that a density does not move: it bounds the weights by 10."""


@dataclass(frozen=True)
class Weighted:
    """Points in proportion to a density q.

    Args:
        density: q(x) >= 0 at one point (d,), not normalised.
        n: points.
        weights: True: the measure stays uniform, with weights in proportion to 1/q (importance sampling). False: no
            weights, so that q is the measure in which the projection is best.
        oversample: uniform candidates for each point.
        resample: as in [`Uniform`][offprint.neural_ivp.Uniform].

    Raises:
        ValueError: n or `oversample` below 1, `resample` unknown.
    """

    density: Callable[[Array], Array]
    n: int = 10_000
    weights: bool = True
    oversample: int = 10
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(min(self.n, self.oversample), self.resample)

    def sample(self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any = 0.0, **_: Any) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        candidate_key, choice_key = jax.random.split(key)
        x = box_of(apply).uniform(candidate_key, self.n * self.oversample)
        return choose(choice_key, x, jax.vmap(self.density)(x), self.n, self.weights)


@dataclass(frozen=True)
class ResidualAdaptive:
    """Points in proportion to the squared residual |J v - f|² of the equation, at the velocity v of the step before.

    Without a velocity (at the first step) it is |f|². The authors' sampler has no weights, and with its velocity of 0
    the density is always |f|².

    Args:
        n: points.
        weights: True: importance weights keep the measure uniform. False: the measure itself follows the residual.
        oversample: uniform candidates for each point.
        resample: as in [`Uniform`][offprint.neural_ivp.Uniform].

    Raises:
        ValueError: n or `oversample` below 1, `resample` unknown.
    """

    n: int = 10_000
    weights: bool = True
    oversample: int = 10
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(min(self.n, self.oversample), self.resample)

    def sample(
        self,
        key: PRNGKeyArray,
        apply: Functional,
        theta: Float[Array, " p"],
        t: Any = 0.0,
        *,
        pde: Callable[..., Array] | None = None,
        velocity: Float[Array, " p"] | None = None,
        **_: Any,
    ) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler].

        Raises:
            ValueError: no pde.
        """
        if pde is None:
            raise ValueError("points by the residual need the equation: pass pde=problem.pde")
        candidate_key, choice_key = jax.random.split(key)
        x = box_of(apply).uniform(candidate_key, self.n * self.oversample)
        return choose(choice_key, x, _squared_residual(apply, theta, t, pde, velocity, x), self.n, self.weights)


def choose(
    key: PRNGKeyArray, x: Float[Array, "m d"], density: Float[Array, " m"], n: int, weights: bool
) -> tuple[Float[Array, "n d"], Float[Array, " n"] | None]:
    """`n` of the candidates by systematic draws from (0.9 q/Σq + 0.1/m), and weights of mean 1 that undo it."""
    m = len(x)
    density = jnp.where(jnp.isfinite(density) & (density > 0), density, 0).astype(x.dtype)
    total = density.sum()
    share = jnp.where(total > 0, density / jnp.where(total > 0, total, 1), 1 / m)
    share = (1 - UNIFORM_SHARE) * share + UNIFORM_SHARE / m
    places = (jnp.arange(n) + jax.random.uniform(key, (), x.dtype)) / n
    index = jnp.clip(jnp.searchsorted(jnp.cumsum(share), places), 0, m - 1)
    if not weights:
        return x[index], None
    inverse = 1 / (m * share[index])
    return x[index], inverse / jnp.mean(inverse)


def _squared_residual(
    apply: Functional, theta: Array, t: Any, pde: Callable[..., Array], velocity: Array | None, x: Array
) -> Float[Array, " m"]:
    def at(point: Array) -> Array:
        f = pde(lambda y: apply(theta, y, t), point, t)
        rate = apply.lift_rate(point, t)
        f = f if rate is None else f - rate
        if velocity is not None:
            f = f - jax.jvp(lambda theta: apply(theta, point, t), (theta,), (velocity,))[1]
        return jnp.sum(f**2)

    return jax.lax.map(at, x, batch_size=4096)
