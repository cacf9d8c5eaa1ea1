"""Cutout: a square of every image is blanked; the label stays."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, PRNGKeyArray

from offprint.moex._cutmix import box_mask, check_spatial, spread
from offprint.moex._plan import Box, Probability, check_fraction


def cutout(
    key: PRNGKeyArray,
    x: Num[Array | np.ndarray, "batch *dims"],
    size: int,
    *,
    p: Probability = 1.0,
    fill: float | int = 0.0,
    spatial_axes: tuple[int, int] = (1, 2),
) -> Num[Array, "batch *dims"]:
    """Images with a square of `size` x `size` pixels set to `fill`, each at its own place.

    Centres are uniform over the pixels, and squares are clipped at the border.

    Args:
        key: a typed key.
        x: images (B, H, W, ...).
        size: side of the square in pixels; 16 for CIFAR-10 and 8 for CIFAR-100 in the source.
        p: probability with which each image is cut.
        fill: what the pixels become; 0 is the mean of standardised images.
        spatial_axes: axes of height and width; (2, 3) for (B, C, H, W).

    Returns:
        Array of the shape and dtype of `x`.

    Raises:
        ValueError: size below 1, p outside [0, 1], axes that `x` does not have.

    Source: DeVries and Taylor, arXiv:1708.04552, section 3.
    """
    if size < 1:
        raise ValueError(f"size={size}; a square of at least one pixel is needed")
    check_fraction("p", p)
    images = jnp.asarray(x)
    check_spatial(images.shape, spatial_axes)
    height, width = (images.shape[axis] for axis in spatial_axes)
    for_on, for_centre = jax.random.split(key)
    on = jax.random.bernoulli(for_on, jnp.asarray(p, float), images.shape[:1])
    low = jax.random.randint(for_centre, (images.shape[0], 2), 0, jnp.array([height, width])) - size // 2
    box = Box(low[:, 0], low[:, 0] + size, low[:, 1], low[:, 1] + size)
    mask = box_mask(box, height, width) & on[:, None, None]
    return jnp.where(spread(mask, images.shape, spatial_axes), jnp.asarray(fill, images.dtype), images)
