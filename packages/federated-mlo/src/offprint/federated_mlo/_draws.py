"""Backoff draws: a stream of random words per simulated copy, spread over its stations.

A call of JAX's generator for each station and event would cost several times as much as the simulation itself. It is
called once per copy instead, for the two words that seed a counter-based stream: word i is a strong mixing of i under
these seeds. And as few stations draw at the same event, one word serves them all: each sees it through a mixing
function of its own.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

_ODD = 0x9E3779B9  # 2^32 divided by the golden ratio: salts that differ in many bits


def seeds(key: PRNGKeyArray, shape: tuple[int, ...] = ()) -> UInt32[Array, "2 *shape"]:
    """Two words per copy that make its stream."""
    return jax.random.bits(key, (2, *shape), jnp.uint32)


def word(seeds: UInt32[Array, "2 *shape"], i: Int[Array, ""]) -> UInt32[Array, "*shape"]:
    """Word i of each stream; no word comes twice in 2^32."""
    return mix(mix(seeds[0] + i.astype(jnp.uint32) * jnp.uint32(_ODD)) ^ seeds[1])


def salts(num_stations: int) -> UInt32[Array, "stations 1"]:
    """A constant per station that makes its mixing function its own."""
    return (jnp.arange(num_stations, dtype=jnp.uint32) * jnp.uint32(_ODD))[:, None]


def mix(word: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A permutation of the 32-bit words in which every output bit depends on every input bit.

    It is the last step of MurmurHash3 (A. Appleby, public domain). As a permutation it maps uniform words to uniform
    words.
    """
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def unit(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Uniform float32 in [0, 1) from the upper 23 bits."""
    mantissa = (word >> 9) | jnp.uint32(0x3F800000)
    return jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1.0


def backoff(word: UInt32[Array, "..."], window: Int[Array, "..."]) -> Int[Array, "..."]:
    """Uniform on 0 .. window - 1, for windows up to 2**20."""
    return (unit(word) * window.astype(jnp.float32)).astype(jnp.int32)
