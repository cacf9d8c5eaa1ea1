"""Training windows and ranking inputs, kept as positions: items are gathered when a batch is made."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32

from offprint.magnn._sequences import Sequences


class Batch(NamedTuple):
    """Inputs and targets of some windows; -1 on the left stands for what is not there."""

    users: Int32[Array, " batch"]
    """The user of each window; -1 is somebody unknown."""
    short: Int32[Array, "batch L"]
    """The last |L| items before the targets, oldest first: the short-term window L_{u,l}."""
    long: Int32[Array, "batch S"]
    """The items before those, oldest first: the long-term history H_{u,l}, its latest S items."""
    targets: Int32[Array, "batch T"]
    """The |T| items to be predicted: T_{u,l}."""


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class Windows:
    """Where windows lie in the sequences of their users (Sec. "Problem Formulation").

    A pytree whose leaves are `users` and `ends`. Eight bytes a window, whatever L, T and the history are.
    """

    users: Int32[Array | np.ndarray, " windows"]
    """The user of each window."""
    ends: Int32[Array | np.ndarray, " windows"]
    """Position of the first target in the user's sequence; negative where a sequence is shorter than T."""
    L: int
    """Items in the short-term window."""
    T: int
    """Targets; 0 in `last_windows`."""
    max_long: int
    """Items S of the long-term history, the latest before the window."""
    num_padded: int = 0
    """Windows that are filled up on the left, since their user has fewer than L + T items."""

    def __len__(self) -> int:
        return self.users.shape[0]

    def __repr__(self) -> str:
        sizes = f"L={self.L}, T={self.T}, max_long={self.max_long}"
        return f"Windows({len(self)} windows, {sizes}, {self.num_padded} padded)"

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        keys = (jax.tree_util.GetAttrKey("users"), jax.tree_util.GetAttrKey("ends"))
        return tuple(zip(keys, (self.users, self.ends))), (self.L, self.T, self.max_long, self.num_padded)

    @classmethod
    def tree_unflatten(cls, static: tuple, leaves: tuple) -> "Windows":
        found = object.__new__(cls)  # no checks: JAX also puts tracers and placeholders in
        for name, value in zip(("users", "ends", "L", "T", "max_long", "num_padded"), (*leaves, *static)):
            object.__setattr__(found, name, value)
        return found


def windows(sequences: Sequences, L: int = 5, T: int = 3, max_long: int | None = 20) -> Windows:
    """All training windows: |L| items followed by |T| targets, slid by one item (Sec. "Problem Formulation").

    Users come in order, the windows of a user from the latest to the earliest. A user with fewer than L + T items
    gives one window, filled up on the left: the last T items are its targets. A user without items gives none.

    Args:
        sequences: training sequences.
        L: items in the short-term window.
        T: targets of a window.
        max_long: how many of the items before the window are its long-term history; None for all that the longest
            sequence has (at least 1, so that no array is empty).

    Returns:
        The windows' positions, for `gather`; `num_padded` counts those that are filled up.

    Raises:
        ValueError: L or T below 1, a negative max_long, L above the length of the longest sequence, or no items.
    """
    longest = _longest(sequences)
    _check_sizes(L, max_long)
    if T < 1:
        raise ValueError(f"T={T}; at least 1 target is needed")
    if longest < L:
        raise ValueError(f"L={L} is longer than the longest sequence, which has {longest} items; choose a smaller L")
    lengths = sequences.lengths.astype(np.int64)
    counts = np.where(lengths > 0, np.maximum(lengths - L - T + 1, 1), 0)
    users = np.repeat(np.arange(sequences.num_users), counts)
    since_latest = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    ends = lengths[users] - T - since_latest
    padded = int(((lengths > 0) & (lengths < L + T)).sum())
    history = max(longest - L - T, 1) if max_long is None else max_long
    return Windows(users.astype(np.int32), ends.astype(np.int32), L, T, history, padded)


def last_windows(sequences: Sequences, L: int = 5, max_long: int | None = 20) -> Windows:
    """The input from which each user's next items are ranked: the last |L| items and those before; no targets.

    Args:
        sequences: all that may be looked at: training and validation items when the test part is ranked.
        L: items in the short-term window.
        max_long: items of the long-term history; None for all that the longest sequence has.

    Returns:
        One window for each user, in order; a user without items has an empty one.

    Raises:
        ValueError: L below 1, a negative max_long, or sequences without items.
    """
    longest = _longest(sequences)
    _check_sizes(L, max_long)
    history = max(longest - L, 1) if max_long is None else max_long
    padded = int((sequences.lengths < L).sum())
    users = np.arange(sequences.num_users, dtype=np.int32)
    return Windows(users, sequences.lengths.astype(np.int32), L, 0, history, padded)


def gather(sequences: Sequences, windows: Windows, index: Int[Array | np.ndarray, " batch"]) -> Batch:
    """The items of some windows: a pure function for use under jit, with the sequences on the device.

    Args:
        sequences: those that the windows were made of.
        windows: from `windows` or `last_windows`.
        index: which windows.

    Returns:
        Items with -1 wherever a position lies before the user's first item.
    """
    L, T, S = windows.L, windows.T, windows.max_long
    index = jnp.asarray(index)
    users, ends = jnp.asarray(windows.users)[index], jnp.asarray(windows.ends)[index]
    starts = jnp.asarray(sequences.indptr)[users]
    positions = ends[:, None] + jnp.arange(-S - L, T, dtype=jnp.int32)
    found = jnp.asarray(sequences.items)[starts[:, None] + jnp.maximum(positions, 0)]
    items = jnp.where(positions >= 0, found, -1)
    return Batch(users, items[:, S : S + L], items[:, :S], items[:, S + L :])


def _longest(sequences: Sequences) -> int:
    longest = int(sequences.lengths.max(initial=0))
    if longest == 0:
        raise ValueError(f"{sequences.num_users} users without any item: nothing to make windows of")
    return longest


def _check_sizes(L: int, max_long: int | None) -> None:
    if L < 1:
        raise ValueError(f"L={L}; a window of at least 1 item is needed")
    if max_long is not None and max_long < 0:
        raise ValueError(f"max_long={max_long}; give 0 or more items of history, or None for all")
