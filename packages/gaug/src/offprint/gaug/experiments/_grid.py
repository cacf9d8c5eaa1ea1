"""F1 of a classifier over the shares of added and removed edges, chosen by scores or at random."""

from collections.abc import Sequence

import numpy as np
from jax import Array
from jaxtyping import Float

from offprint.gaug import Graph, NodeConfig, modify_graph
from offprint.gaug._scores import Score
from offprint.gaug.data import NodeData
from offprint.gaug.experiments._runs import Gnn, percent, train

Number = float | int
Scores = Float[Array | np.ndarray, "nodes _"]


def random_scores(num_nodes: int, seed: int) -> Float[np.ndarray, "nodes nodes"]:
    """Symmetric scores that know nothing: the control for those of an edge predictor."""
    drawn = np.random.default_rng(seed).random((num_nodes, num_nodes), np.float32)
    upper = np.triu(drawn, 1)
    return upper + upper.T


def changed(
    problem: NodeData,
    scores: Scores,
    remove: Number,
    add: Number,
    *,
    score: Score = "inner",
    most: Number | None = None,
) -> NodeData:
    """The data set with a changed graph.

    Args:
        problem: the data set.
        scores: embedding or matrix of scores, as in `modify_graph`.
        remove: share of the edges that go.
        add: edges that come, over all edges.
        score: as in `modify_graph`.
        most: edges that the arrays have room for, over all edges: graphs of one length share a compiled program.
    """
    graph, _ = modify_graph(problem.graph, np.asarray(scores), remove, add, score=score)
    if most is not None:
        room = 2 * int(np.ceil(problem.graph.num_edges * most))
        graph = Graph.from_edges(graph.edges(), graph.num_nodes, pad_to=room)
    return NodeData(problem.name, graph, problem.x, problem.y, problem.split)


def f1_grid(
    problem: NodeData,
    scores: Scores,
    removes: Sequence[Number],
    adds: Sequence[Number],
    cfg: NodeConfig,
    *,
    gnn: Gnn = "gcn",
    seeds: Sequence[int] = (0,),
    hidden: int = 128,
    score: Score = "inner",
) -> Float[np.ndarray, "removes adds"]:
    """Mean test F1 in % on every changed graph."""
    most = 1 + max(adds)
    cells = [
        np.mean(
            percent(
                train(changed(problem, scores, remove, add, score=score, most=most), gnn, cfg, seeds, hidden=hidden)
            )
        )
        for remove in removes
        for add in adds
    ]
    return np.reshape(cells, (len(removes), len(adds)))
