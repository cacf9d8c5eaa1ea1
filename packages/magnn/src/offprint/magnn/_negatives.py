"""Negative items: exactly uniform over those that a user has not seen, without rejection."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

if TYPE_CHECKING:
    from offprint.magnn._sequences import Sequences


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SeenItems:
    """Of each user the items seen, sorted and each once: those of user u are `items[indptr[u]:indptr[u + 1]]`."""

    indptr: Int[Array, " users_and_one"]
    items: Int[Array, " seen"]
    unseen_before: Int[Array, " seen"]  # how many unseen items have a lower id than this seen one
    num_items: int = field(metadata={"static": True})
    most: int = field(metadata={"static": True})  # items that the busiest user has seen

    @property
    def num_users(self) -> int:
        """Users."""
        return self.indptr.shape[0] - 1

    def num_unseen(self, users: Int[Array | np.ndarray, "*batch"]) -> Int[Array, "*batch"]:
        """Items that each user has not seen; all of them for the unknown user -1."""
        start, end = self._bounds(jnp.asarray(users))
        return self.num_items - (end - start)

    def contains(self, users: Int[Array, "*batch"], items: Int[Array, "*batch"]) -> Bool[Array, "*batch"]:
        """Whether each user has seen the item beside it."""
        start, end = self._bounds(users)
        at = start + self._first(start, end, lambda k: self.items[k] >= items)
        return (at < end) & (self.items[jnp.minimum(at, self.items.shape[0] - 1)] == items)

    def nth_unseen(self, users: Int[Array, "*batch"], n: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """The unseen item of each user that has `n` unseen ones before it; n from 0 to num_unseen(users) - 1."""
        start, end = self._bounds(users)
        # Between it and item 0 lie n unseen items and all seen ones with no more than n unseen ones before them.
        return (n + self._first(start, end, lambda k: self.unseen_before[k] > n)).astype(jnp.int32)

    def _bounds(self, users: Array) -> tuple[Array, Array]:
        known = jnp.maximum(users, 0)
        start, end = self.indptr[known], self.indptr[known + 1]
        return start, jnp.where(users < 0, start, end)

    def _first(self, start: Array, end: Array, holds) -> Array:
        """By bisection: how many entries of each row come before the first for which `holds` (monotone) is true."""
        low, high = start, end
        for _ in range(math.ceil(math.log2(self.most + 1))):
            middle = (low + high) // 2
            true = holds(jnp.minimum(middle, self.items.shape[0] - 1))
            open_ = low < high
            low, high = jnp.where(open_ & ~true, middle + 1, low), jnp.where(open_ & true, middle, high)
        return low - start


def seen_items(sequences: "Sequences") -> SeenItems:
    """What each user has seen, for `sample_negatives`.

    Args:
        sequences: the training sequences.

    Raises:
        ValueError: a user who has seen every item, so that no negative is left.
    """
    n = sequences.num_items
    indptr, items = np.asarray(sequences.indptr, np.int64), np.asarray(sequences.items, np.int64)
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    users, items = np.divmod(np.unique(users * n + items), n)
    counts = np.bincount(users, minlength=len(indptr) - 1)
    if len(counts) and counts.max() >= n:
        raise ValueError(
            f"user {counts.argmax()} has seen all {n} items ({(counts >= n).sum()} users have), so that there is no "
            "negative item for them: leave such users out of the training sequences"
        )
    indptr = np.concatenate([[0], np.cumsum(counts)])
    before = items - (np.arange(len(items)) - indptr[users])
    if not len(items):  # one entry that nobody owns, for lookups need something to look in
        items = before = np.zeros(1, int)
    rows, columns, ranks = (jnp.asarray(a.astype(np.int32)) for a in (indptr, items, before))
    return SeenItems(rows, columns, ranks, n, int(counts.max(initial=0)))


def sample_negatives(
    key: PRNGKeyArray, users: Int[Array, " batch"], seen: SeenItems, shape: int | tuple[int, ...]
) -> Int[Array, "batch *shape"]:
    """Draw items that each user has not seen, independently and uniformly, Eq. 9.

    A number r below the count of unseen items is drawn, and the r-th unseen item is found by bisection: nothing is
    rejected, so the draw is exact for users who have seen almost everything too.

    Args:
        key: a typed key.
        users: one user for each row; -1 for an unknown one, to whom everything is new.
        seen: from `seen_items`.
        shape: draws for each user, for example T, or (T, 2).

    Returns:
        Item ids, for each user an array of that shape.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    users = jnp.broadcast_to(users.reshape(users.shape + (1,) * len(shape)), users.shape + shape)
    return seen.nth_unseen(users, jax.random.randint(key, users.shape, 0, seen.num_unseen(users)))
