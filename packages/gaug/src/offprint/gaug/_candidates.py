"""Sampling among likely pairs only: an approximation for graphs whose pairs are too many to go through."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from offprint.gaug._draw import TINY, straight_through
from offprint.gaug._graph import Graph
from offprint.gaug._pytree import pytree
from offprint.gaug._scores import top_pairs
from offprint.gaug._uniforms import entry_uniforms


@pytree
@dataclass(frozen=True)
class Candidates:
    """The pairs that a graph may be sampled from; all others are absent and get no gradient."""

    graph: Graph  # every candidate as an edge
    given: Bool[Array, " entries"]  # whether it is an edge of the given graph

    def sample(
        self, key: PRNGKeyArray, z: Float[Array, "nodes embed"], *, alpha: float | int, temperature: float | int
    ) -> Graph:
        """A sampled graph: weights 0 and 1, with the straight-through gradient of a dense sample at these pairs."""
        c = self.graph
        largest = jnp.maximum((z * z).sum(1).max(), TINY)
        scores = (z[c.senders] * z[c.receivers]).sum(1) / largest
        p = alpha * scores + (1 - alpha) * self.given
        # One number for both directions.
        u = entry_uniforms(key, jnp.minimum(c.senders, c.receivers), jnp.maximum(c.senders, c.receivers), p.dtype)
        weights = straight_through(p, u, temperature, "binary_concrete") * c.edge_mask
        return Graph(c.senders, c.receivers, weights, c.edge_mask, c.num_nodes)


def find_candidates(g: Graph, z: Any, per_node: int, rng: np.random.Generator) -> Candidates:
    """The edges of the graph, the pairs with the highest scores, and as many at random; for use outside jit.

    Args:
        g: the given graph.
        z: (N, z) the embedding.
        per_node: likely pairs over the number of nodes.
        rng: for the random pairs.

    Returns:
        Candidates whose arrays have a size that depends on the graph and `per_node` alone.
    """
    nodes, edges = g.num_nodes, g.edges().astype(np.int64)
    k = min(per_node * nodes, nodes * (nodes - 1) // 2 - len(edges))
    likely, _ = top_pairs(z, k, exclude=g)
    drawn = np.sort(rng.integers(0, nodes, (k, 2)), axis=1)
    drawn = drawn[drawn[:, 0] < drawn[:, 1]]
    known = edges[:, 0] * nodes + edges[:, 1]
    keys = np.unique(np.concatenate([known, *(p[:, 0].astype(np.int64) * nodes + p[:, 1] for p in (likely, drawn))]))
    pairs = np.stack([keys // nodes, keys % nodes], axis=1)
    graph = Graph.from_edges(pairs, nodes, pad_to=2 * (len(edges) + 2 * k))
    low, high = (np.sort(np.stack([np.asarray(graph.senders), np.asarray(graph.receivers)]), axis=0)).astype(np.int64)
    given = np.isin(low * nodes + high, known) & np.asarray(graph.edge_mask)
    return Candidates(graph, jnp.asarray(given))
