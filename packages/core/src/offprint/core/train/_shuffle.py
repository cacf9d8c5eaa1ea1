"""A random permutation of 0 ... n-1 that is evaluated only where it is asked for."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer, PRNGKeyArray, UInt32

NUM_ROUNDS = 8


def _mix(x: UInt32[Array, "..."], round_key: UInt32[Array, ""]) -> UInt32[Array, "..."]:
    """A well-mixing 32-bit hash of `x` and `round_key` (two multiply-xorshift rounds)."""
    x = (x ^ round_key) * jnp.uint32(0x9E3779B1)
    x = (x ^ (x >> 15)) * jnp.uint32(0x85EBCA77)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE3D)
    return x ^ (x >> 16)


def shuffled(key: PRNGKeyArray, positions: Integer[Array, "..."], n: int) -> Integer[Array, "..."]:
    """`permutation[positions]` for a random permutation of 0 ... n-1, without making the permutation.

    A generalised Feistel network on a grid of about n cells permutes the cells; positions that leave
    0 ... n-1 are sent through it again until they return (cycle walking), which makes the restriction a
    permutation too. Cost and memory are those of `positions`, so that the batch of any step is found
    directly, whichever step it is: `jax.random.permutation` sorts all n in every epoch.

    Args:
        key: one permutation for each key.
        positions: where to evaluate, each in 0 ... n-1.
        n: the length, 1 <= n < 2**31.
    """
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)  # width * height >= n, with fewer than `width` cells to spare
    a, b = jnp.uint32(height), jnp.uint32(width)
    round_keys = jax.random.bits(key, (NUM_ROUNDS,), jnp.uint32)

    def walk(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
        row, column = x // b, x % b
        for r in range(0, NUM_ROUNDS, 2):
            row = (row + _mix(column, round_keys[r]) % a) % a
            column = (column + _mix(row, round_keys[r + 1]) % b) % b
        return row * b + column

    first = walk(positions.astype(jnp.uint32))
    inside = jax.lax.while_loop(lambda x: jnp.any(x >= n), lambda x: jnp.where(x >= n, walk(x), x), first)
    return inside.astype(positions.dtype)
