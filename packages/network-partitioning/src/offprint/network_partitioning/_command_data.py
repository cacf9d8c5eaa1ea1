"""What the program `offprint-network-partitioning` reads: tables and images, and how they are scaled."""

import csv
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from offprint.core.data import load_npz
from offprint.core.program import UsageError
from offprint.network_partitioning import data

TOY = 1000
"""Rows of the generated table."""
Task = str | None
"""classes, values, auto, or None: only the inputs are wanted."""


@dataclass(frozen=True)
class Examples:
    """Inputs as they were read, and what is to be predicted."""

    name: str
    x: np.ndarray
    """(n, features) or (n, height, width, channels)."""
    y: np.ndarray | None
    """(n,) class numbers, or values; None where nothing is known."""
    columns: tuple[str, ...]
    """Names of the features; none for images."""
    classes: tuple[str, ...]
    """Names of the classes; none for values."""
    groups: np.ndarray | None = None
    test: tuple[np.ndarray, np.ndarray] | None = None
    """Test examples of the file."""

    @property
    def images(self) -> bool:
        """Whether these are images."""
        return self.x.ndim == 4

    def rows(self, chosen: np.ndarray) -> "Examples":
        """Some of the examples, without test examples."""
        y, groups = (None if a is None else a[chosen] for a in (self.y, self.groups))
        return Examples(self.name, self.x[chosen], y, self.columns, self.classes, groups)


class Scaling(NamedTuple):
    """What is subtracted from the inputs (and values) and what they are divided by."""

    mean: np.ndarray
    std: np.ndarray
    target_mean: np.ndarray
    target_std: np.ndarray

    @classmethod
    def of(cls, given: Examples) -> "Scaling":
        """Means and deviations of each column, or of each channel of the images."""
        axes = tuple(range(given.x.ndim - 1))
        target = (np.zeros(()), np.ones(())) if given.classes or given.y is None else (given.y.mean(), given.y.std())
        std = given.x.std(axes, dtype=np.float64)
        return cls(
            given.x.mean(axes, dtype=np.float64), np.where(std > 0, std, 1), target[0], np.maximum(target[1], 1e-12)
        )

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Scaled inputs, float32."""
        return ((x - self.mean) / self.std).astype(np.float32)

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Class numbers as they are; scaled values."""
        if np.issubdtype(y.dtype, np.integer):
            return y.astype(np.int32)
        return ((y - self.target_mean) / self.target_std).astype(np.float32)


def read(
    name: str,
    *,
    target: str = "label",
    groups: str | None = None,
    task: Task = "auto",
    columns: tuple[str, ...] | None = None,
) -> Examples:
    """Examples of a file, or the generated ones; of a table the given columns, or all that are not something else."""
    path = Path(name)
    if name == "toy":
        x, y = (np.asarray(a) for a in data.toy(jax.random.key(0), TOY))
        return _examples("toy", x, y, tuple(f"x{i + 1}" for i in range(x.shape[1])), task)
    if path.suffix not in (".csv", ".npz"):
        raise UsageError(f"--data {name}: a .csv or an .npz file, or toy, is needed")
    if not path.is_file():
        raise UsageError(f"--data {name}: the file is not there")
    return _table(path, target, groups, task, columns) if path.suffix == ".csv" else _archive(path, groups, task)


def _table(path: Path, target: str, groups: str | None, task: Task, columns: tuple[str, ...] | None) -> Examples:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names, rows = tuple(reader.fieldnames or ()), list(reader)
    if not rows:
        raise UsageError(f"{path} has no rows under a header")
    for flag, column in (("target", target if task else None), ("groups", groups)):
        if column is not None and column not in names:
            raise UsageError(f"--{flag} {column}: {path} has the columns {', '.join(names)}")
    if columns is None:
        columns = tuple(name for name in names if name not in (target, groups))
    missing = [name for name in columns if name not in names]
    if missing:
        raise UsageError(f"{path} has no column {missing[0]}, which the network has learned from")
    if not columns:
        raise UsageError(f"{path} has no columns to predict {target} from")
    x = np.array([[_number(row[name], name, line, path) for name in columns] for line, row in enumerate(rows, 2)])
    y = np.array([row[target] for row in rows]) if target in names else None
    return _examples(
        path.name, x, y, columns, task, groups=None if groups is None else np.array([row[groups] for row in rows])
    )


