"""Points that follow the solution, for densities and fronts that fill little of a high-dimensional box."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._functional import Functional
from offprint.neural_ivp._samplers import Points, Resample, box_of, check_sampler

BURN_IN = 10
"""Times as many moves as usual where there are no points of a step before to start from."""


@dataclass(frozen=True)
class Particles:
    """Points distributed as |u(x, t)|^power, by Metropolis moves from where they were a step before.

    The measure of the projection follows the solution, as in Neural Galerkin schemes with adaptive sampling (Bruna,
    Peherstorfer and Vanden-Eijnden, J. Comput. Phys. 2024). A share of uniform points keeps watch elsewhere.

    Args:
        n: points.
        moves: Metropolis moves of each point for each sample; ten times as many where `previous` is not given.
        size: standard deviation of a move, in half lengths of the box's sides.
        power: of |u|, the norm over fields.
        uniform: share of the points that is uniform.
        resample: as in [`Uniform`][offprint.neural_ivp.Uniform].

    Raises:
        ValueError: a number that is out of range, `resample` unknown.
    """

    n: int = 10_000
    moves: int = 10
    size: float | int = 0.1
    power: float | int = 1.0
    uniform: float | int = 0.1
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(min(self.n, self.moves), self.resample)
        if not (self.size > 0 and self.power > 0 and 0 <= self.uniform < 1):
            raise ValueError(
                f"particles need size > 0, power > 0 and a uniform share in [0, 1), but they are "
                f"{self.size}, {self.power} and {self.uniform}"
            )

    def sample(
        self,
        key: PRNGKeyArray,
        apply: Functional,
        theta: Float[Array, " p"],
        t: Any = 0.0,
        *,
        previous: Float[Array, "n d"] | None = None,
        **_: Any,
    ) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        domain = box_of(apply)
        start_key, move_key, other_key = jax.random.split(key, 3)
        x = domain.uniform(start_key, self.n) if previous is None else previous
        x = self.moved(move_key, apply, theta, t, x, self.moves * (BURN_IN if previous is None else 1))
        # the uniform share is taken from other places each time: it also lets points find a new peak
        is_uniform = jax.random.uniform(other_key, (self.n, 1)) < self.uniform
        return jnp.where(is_uniform, domain.uniform(jax.random.fold_in(other_key, 1), self.n), x), None

    def moved(
        self, key: PRNGKeyArray, apply: Functional, theta: Array, t: Any, x: Float[Array, "n d"], moves: int
    ) -> Float[Array, "n d"]:
        """The points after so many moves, which leave |u|^power as it is; walls reflect."""
        domain = box_of(apply)
        step = self.size * jnp.asarray(domain.lengths / 2, x.dtype)

        def log_density(x: Array) -> Array:
            return self.power * jnp.log(jnp.linalg.norm(apply.values(theta, x, t), axis=1) + jnp.finfo(x.dtype).tiny)

        def move(state: tuple[Array, Array], key: PRNGKeyArray) -> tuple[tuple[Array, Array], None]:
            x, here = state
            step_key, accept_key = jax.random.split(key)
            proposed = _reflected(domain, x + step * jax.random.normal(step_key, x.shape, x.dtype))
            there = log_density(proposed)
            accepted = jnp.log(jax.random.uniform(accept_key, here.shape, here.dtype)) < there - here
            return (jnp.where(accepted[:, None], proposed, x), jnp.where(accepted, there, here)), None

        return jax.lax.scan(move, (x, log_density(x)), jax.random.split(key, moves))[0][0]


@dataclass(frozen=True)
class GaussianMixture:
    """Points from a mixture of Gaussians that is fitted to |u(x, t)|^power, and of the uniform distribution.

    The mixture is fitted by expectation maximisation to particles (see `Particles`). Its density is known, so the
    measure can stay uniform by weights, which for particles it cannot.

    Args:
        n: points.
        components: Gaussians, with full covariances, cut off at the box.
        weights: True: importance weights keep the measure uniform. False: the measure follows the solution.
        iterations: of expectation maximisation.
        particles: that are fitted, and how they move.
        uniform: share of the points that is uniform; weights are at most its inverse.
        resample: as in [`Uniform`][offprint.neural_ivp.Uniform].

    Raises:
        ValueError: a number that is out of range, `resample` unknown.
    """

    n: int = 10_000
    components: int = 5
    weights: bool = False
    iterations: int = 20
    particles: Particles = Particles(n=2000, uniform=0.0)
    uniform: float | int = 0.1
    resample: Resample = "step"

    def __post_init__(self):
        check_sampler(min(self.n, self.components, self.iterations), self.resample)
        if not 0 < self.uniform < 1:
            raise ValueError(f"the uniform share must be in (0, 1), but is {self.uniform}")

    def sample(
        self,
        key: PRNGKeyArray,
        apply: Functional,
        theta: Float[Array, " p"],
        t: Any = 0.0,
        *,
        previous: Float[Array, "n d"] | None = None,
        **_: Any,
    ) -> Points:
        """See [`Sampler`][offprint.neural_ivp.Sampler]."""
        domain = box_of(apply)
        particle_key, fit_key, draw_key = jax.random.split(key, 3)
        start = None if previous is None else jnp.resize(previous, (self.particles.n, domain.dim))
        found = self.particles.sample(particle_key, apply, theta, t, previous=start)[0]
        mixture = fit_mixture(fit_key, found, self.components, self.iterations, 1e-3 * domain.lengths / 2)
        x, uniform = _drawn(draw_key, mixture, domain, self.n, self.uniform)
        if not self.weights:
            return x, None
        mixed = jnp.exp(jax.nn.logsumexp(_log_components(mixture, x), axis=1))
        density = uniform + (1 - self.uniform) * domain.volume * mixed  # relative to the uniform one
        return x, (1 / density) / jnp.mean(1 / density)


class Mixture(NamedTuple):
    """A mixture of Gaussians."""

    share: Float[Array, " c"]
    mean: Float[Array, "c d"]
    cholesky: Float[Array, "c d d"]  # lower factor of each covariance


@partial(jax.jit, static_argnames=("components", "iterations"))
def fit_mixture(key: PRNGKeyArray, x: Float[Array, "n d"], components: int, iterations: int, least: Any) -> Mixture:
    """Expectation maximisation from means at random points; standard deviations are at least `least` (d,)."""
    n, d = x.shape
    floor = jnp.diag(jnp.asarray(least, x.dtype) ** 2)
    spread = jnp.cov(x, rowvar=False, ddof=0).reshape(d, d) / components + floor
    start = Mixture(
        jnp.full(components, 1 / components, x.dtype),
        x[jax.random.choice(key, n, (components,), replace=False)],
        jnp.tile(jnp.linalg.cholesky(spread), (components, 1, 1)),
    )

    def improve(mixture: Mixture, _: None) -> tuple[Mixture, None]:
        belongs = jax.nn.softmax(_log_components(mixture, x), axis=1)  # (n, c)
        count = belongs.sum(0) + 1e-6
        mean = belongs.T @ x / count[:, None]
        off = x[:, None] - mean
        covariance = jnp.einsum("nc,nci,ncj->cij", belongs, off, off) / count[:, None, None] + floor
        return Mixture(count / count.sum(), mean, jnp.linalg.cholesky(covariance)), None

    return jax.lax.scan(improve, start, None, length=iterations)[0]


def _log_components(mixture: Mixture, x: Float[Array, "n d"]) -> Float[Array, "n c"]:
    """log(share · density) of each component."""

    def one(share: Array, mean: Array, cholesky: Array) -> Array:
        z = jax.scipy.linalg.solve_triangular(cholesky, (x - mean).T, lower=True)
        volume = jnp.log(jnp.diag(cholesky)).sum() + 0.5 * len(mean) * jnp.log(2 * jnp.pi)
        return jnp.log(share) - 0.5 * jnp.sum(z**2, axis=0) - volume

    return jax.vmap(one, out_axes=1)(*mixture)


def _drawn(
    key: PRNGKeyArray, mixture: Mixture, domain: Box, n: int, uniform: float | int
) -> tuple[Float[Array, "n d"], Float[Array, ""]]:
    """Points of the mixture, a share of uniform ones among them, and how large that share has become."""
    which_key, normal_key, uniform_key, share_key = jax.random.split(key, 4)
    c = jax.random.categorical(which_key, jnp.log(mixture.share), shape=(n,))
    z = jax.random.normal(normal_key, (n, domain.dim), mixture.mean.dtype)
    x = mixture.mean[c] + jnp.einsum("nij,nj->ni", mixture.cholesky[c], z)
    # what a Gaussian puts outside of the box becomes uniform too
    outside = jnp.any((x < domain.lower) | (x > domain.upper), axis=1)
    is_uniform = outside | (jax.random.uniform(share_key, (n,)) < uniform)
    drawn = jnp.where(is_uniform[:, None], domain.uniform(uniform_key, n).astype(x.dtype), x)
    return drawn, uniform + (1 - uniform) * jnp.mean(outside, dtype=x.dtype)


def _reflected(domain: Box, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The points mirrored at the walls until they are inside."""
    lengths = jnp.asarray(domain.lengths, x.dtype)
    share = jnp.abs(jnp.mod((x - domain.lower.astype(x.dtype)) / lengths + 1, 2) - 1)
    return domain.from_unit(share)
