"""Boundary values by penalty: points on the boundary that join the projection."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._bc import Penalty
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._samplers import Points, Resample, Sampler, box_of

AnyProblem = TypeVar("AnyProblem")


@dataclass(frozen=True)
class WithBoundary:
    """The points of another sampler, and points on the boundary.

    Args:
        inside: the other sampler.
        share: boundary points for each point inside.
        weight: of the boundary's mean against the interior's.
    """

    inside: Sampler
    share: float | int
    weight: float | int

    @property
    def resample(self) -> Resample:
        """That of the other sampler."""
        return self.inside.resample

    def sample(
        self,
        key: PRNGKeyArray,
        apply: Functional,
        theta: Float[Array, " p"],
        t: Any = 0.0,
        *,
        previous: Float[Array, "n d"] | None = None,
        **others: Any,
    ) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]; the points on the boundary come last."""
        inside_key, boundary_key = jax.random.split(key)
        if previous is not None:
            previous = previous[: round(len(previous) / (1 + self.share))]
        x, weights = self.inside.sample(inside_key, apply, theta, t, previous=previous, **others)
        n, m = len(x), max(1, round(self.share * len(x)))
        edge = box_of(apply).boundary(boundary_key, m).astype(x.dtype)
        weights = jnp.ones(n, x.dtype) if weights is None else weights
        # (1/(n+m)) Σ w g is then the mean inside plus `weight` times that on the boundary, over 1 + `weight`
        inner = weights * (n + m) / n / (1 + self.weight)
        outer = jnp.full(m, self.weight * (n + m) / m / (1 + self.weight), x.dtype)
        return jnp.concatenate([x, edge]), jnp.concatenate([inner, outer])


@dataclass(frozen=True)
class _Relaxing:
    """The equation inside, relaxation to the boundary value on the boundary."""

    pde: Callable[..., Array]
    bc: Penalty
    domain: Box

    def __call__(self, u: Callable[[Array], Array], x: Float[Array, " d"], t: Any) -> Float[Array, " k"]:
        f = self.pde(u, x, t)
        time = jnp.asarray(t, x.dtype)
        value, rate = jax.jvp(lambda t: jnp.asarray(self.bc.value(x, t), x.dtype), (time,), (jnp.ones_like(time),))
        return jnp.where(self.domain.on_boundary(x), (rate - self.bc.rate * (u(x) - value)).astype(f.dtype), f)


def penalized(problem: AnyProblem, sampler: Sampler) -> tuple[AnyProblem, Sampler]:
    """A problem with a `Penalty` as its boundary condition, and its sampler, with the penalty built in.

    Points on the boundary are added to those of the sampler, and on them the right-hand side is
    ∂value/∂t - rate·(u - value). The projection then minimises the sum of both residuals.

    Args:
        problem: with any boundary condition; it comes back as it is unless that is a `Penalty`.
        sampler: for the points inside.

    Returns:
        (problem, sampler) to be solved in their place.
    """
    given: Any = problem
    if not isinstance(given.bc, Penalty) or isinstance(given.pde, _Relaxing):
        return problem, sampler
    changed: Any = replace(given, pde=_Relaxing(given.pde, given.bc, given.domain))
    return changed, WithBoundary(sampler, given.bc.share, given.bc.weight)
