"""Waves on a curved background: a scalar field near a black hole."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import Quantity
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive
from offprint.neural_ivp.geometry import Metric, curved_acceleration
from offprint.neural_ivp.ics import gaussian


def wave_maps(
    mass: Real = 0.5,
    hole: Sequence[float | int] | np.ndarray = (-2.0, 0.0, 0.0),
    ic: Field | None = None,
    domain: Box | None = None,
) -> Problem:
    """□_g φ = 0 in the Schwarzschild metric, as the fields (φ, φ_t), 0 on the boundary.

    With r = |x - hole|, r_s = 2 mass: φ_tt = (1 - r_s/r) ∂_i(g^ij ∂_j φ), g^ij = δ_ij - (r_s/r) r̂_i r̂_j. This form is
    smooth up to the horizon, which the default box touches in (-1, 0, 0); the metric itself is singular there.

    Args:
        mass: of the black hole; its horizon has the radius 2 mass.
        hole: (3,) where it is, outside the box.
        ic: φ at t = 0, `x -> (1,)`; by default exp(-|x|²/(2·0.25²)) Π (1 - ξ_i²). φ_t starts from 0.
        domain: by default [-1, 1]³.

    Returns:
        The problem, without `exact`: `CurvedWaveReference` computes a solution to compare with. The energy
        ½ ∫ φ_t²/(1 - r_s/r) + g^ij ∂_iφ ∂_jφ is conserved.

    Raises:
        ValueError: a mass that is not positive, a hole inside the box.
    """
    check_positive(mass=mass)
    box = Box.cube(3) if domain is None else domain
    centre = np.asarray(hole, dtype=float)
    if np.all((centre >= box.lower) & (centre <= box.upper)):
        raise ValueError(f"hole={tuple(centre.tolist())} lies in the box; the field is singular there: move it outside")

    def flux(u: Field, x: Array) -> Array:
        """g^ij ∂_j φ."""
        away, r2 = _away(x, centre)
        slope = ops.grad(u, x)[0]
        return slope - 2 * mass / r2**1.5 * away * (away @ slope)

    def lapse(x: Array) -> Array:
        return 1 - 2 * mass / jnp.sqrt(_away(x, centre)[1])

    def pde(u: Field, x: Array, t: Any) -> Array:
        return jnp.stack([u(x)[1], lapse(x) * ops.div(lambda y: flux(u, y), x)])

    def energy(u: Field, x: Array, t: Any) -> Array:
        return (u(x)[1] ** 2 / lapse(x) + ops.grad(u, x)[0] @ flux(u, x)) / 2

    return Problem(
        pde,
        _at_rest(_pulse(box) if ic is None else ic),
        box,
        n_fields=2,
        name="wave_maps",
        conserved=(Quantity("energy", energy),),
    )


def curved_wave(metric: Metric, ic: Field | None = None, domain: Box | None = None) -> Problem:
    """□_g φ = 0 in any metric, by differentiating it, as the fields (φ, φ_t), 0 on the boundary.

    Args:
        metric: `X = (t, x) -> g (d+1, d+1)`, regular in the box.
        ic: φ at t = 0, `x -> (1,)`; by default as in `wave_maps`. φ_t starts from 0.
        domain: by default [-1, 1]³.
    """
    box = Box.cube(3) if domain is None else domain
    acceleration = curved_acceleration(metric)

    def pde(u: Field, x: Array, t: Any) -> Array:
        return jnp.stack([u(x)[1], acceleration(u, x, t)])

    return Problem(pde, _at_rest(_pulse(box) if ic is None else ic), box, n_fields=2, name="curved_wave")


def _away(x: Array, hole: np.ndarray) -> tuple[Array, Array]:
    away = x - jnp.asarray(hole, x.dtype)
    return away, away @ away


def _pulse(box: Box) -> Field:
    bump = gaussian(sigma=0.25, amp=1.0)
    return lambda x: bump(x) * jnp.prod(1 - box.normalize(x) ** 2)


def _at_rest(ic: Field) -> Field:
    def start(x: Array) -> Array:
        value = ic(x)
        return jnp.concatenate([value, jnp.zeros_like(value)])

    return start
