"""Normalised adjacency matrices and one round of message passing, on sparse, dense and sampled graphs alike."""

from typing import Any, Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.gaug._collect import AT_ONCE, weighted_sum
from offprint.gaug._graph import Graph

Kind = Literal["sym", "row", "none"]
AggregateKind = Literal["sym", "row", "sum"]


@runtime_checkable
class Aggregator(Protocol):
    """A graph that knows how its nodes collect from their neighbours and themselves, such as a sampled one."""

    def aggregate(self, h: Any, kind: Any) -> Any:
        """The product of the adjacency matrix with self-loops, normalised as `kind` says, and h (N, d)."""


Adjacency = Graph | Float[Array | np.ndarray, "nodes nodes"] | Aggregator
"""What the classifiers take: a `Graph` without self-loops, a dense matrix with them, or an `Aggregator`."""


def normalize(g: Graph, kind: Kind = "sym", self_loops: bool = True) -> Graph:
    """The graph whose weights are those of the normalised adjacency matrix; differentiable, works under jit.

    Args:
        g: a graph without self-loops.
        kind: `"sym"`: D^-1/2 A D^-1/2 (GCN); `"row"`: D^-1 A (GraphSAGE); `"none"`: A.
        self_loops: take A + I in place of A. Without them, a node without edges gets zeros.

    Returns:
        A graph with E2 entries, E2 + N with self-loops, sorted as before.

    Raises:
        ValueError: `kind` is unknown.

    Source: Kipf and Welling, ICLR 2017, Eq. 2; Hamilton et al., NeurIPS 2017, section 3.3.
    """
    _check_kind(kind, get_args(Kind))
    g = _with_self_loops(g) if self_loops else g
    if kind == "none":
        return g
    degrees = g.degrees()
    if kind == "row":
        weights = g.weights * inverse(degrees)[g.receivers]
    else:
        scale = inverse_root(degrees)
        weights = g.weights * scale[g.receivers] * scale[g.senders]
    return Graph(g.senders, g.receivers, weights, g.edge_mask, g.num_nodes)


def propagate(
    g: Graph | Float[Array | np.ndarray, "nodes nodes"], h: Float[Array | np.ndarray, "nodes d"]
) -> Float[Array, "nodes d"]:
    """One round of message passing as it stands: row i of the result is Σ_j w_ij h_j.

    Args:
        g: a graph, normalised or not, or a dense matrix.
        h: features (N, d).
    """
    h = jnp.asarray(h)
    if not isinstance(g, Graph):
        return jnp.asarray(g) @ h
    if len(g.senders) * h.shape[1] > AT_ONCE:
        return weighted_sum(g.senders, g.receivers, g.weights, h)
    messages = g.weights[:, None] * h[g.senders]
    return jax.ops.segment_sum(messages, g.receivers, g.num_nodes, indices_are_sorted=True)


def normalize_dense(
    adjacency: Float[Array | np.ndarray, "nodes nodes"], kind: Kind = "sym", *, compat_l1_gradient: bool = False
) -> Float[Array, "nodes nodes"]:
    """The normalised matrix of a dense adjacency matrix, whose diagonal is taken as it is; differentiable.

    Costs a few passes over the matrix, no product of matrices.

    Args:
        adjacency: A (N, N), symmetric, not negative, with or without ones on the diagonal.
        kind: as in `normalize`.
        compat_l1_gradient: for `"row"`, differentiate as the authors' code does: entries that are 0 get no gradient
            through the degree (its |a| has the derivative 0 at 0, where the true one of a >= 0 is 1).

    Raises:
        ValueError: `kind` is unknown.
    """
    _check_kind(kind, get_args(Kind))
    adjacency = jnp.asarray(adjacency)
    if kind == "none":
        return adjacency
    if kind == "row":
        return inverse(_row_sums(adjacency, compat_l1_gradient))[:, None] * adjacency
    scale = inverse_root(adjacency.sum(1))
    return scale[:, None] * adjacency * scale


