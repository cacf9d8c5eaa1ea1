"""Rotated variants of image data sets."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from offprint.core.data.images import ImageData
from offprint.network_partitioning._resample import rotate

Number = float | int


def rotated_set(images: ImageData, key: PRNGKeyArray) -> ImageData:
    """Every training and every test image rotated once, by its own angle from U[-π, π]; see `rotated`."""
    train_key, test_key = jax.random.split(key)
    return images._replace(
        name=f"rot-{images.name}",
        train_images=rotated(images.train_images, train_key),
        test_images=rotated(images.test_images, test_key),
    )


def rotated(
    images: Num[np.ndarray, "images height width channels"] | Num[Array, "images height width channels"],
    key: PRNGKeyArray,
    *,
    max_angle: Number = np.pi,
    groups: Int[np.ndarray, " _"] | None = None,
) -> Float[np.ndarray, "images height width channels"]:
    """Every image rotated about its centre by an angle from U[-max_angle, max_angle].

    Bilinear, zeros outside, pixel centres at odd multiples of 1/size (align_corners=False), clipped to the range of
    the images. To be applied once, before training, to raw pixels.

    Args:
        images: square, or else "rotation" is not what happens to them.
        key: of the angles; another one for the test set than for the training set.
        max_angle: radians.
        groups: number of each image's group, such as its client; the images of a group share an angle.

    Returns:
        The rotated images, float32.

    Raises:
        ValueError: `groups` of another length than `images`.
    """
    pixels = np.asarray(images, np.float32)
    own = np.arange(len(pixels)) if groups is None else np.asarray(groups)
    if own.shape != (len(pixels),):
        raise ValueError(f"groups must have one number for each of {len(pixels)} images, but has shape {own.shape}")
    drawn = jax.random.uniform(key, (int(own.max(initial=0)) + 1,), jnp.float32, -1.0, 1.0)
    angles = float(max_angle) * drawn[own]
    turned = np.empty_like(pixels)
    for start in range(0, len(pixels), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        turned[part] = _rotate(pixels[part], angles[part])
    return np.clip(turned, pixels.min(initial=0), pixels.max(initial=0))


_AT_ONCE = 5000  # images: all of CIFAR-10 at once would take gigabytes


@jax.jit
def _rotate(images: Float[Array, "n h w c"], angles: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    return rotate(images, angles, align_corners=False)
