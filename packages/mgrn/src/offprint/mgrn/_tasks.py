"""What a network is trained for: classes, labels of which several may hold, or numbers.

Each task turns targets into arrays, says what the loss is, and turns the network's outputs into predictions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from offprint.mgrn._checks import check_finite

TaskName = Literal["auto", "classification", "multilabel", "regression"]
TargetsLike = np.ndarray | Array | Sequence[Any]


@dataclass(frozen=True)
class Classification:
    """One of C classes for each sequence: softmax cross-entropy, accuracy."""

    classes: np.ndarray

    @property
    def outputs(self) -> int:
        """C."""
        return len(self.classes)

    def encode(self, y: TargetsLike, name: str = "y") -> Int[np.ndarray, " n"]:
        """The number of the class of every label.

        Raises:
            ValueError: a label that the training data do not have.
        """
        labels = _labels(y, name)
        unknown = ~np.isin(labels, self.classes)
        if unknown.any():
            first = int(unknown.argmax())
            raise ValueError(
                f"{name} has a label that is not among the {self.outputs} classes of the training data: "
                f"{labels[first]!r} at index {first}; the classes are {_shown(self.classes)}"
            )
        return np.searchsorted(self.classes, labels).astype(np.int32)

    @staticmethod
    def losses(outputs: Float[Array, "n outputs"], y: Int[Array, " n"]) -> Float[Array, " n"]:
        """Cross-entropy of every sequence."""
        return optax.softmax_cross_entropy_with_integer_labels(outputs, y)

    @staticmethod
    def scores(outputs: Float[Array, "n outputs"], y: Int[Array, " n"]) -> Float[Array, " n"]:
        """1 where the most probable class is the right one."""
        return (outputs.argmax(axis=-1) == y).astype(outputs.dtype)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """The most probable class."""
        return self.classes[outputs.argmax(axis=-1)]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(n, C), in the order of `classes`."""
        return np.asarray(jax.nn.softmax(outputs, axis=-1))

    def to_json(self) -> dict[str, Any]:
        """For `task_from_json`."""
        return {"task": "classification", "classes": self.classes.tolist(), "dtype": self.classes.dtype.str}


@dataclass(frozen=True)
class Multilabel:
    """Each of C labels holds or not: mean binary cross-entropy; the score is the share of rows that are all right."""

    outputs: int

    def encode(self, y: TargetsLike, name: str = "y") -> Float[np.ndarray, "n outputs"]:
        """Zeros and ones.

        Raises:
            ValueError: another shape or other values.
        """
        labels = np.asarray(y)
        if labels.ndim != 2 or labels.shape[1] != self.outputs:
            raise ValueError(f"{name} must have shape (n, {self.outputs}) of zeros and ones, got shape {labels.shape}")
        wrong = ~np.isin(labels, (0, 1))
        if wrong.any():
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ValueError(f"{name} must hold zeros and ones, got {labels[first]!r} at index {first}")
        return labels.astype(np.float32)

    @staticmethod
    def losses(outputs: Float[Array, "n outputs"], y: Float[Array, "n outputs"]) -> Float[Array, " n"]:
        """Binary cross-entropy of every sequence, averaged over the labels."""
        return optax.sigmoid_binary_cross_entropy(outputs, y).mean(axis=-1)

    @staticmethod
    def scores(outputs: Float[Array, "n outputs"], y: Float[Array, "n outputs"]) -> Float[Array, " n"]:
        """1 where all labels of a sequence are right."""
        return ((outputs > 0) == (y > 0)).all(axis=-1).astype(outputs.dtype)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """(n, C) of zeros and ones: the labels of a probability above one half."""
        return (outputs > 0).astype(int)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """(n, C), of each label by itself."""
        return np.asarray(jax.nn.sigmoid(outputs))

    def to_json(self) -> dict[str, Any]:
        """For `task_from_json`."""
        return {"task": "multilabel", "outputs": self.outputs}


