"""Full-catalogue ranking: one query vector for each user and one inner-product search."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Float, Int, Int32, Shaped

from offprint.magnn._queries import (
    QUERY_ROWS,
    Recommender,
    check_model,
    evaluating,
    item_table_of,
    queries_of,
    unnumbered,
)
from offprint.magnn._sequences import Sequences
from offprint.magnn._topk import ItemBlocks, item_blocks, top_k
from offprint.magnn._windows import Windows, last_windows


class Recommendations(NamedTuple):
    """The k best items of each user, best first; of equal scores the item with the smaller number comes first."""

    users: Shaped[np.ndarray, " users"]
    """Users' numbers; -1 for somebody unknown."""
    items: Shaped[np.ndarray, "users k"]
    """Items' numbers."""
    scores: Float[np.ndarray, "users k"]
    """r̂ of Eq. 7 and 8."""

    def external(self, sequences: Sequences) -> "Recommendations":
        """The same with the ids of the log; an unknown user keeps the -1 if ids are numbers, else is an empty text."""
        users = self.users
        if sequences.user_ids is not None:
            nobody = sequences.user_ids.dtype.type() if sequences.user_ids.dtype.kind == "U" else -1
            users = np.where(users < 0, nobody, sequences.user_ids[np.maximum(users, 0)])
        return Recommendations(users, sequences.external_items(self.items), self.scores)


def recommend(
    model: Recommender,
    sequences: Sequences,
    k: int = 10,
    *,
    users: Sequence[Any] | Shaped[np.ndarray, " users"] | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[Any] | Shaped[np.ndarray, " candidates"] | None = None,
    block: int | None = None,
    item_block: int | None = None,
    compat_zero_mask: bool = False,
    mesh: Mesh | None = None,
) -> Recommendations:
    """Rank the whole catalogue for each user from all that `sequences` hold of them.

    Exact, in memory for the tables and `block * item_block` scores. Blocks only change how scores are rounded in
    their last bit.

    Args:
        model: MAGNN, a baseline, or any `Recommender`.
        sequences: what is known: `split.train_val` when the test part is to be predicted.
        k: length of the lists.
        users: whose, by their ids in the log; everybody by default. `recommend_history` serves people who are
            not in the log.
        exclude_seen: never recommend what the user's sequence holds.
        candidates: rank only these items, by their ids in the log.
        block: users who are scored at once; 64 on a CPU, so that scores stay in its cache, 2048 elsewhere.
        item_block: items that are scored at once; 65536 by default.
        compat_zero_mask: give seen items the score 0, as public implementations do, instead of leaving them out.
            Where scores are negative they then come back into the lists: for comparison only.
        mesh: divide the items over the first axis of this mesh.

    Returns:
        Numbers of users and items, and scores; `.external(sequences)` gives the ids of the log.

    Raises:
        KeyError: a user or candidate is not in the log.
        ValueError: k below 1, or more than the items that a user has not seen; a model for other numbers of users or
            items; a block below 1; scores that are not finite.
    """
    check_model(model, sequences)
    rows = np.arange(sequences.num_users, dtype=np.int32) if users is None else sequences.user_indices(list(users))
    windows = last_windows(sequences, model.L, model.max_long)
    chosen = None if candidates is None else np.unique(sequences.item_index(list(candidates)))
    search = _Search(model, sequences, windows, k, chosen, exclude_seen, block, item_block, compat_zero_mask, mesh)
    return search.rank(rows, rows)


def recommend_history(
    model: Recommender,
    history: Sequence[Any] | Shaped[np.ndarray, " length"],
    *,
    user: Any = None,
    k: int = 10,
    sequences: Sequences | None = None,
    exclude_seen: bool = True,
    candidates: Sequence[Any] | Shaped[np.ndarray, " candidates"] | None = None,
) -> Recommendations:
    """Rank for a history that need not be in the log: somebody new, or newer items of a known user.

    Args:
        model: as in `recommend`; nothing is trained.
        history: items, oldest first.
        user: who has it; None for somebody unknown, whose vector is the mean of all users'.
        k: length of the list.
        sequences: where ids of the log are looked up; without it, `history`, `user` and `candidates` are numbers.
        exclude_seen: never recommend what the history holds.
        candidates: rank only these items.

    Returns:
        One list, as in `recommend`; the user is -1 if unknown.

    Raises:
        KeyError: an id is not in the log.
        ValueError: an empty history, or one with numbers outside of the catalogue; a k that cannot be met.
    """
    if len(history) == 0:
        raise ValueError("the history is empty; at least 1 item is needed (without any, rank by popularity)")
    if sequences is not None:
        check_model(model, sequences)
    names = sequences if sequences is not None else _unnamed(model.num_users, model.num_items)
    items = names.item_index(list(history))
    row = -1 if user is None else names.user_index(user)
    chosen = None if candidates is None else np.unique(names.item_index(list(candidates)))
    alone = Sequences(np.array([0, len(items)], np.int32), items, model.num_items)
    windows = last_windows(alone, model.L, model.max_long)
    search = _Search(model, alone, windows, k, chosen, exclude_seen, None, None, False, None)
    return search.rank(np.zeros(1, np.int32), np.array([row], np.int32))


