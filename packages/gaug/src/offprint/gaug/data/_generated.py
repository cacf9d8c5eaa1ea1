"""Data sets that need no file: stochastic block models, and Zachary's karate club."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from offprint.gaug._graph import Graph
from offprint.gaug.data._node_data import NodeData, Split, checked


def sbm(
    seed: int = 0,
    *,
    num_nodes: int = 400,
    num_classes: int = 2,
    p_in: float | int = 0.05,
    p_out: float | int = 0.01,
    num_features: int = 16,
    signal: float | int = 0.5,
    labels_per_class: int = 5,
) -> NodeData:
    """A stochastic block model: blocks of equal size are the classes, features are noisy.

    Nodes of one class are joined with probability `p_in`, others with `p_out`. Features are N(μ_c, I), where μ_c has
    the length `signal` and a random direction. Works for 10⁵ nodes: time and memory go with the number of edges.

    Args:
        seed: of everything.
        num_nodes: N.
        num_classes: C.
        p_in: probability of an edge within a class.
        p_out: probability of an edge between two.
        num_features: F.
        signal: |μ_c|; 0 makes the features useless.
        labels_per_class: training nodes of each class; a third of the others are for validation.

    Raises:
        ValueError: probabilities outside [0, 1], or too few nodes for the labels.
    """
    if not (0 <= p_in <= 1 and 0 <= p_out <= 1):
        raise ValueError(f"p_in={p_in} and p_out={p_out}; probabilities in [0, 1] are needed")
    if min(num_classes, labels_per_class, num_features) < 1 or num_nodes < num_classes * (labels_per_class + 2):
        raise ValueError(
            f"{num_nodes} nodes, {num_classes} classes, {num_features} features and {labels_per_class} labels per "
            f"class; at least 1 of each and {num_classes * (labels_per_class + 2)} nodes are needed"
        )
    rng = np.random.default_rng(seed)
    y = np.sort(np.arange(num_nodes, dtype=np.int32) % num_classes)
    starts = np.searchsorted(y, np.arange(num_classes + 1))
    edges = [
        _block(rng, starts[a : a + 2], starts[b : b + 2], p_in if a == b else p_out)
        for a in range(num_classes)
        for b in range(a, num_classes)
    ]
    means = rng.standard_normal((num_classes, num_features))
    means *= signal / np.linalg.norm(means, axis=1, keepdims=True)
    x = means[y] + rng.standard_normal((num_nodes, num_features))
    train = np.concatenate(
        [rng.choice(np.arange(*starts[c : c + 2]), labels_per_class, replace=False) for c in range(num_classes)]
    )
    rest = rng.permutation(np.setdiff1d(np.arange(num_nodes), train))
    split = Split(*(np.sort(part) for part in (train, rest[: len(rest) // 3], rest[len(rest) // 3 :])))
    graph = Graph.from_edges(np.concatenate(edges), num_nodes)
    return checked("sbm", graph, jnp.asarray(x, jnp.result_type(float)), y, split)


def _block(
    rng: np.random.Generator, rows: Int[np.ndarray, "2"], columns: Int[np.ndarray, "2"], p: float | int
) -> Int[np.ndarray, "edges 2"]:
    """Edges between two blocks of nodes, or within one: their number is drawn first, then the pairs."""
    (first, end), (left, right) = rows.tolist(), columns.tolist()
    within = first == left
    height, width = end - first, right - left
    count = int(rng.binomial(height * (height - 1) // 2 if within else height * width, p))
    codes = np.empty(0, np.int64)
    while len(codes) < count:
        drawn = rng.integers(0, height * width, 2 * (count - len(codes)) + 16)
        if within:
            drawn = drawn[drawn // width < drawn % width]
        codes = np.concatenate([codes, drawn])
        codes = codes[np.sort(np.unique(codes, return_index=True)[1])]  # the first of each, in the order of the draw
    codes = codes[:count]
    return np.stack([first + codes // width, left + codes % width], axis=1)


def karate() -> NodeData:
    """Zachary's karate club: 34 members, 78 friendships, the two clubs that it split into; features are the identity.

    The two leaders and the closest friend of each are for training, a third of the others for validation.

    W. W. Zachary, An information flow model for conflict and fission in small groups, Journal of Anthropological
    Research 33, 1977.
    """
    pairs = [(node, friend) for node, friends in _FRIENDS.items() for friend in friends]
    y = np.ones(34, np.int32)
    y[[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 16, 17, 19, 21]] = 0
    train = np.array([0, 1, 32, 33])
    rest = np.setdiff1d(np.arange(34), train)
    split = Split(train, rest[::3], np.setdiff1d(rest, rest[::3]))
    return checked("karate", Graph.from_edges(np.array(pairs), 34), jnp.eye(34), y, split)


_FRIENDS = {
    0: (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31),
    1: (2, 3, 7, 13, 17, 19, 21, 30),
    2: (3, 7, 8, 9, 13, 27, 28, 32),
    3: (7, 12, 13),
    4: (6, 10),
    5: (6, 10, 16),
    6: (16,),
    8: (30, 32, 33),
    9: (33,),
    13: (33,),
    14: (32, 33),
    15: (32, 33),
    18: (32, 33),
    19: (33,),
    20: (32, 33),
    22: (32, 33),
    23: (25, 27, 29, 32, 33),
    24: (25, 27, 31),
    25: (31,),
    26: (29, 33),
    27: (33,),
    28: (31, 33),
    29: (32, 33),
    30: (32, 33),
    31: (32, 33),
    32: (33,),
}  # fmt: skip
"""Member -> friends of a higher number."""
