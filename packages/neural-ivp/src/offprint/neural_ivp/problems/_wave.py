"""The wave equation as two fields of first order."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import wave_energy
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import wave_solution
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive
from offprint.neural_ivp.ics import gaussian


def wave(
    dim: int = 2,
    c2: Real | None = None,
    ic: Field | None = None,
    velocity: Field | None = None,
    domain: Box | None = None,
) -> Problem:
    """u_tt = c² Δu with u = 0 on the boundary, as the fields (u, w): u_t = w, w_t = c² Δu.

    Args:
        dim: d.
        c2: c²; by default, as in the paper, 0.1 in two dimensions and 1 in any other number.
        ic: u0, `x -> (1,)`; by default the paper's pulse, σ = 0.05.
        velocity: u_t at t = 0, `x -> (1,)`; by default 0.
        domain: by default [-1, 1]^d.

    Returns:
        The problem, with its sine series as `exact` up to 3 dimensions, and the energy to watch.

    Raises:
        ValueError: c2 that is not positive.
    """
    speed2 = (0.1 if dim == 2 else 1.0) if c2 is None else c2
    check_positive(c2=speed2)
    u0 = gaussian() if ic is None else ic
    box = Box.cube(dim) if domain is None else domain

    def pde(u: Field, x: Array, t: Any) -> Array:
        return jnp.stack([u(x)[1], speed2 * ops.laplacian(lambda y: u(y)[0], x)])

    def start(x: Array) -> Array:
        value = u0(x)
        return jnp.concatenate([value, jnp.zeros_like(value) if velocity is None else velocity(x)])

    return Problem(
        pde,
        start,
        box,
        n_fields=2,
        exact=wave_solution(u0, velocity, box, speed2),
        name=f"wave{dim}d",
        conserved=(wave_energy(speed2),),
    )
