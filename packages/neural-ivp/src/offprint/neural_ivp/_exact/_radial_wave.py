"""The wave equation in three dimensions of free space from a radial start."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.neural_ivp._problem import Real


def radial_wave(profile: Callable[[Array], Array], x: Float[Array, "3"], t: Any, c: Real = 1.0) -> Float[Array, ""]:
    """u(x, t) of u_tt = c² Δu in R³ from u = profile(|x|), u_t = 0, by d'Alembert's formula for r u.

    r u = [(r - ct) g(r - ct) + (r + ct) g(r + ct)] / 2. On a box it holds until a wave has come back from the wall.

    Args:
        profile: g, an even smooth function of the radius.
        x: (3,) the point, from the centre.
        t: time.
        c: speed.
    """
    s = jnp.asarray(c * t, x.dtype)
    r2 = x @ x
    near = r2 < jnp.finfo(x.dtype).eps  # 1/r loses what the limit r -> 0, d/ds (s g(s)), has
    r = jnp.sqrt(jnp.where(near, 1.0, r2))

    def odd(y: Array) -> Array:
        return y * profile(y)

    centre = jax.jvp(odd, (s,), (jnp.ones_like(s),))[1]
    return jnp.where(near, centre, (odd(r - s) + odd(r + s)) / (2 * r))
