"""The targets of information processing capacity: products of polynomials at several delays.

A target of degree d is a multiset of d delays; a delay that is in it m times stands for the polynomial of
degree m at that delay. The multisets of delays 0..D are numbered in colexicographic order (by the largest
delay first, then the next), and any stretch of that order can be made without those before it.
"""

from collections.abc import Iterator
from math import comb

import numpy as np
from jaxtyping import Int


def count_targets(degree: int, max_delay: int, max_power: int | None = None) -> int:
    """How many multisets of `degree` delays from 0..max_delay there are: C(max_delay + degree, degree).

    `max_power=1` counts sets, C(max_delay + 1, degree); other caps are applied later, to each stretch.
    """
    return comb(max_delay + 1, degree) if max_power == 1 else comb(max_delay + degree, degree)


def target_delays(
    degree: int, max_delay: int, start: int, stop: int, max_power: int | None = None
) -> Int[np.ndarray, "targets degree"]:
    """The multisets number start, ..., stop - 1 as rows of ascending delays (see `count_targets`)."""
    # Adding 0, 1, ..., degree - 1 turns multisets into sets, which the combinatorial number system counts:
    # number = sum_j C(c_j, j + 1) for c_0 < c_1 < ...
    rest = np.arange(start, min(stop, count_targets(degree, max_delay, max_power)), dtype=np.int64)
    spread = 0 if max_power == 1 else 1
    chosen = np.empty((rest.size, degree), np.int64)
    for j in reversed(range(degree)):
        table = np.array([comb(c, j + 1) for c in range(max_delay + degree + 1)], dtype=object)
        table = np.minimum(table, np.iinfo(np.int64).max).astype(np.int64)
        chosen[:, j] = np.searchsorted(table, rest, side="right") - 1
        rest = rest - table[chosen[:, j]]
    return chosen - spread * np.arange(degree)


def factors(
    delays: Int[np.ndarray, "targets degree"],
) -> Int[np.ndarray, "targets degree"]:
    """The power of each delay: its multiplicity where it first occurs in the row, else 0 (no factor)."""
    multiplicity = (delays[:, :, None] == delays[:, None, :]).sum(axis=2)
    first = np.ones(delays.shape, bool)
    first[:, 1:] = delays[:, 1:] != delays[:, :-1]
    return multiplicity * first


def stretches(
    degree: int, max_delay: int, length: int, max_power: int | None = None
) -> Iterator[tuple[Int[np.ndarray, "targets degree"], Int[np.ndarray, "targets degree"]]]:
    """All targets as (powers, delays), `length` numbers at a time, without powers above `max_power`."""
    total = count_targets(degree, max_delay, max_power)
    for start in range(0, total, length):
        delays = target_delays(degree, max_delay, start, start + length, max_power)
        powers = factors(delays)
        if max_power is not None and max_power > 1:
            allowed = powers.max(axis=1, initial=0) <= max_power
            powers, delays = powers[allowed], delays[allowed]
        yield powers, delays
