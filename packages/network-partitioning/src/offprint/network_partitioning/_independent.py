"""K separate networks in place of the K subnetworks of one: what partitioning approximates."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Independent:
    """Takes the place of a `Partition` where the parameters are a tuple of K networks.

    Network k alone stands for subnetwork k: it learns from the first k shards, all of its weights do, and it
    predicts shard k+1. Subnetwork 0 is the first network as it was at initialisation.
    """

    ids: PyTree
    """uint8, like the tuple of networks: k-1 everywhere in network k."""
    default: PyTree
    """The tuple of networks at initialisation."""
    num: int = field(metadata={"static": True})
    """K."""


def independent(networks: Sequence[PyTree]) -> tuple[tuple[PyTree, ...], Independent]:
    """The parameters and the stand-in for a partition of K separately initialised networks.

    Args:
        networks: K pytrees of the same structure and shapes: the parameters of each network.

    Returns:
        `(params, part)` for `init_state` and `make_step`, with K times the memory of one network.

    Raises:
        ValueError: fewer than two networks, or networks that differ in structure or shapes.
    """
    params = tuple(networks)
    if len(params) < 2:
        raise ValueError(f"{len(params)} network given, but K >= 2 needed: with one chunk nothing is out of sample")
    first = jax.eval_shape(lambda: params[0])
    for index, network in enumerate(params[1:], 1):
        if jax.eval_shape(lambda network=network: network) != first:
            raise ValueError(f"network {index} differs from network 0 in its structure, shapes or dtypes")
    ids = tuple(jax.tree.map(lambda w, k=k: jnp.full(jnp.shape(w), k, jnp.uint8), w) for k, w in enumerate(params))
    return params, Independent(ids, params, len(params))


def member(params: PyTree, part: Independent, k: int | Int[Array, ""]) -> PyTree:
    """The network that stands for subnetwork k; k = 0 is the untrained one."""
    if isinstance(k, int):
        return params[k - 1] if k else part.default[0]
    return jax.tree.map(lambda *all_of: jnp.stack(all_of)[k], part.default[0], *params)
