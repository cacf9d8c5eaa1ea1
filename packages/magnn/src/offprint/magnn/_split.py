"""Chronological splits of every user's sequence."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from offprint.magnn._sequences import Sequences

Rounding = Literal["ceil", "floor", "round"]
_ROUND = {"ceil": np.ceil, "floor": np.floor, "round": np.rint}
_SLACK = 1e-9
"""0.07 * 100 is 7.000000000000001 in floating point, which is not meant to be 8."""


class Split(NamedTuple):
    """The parts of every user's sequence, with the same users and items in each; a pytree."""

    train: Sequences
    """The oldest items."""
    val: Sequences
    """Those between; settings and epochs are chosen on them."""
    test: Sequences
    """The latest items, which are to be predicted."""
    train_val: Sequences
    """`train` and `val` together: what is known when the test items are predicted."""


def split_ratio(
    sequences: Sequences, *, test: float | int = 0.2, val: float | int = 0.1, rounding: Rounding = "ceil"
) -> Split:
    """A share of every user's items for testing, then a share of the rest for validation (Sec. "Evaluation").

    The defaults are the paper's protocol, 70/10/20: the last ⌈0.2 n⌉ of n items are the test part, the last
    ⌈0.1 n'⌉ of the n' others the validation part. As the second share is one of the rest, about 72/8/20 come out.

    Args:
        sequences: all items.
        test: share of the items, 0 <= test < 1.
        val: share of what is left, 0 <= val < 1.
        rounding: how the numbers of items become whole: up, down, or to the nearest (half to even).

    Raises:
        ValueError: a share that is not in [0, 1), or another rounding.
    """
    for name, share in (("test", test), ("val", val)):
        if not 0 <= share < 1:
            raise ValueError(f"{name}={share}; a share from 0 to below 1 is needed")
    if rounding not in _ROUND:
        raise ValueError(f"rounding={rounding!r}; one of {', '.join(map(repr, _ROUND))} is needed")
    lengths = sequences.lengths.astype(np.int64)
    after_train_val = lengths - _share(test, lengths, rounding)
    after_train = after_train_val - _share(val, after_train_val, rounding)
    return _split(sequences, after_train, after_train_val)


def split_leave_last(sequences: Sequences, n: int = 1) -> Split:
    """The last n items of every user for testing, the n before them for validation (leave-one-out for n = 1).

    The whole sequence of a user with fewer than 2n + 1 items goes into training.

    Raises:
        ValueError: n below 1, or no user with 2n + 1 items.
    """
    if n < 1:
        raise ValueError(f"n={n}; at least 1 item must be left out")
    lengths = sequences.lengths.astype(np.int64)
    long_enough = lengths > 2 * n
    if not long_enough.any():
        raise ValueError(
            f"no user has the {2 * n + 1} items that n={n} needs; the longest sequence has {lengths.max(initial=0)}"
        )
    held = np.where(long_enough, n, 0)
    return _split(sequences, lengths - 2 * held, lengths - held)


def _share(share: float | int, lengths: np.ndarray, rounding: Rounding) -> np.ndarray:
    slack = {"ceil": -_SLACK, "floor": _SLACK, "round": 0.0}[rounding]
    return np.maximum(_ROUND[rounding](share * lengths + slack), 0).astype(np.int64) if share else 0 * lengths


def _split(sequences: Sequences, after_train: Int[np.ndarray, " u"], after_train_val: Int[np.ndarray, " u"]) -> Split:
    start, end = np.zeros_like(after_train), sequences.lengths.astype(np.int64)
    return Split(
        train=sequences.slice(start, after_train),
        val=sequences.slice(after_train, after_train_val),
        test=sequences.slice(after_train_val, end),
        train_val=sequences.slice(start, after_train_val),
    )