def _number(cell: str | None, column: str, line: int, path: Path) -> float:
    try:
        value = float(cell or "")
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(f"{path}, line {line}: {column} is {cell!r}, but a finite number is needed")
    return value


def _archive(path: Path, groups: str | None, task: Task) -> Examples:
    if groups is not None:
        raise UsageError(f"--groups {groups} names a column of a .csv file; in {path} it is the array groups")
    arrays = load_npz(path)
    needed = {"x", "y"} if task else {"x"}
    if not needed <= arrays.keys():
        raise UsageError(f"{path} has the arrays {', '.join(arrays)}, but {' and '.join(sorted(needed))} are needed")
    x = arrays["x"]
    columns = tuple(f"x{i + 1}" for i in range(x.shape[1])) if x.ndim == 2 else ()
    test = (arrays["test_x"], arrays["test_y"]) if {"test_x", "test_y"} <= arrays.keys() else None
    return _examples(path.name, x, arrays.get("y"), columns, task, groups=arrays.get("groups"), test=test)


def _examples(
    name: str,
    x: np.ndarray,
    y: np.ndarray | None,
    columns: tuple[str, ...],
    task: Task,
    *,
    groups: np.ndarray | None = None,
    test: tuple[np.ndarray, np.ndarray] | None = None,
) -> Examples:
    x = _inputs(name, x)
    if y is None or task is None:
        return Examples(name, x, y, columns, (), groups, None)
    if y.shape != x.shape[:1]:
        raise UsageError(f"{name}: there are {len(x)} examples, but y has the shape {y.shape}")
    numbers = _values(y)
    whole = numbers is None or bool((numbers == np.round(numbers)).all())
    if task == "values" and numbers is None:
        raise UsageError(f"--task values: {name} has targets that are no finite numbers, such as {y[0]!r}")
    if task == "values" or (task == "auto" and not whole):
        tested = None if test is None else (_inputs(name, test[0]), test[1].astype(np.float64))
        return Examples(name, x, numbers, columns, (), groups, _same_kind(name, x, tested))
    names = tuple(str(c) for c in (np.unique(y) if numbers is None else np.unique(numbers.astype(np.int64))))
    if len(names) < 2:
        raise UsageError(f"{name}: all examples are of class {names[0]}; at least two classes are needed")
    tested = None if test is None else (_inputs(name, test[0]), class_numbers(test[1], names, name))
    return Examples(name, x, class_numbers(y, names, name), columns, names, groups, _same_kind(name, x, tested))


def _inputs(name: str, x: np.ndarray) -> np.ndarray:
    if x.ndim not in (2, 3, 4) or not (np.issubdtype(x.dtype, np.number) or x.dtype == bool) or 0 in x.shape:
        raise UsageError(
            f"{name}: x is {x.dtype} {x.shape}; numbers (n, features), (n, height, width) or "
            "(n, height, width, channels) are needed"
        )
    x = x[..., None] if x.ndim == 3 else x
    if not np.isfinite(x).all():
        raise UsageError(f"{name}: x has entries that are not finite")
    return x


def _same_kind(name: str, x: np.ndarray, test: Any) -> Any:
    if test is not None and (test[0].shape[1:] != x.shape[1:] or test[1].shape != test[0].shape[:1]):
        raise UsageError(
            f"{name}: examples are {x.shape[1:]}, but test_x is {test[0].shape} and test_y {test[1].shape}"
        )
    return test


def _values(y: np.ndarray) -> np.ndarray | None:
    """Numbers, if these are finite ones."""
    try:
        numbers = y.astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def class_numbers(y: np.ndarray, classes: tuple[str, ...], name: str) -> np.ndarray:
    """The place of every label in `classes`."""
    numbers = _values(y)
    texts = [str(label) for label in (y if numbers is None else numbers.astype(np.int64)).tolist()]
    known = {label: number for number, label in enumerate(classes)}
    strange = sorted(set(texts) - known.keys())
    if strange:
        raise UsageError(f"{name}: class {strange[0]} is not one of those in training, {', '.join(classes)}")
    return np.array([known[label] for label in texts], np.int32)


def fingerprint(given: Examples) -> int:
    """A checksum of inputs, targets and groups."""
    checksum = 0
    for part in (given.x, given.y, given.groups):
        if part is not None:
            checksum = zlib.crc32(np.ascontiguousarray(part).tobytes(), checksum)
    return checksum