class _Search:
    """A catalogue laid out for ranking, and the histories that are ranked from."""

    def __init__(
        self,
        model: Recommender,
        sequences: Sequences,
        windows: Windows,
        k: int,
        candidates: np.ndarray | None,
        exclude_seen: bool,
        block: int | None,
        item_block: int | None,
        compat_zero_mask: bool,
        mesh: Mesh | None,
    ):
        self.k, self.candidates, self.mesh = k, candidates, mesh
        self.num_ranked = model.num_items if candidates is None else len(candidates)
        if compat_zero_mask and not exclude_seen:
            raise ValueError("compat_zero_mask says how seen items are excluded; it needs exclude_seen=True")
        for name, value in {"k": k, "block": block, "item_block": item_block}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, but is {value}")
        self.block = block or (64 if jax.default_backend() == "cpu" else 2048)
        self.item_block = item_block or 65536
        self.excludes, self.leaves_out = exclude_seen, exclude_seen and not compat_zero_mask
        self.graphdef, self.state = nnx.split(evaluating(model))
        self.sequences = sequences
        self.plain = unnumbered(sequences)
        self.windows = Windows(windows.users, windows.ends, windows.L, windows.T, windows.max_long)

    def rank(self, rows: Int32[np.ndarray, " users"], users: Int32[np.ndarray, " users"]) -> Recommendations:
        """Lists from the sequences number `rows`, for `users` (-1: unknown)."""
        check_enough_items(self.sequences, rows, self.k, self.candidates, exclude_seen=self.leaves_out)
        if len(rows) == 0:
            return Recommendations(users, np.empty((0, self.k), np.int32), np.empty((0, self.k), np.float32))
        block = min(self.block, max(8, 1 << (len(rows) - 1).bit_length()))
        parts = min(-(-len(rows) // block), -(-QUERY_ROWS // block))
        lengths = self.sequences.lengths[rows] if self.excludes else np.zeros(len(rows), np.int32)
        entries = _room(np.add.reduceat(lengths, np.arange(0, len(rows), block)).max())
        blocks = self._blocks()
        found = []
        for start in range(0, len(rows), parts * block):
            index = np.arange(start, start + parts * block) % len(
                rows
            )  # the last ones are filled up, and cut off below
            queries = queries_of(self.graphdef, self.state, self.plain, self.windows, rows[index], users[index])
            seen = self._seen(rows[start : start + parts * block], block, parts, entries)
            fill = -jnp.inf if self.leaves_out else 0.0
            found.append(top_k(queries.reshape(parts, block, -1), blocks, *seen, k=self.k, fill=fill, mesh=self.mesh))
        scores, items = (
            np.concatenate([np.asarray(x).reshape(-1, self.k) for x in column])[: len(rows)] for column in zip(*found)
        )
        bad = ~np.isfinite(scores).all(axis=1)
        if bad.any():
            raise ValueError(
                f"scores of {bad.sum()} users are not finite, first those of user {users[bad.argmax()]}: the model's "
                "parameters are NaN or infinite; train again with a smaller learning rate"
            )
        return Recommendations(users, items if self.candidates is None else self.candidates[items], scores)

    def _blocks(self) -> ItemBlocks:
        table, bias = item_table_of(self.graphdef, self.state)
        if self.candidates is not None:
            table, bias = table[self.candidates], bias[self.candidates]
        shards = 1 if self.mesh is None else self.mesh.shape[self.mesh.axis_names[0]]
        return item_blocks(table, bias, k=self.k, block=self.item_block, shards=shards)

    def _seen(
        self, rows: np.ndarray, block: int, parts: int, entries: int
    ) -> tuple[Int32[np.ndarray, "parts entries"], Int32[np.ndarray, "parts entries"]]:
        """(row, item) of all that the users of each part have seen, filled up with rows and items that do not exist."""
        row_of = np.full((parts, entries), block, np.int32)
        item_of = np.full((parts, entries), self.num_ranked, np.int32)
        if not self.excludes:
            return row_of, item_of
        indptr, lengths = np.asarray(self.sequences.indptr), self.sequences.lengths[rows].astype(np.int64)
        ends = np.cumsum(lengths)
        owner = np.repeat(np.arange(len(rows)), lengths)
        offset = np.arange(lengths.sum()) - (ends - lengths)[owner]
        items = np.asarray(self.sequences.items)[indptr[rows][owner] + offset]
        part = owner // block
        place = np.arange(len(owner)) - (ends - lengths)[part * block]
        row_of[part, place] = owner % block
        item_of[part, place] = items if self.candidates is None else self._place_of_candidates()[items]
        return row_of, item_of

    def _place_of_candidates(self) -> Int32[np.ndarray, " items"]:
        assert self.candidates is not None
        place = np.full(self.sequences.num_items, self.num_ranked, np.int32)
        place[self.candidates] = np.arange(self.num_ranked)
        return place


def _unnamed(num_users: int, num_items: int) -> Sequences:
    """Nobody's items: numbers serve as ids."""
    return Sequences(np.zeros(num_users + 1, np.int32), np.empty(0, np.int32), num_items)


def _room(entries: int | np.integer) -> int:
    """At least `entries`, rounded up to one of few sizes so that a compiled program serves again."""
    entries = max(int(entries), 8)
    step = 1 << max(entries.bit_length() - 3, 0)
    return -(-entries // step) * step


def check_enough_items(
    sequences: Sequences,
    rows: Int32[np.ndarray, " users"],
    k: int,
    candidates: Int[np.ndarray, " candidates"] | None = None,
    *,
    exclude_seen: bool = True,
) -> None:
    """Refuse a k that some user's unseen items do not fill."""
    ranked = sequences.num_items if candidates is None else len(candidates)
    at_least = ranked - (sequences.lengths[rows] if exclude_seen else np.zeros(len(rows), np.int32))
    for row in rows[at_least < k]:
        seen = np.unique(sequences.of(row)) if exclude_seen else np.empty(0, np.int32)
        left = ranked - len(seen if candidates is None else np.intersect1d(seen, candidates))
        if left < k:
            user = sequences.external_users(np.asarray(row)).item()
            raise ValueError(
                f"k={k}, but only {left} of {ranked} items can be recommended to user {user!r}; choose a smaller k"
            )
