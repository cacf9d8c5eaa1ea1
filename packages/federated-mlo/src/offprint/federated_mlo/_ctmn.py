"""Stationary law of CSMA without collisions: the continuous-time Markov network (CTMN).

On one link the states are the sets of BSSs that transmit at once, the independent sets s of the sensing graph. A BSS
starts at rate 1 / mean backoff where no neighbour transmits, and ends at rate 1 / T_s; the chain is reversible, and

    pi(s) ∝ prod_{b in s} theta_b,      y_b = sum_{s contains b} pi(s),

whatever the laws of backoffs and durations with these means (Boorstyn, Kershenbaum, Maglaris and Sahin 1987; Liew, Kai,
Leung and Wong 2010). The sums Z(P) over independent subsets of P obey Z(P + b) = Z(P) + theta_b Z(P - N(b)), which
gives all 2^B of them in 2^B additions, and y_b(P) = theta_b Z(P - N(b) - b) / Z(P) from them without cancellation.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_finite, is_concrete

MAX_COMPONENT = 16
_WHOLE_GRAPH = 12  # up to this size a graph is not split, so that its program serves every graph of its size


class ComponentTable(NamedTuple):
    """Activities by activation pattern for each connected component of each link graph, padded to one size."""

    members: Int[Array, "links components size"]  # BSSs of a component; B where padded
    activity: Float[Array, "links components patterns size"]  # patterns = 2**size; bit i is member i


def ctmn_activity(
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    mask: Shaped[Array | np.ndarray, "bss links"],
    theta: Float[Array | np.ndarray, "bss links"],
) -> Float[Array, "bss links"]:
    """Long-run fraction of time that each BSS transmits on each link.

    Args:
        adj: sensing graphs, symmetric with zero diagonal.
        mask: links switched on, bool or 0 and 1. A BSS without any is silent.
        theta: activity ratio T_s / mean backoff; 0 silences a BSS.

    Graphs of more than 12 BSSs are split in connected components, which needs an `adj` that is not traced.

    Raises:
        ValueError: no symmetric graph, or more than 16 BSSs in one connected component.
    """
    check_adjacency(adj)
    check_finite(theta, "theta")
    num_bss = adj.shape[1]
    if num_bss <= _WHOLE_GRAPH or not is_concrete(adj):
        check_component(num_bss, traced=not is_concrete(adj))
        return _whole(adj, mask, theta)
    members, blocks = _split(np.asarray(adj, bool))
    return _by_component(members, blocks, mask, theta)


def activity_table(
    adj: Shaped[Array | np.ndarray, "links bss bss"], theta: Float[Array | np.ndarray, "bss links"]
) -> Float[Array, "links patterns bss"]:
    """The activities of `ctmn_activity` for all 2^B patterns of BSSs that use a link; bit b of a pattern is BSS b.

    Raises:
        ValueError: no symmetric graph, or more than 16 BSSs; `component_table` serves those in small components.
    """
    check_adjacency(adj)
    check_finite(theta, "theta")
    if adj.shape[1] > MAX_COMPONENT:
        raise ValueError(
            f"a table of {adj.shape[1]} BSSs has 2**{adj.shape[1]} = {2 ** adj.shape[1]} patterns per link; up to "
            f"{MAX_COMPONENT} BSSs fit. Use component_table, which needs that many only in each connected component"
        )
    return _table(adj, theta)


def component_table(
    adj: Shaped[Array | np.ndarray, "links bss bss"], theta: Float[Array | np.ndarray, "bss links"]
) -> ComponentTable:
    """`activity_table` for each connected component of each link graph, so that any number of them fits.

    Raises:
        ValueError: no symmetric graph, a traced one, or more than 16 BSSs in one connected component.
    """
    check_adjacency(adj)
    check_finite(theta, "theta")
    if not is_concrete(adj):
        raise ValueError("adj is traced, and its components cannot be found; pass it from outside jax.jit or jax.vmap")
    members, blocks = _split(np.asarray(adj, bool))
    return ComponentTable(jnp.asarray(members), _component_tables(members, blocks, theta))


@jax.jit
def lookup_activity(
    table: Float[Array | np.ndarray, "links patterns bss"] | ComponentTable,
    mask: Shaped[Array | np.ndarray, "bss links"],
) -> Float[Array, "bss links"]:
    """Activities under an activation mask, gathered from `activity_table` or `component_table`."""
    on = jnp.asarray(mask, jnp.int32)
    if isinstance(table, ComponentTable):
        size = table.members.shape[-1]
        present = _take(on, table.members)  # [links, components, size]
        patterns = jnp.sum(present << jnp.arange(size), axis=-1)
        values = jnp.take_along_axis(table.activity, patterns[..., None, None], axis=2)[:, :, 0]
        return _put(values, table.members, on.shape[0])
    links, _, num_bss = table.shape
    patterns = jnp.sum(on << jnp.arange(num_bss)[:, None], axis=0)
    return jnp.asarray(table)[jnp.arange(links), patterns].T


def connected_components(graph: Shaped[np.ndarray, "nodes nodes"]) -> list[np.ndarray]:
    """The sets of nodes that hang together, each sorted, in the order of their smallest nodes."""
    graph = np.asarray(graph, bool)
    label = np.full(len(graph), -1)
    count = 0
    for start in range(len(graph)):
        if label[start] >= 0:
            continue
        reached = np.zeros(len(graph), bool)
        front = reached.copy()
        front[start] = True
        while front.any():
            reached |= front
            front = graph[front].any(0) & ~reached
        label[reached] = count
        count += 1
    return [np.flatnonzero(label == index) for index in range(count)]


def check_component(size: int, *, traced: bool = False, limit: int = MAX_COMPONENT) -> None:
    """Refuse a connected component whose states are too many to list, with what can be used instead."""
    if size > limit:
        where = "(its components are unknown while adj is traced)" if traced else "in one connected component"
        raise ValueError(
            f"{size} BSSs {where} have up to 2**{size} = {2**size} states; the exact law is for {limit} at most. "
            'Use model="bethe" (bethe_activity, exact on trees), model="dcf" (simulation) or model="airtime"'
        )


def log_partition(graph: Shaped[Array, "nodes nodes"], theta: Float[Array, "nodes"]) -> Float[Array, "patterns"]:
    """log Z(P), the log of the weight of all independent subsets of P, for the 2^n patterns P of n nodes."""
    log_theta, others = _log(theta), _others(graph)
    patterns = jnp.arange(2 ** graph.shape[0], dtype=jnp.int32)

    def with_node(node: Array, table: Array) -> Array:
        # The patterns whose highest bit is this node; what they rest on is done. One loop body compiles fast.
        without = table[patterns ^ (1 << node)]
        total = jnp.logaddexp(without, log_theta[node] + table[patterns & others[node]])
        return jnp.where(patterns >> node == 1, total, table)

    return jax.lax.fori_loop(0, graph.shape[0], with_node, jnp.zeros(patterns.shape, log_theta.dtype))


def set_activity(graph: Shaped[Array, "nodes nodes"], theta: Float[Array, "nodes"]) -> Float[Array, "nodes"]:
    """The fraction of time that each node of one graph is active."""
    table = log_partition(graph, theta)
    return jnp.exp(_log(theta) + table[_others(graph)] - table[-1])


def switched(
    mask: Shaped[Array | np.ndarray, "bss links"], theta: Float[Array | np.ndarray, "bss links"]
) -> Float[Array, "bss links"]:
    """theta where a link is on, and 0, which silences, where it is off."""
    return jnp.where(jnp.asarray(mask, bool), jnp.asarray(theta), 0)


def _log(theta: Float[Array, "..."]) -> Float[Array, "..."]:
    """log theta, with -inf and a derivative of zero where theta is 0."""
    positive = theta > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, theta, 1)), -jnp.inf)


def _others(graph: Shaped[Array, "nodes nodes"]) -> Int[Array, "nodes"]:
    """For each node the bit pattern of those that may be active with it: neither itself nor a neighbour."""
    nodes = graph.shape[0]
    free = ~(graph.astype(bool) | jnp.eye(nodes, dtype=bool))
    return jnp.sum(free.astype(jnp.int32) << jnp.arange(nodes, dtype=jnp.int32), axis=1, dtype=jnp.int32)


def _node_table(graph: Shaped[Array, "nodes nodes"], theta: Float[Array, "nodes"]) -> Float[Array, "patterns nodes"]:
    """Activities of the nodes of one graph for all patterns of nodes that take part."""
    nodes = graph.shape[0]
    table = log_partition(graph, theta)
    patterns = jnp.arange(2**nodes, dtype=jnp.int32)
    present = (patterns[:, None] >> jnp.arange(nodes) & 1).astype(bool)
    ratio = _log(theta) + table[patterns[:, None] & _others(graph)] - table[:, None]
    return jnp.where(present, jnp.exp(ratio), 0)


@jax.jit
def _whole(adj: Array, mask: Array, theta: Array) -> Array:
    return jax.vmap(set_activity)(adj, switched(mask, theta).T).T


@jax.jit
def _table(adj: Array, theta: Array) -> Array:
    return jax.vmap(_node_table)(adj, theta.T)


@jax.jit
def _by_component(members: Array, blocks: Array, mask: Array, theta: Array) -> Array:
    values = jax.vmap(jax.vmap(set_activity))(blocks, _take(switched(mask, theta), members))
    return _put(values, members, theta.shape[0])


@jax.jit
def _component_tables(members: Array, blocks: Array, theta: Array) -> Array:
    return jax.vmap(jax.vmap(_node_table))(blocks, _take(theta, members))


def _take(values: Shaped[Array, "bss links"], members: Int[Array, "links components size"]) -> Array:
    """Values of the members of each component; 0 where padded."""
    return jax.vmap(functools.partial(jnp.take, mode="fill", fill_value=0))(values.T, members)


def _put(values: Shaped[Array, "links components size"], members: Array, num_bss: int) -> Array:
    """Back from the members of components to [bss, links]; what is padded is dropped."""

    def one_link(values: Array, members: Array) -> Array:
        return jnp.zeros(num_bss, values.dtype).at[members].set(values, mode="drop")

    return jax.vmap(one_link)(values, members).T


def _split(adj: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Members [links, components, size] and blocks [links, components, size, size] of the graphs, padded."""
    parts = [connected_components(graph) for graph in adj]
    size = max(len(part) for link in parts for part in link)
    check_component(size)
    members = np.full((len(adj), max(map(len, parts)), size), adj.shape[1], np.int32)
    for link, components in enumerate(parts):
        for index, part in enumerate(components):
            members[link, index, : len(part)] = part
    padded = np.pad(adj, ((0, 0), (0, 1), (0, 1)))
    links = np.arange(len(adj))[:, None, None, None]
    return members, padded[links, members[..., :, None], members[..., None, :]]
