"""From a log to sequences: thresholds, duplicates, order in time, numbers instead of ids."""

import warnings
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from offprint.magnn._log import InteractionLog
from offprint.magnn._report import PrepareReport, PrepareStep
from offprint.magnn._sequences import MAX_INTERACTIONS, Sequences

Dedup = Literal["first", "last", "none"]


def prepare(
    log: InteractionLog,
    *,
    min_rating: float | int | None = None,
    min_user: int = 1,
    min_item: int = 1,
    iterative: bool = False,
    dedup: Dedup = "first",
    preset: Literal["hgn_cds"] | None = None,
    min_length: int = 3,
    strict: bool = False,
    rating_scale: tuple[float | int, float | int] | None = None,
) -> Sequences:
    """Sequences of a log, in the order of (user, time, row), with users and items numbered by sorted ids.

    The paper keeps ratings of at least 4 and the users and items that have at least 10 of them: ``min_rating=4,
    min_user=10, min_item=10`` (Sec. "Datasets"), once, or with ``iterative=True`` until both hold together (k-core).
    What every step leaves is in the result's `report`.

    Args:
        log: the interactions.
        min_rating: lowest rating that counts as an interaction; all rows when None.
        min_user: interactions that a user needs. Removed first.
        min_item: interactions that an item needs, after the users were removed.
        iterative: repeat both until nothing more is removed.
        dedup: what becomes of a user's repeated item: its "first" or "last" occurrence is kept, or "none" is removed.
        preset: "hgn_cds" is the filter of the authors' earlier public code for Amazon-CDs: ratings of at least 4, then
            users with at least 5 interactions, then items with at least 8, then users with at least 10 different
            items, each once and in this order. That code also removes items without a usable review text, which a log
            does not have: for its exact numbers remove them before. Sets the three thresholds itself.
        min_length: shorter sequences are dropped: 3 items are the fewest of which each part of a split has one.
        strict: refuse a log with users whose sequences are too short instead of dropping them.
        rating_scale: lowest and highest possible rating; a rating outside is refused.

    Returns:
        Sequences whose `user_ids` and `item_ids` are the log's, sorted.

    Warns:
        UserWarning: no times, duplicates, or users dropped for `min_length`, with counts.

    Raises:
        ValueError: `min_rating`, `rating_scale` or the preset without ratings, a rating outside the scale, thresholds
            below 1, a preset together with thresholds, `strict` and a sequence that is too short, nothing left.
    """
    _check(min_user, min_item, min_length, dedup)
    if preset is not None:
        if preset != "hgn_cds":
            raise ValueError(f"preset={preset!r}; the one there is: 'hgn_cds'")
        if (min_rating, min_user, min_item, iterative) != (None, 1, 1, False):
            raise ValueError("the preset sets min_rating, min_user, min_item and iterative itself; leave them out")
        min_rating = 4
    _check_ratings(log, min_rating, rating_scale)
    rows = _Rows.of(log)
    if min_rating is not None and log.rating is not None:
        rows.keep(log.rating[rows.row] >= min_rating, f"rating >= {min_rating:g}")
    duplicates = rows.remove_duplicates(dedup)
    if preset is not None:
        rows.keep(rows.per_user() >= 5, "users >= 5")
        rows.keep(rows.per_item() >= 8, "items >= 8")
        rows.keep(rows.items_per_user() >= 10, "users >= 10 items")
    else:
        rows.thresholds(min_user, min_item, iterative)
    short = rows.drop_short(min_length, strict)
    if iterative and short:
        rows.thresholds(max(min_user, min_length), min_item, iterative)
    return rows.sequences(log, duplicates, short)


