"""How pairs are drawn block by block, and the two passes over all of them: drawing edges, and the gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from offprint.gaug._draw import TINY, ScoreMap, keep, slope
from offprint.gaug._pytree import pytree
from offprint.gaug._tiles import TileEdges, Tiles

BlockEstimator = Literal["binary_concrete", "gumbel_paper"]
GROUP = 32
"""Pairs that are counted together when the drawn ones are looked for."""
FOUND = 1024
"""Drawn pairs that are written down at a time."""


@pytree
@dataclass(frozen=True)
class Law:
    """What the pairs are drawn by: everything but the embedding."""

    source: Key[Array, ""] | Float[Array, "nodes nodes"]
    edges: TileEdges
    alpha: Float[Array, ""]
    temperature: Float[Array, ""]
    tiles: Tiles = field(metadata={"static": True})
    estimator: BlockEstimator = field(metadata={"static": True})
    score_map: ScoreMap = field(metadata={"static": True})
    keeps_original: bool = field(metadata={"static": True})
    """False where α is known to be 1, so that the original edges do not matter."""

    def scale(self, z: Float[Array, "nodes embed"]) -> Float[Array, ""]:
        """What logits are multiplied by: 1 / max ‖z_i‖² for `"max"`."""
        return 1 / jnp.maximum((z * z).sum(1).max(), TINY) if self.score_map == "max" else jnp.ones((), z.dtype)

    def probabilities(self, rows: Array, columns: Array, scale: Array, tile: Array) -> tuple[Array, Array]:
        """(P, ∂P/∂L) of a block; the second is one number for `"max"`."""
        alpha, logits = self.alpha, rows @ columns.T
        if self.score_map == "max":
            p, by_logit = logits * (alpha * scale), alpha * scale
        else:
            scores = jax.nn.sigmoid(logits)
            p, by_logit = alpha * scores, alpha * scores * (1 - scores)
        return (self.edges.add(p, tile, 1 - alpha) if self.keeps_original else p), by_logit


def draw_edges(
    z: Float[Array, "nodes embed"], law: Law, capacity: int
) -> tuple[Int[Array, " capacity"], Int[Array, " capacity"], Int[Array, ""]]:
    """Both ends i < j of the drawn edges, block by block, and how many there are, also when that is beyond `capacity`.

    Empty places point to the last node.
    """
    tiles, scale = law.tiles, law.scale(z)
    rows = tiles.pad(z)

    def draw(carry: tuple[Array, Array, Array], tile: Array) -> tuple[tuple[Array, Array, Array], None]:
        p, _ = law.probabilities(tiles.rows(rows, tile), tiles.columns(rows, tile), scale, tile)
        u = tiles.uniforms(law.source, tile, z.dtype)
        drawn = keep(p, u, law.estimator) & tiles.above_diagonal(tile)
        return _write_down(drawn, tile[1:] * tiles.block_size, carry, capacity), None

    # Whole portions are written: the last one may reach beyond what is used.
    empty = jnp.zeros(capacity + FOUND, jnp.int32)
    start = (empty, empty, jnp.zeros((), jnp.int32))
    (i, j, count), _ = lax.scan(draw, start, tiles.indices)
    used = jnp.arange(capacity) < count
    return jnp.where(used, i[:capacity], z.shape[0] - 1), jnp.where(used, j[:capacity], z.shape[0] - 1), count


def _write_down(
    drawn: Bool[Array, "block block"], corner: Int[Array, "2"], lists: tuple[Array, Array, Array], capacity: int
) -> tuple[Array, Array, Array]:
    """Append the places of the drawn pairs of a block to the lists."""
    side = drawn.shape[1]
    groups = jnp.pad(drawn.reshape(-1), (0, -drawn.size % GROUP)).reshape(-1, GROUP)
    ends = jnp.cumsum(groups.sum(1, dtype=jnp.int32))

    def portion(number: Array, lists: tuple[Array, Array]) -> tuple[Array, Array]:
        wanted = number * FOUND + jnp.arange(FOUND, dtype=jnp.int32)
        group = jnp.minimum(jnp.searchsorted(ends, wanted, side="right").astype(jnp.int32), len(ends) - 1)
        within = groups[group]
        rank = wanted - jnp.where(group > 0, ends[group - 1], 0)
        place = group * GROUP + jnp.argmax(jnp.cumsum(within, axis=1, dtype=jnp.int32) > rank[:, None], axis=1)
        at = jnp.minimum(count + number * FOUND, capacity)
        found = (corner[0] + place // side, corner[1] + place % side)
        i, j = (lax.dynamic_update_slice(old, new.astype(jnp.int32), (at,)) for old, new in zip(lists, found))
        return i, j

    i, j, count = lists
    i, j = lax.fori_loop(0, (ends[-1] + FOUND - 1) // FOUND, portion, (i, j))
    return i, j, count + ends[-1]


def pair_gradient(
    z: Float[Array, "nodes embed"],
    law: Law,
    left: Sequence[Float[Array, "nodes _"]],
    right: Sequence[Float[Array, "nodes _"]],
    of_degrees: Float[Array, " nodes"],
) -> Float[Array, "nodes embed"]:
    """∂loss/∂Z where ∂loss/∂A'_ij = Σ_l left^l_i · right^l_j + of_degrees_i, in one pass over all pairs.

    Both entries of a pair come from one draw, so their gradients add up. The largest logit is a squared length, and its
    own gradient needs no sum over pairs of its own: Σ_{i<j} ∂loss/∂L_ij L_ij is half of Σ_i z_i · (what z_i has got).
    """
    tiles, scale = law.tiles, law.scale(z)
    rows = tiles.pad(z)
    cotangents, inputs = ([tiles.pad(columns) for columns in side] for side in (left, right))
    ones, degrees = tiles.pad(jnp.ones((z.shape[0], 1), z.dtype)), tiles.pad(of_degrees[:, None])

    def add(gradient: Array, tile: Array) -> tuple[Array, None]:
        def beside(part: Callable[..., Array], *columns: Array) -> Array:
            # One block at a time: side by side for all nodes these would be the largest arrays of all.
            return jnp.concatenate([part(column, tile) for column in columns], axis=1)

        of_rows, of_columns = tiles.rows(rows, tile), tiles.columns(rows, tile)
        p, by_logit = law.probabilities(of_rows, of_columns, scale, tile)
        u = tiles.uniforms(law.source, tile, z.dtype)
        forth = beside(tiles.rows, *cotangents, *inputs, degrees, ones)
        back = beside(tiles.columns, *inputs, *cotangents, ones, degrees)
        steep = slope(p, u, law.temperature, law.estimator)
        of_logits = jnp.where(tiles.above_diagonal(tile), (forth @ back.T) * steep * by_logit, 0)
        return tiles.add_symmetric(gradient, tile, of_logits @ of_columns, of_logits.T @ of_rows), None

    gradient, _ = lax.scan(add, jnp.zeros_like(rows), tiles.indices)
    gradient = gradient[: z.shape[0]]
    if law.score_map == "sigmoid":
        return gradient
    lengths, pull = jax.vjp(lambda z: jnp.maximum((z * z).sum(1).max(), TINY), z)
    return gradient + pull(-0.5 * (z * gradient).sum() / lengths)[0]
