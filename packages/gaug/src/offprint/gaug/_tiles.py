"""The pairs i < j of N nodes in square blocks: what a pass over all pairs needs without an N x N array."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from offprint.gaug._graph import Graph
from offprint.gaug._uniforms import pair_uniforms

CHUNK = 512
"""Edges that are written into a block at a time."""


@dataclass(frozen=True)
class Tiles:
    """Blocks of `block_size` x `block_size` pairs that hold every pair i < j of `num_nodes` nodes once.

    Block (a, b), a <= b, has the nodes of part a as rows and those of part b as columns.

    Raises:
        ValueError: `block_size` is below 1.
    """

    num_nodes: int
    block_size: int

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise ValueError(f"block_size must be at least 1, but is {self.block_size}")
        # A block larger than the graph would only hold padding.
        object.__setattr__(self, "block_size", min(self.block_size, self.num_nodes))

    @property
    def parts(self) -> int:
        return -(-self.num_nodes // self.block_size)

    @property
    def count(self) -> int:
        return self.parts * (self.parts + 1) // 2

    @property
    def indices(self) -> Int[Array, "tiles 3"]:
        """(number of the block, its a, its b) for every block, row by row."""
        a, b = np.triu_indices(self.parts)
        return jnp.asarray(np.stack([np.arange(len(a)), a, b], axis=1), jnp.int32)

    def pad(self, rows: Float[Array, "nodes d"]) -> Float[Array, "padded d"]:
        """Rows of zeros behind the last, up to whole parts."""
        return jnp.pad(rows, ((0, self.parts * self.block_size - self.num_nodes), (0, 0)))

    def rows(self, padded: Float[Array, "padded d"], tile: Int[Array, "3"]) -> Float[Array, "block d"]:
        return lax.dynamic_slice_in_dim(padded, tile[1] * self.block_size, self.block_size)

    def columns(self, padded: Float[Array, "padded d"], tile: Int[Array, "3"]) -> Float[Array, "block d"]:
        return lax.dynamic_slice_in_dim(padded, tile[2] * self.block_size, self.block_size)

    def above_diagonal(self, tile: Int[Array, "3"]) -> Bool[Array, "block block"]:
        """Which pairs of the block have i < j < N."""
        local = jnp.arange(self.block_size, dtype=jnp.int32)
        i, j = (tile[1] * self.block_size + local)[:, None], (tile[2] * self.block_size + local)[None, :]
        return (i < j) & (j < self.num_nodes)

    def add_symmetric(
        self,
        padded: Float[Array, "padded d"],
        tile: Int[Array, "3"],
        to_rows: Float[Array, "block d"],
        to_columns: Float[Array, "block d"],
    ) -> Float[Array, "padded d"]:
        """Add to the rows of both parts of a block."""
        for part, update in ((tile[1], to_rows), (tile[2], to_columns)):
            at = part * self.block_size
            old = lax.dynamic_slice_in_dim(padded, at, self.block_size)
            padded = lax.dynamic_update_slice_in_dim(padded, old + update, at, 0)
        return padded

    def uniforms(
        self, source: Key[Array, ""] | Float[Array, "nodes nodes"], tile: Int[Array, "3"], dtype: np.dtype
    ) -> Float[Array, "block block"]:
        """Uniform numbers of a block: from the key and the nodes' ids, or cut out of a given (N, N) array."""
        side = self.block_size
        if jnp.issubdtype(source.dtype, jax.dtypes.prng_key):
            local = jnp.arange(side, dtype=jnp.int32)
            return pair_uniforms(source, tile[1] * side + local, tile[2] * side + local, dtype)
        beyond = self.parts * side - self.num_nodes
        padded = jnp.pad(source, ((0, beyond), (0, beyond)))
        return lax.dynamic_slice(padded, (tile[1] * side, tile[2] * side), (side, side)).astype(dtype)


class TileEdges(NamedTuple):
    """The edges of a graph, each once, sorted by the block that they lie in."""

    position: Int[Array, " entries"]
    """Row times `block_size` plus column inside the block; `CHUNK` entries more than the graph has."""
    starts: Int[Array, " starts"]
    """Where each block begins; the last number is the end."""

    @staticmethod
    def of(g: Graph, tiles: Tiles) -> "TileEdges":
        side, parts = tiles.block_size, tiles.parts
        a, b = g.senders // side, g.receivers // side
        number = a * parts - a * (a - 1) // 2 + b - a
        number = jnp.where(g.edge_mask & (g.senders < g.receivers), number, tiles.count)
        order = jnp.argsort(number)
        position = (g.senders % side * side + g.receivers % side)[order]
        starts = jnp.searchsorted(number[order], jnp.arange(tiles.count + 1, dtype=number.dtype)).astype(jnp.int32)
        return TileEdges(jnp.pad(position, (0, CHUNK)), starts)

    def add(
        self, values: Float[Array, "block block"], tile: Int[Array, "3"], amount: Float[Array, ""] | float | int
    ) -> Float[Array, "block block"]:
        """Add `amount` to the entries of a block that are edges."""
        first, end = self.starts[tile[0]], self.starts[tile[0] + 1]

        def write(chunk: Array, flat: Array) -> Array:
            at = first + chunk * CHUNK
            position = lax.dynamic_slice_in_dim(self.position, at, CHUNK)
            inside = at + jnp.arange(CHUNK, dtype=jnp.int32) < end
            return flat.at[jnp.where(inside, position, flat.size)].add(amount, mode="drop")

        chunks = (end - first + CHUNK - 1) // CHUNK
        return lax.fori_loop(0, chunks, write, values.reshape(-1)).reshape(values.shape)
