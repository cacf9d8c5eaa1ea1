"""The Korteweg-de Vries equation."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._bc import Periodic
from offprint.neural_ivp._conserved import Quantity, mass, square
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import two_solitons
from offprint.neural_ivp._problem import Field, Problem


def kdv(ic: Field | None = None, domain: Box | None = None) -> Problem:
    """u_t + 6 u u_x + u_xxx = 0 in one periodic dimension.

    Args:
        ic: `x (1,) -> (1,)`; by default two solitons, of heights 2.5 and 0.5, which meet.
        domain: by default [-20, 40], on which the solitons stay clear of the ends until t = 4.

    Returns:
        The problem; for the default start with the two solitons on the whole line as `exact`. Mass, ∫ u² and
        ∫ u³ - u_x²/2 are conserved.
    """

    def pde(u: Field, x: Array, t: Any) -> Array:
        return -6 * u(x) * ops.partial(u, x, 0) - ops.partial(u, x, 0, 0, 0)

    def exact(x: Array, t: Any) -> Array:
        return two_solitons(x[0], t)[None]

    def hamiltonian(u: Field, x: Array, t: Any) -> Array:
        return u(x)[0] ** 3 - ops.partial(u, x, 0)[0] ** 2 / 2

    return Problem(
        pde,
        (lambda x: exact(x, jnp.zeros((), x.dtype))) if ic is None else ic,
        Box([-20], [40]) if domain is None else domain,
        bc=Periodic(),
        exact=exact if ic is None else None,
        name="kdv",
        conserved=(mass(), square(), Quantity("hamiltonian", hamiltonian)),
    )
