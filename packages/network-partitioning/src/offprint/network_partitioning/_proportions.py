"""Shares of a whole, and the counts that they stand for."""

from collections.abc import Sequence

import numpy as np

FROZEN = 255
"""The id of a scalar that belongs to no partition and always has its default value."""


def checked_proportions(proportions: Sequence[float | int] | np.ndarray, what: str) -> np.ndarray:
    """`proportions` as float64 numbers that sum to 1.

    Raises:
        ValueError: fewer than two, one that is not positive, or a sum that is off by more than 1e-6.
    """
    given = np.asarray(proportions, dtype=np.float64)
    if given.ndim != 1 or given.size < 2:
        raise ValueError(
            f"K >= 2 {what} are needed: with one chunk nothing is out of sample; "
            f"give proportions such as (0.8, 0.2), not {proportions!r}"
        )
    if given.size > FROZEN:
        raise ValueError(f"at most {FROZEN} {what} are possible, but there are {given.size} proportions")
    if not np.all(given > 0):
        raise ValueError(f"every proportion of the {what} must be positive, but they are {tuple(given.tolist())}")
    if abs(given.sum() - 1) > 1e-6:
        raise ValueError(
            f"the proportions of the {what} must sum to 1, but {tuple(given.tolist())} sums to {given.sum():.9g}"
        )
    return given


def partition_counts(n: int | np.integer, proportions: Sequence[float | int] | np.ndarray) -> np.ndarray:
    """How many of n things go to each partition, by the method of largest remainders.

    Ties go to the lower index; remainders are compared after rounding to 9 decimals. Our choice.

    Args:
        n: how many things, at least 0.
        proportions: (K,) relative sizes; they need not sum to 1.

    Returns:
        (K,) int64 counts that sum to n.
    """
    shares = np.asarray(proportions, dtype=np.float64)
    quota = n * shares / shares.sum()
    counts = np.floor(np.round(quota, 9)).astype(np.int64)
    order = np.argsort(-np.round(quota - counts, 9), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts
