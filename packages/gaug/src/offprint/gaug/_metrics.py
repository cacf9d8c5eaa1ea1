"""Scores of classifiers and edge predictors, and how alike the nodes are that a graph joins."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from offprint.core.metrics import roc_auc
from offprint.gaug._graph import Graph


def micro_f1(
    logits: Float[Array | np.ndarray, "nodes classes"], labels: Num[Array | np.ndarray, "nodes *classes"]
) -> Float[Array, ""]:
    """Micro-averaged F1 in [0, 1]; works under jit and vmap.

    With one class per node it is the accuracy. With several labels per node a logit above 0 says yes, and
    F1 = 2 TP / (2 TP + FP + FN) over all entries; it is 0 where there is neither a label nor a prediction.

    Args:
        logits: (N, C).
        labels: (N,) classes, or (N, C) zeros and ones.
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.ndim == 1:
        return (logits.argmax(1) == labels).astype(logits.dtype).mean()
    predicted, true = logits > 0, labels > 0
    hits = (predicted & true).sum()
    return (2 * hits / jnp.maximum(predicted.sum() + true.sum(), 1)).astype(logits.dtype)


def edge_auc(
    scores: Float[Array | np.ndarray, " pairs"],
    labels: Shaped[Array | np.ndarray, " pairs"],
) -> Float[Array, ""]:
    """Area under the ROC curve of edge scores: the probability that an edge scores above a pair without one.

    Args:
        scores: one per pair; logits do as well as probabilities.
        labels: 1 for edges, 0 for other pairs.
    """
    return roc_auc(jnp.asarray(scores), jnp.asarray(labels) != 0)


def edge_ap(
    scores: Float[Array | np.ndarray, " pairs"],
    labels: Shaped[Array | np.ndarray, " pairs"],
) -> Float[Array, ""]:
    """Average precision of edge scores, Σ (R_n - R_n-1) P_n over the thresholds; works under jit and vmap.

    Args:
        scores: one per pair.
        labels: 1 for edges, 0 for other pairs.

    Returns:
        In [0, 1]; NaN without an edge.
    """
    scores, positive = jnp.asarray(scores), jnp.asarray(labels) != 0
    order = jnp.argsort(-scores)
    hits = jnp.cumsum(positive[order])
    # Pairs of one score share a threshold: the precision of each is that at the last of them.
    last = jnp.searchsorted(-scores[order], -scores, side="right")
    precision = hits[last - 1] / last
    return (jnp.where(positive, precision, 0).sum() / positive.sum()).astype(scores.dtype)


def validation_pairs(
    g: Graph, seed: int = 0, share: float | None = None
) -> tuple[Int[np.ndarray, "pairs 2"], Bool[np.ndarray, " pairs"]]:
    """Pairs to judge an edge predictor by: a share of the edges, and as many random pairs without one.

    The edges are not taken out of the graph that it is trained on.

    Args:
        g: the graph.
        seed: of the draw.
        share: of (2E + N) / 2, the entries of one triangle of A + I; by default 0.1, and 0.01 above 5000 nodes, as the
            authors have it.

    Returns:
        Pairs (2m, 2) int32 and whether they are edges, the m edges first.

    Raises:
        ValueError: there are fewer than m edges, or pairs without one; or no edge at all is asked for.
    """
    edges, n = g.edges(), g.num_nodes
    share = (0.01 if n > 5000 else 0.1) if share is None else share
    count = int(share * (2 * len(edges) + n) / 2)
    others = n * (n - 1) // 2 - len(edges)
    if not 1 <= count <= min(len(edges), others):
        raise ValueError(
            f"share={share} asks for {count} edges and as many pairs without one, "
            f"but there are {len(edges)} edges and {others} other pairs"
        )
    rng = np.random.default_rng(seed)
    taken = edges[rng.permutation(len(edges))[:count]]
    ids = _codes(edges, n)
    free = np.empty(0, np.int64)
    while len(free) < count:
        drawn = np.sort(rng.integers(0, n, (4 * count, 2)), axis=1)
        drawn = drawn[drawn[:, 0] < drawn[:, 1]]
        codes = np.concatenate([free, _codes(drawn, n)])
        codes = codes[np.sort(np.unique(codes, return_index=True)[1])]  # the first of each, in the order of the draw
        free = codes[~np.isin(codes, ids)]
    pairs = np.concatenate([taken, np.stack([free[:count] // n, free[:count] % n], axis=1)])
    return pairs.astype(np.int32), np.arange(2 * count) < count


def homophily(g: Graph, y: Int[Array | np.ndarray, " nodes"]) -> Float[Array, ""]:
    """Share of the edges that join nodes of one class; works under jit.

    Args:
        g: the graph; weights do not count.
        y: (N,) classes; a negative label is unknown, and its edges are left out.

    Returns:
        In [0, 1]; NaN without an edge.
    """
    y = jnp.asarray(y)
    one, other = y[g.senders], y[g.receivers]
    counted = g.edge_mask & (one >= 0) & (other >= 0) & (g.senders != g.receivers)
    return (counted & (one == other)).sum() / counted.sum().astype(jnp.result_type(float))


class EdgeCounts(NamedTuple):
    """How many edges lie within a class and between two, in two graphs and among what differs."""

    intra_before: int
    inter_before: int
    intra_after: int
    inter_after: int
    intra_added: int
    inter_added: int
    intra_removed: int
    inter_removed: int


def intra_inter_counts(before: Graph, after: Graph, y: Int[Array | np.ndarray, " nodes"]) -> EdgeCounts:
    """Edges within and between classes before and after a change; not for use under jit.

    Args:
        before: the graph as it was.
        after: the graph as it is, with the same nodes.
        y: (N,) classes; edges of a node with a negative (unknown) label are left out.

    Raises:
        ValueError: graphs of different numbers of nodes, or labels of another number.
    """
    labels, n = np.asarray(y), before.num_nodes
    if after.num_nodes != n or labels.shape != (n,):
        raise ValueError(
            f"the graphs have {n} and {after.num_nodes} nodes, the labels shape {labels.shape}; all must agree"
        )
    old, new = before.edges(), after.edges()
    added = new[~np.isin(_codes(new, n), _codes(old, n))]
    removed = old[~np.isin(_codes(old, n), _codes(new, n))]
    counts = []
    for edges in (old, new, added, removed):
        one, other = labels[edges].T
        known = (one >= 0) & (other >= 0)
        counts += [int((known & (one == other)).sum()), int((known & (one != other)).sum())]
    return EdgeCounts(*counts)


def homophily_report(before: Graph, after: Graph, y: Int[Array | np.ndarray, " nodes"]) -> str:
    """A table for people: edges within and between classes, and the share of the former, before and after.

    Args:
        before, after, y: as in `intra_inter_counts`.
    """
    counts = intra_inter_counts(before, after, y)
    lines = ["edges      within  between  homophily"]
    for name, intra, inter in zip(("before", "after", "added", "removed"), counts[::2], counts[1::2]):
        share = f"{intra / (intra + inter):9.3f}" if intra + inter else "        -"
        lines.append(f"{name:8} {intra:8d} {inter:8d}  {share}")
    return "\n".join(lines)


def _codes(pairs: np.ndarray, num_nodes: int) -> np.ndarray:
    """One number for each pair i < j."""
    return pairs[:, 0].astype(np.int64) * num_nodes + pairs[:, 1]
