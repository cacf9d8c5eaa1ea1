"""The k best items of many queries, exactly, over a catalogue of any size.

Scores are made for some users and some items at a time, and only their k best are kept. Within such a block the
items stand in small groups: the k best items lie in the k groups whose maxima are largest, so that one pass of
maxima replaces most of the selection. Equal scores are ranked by item number, the smaller first.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Int32

SMALLEST_GROUPED = 512
"""Below so many items in a block, groups do not pay."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ItemBlocks:
    """Item vectors in blocks whose columns are groups of neighbouring items, spread over the block.

    Item `g * group + s` of a block stands in column `s * groups + g`: a maximum over s runs along whole rows.
    """

    # Not annotated by shape, because JAX rebuilds the class with placeholders when a program is lowered.
    table: Any  # (blocks, d, size)
    bias: Any  # (blocks, size)
    group: int = field(metadata={"static": True})  # items in a group

    @property
    def size(self) -> int:
        """Items in a block, the last one's padding included."""
        return self.bias.shape[-1]


def group_size(items: int, k: int) -> int:
    """Items in a group: a power of two near sqrt(items / k), where maxima and candidates are equally many."""
    if items < max(SMALLEST_GROUPED, 8 * k):
        return 1
    return 2 ** round(math.log2(math.sqrt(items / k)))


