"""A uniform number for every pair of nodes, found from the key and the pair alone."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

GOLDEN = np.uint32(0x9E3779B1)
"""2^32 over the golden ratio, odd: steps that spread over all 32-bit numbers."""


def pair_uniforms(
    key: PRNGKeyArray, rows: Int[Array, " rows"], columns: Int[Array, " columns"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "rows columns"]:
    """U_ij in [0, 1) for i of `rows` and j of `columns`; the same for a pair whatever block it is asked for in.

    Several times as fast on a CPU as `jax.random.uniform`, whose hash is of cryptographic strength.

    Args:
        key: one matrix of numbers for each.
        rows: node ids.
        columns: node ids.
        dtype: float32 (24 random bits) or float64 (53).
    """
    return entry_uniforms(key, rows[:, None], columns[None], dtype)


def entry_uniforms(
    key: PRNGKeyArray, i: Int[Array, "#*shape"], j: Int[Array, "#*shape"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "*shape"]:
    """The numbers U_ij of `pair_uniforms` for single pairs.

    Every i has two random keys of its own, from which j is hashed (two rounds of multiplications and shifts).
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    a = i.astype(jnp.uint32) * GOLDEN
    one, other = _mix(_mix(a + first) ^ second), _mix(_mix(a + second) + first)
    x = _mix(_mix(one + j.astype(jnp.uint32) * GOLDEN) ^ other)
    if jnp.finfo(dtype).nmant < 30:
        return (x >> 8).astype(dtype) * jnp.asarray(2.0**-24, dtype)
    low = _mix(x + other + GOLDEN) >> 11
    return (x.astype(dtype) * 2.0**21 + low.astype(dtype)) * jnp.asarray(2.0**-53, dtype)


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A bijection of 32-bit numbers in which every bit depends on every bit."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
