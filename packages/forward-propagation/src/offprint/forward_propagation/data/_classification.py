"""Features with labels, as arrays: what every data set is turned into."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from offprint.core.data import DataError


class ClassificationData(NamedTuple):
    """A training and a test set of feature vectors with labels."""

    name: str
    """Name of the data set."""
    train_x: Float[np.ndarray, "train features"]
    train_y: Int[np.ndarray, " train"]
    """From 0 to `classes` - 1."""
    test_x: Float[np.ndarray, "test features"]
    test_y: Int[np.ndarray, " test"]
    classes: int
    """Number of classes."""

    @property
    def low(self) -> Float[np.ndarray, " features"]:
        """Smallest value of each feature, over training and test set."""
        return np.minimum(self.train_x.min(0), self.test_x.min(0))

    @property
    def high(self) -> Float[np.ndarray, " features"]:
        """Largest value of each feature, over training and test set."""
        return np.maximum(self.train_x.max(0), self.test_x.max(0))

    def first(self, train: int, test: int | None = None) -> "ClassificationData":
        """The first `train` training and `test` (default: all) test examples.

        Raises:
            ValueError: there are not so many.
        """
        test = len(self.test_y) if test is None else test
        for what, wanted, there in (("training", train, self.train_y), ("test", test, self.test_y)):
            if not 1 <= wanted <= len(there):
                raise ValueError(f"{wanted} {what} examples of {self.name}; there are {len(there)}")
        return self._replace(
            train_x=self.train_x[:train],
            train_y=self.train_y[:train],
            test_x=self.test_x[:test],
            test_y=self.test_y[:test],
        )


def classification_data(
    name: str,
    train: tuple[Num[np.ndarray, "train features"], Int[np.ndarray, " train"]],
    test: tuple[Num[np.ndarray, "test features"], Int[np.ndarray, " test"]],
    *,
    classes: int | None = None,
) -> ClassificationData:
    """A user's own arrays as a `ClassificationData`: features become float64 unless they are float32, labels int32.

    Args:
        name: of the data set.
        train: features (N, d) and integer labels (N,).
        test: likewise.
        classes: number of classes; the largest label plus one by default.

    Raises:
        DataError: features and labels of different number, features that are not finite, labels out of range.
    """
    sides: list[np.ndarray] = []
    for part, (x, y) in (("training", train), ("test", test)):
        x, y = np.asarray(x), np.asarray(y)
        x = x if x.dtype == np.float32 else x.astype(np.float64)
        if x.ndim != 2 or y.shape != x.shape[:1] or not len(y):
            raise DataError(
                f"{name}: features (N, d) and labels (N,) are needed for the {part} set, got {x.shape} and {y.shape}"
            )
        if not np.issubdtype(y.dtype, np.integer):
            raise DataError(f"{name}: labels must be integers, got {y.dtype}")
        if not np.isfinite(x).all():
            row = int((~np.isfinite(x)).any(1).argmax())
            raise DataError(f"{name}: row {row} of the {part} set is not finite; fill in or leave out missing values")
        sides += [x, y.astype(np.int32)]
    if sides[0].shape[1] != sides[2].shape[1]:
        raise DataError(f"{name}: {sides[0].shape[1]} features for training but {sides[2].shape[1]} for the test")
    labels = np.concatenate(sides[1::2])
    count = int(labels.max()) + 1 if classes is None else classes
    if labels.min() < 0 or labels.max() >= count:
        raise DataError(f"{name}: labels from 0 to {count - 1} are needed, got {labels.min()} to {labels.max()}")
    return ClassificationData(name, sides[0], sides[1], sides[2], sides[3], classes=count)


def split(
    x: Num[np.ndarray, "examples features"], y: Int[np.ndarray, " examples"], test: int, seed: int, *, name: str = "own"
) -> ClassificationData:
    """A random split of one set into training and `test` test examples.

    Raises:
        ValueError: nothing would be left for training, or no test example is asked for.
        DataError: see `classification_data`.
    """
    if not 1 <= test < len(y):
        raise ValueError(f"{test} of {len(y)} examples for the test; between 1 and {len(y) - 1} are needed")
    order = np.random.default_rng(seed).permutation(len(y))
    kept, held_out = order[test:], order[:test]
    return classification_data(name, (x[kept], y[kept]), (x[held_out], y[held_out]), classes=int(np.max(y)) + 1)
