"""Wave operators on curved space-times: metrics, Christoffel symbols, the d'Alembertian.

Points of space-time are X = (t, x_1, ..., x_d), the time first; units in which G = c = 1; signature (-, +, ..., +).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._problem import Field, Real, check_positive

Metric = Callable[[Array], Array]
"""`X (n,) -> g_ab (n, n)`."""


def schwarzschild(mass: Real = 0.5, hole: Sequence[float | int] | np.ndarray = (-2.0, 0.0, 0.0)) -> Metric:
    """The Schwarzschild metric in coordinates (t, x, y, z) with r = |x - hole|, r_s = 2 mass.

    g_tt = -(1 - r_s/r), g_ij = δ_ij + (1/(1 - r_s/r) - 1) r̂_i r̂_j; the determinant is -1 everywhere.

    Args:
        mass: of the black hole.
        hole: (3,) where it is.

    Returns:
        The metric, singular on the horizon r = r_s.

    Raises:
        ValueError: a mass that is not positive.
    """
    check_positive(mass=mass)

    def metric(X: Float[Array, "4"]) -> Float[Array, "4 4"]:
        away = X[1:] - jnp.asarray(np.asarray(hole, dtype=float), X.dtype)
        r = jnp.linalg.norm(away)
        unit = away / r
        lapse = 1 - 2 * mass / r
        space = jnp.eye(3, dtype=X.dtype) + (1 / lapse - 1) * jnp.outer(unit, unit)
        return jnp.zeros((4, 4), X.dtype).at[0, 0].set(-lapse).at[1:, 1:].set(space)

    return metric


def christoffel(metric: Metric, X: Float[Array, "n"]) -> Float[Array, "n n n"]:
    """Christoffel symbols Γ^c_ab at X, with the indices in the order (a, b, c).

    Γ^c_ab = ½ g^cd (∂_a g_bd + ∂_b g_ad - ∂_d g_ab).
    """
    dg = jax.jacfwd(metric)(X)  # (a, b, c): ∂_c g_ab
    lowered = (jnp.einsum("bda->abd", dg) + jnp.einsum("adb->abd", dg) - dg) / 2
    return jnp.einsum("cd,abd->abc", jnp.linalg.inv(metric(X)), lowered)


def contracted_gamma(metric: Metric, X: Float[Array, "n"]) -> Float[Array, "n"]:
    """Γ^c = g^ab Γ^c_ab at X."""
    return jnp.einsum("ab,abc->c", jnp.linalg.inv(metric(X)), christoffel(metric, X))


def dalembertian(metric: Metric) -> Callable[[Callable[[Array], Array], Array], Array]:
    """The wave operator □_g φ = g^ab ∂_a ∂_b φ - Γ^c ∂_c φ.

    Args:
        metric: `X -> (n, n)`, differentiable.

    Returns:
        `box(phi, X)` for a function `phi` of a point of space-time (with values of any shape).
    """

    def box(phi: Callable[[Array], Array], X: Array) -> Array:
        first, second = jax.jacfwd(phi)(X), jax.jacfwd(jax.jacfwd(phi))(X)
        inverse = jnp.linalg.inv(metric(X))
        return jnp.einsum("...ab,ab->...", second, inverse) - first @ contracted_gamma(metric, X)

    return box


def curved_acceleration(metric: Metric) -> Callable[[Field, Array, Any], Array]:
    """φ_tt where □_g φ = 0, from φ and φ_t at one time.

    φ_tt = (-g^ij ∂_i∂_j φ - 2 g^0i ∂_i φ_t + Γ^0 φ_t + Γ^i ∂_i φ) / g^00.

    Args:
        metric: `X -> (d+1, d+1)`, differentiable, with g^00 ≠ 0.

    Returns:
        `acceleration(u, x, t) -> ()` for the fields u = (φ, φ_t) as functions of x (d,).
    """

    def acceleration(u: Field, x: Float[Array, "d"], t: Any) -> Float[Array, ""]:
        X = jnp.concatenate([jnp.asarray(t, x.dtype)[None], x])
        inverse, gamma = jnp.linalg.inv(metric(X)), contracted_gamma(metric, X)
        slopes = jax.jacfwd(u)(x)
        bend = jax.jacfwd(jax.jacfwd(lambda y: u(y)[0]))(x)
        rest = gamma[0] * u(x)[1] + gamma[1:] @ slopes[0]
        return (rest - (inverse[1:, 1:] * bend).sum() - 2 * inverse[0, 1:] @ slopes[1]) / inverse[0, 0]

    return acceleration
