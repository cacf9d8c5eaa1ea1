"""The item graph: which items follow one another in all users' sequences, and one step of averaging over it."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from offprint.magnn._counts import most_frequent, pair_counts

if TYPE_CHECKING:
    from offprint.magnn._sequences import Sequences

DENSE_ITEMS = 4096
"""Up to so many items a dense matrix is kept beside the edges, if it is not too empty."""
DENSE_SHARE = 1 / 16
"""A dense product beats the sparse one when more than this share of the matrix is filled (measured on CPUs)."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ItemGraph:
    """A row-normalised item graph A as edges sorted by row, then by column (Section "Item graph").

    `rows`, `cols` and `weights` are receivers, senders and edge weights as graph libraries such as jraph want them.
    The same edges in the order of A^T come along, so that the gradient of A E needs no scattered additions. Make
    one by [`item_graph`][offprint.magnn.item_graph] or [`ItemGraph.from_coo`][offprint.magnn.ItemGraph.from_coo].
    """

    rows: Int[Array, " edges"]
    cols: Int[Array, " edges"]
    weights: Float[Array, " edges"]  # of every row that has edges they sum to 1
    counts: Int[Array, " edges"] | None  # how often the pair was seen; None for a graph that was given as weights
    indptr: Int[Array, " items_and_one"]  # row i has the edges indptr[i] to indptr[i + 1]
    cols_t: Int[Array, " edges"]  # columns of A^T
    weights_t: Float[Array, " edges"]
    indptr_t: Int[Array, " items_and_one"]
    dense: Float[Array, "items items"] | None  # A itself where that is faster
    dense_t: Float[Array, "items items"] | None  # and A^T
    num_items: int = field(metadata={"static": True})
    lookahead: int | None = field(metadata={"static": True})
    directed: bool = field(metadata={"static": True})
    max_degree: int | None = field(metadata={"static": True})

    @classmethod
    def from_coo(
        cls,
        rows: Int[Array | np.ndarray, " edges"],
        cols: Int[Array | np.ndarray, " edges"],
        weights: Float[Array | np.ndarray, " edges"] | None = None,
        *,
        num_items: int,
        counts: Int[Array | np.ndarray, " edges"] | None = None,
        lookahead: int | None = None,
        directed: bool = False,
        max_degree: int | None = None,
    ) -> "ItemGraph":
        """A graph of your own: item `rows[k]` listens to item `cols[k]`.

        Args:
            rows: 0-based ids of the items that listen, in any order.
            cols: 0-based ids of the items that they listen to.
            weights: non-negative and finite, those of a row sum to 1. Left out, they are the normalised counts.
            num_items: N, the size of the catalogue.
            counts: how often each pair occurred in the log; what `fit` holds against the training log.
            lookahead: how far `counts` look ahead, if there are counts.
            directed: whether `counts` only go from an item to later ones.
            max_degree: at most how many neighbours of an item were kept.

        Raises:
            ValueError: ids out of range, arrays of unequal length, an edge twice, weights that are negative or not
                finite, rows whose weights do not sum to 1, counts below 1, neither weights nor counts.
        """
        order = _checked_order(np.asarray(rows), np.asarray(cols), num_items)
        a, b = np.asarray(rows)[order].astype(np.int32), np.asarray(cols)[order].astype(np.int32)
        times = None if counts is None else _checked_length("counts", counts, a)[order]
        if times is not None and times.size and times.min() < 1:
            raise ValueError(f"the counts of a graph's edges must be at least 1, but one is {times.min()}")
        if weights is not None:
            shares = _checked_length("weights", weights, a)[order].astype(float)
            _check_normalised(a, shares, num_items)
        elif times is not None:
            shares = times / np.bincount(a, times, minlength=num_items)[a]
        else:
            raise ValueError("a graph needs weights (rows that sum to 1) or counts (to be normalised); give either")

        transposed = np.lexsort((a, b))
        dense = None
        if num_items <= DENSE_ITEMS and len(a) > DENSE_SHARE * num_items**2:
            dense = np.zeros((num_items, num_items))
            dense[a, b] = shares
        return cls(
            rows=jnp.asarray(a),
            cols=jnp.asarray(b),
            weights=jnp.asarray(shares, float),
            counts=None if times is None else jnp.asarray(times.astype(np.int32)),
            indptr=jnp.asarray(_indptr(a, num_items)),
            cols_t=jnp.asarray(a[transposed]),
            weights_t=jnp.asarray(shares[transposed], float),
            indptr_t=jnp.asarray(_indptr(b, num_items)),
            dense=None if dense is None else jnp.asarray(dense, float),
            dense_t=None if dense is None else jnp.asarray(dense.T, float),
            num_items=num_items,
            lookahead=lookahead,
            directed=directed,
            max_degree=max_degree,
        )

    @property
    def num_edges(self) -> int:
        """Non-zero entries of A."""
        return self.rows.shape[0]

    def to_dense(self) -> Float[Array, "items items"]:
        """A as a matrix; of 35,000 items it takes 5 GB."""
        if self.dense is not None:
            return self.dense
        shape = self.num_items, self.num_items
        return jnp.zeros(shape, self.weights.dtype).at[self.rows, self.cols].set(self.weights)

    def astype(self, dtype: DTypeLike) -> "ItemGraph":
        """The same graph with weights of another floating-point type."""
        return replace(
            self,
            weights=self.weights.astype(dtype),
            weights_t=self.weights_t.astype(dtype),
            dense=None if self.dense is None else self.dense.astype(dtype),
            dense_t=None if self.dense_t is None else self.dense_t.astype(dtype),
        )


