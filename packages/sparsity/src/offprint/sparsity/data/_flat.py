"""Images as rows of intensities, for networks of dense layers."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from offprint.core.data.images import ImageData

Number = float | int


class Split(NamedTuple):
    """Rows and labels for training and for testing."""

    x: Float[np.ndarray, "train inputs"]
    y: Int[np.ndarray, " train"]
    test_x: Float[np.ndarray, "test inputs"]
    test_y: Int[np.ndarray, " test"]


def flat(images: ImageData, *, mean: Number = 0.0, std: Number = 1.0) -> Split:
    """Images as rows, in float32: intensities over 255, minus `mean`, over `std`; rows of pixels from top to bottom."""
    train, test = (
        ((pixels.reshape(len(pixels), -1) / np.float32(255) - np.float32(mean)) / np.float32(std)).astype(np.float32)
        for pixels in (images.train_images, images.test_images)
    )
    return Split(train, images.train_labels, test, images.test_labels)