@dataclass
class _Rows:
    """The rows that are left, sorted by user and time."""

    row: np.ndarray  # row in the log
    user: np.ndarray  # rank of the user's id
    item: np.ndarray  # rank of the item's id
    steps: list[PrepareStep] = field(default_factory=list)

    @classmethod
    def of(cls, log: InteractionLog) -> "_Rows":
        if len(log) > MAX_INTERACTIONS:
            raise ValueError(f"{len(log)} interactions; at most {MAX_INTERACTIONS} can be held")
        if log.time is None:
            warnings.warn("the log has no times: each user's items keep the order of the rows", stacklevel=3)
        user = np.unique(log.user, return_inverse=True)[1]
        item = np.unique(log.item, return_inverse=True)[1]
        row = np.lexsort((user,) if log.time is None else (log.time, user))  # stable: ties keep the rows' order
        rows = cls(row, user[row], item[row])
        rows.note("log")
        return rows

    def note(self, name: str) -> None:
        self.steps.append(PrepareStep(name, len(np.unique(self.user)), len(np.unique(self.item)), len(self.row)))

    def keep(self, mask: np.ndarray, name: str) -> None:
        self.row, self.user, self.item = self.row[mask], self.user[mask], self.item[mask]
        self.note(name)

    def per_user(self) -> np.ndarray:
        """For each row, the number of its user's rows."""
        return np.bincount(self.user)[self.user] if len(self.user) else self.user

    def per_item(self) -> np.ndarray:
        """For each row, the number of its item's rows."""
        return np.bincount(self.item)[self.item] if len(self.item) else self.item

    def is_first(self) -> np.ndarray:
        """Whether a row is its user's first with this item."""
        first = np.zeros(len(self.row), bool)
        first[np.unique(self.user * (self.item.max(initial=0) + 1) + self.item, return_index=True)[1]] = True
        return first

    def items_per_user(self) -> np.ndarray:
        """For each row, the number of different items of its user."""
        return np.bincount(self.user, weights=self.is_first())[self.user] if len(self.user) else self.user

    def remove_duplicates(self, dedup: Dedup) -> int:
        first = self.is_first()
        duplicates = int((~first).sum())
        if duplicates:
            what = {"first": "the first stays", "last": "the last stays", "none": "all stay"}[dedup]
            warnings.warn(f"{duplicates} interactions repeat an item of the same user: {what}", stacklevel=3)
        if duplicates and dedup != "none":
            if dedup == "last":
                first = _Rows(self.row[::-1], self.user[::-1], self.item[::-1]).is_first()[::-1]
            self.keep(first, "no duplicates")
        return duplicates

    def thresholds(self, min_user: int, min_item: int, iterative: bool) -> None:
        left = -1
        while left != len(self.row):
            left = len(self.row)
            if min_user > 1:
                self.keep(self.per_user() >= min_user, f"users >= {min_user}")
            if min_item > 1:
                self.keep(self.per_item() >= min_item, f"items >= {min_item}")
            if not iterative:
                return

    def drop_short(self, min_length: int, strict: bool) -> int:
        mask = self.per_user() >= min_length
        short = len(np.unique(self.user[~mask]))
        if short and strict:
            raise ValueError(
                f"{short} users have fewer than {min_length} items; raise min_user, lower min_length, or let them be "
                "dropped with strict=False"
            )
        if short:
            warnings.warn(f"{short} users with fewer than {min_length} items are dropped", stacklevel=3)
            self.keep(mask, f"length >= {min_length}")
        return short

    def sequences(self, log: InteractionLog, duplicates: int, short: int) -> Sequences:
        report = PrepareReport(tuple(self.steps), duplicates, short)
        if not len(self.row):
            raise ValueError(f"no interaction is left; lower the thresholds:\n{report}")
        user_ids, user = np.unique(log.user[self.row], return_inverse=True)
        item_ids, item = np.unique(log.item[self.row], return_inverse=True)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(user))]).astype(np.int32)
        return Sequences(indptr, item.astype(np.int32), len(item_ids), user_ids, item_ids, report)


def _check(min_user: int, min_item: int, min_length: int, dedup: str) -> None:
    for name, value in (("min_user", min_user), ("min_item", min_item), ("min_length", min_length)):
        if value < 1:
            raise ValueError(f"{name}={value}; at least 1 is needed")
    if dedup not in ("first", "last", "none"):
        raise ValueError(f"dedup={dedup!r}; one of 'first', 'last', 'none' is needed")


def _check_ratings(
    log: InteractionLog, min_rating: float | int | None, scale: tuple[float | int, float | int] | None
) -> None:
    if log.rating is None:
        if min_rating is not None or scale is not None:
            raise ValueError("the log has no ratings; leave out min_rating, rating_scale and the preset, or give them")
        return
    if scale is not None:
        outside = (log.rating < scale[0]) | (log.rating > scale[1])
        if outside.any():
            raise ValueError(
                f"{int(outside.sum())} ratings lie outside {scale[0]:g} ... {scale[1]:g}, the first is "
                f"{log.rating[outside][0]} in row {int(outside.argmax())}"
            )
