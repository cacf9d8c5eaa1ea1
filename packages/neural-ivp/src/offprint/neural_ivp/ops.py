"""Derivatives of a function of one point, for writing the right-hand side of an equation.

All are forward-mode derivatives of forward-mode derivatives. Under jit, XLA shares what the directions and the orders
have in common: a Laplacian in d dimensions costs 1 + 2d evaluations of `u`, the n-th derivative along a line 1 + n,
fewer operations than reverse over forward mode or `jax.experimental.jet` take (benchmarks/bench_ops.py).
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Function = Callable[[Array], Array]
"""`x (d,) -> (*shape)`, differentiable."""


def grad(u: Function, x: Float[Array, "d"]) -> Float[Array, "*shape d"]:
    """∂_j u_i at x, (k, d) for a field of k components: the axis of the coordinates is the last one."""
    return jax.jacfwd(u)(x)


def hessian(u: Function, x: Float[Array, "d"]) -> Float[Array, "*shape d d"]:
    """∂_i ∂_j u at x, (k, d, d) for a field of k components."""
    return jax.jacfwd(jax.jacfwd(u))(x)


def laplacian(u: Function, x: Float[Array, "d"]) -> Float[Array, "*shape"]:
    """Σ_i ∂²u/∂x_i² at x, of each component."""
    directions = jnp.eye(x.shape[0], dtype=x.dtype)
    return jax.vmap(lambda v: directional(u, x, v, order=2))(directions).sum(axis=0)


def div(field: Function, x: Float[Array, "d"]) -> Float[Array, "*shape"]:
    """Σ_j ∂_j F_{...j} at x of a vector field F(x) (d,), or of one such field for each component, (k, d).

    Raises:
        ValueError: the last axis of the field is not that of the coordinates.
    """
    jacobian = jax.jacfwd(field)(x)
    if jacobian.ndim < 2 or jacobian.shape[-2] != x.shape[0]:
        raise ValueError(
            f"div needs a field whose last axis has the {x.shape[0]} coordinates, got shape {jacobian.shape[:-1]}"
        )
    return jnp.trace(jacobian, axis1=-2, axis2=-1)


def directional(
    u: Function, x: Float[Array, "d"], v: Float[Array | np.ndarray, "d"], order: int = 1
) -> Float[Array, "*shape"]:
    """d^n/ds^n u(x + s v) at s = 0.

    Args:
        u: the function.
        x: the point.
        v: the direction; its length counts.
        order: n, at least 0.

    Raises:
        ValueError: an order below 0.
    """
    if order < 0:
        raise ValueError(f"order={order}; a derivative has order 0 or more")
    v = jnp.asarray(v, x.dtype)
    return _along(u, [v] * order)(x)


def partial(u: Function, x: Float[Array, "d"], *axes: int) -> Float[Array, "*shape"]:
    """∂_{i1} ∂_{i2} ... u at x: `partial(u, x, 0, 0, 1)` is ∂³u/∂x_0²∂x_1; without axes u itself.

    Raises:
        ValueError: an axis that x does not have.
    """
    d = x.shape[0]
    if not all(-d <= axis < d for axis in axes):
        raise ValueError(f"axes {axes} of an x with {d} coordinates; they count from 0 to {d - 1}")
    basis = jnp.eye(d, dtype=x.dtype)
    return _along(u, [basis[axis] for axis in axes])(x)


def _along(u: Function, directions: Sequence[Array]) -> Function:
    """The function x -> derivative of u along one direction after the other."""
    for v in directions:
        u = _along_one(u, v)
    return u


def _along_one(u: Function, v: Array) -> Function:
    return lambda x: jax.jvp(u, (x,), (v,))[1]
