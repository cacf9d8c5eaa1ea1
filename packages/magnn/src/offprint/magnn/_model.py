"""The recommender: four signals in one query vector for each user, Eq. 1 to 8."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from offprint.magnn._fusion import concatenated, fusion_gate, gated
from offprint.magnn._graph import ItemGraph
from offprint.magnn._long_term import attention, history, memory_read, memory_weights
from offprint.magnn._options import (
    AttentionAxis,
    Cooccurrence,
    Fusion,
    LongTerm,
    Position,
    ShortTerm,
    check_options,
    check_sizes,
    checked_ids,
)
from offprint.magnn._parts import Explanation, Parts
from offprint.magnn._scores import item_scores, recent_items
from offprint.magnn._short_term import fuse_user, global_means, lookup, masked_mean, window_means
from offprint.magnn._windows import Batch


class Fixed(nnx.Variable):
    """What a model needs but does not train: its item graph."""


class MAGNN(nnx.Module):
    """Memory-augmented graph neural network for the next items of a user, Eq. 1 to 8.

    The score of item j is linear in its output vector: r_uj = q . q_j + b_j with q from `queries`. Item and user ids
    are 0-based; -1 stands for padding on the left of `short` and `long`, and for an unknown user, whose vector is the
    mean of all users'.

    Parameters carry the paper's names: P (users, d), E and Q (items, d) and b (items) for users, input items and
    output items; W1 and W2 (d, 2d), Wa1 and Wa2 (d, d), Wa3 (h, d), K and V (d, m), Wg1 to Wg3 and Wr (d, d). Those
    of a part that is left out do not exist. Embeddings start normal with standard deviation 1/d, b at zero, matrices
    Xavier-uniform.

    Args:
        num_users: M.
        num_items: N.
        d: size of the vectors.
        h: dimensions of the attention.
        m: memory units.
        graph: the item graph (`item_graph`), "window" for the one that each window makes by itself (neighbours are
            the items at most 3 places away), or None: `fit` builds it from the sequences that it trains on.
        L: items in the short-term window.
        max_long: items of the long-term history.
        short_term: "mean" of h_i as in Eq. 6; "user_fused" puts p^S of Eq. 2 in its place; "none" leaves it out.
        long_term: "memory" is p^H = z + o; "attention" is z alone; "none" leaves it out.
        fusion: "gate" is Eq. 6; "concat" and "gru" (h is the input, p^H the state) are the paper's ablations. With
            one of short-term and long-term interest left out, the other is p^C.
        gnn_steps: how often Eq. 1 is applied, with one W1.
        attention_axis: what the weights of Eq. 3 sum to 1 over.
        cooccurrence: "bilinear" has Wr, "identity" is the mean of e_i . q_j, "sum" their sum, "none" leaves it out.
        output_bias: have b, which the paper's formula has not and public code has.
        position: which position an earlier item has: its "slot" in the left-padded history, or its distance
            "from_end", by which the amount of padding makes no difference.
        mask_history: attend to real items only; otherwise padding is attended as zero vectors.
        dtype: of all parameters.
        rngs: for the initial parameters.

    Raises:
        ValueError: sizes below 1, an unknown option, a graph of another catalogue.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        d: int = 50,
        h: int = 20,
        m: int = 20,
        *,
        graph: ItemGraph | Literal["window"] | None = None,
        L: int = 5,
        max_long: int = 20,
        short_term: ShortTerm = "mean",
        long_term: LongTerm = "memory",
        fusion: Fusion = "gate",
        gnn_steps: int = 1,
        attention_axis: AttentionAxis = "items",
        cooccurrence: Cooccurrence = "bilinear",
        output_bias: bool = True,
        position: Position = "slot",
        mask_history: bool = True,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        sizes = {"num_users": num_users, "num_items": num_items, "d": d, "h": h, "m": m, "L": L, "gnn_steps": gnn_steps}
        check_sizes(sizes | {"max_long": max_long})
        options: dict[str, tuple[str, Any]] = {
            "short_term": (short_term, ShortTerm),
            "long_term": (long_term, LongTerm),
            "fusion": (fusion, Fusion),
            "attention_axis": (attention_axis, AttentionAxis),
            "cooccurrence": (cooccurrence, Cooccurrence),
            "position": (position, Position),
        }
        check_options(options)
        self.num_users, self.num_items, self.L, self.max_long = num_users, num_items, L, max_long
        self.d, self.h, self.m, self.gnn_steps = d, h, m, gnn_steps
        self.short_term, self.long_term, self.fusion = short_term, long_term, fusion
        self.attention_axis, self.cooccurrence = attention_axis, cooccurrence
        self.position, self.mask_history = position, mask_history
        self.dtype = jnp.dtype(dtype)

        def embedding(rows: int) -> nnx.Param:
            return nnx.Param(jax.random.normal(rngs.params(), (rows, d), dtype) / d)

        def matrix(rows: int, columns: int, wanted: bool = True) -> Any:
            xavier = jax.nn.initializers.xavier_uniform()
            return nnx.Param(xavier(rngs.params(), (rows, columns), dtype)) if wanted else None

        has_short, has_long = short_term != "none", long_term != "none"
        fused = fusion if has_short and has_long else None
        self.P, self.E, self.Q = embedding(num_users), embedding(num_items), embedding(num_items)
        self.b = nnx.Param(jnp.zeros(num_items, dtype)) if output_bias else None
        self.W1 = matrix(d, 2 * d, has_short)
        self.W2 = matrix(d, 2 * d, short_term == "user_fused")
        self.Wa1, self.Wa2, self.Wa3 = matrix(d, d, has_long), matrix(d, d, has_long), matrix(h, d, has_long)
        self.K, self.V = (matrix(d, m, long_term == "memory") for _ in range(2))
        self.Wg1, self.Wg2, self.Wg3 = (matrix(d, d, fused == "gate") for _ in range(3))
        self.Wc = matrix(d, 2 * d, fused == "concat")
        self.gru = nnx.GRUCell(d, d, param_dtype=dtype, dtype=dtype, rngs=rngs) if fused == "gru" else None
        self.Wr = matrix(d, d, cooccurrence == "bilinear")
        self.window_graph = isinstance(graph, str)
        self.adjacency = Fixed(None)
        if isinstance(graph, str):
            if graph != "window":
                raise ValueError(f"graph must be an ItemGraph, 'window' or None, but is {graph!r}")
        elif graph is not None:
            self.set_graph(graph)

    @property
    def graph(self) -> ItemGraph | Literal["window"] | None:
        """The item graph; "window" where each window is its own; None until `fit` or `set_graph` gives one."""
        return "window" if self.window_graph else self.adjacency.get_value()

    @property
    def needs_graph(self) -> bool:
        """Whether the model reads an item graph that it does not have yet."""
        return self.short_term != "none" and self.graph is None

    def set_graph(self, graph: ItemGraph) -> None:
        """Give the model its item graph, in the model's floating-point type.

        Raises:
            ValueError: a graph of another catalogue, or a model whose windows are their own graphs.
        """
        if self.window_graph:
            raise ValueError("this model was made with graph='window', so that it has no item graph to set")
        if graph.num_items != self.num_items:
            raise ValueError(f"the graph has {graph.num_items} items, but the model has {self.num_items}")
        self.adjacency.set_value(graph.astype(self.dtype))

    def query(
        self,
        users: Int[Array | np.ndarray, " batch"],
        short: Int[Array | np.ndarray, "batch L"],
        long: Int[Array | np.ndarray, "batch S"],
        short_mask: Bool[Array | np.ndarray, "batch L"] | None = None,
        long_mask: Bool[Array | np.ndarray, "batch S"] | None = None,
    ) -> Float[Array, "batch d"]:
        """Query vectors of users with their last items, ids checked (outside jit).

        Args:
            users: 0-based; -1 for an unknown user.
            short: the last items, oldest first, padded on the left by -1.
            long: the items before them, in the same way.
            short_mask: which items are real; by default those that are not -1.
            long_mask: the same for `long`.

        Returns:
            Vectors for `score` and `score_all`.

        Raises:
            ValueError: an id that is out of range (named), or a model that has no item graph yet.
        """
        return self.queries(self._checked_batch(users, short, long, short_mask, long_mask))

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """q = p_u + p^C + Wr^T mean_i e_i for every row of a batch, Eq. 1 to 7.

        Args:
            batch: users, short and long; its targets are not read.

        Returns:
            Query vectors.

        Raises:
            ValueError: the model has no item graph yet.
        """
        return self.parts(batch).query

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """Output vectors and biases: the score of item j is q . Q[j] + b[j]."""
        Q = self.Q[...]
        return Q, jnp.zeros(self.num_items, Q.dtype) if self.b is None else self.b[...]

    def score(self, q: Float[Array, "batch d"], items: Int[Array | np.ndarray, "batch k"]) -> Float[Array, "batch k"]:
        """Scores of some items for each query; `items` are 0-based ids."""
        return item_scores(self, q, jnp.asarray(items))

    def score_all(self, q: Float[Array, "batch d"]) -> Float[Array, "batch items"]:
        """Scores of the whole catalogue for each query, in one product."""
        Q, b = self.item_table()
        return q @ Q.T + b

    def explain(
        self,
        users: Int[Array | np.ndarray, " batch"],
        short: Int[Array | np.ndarray, "batch L"],
        long: Int[Array | np.ndarray, "batch S"],
    ) -> Explanation:
        """The terms of every item's score, and what the gate, the attention and the memory do.

        Args:
            users: as for `query`.
            short: as for `query`.
            long: as for `query`.

        Returns:
            The terms, four numbers for each user and item, and the inner weights.

        Raises:
            ValueError: as for `query`.
        """
        return _explained(self, self._checked_batch(users, short, long, None, None))

    def memory_weights(self, items: Int[Array | np.ndarray, " k"]) -> Float[Array, "k m"]:
        """softmax(e_i^T K): which memory units an item addresses, the paper's case study on films.

        Raises:
            ValueError: an id out of range, or a model without a memory.
        """
        if self.K is None:
            raise ValueError(f"a model with long_term={self.long_term!r} has no memory")
        return memory_weights(self.E[...][checked_ids("items", items, self.num_items, least=0)], self.K[...])

    def parts(self, batch: Batch) -> Parts:
        """All that leads to the query vectors, for a look inside; under jit only what is used is computed."""
        if self.needs_graph:
            raise ValueError(
                "this model has no item graph yet: `fit` builds one from its training sequences; before that, call "
                "model.set_graph(item_graph(sequences)), or make the model with graph='window'"
            )
        users, short, long = batch.users, batch.short, batch.long
        P = self.P[...]
        p = jnp.where(users[:, None] < 0, P.mean(axis=0), lookup(P, users))
        h_mean, e_mean = self._short(short)
        short_term = h_mean
        if h_mean is not None and self.W2 is not None:
            short_term = fuse_user(h_mean, p, self.W2[...])
        S, Z, z = self._attention(long, p)
        s = o = long_term = None
        if z is not None:
            s = None if self.K is None else memory_weights(z, self.K[...])
            o = None if s is None else memory_read(s, self.V[...])
            long_term = z if o is None else z + o
        gate, interest = self._fuse(short_term, long_term, p)
        Wr = None if self.Wr is None else self.Wr[...]
        cooccurrence = recent_items(e_mean, short >= 0, self.cooccurrence, Wr)
        return Parts(p, h_mean, short_term, S, Z, z, s, o, long_term, gate, interest, cooccurrence)

    def _short(self, short: Int[Array, "batch L"]) -> tuple[Array | None, Array]:
        """Means over the window of the hidden vectors of Eq. 1 and of the items' own vectors."""
        mask, E = short >= 0, self.E[...]
        if self.short_term == "none":
            return None, masked_mean(lookup(E, short), mask)
        graph = self.graph
        if isinstance(graph, ItemGraph):
            return global_means(short, E, self.W1[...], graph, self.gnn_steps)
        return window_means(short, E, self.W1[...], self.gnn_steps)

    def _attention(self, long: Int[Array, "batch S"], p: Float[Array, "batch d"]) -> tuple[Array | None, ...]:
        """S, Z and z of Eq. 3."""
        if self.long_term == "none":
            return None, None, None
        H, hidden = history(long, self.E[...], self.Wa1[...], from_end=self.position == "from_end")
        hidden = hidden + (p @ self.Wa2[...].T)[:, None]
        return attention(hidden, H, long >= 0 if self.mask_history else None, self.Wa3[...], self.attention_axis)

    def _fuse(self, short: Array | None, long: Array | None, p: Array) -> tuple[Array | None, Array | None]:
        """g, where there is one, and p^C, Eq. 6."""
        if short is None or long is None:
            return None, long if short is None else short
        if self.Wc is not None:
            return None, concatenated(short, long, self.Wc[...])
        if self.gru is not None:
            return None, self.gru(long, short)[0]
        g = fusion_gate(short, long, p, self.Wg1[...], self.Wg2[...], self.Wg3[...])
        return g, gated(g, short, long)

    def _checked_batch(self, users, short, long, short_mask, long_mask) -> Batch:
        users = checked_ids("users", users, self.num_users)
        short, long = (
            jnp.where(jnp.asarray(mask, bool), jnp.asarray(ids), -1) if mask is not None else ids
            for ids, mask in ((short, short_mask), (long, long_mask))
        )
        short, long = (checked_ids(name, ids, self.num_items) for name, ids in (("short", short), ("long", long)))
        return Batch(users, short, long, jnp.zeros((users.shape[0], 0), jnp.int32))


@nnx.jit
def _explained(model: MAGNN, batch: Batch) -> Explanation:
    parts = model.parts(batch)
    Q, b = model.item_table()
    user, interest, cooccurrence = (
        jnp.zeros((len(parts.user), len(Q)), Q.dtype) if vector is None else vector @ Q.T
        for vector in (parts.user, parts.interest, parts.cooccurrence)
    )
    bias = jnp.broadcast_to(b, user.shape)
    inner = parts.gate, parts.attention, parts.memory, parts.long_term
    return Explanation(user, interest, cooccurrence, bias, *inner)
