"""Heat conduction."""

from typing import Any

from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import heat_solution
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive
from offprint.neural_ivp.ics import gaussian


def heat(dim: int = 2, diffusivity: Real = 0.05, ic: Field | None = None, domain: Box | None = None) -> Problem:
    """u_t = D Δu with u = 0 on the boundary.

    Args:
        dim: d.
        diffusivity: D.
        ic: u0, `x -> (1,)`; by default the paper's pulse, σ = 0.05.
        domain: by default [-1, 1]^d.

    Returns:
        The problem, with its sine series as `exact` (for an initial condition that is not made by `ics.gaussian`
        only up to 3 dimensions).

    Raises:
        ValueError: a diffusivity that is not positive.
    """
    check_positive(diffusivity=diffusivity)
    u0 = gaussian() if ic is None else ic
    box = Box.cube(dim) if domain is None else domain

    def pde(u: Field, x: Array, t: Any) -> Array:
        return diffusivity * ops.laplacian(u, x)

    return Problem(pde, u0, box, exact=heat_solution(u0, box, diffusivity), name=f"heat{dim}d")
