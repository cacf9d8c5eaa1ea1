"""Bilinear resampling of images under affine maps, quick on the CPU and with a backward pass without scatter."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

MARGIN = 2
"""Zeros around an image: a cell outside has four zero corners, so that value and slope vanish without a mask."""


def check_images(images: Array | np.ndarray) -> None:
    """Raise a ValueError unless these are NHWC floating images of at least 2 x 2 pixels."""
    shape, dtype = np.shape(images), images.dtype
    if len(shape) != 4 or shape[1] < 2 or shape[2] < 2 or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"images have the shape {shape} and the dtype {dtype}; floating images (N, H, W, C) with H and W of at "
            "least 2 are needed: add a channel axis with images[..., None], convert with images.astype('float32')"
        )


def resample(
    images: Float[Array | np.ndarray, "batch height width channels"],
    matrices: Float[Array | np.ndarray, "*samples maps 3 3"],
    *,
    align_corners: bool = True,
) -> Float[Array, "*samples batch height width channels"]:
    """Images read at M (x, y, 1): bilinear interpolation, zeros outside.

    M maps positions in the output to positions in the input, x to the right and y down, both in [-1, 1]; its last
    row is not looked at. Differentiable in the matrices (any order; the slope at a pixel's exact position is the one
    towards the next pixel) and in the images; when only matrices carry a gradient the backward pass only gathers.

    Args:
        images: (N, H, W, C), floating, H and W at least 2. Arithmetic is at least in the matrices' precision.
        matrices: (..., N, 3, 3), one for every image and sample, or (..., 1, 3, 3), shared by all images.
        align_corners: True: -1 and 1 are the centres of the first and the last pixel. False: the outer edges.

    Returns:
        Resampled images (..., N, H, W, C), in the dtype of the images.

    Raises:
        ValueError: images that are not of this kind; matrices for another number of images.
    """
    check_images(images)
    if np.ndim(matrices) < 3 or matrices.shape[-2:] != (3, 3) or matrices.shape[-3] not in (1, len(images)):
        raise ValueError(
            f"matrices have the shape {np.shape(matrices)}; (..., {len(images)}, 3, 3), one for each of the "
            f"{len(images)} images, or (..., 1, 3, 3), one for all, is needed"
        )
    images, matrices = jnp.asarray(images), jnp.asarray(matrices)
    dtype = jnp.promote_types(images.dtype, matrices.dtype)
    height, width = images.shape[1:3]
    pixels = np.array([[_pixels(width, align_corners)], [_pixels(height, align_corners)]])
    middle = np.array([[0, 0, (width - 1) / 2], [0, 0, (height - 1) / 2]])
    rows = matrices[..., :2, :].astype(dtype) * jnp.asarray(pixels, dtype) + jnp.asarray(middle, dtype)
    return _bilinear(images.astype(dtype), rows, align_corners).astype(images.dtype)


def rotate(
    images: Float[Array | np.ndarray, "batch height width channels"],
    angles: Float[Array | np.ndarray, "*#batch"] | float | int,
    *,
    align_corners: bool = False,
) -> Float[Array, "batch height width channels"]:
    """Images turned counter-clockwise about their middle, zeros outside; a true rotation for any H and W.

    Args:
        images: (N, H, W, C), floating.
        angles: (N,) or one for all, in radians.
        align_corners: see `resample`; on square images the two agree.

    Raises:
        ValueError: images that are not of this kind; angles for another number of images.
    """
    check_images(images)
    angles = jnp.atleast_1d(jnp.asarray(angles, jnp.promote_types(images.dtype, jnp.float32)))
    if angles.ndim != 1 or len(angles) not in (1, len(images)):
        raise ValueError(f"angles have the shape {angles.shape}; one angle, or one for each of {len(images)} images")
    height, width = images.shape[1:3]
    ratio = _pixels(height, align_corners) / _pixels(width, align_corners)
    cos, sin, zero = jnp.cos(angles), jnp.sin(angles), jnp.zeros_like(angles)
    rows = [[cos, -ratio * sin, zero], [sin / ratio, cos, zero], [zero, zero, zero + 1]]
    matrices = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    return resample(images, matrices, align_corners=align_corners)


def _pixels(size: int, align_corners: bool) -> float:
    """Pixels in one unit of the normalised coordinate."""
    return (size - 1) / 2 if align_corners else size / 2


def _positions(size: int, align_corners: bool, dtype: jnp.dtype) -> Array:
    """Normalised coordinates of the pixels of an axis."""
    centred = np.arange(size) - (size - 1) / 2
    return jnp.asarray(centred / _pixels(size, align_corners), dtype)


# The rule for the tangent is written out because what JAX derives from the corners gathers each of them twice and
# sums over the channels first, which the CPU does slowly: forward and backward together then take at least twice as
# long.
@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _bilinear(images: Array, rows: Array, align_corners: bool) -> Array:
    cell, x, y = _locate(images, rows, align_corners)
    return _interpolated(images, cell, x, y)


def _interpolated(images: Array, cell: tuple[Array, Array], x: Array, y: Array) -> Array:
    iy, ix = cell
    padded = _padded(images)
    top, bottom = (
        (1 - x) * _gathered(padded, (iy + below, ix)) + x * _gathered(padded, (iy + below, ix + 1)) for below in (0, 1)
    )
    return (1 - y) * top + y * bottom


@functools.partial(_bilinear.defjvp, symbolic_zeros=True)
def _bilinear_jvp(align_corners: bool, primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    images, rows = primals
    d_images, d_rows = tangents
    zero = jax.custom_derivatives.SymbolicZero
    cell, x, y = _locate(images, rows, align_corners)
    out = _bilinear(images, rows, align_corners)
    change = jnp.zeros_like(out)
    if not isinstance(d_images, zero):
        change = change + _interpolated(d_images, cell, x, y)
    if not isinstance(d_rows, zero):
        # The slope along x is that between a row's two corners, interpolated between the rows; along y likewise.
        padded, (iy, ix) = _padded(images), cell
        right, below = padded[:, :, 1:] - padded[:, :, :-1], padded[:, 1:] - padded[:, :-1]
        along_x = (1 - y) * _gathered(right, cell) + y * _gathered(right, (iy + 1, ix))
        along_y = (1 - x) * _gathered(below, cell) + x * _gathered(below, (iy, ix + 1))
        dx, dy = _moved(d_rows, images.shape, align_corners)
        change = change + along_x * dx + along_y * dy
    return out, change


def _moved(d_rows: Array, shape: tuple[int, ...], align_corners: bool) -> list[Array]:
    """How far the positions in the input move, (..., maps, H, W, C) for x and y; linear in `d_rows`.

    Made of a part for every column and channel and a part for every row: the transpose sums in two simple passes.
    """
    _, height, width, channels = shape
    across = jnp.broadcast_to(_positions(width, align_corners, d_rows.dtype)[:, None], (1, width, channels))
    down = _positions(height, align_corners, d_rows.dtype)[:, None, None]
    out = []
    for axis in (0, 1):
        along, aside, shift = (d_rows[..., axis, i, None, None, None] for i in range(3))
        level = along * across + shift
        out.append(level + aside * down)
    return out


def _locate(images: Array, rows: Array, align_corners: bool) -> tuple[tuple[Array, Array], Array, Array]:
    """The cell of the padded image that each output pixel reads, and where in it, x and y in [0, 1)."""
    height, width = images.shape[1:3]
    across = _positions(width, align_corners, rows.dtype)
    down = _positions(height, align_corners, rows.dtype)[:, None]
    where = []
    for axis, size in ((1, height), (0, width)):
        along, aside, shift = (rows[..., axis, i, None, None] for i in range(3))
        position = along * across + (aside * down + shift)
        corner = jnp.floor(position)
        cell = (jnp.clip(corner, -MARGIN, size) + MARGIN).astype(jnp.int32)
        cell = jnp.clip(cell, 0, size + MARGIN)  # NaN becomes some integer, and the gather relies on a true place
        where.append((cell, (position - corner)[..., None]))
    (iy, y), (ix, x) = where
    return (iy, ix), x, y


def _padded(images: Array) -> Array:
    return jnp.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))


def _gathered(table: Array, cell: tuple[Array, Array]) -> Array:
    """Entries (..., N, H, W, C) of a table (N, rows, columns, C); cells (..., 1, H, W) are the same for all images."""
    image = jnp.arange(len(table), dtype=jnp.int32)[:, None, None]
    return table.at[image, *cell].get(mode="promise_in_bounds")
