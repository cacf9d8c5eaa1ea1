"""Dropout of the official layer's kinds, as factors that are drawn once per call."""

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn._config import DropoutRates
from offprint.mgrn._params import DropoutMasks


def draw_masks(
    key: PRNGKeyArray,
    rates: DropoutRates,
    *,
    batch: int,
    features: int,
    candidates: tuple[int, int],
    joint: int,
    dtype: DTypeLike,
) -> DropoutMasks:
    """Masks for one call on `batch` sequences of F features, with (G, H) candidates and J joint units.

    Input dropout is variational (one mask per sequence, shared over time) and independent for the marginal memories,
    for the joint memory's view of the input, and for the candidates. Recurrent dropout is DropConnect: entries of
    w_hh and u_z, shared over time and batch; the stored weights do not change. Output dropout is of g_T, before
    the head.
    """
    keys = jax.random.split(key, 6)
    groups, hidden = candidates
    return DropoutMasks(
        marginal_inputs=dropout_mask(keys[0], rates.input, (batch, features), dtype),
        joint_inputs=dropout_mask(keys[1], rates.input, (batch, features), dtype),
        candidates=dropout_mask(keys[2], rates.input, (batch, groups, hidden), dtype),
        w_hh=dropout_mask(keys[3], rates.recurrent, (groups, hidden, 3 * hidden), dtype),
        u_z=dropout_mask(keys[4], rates.recurrent, (joint, joint), dtype),
        output=dropout_mask(keys[5], rates.output, (batch, joint), dtype),
    )


def dropout_mask(
    key: PRNGKeyArray, rate: float | int, shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "..."] | None:
    """0 with probability `rate`, else 1/(1-rate); None for rate 0."""
    if not rate:
        return None
    return jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) / (1 - rate)


def masked(array: Float[Array, "*shape"], mask: Array | None) -> Float[Array, "*shape"]:
    """`array` times the mask, where there is one."""
    return array if mask is None else array * mask.astype(array.dtype)
