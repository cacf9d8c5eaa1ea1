"""The item sequences of all users, one after another in a flat array."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Int32, Shaped

from offprint.core.data import load_npz
from offprint.magnn._report import PrepareReport

MAX_INTERACTIONS = 2**31 - 1
"""Positions are int32, with which JAX counts unless told otherwise."""


class _Static:
    """External ids as part of a pytree's structure, which JAX hashes and compares."""

    def __init__(self, ids: np.ndarray | None):
        self.ids = ids

    def __hash__(self) -> int:
        return hash(None if self.ids is None else (self.ids.shape, self.ids.dtype.str))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Static):
            return NotImplemented
        if self.ids is other.ids:
            return True
        return self.ids is not None and other.ids is not None and np.array_equal(self.ids, other.ids)


@jax.tree_util.register_pytree_with_keys_class
@dataclass(frozen=True, eq=False)
class Sequences:
    """What each user had, oldest first, in compressed rows: user u's items are ``items[indptr[u]:indptr[u + 1]]``.

    Users and items are numbered from 0. A pytree whose leaves are `indptr` and `items`: hand it to a jitted function,
    or put it on a device as a whole (``jax.device_put``). The ids of the log travel along unseen.

    Raises:
        ValueError: `indptr` does not start at 0, falls, or does not end at the number of items; an item that is not
            in 0 ... num_items - 1; ids that are not whole; external ids whose number is wrong or that occur twice.
    """

    indptr: Int[Array | np.ndarray, " users_plus_one"]
    """int32: where the users' items begin, and at last the number of all interactions."""
    items: Int[Array | np.ndarray, " interactions"]
    """int32: items of the first user, of the second, and so on."""
    num_items: int
    """Size of the catalogue, with the items that nobody had."""
    user_ids: Shaped[np.ndarray, " users"] | None = None
    """The user's id in the log, for each user; None where it is the number itself."""
    item_ids: Shaped[np.ndarray, " items"] | None = None
    """The item's id in the log, for each item; None where it is the number itself."""
    report: PrepareReport | None = None
    """What `prepare` removed on the way here."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_items", int(self.num_items))
        for name in ("indptr", "items"):
            object.__setattr__(self, name, _int32(name, getattr(self, name)))
        for name in ("user_ids", "item_ids"):
            ids = getattr(self, name)
            if ids is not None:
                object.__setattr__(self, name, np.asarray(ids))
        _check_rows(np.asarray(self.indptr), np.asarray(self.items), self.num_items)
        _check_ids("user_ids", self.user_ids, self.num_users)
        _check_ids("item_ids", self.item_ids, self.num_items)

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        keys = (jax.tree_util.GetAttrKey("indptr"), jax.tree_util.GetAttrKey("items"))
        static = (self.num_items, _Static(self.user_ids), _Static(self.item_ids), self.report)
        return tuple(zip(keys, (self.indptr, self.items))), static

    @classmethod
    def tree_unflatten(cls, static: tuple, leaves: tuple) -> "Sequences":
        sequences = object.__new__(cls)  # no checks: JAX also puts tracers and placeholders in
        num_items, users, items, report = static
        for name, value in zip(
            ("indptr", "items", "num_items", "user_ids", "item_ids", "report"),
            (*leaves, num_items, users.ids, items.ids, report),
        ):
            object.__setattr__(sequences, name, value)
        return sequences

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int] | np.ndarray], num_items: int | None = None) -> "Sequences":
        """From one list of item numbers, oldest first, for each user.

        Args:
            lists: whole numbers from 0; a list may be empty.
            num_items: size of the catalogue; by default one more than the largest number.

        Raises:
            ValueError: numbers that are not whole, negative, or not below `num_items`.
        """
        rows = [np.asarray(row) for row in lists]
        flat = np.concatenate([row for row in rows if row.size]) if any(row.size for row in rows) else np.empty(0, int)
        indptr = np.concatenate([[0], np.cumsum([row.size for row in rows])]).astype(np.int64)
        return cls.from_csr(indptr, flat, num_items)

    @classmethod
    def from_csr(
        cls,
        indptr: Int[Array | np.ndarray, " users_plus_one"],
        items: Shaped[Array | np.ndarray, " interactions"],
        num_items: int | None = None,
    ) -> "Sequences":
        """From compressed rows as other programs store them, such as a SciPy matrix's `indptr` and `indices`.

        Raises:
            ValueError: as for the class itself.
        """
        items = _int32("items", items)
        if num_items is None:
            num_items = int(np.asarray(items).max(initial=-1)) + 1
        return cls(_int32("indptr", indptr), items, num_items)

    @property
    def num_users(self) -> int:
        """Users, with those who had nothing."""
        return self.indptr.shape[0] - 1

    @property
    def lengths(self) -> Int32[np.ndarray, " users"]:
        """Number of interactions of each user."""
        return np.diff(np.asarray(self.indptr))

    def __len__(self) -> int:
        return self.items.shape[0]

    def __repr__(self) -> str:
        return f"Sequences({self.num_users} users, {self.num_items} items, {len(self)} interactions)"

    def of(self, user: int | np.integer) -> Int32[np.ndarray, " length"]:
        """The items of one user, oldest first.

        Raises:
            IndexError: there is no user of that number.
        """
        if not 0 <= user < self.num_users:
            raise IndexError(
                f"user {user} of {self.num_users}: a number from 0 to {self.num_users - 1} is needed "
                "(user_index finds the number of an id of the log)"
            )
        return np.asarray(self.items)[int(self.indptr[user]) : int(self.indptr[user + 1])]

    def slice(self, start: Int[np.ndarray, " users"], stop: Int[np.ndarray, " users"]) -> "Sequences":
        """Every user's items at positions start ... stop - 1; users who keep nothing stay, with an empty sequence.

        Args:
            start, stop: (users,) with 0 <= start <= stop <= the user's length.

        Raises:
            ValueError: positions outside a sequence.
        """
        if (start < 0).any() or (stop < start).any() or (stop > self.lengths).any():
            raise ValueError("0 <= start <= stop <= the length of the sequence is needed for every user")
        indptr = np.concatenate([[0], np.cumsum(stop - start)])
        shift = np.asarray(self.indptr)[:-1] + start - indptr[:-1]
        rows = np.repeat(shift, stop - start) + np.arange(indptr[-1])
        items = np.asarray(self.items)[rows]
        return Sequences(indptr.astype(np.int32), items, self.num_items, self.user_ids, self.item_ids)

    def user_index(self, user: int | str | np.integer) -> int:
        """The number of the user who has this id in the log.

        Raises:
            KeyError: nobody has it.
        """
        return int(self.user_indices(np.asarray([user]))[0])

    def user_indices(self, users: Any) -> Int32[np.ndarray, "..."]:
        """The numbers of users by their ids in the log, for an array or a list of them.

        Raises:
            KeyError: an id that nobody has.
        """
        return _find(
            "user", users, self.user_ids, self.num_users, "; for somebody new, user=None ranks for an unknown user"
        )

    def item_index(self, items: Any) -> Int32[np.ndarray, "..."]:
        """The numbers of items by their ids in the log, for an array or a list of them.

        Raises:
            KeyError: an id that no item has.
        """
        return _find("item", items, self.item_ids, self.num_items, "")

    def external_users(self, users: Int[Array | np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The ids in the log of users by their numbers."""
        return np.asarray(users) if self.user_ids is None else self.user_ids[np.asarray(users)]

    def external_items(self, items: Int[Array | np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The ids in the log of items by their numbers."""
        return np.asarray(items) if self.item_ids is None else self.item_ids[np.asarray(items)]

    def save(self, path: str | Path) -> None:
        """Write everything to a NumPy archive, without pickles."""
        arrays: dict[str, Any] = {"indptr": self.indptr, "items": self.items, "num_items": np.int64(self.num_items)}
        arrays |= {name: ids for name in ("user_ids", "item_ids") if (ids := getattr(self, name)) is not None}
        if self.report is not None:
            arrays["report"] = json.dumps(self.report.as_dict())
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Sequences":
        """Read what `save` has written.

        Raises:
            ValueError: the archive has no `indptr`, `items` or `num_items`, or they contradict each other.
            DataError: the file is no archive.
        """
        arrays = load_npz(Path(path))
        missing = {"indptr", "items", "num_items"} - arrays.keys()
        if missing:
            raise ValueError(f"{path} has no array {', '.join(sorted(missing))}; was it written by Sequences.save?")
        report = PrepareReport.from_dict(json.loads(str(arrays["report"]))) if "report" in arrays else None
        ids = (arrays.get("user_ids"), arrays.get("item_ids"))
        return cls(arrays["indptr"], arrays["items"], int(arrays["num_items"]), *ids, report)


def _int32(name: str, values: Any) -> Array | np.ndarray:
    if not isinstance(values, jax.Array):
        values = np.asarray(values)
    if values.dtype == np.int32:
        return values
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be whole numbers, got {values.dtype}; `prepare` numbers ids of any kind")
    if values.size and not np.iinfo(np.int32).min <= int(values.min()) <= int(values.max()) <= MAX_INTERACTIONS:
        raise ValueError(f"{name} reach from {values.min()} to {values.max()}; at most {MAX_INTERACTIONS} can be held")
    return values.astype(np.int32)


def _check_rows(indptr: np.ndarray, items: np.ndarray, num_items: int) -> None:
    if indptr.ndim != 1 or items.ndim != 1 or len(indptr) < 1:
        raise ValueError(
            f"indptr (users + 1,) and items (interactions,) are needed, got {indptr.shape} and {items.shape}"
        )
    if indptr[0] != 0 or indptr[-1] != len(items) or (np.diff(indptr) < 0).any():
        raise ValueError(f"indptr must start at 0, never fall, and end at {len(items)}, the number of interactions")
    if num_items < 0:
        raise ValueError(f"num_items={num_items}; 0 or more are needed")
    bad = items[(items < 0) | (items >= num_items)]
    if len(bad):
        raise ValueError(
            f"item {bad[0]} is not in 0 ... {num_items - 1}, the numbers of the {num_items} items; "
            "`prepare` numbers ids of any kind"
        )


def _check_ids(name: str, ids: np.ndarray | None, count: int) -> None:
    if ids is None:
        return
    if ids.shape != (count,) or ids.dtype.kind not in "iuU":
        raise ValueError(f"{name} must be {count} whole numbers or texts, got {ids.dtype} of shape {ids.shape}")
    if len(np.unique(ids)) < count:
        raise ValueError(f"{name} has the same id twice")


def _find(kind: str, wanted: Any, ids: np.ndarray | None, count: int, hint: str) -> np.ndarray:
    wanted = np.asarray(wanted)
    known = np.arange(count, dtype=np.int32) if ids is None else ids
    same_kind = (known.dtype.kind == "U") == (wanted.dtype.kind == "U") and wanted.dtype.kind in "iuU"
    found = np.isin(wanted, known) if same_kind else np.zeros(wanted.shape, bool)
    if not found.all():
        bad = wanted[~found].ravel()
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        type_hint = (
            "" if same_kind else f"; ids of the log are {'texts' if known.dtype.kind == 'U' else 'whole numbers'}"
        )
        raise KeyError(f"no {kind} has the id {bad[0].item()!r}{more}{type_hint}{hint}")
    order = np.argsort(known)
    return order[np.searchsorted(known, wanted, sorter=order)].astype(np.int32)
