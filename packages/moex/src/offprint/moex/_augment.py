"""Random crops and flips of image batches, on the device, and their standardisation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray


def crop_and_flip(
    key: PRNGKeyArray, images: Num[Array, "batch height width channels"], pad: int = 4, *, flip: bool = True
) -> Num[Array, "batch height width channels"]:
    """Images cut out of their zero-padded selves at random places, and every other one (by chance) mirrored.

    Args:
        key: of the draws; each image has its own.
        images: (B, H, W, C), before standardisation (the padding is black).
        pad: zeros on every side; 0 for no crop.
        flip: mirror left and right with probability 1/2.

    Raises:
        ValueError: a negative pad.
    """
    if pad < 0:
        raise ValueError(f"pad={pad}; the zeros on every side cannot be fewer than none")
    batch, height, width, channels = images.shape
    for_crop, for_flip = jax.random.split(key)
    if pad:
        padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        corners = jax.random.randint(for_crop, (batch, 2), 0, 2 * pad + 1)
        images = jax.vmap(
            lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))
        )(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(for_flip, shape=(batch, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images


def standardise(
    images: Num[Array | np.ndarray, "batch height width channels"],
    mean: Float[Array | np.ndarray, "channels"],
    std: Float[Array | np.ndarray, "channels"],
) -> Float[Array, "batch height width channels"]:
    """Intensities from 0 to 255 as (x / 255 - mean) / std, float32."""
    return (jnp.asarray(images, jnp.float32) / 255 - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