def item_graph(
    sequences: "Sequences", *, lookahead: int = 3, directed: bool = False, max_degree: int | None = None
) -> ItemGraph:
    """Count which items come within `lookahead` places of one another in any user's sequence, and normalise the rows.

    C[a, b] += 1 for every item a and each of the `lookahead` items b after it (and C[b, a] += 1 unless `directed`);
    A = C / rowsum(C). A pair of one item with itself is skipped; an item without neighbours has an empty row. Give it
    the training sequences only.

    Args:
        sequences: the training sequences.
        lookahead: items ahead; 3 in the paper's experiments.
        directed: count only from an item to the later ones.
        max_degree: keep so many of an item's most frequent neighbours (of equally frequent ones the lower ids).

    Raises:
        ValueError: `lookahead` or `max_degree` below 1.
    """
    if lookahead < 1:
        raise ValueError(f"lookahead must be at least 1, but is {lookahead}")
    if max_degree is not None and max_degree < 1:
        raise ValueError(f"max_degree must be at least 1 (or None for all neighbours), but is {max_degree}")
    keys, counts = pair_counts(sequences, lookahead, directed)
    rows, cols = np.divmod(keys, sequences.num_items)
    if max_degree is not None:
        kept = most_frequent(rows, cols, counts, max_degree)
        rows, cols, counts = rows[kept], cols[kept], counts[kept]
    return ItemGraph.from_coo(
        rows,
        cols,
        num_items=sequences.num_items,
        counts=counts,
        lookahead=lookahead,
        directed=directed,
        max_degree=max_degree,
    )


def check_graph(graph: ItemGraph, sequences: "Sequences") -> None:
    """Refuse a graph that knows more than the training log: one of test items, or of another catalogue.

    A graph that was given as weights, without counts, can only be checked for its size.

    Args:
        graph: the graph of a model.
        sequences: what the model is trained on.

    Raises:
        ValueError: another number of items, or an edge counted more often than the training log has it.
    """
    if graph.num_items != sequences.num_items:
        raise ValueError(
            f"the graph has {graph.num_items} items, but the training sequences have {sequences.num_items}: "
            "build it by item_graph from the training sequences"
        )
    if graph.counts is None or graph.lookahead is None:
        return
    keys, counts = pair_counts(sequences, graph.lookahead, graph.directed)
    rows, cols = np.asarray(graph.rows, np.int64), np.asarray(graph.cols, np.int64)
    wanted = rows * graph.num_items + cols
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    seen = np.where(keys[at] == wanted, counts[at], 0) if len(keys) else np.zeros(len(wanted), int)
    excess = np.asarray(graph.counts) > seen
    if excess.any():
        k = int(excess.argmax())
        raise ValueError(
            f"{excess.sum()} of the graph's {len(wanted)} edges are counted more often than in the training log, the "
            f"first from item {rows[k]} to item {cols[k]} ({graph.counts[k]} times, {seen[k]} in the log): the graph "
            "was built from other data, perhaps from test items; build it from the training sequences"
        )