@dataclass(frozen=True)
class Regression:
    """Numbers: mean squared error of the standardised targets; the score is R², the mean over several outputs."""

    mean: np.ndarray
    std: np.ndarray
    flat: bool
    """Whether targets are (n,) instead of (n, C)."""

    @property
    def outputs(self) -> int:
        """C."""
        return len(self.mean)

    def encode(self, y: TargetsLike, name: str = "y") -> Float[np.ndarray, "n outputs"]:
        """Standard scores, by mean and deviation of the training data.

        Raises:
            ValueError: another shape, NaN or infinite values.
        """
        values = _numbers(y, name)
        if (values.ndim == 1) != self.flat or values.reshape(len(values), -1).shape[1] != self.outputs:
            raise ValueError(f"{name} has shape {values.shape}, but the training data had {self.outputs} outputs")
        return ((values.reshape(len(values), -1) - self.mean) / self.std).astype(np.float32)

    @staticmethod
    def losses(outputs: Float[Array, "n outputs"], y: Float[Array, "n outputs"]) -> Float[Array, " n"]:
        """Squared error of every sequence, averaged over the outputs."""
        return jnp.square(outputs - y).mean(axis=-1)

    @staticmethod
    def scores(outputs: Float[Array, "n outputs"], y: Float[Array, "n outputs"]) -> Float[Array, "n outputs"]:
        """Minus the squared errors; `r2_of_scores` makes R² of their means."""
        return -jnp.square(outputs - y)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """In the units of the targets."""
        values = outputs * self.std + self.mean
        return values[:, 0] if self.flat else values

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Refuses: a regression has none."""
        raise AttributeError("predict_proba needs classification or multilabel targets; this is a regression")

    def to_json(self) -> dict[str, Any]:
        """For `task_from_json`."""
        return {"task": "regression", "mean": self.mean.tolist(), "std": self.std.tolist(), "flat": self.flat}


Task = Classification | Multilabel | Regression


def make_task(name: str, y: TargetsLike, *, standardize: bool = True) -> Task:
    """The task that the targets of the training data stand for.

    Args:
        name: "classification", "multilabel" or "regression"; "auto" takes floating-point numbers for a regression,
            a table of zeros and ones of another type for labels, everything else for classes.
        y: (n,) labels or numbers, (n, C) zeros and ones, or (n, C) numbers.
        standardize: train a regression on standard scores of its targets.

    Raises:
        ValueError: an unknown task, targets that do not fit it, a single class.
    """
    values = np.asarray(y)
    if name == "auto":
        real = np.issubdtype(values.dtype, np.floating)
        name = "regression" if real else "multilabel" if values.ndim == 2 else "classification"
    if name == "classification":
        classes = np.unique(_labels(y, "y"))
        if len(classes) < 2:
            raise ValueError(f"a classification needs at least 2 classes, but y holds only {classes[0]!r}")
        return Classification(classes)
    if name == "multilabel":
        return Multilabel(values.shape[1] if values.ndim == 2 else 0)
    if name == "regression":
        table = _numbers(y, "y").reshape(len(values), -1)
        mean, std = table.mean(axis=0), table.std(axis=0)
        if not standardize:
            mean, std = np.zeros_like(mean), np.ones_like(std)
        return Regression(mean, np.where(std > 0, std, 1.0), values.ndim == 1)
    raise ValueError(f'task must be "auto", "classification", "multilabel" or "regression", got {name!r}')


def task_from_json(data: Mapping[str, Any]) -> Task:
    """The task whose `to_json` this is."""
    if data["task"] == "classification":
        return Classification(np.array(data["classes"], dtype=data["dtype"]))
    if data["task"] == "multilabel":
        return Multilabel(data["outputs"])
    return Regression(np.array(data["mean"]), np.array(data["std"]), data["flat"])


def score_of_means(scores: float | list[float], y: Num[np.ndarray, "..."]) -> float:
    """The score of a data set from the mean of `scores` over it: a share as it is, R² from squared errors."""
    if not isinstance(scores, list):
        return scores
    variance = np.asarray(y, np.float64).var(axis=0)
    return float(np.mean(1 + np.asarray(scores) / np.where(variance > 0, variance, 1.0)))


def _labels(y: TargetsLike, name: str) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"{name} must have shape (n,), one class for every sequence, got shape {labels.shape}")
    if np.issubdtype(labels.dtype, np.floating):
        check_finite(labels, name)
        if (fractions := labels != np.round(labels)).any():
            first = int(fractions.argmax())
            raise ValueError(
                f"class labels must be integers or text, got {labels[first]!r} at index {first} of {name}; "
                'numbers to be predicted are task="regression"'
            )
    return labels


def _numbers(y: TargetsLike, name: str) -> np.ndarray:
    values = np.asarray(y)
    if values.ndim not in (1, 2) or not values.size or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} of a regression must be numbers (n,) or (n, C), got dtype {values.dtype} and shape {values.shape}"
        )
    check_finite(values, name)
    return values.astype(np.float64)


def _shown(classes: np.ndarray, most: int = 8) -> str:
    text = ", ".join(map(str, classes[:most].tolist()))
    return text if len(classes) <= most else f"{text}, ..."