def aggregate(
    graph: Adjacency,
    h: Float[Array | np.ndarray, "nodes d"],
    kind: AggregateKind = "sym",
    *,
    compat_l1_gradient: bool = False,
) -> Float[Array, "nodes d"]:
    """Every node's normalised sum over its neighbours and itself: the one thing that layers do with a graph.

    The normalisation acts on h, so that neither a normalised matrix nor a graph with self-loops is built.

    Args:
        graph: a `Graph` without self-loops, a dense matrix (N, N) with ones on its diagonal, or an object with a
            method `aggregate(h, kind)`.
        h: features (N, d).
        kind: with Ã = A + I and its degrees D̃: `"sym"`: D̃^-1/2 Ã D̃^-1/2 h; `"row"`: D̃^-1 Ã h; `"sum"`: Ã h.
        compat_l1_gradient: as in `normalize_dense`; for a dense matrix and `"row"` alone.

    Raises:
        ValueError: `kind` is unknown, or `compat_l1_gradient` for a sampled graph.
    """
    _check_kind(kind, get_args(AggregateKind))
    h = jnp.asarray(h)
    if isinstance(graph, Graph):
        return _aggregate_sparse(graph, h, kind)
    if not isinstance(graph, Aggregator):
        return _aggregate_dense(jnp.asarray(graph), h, kind, compat_l1_gradient)
    if compat_l1_gradient:
        raise ValueError(
            "compat_l1_gradient=True needs a dense adjacency matrix, but the graph is a "
            f"{type(graph).__name__}: use a dense sample or the true gradient"
        )
    return graph.aggregate(h, kind)


def _aggregate_sparse(g: Graph, h: Array, kind: str) -> Array:
    if kind == "sum":
        return propagate(g, h) + h
    degrees = g.degrees() + 1
    if kind == "row":
        return (propagate(g, h) + h) / degrees[:, None]
    scale = jax.lax.rsqrt(degrees)[:, None]
    scaled = scale * h
    return scale * (propagate(g, scaled) + scaled)


def _aggregate_dense(adjacency: Array, h: Array, kind: str, compat_l1_gradient: bool) -> Array:
    if kind == "sum":
        return adjacency @ h
    if kind == "row":
        return inverse(_row_sums(adjacency, compat_l1_gradient))[:, None] * (adjacency @ h)
    scale = inverse_root(adjacency.sum(1))[:, None]
    return scale * (adjacency @ (scale * h))


def _row_sums(adjacency: Array, compat_l1_gradient: bool) -> Array:
    if compat_l1_gradient:
        adjacency = jnp.where(adjacency == 0, jax.lax.stop_gradient(adjacency), adjacency)
    return adjacency.sum(1)


def inverse(degrees: Array) -> Array:
    """1/d, and 0 with derivative 0 where d is 0."""
    return jnp.where(degrees > 0, 1 / jnp.where(degrees > 0, degrees, 1), 0)


def inverse_root(degrees: Array) -> Array:
    """1/√d, and 0 with derivative 0 where d is 0."""
    return jnp.where(degrees > 0, jax.lax.rsqrt(jnp.where(degrees > 0, degrees, 1)), 0)


def _with_self_loops(g: Graph) -> Graph:
    """A + I, each loop at its place among its node's senders, without sorting anew."""
    nodes = jnp.arange(g.num_nodes, dtype=jnp.int32)
    entries = jnp.arange(len(g.senders), dtype=jnp.int32)
    moved = entries + g.receivers + (g.senders >= g.receivers)  # padding (N-1 -> N-1) goes behind the last loop
    before = jax.ops.segment_sum((g.senders < g.receivers).astype(jnp.int32), g.receivers, g.num_nodes)
    loops = nodes + jnp.searchsorted(g.receivers, nodes).astype(jnp.int32) + before

    def merged(of_entries: Array, of_loops: Array) -> Array:
        empty = jnp.zeros(len(entries) + g.num_nodes, of_entries.dtype)
        return empty.at[moved].set(of_entries, unique_indices=True).at[loops].set(of_loops, unique_indices=True)

    return Graph(
        merged(g.senders, nodes),
        merged(g.receivers, nodes),
        merged(g.weights, jnp.ones(g.num_nodes, g.weights.dtype)),
        merged(g.edge_mask, jnp.ones(g.num_nodes, bool)),
        g.num_nodes,
    )


def _check_kind(kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise ValueError(f"kind {kind!r} is unknown; one of {', '.join(kinds)} is needed")
