"""GAug-M: change the graph once, by the scores of an edge predictor."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Array, Float, Int

from offprint.gaug._graph import Graph
from offprint.gaug._scores import Leaders, Score, edge_scores, top_pairs

Units = Literal["fraction", "count"]


@dataclass(frozen=True)
class ModifyReport:
    """What `modify_graph` changed; pairs i < j, the first to go and the first to come at the top."""

    removed: Int[np.ndarray, "removed 2"]
    removed_scores: Float[np.ndarray, " removed"]
    added: Int[np.ndarray, "added 2"]
    added_scores: Float[np.ndarray, " added"]

    def intra_class(self, labels: Int[Array | np.ndarray, " nodes"]) -> dict[str, float]:
        """Shares of `"removed"` and `"added"` edges that join nodes of one class; NaN where there are none.

        Edges worth adding have a share above the homophily of the graph, edges worth removing one below it.
        """
        y = np.asarray(labels)
        changes = {"removed": self.removed, "added": self.added}
        return {
            name: float(np.mean(y[pairs[:, 0]] == y[pairs[:, 1]])) if len(pairs) else math.nan
            for name, pairs in changes.items()
        }


def modify_graph(
    g: Graph,
    z_or_scores: Float[Array | np.ndarray, "nodes _"],
    remove: float | int = 0.02,
    add: float | int = 0.57,
    *,
    score: Score = "inner",
    units: Units = "fraction",
    block_size: int = 1024,
) -> tuple[Graph, ModifyReport]:
    """Remove the edges with the lowest scores and add the pairs with the highest; for use outside jit.

    Both refer to the original graph: int(E · remove) edges go, int(E · add) other pairs come, and an edge that goes
    does not come back. Among equal scores the pair with the lower i, then the lower j, is taken first. Edges that stay
    keep their weights, new ones have weight 1. Train and infer on the new graph.

    Args:
        g: the original graph.
        z_or_scores: an embedding (N, z), z ≠ N, scored by `score` without an N x N array; or a symmetric matrix of
            scores (N, N), in which `score` plays no part.
        remove: share of the E edges that go, in [0, 1].
        add: edges that come, as a share of E in [0, 1].
        score: as in `edge_scores`.
        units: `"count"` reads `remove` and `add` as numbers of edges; more than E may be added then.
        block_size: as in `top_pairs`.

    Returns:
        The new graph and what changed.

    Raises:
        ValueError: shares outside [0, 1] (57 for .57), counts that are not whole numbers, more edges to remove than
            there are or to add than there is room for, scores that are not finite, not symmetric or of the wrong shape.

    Source: section "GAug-M" of the paper.
    """
    given = np.asarray(z_or_scores)
    if given.ndim != 2 or len(given) != g.num_nodes:
        raise ValueError(
            f"z_or_scores has shape {given.shape}, but the graph has {g.num_nodes} nodes: an embedding "
            f"({g.num_nodes}, z) or scores ({g.num_nodes}, {g.num_nodes}) are needed"
        )
    edges = g.edges()
    n_remove, n_add = (_count(name, value, len(edges), units) for name, value in (("remove", remove), ("add", add)))
    free = g.num_nodes * (g.num_nodes - 1) // 2 - len(edges)
    if n_remove > len(edges) or n_add > free:
        raise ValueError(
            f"{n_remove} edges to remove and {n_add} to add, but there are {len(edges)} edges and {free} pairs "
            "without one: choose fewer"
        )
    if given.shape[1] == g.num_nodes:
        _check_scores(given)
        of_edges = given[edges[:, 0], edges[:, 1]]
        added, added_scores = _top_of_matrix(given, edges, n_add)
    else:
        added, added_scores = top_pairs(given, n_add, exclude=g, score=score, block_size=block_size)
        of_edges = np.asarray(edge_scores(given, edges, score))
    # The edges are sorted by (i, j), so a stable sort by score breaks ties by them.
    leaving = np.argsort(of_edges, kind="stable")[:n_remove]
    report = ModifyReport(edges[leaving], of_edges[leaving], added, added_scores)
    return _changed(g, edges, leaving, added), report


def _count(name: str, value: float | int, edges: int, units: str) -> int:
    if units not in get_args(Units):
        raise ValueError(f"units {units!r} is unknown; one of {', '.join(get_args(Units))} is needed")
    if units == "count":
        if value < 0 or value != int(value):
            raise ValueError(f"{name}={value} with units='count'; a whole number of edges, 0 or more, is needed")
        return int(value)
    if not 0 <= value <= 1:
        raise ValueError(
            f"{name}={value}; fractions in [0, 1] are needed (0.57 for 57 %), or numbers of edges with units='count'"
        )
    # Rounded to undo the binary fraction: 0.57 of 100 edges are 57, not 56.
    return math.floor(round(edges * value, 6))


def _check_scores(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError(f"the scores have {int((~np.isfinite(scores)).sum())} entries that are NaN or infinite")
    odd = np.argwhere(~np.isclose(scores, scores.T, rtol=1e-5, atol=1e-8))
    if len(odd):
        i, j = odd[0].tolist()
        raise ValueError(
            f"the scores are not symmetric: ({i}, {j}) has {scores[i, j]} and ({j}, {i}) has {scores[j, i]}; "
            "take the mean with the transpose, or say which direction you mean"
        )


def _top_of_matrix(scores: np.ndarray, edges: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `top_pairs`, for scores that are there already."""
    n, leaders = len(scores), Leaders(k)
    candidate = np.triu(np.ones((n, n), bool), 1)
    candidate[edges[:, 0], edges[:, 1]] = False
    keys = np.flatnonzero(candidate)
    if k:
        leaders.show(scores.ravel()[keys].astype(np.float64), keys)
    keys, best = leaders.ranked()
    return np.stack([keys // n, keys % n], axis=1).astype(np.int32), best


def _changed(g: Graph, edges: np.ndarray, leaving: np.ndarray, added: np.ndarray) -> Graph:
    senders, receivers, mask = (np.asarray(a) for a in (g.senders, g.receivers, g.edge_mask))
    forward = np.flatnonzero(mask & (senders < receivers))
    order = np.lexsort((receivers[forward], senders[forward]))
    weights = np.asarray(g.weights)[forward][order]
    stays = np.ones(len(edges), bool)
    stays[leaving] = False
    pairs = np.concatenate([edges[stays], added]).astype(np.int64)
    both: Any = np.concatenate([weights[stays], np.ones(len(added))])
    return Graph.from_edges(pairs, g.num_nodes, both)
