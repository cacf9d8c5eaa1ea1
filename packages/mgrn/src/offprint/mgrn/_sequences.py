"""Sequences as users hold them, as one padded array and the length of each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from offprint.mgrn._checks import check_lengths
from offprint.mgrn._standardize import NanPolicy, clean

SequencesLike = np.ndarray | Array | Sequence[Any]
"""An array (n, T, F), or n arrays (T_i, F) in a list."""


def as_sequences(
    X: SequencesLike, lengths: ArrayLike | None = None, *, nan_policy: NanPolicy = "raise", name: str = "X"
) -> tuple[Float[np.ndarray, "n time features"], Int[np.ndarray, " n"] | None]:
    """One float32 array, zero after the end of each sequence, and the lengths, or None where all are equal.

    Args:
        X: an array (n, T, F), or a list of arrays (T_i, F).
        lengths: (n,) valid steps of each sequence of an array, in [1, T]. A list has its own.
        nan_policy: "raise" refuses NaN and infinite values in valid steps, "zero" puts 0 in their place.
        name: what the errors call it.

    Raises:
        ValueError: another rank, no sequences or steps, columns that differ, lengths that do not fit, NaN.
    """
    if isinstance(X, Sequence) or (isinstance(X, np.ndarray) and X.dtype == object):
        if lengths is not None:
            raise ValueError(f"a list {name} has its own lengths; leave out the argument, or give one array (n, T, F)")
        sizes: np.ndarray | None
        array, sizes = _stack(X, name)
    else:
        array = np.asarray(X)
        if array.ndim != 3:
            hint = f"; for one feature give {name}[:, :, None]" if array.ndim == 2 else ""
            raise ValueError(
                f"{name} must have shape (n, T, F) = (sequences, time steps, features), or be a list of arrays "
                f"(T_i, F), got shape {array.shape}{hint}"
            )
        sizes = None if lengths is None else np.asarray(check_lengths(lengths, *array.shape[:2]))
    cleaned = clean(array, nan_policy, name=name, lengths=sizes).astype(np.float32)
    if sizes is None or (sizes == cleaned.shape[1]).all():
        return cleaned, None
    valid = np.arange(cleaned.shape[1]) < sizes[:, None]
    return np.where(valid[..., None], cleaned, np.float32(0)), sizes


def _stack(X: Sequence[Any] | np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of unequal length in one array, filled up with zeros."""
    arrays = [np.asarray(sequence) for sequence in X]
    if not arrays:
        raise ValueError(f"{name} holds no sequences")
    for i, array in enumerate(arrays):
        if array.ndim != 2 or not array.size:
            raise ValueError(f"{name}[{i}] must have shape (T, F) with at least one step, got shape {array.shape}")
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(f"{name}[{i}] has F={array.shape[1]} features, {name}[0] has F={arrays[0].shape[1]}")
    lengths = np.array([len(array) for array in arrays], np.int32)
    padded = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), np.result_type(np.float32, *arrays))
    for row, array in zip(padded, arrays):
        row[: len(array)] = array
    return padded, lengths
