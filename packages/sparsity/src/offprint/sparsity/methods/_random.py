"""Random numbers for every pruned leaf, the same ones however a leaf is split over devices."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Float, Key, PyTree, Shaped, UInt32


def uniform_like(masks: PyTree, key: Key[Array, ""] | None, axis_name: str | None = None) -> PyTree[Array]:
    """Uniform float32 numbers in [0, 1); those of a leaf depend on its place in the tree, not on the other leaves.

    They are those of `jax.random.uniform` with a threefry key: the bits of an element come from the key and the flat
    index of the element. So a device inside `shard_map` draws its own block of the whole leaf and no more, and one
    device and many have the same numbers; `jax.random` itself would give every block those of the first one.

    Args:
        masks: only shapes are read; `None` stays `None`.
        key: of any kind.
        axis_name: mesh axis over which the leaves are split in equal blocks of their first axis.
    """
    return _draw(_uniform, masks, key, axis_name)


def normal_like(masks: PyTree, key: Key[Array, ""] | None, axis_name: str | None = None) -> PyTree[Array]:
    """Standard normal float32 numbers, those of `jax.random.normal`; see `uniform_like`."""
    return _draw(_normal, masks, key, axis_name)


def _draw(
    sample: Callable[[Array], Array], masks: PyTree, key: Key[Array, ""] | None, axis_name: str | None
) -> PyTree[Array]:
    assert key is not None
    leaves, treedef = jax.tree.flatten(masks, is_leaf=lambda leaf: leaf is None)
    block = jnp.uint32(0) if axis_name is None else jax.lax.axis_index(axis_name).astype(jnp.uint32)
    drawn = [
        None if leaf is None else sample(_bits(jax.random.fold_in(key, place), leaf.shape, block))
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, drawn)


def _bits(key: Key[Array, ""], shape: tuple[int, ...], block: Array) -> UInt32[Array, "..."]:
    """32 random bits for each element of a block; leaves have less than 2^32 elements, as for the ranking of scores."""
    words = jax.random.key_data(key)
    if words.shape[-1] != 2:  # another kind of key than threefry
        words = jax.random.bits(key, (2,), jnp.uint32)
    stride = math.prod(shape)
    index = jnp.broadcast_to(block * jnp.uint32(stride), shape)
    for axis, length in enumerate(shape):
        stride //= max(length, 1)
        index = index + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
    one, other = threefry2x32_p.bind(words[0], words[1], jnp.zeros_like(index), index)
    # Nothing, but threefry's own outputs count as equal on all devices, whatever the index says.
    return one ^ other ^ (index & jnp.uint32(0))


def _uniform(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    # 23 random bits as the fraction of a number in [1, 2).
    whole = jax.lax.bitcast_convert_type((bits >> jnp.uint32(9)) | jnp.uint32(0x3F800000), jnp.float32)
    return whole - jnp.float32(1)


def _normal(bits: UInt32[Array, "*shape"]) -> Shaped[Array, "*shape"]:
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, _uniform(bits) * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
