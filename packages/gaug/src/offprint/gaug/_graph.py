"""Undirected graphs as pytrees of fixed shape: both directions of every edge, sorted by receiver."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

if TYPE_CHECKING:
    import jraph


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph without self-loops; a pytree in which only the number of nodes is static.

    Every edge i - j stands in the arrays twice, as i -> j and j -> i. The entries are sorted by receiver, then by
    sender. Entries whose `edge_mask` is False (padding, dropped edges) have weight 0: sums over weights may ignore the
    mask. Padding stands at the end and points to the last node. `normalize` also returns graphs with self-loops, once
    each.

    Build one with `Graph.from_edges` or `Graph.from_dense`, which check what they are given.
    """

    senders: Int[Array, " entries"]
    """(2E,) int32, j of the entry j -> i."""
    receivers: Int[Array, " entries"]
    """(2E,) int32, i of the entry j -> i; never decreasing."""
    weights: Float[Array, " entries"]
    """(2E,), w_ij: 1 in a graph without weights, 0 where the entry is masked."""
    edge_mask: Bool[Array, " entries"]
    """(2E,), whether the entry is an edge."""
    num_nodes: int
    """N, static."""

    @staticmethod
    def from_edges(
        edges: Int[Array | np.ndarray, "edges 2"],
        num_nodes: int,
        weights: Float[Array | np.ndarray, " edges"] | None = None,
        *,
        pad_to: int | None = None,
        symmetrize: bool = False,
    ) -> "Graph":
        """A graph from its list of edges; not for use under jit.

        The list names each undirected edge once, in either direction, or every edge in both directions.

        Args:
            edges: pairs of node ids in 0..N-1.
            num_nodes: N.
            weights: one positive number per row of `edges`; 1 by default.
            pad_to: length of the arrays, at least 2E: room for `add_edges`, or one shape for several graphs.
            symmetrize: take every pair as an undirected edge whatever the direction; two directions with
                different weights get their mean.

        Raises:
            ValueError: wrong shapes, ids out of range, weights that are not finite and positive, a list that has only
                some of its edges in both directions or with two weights, `pad_to` below 2E.

        Warns:
            UserWarning: self-loops or repeated rows, which are dropped.
        """
        pairs, weight = _checked_edges(edges, num_nodes, weights)
        pairs, weight = _without_loops_and_repeats(pairs, weight, num_nodes)
        return _assemble(*_undirected(pairs, weight, num_nodes, symmetrize), num_nodes, pad_to)

    @staticmethod
    def from_dense(adjacency: Shaped[Array | np.ndarray, "nodes nodes"]) -> "Graph":
        """A graph from its symmetric adjacency matrix, whose positive entries are the weights; not for use under jit.

        Raises:
            ValueError: a matrix that is not square and symmetric, or with negative or non-finite entries.

        Warns:
            UserWarning: entries on the diagonal, which are dropped.
        """
        matrix = np.asarray(adjacency)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"adjacency has shape {matrix.shape}; a square matrix (N, N) is needed")
        if not np.array_equal(matrix, matrix.T):
            i, j = np.argwhere(~(matrix == matrix.T))[0].tolist()
            raise ValueError(
                f"adjacency is not symmetric: entry ({i}, {j}) is {matrix[i, j]} and ({j}, {i}) is {matrix[j, i]}; "
                "use the maximum with its transpose if every link is meant both ways"
            )
        if loops := int(np.count_nonzero(np.diagonal(matrix))):
            warnings.warn(f"{loops} self-loops on the diagonal were dropped", UserWarning, stacklevel=2)
        i, j = np.nonzero(np.triu(matrix, 1))
        return Graph.from_edges(np.stack([i, j], axis=1), len(matrix), matrix[i, j].astype(float))

    @property
    def num_edges(self) -> int:
        """E, the number of undirected edges; needs known values, so it is not for use under jit."""
        return int(np.count_nonzero(self._forward()))

    def edges(self) -> Int[np.ndarray, "edges 2"]:
        """(E, 2) int32: every edge once, i < j, sorted; not for use under jit."""
        forward = self._forward()
        pairs = np.stack([np.asarray(self.senders)[forward], np.asarray(self.receivers)[forward]], axis=1)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def _forward(self) -> np.ndarray:
        return np.asarray(self.edge_mask) & (np.asarray(self.senders) < np.asarray(self.receivers))

    def degrees(self) -> Float[Array, " nodes"]:
        """(N,), d_i = Σ_j w_ij: the number of neighbours in a graph without weights."""
        return jax.ops.segment_sum(self.weights, self.receivers, self.num_nodes, indices_are_sorted=True)

    def to_dense(self) -> Float[Array, "nodes nodes"]:
        """(N, N), the symmetric matrix A of the weights; differentiable with respect to them."""
        empty = jnp.zeros((self.num_nodes, self.num_nodes), self.weights.dtype)
        return empty.at[self.receivers, self.senders].add(self.weights)

    def to_jraph(self, x: Float[Array | np.ndarray, "nodes features"] | None = None) -> "jraph.GraphsTuple":
        """The same graph for jraph: both directions as edges, the weights (2E, 1) as their features, no padding.

        Args:
            x: features of the nodes, taken along as `nodes`.
        """
        import jraph

        kept = np.flatnonzero(np.asarray(self.edge_mask))
        return jraph.GraphsTuple(
            nodes=x,
            edges=self.weights[kept][:, None],
            receivers=self.receivers[kept],
            senders=self.senders[kept],
            globals=None,
            n_node=jnp.array([self.num_nodes]),
            n_edge=jnp.array([len(kept)]),
        )


def _flatten(graph: Graph) -> tuple[tuple[Any, ...], int]:
    return (graph.senders, graph.receivers, graph.weights, graph.edge_mask), graph.num_nodes


