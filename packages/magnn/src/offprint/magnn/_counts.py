"""Counting which items follow one another: pairs as sorted keys, without a matrix."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from offprint.magnn._sequences import Sequences


def pair_counts(sequences: "Sequences", lookahead: int, directed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sorted keys row * N + column of the pairs that occur, and how often each does."""
    items = np.asarray(sequences.items, np.int64)
    lengths = np.diff(np.asarray(sequences.indptr))
    user = np.repeat(np.arange(len(lengths)), lengths)
    n = sequences.num_items
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for ahead in range(1, lookahead + 1):
        a, b = items[:-ahead], items[ahead:]
        kept = (user[:-ahead] == user[ahead:]) & (a != b)
        a, b = a[kept], b[kept]
        for here in (a * n + b,) if directed else (a * n + b, b * n + a):
            more, times = np.unique(here, return_counts=True)
            keys, counts = _merged(np.concatenate([keys, more]), np.concatenate([counts, times]))
    return keys, counts


def _merged(keys: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, where = np.unique(keys, return_inverse=True)
    return unique, np.bincount(where, counts, minlength=len(unique)).astype(np.int64)


def most_frequent(rows: np.ndarray, cols: np.ndarray, counts: np.ndarray, max_degree: int) -> np.ndarray:
    """Of edges sorted by row those that are among the `max_degree` most frequent of their row."""
    order = np.lexsort((cols, -counts, rows))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows)) - np.searchsorted(rows, rows[order])
    return rank < max_degree
