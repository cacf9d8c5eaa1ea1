"""Densities carried by a flow that does not compress: constant along its paths."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.neural_ivp._problem import Field, Real


def trace_back(flow: Field, z: Float[Array, "d"], t: Real) -> Float[Array, "d"]:
    """Where the particle that is at z at time t was at time 0, for dz/dt = flow(z); by Dormand-Prince of order 8.

    To about 1e-12 in float64 and 1e-6 in float32. It can be differentiated forwards (jvp, jacfwd), like the right-hand
    sides of the problems.
    """
    tolerance = 1e-12 if z.dtype == jnp.float64 else 1e-6
    scale = -jnp.asarray(t, z.dtype)  # the time runs from 0 to 1, so that t = 0 is no special case
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda s, y, args: scale * flow(y)),
        diffrax.Dopri8(),
        t0=0.0,
        t1=1.0,
        dt0=0.05,
        y0=z,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        adjoint=diffrax.ForwardMode(),
        max_steps=4096,
    )
    assert solution.ys is not None  # SaveAt(t1=True), the default
    return solution.ys[-1]


def transported(f0: Field, flow: Field) -> Callable[[Array, Any], Array]:
    """f(z, t) = f0(Φ_{-t} z), the solution of f_t + flow·∇f = 0 in all of space.

    Args:
        f0: `z (d,) -> (k,)`.
        flow: `z (d,) -> (d,)`, autonomous.

    Returns:
        `(z, t) -> (k,)`.
    """
    return lambda z, t: f0(trace_back(flow, z, t))
