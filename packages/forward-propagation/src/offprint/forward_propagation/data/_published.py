"""The data set that is downloaded."""

from pathlib import Path

import numpy as np

from offprint.core.data.images import MNIST
from offprint.core.data.images import mnist as mnist_images
from offprint.forward_propagation.data._classification import ClassificationData, classification_data

DATASETS = (MNIST,)


def mnist(path: str | Path | None = None) -> ClassificationData:
    """MNIST: 60 000 training and 10 000 test images as 784 intensities from 0 to 1, row by row, float32.

    Args:
        path: the archive, if it is not to be downloaded.

    Raises:
        DataError: the file cannot be had or read, or lacks an array.
    """
    images = mnist_images(path)
    train, test = (
        (x.reshape(len(x), -1) / np.float32(255), y)
        for x, y in ((images.train_images, images.train_labels), (images.test_images, images.test_labels))
    )
    return classification_data("mnist", train, test, classes=10)
