"""Burgers' equation."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import cole_hopf
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive


def burgers(viscosity: Real = 0.01 / np.pi, ic: Field | None = None, domain: Box | None = None) -> Problem:
    """u_t + u u_x = ν u_xx in one dimension, u = 0 on the boundary.

    Args:
        viscosity: ν; by default 0.01/π, with which the default start steepens to a layer of width 0.02.
        ic: `x (1,) -> (1,)`; by default -sin(π x).
        domain: by default [-1, 1].

    Returns:
        The problem; for the default start on the default domain with the Cole-Hopf solution as `exact`.

    Raises:
        ValueError: a viscosity that is not positive.
    """
    check_positive(viscosity=viscosity)

    def pde(u: Field, x: Array, t: Any) -> Array:
        return viscosity * ops.partial(u, x, 0, 0) - u(x) * ops.partial(u, x, 0)

    def exact(x: Array, t: Any) -> Array:
        return cole_hopf(lambda y: jnp.cos(np.pi * y) / np.pi, 2 / np.pi, x[0], t, viscosity)[None]

    known = ic is None and domain is None
    return Problem(
        pde,
        (lambda x: -jnp.sin(np.pi * x)) if ic is None else ic,
        Box.cube(1) if domain is None else domain,
        exact=exact if known else None,
        name="burgers",
    )
