"""The Vlasov equation: particles in a given electric field, six-dimensional phase space."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import mass, square
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import transported
from offprint.neural_ivp._problem import Field, Problem
from offprint.neural_ivp.ics import gaussian_density


def attracting_field(x: Array) -> Array:
    """E(x) = ∇ exp(-|x|²) = -2 x exp(-|x|²), the field of the paper's problem."""
    return -2 * x * jnp.exp(-(x @ x))


def vlasov(dim: int = 6, electric: Field = attracting_field, ic: Field | None = None) -> Problem:
    """f_t + v·∇_x f + E(x)·∇_v f = 0 for a density f of z = (x, v) on [-1, 1]^d, 0 on the boundary.

    Args:
        dim: d, twice the number of space dimensions.
        electric: E, `x (d/2,) -> (d/2,)`.
        ic: f0, `z -> (1,)`; by default the density of N(0, 0.3² I), which is 0.4 % of its peak in the middle of a
            face.

    Returns:
        The problem. `exact` follows the characteristics back in time in all of space.

    Raises:
        ValueError: an odd number of dimensions.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim={dim}; a phase space has as many velocities as positions, an even number in all")
    f0 = gaussian_density(0.0, 0.09, dim) if ic is None else ic
    half = dim // 2

    def flow(z: Array) -> Array:
        return jnp.concatenate([z[half:], electric(z[:half])])

    def pde(u: Field, z: Array, t: Any) -> Array:
        return -ops.directional(u, z, flow(z))

    return Problem(
        pde, f0, Box.cube(dim), exact=transported(f0, flow), name=f"vlasov{dim}d", conserved=(mass(), square())
    )
