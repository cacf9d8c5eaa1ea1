"""Powerpropagation: weights that are small learn slowly, so training itself separates them (`schwarz2021powerprop`)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Floats = Float[Array | np.ndarray, "*shape"]


def powerprop(theta: Floats, alpha: float | int = 2.0) -> Float[Array, "*shape"]:
    """The weight `w = θ |θ|^(α-1)` of a parameter θ (`schwarz2021powerprop`).

    Its gradient is `dL/dθ = α |θ|^(α-1) dL/dw`. |w| rises with |θ|, so ranking either prunes the same weights.
    For α > 1 zero is a critical point: what is pruned stays so.

    Args:
        theta: parameters.
        alpha: at least 1 (1 is the ordinary weight); the paper uses 2 to 4.

    Raises:
        ValueError: alpha below 1.
    """
    _check_alpha(alpha)
    return _power(jnp.asarray(theta), float(alpha))


# By hand, since the derivative of |θ|^(α-1) is infinite at 0 for α < 2, while that of the product is not.
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _power(theta: Array, alpha: float) -> Array:
    return theta * jnp.abs(theta) ** (alpha - 1)


@_power.defjvp
def _power_jvp(alpha: float, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    (theta,), (tangent,) = primals, tangents
    return _power(theta, alpha), alpha * jnp.abs(theta) ** (alpha - 1) * tangent


def powerprop_init(w: Floats, alpha: float | int = 2.0) -> Float[Array, "*shape"]:
    """The parameter whose weight is `w`, `θ = sign(w) |w|^(1/α)`: an initialisation (or a trained network) unchanged.

    Raises:
        ValueError: alpha below 1.
    """
    _check_alpha(alpha)
    weight = jnp.asarray(w)
    return jnp.sign(weight) * jnp.abs(weight) ** (1 / alpha)


def _check_alpha(alpha: float | int) -> None:
    if not alpha >= 1:
        raise ValueError(f"alpha={alpha}: powerpropagation needs an exponent of at least 1; the paper uses 2 to 4")
