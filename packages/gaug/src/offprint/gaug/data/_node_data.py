"""What a node classification data set is."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from offprint.gaug._features import Features
from offprint.gaug._graph import Graph
from offprint.gaug._problem import check_problem


class Split(NamedTuple):
    """Indices of the nodes that are trained on, chosen by and judged by."""

    train: Int[np.ndarray, " train"]
    val: Int[np.ndarray, " val"]
    test: Int[np.ndarray, " test"]


@dataclass(frozen=True, eq=False)
class NodeData:
    """A graph with features, labels and a split."""

    name: str
    """What it is called in results."""
    graph: Graph
    """N nodes, E edges."""
    x: Features
    """(N, F), dense or sparse; scaled as the experiments take it."""
    y: Int[np.ndarray, "nodes *classes"]
    """(N,) int32 classes 0..C-1, or (N, C) zeros and ones for several labels per node."""
    split: Split
    """The three parts; nodes may be in none."""

    @property
    def num_features(self) -> int:
        """F."""
        return self.x.shape[1]

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.y.max()) + 1 if self.y.ndim == 1 else self.y.shape[1]


def checked(name: str, graph: Graph, x: Features, y: Any, split: Split) -> NodeData:
    """A data set of arrays that fit together.

    Raises:
        ValueError: features, labels or parts of the split that do not fit; the message says which and where.

    Warns:
        UserWarning: a class without a training node, or a graph that joins different classes.
    """
    problem = check_problem(graph, x, y, split)
    parts = (np.asarray(part, np.int32) for part in split)
    return NodeData(name, graph, x, np.asarray(problem.y, np.int32), Split(*parts))


def random_split(num_nodes: int, train: int, val: int, rng: np.random.Generator) -> Split:
    """Random parts of the given sizes; the test part is what is left."""
    order = rng.permutation(num_nodes).astype(np.int32)
    return Split(np.sort(order[:train]), np.sort(order[train : train + val]), np.sort(order[train + val :]))
