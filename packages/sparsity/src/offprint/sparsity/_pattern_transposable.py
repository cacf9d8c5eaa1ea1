"""N:M along both axes at once, so that the transpose that the backward pass needs is N:M as well."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Num

from offprint.sparsity._pattern import Shape
from offprint.sparsity._topk import ordered_keys, reserved, zero_like

# Scores are rounded to integers of this many levels in each tile: sums along a path stay exact and within int32.
_LEVELS = 2**22
_BARRED = -(2**25)


@dataclass(frozen=True)
class TransposableNM:
    """n of every m kept along both of the last two axes, in tiles of m by m (hubara2021transposable).

    Attributes:
        n: kept elements of every row and column of a tile.
        m: side of a tile, at most 16; it must divide both axes.
        method: 'exact', the mask of the highest total score (a minimum cost flow, up to scores rounded to 22 bits of
            the tile's largest), or 'greedy', which takes elements in the order of their scores as long as row and
            column have room: at least half of the best total, but some rows may keep fewer than n.
    """

    n: int
    m: int
    method: Literal["exact", "greedy"] = "exact"

    def __post_init__(self) -> None:
        if not 0 < self.n <= self.m <= 16:
            raise ValueError(f"transposable N:M needs 0 < n <= m <= 16; got {self.n}:{self.m}")
        if self.method not in ("exact", "greedy"):
            raise ValueError(f"method must be 'exact' or 'greedy'; got {self.method!r}")

    @property
    def density(self) -> float:
        """Share of kept elements, n / m."""
        return self.n / self.m

    def kept(self, shape: Shape) -> int:
        """Elements that a mask of this shape keeps (greedily, at most)."""
        size = 1
        for length in shape:
            size *= length
        return size // self.m * self.n

    def check(self, path: str, shape: Shape) -> None:
        """Raise ValueError unless m divides both of the last two axes."""
        if len(shape) < 2 or shape[-2] % self.m or shape[-1] % self.m:
            raise ValueError(
                f"transposable {self.n}:{self.m} needs two last axes that {self.m} divides, but {path!r} has shape "
                f"{shape}: leave this leaf out by the filter"
            )

    def mask(self, score: Num[Array, "*shape"], previous: Bool[Array, "*shape"] | None = None) -> Bool[Array, "*shape"]:
        """Keep the best of every tile; of `previous`, nothing that is pruned returns."""
        tiles = self._tiles(score)
        allowed = jnp.ones(tiles.shape, bool) if previous is None else self._tiles(previous)
        keep = (_by_flow if self.method == "exact" else _greedily)(tiles, allowed, self.n)
        rows, columns = score.shape[-2:]
        split = keep.reshape(*score.shape[:-2], rows // self.m, columns // self.m, self.m, self.m)
        return jnp.swapaxes(split, -3, -2).reshape(score.shape)

    def satisfied(self, mask: Bool[Array, "..."]) -> Bool[Array, ""]:
        """Whether no row and no column of a tile keeps more than n."""
        tiles = self._tiles(mask)
        return jnp.all(jnp.sum(tiles, axis=-1) <= self.n) & jnp.all(jnp.sum(tiles, axis=-2) <= self.n)

    def _tiles(self, array: Array) -> Array:
        rows, columns = array.shape[-2:]
        split = array.reshape(*array.shape[:-2], rows // self.m, self.m, columns // self.m, self.m)
        return jnp.swapaxes(split, -3, -2).reshape(-1, self.m, self.m)


def _greedily(tiles: Num[Array, "tiles m m"], allowed: Bool[Array, "tiles m m"], n: int) -> Bool[Array, "tiles m m"]:
    count, m, _ = tiles.shape
    key = jnp.where(allowed, ordered_keys(tiles), reserved(ordered_keys(tiles).dtype)).reshape(count, m * m)
    order = jnp.argsort(~key, axis=-1, stable=True)

    def take(place: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        keep, rows, columns = state
        here = order[:, place, None] == jnp.arange(m * m)
        cell = here.reshape(count, m, m) & allowed
        free = (rows < n)[:, :, None] & (columns < n)[:, None, :]
        cell &= free
        return keep | cell, rows + cell.any(2), columns + cell.any(1)

    zero = zero_like(tiles, allowed)
    none = jnp.zeros((count, m), jnp.int32) + zero
    keep, _, _ = jax.lax.fori_loop(0, m * m, take, (jnp.zeros((count, m, m), bool) | (zero > 0), none, none))
    return keep


def _by_flow(tiles: Num[Array, "tiles m m"], allowed: Bool[Array, "tiles m m"], n: int) -> Bool[Array, "tiles m m"]:
    """Successive shortest paths: n units of flow into each row, out of each column, at most one through each cell.

    All tiles go in step; each of the n m augmentations finds the best path by Bellman and Ford's rounds.
    """
    count, m, _ = tiles.shape
    scale = jnp.max(jnp.abs(tiles), axis=(-2, -1), keepdims=True)
    gain = jnp.round(tiles / jnp.where(scale > 0, scale, 1) * _LEVELS).astype(jnp.int32)
    gain = jnp.where(allowed, gain, _BARRED)

    def augment(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        used, rows, columns = state
        from_row, from_column, distance = _paths(gain, used, rows < n)
        column = jax.lax.argmin(jnp.where(columns < n, distance, _FAR), 1, jnp.int32)
        columns += jax.nn.one_hot(column, m, dtype=jnp.int32)
        used, row = _flip(used, from_row, from_column, column)
        return used, rows + jax.nn.one_hot(row, m, dtype=jnp.int32), columns

    zero = zero_like(tiles, allowed)
    none = jnp.zeros((count, m), jnp.int32) + zero
    used, _, _ = jax.lax.fori_loop(0, n * m, augment, (jnp.zeros((count, m, m), bool) | (zero > 0), none, none))
    return used & allowed


_FAR = jnp.iinfo(jnp.int32).max // 2


def _paths(
    gain: Int[Array, "tiles m m"], used: Bool[Array, "tiles m m"], open_rows: Bool[Array, "tiles m"]
) -> tuple[Int[Array, "tiles m"], Int[Array, "tiles m"], Int[Array, "tiles m"]]:
    """Shortest paths from the rows that have room: the row before each column, the column before each row (or -1)
    and the length of the path to each column."""

    def round_(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        to_row, to_column, from_row, from_column, _ = state
        forward = jnp.where(used, _FAR, to_row[:, :, None] - gain)
        best = jnp.min(forward, axis=1)
        better = best < to_column
        from_row = jnp.where(better, jax.lax.argmin(forward, 1, jnp.int32), from_row)
        to_column = jnp.where(better, best, to_column)
        back = jnp.where(used, to_column[:, None, :] + gain, _FAR)
        nearer = jnp.min(back, axis=2)
        closer = nearer < to_row
        from_column = jnp.where(closer, jax.lax.argmin(back, 2, jnp.int32), from_column)
        return jnp.where(closer, nearer, to_row), to_column, from_row, from_column, jnp.any(better | closer)

    zero = zero_like(gain, used)
    far = jnp.full(open_rows.shape, _FAR, jnp.int32) + zero
    none = jnp.full(open_rows.shape, -1, jnp.int32) + zero
    start = (jnp.where(open_rows, 0, _FAR).astype(jnp.int32), far, none, none, zero == 0)
    _, to_column, from_row, from_column, _ = jax.lax.while_loop(lambda state: state[-1], round_, start)
    return from_row, from_column, to_column


def _flip(
    used: Bool[Array, "tiles m m"],
    from_row: Int[Array, "tiles m"],
    from_column: Int[Array, "tiles m"],
    column: Int[Array, " tiles"],
) -> tuple[Bool[Array, "tiles m m"], Int[Array, " tiles"]]:
    """Walk each path back from its last column, taking its forward cells and releasing its backward ones."""
    count = column.shape[0]
    tile = jnp.arange(count)

    def walk(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        used, column, first = state
        going = column >= 0
        row = from_row[tile, column]
        used = used.at[tile, row, column].set(jnp.where(going, True, used[tile, row, column]))
        before = jnp.where(going, from_column[tile, row], -1)
        release = before >= 0
        used = used.at[tile, row, before].set(jnp.where(release, False, used[tile, row, before]))
        return used, before, jnp.where(going, row, first)

    start = (used, column, jnp.zeros(count, jnp.int32) + zero_like(column))
    used, _, first = jax.lax.while_loop(lambda state: jnp.any(state[1] >= 0), walk, start)
    return used, first
