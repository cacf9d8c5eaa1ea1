"""How far a solution is from a reference."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.neural_ivp._domain import Box


def relative_l2(u: Float[Array | np.ndarray, "..."], ref: Float[Array | np.ndarray, "..."]) -> Float[Array, ""]:
    """The relative L2 error sqrt( mean (ref - u)^2 / mean ref^2 ), as in the authors' code.

    Args:
        u: values of the solution.
        ref: values of the reference, of the same shape.

    Returns:
        The error.

    Raises:
        ValueError: if the shapes differ, which would be broadcast into another number without a word.
    """
    if jnp.shape(u) != jnp.shape(ref):
        raise ValueError(f"u and ref must have the same shape, but u has {jnp.shape(u)} and ref {jnp.shape(ref)}")
    u, ref = jnp.asarray(u), jnp.asarray(ref)
    return jnp.sqrt(jnp.mean((ref - u) ** 2) / jnp.mean(ref**2))


def interior_grid(domain: Box, n: int) -> Float[np.ndarray, "m d"]:
    """The grid of the published errors: n points per axis, evenly spaced, none on the boundary.

    Args:
        domain: the box.
        n: points per axis.

    Returns:
        The n^d points, in the order of `numpy.meshgrid(..., indexing="xy")`.

    Raises:
        ValueError: if n is less than 1.
    """
    if n < 1:
        raise ValueError(f"a grid needs n >= 1 points per axis, but n is {n}")
    low, high = np.asarray(domain.lo), np.asarray(domain.hi)
    axes = [np.linspace(a, b, n + 2)[1:-1] for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="xy"), axis=-1).reshape(-1, len(axes))
