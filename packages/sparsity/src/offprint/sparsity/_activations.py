"""Sparse activations and sparse errors: what is zero depends on the example."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree


def kwta(x: Float[Array, "..."], k: int, axis: int | tuple[int, ...] = -1) -> Float[Array, "..."]:
    """The k largest of each example, all others 0; their gradient is 1 (makhzani2015kwta).

    Of equal activations those with the lower index win, so that exactly k survive.

    Args:
        x: activations.
        k: how many are kept along `axis`.
        axis: one axis (channels: at every position of an image), or several that compete together.

    Raises:
        ValueError: k not between 1 and the number that competes.
    """
    return jnp.where(winners(x, k, axis), x, jnp.zeros_like(x))


def winners(x: Float[Array, "..."], k: int, axis: int | tuple[int, ...] = -1) -> Bool[Array, "..."]:
    """Where the k largest of each example are; see `kwta`."""
    axes = tuple(a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis))
    moved = jnp.moveaxis(x, axes, range(-len(axes), 0))
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    if not 1 <= k <= flat.shape[-1]:
        raise ValueError(f"k must be between 1 and the {flat.shape[-1]} activations that compete; got {k}")
    last = jax.lax.top_k(jax.lax.stop_gradient(flat), k)[0][..., -1:]
    above, equal = flat > last, flat == last
    kept = above | (equal & (jnp.cumsum(equal, -1) <= k - above.sum(-1, keepdims=True)))
    return jnp.moveaxis(kept.reshape(moved.shape), range(-len(axes), 0), axes)


def fatrelu(x: Float[Array, "..."], threshold: float | int | Float[Array, ""]) -> Float[Array, "..."]:
    """x where x >= threshold, else 0: a ReLU with more zeros (kurtz2020fatrelu). With 0 it is the ReLU.

    No gradient reaches the threshold: it is searched for, not learned.
    """
    return jnp.where(x >= threshold, x, jnp.zeros_like(x))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def meprop(x: Float[Array, "*batch features"], k: int) -> Float[Array, "*batch features"]:
    """The identity, whose error is cut to its k entries of largest size in each example (sun2017meprop).

    Put it behind a layer: the layer's weights and inputs then get gradients from k of its units.

    Raises:
        ValueError: k not between 1 and the number of features.
    """
    if not 1 <= k <= x.shape[-1]:
        raise ValueError(f"k must be between 1 and the {x.shape[-1]} features; got {k}")
    return x


def _meprop_forward(x: Array, k: int) -> tuple[Array, None]:
    return meprop(x, k), None


def _meprop_backward(k: int, _: None, error: Array) -> tuple[Array]:
    return (jnp.where(winners(jnp.abs(error), k), error, jnp.zeros_like(error)),)


meprop.defvjp(_meprop_forward, _meprop_backward)


def activation_sparsity(activations: PyTree[Float[Array, "batch ..."]]) -> PyTree[Float[Array, ""]]:
    """Share of exact zeros in each array of activations: what ReLUs give for nothing."""
    return jax.tree.map(lambda a: jnp.mean(a == 0, dtype=jnp.result_type(float)), activations)