@partial(jax.jit, static_argnames=("k", "block", "shards"))
def item_blocks(
    table: Float[Array, "items d"], bias: Float[Array, " items"], *, k: int, block: int, shards: int = 1
) -> ItemBlocks:
    """Lay item vectors out for `top_k`.

    Args:
        table: item vectors q_j.
        bias: item biases b_j.
        k: how many items will be asked for.
        block: at most so many items in a block.
        shards: the number of blocks becomes a multiple of it.
    """
    num_items, d = table.shape
    num_blocks = shards * -(-num_items // (shards * block))
    group = group_size(-(-num_items // num_blocks), k)
    groups = -(-num_items // (num_blocks * group))
    spare = num_blocks * groups * group - num_items
    padded = jnp.pad(table, ((0, spare), (0, 0))).reshape(num_blocks, groups, group, d)
    spread = padded.transpose(0, 3, 2, 1).reshape(num_blocks, d, group * groups)
    heights = jnp.pad(bias, (0, spare), constant_values=-jnp.inf).reshape(num_blocks, groups, group)
    return ItemBlocks(spread, heights.swapaxes(1, 2).reshape(num_blocks, group * groups), group)


def top_k(
    queries: Float[Array, "parts users d"],
    blocks: ItemBlocks,
    rows: Int32[Array | np.ndarray, "parts entries"],
    columns: Int32[Array | np.ndarray, "parts entries"],
    *,
    k: int,
    fill: float | int = -jnp.inf,
    mesh: Mesh | None = None,
) -> tuple[Float[Array, "parts users k"], Int32[Array, "parts users k"]]:
    """The k best items of every query, and their scores q . q_j + b_j, best first.

    Args:
        queries: in parts; scores exist for one part and one block of items at a time.
        blocks: from `item_blocks`.
        rows: which users of the part have an entry set to `fill`; the number of users for none.
        columns: which items those entries are; any number outside of the catalogue for none.
        k: how many.
        fill: the score that those entries are given.
        mesh: blocks are divided over its first axis; each device ranks its own, and k of each are compared.

    Returns:
        Scores and item numbers. Where fewer than k items are left, scores are -inf and numbers mean nothing.
    """
    filling = jnp.asarray(fill, blocks.table.dtype)
    if mesh is None:
        return _top_k_of_parts(queries, blocks, rows, columns, filling, jnp.int32(0), k=k)
    axis = mesh.axis_names[0]
    split, whole = PartitionSpec(axis), PartitionSpec()
    mesh = Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto, whatever was given
    return _top_k_sharded(
        *jax.device_put((queries, rows, columns, filling), NamedSharding(mesh, whole)),
        jax.device_put(blocks, NamedSharding(mesh, split)),
        k=k,
        mesh=mesh,
    )


@partial(jax.jit, static_argnames="k")
def _top_k_of_parts(
    queries: Array, blocks: ItemBlocks, rows: Array, columns: Array, fill: Array, first: Array, *, k: int
) -> tuple[Array, Array]:
    """`first` is the number of the first item of these blocks."""
    return jax.lax.map(lambda part: _top_k_of_part(part, blocks, fill, first, k=k), (queries, rows, columns))


@partial(jax.jit, static_argnames=("k", "mesh"))
def _top_k_sharded(
    queries: Array, rows: Array, columns: Array, fill: Array, blocks: ItemBlocks, *, k: int, mesh: Mesh
) -> tuple[Array, Array]:
    axis = mesh.axis_names[0]
    split, whole = PartitionSpec(axis), PartitionSpec()

    @partial(jax.shard_map, mesh=mesh, in_specs=(whole, split, whole, whole, whole), out_specs=split)
    def local(queries: Array, blocks: ItemBlocks, rows: Array, columns: Array, fill: Array) -> tuple[Array, Array]:
        first = jax.lax.axis_index(axis).astype(jnp.int32) * blocks.bias.size
        varying = jax.lax.pcast((queries, rows, columns, fill), axis, to="varying")
        found = _top_k_of_parts(varying[0], blocks, *varying[1:], first, k=k)
        return jax.tree.map(lambda x: x[None], found)

    scores, items = local(queries, blocks, rows, columns, fill)
    # Devices hold rising item numbers: joined in their order, a stable selection keeps the smaller number first.
    scores, items = (jnp.moveaxis(x, 0, 2).reshape(*x.shape[1:3], -1) for x in (scores, items))
    return _select(scores, items, k)


def _top_k_of_part(
    part: tuple[Array, Array, Array], blocks: ItemBlocks, fill: Array, first: Array, *, k: int
) -> tuple[Array, Array]:
    queries, rows, columns = part
    size, group = blocks.size, blocks.group
    groups = size // group

    def of_block(index: Array, table: Array, bias: Array) -> tuple[Array, Array]:
        start = first + index * size
        # TF32, the default of some devices, would change the order.
        scores = jnp.dot(queries, table, precision=jax.lax.Precision.HIGHEST) + bias
        local = columns - start
        inside = (local >= 0) & (local < size)
        position = jnp.where(inside, (local % group) * groups + local // group, size)
        scores = scores.at[rows, position].set(fill, mode="drop")
        best, item = _grouped(scores, group, k)
        return best, start + item

    num_blocks = blocks.bias.shape[0]
    if num_blocks == 1:
        best = of_block(jnp.int32(0), blocks.table[0], blocks.bias[0])
    else:

        def merge(best: tuple[Array, Array], block: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
            found = of_block(*block)
            # What was kept has the smaller item numbers: it stands first, and the selection is stable.
            scores, items = (jnp.concatenate(pair, axis=1) for pair in zip(best, found))
            return _select(scores, items, k), None

        indices = jnp.arange(num_blocks, dtype=jnp.int32)
        nothing = (
            jnp.full_like(queries, -jnp.inf, shape=(len(queries), k)),
            jnp.broadcast_to(first, (len(queries), k)),
        )
        best, _ = jax.lax.scan(merge, nothing, (indices, blocks.table, blocks.bias))
    short = k - best[0].shape[1]  # one block with fewer than k items
    return jnp.pad(best[0], ((0, 0), (0, short)), constant_values=-jnp.inf), jnp.pad(best[1], ((0, 0), (0, short)))


def _grouped(scores: Array, group: int, k: int) -> tuple[Array, Array]:
    """The k best columns' scores and item numbers within a block; an item's number is its place in the groups."""
    users, size = scores.shape
    if group == 1:
        best, item = jax.lax.top_k(scores, min(k, size))
        return best, item
    spread = scores.reshape(users, group, size // group)
    chosen = jax.lax.top_k(spread.max(axis=1), k)[1]
    chosen = jnp.sort(chosen, axis=1)  # candidates in the order of their numbers, so that the selection is stable
    candidates = jnp.take_along_axis(spread, chosen[:, None], axis=2).swapaxes(1, 2).reshape(users, k * group)
    best, place = jax.lax.top_k(candidates, k)
    return best, jnp.take_along_axis(chosen, place // group, axis=1) * group + place % group


def _select(scores: Float[Array, "... n"], items: Int[Array, "... n"], k: int) -> tuple[Array, Array]:
    best, place = jax.lax.top_k(scores, k)
    return best, jnp.take_along_axis(items, place, axis=-1)
