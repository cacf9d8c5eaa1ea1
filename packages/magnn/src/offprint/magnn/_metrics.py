"""Ranking metrics of top-K lists against each user's test items, for all users at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from offprint.magnn._sequences import Sequences

METRICS = ("precision", "recall", "map", "ndcg", "hit", "mrr")


@dataclass(frozen=True)
class RankingMetrics:
    """Means over the users who have test items, for each K (Sec. "Evaluation Metrics" for recall and NDCG)."""

    precision: dict[int, float]
    """|top-K ∩ test| / K."""
    recall: dict[int, float]
    """|top-K ∩ test| / |test|."""
    map: dict[int, float]
    """Mean of the precisions at the ranks of the hits: their sum divided by min(K, |test|)."""
    ndcg: dict[int, float]
    """Σ over hits at rank r of 1 / log2(r + 1), divided by the same sum over the ranks 1 ... min(K, |test|)."""
    hit: dict[int, float]
    """Share of users with at least one hit."""
    mrr: dict[int, float]
    """1 / rank of the first hit, 0 without one."""
    per_user: dict[str, dict[int, Float[np.ndarray, " evaluated"]]] = field(repr=False)
    """The values behind the means: name of the metric -> K -> one number for each of `users`."""
    users: Int[np.ndarray, " evaluated"] = field(repr=False)
    """The users who were evaluated."""
    num_skipped: int
    """Users left out because they have no test item: their recall is not defined."""

    def as_dict(self, prefix: str = "") -> dict[str, float]:
        """All means in one flat dictionary, such as ``{"recall@10": 0.094, ...}``, names led by `prefix`."""
        return {f"{prefix}{name}@{k}": value for name in METRICS for k, value in getattr(self, name).items()}


def evaluate(
    recommended: Int[Array | np.ndarray, "users k"],
    test: Sequences,
    ks: Sequence[int] = (5, 10, 15, 20),
    users: Int[Array | np.ndarray, " users"] | None = None,
) -> RankingMetrics:
    """How well top-K lists meet the test items; in float64.

    Every user's numbers depend on that user's list alone: the blocks in which the lists were made cannot change them.
    A test item that occurs twice counts once.

    Args:
        recommended: (users, k) item numbers, best first; -1 fills up a list that is shorter and never is a hit.
        test: the test part of a split.
        ks: lengths of the top-K lists, each from 1 to k.
        users: the user of each row; by default row u is user u of `test`.

    Raises:
        ValueError: rows that do not fit the users, a K outside 1 ... k, a list with an item twice or an item that is
            not in the catalogue, a user twice or outside the test set, or no test item at all.
    """
    lists = np.asarray(recommended)
    rows = np.arange(test.num_users) if users is None else np.asarray(users)
    ks = tuple(dict.fromkeys(int(k) for k in ks))
    _check(lists, rows, test, ks, given=users is not None)
    counts, hits = _hits(lists, rows, test)
    with_test = counts > 0
    if not with_test.any():
        raise ValueError(f"none of the {len(rows)} users has a test item: nothing can be measured")
    per_user = _per_user(hits[with_test], counts[with_test], ks)
    means = {name: {k: float(value.mean()) for k, value in per_user[name].items()} for name in METRICS}
    return RankingMetrics(**means, per_user=per_user, users=rows[with_test], num_skipped=int((~with_test).sum()))


def _hits(
    lists: np.ndarray, rows: np.ndarray, test: Sequences
) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, "n k"]]:
    """The number of different test items of each row's user, and which of its recommendations are among them."""
    owners = np.repeat(np.arange(test.num_users, dtype=np.int64), test.lengths)
    relevant = np.unique(owners * test.num_items + np.asarray(test.items))
    counts = np.bincount(relevant // max(test.num_items, 1), minlength=test.num_users)[rows]
    wanted = rows.astype(np.int64)[:, None] * test.num_items + lists
    place = np.minimum(np.searchsorted(relevant, wanted), max(len(relevant) - 1, 0))
    found = relevant[place] == wanted if len(relevant) else np.zeros(lists.shape, bool)
    return counts, found & (lists >= 0)


def _per_user(
    hits: Bool[np.ndarray, "n k"], counts: Int[np.ndarray, " n"], ks: tuple[int, ...]
) -> dict[str, dict[int, Float[np.ndarray, " n"]]]:
    rank = np.arange(1, hits.shape[1] + 1)
    discount = 1 / np.log2(rank + 1)
    so_far = hits.cumsum(axis=1)
    precisions = (hits * so_far / rank).cumsum(axis=1)
    gains = (hits * discount).cumsum(axis=1)
    best_gains = discount.cumsum()
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, np.inf)
    values: dict[str, dict[int, np.ndarray]] = {name: {} for name in METRICS}
    for k in ks:
        reachable = np.minimum(k, counts)
        values["precision"][k] = so_far[:, k - 1] / k
        values["recall"][k] = so_far[:, k - 1] / counts
        values["map"][k] = precisions[:, k - 1] / reachable
        values["ndcg"][k] = gains[:, k - 1] / best_gains[reachable - 1]
        values["hit"][k] = (first <= k).astype(np.float64)
        values["mrr"][k] = np.where(first <= k, 1 / first, 0.0)
    return values


def _check(
    lists: Shaped[np.ndarray, "..."], rows: Int[np.ndarray, "..."], test: Sequences, ks: tuple[int, ...], *, given: bool
) -> None:
    if lists.ndim != 2 or len(lists) != len(rows):
        whose = f"{len(rows)} users were given" if given else f"the test set has {test.num_users} users"
        raise ValueError(f"recommended has shape {lists.shape}, but {whose}; (users, k) is needed")
    if not ks or min(ks) < 1 or max(ks) > lists.shape[1]:
        raise ValueError(f"ks={ks}; lists of {lists.shape[1]} items allow K from 1 to {lists.shape[1]}")
    if len(rows) and not 0 <= rows.min() <= rows.max() < test.num_users:
        raise ValueError(f"users reach from {rows.min()} to {rows.max()}, the test set has 0 ... {test.num_users - 1}")
    if len(np.unique(rows)) < len(rows):
        raise ValueError("a user occurs twice among the users")
    if lists.size and not -1 <= lists.min() <= lists.max() < test.num_items:
        raise ValueError(
            f"recommended items reach from {lists.min()} to {lists.max()}; the catalogue has 0 ... "
            f"{test.num_items - 1}, and -1 stands for no item"
        )
    ordered = np.sort(lists, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
    if twice.any():
        raise ValueError(f"the list of user {rows[twice.argmax()]} has an item twice")
