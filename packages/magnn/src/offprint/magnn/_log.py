"""Interaction logs as they come, before anything is removed or numbered."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from offprint.core.data import DataError, load_csv, load_npz

_DEFAULTS = {"time": "time", "rating": "rating"}


@dataclass(frozen=True, eq=False)
class InteractionLog:
    """Who had what, when, and how it was rated; rows in any order.

    Raises:
        ValueError: lengths that differ, ids that are neither whole numbers nor texts, an empty text as id, a time or
            rating that is no number or not a finite one.
    """

    user: Shaped[np.ndarray, " rows"]
    """Ids of users: whole numbers or texts."""
    item: Shaped[np.ndarray, " rows"]
    """Ids of items: whole numbers or texts."""
    time: Shaped[np.ndarray, " rows"] | None = None
    """Numbers that grow, such as seconds, or datetime64; None where the order of the rows is all that is known."""
    rating: Shaped[np.ndarray, " rows"] | None = None
    """Numbers, or None."""

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("user", "item", "time", "rating")}
        arrays = {name: np.asarray(values) for name, values in given.items() if values is not None}
        shapes = {name: array.shape for name, array in arrays.items()}
        if any(array.ndim != 1 for array in arrays.values()) or len(set(shapes.values())) > 1:
            raise ValueError(f"arrays (rows,) of one length are needed, got {_listed(shapes)}")
        for name, array in arrays.items():
            checked = _ids(name, array) if name in ("user", "item") else _numbers(name, array)
            object.__setattr__(self, name, checked)

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        extra = [name for name in ("time", "rating") if getattr(self, name) is not None]
        return f"InteractionLog({len(self)} interactions{', with ' if extra else ''}{' and '.join(extra)})"

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        user: str = "user",
        item: str = "item",
        time: str | None = "time",
        rating: str | None = "rating",
        delimiter: str = ",",
    ) -> "InteractionLog":
        """From a table with a line of column names.

        Ids that all are written as plain whole numbers are read as numbers, others as texts ("007" keeps its zeros).
        Times may be numbers or dates as ISO 8601 writes them.

        Args:
            path: a text file in UTF-8.
            user, item: the columns of the ids.
            time, rating: the columns of times and ratings; None for none. A column of the default name may be missing.
            delimiter: the character between cells.

        Raises:
            DataError: the file cannot be read as a table, or a column is missing.
            ValueError: ids like 1.0, or a time or rating that is no number.
        """
        path = Path(path)
        present = _header(path, delimiter)
        names = _columns({"user": user, "item": item, "time": time, "rating": rating}, present)
        table = load_csv(path, dict.fromkeys(names.values(), str), delimiter=delimiter)
        text = {name: table[column] for name, column in names.items()}
        return cls(
            _parse_ids(user, text["user"]),
            _parse_ids(item, text["item"]),
            _parse_times(names["time"], text["time"]) if "time" in names else None,
            _parse_numbers(names["rating"], text["rating"]) if "rating" in names else None,
        )

    @classmethod
    def from_npz(
        cls,
        path: str | Path,
        *,
        user: str = "user",
        item: str = "item",
        time: str | None = "time",
        rating: str | None = "rating",
    ) -> "InteractionLog":
        """From a NumPy archive with one array for each column; the arguments are as in `from_csv`.

        Raises:
            DataError: the file is no archive, holds pickles, or an array is missing.
            ValueError: as for the class itself.
        """
        arrays = load_npz(Path(path))
        names = _columns({"user": user, "item": item, "time": time, "rating": rating}, list(arrays))
        return cls(**{name: arrays[column] for name, column in names.items()})


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _ids(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "f" or array.dtype.kind not in "iuUTO":
        raise ValueError(
            f"{name} ids are {array.dtype}; whole numbers or texts are needed. "
            "Turn numbers such as 17.0 into integers first, and drop rows without an id"
        )
    if array.dtype.kind in "OT":
        if not all(isinstance(value, str) for value in array):
            raise ValueError(f"{name} ids are of mixed kinds; make them all whole numbers or all texts")
        array = array.astype(np.str_)
    if array.dtype.kind == "U" and (array == "").any():
        raise ValueError(f"row {int((array == '').argmax())} has no {name} id; drop such rows")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} ids reach {array.max()}, more than int64 holds; use texts")
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _numbers(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in ("iufM" if name == "time" else "iuf"):
        kinds = "numbers or datetime64" if name == "time" else "numbers"
        raise ValueError(f"{name} is {array.dtype}; {kinds} are needed")
    bad = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(array)} values of {name} are missing or infinite, the first in row "
            f"{int(bad.argmax())}; drop these rows or give no {name}"
        )
    return array


def _header(path: Path, delimiter: str) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]


def _columns(wanted: dict[str, str | None], present: list[str]) -> dict[str, str]:
    """The columns to read; those that are missing under their default names are left out."""
    missing = [name for role, name in wanted.items() if name not in present and name != _DEFAULTS.get(role) and name]
    if missing:
        raise DataError(f"no column {', '.join(missing)}; there are {', '.join(present)}")
    return {role: name for role, name in wanted.items() if name is not None and name in present}


def _parse_ids(name: str, text: np.ndarray) -> np.ndarray:
    try:
        numbers = text.astype(np.int64)
    except (ValueError, OverflowError):
        try:
            fractions = text.astype(np.float64)
        except ValueError:
            return text
        if np.isfinite(fractions).all() and np.char.find(text, ".").max(initial=-1) >= 0:
            raise ValueError(f"the ids in column {name} are numbers like {text[0]}; whole numbers are needed") from None
        return text
    return numbers if np.array_equal(numbers.astype(text.dtype), text) else text


def _parse_numbers(name: str, text: np.ndarray) -> np.ndarray:
    for dtype in (np.int64, np.float64):
        try:
            return text.astype(dtype)
        except (ValueError, OverflowError):
            continue
    raise ValueError(f"column {name} does not hold numbers throughout; drop rows without one")


def _parse_times(name: str, text: np.ndarray) -> np.ndarray:
    try:
        return _parse_numbers(name, text)
    except ValueError:
        try:
            return text.astype("datetime64[ms]")
        except ValueError:
            raise ValueError(f"column {name} holds neither numbers nor ISO 8601 dates throughout") from None