def propagate(graph: ItemGraph, embeddings: Float[Array, "items d"]) -> Float[Array, "items d"]:
    """A E: of every item the weighted mean of its neighbours' vectors, the sum in Eq. 1.

    Args:
        graph: the item graph; no gradient goes into its weights.
        embeddings: a vector for each item.

    Returns:
        A vector for each item; zero for items without neighbours.
    """
    if graph.dense is not None and graph.dense_t is not None:
        return _propagate_dense(*(a.astype(embeddings.dtype) for a in (graph.dense, graph.dense_t)), embeddings)
    weights, weights_t = (w.astype(embeddings.dtype) for w in (graph.weights, graph.weights_t))
    return _propagate((weights, graph.cols, graph.indptr), (weights_t, graph.cols_t, graph.indptr_t), embeddings)


@jax.custom_vjp
def _propagate_dense(dense, dense_t, embeddings):
    return dense @ embeddings


# A^T lies ready, for a product with a transposed matrix copies it first.
_propagate_dense.defvjp(
    lambda dense, dense_t, embeddings: (dense @ embeddings, dense_t),
    lambda dense_t, cotangent: (None, None, dense_t @ cotangent),
)


@jax.custom_vjp
def _propagate(forward, transposed, embeddings):
    # The product with compressed sparse rows reads E row by row and writes each result once. Differentiated by JAX
    # it would become a scatter over all edges; here the gradient is the same kind of product with A^T.
    n = embeddings.shape[0]
    return sparse.BCSR(forward, shape=(n, n), indices_sorted=True, unique_indices=True) @ embeddings


def _propagate_forward(forward, transposed, embeddings):
    return _propagate(forward, transposed, embeddings), (forward, transposed)


def _propagate_backward(kept, cotangent):
    forward, transposed = kept
    return None, None, _propagate(transposed, forward, cotangent)


_propagate.defvjp(_propagate_forward, _propagate_backward)


def _indptr(index: np.ndarray, num_items: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(index, minlength=num_items))]).astype(np.int32)


def _checked_order(rows: np.ndarray, cols: np.ndarray, num_items: int) -> np.ndarray:
    """The order by row and column of edges that are in range and occur once."""
    if rows.shape != cols.shape:
        raise ValueError(f"a graph needs as many rows as columns, but {rows.shape} and {cols.shape} were given")
    for name, index in (("row", rows), ("column", cols)):
        if index.size and (index.min() < 0 or index.max() >= num_items):
            wrong = index[(index < 0) | (index >= num_items)][0]
            raise ValueError(f"a {name} of the graph is {wrong}, but its {num_items} items are 0 to {num_items - 1}")
    order = np.lexsort((cols, rows))
    twice = (np.diff(rows[order]) == 0) & (np.diff(cols[order]) == 0)
    if twice.any():
        k = order[twice.argmax()]
        raise ValueError(f"the edge from item {rows[k]} to item {cols[k]} is there twice: add up its weights first")
    return order


def _checked_length(name: str, values: Array | np.ndarray, rows: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != rows.shape:
        raise ValueError(f"a graph of {len(rows)} edges needs as many {name}, but their shape is {values.shape}")
    return values


def _check_normalised(rows: np.ndarray, weights: np.ndarray, num_items: int) -> None:
    if not np.isfinite(weights).all():
        raise ValueError(f"{(~np.isfinite(weights)).sum()} of the graph's weights are NaN or infinite")
    if weights.size and weights.min() < 0:
        raise ValueError(f"the weights of a graph must not be negative, but one is {weights.min():g}")
    sums = np.bincount(rows, weights, minlength=num_items)
    wrong = (np.bincount(rows, minlength=num_items) > 0) & (np.abs(sums - 1) > 1e-4)
    if wrong.any():
        i = int(wrong.argmax())
        raise ValueError(
            f"the weights of every row of a graph must sum to 1, but those of item {i} sum to {sums[i]:g} "
            f"({wrong.sum()} rows are off): divide each by its row's sum"
        )
