"""Criteria from what units put out on data, and how to remove such units with little harm."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from offprint.sparsity.scores._leaves import wide


def apoz(activations: PyTree[Float[Array, "..."]], *, axis: int = -1) -> PyTree[Float[Array, " units"]]:
    """Average percentage of zeros: the share of exact zeros that each unit puts out (Hu et al. 2016, `hu2016apoz`).

    The one statistic here that is high for what should go: `1 - apoz(a)` is a score. Shares are in [0, 1], not percent.

    Args:
        activations: outputs of one or several layers after the ReLU, over examples (and positions).
        axis: the axis of the units.
    """
    return jax.tree.map(lambda a: jnp.mean(a == 0, dtype=wide(a).dtype, axis=_but(a, axis)), activations)


def activation_mean(activations: PyTree[Float[Array, "..."]], *, axis: int = -1) -> PyTree[Float[Array, " units"]]:
    """Mean output of every unit: what `fold_mean` puts in its place."""
    return jax.tree.map(lambda a: jnp.mean(wide(a), axis=_but(a, axis)), activations)


def activation_variance(activations: PyTree[Float[Array, "..."]], *, axis: int = -1) -> PyTree[Float[Array, " units"]]:
    """Variance of the output of every unit, high = keep: a unit that is nearly constant can be replaced by its mean."""
    return jax.tree.map(lambda a: jnp.var(wide(a), axis=_but(a, axis)), activations)


def correlation(activations: Float[Array, "..."], *, axis: int = -1) -> Float[Array, "units units"]:
    """Pearson correlation of the outputs of every two units; 0 with a constant unit, 1 on the diagonal.

    Units that correlate nearly ±1 can be merged (`linear_fit`, `merge_units`).
    """
    centred = _centred(activations, axis)
    norms = jnp.sqrt(jnp.sum(centred**2, axis=0))
    unit = centred / jnp.where(norms > 0, norms, 1)
    matrix = jnp.clip(unit.T @ unit, -1, 1)
    return jnp.where(jnp.eye(matrix.shape[0], dtype=bool), 1, matrix)


def linear_fit(
    activations: Float[Array, "..."], keep: int, drop: int, *, axis: int = -1
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Slope and intercept of the least-squares fit a_drop ≈ slope · a_keep + intercept.

    The slope is 0 if a_keep is constant.
    """
    flat = jnp.moveaxis(wide(activations), axis, -1).reshape(-1, activations.shape[axis])
    _check_pair(keep, drop, flat.shape[1])
    x, y = flat[:, keep], flat[:, drop]
    spread = x - jnp.mean(x)
    power = jnp.sum(spread**2)
    slope = jnp.sum(spread * (y - jnp.mean(y))) / jnp.where(power > 0, power, 1)
    return slope, jnp.mean(y) - slope * jnp.mean(x)


def merge_units(
    kernel: Float[Array, "*spatial in out"],
    bias: Float[Array, " out"],
    keep: int,
    drop: int,
    slope: float | int | Float[Array, ""] = 1.0,
    intercept: float | int | Float[Array, ""] = 0.0,
) -> tuple[Float[Array, "*spatial in out"], Float[Array, " out"]]:
    """Kernel and bias of the next layer when unit `drop` is replaced by slope · unit `keep` + intercept.

    Row `keep` gains slope times row `drop`, which becomes zero, and the bias takes the constant. Exact where the
    relation holds for every example; for a convolution with zero padding an intercept is exact inside only.

    Args:
        kernel: of the layer that reads the units, (in, out) or HWIO.
        bias: of that layer.
        keep, drop: indices of units along the input axis.
        slope, intercept: from `linear_fit`.
    """
    _check_pair(keep, drop, kernel.shape[-2])
    row = kernel[..., drop, :]
    merged = kernel.at[..., keep, :].add(slope * row).at[..., drop, :].set(0)
    return merged, bias + intercept * jnp.sum(row.reshape(-1, row.shape[-1]), axis=0)


def fold_mean(
    kernel: Float[Array, "*spatial in out"],
    bias: Float[Array, " out"],
    means: Float[Array, " in"],
    keep: Bool[Array, " in"],
) -> tuple[Float[Array, "*spatial in out"], Float[Array, " out"]]:
    """Kernel and bias of the next layer when the units that are not kept are replaced by their means.

    Their rows become zero and the bias takes mean · row. Exact for units that are constant; for a convolution with
    zero padding, inside only.

    Args:
        kernel: of the layer that reads the units, (in, out) or HWIO.
        bias: of that layer.
        means: mean output of every unit (`activation_mean`).
        keep: which units stay.
    """
    if means.shape != (kernel.shape[-2],) or keep.shape != means.shape:
        raise ValueError(
            f"means and keep need one entry per input of the kernel {kernel.shape}, that is ({kernel.shape[-2]},); got "
            f"{means.shape} and {keep.shape}"
        )
    constant = jnp.where(keep, 0, means)
    return jnp.where(keep[:, None], kernel, 0), bias + constant @ jnp.sum(
        kernel.reshape(-1, *kernel.shape[-2:]), axis=0
    )


def _centred(activations: Array, axis: int) -> Array:
    flat = jnp.moveaxis(wide(activations), axis, -1).reshape(-1, activations.shape[axis])
    return flat - jnp.mean(flat, axis=0)


def _but(a: Any, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(a.ndim) if i != axis % a.ndim)


def _check_pair(keep: int, drop: int, count: int) -> None:
    if keep == drop or not (0 <= keep < count and 0 <= drop < count):
        raise ValueError(f"keep and drop must be two different units of 0..{count - 1}; got {keep} and {drop}")
