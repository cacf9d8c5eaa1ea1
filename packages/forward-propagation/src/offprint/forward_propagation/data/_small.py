"""Data that are generated or come with a dependency: XOR, Yin-Yang, Iris."""

import numpy as np
from jaxtyping import Float, Int

from offprint.forward_propagation.data._classification import ClassificationData

Number = float | int
YIN_YANG_SEEDS = (42, 41, 40)
"""Seeds of the published training, validation and test set."""


def xor() -> tuple[Float[np.ndarray, "4 2"], Int[np.ndarray, " 4"]]:
    """The four points of exclusive or: bits (4, 2) and their labels (4,)."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, np.array([0, 1, 1, 0], np.int32)


def iris() -> tuple[Float[np.ndarray, "150 4"], Int[np.ndarray, " 150"]]:
    """Fisher's 150 iris flowers: 4 measurements in cm, 3 species of 50. They come with scikit-learn.

    R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7, 1936.
    """
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    return np.asarray(x, np.float64), np.asarray(y, np.int32)


def yin_yang(
    size: int, seed: int, *, r_small: Number = 0.1, r_big: Number = 0.5
) -> tuple[Float[np.ndarray, "size 4"], Int[np.ndarray, " size"]]:
    """Points of the Yin-Yang figure, bit for bit those of the generator of its authors.

    Kriener, Göltz, Petrovici, The Yin-Yang dataset, NICE 2022, arXiv 2102.08211.

    Args:
        size: number of points.
        seed: of NumPy's legacy generator; the published sets have 42 (training), 41 (validation) and 40 (test).
        r_small: radius of the dots.
        r_big: radius of the figure.

    Returns:
        Features (x, y, 1-x, 1-y), of shape (size, 4) and in [0, 1] for `r_big` = 0.5, and labels (size,): 0 yin,
        1 yang, 2 dot.

    Raises:
        ValueError: no point is asked for, or the dots do not fit into the halves of the figure.
    """
    if size < 1:
        raise ValueError(f"size={size}, but at least one point is needed")
    if not 0 < r_small < r_big / 2:
        raise ValueError(f"r_small={r_small} and r_big={r_big}, but 0 < r_small < r_big / 2 is needed")
    rng = np.random.RandomState(seed)
    points, labels = np.empty((size, 2)), np.empty(size, np.int32)
    for i in range(size):
        goal = rng.randint(3)  # the class is drawn first, then points until one is of that class
        while True:
            x, y = rng.rand(2) * 2.0 * r_big
            if np.sqrt((x - r_big) ** 2 + (y - r_big) ** 2) <= r_big and _yin_yang_class(x, y, r_small, r_big) == goal:
                break
        points[i], labels[i] = (x, y), goal
    return np.concatenate([points, 1 - points], axis=1), labels


def yin_yang_data(
    train: int = 5000, test: int = 1000, *, seeds: tuple[int, int] = (YIN_YANG_SEEDS[0], YIN_YANG_SEEDS[2])
) -> ClassificationData:
    """Yin-Yang as published: 5000 training and 1000 test points.

    Args:
        train, test: numbers of points.
        seeds: of the training and the test set. The second is 41 for the validation set.
    """
    return ClassificationData("yin_yang", *yin_yang(train, seeds[0]), *yin_yang(test, seeds[1]), classes=3)


def _yin_yang_class(x: Number, y: Number, r_small: Number, r_big: Number) -> int:
    """The class of a point inside the big circle."""
    right = np.sqrt((x - 1.5 * r_big) ** 2 + (y - r_big) ** 2)
    left = np.sqrt((x - 0.5 * r_big) ** 2 + (y - r_big) ** 2)
    if right < r_small or left < r_small:
        return 2
    yang = right <= r_small or r_small < left <= 0.5 * r_big or (y > r_big and right > 0.5 * r_big)
    return 1 if yang else 0
