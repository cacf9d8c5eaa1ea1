"""MATLAB's random stream, for the published data sets only: they were drawn from it with seed 1.

New data come from `jax.random`; see `simulate`.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt32

_STRIPS = 256
_R = 3.654152885361009
"""Where the tail begins."""
_AREA = 0.004928673233974658
"""Area of each strip."""
_PAIRS_IN_A_BLOCK = 1 << 20


def _density(x: Any) -> Any:
    return np.exp(-0.5 * x * x)


@cache
def ziggurat_edges() -> Float[np.ndarray, "edges"]:
    """Right edges of the 256 strips of equal area under exp(-x²/2), float64 of shape (257,), from 0 upwards.

    Source: Marsaglia and Tsang, "The Ziggurat Method for Generating Random Variables", 2000.
    """
    edges = np.zeros(_STRIPS + 1)
    edges[_STRIPS] = _AREA / _density(np.float64(_R))
    edges[_STRIPS - 1] = _R
    for strip in range(_STRIPS - 1, 1, -1):
        edges[strip - 1] = np.sqrt(-2 * np.log(_AREA / edges[strip] + _density(edges[strip])))
    edges.flags.writeable = False
    return edges


class MatlabStream:
    """The stream of MATLAB's `rng(seed)`: 32-bit words of MT19937, and `rand` and `randn` made of them.

    Everything takes words two by two, so the stream is read as an array of word pairs.

    Attributes:
        words_used: 32-bit words consumed so far.
    """

    def __init__(self, seed: int):
        self._source = np.random.RandomState(seed)
        self._pairs = np.empty((0, 2), np.uint32)
        self._next = 0
        self.words_used = 0

    def words(self, count: int) -> UInt32[np.ndarray, "words"]:
        """The next `count` words (an even number), uint32."""
        self._ensure(count // 2)
        return self._take(count // 2).reshape(-1)

    def rand(self, count: int) -> Float[np.ndarray, "count"]:
        """Uniform on (0, 1) with 53 bits, float64 of shape (count,)."""
        self._ensure(count)
        return _uniform(self._take(count))

    def randn(self, count: int) -> Float[np.ndarray, "count"]:
        """Standard normal, float64 of shape (count,), by the ziggurat method with 256 strips."""
        parts = []
        while count:
            # About 2 % of the draws need a second pair of words, and one in ten thousand some more.
            self._ensure(min(_PAIRS_IN_A_BLOCK, count + count // 32 + 64))
            normals, used = _ziggurat(self._pairs[self._next :], count)
            self._take(used)
            parts.append(normals)
            count -= normals.size
        return np.concatenate(parts) if parts else np.empty(0)

    def _ensure(self, pairs: int) -> None:
        missing = pairs - (len(self._pairs) - self._next)
        if missing > 0:
            fresh = np.frombuffer(self._source.bytes(8 * missing), "<u4").reshape(-1, 2)
            self._pairs = np.concatenate([self._pairs[self._next :], fresh])
            self._next = 0

    def _take(self, pairs: int) -> np.ndarray:
        taken = self._pairs[self._next : self._next + pairs]
        self._next += pairs
        self.words_used += 2 * pairs
        return taken


def _uniform(pairs: UInt32[np.ndarray, "pairs 2"]) -> Float[np.ndarray, "pairs"]:
    high, low = pairs[:, 0] >> 5, pairs[:, 1] >> 6
    return (high * 2.0**26 + low) / 2.0**53


def _ziggurat(pairs: UInt32[np.ndarray, "pairs 2"], count: int) -> tuple[np.ndarray, int]:
    """At most `count` normals from the beginning of `pairs`, and how many pairs they took.

    Every pair is first read as if a draw began at it. Almost every draw is decided by that one pair.
    """
    edges = ziggurat_edges()
    strip = pairs[:, 1] >> 24
    u = (pairs[:, 0] >> 3) * 2.0**24
    u += pairs[:, 1] & 0xFFFFFF
    x = (2 * (u / 2.0**53) - 1) * edges[strip + 1]
    gives = np.abs(x) < edges[strip]
    inner, end = _settle(pairs, strip, x, gives)
    gives[inner] = False
    found = np.flatnonzero(gives[:end])
    if found.size < count:
        return x[found], end
    last = found[count - 1]
    behind = np.arange(last + 1, min(last + 64, end + 1))
    return x[found[:count]], int(behind[~np.isin(behind, inner)][0])


def _settle(pairs: np.ndarray, strip: np.ndarray, x: np.ndarray, gives: np.ndarray) -> tuple[list[int], int]:
    """Decides the draws that need more than one pair, about one in fifty, in the order of the stream.

    Args:
        x, gives: the candidate of the draw that begins at each pair, and whether it stands; changed in place.

    Returns:
        The pairs at which no draw begins, and the number of pairs that make whole draws.
    """
    edges = ziggurat_edges()
    at = np.flatnonzero(~gives[:-1])
    below, above = _density(edges[strip[at] + 1]), _density(edges[strip[at]])
    accepted = below + _uniform(pairs[at + 1]) * (above - below) < _density(x[at])
    in_tail = (strip[at] == _STRIPS - 1) & (np.abs(x[at]) >= _R)

    inner: list[int] = []
    free = 0
    for index, is_accepted, is_tail in zip(at.tolist(), accepted.tolist(), in_tail.tolist()):
        if index < free:
            continue  # taken by the draw before
        used = 1
        gives[index] = is_accepted
        if is_tail:
            value, used = _tail(pairs[index + 1 :])
            if not used:
                return inner, index  # the rest of this draw is in the next block
            x[index], gives[index] = math.copysign(value, x[index]), True
        free = index + 1 + used
        inner.extend(range(index + 1, free))
    complete = len(pairs) if free == len(pairs) or gives[-1] else len(pairs) - 1
    return inner, complete


def _tail(pairs: UInt32[np.ndarray, "pairs 2"]) -> tuple[float, int]:
    """A value beyond `_R` and the pairs it took; 0 pairs where there are too few."""
    for used in range(2, len(pairs) + 1, 2):
        e, y = -np.log(_uniform(pairs[used - 2 : used]))
        e /= _R
        if 2 * y > e * e:
            return float(_R + e), used
    return 0.0, 0
