"""CutMix: a box of another sample is pasted in, and the label follows the area of the box."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from offprint.moex._plan import Box, CutMixPlan, Per, Probability, box_plan, check_fraction, check_plan, symmetric_beta
from offprint.moex._targets import mix_targets


def cutmix_box(
    drawn: PRNGKeyArray | tuple[float | int | Float[Array | np.ndarray, "*boxes"], Int[Array | np.ndarray, "*boxes 2"]],
    height: int,
    width: int,
    *,
    alpha: float | int = 1.0,
    boxes: tuple[int, ...] = (),
) -> tuple[Box, Float[Array, "*boxes"]]:
    """Boxes of CutMix and their λ_c = 1 - (area of the box) / (H W).

    For each spatial size A the box has int(A √(1 - λ)) entries, half of them on each side of its centre, and is
    clipped at the border, so λ_c may exceed λ.

    Args:
        drawn: a typed key, with which λ ~ Beta(α, α) and uniform centres are drawn; or (λ, centres) with integer
            centres (row, column) on the last axis.
        height, width: H and W of the images.
        alpha: α.
        boxes: shape of the batch of boxes that is drawn; () for one box.

    Returns:
        (box, λ_c), of the shape of the batch of boxes.

    Raises:
        ValueError: λ outside [0, 1], α not above 0, an image without pixels.

    Source: Yun et al., ICCV 2019, section 3.1; `rand_bbox` of the public code of MoEx.
    """
    if height < 1 or width < 1:
        raise ValueError(f"height={height} and width={width}; images of at least one pixel are needed")
    if not alpha > 0:
        raise ValueError(f"alpha={alpha}; a number above 0 is needed for Beta(alpha, alpha)")
    if isinstance(drawn, tuple):
        lam, centres = drawn
        check_fraction("lam", lam)
    else:
        for_lam, for_centre = jax.random.split(drawn)
        lam = symmetric_beta(for_lam, alpha, boxes)
        centres = jax.random.randint(for_centre, (*boxes, 2), 0, jnp.array([height, width]))
    side = jnp.sqrt(1 - jnp.asarray(lam, float))
    rows = _interval(jnp.asarray(centres)[..., 0], side, height)
    columns = _interval(jnp.asarray(centres)[..., 1], side, width)
    area = ((rows[1] - rows[0]) * (columns[1] - columns[0])).astype(side.dtype)
    return Box(*rows, *columns), 1 - area / (height * width)


def cutmix_plan(
    key: PRNGKeyArray,
    batch_size: int,
    height: int,
    width: int,
    *,
    alpha: float | int = 1.0,
    p: Probability = 1.0,
    per: Per = "batch",
    swap_index: Int[Array | np.ndarray, "batch"] | None = None,
) -> CutMixPlan:
    """Draw a permutation and a box, for the batch or for each sample.

    Args:
        key: a typed key.
        batch_size, height, width: B, H, W.
        alpha: α of λ ~ Beta(α, α).
        p: probability that anything is pasted.
        per: `"batch"`: one draw and one box for all; `"elem"`: for each sample its own.
        swap_index: π to use, such as that of the moment exchange which follows; drawn if left out.

    Raises:
        ValueError: see `sample_plan` and `cutmix_box`.
    """
    check_plan(batch_size, p, 1.0, alpha, per)
    for_on, for_index, for_box = jax.random.split(key, 3)
    shape = () if per == "batch" else (batch_size,)
    on = jax.random.bernoulli(for_on, jnp.asarray(p, float), shape)
    chosen = jax.random.permutation(for_index, batch_size) if swap_index is None else jnp.asarray(swap_index)
    box, lam = cutmix_box(for_box, height, width, alpha=alpha, boxes=shape)
    return box_plan(on, chosen, lam, box)


def cutmix(
    key: PRNGKeyArray,
    x: Num[Array | np.ndarray, "batch *dims"],
    targets: Num[Array | np.ndarray, "batch *labels"],
    *,
    alpha: float | int = 1.0,
    p: Probability = 1.0,
    per: Per = "batch",
    num_classes: int | None = None,
    smoothing: Probability = 0.0,
    spatial_axes: tuple[int, int] = (1, 2),
) -> tuple[Num[Array, "batch *dims"], Float[Array, "batch *soft"]]:
    """Images with boxes of other images, and their soft targets: t_i ← λ_c t_i + (1 - λ_c) t_π(i).

    To mix masks as well, or to use the permutation again, call `cutmix_plan`, `paste_box` and `mix_targets`.

    Args:
        key: a typed key.
        x: images (B, H, W, ...).
        targets: integer or soft labels, see `soft_targets`.
        alpha, p, per: see `cutmix_plan`.
        num_classes, smoothing: see `soft_targets`.
        spatial_axes: see `paste_box`.

    Returns:
        (images of the shape and dtype of `x`, soft targets (B, K)).

    Raises:
        ValueError: see `cutmix_plan`, `paste_box`, `soft_targets`.
    """
    check_spatial(x.shape, spatial_axes)
    height, width = (x.shape[axis] for axis in spatial_axes)
    plan = cutmix_plan(key, x.shape[0], height, width, alpha=alpha, p=p, per=per)
    return paste_box(x, plan, spatial_axes=spatial_axes), mix_targets(targets, plan, num_classes, smoothing)


def box_mask(box: Box, height: int, width: int) -> Bool[Array, "*boxes height width"]:
    """True inside the box, (..., H, W)."""
    row, column = jnp.arange(height)[:, None], jnp.arange(width)
    r0, r1, c0, c1 = (jnp.asarray(edge)[..., None, None] for edge in box)
    return (row >= r0) & (row < r1) & (column >= c0) & (column < c1)


def paste_box(
    x: Num[Array | np.ndarray, "batch *dims"], plan: CutMixPlan, *, spatial_axes: tuple[int, int] = (1, 2)
) -> Num[Array, "batch *dims"]:
    """The batch with the box of sample π(i) in sample i: x of shape (B, H, W, ...), else unchanged.

    Images and integer masks of segmentation go through it alike, with the same plan.

    Args:
        x: (B, H, W, C) images, (B, H, W) masks, or with other axes.
        plan: from `cutmix_plan`.
        spatial_axes: axes of height and width, in this order; (2, 3) for (B, C, H, W).

    Raises:
        ValueError: axes that `x` does not have; a plan for another number of samples.
    """
    images = jnp.asarray(x)
    check_spatial(images.shape, spatial_axes)
    if plan.swap_index.shape != images.shape[:1]:
        raise ValueError(f"the plan is for {plan.swap_index.shape[0]} samples, but x has {images.shape[0]}")
    rows, columns = spatial_axes
    mask = box_mask(plan.box, images.shape[rows], images.shape[columns])
    return jnp.where(spread(mask, images.shape, spatial_axes), images[plan.swap_index], images)


def check_spatial(shape: tuple[int, ...], spatial_axes: tuple[int, int]) -> None:
    """ValueError unless these are two axes of the shape, in order, behind the batch axis."""
    rows, columns = spatial_axes
    if not 0 < rows < columns < len(shape):
        raise ValueError(
            f"spatial_axes={spatial_axes} of an array of shape {shape}; the axes of height and width are needed, "
            "(1, 2) for (B, H, W, ...) and (2, 3) for (B, C, H, W)"
        )


def spread(
    mask: Bool[Array, "*boxes height width"], shape: tuple[int, ...], spatial_axes: tuple[int, int]
) -> Bool[Array, "..."]:
    """The mask, (H, W) or (B, H, W), with axes of length 1 so that it broadcasts against the shape."""
    wide = [1] * len(shape)
    wide[0] = mask.shape[0] if mask.ndim == 3 else 1
    wide[spatial_axes[0]], wide[spatial_axes[1]] = mask.shape[-2:]
    return mask.reshape(wide)


def _interval(
    centre: Int[Array, "*boxes"], side: Float[Array, "*boxes"], size: int
) -> tuple[Int[Array, "*boxes"], Int[Array, "*boxes"]]:
    half = (size * side).astype(jnp.int32) // 2
    low, high = centre.astype(jnp.int32) - half, centre.astype(jnp.int32) + half
    return jnp.clip(low, 0, size), jnp.clip(high, 0, size)