def _flatten_with_keys(graph: Graph) -> tuple[tuple[tuple[Any, Any], ...], int]:
    names = ("senders", "receivers", "weights", "edge_mask")
    children, num_nodes = _flatten(graph)
    return tuple((jax.tree_util.GetAttrKey(name), child) for name, child in zip(names, children)), num_nodes


def _unflatten(num_nodes: int, children: Iterable[Any]) -> Graph:
    # Leaves may be anything here, such as batched arrays or None: the constructor and its checks are passed by.
    graph = object.__new__(Graph)
    for name, child in zip(("senders", "receivers", "weights", "edge_mask"), children):
        object.__setattr__(graph, name, child)
    object.__setattr__(graph, "num_nodes", num_nodes)
    return graph


jax.tree_util.register_pytree_with_keys(Graph, _flatten_with_keys, _unflatten, _flatten)


def _checked_edges(edges: Any, num_nodes: int, weights: Any) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.asarray(edges)
    if num_nodes < 1:
        raise ValueError(f"num_nodes={num_nodes}; at least one node is needed")
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not (np.issubdtype(pairs.dtype, np.integer) or pairs.size == 0):
        raise ValueError(f"edges have shape {pairs.shape} and dtype {pairs.dtype}; integers of shape (E, 2) are needed")
    outside = np.argwhere((pairs < 0) | (pairs >= num_nodes))
    if outside.size:
        row, column = outside[0].tolist()
        raise ValueError(
            f"node id {int(pairs[row, column])} in row {row} of edges; ids must lie in 0..{num_nodes - 1} "
            f"for num_nodes={num_nodes} (ids that count from 1 must be shifted)"
        )
    if weights is None:
        return pairs.astype(np.int64), np.ones(len(pairs))
    weight = np.asarray(weights)
    if weight.shape != (len(pairs),):
        raise ValueError(f"weights have shape {weight.shape}; one per edge, ({len(pairs)},), is needed")
    wrong = np.flatnonzero(~(np.isfinite(weight) & (weight > 0)))
    if wrong.size:
        first = wrong[0]
        raise ValueError(
            f"{wrong.size} weights are not finite and positive, the first is {weight[first]} of edge "
            f"{tuple(pairs[first].tolist())}; leave such edges out"
        )
    return pairs.astype(np.int64), weight


def _without_loops_and_repeats(pairs: np.ndarray, weight: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    loops = pairs[:, 0] == pairs[:, 1]
    pairs, weight = pairs[~loops], weight[~loops]
    _, first = np.unique(pairs[:, 0] * num_nodes + pairs[:, 1], return_index=True)
    repeats = len(pairs) - len(first)
    if loops.any() or repeats:
        warnings.warn(
            f"{int(loops.sum())} self-loops and {repeats} repeated edges were dropped; "
            "each node's own loop is added where a layer needs it",
            UserWarning,
            stacklevel=3,
        )
    kept = np.sort(first)
    return pairs[kept], weight[kept]


def _undirected(
    pairs: np.ndarray, weight: np.ndarray, num_nodes: int, symmetrize: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Every edge once, i < j, sorted; from a list without loops and repeated rows."""
    low, high = pairs.min(axis=1, initial=num_nodes), pairs.max(axis=1, initial=0)
    ids, first, which, times = np.unique(
        low * num_nodes + high, return_index=True, return_inverse=True, return_counts=True
    )
    mean = np.bincount(which, weight, len(ids)) / times
    if not symmetrize and (times == 2).any():
        if (times == 1).any():
            i, j = pairs[first[times == 1].min()].tolist()
            raise ValueError(
                f"edge ({i}, {j}) has no edge ({j}, {i}), but other edges are given both ways: the graph looks "
                "directed; give every edge once, or all of them both ways, or set symmetrize=True"
            )
        odd = np.flatnonzero(weight != mean[which])
        if odd.size:
            i, j = pairs[odd[0]].tolist()
            raise ValueError(
                f"edge ({i}, {j}) and its reverse have two weights, {weight[odd[0]]} and "
                f"{2 * mean[which[odd[0]]] - weight[odd[0]]}; make them equal or set symmetrize=True for their mean"
            )
    return np.stack([ids // num_nodes, ids % num_nodes], axis=1), mean


def _assemble(pairs: np.ndarray, weight: np.ndarray, num_nodes: int, pad_to: int | None) -> Graph:
    """Both directions, sorted by receiver and sender, and padding behind them."""
    senders, receivers = np.concatenate([pairs, pairs[:, ::-1]]).T
    order = np.lexsort((senders, receivers))
    entries = len(order)
    padding = (entries if pad_to is None else pad_to) - entries
    if padding < 0:
        raise ValueError(f"pad_to={pad_to} is below the {entries} entries of {entries // 2} edges in both directions")

    def padded(values: np.ndarray, fill: float | int, dtype: Any) -> Array:
        return jnp.asarray(np.pad(values[order], (0, padding), constant_values=fill), dtype)

    return Graph(
        padded(senders, num_nodes - 1, jnp.int32),
        padded(receivers, num_nodes - 1, jnp.int32),
        padded(np.concatenate([weight, weight]), 0, jnp.result_type(float)),
        padded(np.ones(entries, bool), False, bool),
        num_nodes,
    )


def reverse_entries(graph: Graph) -> Int[Array, " entries"]:
    """(2E,) int32: where the entry i -> j of every entry j -> i stands; padding points into the padding.

    One sort; works under jit.
    """
    # Sorted by sender and receiver, the entries stand in the order of their reverses, which is the graph's own.
    return jnp.lexsort((graph.receivers, graph.senders)).astype(jnp.int32)
