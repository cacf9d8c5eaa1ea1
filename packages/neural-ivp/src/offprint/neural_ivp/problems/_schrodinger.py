"""The Schrödinger equation as two real fields."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import Quantity, square
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive


def schrodinger(
    dim: int = 1,
    omega: Real = 1.0,
    displacement: Real = 1.0,
    nonlinearity: Real = 0.0,
    ic: Field | None = None,
    domain: Box | None = None,
) -> Problem:
    """i ψ_t = -½ Δψ + ½ ω² |x|² ψ + g |ψ|² ψ for the fields (Re ψ, Im ψ), ψ = 0 on the boundary.

    Args:
        dim: d.
        omega: ω of the harmonic trap, positive.
        displacement: of the default start from the middle, along each coordinate.
        nonlinearity: g; the equation of Gross and Pitaevskii when it is not 0.
        ic: `x (d,) -> (2,)`; by default the ground state of the trap (g = 0), displaced: a coherent state.
        domain: by default [-6, 6]^d.

    Returns:
        The problem; for the default start and g = 0 with the coherent state, which swings to and fro without changing
        its shape, as `exact`. The norm ∫ |ψ|² and the energy are conserved.

    Raises:
        ValueError: omega that is not positive.
    """
    check_positive(omega=omega)
    box = Box.cube(dim, -6, 6) if domain is None else domain
    linear = not isinstance(nonlinearity, Array) and nonlinearity == 0

    def potential(x: Array, density: Array) -> Array:
        return omega**2 * (x @ x) / 2 + nonlinearity * density

    def pde(u: Field, x: Array, t: Any) -> Array:
        value = u(x)
        action = potential(x, (value**2).sum()) * value - ops.laplacian(u, x) / 2  # H ψ; ψ_t = -i H ψ
        return jnp.stack([action[1], -action[0]])

    def coherent(x: Array, t: Any) -> Array:
        """Ground state around q = q0 cos ωt with momentum p = -ω q0 sin ωt, and its phase."""
        d = x.shape[0]
        q, p = displacement * jnp.cos(omega * t), -omega * displacement * jnp.sin(omega * t)
        size = (omega / np.pi) ** (d / 4) * jnp.exp(-omega * ((x - q) ** 2).sum() / 2)
        phase = p * x.sum() - d * p * q / 2 - d * omega * t / 2
        return size * jnp.stack([jnp.cos(phase), jnp.sin(phase)])

    def energy(u: Field, x: Array, t: Any) -> Array:
        value, slope = u(x), ops.grad(u, x)
        density = (value**2).sum()
        # g |ψ|⁴ / 2, not g |ψ|⁴: every pair counts once
        return ((slope**2).sum() + omega**2 * (x @ x) * density + nonlinearity * density**2) / 2

    return Problem(
        pde,
        (lambda x: coherent(x, jnp.zeros((), x.dtype))) if ic is None else ic,
        box,
        n_fields=2,
        exact=coherent if ic is None and linear else None,
        name=f"schrodinger{dim}d",
        conserved=(square(), Quantity("energy", energy)),
    )
