"""Handwritten digits that scikit-learn ships: what needs no download."""

import numpy as np

from offprint.core.data.images import ImageData, image_data


def digits(test: int = 360, seed: int = 0) -> ImageData:
    """scikit-learn's 1797 handwritten digits (8, 8, 1), in an order drawn from `seed`, the last `test` for testing.

    Raises:
        ValueError: no image is left for training, or none for testing.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    if not 1 <= test < len(labels):
        raise ValueError(f"test={test}: of {len(labels)} images at least 1 must be for testing and 1 for training")
    order = np.random.default_rng(seed).permutation(len(labels))
    pixels = np.rint(images[order].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    classes, split = labels[order], len(labels) - test
    return image_data("digits", pixels[:split], classes[:split], pixels[split:], classes[split:], classes=10)
