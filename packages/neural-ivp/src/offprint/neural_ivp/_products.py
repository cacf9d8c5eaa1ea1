"""Products with the Jacobian of a network in its weights, on one set of points: by automatic differentiation."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

COLUMNS = 16
"""Columns that pass through a linearised program together: enough for full matrix products, little memory."""


class Products(NamedTuple):
    """J (n k x p) on n points, never formed unless asked for.

    `blocks` = B tells that component group b of u depends on the b-th of B equal pieces of θ alone, as with one MLP
    for each component. Rows of a block are ordered (point, component of the group).
    """

    jvp: Callable[[Array], Array]
    """v (p,) -> J v (n, k)."""
    vjp: Callable[[Array], Array]
    """c (n, k) -> Jᵀ c (p,)."""
    pair: Callable[[Array, Array], Array]
    """V (p, r), w (n,) -> Jᵀ diag(w) J V (p, r)."""
    jacobian: Callable[[], Array]
    """-> the diagonal blocks of J (B, n k/B, p/B)."""
    columns: Callable[[Array], Array]
    """idx (B, s) -> those columns of each block (B, n k/B, s)."""
    kernel: Callable[[], Array]
    """-> J Jᵀ by blocks (B, n k/B, n k/B), the neural tangent kernel."""
    points: int
    """n."""


def at_highest_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with matrix products in the full precision of their dtype: TF32 would ruin M."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return wrapped


def traced_products(
    apply: Callable[..., Array], theta: Float[Array, " p"], X: Float[Array, "n d"], t: Any, blocks: int
) -> Products:
    """Products for any model: u is linearised once, and every product runs the linear program alone.

    Args:
        apply: (θ, x, t) -> u (k,).
        theta: the weights.
        X: the points.
        t: the time.
        blocks: B, see `Products`.
    """
    # a model may compute in a dtype of its own; what goes in and comes out has that of θ
    u, jvp = jax.linearize(lambda w: jax.vmap(lambda x: apply(w, x, t))(X).astype(theta.dtype), theta)
    transposed = jax.linear_transpose(jvp, theta)
    n, k = u.shape
    piece = theta.shape[0] // blocks

    def vjp(c: Array) -> Array:
        return transposed(c)[0]

    def pair(V: Array, w: Array) -> Array:
        columns = jax.lax.map(lambda v: vjp(w[:, None] * jvp(v)), V.T, batch_size=min(COLUMNS, V.shape[1]))
        return columns.T

    def jacobian() -> Array:
        rows = jax.vmap(lambda x: jax.jacrev(lambda w: apply(w, x, t).astype(w.dtype))(theta))(X)
        rows = rows.reshape(n, blocks, k // blocks, blocks, piece)
        own = jnp.einsum("nbmbp->bnmp", rows)
        return own.reshape(blocks, n * (k // blocks), piece)

    def columns(idx: Array) -> Array:
        def column(i: Array) -> Array:
            one_in_each = jnp.zeros((blocks, piece), theta.dtype).at[jnp.arange(blocks), i].set(1)
            return as_rows(jvp(one_in_each.reshape(-1)), blocks)

        return jax.vmap(column, in_axes=1, out_axes=2)(idx)

    def kernel() -> Array:
        J = jacobian()
        return J @ J.mT

    return Products(jvp, vjp, pair, jacobian, columns, kernel, n)


def as_rows(c: Float[Array, "n k"], blocks: int) -> Float[Array, "blocks rows"]:
    """Values at points as the rows of each block: (n, k) -> (B, n k/B)."""
    n, k = c.shape
    return c.reshape(n, blocks, k // blocks).transpose(1, 0, 2).reshape(blocks, -1)


def one_by_one(function: Callable[..., Any], *arrays: Array) -> Any:
    """The function of each block in turn, stacked.

    Not `vmap`: batched factorisations on the CPU share their work over the threads that they run on, and two of
    them at once can wait for each other for ever; and large factorisations gain nothing from a batch.
    """
    if arrays[0].shape[0] == 1:
        return jax.tree.map(lambda result: result[None], function(*(a[0] for a in arrays)))
    return jax.lax.map(lambda blocks: function(*blocks), arrays)
