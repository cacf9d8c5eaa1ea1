"""A graph drawn from the edge predictor as a list of edges, with the exact gradient of the dense matrix by blocks.

The straight-through gradient of a drawn graph is dense: pairs that were not drawn have one too. But layers only ever
multiply by A' and sum its rows, so that the gradient of a loss with respect to A' has low rank,

    ∂loss/∂A'_ij = Σ_l V̄_i^l · U_j^l + q_i   with  V^l = A' U^l,

V̄ the cotangents of what was collected, U what was collected from, q that of the degrees. Given those, one pass over
the blocks of pairs gives ∂loss/∂Z: logits, probabilities and uniform numbers of a block are made again, used and
forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Key

from offprint.gaug._collect import weighted_sum
from offprint.gaug._draw import TINY, ScoreMap, check_settings
from offprint.gaug._graph import Graph
from offprint.gaug._law import BlockEstimator, Law, draw_edges, pair_gradient
from offprint.gaug._normalize import AggregateKind
from offprint.gaug._pytree import pytree
from offprint.gaug._tiles import TileEdges, Tiles


@pytree
@dataclass(frozen=True)
class SampledGraph:
    """A drawn graph, sparse forwards, with the straight-through gradient of the dense matrix; made by `sample_graph`.

    The classifiers of this package that only aggregate take it in place of a graph; so may your own functions, through
    `aggregate`. Each `aggregate` costs one pass over all pairs backwards: `apply` does with one for a whole network.
    """

    senders: Int[Array, " entries"]
    """(2 capacity,) int32; both directions of each edge, in the order in which they were drawn."""
    receivers: Int[Array, " entries"]
    weights: Float[Array, " entries"]
    """1 for an edge, 0 for an empty place; NaN if there were more edges than places."""
    num_drawn: Int[Array, ""]
    """Edges that were drawn, whether they found a place or not."""
    z: Float[Array, "nodes embed"]
    law: Law

    @property
    def num_nodes(self) -> int:
        return self.z.shape[0]

    @property
    def capacity(self) -> int:
        """Edges that there is room for."""
        return self.senders.shape[0] // 2

    def check(self) -> "SampledGraph":
        """The graph itself, if all its edges found a place; for use outside jit.

        Raises:
            RuntimeError: more edges were drawn than `capacity`.
        """
        if int(self.num_drawn) > self.capacity:
            raise RuntimeError(
                f"{int(self.num_drawn)} edges were drawn, but there is room for {self.capacity}: sample with "
                f"capacity={int(self.num_drawn)} or more (expected_edges says how many to expect)"
            )
        return self

    def edges(self) -> Int[np.ndarray, "edges 2"]:
        """(E', 2) int32: every drawn edge once, i < j, sorted; for use outside jit.

        Raises:
            RuntimeError: as `check`.
        """
        self.check()
        count = int(self.num_drawn)
        pairs = np.stack([np.asarray(self.senders)[:count], np.asarray(self.receivers)[:count]], axis=1)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def aggregate(self, h: Float[Array, "nodes d"], kind: AggregateKind = "sym") -> Float[Array, "nodes d"]:
        """A' h with A' normalised as `kind` says; gradients flow to h and to the embedding that A' was drawn from."""
        return self.apply(lambda graph, h: graph.aggregate(h, kind), h)

    def apply(self, fun: Callable[..., Any], *args: Any) -> Any:
        """`fun(graph, *args)`, with one pass over all pairs backwards however often `fun` aggregates.

            logits = graph.apply(lambda graph, params: nnx.merge(graphdef, params)(graph, x), params)

        Args:
            fun: uses the graph that it is handed only through `aggregate(h, kind)`. What is to get a gradient must be
                among `args`, not closed over.
            args: pytrees.
        """
        return _apply(fun, self.z, (self.senders, self.receivers, self.weights, self.law), args)


def sample_graph(
    key_or_uniforms: Key[Array, ""] | Float[Array | np.ndarray, "nodes nodes"],
    z: Float[Array | np.ndarray, "nodes embed"],
    g: Graph,
    *,
    alpha: Float[Array, ""] | float | int = 1.0,
    temperature: Float[Array, ""] | float | int = 1.0,
    capacity: int,
    block_size: int = 1024,
    estimator: BlockEstimator = "binary_concrete",
    score_map: ScoreMap = "max",
) -> SampledGraph:
    """As `sample_adjacency` of the logits Z Zᵀ, value and gradient, without an N x N array.

    O(N² z) time, O(N z + capacity + block_size²) memory. With the same uniform numbers the edges are the same as those
    of the dense matrix, and so are gradients up to rounding.

    Args:
        key_or_uniforms: a key (a pair draws by its two nodes, so that every block size draws the same graph),
            or uniform numbers (N, N) of which those above the diagonal are used.
        z: embedding (N, z).
        g: the original graph, without self-loops; its weights are not looked at.
        alpha, temperature, score_map, estimator: as in `sample_adjacency`; no gradient flows to numbers among them.
        capacity: edges that there is room for; see `expected_edges`.
        block_size: nodes on a side of a block; a block's arrays should fit the processor's cache.

    Returns:
        The graph. If more edges are drawn than there is room for, all that is collected on it is NaN, and
        `SampledGraph.check` outside jit says how much room is needed.

    Raises:
        ValueError: shapes that do not fit, `capacity` or `block_size` below 1, α outside [0, 1], τ not above 0, an
            unknown name.
        RuntimeError: more edges than `capacity`, where the values are known (not under jit).
    """
    check_settings(alpha, temperature, estimator, score_map)
    _check_shapes(key_or_uniforms, z, g, capacity, estimator)
    z, tiles = jnp.asarray(z), Tiles(g.num_nodes, block_size)
    known = not isinstance(alpha, jax.core.Tracer)
    law = Law(
        jnp.asarray(key_or_uniforms, None if _is_key(key_or_uniforms) else z.dtype),
        TileEdges.of(g, tiles),
        jnp.asarray(alpha, z.dtype),
        jnp.asarray(temperature, z.dtype),
        tiles,
        estimator,
        score_map,
        not (known and float(alpha) == 1),
    )
    i, j, drawn = draw_edges(lax.stop_gradient(z), law, capacity)
    place = jnp.arange(capacity) < drawn
    weights = jnp.where(drawn > capacity, jnp.nan, place.astype(z.dtype))
    both = partial(jnp.concatenate, axis=0)
    graph = SampledGraph(both([i, j]), both([j, i]), both([weights, weights]), drawn, z, law)
    return graph if isinstance(drawn, jax.core.Tracer) else graph.check()


def expected_edges(
    z: Float[Array | np.ndarray, "nodes embed"], g: Graph, *, alpha: Float[Array, ""] | float | int = 1.0
) -> Float[Array, ""]:
    """Σ_{i<j} P_ij, how many edges `sample_graph` draws in the mean with `score_map="max"`, in O(N z).

    True for embeddings without negative entries; clipping of negative logits makes it more for others. The number drawn
    spreads by less than the square root of this.
    """
    z = jnp.asarray(z)
    squares = (z * z).sum(1)
    pairs = ((z.sum(0) ** 2).sum() - squares.sum()) / 2
    return alpha * pairs / jnp.maximum(squares.max(), TINY) + (1 - alpha) * g.edge_mask.sum() / 2


def _check_shapes(source: Any, z: Any, g: Graph, capacity: int, estimator: str) -> None:
    n = g.num_nodes
    if estimator not in get_args(BlockEstimator):
        raise ValueError(f"estimator {estimator!r} needs the dense matrix: use sample_adjacency")
    if z.ndim != 2 or z.shape[0] != n:
        raise ValueError(f"z has shape {z.shape}, but the graph has {n} nodes: ({n}, z) is needed")
    if not _is_key(source) and source.shape != (n, n):
        raise ValueError(f"uniforms have shape {source.shape}; ({n}, {n}) is needed")
    if capacity < 1:
        raise ValueError(f"capacity, the number of edges that there is room for, must be at least 1, but is {capacity}")


def _is_key(source: Any) -> bool:
    return jnp.issubdtype(source.dtype, jax.dtypes.prng_key)


class _View:
    """The drawn graph inside `apply`: notes what is aggregated, and adds to every result a probe of zeros.

    The gradient of a probe is the cotangent of the result that it was added to.
    """

    def __init__(self, parts: tuple[Any, ...], degrees: Array, probes: list[Array] | None):
        self.senders, self.receivers, self.weights, _ = parts
        self.degrees, self.probes = degrees, probes
        self.inputs: list[Array] = []

    @property
    def num_nodes(self) -> int:
        return self.degrees.shape[0]

    def aggregate(self, h: Array, kind: AggregateKind = "sym") -> Array:
        if kind not in get_args(AggregateKind):
            raise ValueError(f"kind {kind!r} is unknown; one of {', '.join(get_args(AggregateKind))} is needed")
        if kind == "sum":
            return self._collect(h) + h
        if kind == "row":
            return (self._collect(h) + h) / self.degrees[:, None]
        scale = lax.rsqrt(self.degrees)[:, None]
        scaled = scale * h
        return scale * (self._collect(scaled) + scaled)

    def _collect(self, u: Array) -> Array:
        number = len(self.inputs)
        self.inputs.append(u)
        collected = weighted_sum(self.senders, self.receivers, self.weights, u)
        return collected if self.probes is None else collected + self.probes[number]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(fun: Callable[..., Any], z: Array, parts: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    return fun(_View(parts, _degrees(parts, z), None), *args)


def _apply_forward(fun: Callable[..., Any], z: Array, parts: tuple[Any, ...], args: tuple[Any, ...]) -> Any:
    degrees = _degrees(parts, z)

    def inputs(args: Any) -> list[Array]:
        view = _View(parts, degrees, None)
        fun(view, *args)
        return view.inputs

    def run(degrees: Array, probes: list[Array], args: Any) -> tuple[Any, list[Array]]:
        view = _View(parts, degrees, probes)
        out = fun(view, *args)
        return out, view.inputs

    probes = [jnp.zeros(u.shape, u.dtype) for u in jax.eval_shape(inputs, args)]
    out, pull, collected = jax.vjp(run, degrees, probes, args, has_aux=True)
    return out, (z, parts[-1], pull, collected)


def _apply_backward(fun: Callable[..., Any], residuals: Any, cotangent: Any) -> tuple[Any, ...]:
    z, law, pull, collected = residuals
    of_degrees, of_probes, of_args = pull(cotangent)
    if not collected:  # the graph was not used
        return jnp.zeros_like(z), None, of_args
    left, right = ([columns.astype(z.dtype) for columns in side] for side in (of_probes, collected))
    return pair_gradient(z, law, left, right, of_degrees.astype(z.dtype)), None, of_args


_apply.defvjp(_apply_forward, _apply_backward)


def _degrees(parts: tuple[Any, ...], z: Array) -> Array:
    """Of A' with its self-loops."""
    _, receivers, weights, _ = parts
    return 1 + jax.ops.segment_sum(weights, receivers, z.shape[0])
