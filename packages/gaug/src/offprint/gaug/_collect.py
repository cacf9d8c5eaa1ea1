"""Sums and products over the entries of a list of edges, a portion of the entries at a time."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

AT_ONCE = 2**22
"""Numbers that are gathered at a time: a message for every entry of a large graph would need more than all the rest."""


@jax.custom_vjp
def weighted_sum(
    senders: Int[Array, " entries"],
    receivers: Int[Array, " entries"],
    weights: Float[Array, " entries"],
    h: Float[Array, "nodes d"],
) -> Float[Array, "nodes d"]:
    """Row i is the sum of w h_j over the entries j -> i; differentiable in the weights and in h.

    Small lists are summed at once. Of long ones a portion of the messages exists at a time, also backwards.
    """

    entries, size, starts = _portions(senders, h)

    def add(total: Array, start: Array) -> tuple[Array, None]:
        at = jnp.minimum(start, entries - size)  # the last portion begins early, and counts what is new
        sources, targets, factors = (lax.dynamic_slice_in_dim(a, at, size) for a in (senders, receivers, weights))
        factors = jnp.where(at + jnp.arange(size) >= start, factors, 0).astype(h.dtype)
        return total.at[targets].add(factors[:, None] * h[sources]), None

    return lax.scan(add, jnp.zeros_like(h), starts)[0]


def _forward(senders: Array, receivers: Array, weights: Array, h: Array) -> tuple[Array, tuple[Array, ...]]:
    return weighted_sum(senders, receivers, weights, h), (senders, receivers, weights, h)


def _backward(residuals: tuple[Array, ...], cotangent: Array) -> tuple[None, None, Array, Array]:
    senders, receivers, weights, h = residuals
    of_weights = _products(senders, receivers, h, cotangent).astype(weights.dtype)
    return None, None, of_weights, weighted_sum(receivers, senders, weights, cotangent)


weighted_sum.defvjp(_forward, _backward)


@jax.custom_vjp
def inner_products(
    senders: Int[Array, " entries"], receivers: Int[Array, " entries"], z: Float[Array, "nodes d"]
) -> Float[Array, " entries"]:
    """z_i · z_j of every entry j -> i, with the memory of `weighted_sum`."""
    return _products(senders, receivers, z, z)


def _inner_forward(senders: Array, receivers: Array, z: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    return inner_products(senders, receivers, z), (senders, receivers, z)


def _inner_backward(residuals: tuple[Array, Array, Array], cotangent: Array) -> tuple[None, None, Array]:
    senders, receivers, z = residuals
    there = weighted_sum(senders, receivers, cotangent, z)
    return None, None, there + weighted_sum(receivers, senders, cotangent, z)


inner_products.defvjp(_inner_forward, _inner_backward)


def _products(senders: Array, receivers: Array, of_senders: Array, of_receivers: Array) -> Array:
    entries, size, starts = _portions(senders, of_senders)

    def dot(products: Array, start: Array) -> tuple[Array, None]:
        at = jnp.minimum(start, entries - size)
        sources, targets = (lax.dynamic_slice_in_dim(a, at, size) for a in (senders, receivers))
        some = (of_receivers[targets] * of_senders[sources]).sum(1)
        return lax.dynamic_update_slice_in_dim(products, some, at, 0), None

    return lax.scan(dot, jnp.zeros(entries, of_senders.dtype), starts)[0]


def _portions(senders: Array, h: Array) -> tuple[int, int, Array]:
    """Number of entries, entries of a portion, and where each portion begins."""
    entries = len(senders)
    size = max(1, min(entries, AT_ONCE // max(h.shape[1], 1)))
    return entries, size, jnp.arange(0, entries, size, dtype=jnp.int32)
