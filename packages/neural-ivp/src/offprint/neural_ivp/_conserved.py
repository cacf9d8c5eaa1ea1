"""Integrals of a solution over the box, by Monte Carlo with error bars: mass, moments, energies, marginals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from offprint.neural_ivp import ops
from offprint.neural_ivp._domain import Box

Field = Callable[[Array], Array]
Weights = Float[Array, "n"] | None


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
        value: the estimate, scalar or array.
        error: its standard error, of the same shape; for independent points (for a grid it says nothing).
    """

    value: Array
    error: Array


@dataclass(frozen=True, eq=False)
class Quantity:
    """∫ density(u, x, t) dx over the box, a number to watch while a solution evolves.

    Attributes:
        name: for tables and plots.
        density: `density(u, x, t) -> ()` or any shape; `u` is a function of a point.
    """

    name: str
    density: Callable[[Field, Array, Any], Array]


def mass(component: int = 0) -> Quantity:
    """∫ u_c dx."""
    return Quantity("mass", lambda u, x, t: u(x)[component])


def square(component: int | None = None) -> Quantity:
    """∫ u_c² dx, or of the sum over all components."""

    def density(u: Field, x: Array, t: Any) -> Array:
        values = u(x) if component is None else u(x)[component]
        return (values**2).sum()

    return Quantity("int u^2", density)


def wave_energy(c2: Any = 1.0) -> Quantity:
    """½ ∫ (w² + c² |∇u|²) dx of the fields (u, w) of u_t = w, w_t = c² Δu."""

    def density(u: Field, x: Array, t: Any) -> Array:
        slope = ops.grad(u, x)[0]
        return (u(x)[1] ** 2 + c2 * (slope @ slope)) / 2

    return Quantity("energy", density)


def integrate(
    quantity: Quantity,
    u: Field,
    domain: Box,
    X: Float[Array, "n d"],
    t: Any = 0.0,
    weights: Weights = None,
) -> Estimate:
    """The quantity from points uniform in the box.

    Args:
        quantity: what to integrate.
        u: a function of a point; `lambda x: apply(theta, x, t)` for a network.
        domain: the box.
        X: (N, d) points, uniform in the box, or of another law with `weights` that correct for it.
        t: time.
        weights: (N,) of mean 1, or None for uniform points.

    Returns:
        The estimate, of the shape of the density.
    """
    values = jax.vmap(lambda x: quantity.density(u, x, t))(X)
    return _mean(domain.volume * _weighted(values, weights))


def moments(u: Field, X: Float[Array, "n d"], weights: Weights = None, component: int = 0) -> tuple[Estimate, Estimate]:
    """Mean (d,) and covariance (d, d) of the density u / ∫u: self-normalised, so that the mass of u cancels.

    Args:
        u: the function of a point, of either sign; a density in earnest is positive.
        X, weights: as in `integrate`.
        component: which of its components.

    Returns:
        Estimates of the mean and of the covariance; errors by the delta method for a quotient.
    """
    density = _weighted(jax.vmap(lambda x: u(x)[component])(X), weights)
    mean = _ratio(X, density)
    centred = X - mean.value
    # The error of the mean enters the covariance in second order only.
    return mean, _ratio(centred[:, :, None] * centred[:, None, :], density)


def expectation(
    g: Callable[[Array], Array], u: Field, X: Float[Array, "n d"], weights: Weights = None, component: int = 0
) -> Estimate:
    """∫ g u dx / ∫ u dx, self-normalised.

    Args:
        g: `g(x) -> any shape`.
        u, X, weights, component: as in `moments`.
    """
    density = _weighted(jax.vmap(lambda x: u(x)[component])(X), weights)
    return _ratio(jax.vmap(g)(X), density)


def marginal(
    u: Field,
    domain: Box,
    X: Float[Array, "n d"],
    axis: int,
    grid: Float[Array, "m"],
    weights: Weights = None,
    component: int = 0,
) -> Estimate:
    """∫ u dx over all coordinates but one, at the values `grid` of that one.

    The same points serve all grid values, with coordinate `axis` replaced: the curve is as smooth as u is.

    Args:
        u: the function of a point.
        domain: the box.
        X: (N, d) points, uniform in the box.
        axis: the coordinate that stays.
        grid: (m,) its values.
        weights: (N,) of mean 1, not depending on coordinate `axis`, or None.
        component: which of u's components.

    Returns:
        The estimate, (m,), with the mass of u as its integral.

    Raises:
        ValueError: an axis that the box does not have.
    """
    if not 0 <= axis < domain.dim:
        raise ValueError(f"axis={axis} of a box in {domain.dim} dimensions; axes count from 0")
    others = domain.volume / float(domain.lengths[axis])

    def at(value: Array) -> Estimate:
        values = jax.vmap(lambda x: u(x.at[axis].set(value))[component])(X)
        return _mean(others * _weighted(values, weights))

    return jax.lax.map(at, grid)


def _weighted(values: Array, weights: Weights) -> Array:
    return values if weights is None else values * weights.reshape(-1, *[1] * (values.ndim - 1))


def _mean(values: Array) -> Estimate:
    n = values.shape[0]
    return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / n**0.5)


def _ratio(g: Array, density: Array) -> Estimate:
    """Σ g ρ / Σ ρ with the error of the linearised quotient."""
    rho = density.reshape(-1, *[1] * (g.ndim - 1))
    total = density.mean()
    value = (g * rho).mean(axis=0) / total
    return Estimate(value, _mean((g - value) * rho / total).error)
