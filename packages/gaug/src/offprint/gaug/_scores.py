"""Scores of pairs of nodes, and the pairs with the highest ones without an N x N array."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.gaug._graph import Graph

Score = Literal["inner", "cosine", "sigmoid"]


def edge_scores(
    z: Float[Array | np.ndarray, "nodes embed"], pairs: Int[Array | np.ndarray, "pairs 2"], score: Score = "inner"
) -> Float[Array, " pairs"]:
    """Score of each pair (i, j).

    Args:
        z: embedding (N, z).
        pairs: node ids (P, 2).
        score: `"inner"`: z_i · z_j; `"sigmoid"`: σ(z_i · z_j), which ranks alike; `"cosine"`: z_i · z_j / (‖z_i‖
            ‖z_j‖), 0 for a zero vector. Inner products prefer nodes with long embeddings, mostly hubs; the cosine
            finds pairs of one class more often.

    Raises:
        ValueError: an unknown score, or `pairs` that are not (P, 2).
    """
    _check_score(score)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs have shape {pairs.shape}; (P, 2) is needed")
    z = jnp.asarray(z)
    inner = (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1)
    if score == "sigmoid":
        return jax.nn.sigmoid(inner)
    if score == "inner":
        return inner
    squares = (z * z).sum(1)
    product = squares[pairs[:, 0]] * squares[pairs[:, 1]]
    return jnp.where(product > 0, inner * jax.lax.rsqrt(jnp.where(product > 0, product, 1)), 0)


def top_pairs(
    z: Float[Array | np.ndarray, "nodes embed"],
    k: int,
    *,
    exclude: Graph | None = None,
    score: Score = "inner",
    block_size: int = 1024,
) -> tuple[Int[np.ndarray, "k 2"], Float[np.ndarray, " k"]]:
    """The k pairs i < j with the highest scores that are not edges yet; for use outside jit.

    The pairs are compared by their scores in float64, and among equal scores by i, then j, so the answer does not
    depend on the block size, the number of threads or the device. Blocks of pairs are multiplied in the precision of
    z and only what could still be among the best is looked at closer: O(N² z) time, O(N z + k + block_size²) memory.

    Args:
        z: finite embedding (N, z).
        k: number of pairs.
        exclude: a graph whose edges are left out.
        score: as in `edge_scores`.
        block_size: nodes on a side of a block.

    Returns:
        The pairs (k, 2), best first, int32, and their scores (k,) in float64.

    Raises:
        ValueError: k is negative or larger than the number of pairs left, z is not finite or does not fit the graph,
            an unknown score, `block_size` below 1.
    """
    _check_score(score)
    rows = np.asarray(z)
    n = len(rows)
    edges = np.zeros((0, 2), np.int64) if exclude is None else exclude.edges().astype(np.int64)
    free = n * (n - 1) // 2 - len(edges)
    if exclude is not None and exclude.num_nodes != n:
        raise ValueError(f"z has {n} rows, but the graph has {exclude.num_nodes} nodes; one row per node is needed")
    if not 0 <= k <= free:
        raise ValueError(f"k={k} pairs are asked for, but {n} nodes have {free} pairs that are not edges: choose less")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, but is {block_size}")
    if not np.isfinite(rows).all():
        raise ValueError(f"z has {int((~np.isfinite(rows)).sum())} entries that are NaN or infinite")
    keys, scores = _best(rows, k, edges[:, 0] * n + edges[:, 1], score == "cosine", block_size)
    if score == "sigmoid":
        scores = np.where(scores >= 0, 1, np.exp(-np.abs(scores))) / (1 + np.exp(-np.abs(scores)))
    return np.stack([keys // n, keys % n], axis=1).astype(np.int32), scores


class Leaders:
    """The k best (score, key) that were shown so far; higher scores first, then lower keys."""

    def __init__(self, k: int):
        self.k = k
        self.scores, self.keys = [np.zeros(0)], [np.zeros(0, np.int64)]  # joined only when there are many
        self.held = 0
        self.bar = -np.inf  # the score that a pair must reach to matter

    def show(self, scores: np.ndarray, keys: np.ndarray) -> None:
        self.scores.append(scores)
        self.keys.append(keys)
        self.held += len(keys)
        if self.held >= (self.k if self.bar == -np.inf else 2 * self.k):
            self._prune()

    def _prune(self) -> None:
        scores, keys = np.concatenate(self.scores), np.concatenate(self.keys)
        surplus = len(keys) - self.k
        if surplus >= 0 and self.k > 0:
            self.bar = np.partition(scores, surplus)[surplus]
            above, level = np.flatnonzero(scores > self.bar), np.flatnonzero(scores == self.bar)
            needed = self.k - len(above)
            if needed < len(level):
                level = level[np.argpartition(keys[level], needed)[:needed]]
            kept = np.concatenate([above, level])
            scores, keys = scores[kept], keys[kept]
        self.scores, self.keys, self.held = [scores], [keys], len(keys)

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        self._prune()
        scores, keys = self.scores[0], self.keys[0]
        order = np.lexsort((keys, -scores))
        return keys[order], scores[order]


def _best(rows: np.ndarray, k: int, taken: np.ndarray, cosine: bool, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys i N + j and scores of the k best pairs whose key is not among the sorted `taken`."""
    leaders, n = Leaders(k), len(rows)
    if k == 0:
        return leaders.ranked()
    exact = rows.astype(np.float64)
    if cosine:
        lengths = np.sqrt((exact * exact).sum(1, keepdims=True))
        exact = exact / np.where(lengths > 0, lengths, 1)
    fast = np.ascontiguousarray(exact.astype(np.float32) if rows.dtype != np.float64 else exact)
    # A bound of what rounding does to a product in the blocks: nothing that could be among the best is passed over.
    reach = float((exact * exact).sum(1).max())
    slack = 2 * (rows.shape[1] + 2) * float(jnp.finfo(fast.dtype).eps) * reach
    side = min(side, n)
    block, good = np.empty((side, side), fast.dtype), np.empty((side, side), bool)  # fresh memory would cost more
    for top in range(0, n, side):
        for left in range(top, n, side):
            height, width = min(side, n - top), min(side, n - left)
            products = np.matmul(fast[top : top + side], fast[left : left + side].T, out=block[:height, :width])
            at = np.flatnonzero(np.greater_equal(products, leaders.bar - slack, out=good[:height, :width]))
            i, j = np.divmod(at, width)
            i, j = i + top, j + left
            ordered = i < j if left < top + side else np.ones(len(i), bool)
            keys = (i * n + j)[ordered]
            keys = keys[~_contains(taken, keys)]
            _show(leaders, exact, keys, n)
    return leaders.ranked()


def _show(leaders: Leaders, exact: np.ndarray, keys: np.ndarray, n: int) -> None:
    for first in range(0, len(keys), 2**18):  # a few at a time: gathered rows are wide
        some = keys[first : first + 2**18]
        scores = np.einsum("pd,pd->p", exact[some // n], exact[some % n])
        matters = scores >= leaders.bar
        leaders.show(scores[matters], some[matters])


def _contains(ordered: np.ndarray, keys: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[at] == keys


def _check_score(score: Any) -> None:
    if score not in get_args(Score):
        raise ValueError(f"score {score!r} is unknown; one of {', '.join(get_args(Score))} is needed")
