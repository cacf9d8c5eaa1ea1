"""Incompressible flow in the plane, by vorticity and stream function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp import ops
from offprint.neural_ivp._bc import Periodic
from offprint.neural_ivp._conserved import mass, square
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive


def navier_stokes(
    viscosity: Real = 0.01, ic: Field | None = None, domain: Box | None = None, num_points: int = 32
) -> Problem:
    """ω_t + v·∇ω = ν Δω for the vorticity ω of a periodic flow in the plane, v = (∂ψ/∂y, -∂ψ/∂x), -Δψ = ω.

    The velocity at a point depends on the vorticity everywhere. The stream function ψ comes from ω on a grid by FFT
    and is differentiated as a trigonometric polynomial, so that v is free of divergence; under vmap over points, which
    is how the solver evaluates it, the grid is evaluated once.

    Args:
        viscosity: ν.
        ic: ω at t = 0, `x (2,) -> (1,)`, periodic, of mean 0; by default the vortices 2 cos x cos y of Taylor and
            Green, which decay in place.
        domain: by default [0, 2π]².
        num_points: of the grid, for each coordinate, even; it needs to resolve ω's large scales only, since ψ is two
            orders smoother.

    Returns:
        The problem; for the default start on the default domain with `exact`.

    Raises:
        ValueError: a viscosity that is not positive, an odd number of points.
    """
    check_positive(viscosity=viscosity)
    if num_points % 2 or num_points < 4:
        raise ValueError(f"num_points={num_points}; the Fourier grid needs an even number, at least 4")
    box = Box([0, 0], [2 * np.pi, 2 * np.pi]) if domain is None else domain

    def pde(u: Field, x: Array, t: Any) -> Array:
        velocity = _velocity(u, box, num_points, x)
        return viscosity * ops.laplacian(u, x) - ops.directional(u, x, velocity)

    def taylor_green(x: Array, t: Any) -> Array:
        return (2 * jnp.exp(-2 * viscosity * t) * jnp.cos(x[0]) * jnp.cos(x[1]))[None]

    return Problem(
        pde,
        (lambda x: taylor_green(x, jnp.zeros((), x.dtype))) if ic is None else ic,
        box,
        bc=Periodic(),
        exact=taylor_green if ic is None and domain is None else None,
        name="navier_stokes",
        conserved=(mass(), square()),
    )


def _velocity(u: Field, box: Box, n: int, x: Float[Array, "2"]) -> Float[Array, "2"]:
    """v(x) of the vorticity u; the mean of u, which no periodic flow has, is left out."""
    axes = [lo + side * np.arange(n) / n for lo, side in zip(box.lo, box.lengths)]
    grid = jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2), x.dtype)
    spectrum = jnp.fft.fft2(jax.vmap(u)(grid)[:, 0].reshape(n, n)) / n**2
    wave = [2 * np.pi / side * np.fft.fftfreq(n, 1 / n) for side in box.lengths]
    square_sum = wave[0][:, None] ** 2 + wave[1] ** 2
    # The waves at n/2 have no partner of opposite sign; without them ψ is real and its derivatives are exact.
    alone = np.zeros((n, n), bool)
    alone[n // 2], alone[:, n // 2], alone[0, 0] = True, True, True
    stream = spectrum * jnp.asarray(np.where(alone, 0, 1 / np.where(alone, 1, square_sum)), spectrum.dtype)
    k0, k1 = (jnp.asarray(k, x.dtype) for k in wave)
    e0, e1 = jnp.exp(1j * k0 * (x[0] - box.lo[0])), jnp.exp(1j * k1 * (x[1] - box.lo[1]))
    return jnp.stack([(e0 @ stream @ (1j * k1 * e1)).real, -((1j * k0 * e0) @ stream @ e1).real])
