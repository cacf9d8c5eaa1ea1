"""Mean and standard deviation of feature maps: taken out, and put back in."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from offprint.moex._norms import Layout, NormSpec, layout, parse_norm, positive_axis


def moments(
    x: Float[Array | np.ndarray, "batch *features"],
    norm: str | NormSpec = "pono",
    *,
    channel_axis: int = -1,
    eps: float | int = 1e-5,
    ddof: int = 1,
    positive_only: bool = False,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mean μ and standard deviation σ = √(var + ε) of features over the axes of a normalisation.

    Args:
        x: features (B, ..., C), any number of axes between samples and channels.
        norm: a name (see `parse_norm`) or a `NormSpec`.
        channel_axis: where the channels are; 1 for (B, C, H, W).
        eps: ε, added to the variance inside the root.
        ddof: the variance divides by M - ddof: 1 (unbiased, as the public code of the paper) or 0 (biased).
        positive_only: only entries above 0 count, as after a ReLU: with n of them (at least 1),
            μ = Σ relu(h) / n and var = Σ relu(h)² / n - μ² (biased; `ddof` has no say).

    Returns:
        (μ, σ), both with the reduced axes kept at length 1; for grouped norms the channel axis becomes two,
        (G, 1). float64 if `x` is, else float32.

    Raises:
        TypeError: `x` is not floating.
        ValueError: see `parse_norm`; groups that don't divide the channels; no positions for `in`; M - ddof < 1;
            ε below 0.

    Source: Li et al., CVPR 2021, section 3; Li et al., NeurIPS 2019 (PONO), section 3.
    """
    where = checked_layout(x, parse_norm(norm), channel_axis, eps, ddof, positive_only)
    mean, std, _ = moments_of(jnp.asarray(x).reshape(where.view), where, eps, ddof, positive_only)
    return mean, std


def normalize(
    x: Float[Array | np.ndarray, "batch *features"],
    norm: str | NormSpec = "pono",
    *,
    channel_axis: int = -1,
    eps: float | int = 1e-5,
    ddof: int = 1,
    positive_only: bool = False,
) -> tuple[Float[Array, "batch *features"], Float[Array, "..."], Float[Array, "..."]]:
    """Features without their moments, ĥ = (h - μ) / σ, and the moments: (ĥ, μ, σ).

    Arguments, errors and source as for `moments`; ĥ has the shape and dtype of `x`.
    """
    mean, std = moments(x, norm, channel_axis=channel_axis, eps=eps, ddof=ddof, positive_only=positive_only)
    h = jnp.asarray(x)
    view = _view(h.shape, mean.shape, channel_axis)
    x_hat = (h.reshape(view).astype(mean.dtype) - mean) / std
    return x_hat.astype(h.dtype).reshape(h.shape), mean, std


def inject(
    x_hat: Float[Array | np.ndarray, "batch *features"],
    mean: Float[Array | np.ndarray, "..."],
    std: Float[Array | np.ndarray, "..."],
    *,
    channel_axis: int = -1,
) -> Float[Array, "batch *features"]:
    """Features with the moments put in: σ ĥ + μ, of the shape and dtype of `x_hat`.

    Between two layers of one network this is the moment shortcut of PONO (NeurIPS 2019, section 3.2).

    Args:
        x_hat: (B, ..., C), as from `normalize`.
        mean, std: moments as from `moments` or `normalize` of the same norm, of these or of other samples.
        channel_axis: as for `moments`.

    Raises:
        ValueError: moments that fit neither the features nor their groups.
    """
    h = jnp.asarray(x_hat)
    view = _view(h.shape, mean.shape, channel_axis)
    dtype = jnp.result_type(mean)
    y = h.reshape(view).astype(dtype) * jnp.asarray(std) + jnp.asarray(mean)
    return y.astype(h.dtype).reshape(h.shape)


def checked_layout(
    x: Num[Array | np.ndarray, "..."],
    spec: NormSpec,
    channel_axis: int,
    eps: float | int,
    ddof: int,
    positive_only: bool,
) -> Layout:
    """The layout of these features, after everything about them has been looked at."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"features must be floating, got {x.dtype}: scale integer images first, as in x / 255")
    if eps < 0:
        raise ValueError(f"eps={eps} is below 0; a small number such as 1e-5 is needed")
    if ddof not in (0, 1):
        raise ValueError(f"ddof={ddof}; 1 (unbiased variance) or 0 (biased) is needed")
    where = layout(spec, x.shape, channel_axis)
    if where.size - ddof < 1 and not positive_only:
        raise ValueError(
            f"norm {str(spec)!r} has M = {where.size} entries for each mean in features of shape {x.shape}, too few "
            f"for an unbiased variance: set ddof=0 or take another norm"
        )
    return where


def moments_of(
    h: Float[Array, "..."], where: Layout, eps: float | int, ddof: int, positive_only: bool
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Mean, standard deviation and number of entries that count, of features in the shape `where.view`.

    The variance is taken around the mean, in a second pass: it can't be negative, and it does not suffer when
    the mean is large. For `positive_only` too: Σ 1[h>0] (h - μ)² / n is Σ relu(h)² / n - μ².
    """
    h = h.astype(jnp.promote_types(h.dtype, jnp.float32))
    if not positive_only:
        count = jnp.asarray(where.size, h.dtype)
        mean = jnp.sum(h, where.axes, keepdims=True) / count
        variance = jnp.sum(jnp.square(h - mean), where.axes, keepdims=True) / (where.size - ddof)
    else:
        active = h > 0
        count = jnp.maximum(jnp.sum(active, where.axes, keepdims=True, dtype=h.dtype), 1)
        mean = jnp.sum(jax.nn.relu(h), where.axes, keepdims=True) / count
        variance = jnp.sum(jnp.where(active, jnp.square(h - mean), 0), where.axes, keepdims=True) / count
    return mean, jnp.sqrt(variance + eps), count


def _view(shape: tuple[int, ...], moments_shape: tuple[int, ...], channel_axis: int) -> tuple[int, ...]:
    """The shape in which features and moments broadcast: moments with one axis more have (G, 1) for the channels."""
    view = shape
    if len(moments_shape) == len(shape) + 1:
        channel = positive_axis(len(shape), channel_axis)
        groups = moments_shape[channel]
        if shape[channel] % groups == 0:
            view = (*shape[:channel], groups, shape[channel] // groups, *shape[channel + 1 :])
    fits = len(view) == len(moments_shape) and all(m in (1, n) for m, n in zip(moments_shape, view, strict=False))
    if not fits:
        raise ValueError(
            f"moments of shape {moments_shape} do not fit features of shape {shape} with channel_axis={channel_axis}"
        )
    return view
