"""The Kuramoto-Sivashinsky equation."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._bc import Periodic
from offprint.neural_ivp._conserved import mass
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import PeriodicReference
from offprint.neural_ivp._problem import Field, Problem


def kuramoto_sivashinsky(ic: Field | None = None, domain: Box | None = None) -> Problem:
    """u_t = -u u_x - u_xx - u_xxxx in one periodic dimension: chaotic, with errors that grow like e^(0.1 t).

    Args:
        ic: `x (1,) -> (1,)`, periodic; by default cos(x/16) (1 + sin(x/16)).
        domain: by default [0, 32π].

    Returns:
        The problem. `exact` is a Fourier solution on 256 points.
    """
    box = Box([0], [32 * np.pi]) if domain is None else domain
    u0 = (lambda x: jnp.cos(x / 16) * (1 + jnp.sin(x / 16))) if ic is None else ic

    def pde(u: Field, x: Array, t: Any) -> Array:
        return -u(x) * ops.partial(u, x, 0) - ops.partial(u, x, 0, 0) - ops.partial(u, x, 0, 0, 0, 0)

    reference = PeriodicReference(lambda u, D: -D(u**2 / 2, 1) - D(u, 2) - D(u, 4), u0, box.lo[0], box.hi[0])
    return Problem(pde, u0, box, bc=Periodic(), exact=reference, name="kuramoto_sivashinsky", conserved=(mass(),))
