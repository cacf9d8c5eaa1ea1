"""What the program `offprint-mgrn` reads and writes: data sets, groups, tables."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from offprint.core.data import DataError, load_npz
from offprint.core.program import UsageError
from offprint.mgrn.data import SequenceData, TimeSeries, load_uea, read_ts

Cell = str | int | float


@dataclass(frozen=True)
class Samples:
    """Sequences (n, T, F), their valid steps, and their targets where they are known."""

    X: np.ndarray
    lengths: np.ndarray | None
    y: np.ndarray | None

    def rows(self, rows: np.ndarray) -> "Samples":
        """Some of them."""
        return Samples(*(None if part is None else part[rows] for part in (self.X, self.lengths, self.y)))  # type: ignore[arg-type]


def read_parts(path: Path, holdout: float, seed: int, nan_policy: Literal["raise", "zero"]) -> tuple[Samples, Samples]:
    """A training and a test part.

    An .npz archive with X_train, y_train, X_test, y_test, and files <name>_TRAIN.ts and <name>_TEST.ts, have both.
    Of an archive with X and y (and lengths), or of a single .ts file, a share is held out at random.
    """
    if path.suffix != ".npz" and (path.is_dir() or path.name.endswith(("_TRAIN.ts", "_TEST.ts"))):
        return _both(load_uea(path, nan_policy=nan_policy))
    if path.suffix == ".npz" and "X_train" in (arrays := _load(path)) and np.ndim(arrays.get("y_train", 0)) == 1:
        return _both(load_uea(path, nan_policy=nan_policy))
    samples = read_samples(path)
    if samples.y is None:
        raise UsageError(f"{path} has no targets y; training needs them")
    count, held = len(samples.X), round(holdout * len(samples.X))
    if not 0 < held < count:
        raise UsageError(f"--holdout {holdout:g} of {count} sequences leaves the training or the test part empty")
    order = np.random.default_rng(seed).permutation(count)
    return samples.rows(np.sort(order[held:])), samples.rows(np.sort(order[:held]))


def read_samples(path: Path, part: Literal["all", "train", "test"] = "all") -> Samples:
    """The sequences of a file, or those of one part of a data set that has two; targets where it has them."""
    if path.suffix == ".npz":
        arrays = _load(path)
        if "X" in arrays:
            return _checked(path, Samples(arrays["X"], arrays.get("lengths"), arrays.get("y")))
        if "X_train" not in arrays:
            raise UsageError(f"{path} has neither X nor X_train; it has {', '.join(arrays) or 'no arrays'}")
    elif path.suffix == ".ts" and (part == "all" or not path.name.endswith(("_TRAIN.ts", "_TEST.ts"))):
        return _of_series(read_ts(path))
    elif not path.is_dir() and path.suffix != ".ts":
        raise UsageError(f"{path} has an unknown format; .npz, .ts or a folder with such files is needed")
    train, test = _both(load_uea(path))
    if part != "all":
        return train if part == "train" else test
    lengths = [p.lengths for p in (train, test) if p.lengths is not None]
    return Samples(
        np.concatenate([train.X, test.X]),
        np.concatenate(lengths) if len(lengths) == 2 else None,
        np.concatenate([train.y, test.y]),  # type: ignore[list-item]
    )


def read_groups(text: str) -> Any:
    """Groups from the command line: "auto", sizes such as 8,8, or a file.

    A .json file holds a list of sizes or of lists of columns; any other file has a line of columns for each group.
    """
    if text == "auto":
        return text
    if all(part.strip().isdecimal() for part in text.split(",")):
        return tuple(int(part) for part in text.split(","))
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"--groups {text!r} is neither auto, nor sizes such as 8,8, nor a file")
    content = path.read_text(encoding="utf-8")
    try:
        if path.suffix == ".json":
            return json.loads(content)
        return [[int(part) for part in line.replace(",", " ").split()] for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise UsageError(f"{path} holds no groups: {error}") from None


def write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Columns of one length as .csv or .npz."""
    if path.suffix == ".npz":
        np.savez(path, **columns)  # type: ignore[arg-type]
        return
    lines = [",".join(columns), *(",".join(str(cell) for cell in row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _load(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UsageError(f"{path} is not there")
    try:
        return load_npz(path)
    except DataError as error:
        raise UsageError(str(error)) from None


def _checked(path: Path, samples: Samples) -> Samples:
    for name, array in (("y", samples.y), ("lengths", samples.lengths)):
        if array is not None and np.shape(array)[:1] != samples.X.shape[:1]:
            raise UsageError(f"{path}: X has shape {samples.X.shape}, but {name} {np.shape(array)}")
    return samples


def _of_series(series: TimeSeries) -> Samples:
    names = np.array(series.class_names)
    return Samples(series.x, series.lengths, names[series.y] if series.class_names else series.y)


def _both(data: SequenceData) -> tuple[Samples, Samples]:
    names = np.array(data.class_names)
    y_train, y_test = (names[y] if data.class_names else y for y in (data.y_train, data.y_test))
    return Samples(data.X_train, data.lengths_train, y_train), Samples(data.X_test, data.lengths_test, y_test)
