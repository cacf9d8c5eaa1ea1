"""Classification and regression sets in the format of the UEA archive (.ts) or as NumPy archives (.npz)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped

from offprint.core.data import DataError, load_npz
from offprint.mgrn._checks import check_lengths
from offprint.mgrn._standardize import NanPolicy, Standardizer, clean
from offprint.mgrn.data._ts import TimeSeries, read_ts


@dataclass(frozen=True)
class SequenceData:
    """Sequences for training and for the test, padded with 0 at the end.

    Labels are integers in [0, C), or floating-point targets where `class_names` is empty.
    """

    X_train: Float[np.ndarray, "train steps features"]
    lengths_train: Int[np.ndarray, "train"]
    """Valid steps of every sequence."""
    y_train: Shaped[np.ndarray, "train"]
    X_test: Float[np.ndarray, "test steps features"]
    lengths_test: Int[np.ndarray, "test"]
    y_test: Shaped[np.ndarray, "test"]
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """C, or 0 for regression."""
        return len(self.class_names)

    @property
    def equal_length(self) -> bool:
        """Whether every sequence fills all steps."""
        return bool((self.lengths_train == self.steps).all() and (self.lengths_test == self.steps).all())

    @property
    def steps(self) -> int:
        """T."""
        return self.X_train.shape[1]

    @property
    def features(self) -> int:
        """F."""
        return self.X_train.shape[2]

    def standardized(self) -> "SequenceData":
        """With standard scores by the valid steps of the training part; the padding stays 0.

        Warns:
            UserWarning: features that are constant in the training part.
        """
        fitted = Standardizer.fit(self.X_train, self.lengths_train)
        return replace(
            self,
            X_train=fitted.transform(self.X_train, self.lengths_train),
            X_test=fitted.transform(self.X_test, self.lengths_test),
        )


def load_uea(path: str | Path, *, nan_policy: NanPolicy = "raise") -> SequenceData:
    """A data set with a training and a test part.

    Args:
        path: `<name>_TRAIN.ts` or `<name>_TEST.ts` with the other one beside it, a folder that holds one such pair, or
            an .npz archive with `X_train` (n, T, F), `y_train` (n,), `X_test`, `y_test` and, optionally,
            `length_train`, `length_test` (n,) and `class_names`.
        nan_policy: "raise" refuses missing values; "zero" puts 0 in their place, as the study's code does.

    Returns:
        Both parts, padded to the longest sequence of either; float32.

    Raises:
        DataError: a file that is missing or cannot be read, parts that do not fit each other.
        ValueError: missing or infinite values under "raise".
    """
    path = Path(path)
    data = _from_npz(path) if path.suffix == ".npz" else _from_ts(*_both_parts(path))
    return replace(
        data,
        X_train=clean(data.X_train, nan_policy, name="X_train", lengths=data.lengths_train),
        X_test=clean(data.X_test, nan_policy, name="X_test", lengths=data.lengths_test),
    )


def _both_parts(path: Path) -> tuple[Path, Path]:
    if path.is_dir():
        found = sorted(path.glob("*_TRAIN.ts"))
        if len(found) != 1:
            raise DataError(f"{path} must hold one file *_TRAIN.ts, found {len(found)}; name the file itself")
        path = found[0]
    for end in ("_TRAIN.ts", "_TEST.ts"):
        if path.name.endswith(end):
            base = path.name.removesuffix(end)
            parts = path.with_name(f"{base}_TRAIN.ts"), path.with_name(f"{base}_TEST.ts")
            for part in parts:
                if not part.is_file():
                    raise DataError(f"{part} is missing: a data set needs <name>_TRAIN.ts and <name>_TEST.ts")
            return parts
    raise DataError(f"{path} is neither a folder, nor <name>_TRAIN.ts or <name>_TEST.ts, nor an .npz archive")


def _from_ts(train_path: Path, test_path: Path) -> SequenceData:
    train, test = read_ts(train_path), read_ts(test_path)
    if train.x.shape[2] != test.x.shape[2]:
        raise DataError(
            f"{train_path.name} has {train.x.shape[2]} dimensions, {test_path.name} {test.x.shape[2]}: not one data set"
        )
    if train.class_names != test.class_names:
        raise DataError(
            f"the classes of {train_path.name} ({', '.join(train.class_names)}) and {test_path.name} "
            f"({', '.join(test.class_names)}) differ"
        )
    steps = max(train.x.shape[1], test.x.shape[1])

    def padded(part: TimeSeries) -> np.ndarray:
        return np.pad(part.x, ((0, 0), (0, steps - part.x.shape[1]), (0, 0)))

    return SequenceData(
        padded(train), train.lengths, train.y, padded(test), test.lengths, test.y, train.class_names
    )  # fmt: skip


def _from_npz(path: Path) -> SequenceData:
    if not path.is_file():
        raise DataError(f"{path} is missing")
    return from_arrays(load_npz(path), path.name)


def from_arrays(arrays: dict[str, np.ndarray], origin: str) -> SequenceData:
    """A data set from the arrays of an .npz archive; see `load_uea`.

    Raises:
        DataError: arrays that are missing or do not fit each other; `origin` names where they come from.
    """
    needed = ("X_train", "y_train", "X_test", "y_test")
    if missing := [name for name in needed if name not in arrays]:
        raise DataError(f"{origin} has no {', '.join(missing)}; it has {', '.join(arrays)}")
    parts = {}
    for part in ("train", "test"):
        x, y = arrays[f"X_{part}"], arrays[f"y_{part}"]
        if x.ndim != 3 or y.shape != x.shape[:1] or not x.size:
            raise DataError(
                f"{origin}: X_{part} must have shape (n, T, F) and y_{part} (n,), got {x.shape} and {y.shape}"
            )
        lengths = arrays.get(f"length_{part}", np.full(len(x), x.shape[1]))
        try:
            parts[part] = x.astype(np.float32), np.asarray(check_lengths(lengths, *x.shape[:2])), y
        except ValueError as error:
            raise DataError(f"{origin}, part {part}: {error}") from error
    if parts["train"][0].shape[1:] != parts["test"][0].shape[1:]:
        raise DataError(
            f"{origin}: X_train {parts['train'][0].shape} and X_test {parts['test'][0].shape} differ in T or F"
        )
    return _labelled(parts, arrays.get("class_names"), origin)


def _labelled(parts: dict[str, tuple], class_names: np.ndarray | None, origin: str) -> SequenceData:
    """The labels as integers in [0, C); floating-point ones stay, as targets of a regression."""
    (x, lengths, y), (x_test, lengths_test, y_test) = parts["train"], parts["test"]
    if class_names is None and np.issubdtype(y.dtype, np.floating):
        return SequenceData(x, lengths, y, x_test, lengths_test, y_test, ())
    known = np.unique(y)
    if np.issubdtype(y.dtype, np.integer):
        names = tuple(map(str, class_names)) if class_names is not None else tuple(map(str, range(int(known[-1]) + 1)))
        codes = y.astype(np.int32), y_test.astype(np.int32)
        outside = [code for part in codes for code in part if not 0 <= code < len(names)]
        if outside:
            raise DataError(f"{origin}: labels must lie in [0, {len(names)}), got {outside[0]}")
    else:
        names = tuple(map(str, known))
        if strange := sorted(set(y_test.tolist()) - set(known.tolist())):
            raise DataError(f"{origin}: y_test has labels that y_train lacks: {', '.join(map(str, strange))}")
        codes = np.searchsorted(known, y).astype(np.int32), np.searchsorted(known, y_test).astype(np.int32)
    return SequenceData(x, lengths, codes[0], x_test, lengths_test, codes[1], names)
