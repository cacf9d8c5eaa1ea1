"""What a BSS can observe: how crowded each link is around it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

OCCUPANCY_CAP = 2
"""More active neighbours than this are not told apart."""


def over_neighbours(topology: Any, values: Shaped[Array, "bss links"]) -> Shaped[Array, "bss links"]:
    """Sum of the neighbours' values on each link."""
    if hasattr(topology, "adj"):
        return jnp.einsum("lij,jl->il", topology.adj.astype(values.dtype), values)
    return _over_edges(topology, values, jax.ops.segment_sum)


def _over_edges(topology: Any, values: Shaped[Array, "bss links"], segment: Any) -> Shaped[Array, "bss links"]:
    """A segment reduction of the senders' values at each receiver, link by link."""
    bss = values.shape[0]

    def link(senders: Array, receivers: Array, value: Array) -> Array:
        # Edges that only fill a row up have a sender beyond the last BSS: they fall into a segment that is cut off.
        padded = jnp.concatenate([value, jnp.zeros(1, value.dtype)])
        ends = jnp.where(senders < bss, receivers, bss)
        return segment(padded[jnp.minimum(senders, bss)], ends, bss + 1)[:bss]

    links = [link(s, r, values[:, i]) for i, (s, r) in enumerate(zip(topology.senders, topology.receivers))]
    return jnp.stack(links, axis=1)


def sensed_neighbours(topology: Any, mask: Shaped[Array, "bss links"]) -> Int[Array, "bss links"]:
    """How many BSSs that use link l each BSS senses there."""
    return over_neighbours(topology, jnp.asarray(mask, jnp.int32))


def occupancy(sensed: Int[Array, "bss links"]) -> Int[Array, " bss"]:
    """sum_l min(sensed_l, 2) 3^l: an index of 0 .. 3^L - 1."""
    digits = jnp.minimum(sensed, OCCUPANCY_CAP)
    weights = (OCCUPANCY_CAP + 1) ** jnp.arange(sensed.shape[1], dtype=jnp.int32)
    return jnp.sum(digits * weights, axis=1, dtype=jnp.int32)


def features(
    topology: Any, mask: Shaped[Array, "bss links"], y: Float[Array, "bss links"], x: Float[Array, " bss"]
) -> Float[Array, "bss features"]:
    """Per link the sensed busy fraction (at most 1), whether it is on, and the share of BSSs heard; the throughput.

    Args:
        topology: who hears whom.
        mask: links that are on.
        y: activity of every BSS on every link.
        x: throughput as a share of x_max.

    Returns:
        [bss, 3 links + 1], all between 0 and 1.
    """
    busy = jnp.minimum(over_neighbours(topology, y), 1)
    degree = over_neighbours(topology, jnp.ones_like(y)) / max(y.shape[0] - 1, 1)
    return jnp.concatenate([busy, mask.astype(y.dtype), degree, x[:, None]], axis=1)


def least_neighbour(topology: Any, x: Float[Array, " bss"]) -> Float[Array, " bss"]:
    """The least of the values of a BSS and of its neighbours on any link, on a graph of edges."""
    spread = jnp.broadcast_to(x[:, None], (x.shape[0], len(topology.senders)))
    return jnp.minimum(x, jnp.min(_over_edges(topology, spread, jax.ops.segment_min), axis=1))
