"""Moments and Gaussian solutions of the Fokker-Planck equation in a harmonic trap, in all of space."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._problem import Real
from offprint.neural_ivp.ics import GaussianDensity

Trap = Real | Callable[[Any], Array]


def fokker_planck_moments(
    t: Real,
    mean: Float[Array | np.ndarray, "d"],
    cov: Float[Array | np.ndarray, "d d"],
    diffusivity: Real = 0.01,
    trap: Trap = 0.2,
    attraction: Real = 0.25,
) -> tuple[Float[Array, "d"], Float[Array, "d d"]]:
    """Mean and covariance at time t, of any initial law, of u_t = D Δu - div(h u), h = a 1 - A x.

    With A = (1 + α) I - (α/d) 1 1ᵀ: m' = a 1 - A m and S' = -A S - S A + 2 D I, in closed form because A has the
    eigenvalues 1 (along 1) and 1 + α (across). The box has no part in it: right as long as little mass is at its walls.

    Args:
        t: time.
        mean, cov: of the law at time 0.
        diffusivity: D.
        trap: a, or `t -> a(t)`, smooth.
        attraction: α.
    """
    m, S = jnp.asarray(mean), jnp.asarray(cov)
    d = m.shape[0]
    along = jnp.full((d, d), 1 / d, S.dtype)
    across = jnp.eye(d, dtype=S.dtype) - along
    decay = jnp.exp(-jnp.asarray(t, S.dtype)) * along + jnp.exp(-(1 + attraction) * jnp.asarray(t, S.dtype)) * across
    final = diffusivity * (along + across / (1 + attraction))
    return decay @ m + _pulled(t, trap, S.dtype), decay @ (S - final) @ decay + final


def fokker_planck_density(
    start: GaussianDensity, diffusivity: Real, trap: Trap, attraction: Real
) -> Callable[[Array, Any], Array]:
    """`(x, t) -> (1,)`, the normal density that a normal density becomes."""

    def density(x: Array, t: Any) -> Array:
        mean, cov = fokker_planck_moments(
            t,
            jnp.asarray(start.mean, x.dtype),
            jnp.asarray(start.cov, x.dtype),
            diffusivity,
            trap,
            attraction,
        )
        lower = jnp.linalg.cholesky(cov)
        z = jnp.linalg.solve(lower, x - mean)
        log_norm = jnp.log(jnp.diagonal(lower)).sum() + x.shape[0] / 2 * np.log(2 * np.pi)
        return jnp.exp(-(z @ z) / 2 - log_norm)[None]

    return density


def _pulled(t: Real, trap: Trap, dtype: Any) -> Array:
    """∫_0^t exp(-(t - s)) a(s) ds, by 64 Gauss-Legendre nodes where a varies."""
    now = jnp.asarray(t, dtype)
    if not callable(trap):
        return trap * -jnp.expm1(-now)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    s = now * jnp.asarray((nodes + 1) / 2, dtype)
    values = jax.vmap(lambda s: jnp.asarray(trap(s), dtype))(s)
    return now / 2 * jnp.sum(jnp.asarray(weights, dtype) * jnp.exp(s - now) * values)
