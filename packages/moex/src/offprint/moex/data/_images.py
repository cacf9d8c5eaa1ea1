"""Images of one's own, and those that come along, as arrays with labels."""

from pathlib import Path

import numpy as np

from offprint.core.data import DataError, load_npz
from offprint.core.data.images import ImageData, image_data


def load_images(path: str | Path) -> ImageData:
    """A user's own images from an .npz archive.

    It has the arrays `train_images`, `train_labels`, `test_images`, `test_labels`, or Keras's `x_train`, `y_train`,
    `x_test`, `y_test`; intensities run from 0 to 255.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read, lacks an array, or an array is of a wrong shape.
    """
    path = Path(path)
    arrays = load_npz(path)
    styles = (
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    )
    for names in styles:
        if all(name in arrays for name in names):
            return image_data(path.stem, *(arrays[name] for name in names))
    raise DataError(f"{path} has {', '.join(arrays) or 'no arrays'}; {', '.join(styles[0])} are needed")


def digits(test: int = 797, seed: int = 0) -> ImageData:
    """scikit-learn's 1797 handwritten digits (8, 8, 1), in an order drawn from `seed`, the last `test` for testing.

    They come with scikit-learn, so nothing is downloaded.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    images = np.rint(bunch.images[order] * (255 / 16)).astype(np.uint8)
    labels, split = bunch.target[order], len(order) - test
    return image_data("digits", images[:split], labels[:split], images[split:], labels[split:], classes=10)
