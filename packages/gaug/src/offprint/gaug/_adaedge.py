"""AdaEdge: a graph that is changed by the classifier's own confident predictions, as long as validation improves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.gaug._config import NodeConfig
from offprint.gaug._fit import fit_node_classifier
from offprint.gaug._graph import Graph
from offprint.gaug._problem import Split
from offprint.gaug._result import Result


@dataclass(frozen=True)
class AdaEdgeConfig:
    """Settings of AdaEdge.

    Raises:
        ValueError: a setting is out of range.
    """

    conf_add: float | int = 0.9
    """Both nodes of an added pair are predicted with more than this confidence, in [0, 1]."""
    conf_remove: float | int = 0.9
    """The same for a removed edge."""
    n_add: int = 500
    """Most pairs added in a round."""
    n_remove: int = 500
    """Most edges removed in a round."""
    add_first: bool = True
    """Add, train, then remove; or the other way round."""
    rounds: int = 5
    """Most changes of the graph, each followed by training anew."""
    node: NodeConfig = field(default_factory=NodeConfig)
    """How the classifier is trained."""

    def __post_init__(self) -> None:
        for name in ("conf_add", "conf_remove"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a confidence in [0, 1], but is {getattr(self, name)!r}")
        if self.n_add < 0 or self.n_remove < 0 or self.rounds < 1:
            raise ValueError(
                f"n_add and n_remove must not be negative and rounds at least 1, but are {self.n_add}, "
                f"{self.n_remove} and {self.rounds}"
            )


def adaedge(
    make_model: Callable[[nnx.Rngs], nnx.Module],
    g: Graph,
    x: Any,
    y: Any,
    split: Split,
    cfg: AdaEdgeConfig | None = None,
    *,
    key: PRNGKeyArray,
) -> Result:
    """Train, add edges between confident nodes of one predicted class, remove those between confident nodes of two.

    Additions and removals take turns, each followed by training a fresh classifier, while the best validation
    score improves. Source: Chen et al., AAAI 2020; the comparison in the GAug paper.

    Args:
        make_model: gives a fresh classifier for a round, `make_model(nnx.Rngs(...))`.
        g: the graph.
        x: (N, F) features.
        y: (N,) classes.
        split: indices of the training, validation and test nodes.
        cfg: the settings.
        key: one classifier of each round draws from it.

    Returns:
        The best round: its classifier is used on `result.graph`, the changed graph.

    Raises:
        ValueError: data that do not serve, or several labels per node, for which "the" predicted class is not defined.
    """
    cfg = cfg or AdaEdgeConfig()
    if np.ndim(y) != 1:
        raise ValueError(f"AdaEdge needs one class per node, but the labels have the shape {np.shape(y)}")

    def trained(graph: Graph, number: int) -> Result:
        making, fitting = jax.random.split(jax.random.fold_in(key, number))
        return fit_node_classifier(make_model(nnx.Rngs(making)), graph, x, y, split, cfg.node, key=fitting)

    best = trained(g, 0)
    adds = cfg.add_first
    for number in range(1, cfg.rounds + 1):
        edges = adjusted_edges(best.graph.edges(), np.asarray(best.logits), cfg, add=adds, remove=not adds)
        if len(edges) == best.graph.num_edges and (edges == best.graph.edges()).all():
            break  # nobody is confident enough for a change
        found = trained(Graph.from_edges(edges, g.num_nodes), number)
        if found.val <= best.val:
            break
        best, adds = found, not adds
    return best


def adjusted_edges(
    edges: Int[np.ndarray, "edges 2"],
    logits: Float[Array | np.ndarray, "nodes classes"],
    cfg: AdaEdgeConfig,
    *,
    add: bool = True,
    remove: bool = True,
) -> Int[np.ndarray, "changed 2"]:
    """The edges (i < j, sorted) after one change by confident predictions.

    A pair's confidence is that of its less confident node; the most confident pairs are taken first, ties in the
    order of the nodes. Memory O(N + E + n_add): pairs are looked at in the order of their confidence.
    """
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits), axis=-1))
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    num_nodes = len(predicted)
    kept = edges
    if remove and cfg.n_remove:
        lower = confidence[edges].min(axis=1)
        wrong = (predicted[edges[:, 0]] != predicted[edges[:, 1]]) & (lower > cfg.conf_remove)
        rows = np.flatnonzero(wrong)
        rows = rows[np.argsort(-lower[rows], kind="stable")][: cfg.n_remove]
        kept = np.delete(edges, rows, axis=0)
    if not (add and cfg.n_add):
        return kept
    new = _confident_pairs(edges, predicted, confidence, cfg, num_nodes)
    both = np.concatenate([kept, new])
    return both[np.lexsort((both[:, 1], both[:, 0]))].astype(edges.dtype)


def _confident_pairs(
    edges: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, cfg: AdaEdgeConfig, num_nodes: int
) -> np.ndarray:
    """Up to n_add pairs without an edge: both of one predicted class, the most confident ones."""
    existing = np.unique(edges[:, 0].astype(np.int64) * num_nodes + edges[:, 1])
    order = np.argsort(-confidence, kind="stable")
    order = order[confidence[order] > cfg.conf_add]
    pairs: list[np.ndarray] = []
    count, members = 0, dict[int, list[int]]()
    for node in order:  # a pair's confidence is this node's: those before it are more confident
        earlier = members.setdefault(int(predicted[node]), [])
        if earlier:
            others = np.array(earlier)
            both = np.stack([np.minimum(others, node), np.maximum(others, node)], axis=1)
            both = both[~np.isin(both[:, 0].astype(np.int64) * num_nodes + both[:, 1], existing)]
            pairs.append(both[: cfg.n_add - count])
            count += len(pairs[-1])
            if count >= cfg.n_add:
                break
        earlier.append(int(node))
    return np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
