"""The Fokker-Planck equation of interacting particles in a harmonic trap."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import mass
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import fokker_planck_density
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive
from offprint.neural_ivp.ics import GaussianDensity, product_bump


def fokker_planck(
    dim: int = 5,
    diffusivity: Real = 0.01,
    trap: Real | Callable[[Any], Array] = 0.2,
    attraction: Real = 0.25,
    ic: Field | None = None,
    domain: Box | None = None,
) -> Problem:
    """u_t = D Δu - div(h u), h_i = (a - x_i) + α (mean(x) - x_i): the law of d particles on a line.

    Args:
        dim: d, the number of particles.
        diffusivity: D.
        trap: a, the place the particles are drawn to: a number, or `t -> a(t)` for a trap that moves. Neural Galerkin
            has `lambda t: 1.25 * (jnp.sin(jnp.pi * t) + 1.5)` for 8 particles on `Box.cube(8, 0, 5)`.
        attraction: α, the pull to the other particles.
        ic: density at t = 0, `x -> (1,)`; by default Π (3/4) (1 - x_i²), `ics.product_bump`.
        domain: by default [-1, 1]^d.

    Returns:
        The problem, u = 0 on the boundary. `exact` exists for a start made by `ics.gaussian_density`, in all of
        space; `fokker_planck_moments` gives mean and covariance from any start.

    Raises:
        ValueError: a diffusivity that is not positive.
    """
    check_positive(diffusivity=diffusivity)
    box = Box.cube(dim) if domain is None else domain
    u0 = product_bump(box) if ic is None else ic
    divergence = -dim - attraction * (dim - 1)  # of h, a constant

    def pde(u: Field, x: Array, t: Any) -> Array:
        centre = trap(t) if callable(trap) else trap
        drift = (centre - x) + attraction * (x.mean() - x)
        return diffusivity * ops.laplacian(u, x) - ops.directional(u, x, drift) - divergence * u(x)

    exact = fokker_planck_density(u0, diffusivity, trap, attraction) if isinstance(u0, GaussianDensity) else None
    return Problem(pde, u0, box, exact=exact, name=f"fokker_planck{dim}d", conserved=(mass(),))
