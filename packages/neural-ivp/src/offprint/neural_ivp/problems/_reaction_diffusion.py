"""Species that diffuse and react."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._bc import Periodic
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import PeriodicReference
from offprint.neural_ivp._problem import Field, Problem, Real, check_positive

Reaction = Callable[[Array], Array]
"""`(k,) -> (k,)`: rates of change of the concentrations at one place."""


def gray_scott(feed: Real = 0.04, kill: Real = 0.06) -> Reaction:
    """Gray and Scott's U + 2V -> 3V with feed F and removal k: (-u v² + F (1 - u), u v² - (F + k) v)."""

    def reaction(u: Array) -> Array:
        rate = u[0] * u[1] ** 2
        return jnp.stack([-rate + feed * (1 - u[0]), rate - (feed + kill) * u[1]])

    return reaction


def reaction_diffusion(
    reaction: Reaction | None = None,
    diffusivities: Sequence[Real] | np.ndarray = (2e-5, 1e-5),
    ic: Field | None = None,
    domain: Box | None = None,
    dim: int = 1,
) -> Problem:
    """u_t = diag(D) Δu + R(u) for k species, periodic.

    Args:
        reaction: R; by default `gray_scott()`.
        diffusivities: D, a number for each species: k of them.
        ic: `x (d,) -> (k,)`, periodic; by default, for two species, u = 1 with a dent of one half in the middle that
            a bump of v of one quarter fills.
        domain: by default [-0.5, 0.5]^d.
        dim: d.

    Returns:
        The problem; in one dimension with a Fourier solution on 256 points as `exact`.

    Raises:
        ValueError: a diffusivity that is not positive; other than two species without an initial condition.
    """
    k = len(diffusivities)
    for value in diffusivities:
        check_positive(diffusivity=value)
    if ic is None and k != 2:
        raise ValueError(f"{k} diffusivities; the default initial condition is for 2 species: give ic")
    react = gray_scott() if reaction is None else reaction
    box = Box.cube(dim, -0.5, 0.5) if domain is None else domain

    def start(x: Array) -> Array:
        bump = jnp.exp(-10 * (jnp.sin(np.pi / 2 * box.normalize(x)) ** 2).sum())  # periodic, 1 in the middle
        return jnp.stack([1 - bump / 2, bump / 4])

    u0 = start if ic is None else ic

    def pde(u: Field, x: Array, t: Any) -> Array:
        return _stacked(diffusivities, x) * ops.laplacian(u, x) + react(u(x))

    def on_grid(u: Array, D: Callable[[Array, int], Array]) -> Array:
        return _stacked(diffusivities, u)[:, None] * D(u, 2) + jax.vmap(react, in_axes=-1, out_axes=-1)(u)

    exact = PeriodicReference(on_grid, u0, box.lo[0], box.hi[0]) if box.dim == 1 else None
    return Problem(pde, u0, box, bc=Periodic(), n_fields=k, exact=exact, name=f"reaction_diffusion{box.dim}d")


def _stacked(numbers: Sequence[Real] | np.ndarray, like: Array) -> Array:
    return jnp.stack([jnp.asarray(number, like.dtype) for number in numbers])
