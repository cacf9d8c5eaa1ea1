"""The Allen-Cahn equation."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._bc import Periodic
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import PeriodicReference
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive


def allen_cahn(diffusivity: Real = 5e-3, ic: Field | None = None, domain: Box | None = None) -> Problem:
    """u_t = ε u_xx + u - u³ in one periodic dimension: layers between the phases -1 and 1.

    Args:
        diffusivity: ε.
        ic: `x (1,) -> (1,)`, periodic; by default two bumps of opposite sign, exp(-10 sin²((x - ½)/2)) -
            exp(-10 sin²((x - 4.4)/2)).
        domain: by default [0, 2π].

    Returns:
        The problem. `exact` is a Fourier solution on 256 points, to about 1e-9.

    Raises:
        ValueError: a diffusivity that is not positive.
    """
    check_positive(diffusivity=diffusivity)
    box = Box([0], [2 * np.pi]) if domain is None else domain

    def start(x: Array) -> Array:
        return jnp.exp(-10 * jnp.sin((x - 0.5) / 2) ** 2) - jnp.exp(-10 * jnp.sin((x - 4.4) / 2) ** 2)

    u0 = start if ic is None else ic

    def pde(u: Field, x: Array, t: Any) -> Array:
        value = u(x)
        return diffusivity * ops.partial(u, x, 0, 0) + value - value**3

    reference = PeriodicReference(lambda u, D: diffusivity * D(u, 2) + u - u**3, u0, box.lo[0], box.hi[0])
    return Problem(pde, u0, box, bc=Periodic(), exact=reference, name="allen_cahn")
