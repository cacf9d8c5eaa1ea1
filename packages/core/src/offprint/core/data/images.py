"""Image data sets that several methods are evaluated on: MNIST, CIFAR-10 and CIFAR-100, as arrays with labels.

from offprint.core.data.images import MNIST, mnist

DATASETS = (MNIST,)  # in the module that a method advertises: listed and fetched by `offprint data`
small = mnist().first(2000, 1000).halved()
"""

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from offprint.core.data._dataset import Dataset, File
from offprint.core.data._download import DataError
from offprint.core.data._folders import local_folder
from offprint.core.data._load import load_npz

Number = float | int

_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_CIFAR_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009"
_CIFAR_LICENCE = "none stated by the authors; in general use for research"

CIFAR10 = Dataset(
    name="cifar10",
    description="60 000 colour images of 32x32 pixels in 10 classes (50 000 for training)",
    files=(
        File(
            "cifar-10-binary.tar.gz",
            url=_CIFAR + "cifar-10-binary.tar.gz",
            sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            size=170052171,
        ),
    ),
    licence=_CIFAR_LICENCE,
    citation=_CIFAR_CITATION,
    url=_CIFAR + "cifar.html",
)
CIFAR100 = Dataset(
    name="cifar100",
    description="60 000 colour images of 32x32 pixels in 100 classes (50 000 for training)",
    files=(
        File(
            "cifar-100-binary.tar.gz",
            url=_CIFAR + "cifar-100-binary.tar.gz",
            sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
    licence=_CIFAR_LICENCE,
    citation=_CIFAR_CITATION,
    url=_CIFAR + "cifar.html",
)
MNIST = Dataset(
    name="mnist",
    description="70 000 handwritten digits of 28x28 grey pixels (60 000 for training)",
    files=(
        File(
            "mnist.npz",
            url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
            size=11490434,
            # The same arrays, compressed in another way.
            accepts=("06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64",),
        ),
    ),
    licence="CC BY-SA 3.0, as commonly stated (Y. LeCun and C. Cortes)",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document recognition, "
    "Proceedings of the IEEE 86(11), 1998",
)


class ImageData(NamedTuple):
    """A training and a test set of images."""

    name: str
    """Name of the data set."""
    train_images: Num[np.ndarray, "train height width channels"]
    """Intensities from 0 to 255, integers or averages of them, until they are `normalised`."""
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

    def normalised(self, mean: Number | tuple[Number, ...], std: Number | tuple[Number, ...]) -> "ImageData":
        """Intensities minus `mean`, over `std` (numbers, or one for each channel), in float32."""
        center, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        return self._replace(
            train_images=(self.train_images.astype(np.float32) - center) / scale,
            test_images=(self.test_images.astype(np.float32) - center) / scale,
        )


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


_SUBSET_FILE = "cifar10_subset.npz"


def cifar10(path: str | Path | None = None) -> ImageData:
    """CIFAR-10: 50 000 training and 10 000 test images (32, 32, 3); downloaded unless `path` names the binary tar.

    Raises:
        DataError: the file cannot be had, or is not the binary version.
    """
    tar = Path(path) if path is not None else CIFAR10.path(CIFAR10.files[0].name)
    names = [f"data_batch_{number}.bin" for number in range(1, 6)]
    return _from_tar("cifar10", tar, names, ["test_batch.bin"], label_bytes=1, classes=10)


def cifar100(path: str | Path | None = None) -> ImageData:
    """CIFAR-100 with its 100 fine labels: otherwise as `cifar10`.

    Raises:
        DataError: the file cannot be had, or is not the binary version.
    """
    tar = Path(path) if path is not None else CIFAR100.path(CIFAR100.files[0].name)
    return _from_tar("cifar100", tar, ["train.bin"], ["test.bin"], label_bytes=2, classes=100)


def mnist(path: str | Path | None = None) -> ImageData:
    """MNIST: 60 000 training and 10 000 test images (28, 28, 1); downloaded unless `path` names the archive.

    Raises:
        DataError: the file cannot be had or read.
    """
    file = Path(path) if path is not None else MNIST.path("mnist.npz")
    return image_data("mnist", *_arrays(file, ("x_train", "y_train", "x_test", "y_test")), classes=10)


def cifar10_subset(path: str | Path | None = None) -> ImageData:
    """A tenth of CIFAR-10, the classes in equal shares: 10 000 training and 2000 test images (32, 32, 3).

    It comes from the archive `path`; else from `cifar10-subset/cifar10_subset.npz` in the folder that OFFPRINT_DATA
    names (arrays `train_images`, `train_labels`, `test_images`, `test_labels`); else it is the first 1000 training and
    200 test images of each class of CIFAR-10, where that is on this machine. Nothing is downloaded.

    Raises:
        FileNotFoundError: none of these is there; the message says what to do.
        DataError: a file cannot be read.
    """
    own = local_folder()
    if path is None and own is not None and (own / "cifar10-subset" / _SUBSET_FILE).is_file():
        path = own / "cifar10-subset" / _SUBSET_FILE
    if path is not None:
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return image_data("cifar10-subset", *_arrays(Path(path), names), classes=10)
    whole = CIFAR10.where(CIFAR10.files[0].name)
    if whole is None:
        raise FileNotFoundError(
            "CIFAR-10 is not on this machine: `offprint data fetch cifar10` downloads it (170 MB); or set "
            f"OFFPRINT_DATA to a folder with cifar10/{CIFAR10.files[0].name} or cifar10-subset/{_SUBSET_FILE}"
        )
    data = cifar10(whole)
    return ImageData(
        "cifar10-subset",
        *_first_of_each_class(data.train_images, data.train_labels, 1000, 0),
        *_first_of_each_class(data.test_images, data.test_labels, 200, 1),
        classes=10,
    )


def _arrays(path: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    arrays = load_npz(path)
    if missing := [name for name in names if name not in arrays]:
        raise DataError(f"{path} has no array {', '.join(missing)}; it has {', '.join(arrays) or 'none'}")
    return [arrays[name] for name in names]


def _first_of_each_class(
    images: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(labels.max() + 1)])
    rows = np.random.default_rng(seed).permutation(rows)
    return images[rows], labels[rows]


def _from_tar(name: str, path: Path, train: list[str], test: list[str], *, label_bytes: int, classes: int) -> ImageData:
    """Images and labels from records of `label_bytes` labels (the last counts) and three planes of 1024 pixels."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                if (file := tar.extractfile(member)) is not None:
                    contents[Path(member.name).name] = file.read()
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} cannot be read as a gzipped tar: {error}") from error

    def read(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        if missing := [one for one in names if one not in contents]:
            raise DataError(f"{path} holds no {', '.join(missing)}; the binary version of {name} is needed")
        data = np.frombuffer(b"".join(contents[one] for one in names), np.uint8)
        if data.size % (label_bytes + 3072):
            raise DataError(f"{path}: {', '.join(names)} do not consist of records of {label_bytes + 3072} bytes")
        records = data.reshape(-1, label_bytes + 3072)
        return records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, label_bytes - 1]

    return image_data(name, *read(train), *read(test), classes=classes)
