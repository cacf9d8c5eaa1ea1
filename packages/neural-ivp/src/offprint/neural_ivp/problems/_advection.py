"""Advection, with a velocity that is constant or varies in time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.neural_ivp import ops
from offprint.neural_ivp._conserved import mass, square
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._problem import Field, Problem, Real
from offprint.neural_ivp.ics import gaussian


def advection(
    dim: int = 2, velocity: Real | Sequence[float | int] = -1.0, ic: Field | None = None, domain: Box | None = None
) -> Problem:
    """u_t + c·∇u = 0; by default u_t = Σ_i ∂_i u, so that u(x, t) = u0(x + t).

    Args:
        dim: d.
        velocity: c, (d,) or one number for all coordinates.
        ic: u0, `x -> (1,)`; by default the paper's pulse, σ = 0.05.
        domain: by default [-1, 1]^d.

    Returns:
        The problem, u = 0 on the boundary. `exact` is the solution in all of space: right while the pulse is inside,
        for the default until about t = 0.75.
    """
    u0 = gaussian() if ic is None else ic

    def shift(t: Any, x: Array) -> Array:
        return jnp.asarray(velocity, x.dtype) * t

    def pde(u: Field, x: Array, t: Any) -> Array:
        return -ops.directional(u, x, jnp.broadcast_to(jnp.asarray(velocity, x.dtype), x.shape))

    return Problem(
        pde,
        u0,
        Box.cube(dim) if domain is None else domain,
        exact=lambda x, t: u0(x - shift(t, x)),
        name=f"advection{dim}d",
        conserved=(mass(), square()),
    )


def advection_varying(
    dim: int = 5,
    displacement: Callable[[Any], Array] | None = None,
    ic: Field | None = None,
    domain: Box | None = None,
) -> Problem:
    """u_t + c(t)·∇u = 0 with c = ds/dt: u(x, t) = u0(x - s(t)).

    Args:
        dim: d.
        displacement: s, `t -> (d,)`, differentiable and 0 at t = 0; by default s_i = 0.3 sin(π (1 + i/d) t), a path
            on which no two coordinates move alike and which stays inside the box.
        ic: u0, `x -> (1,)`; by default a pulse of height 1 with σ = 0.15.
        domain: by default [-1, 1]^d.

    Returns:
        The problem, u = 0 on the boundary, with the solution in all of space as `exact`.
    """
    u0 = gaussian(sigma=0.15, amp=1.0) if ic is None else ic

    def default(t: Any) -> Array:
        return 0.3 * jnp.sin(np.pi * (1 + jnp.arange(dim) / dim) * t)

    path = default if displacement is None else displacement

    def pde(u: Field, x: Array, t: Any) -> Array:
        now = jnp.asarray(t, x.dtype)
        velocity = jax.jvp(path, (now,), (jnp.ones_like(now),))[1]
        return -ops.directional(u, x, velocity)

    return Problem(
        pde,
        u0,
        Box.cube(dim) if domain is None else domain,
        exact=lambda x, t: u0(x - path(t)),
        name=f"advection_varying{dim}d",
        conserved=(mass(), square()),
    )
