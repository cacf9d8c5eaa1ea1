"""Images with labels, as arrays: what every image data set is turned into."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from offprint.core.data import DataError, load_npz


class ImageData(NamedTuple):
    """A training and a test set of images."""

    name: str
    """Name of the data set."""
    train_images: Num[np.ndarray, "train height width channels"]
    """Intensities from 0 to 255, integers or averages of them."""
    train_labels: Int[np.ndarray, " train"]
    """From 0 to `classes` - 1."""
    test_images: Num[np.ndarray, "test height width channels"]
    test_labels: Int[np.ndarray, " test"]
    classes: int
    """Number of classes."""

    def channel_statistics(self) -> tuple[Float[np.ndarray, " channels"], Float[np.ndarray, " channels"]]:
        """Mean and standard deviation of the training images' channels, divided by 255."""
        scaled = self.train_images.astype(np.float32) / 255
        return scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))

    def first(self, train: int, test: int | None = None) -> "ImageData":
        """The first `train` training and `test` (default: all) test images.

        Raises:
            ValueError: there are not so many.
        """
        test = len(self.test_labels) if test is None else test
        for what, wanted, there in (("training", train, self.train_labels), ("test", test, self.test_labels)):
            if not 1 <= wanted <= len(there):
                raise ValueError(f"{wanted} {what} images of {self.name}; there are {len(there)}")
        return self._replace(
            train_images=self.train_images[:train],
            train_labels=self.train_labels[:train],
            test_images=self.test_images[:test],
            test_labels=self.test_labels[:test],
        )

    def halved(self) -> "ImageData":
        """Images of half the height and width, each pixel the mean of a 2x2 square."""
        return self._replace(train_images=halve(self.train_images), test_images=halve(self.test_images))


def image_data(
    name: str,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    classes: int | None = None,
) -> ImageData:
    """Arrays as an `ImageData`: grey images (N, H, W) get a channel axis, labels (N,) or (N, 1) become int32.

    Raises:
        DataError: an array of another rank, images and labels of different number or shape, labels out of range.
    """
    sides = []
    for images, labels in ((train_images, train_labels), (test_images, test_labels)):
        images, labels = np.asarray(images), np.asarray(labels)
        images = images[..., None] if images.ndim == 3 else images
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if images.ndim != 4 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"{name}: images (N, H, W, C) or (N, H, W) and labels (N,) are needed, "
                f"got {images.shape} and {labels.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"{name}: labels must be integers, got {labels.dtype}")
        sides += [images, labels.astype(np.int32)]
    if sides[0].shape[1:] != sides[2].shape[1:]:
        raise DataError(f"{name}: training images {sides[0].shape[1:]} and test images {sides[2].shape[1:]} differ")
    largest = max(int(sides[1].max(initial=0)), int(sides[3].max(initial=0)))
    count = largest + 1 if classes is None else classes
    if largest >= count or min(int(sides[1].min(initial=0)), int(sides[3].min(initial=0))) < 0:
        raise DataError(f"{name}: labels from 0 to {count - 1} are needed")
    return ImageData(name, sides[0], sides[1], sides[2], sides[3], classes=count)


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


def halve(images: Num[np.ndarray, "images height width channels"]) -> Float[np.ndarray, "images rows columns channels"]:
    """Means of 2x2 squares, float32.

    Raises:
        ValueError: an odd height or width.
    """
    n, height, width, channels = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"images of {height}x{width} cannot be averaged in 2x2 squares: even sizes are needed")
    squares = images.reshape(n, height // 2, 2, width // 2, 2, channels)
    return squares.mean((2, 4), dtype=np.float32)
