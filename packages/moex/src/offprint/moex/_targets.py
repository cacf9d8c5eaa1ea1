"""Soft targets: the label of a mixed sample, by one rule for every way of mixing, and their cross-entropy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Num

from offprint.moex._plan import CutMixPlan, MixPlan, Probability


def soft_targets(
    targets: Num[Array | np.ndarray, "batch *dims"],
    num_classes: int | None = None,
    smoothing: Probability = 0.0,
) -> Float[Array, "batch *soft"]:
    """Targets as distributions over the K classes, smoothed: (1 - s) t + s / K.

    Args:
        targets: integer labels (B, ...), or soft labels (B, ..., K) that sum to 1 over the last axis.
        num_classes: K; needed for integer labels.
        smoothing: s, in [0, 1).

    Returns:
        (B, ..., K); float32 for integer labels (float64 where that is JAX's default), else of the labels' dtype.

    Raises:
        ValueError: integer labels without `num_classes`, or outside 0..K-1; soft labels that don't sum to 1
            within 1e-3 or have another K; smoothing outside [0, 1).
    """
    fixed = not isinstance(smoothing, jax.core.Tracer)
    if fixed and not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing}; a number in [0, 1) is needed")
    if jnp.issubdtype(targets.dtype, jnp.integer):
        if num_classes is None:
            raise ValueError("integer labels need num_classes, the number of classes K")
        _check_labels(targets, num_classes)
        soft = jax.nn.one_hot(targets, num_classes, dtype=float)
    else:
        _check_soft(targets, num_classes)
        soft = jnp.asarray(targets)
    return soft if fixed and smoothing == 0 else optax.smooth_labels(soft, smoothing)


def mix_targets(
    targets: Num[Array | np.ndarray, "batch *dims"],
    plan: MixPlan | CutMixPlan | None,
    num_classes: int | None = None,
    smoothing: Probability = 0.0,
) -> Float[Array, "batch *soft"]:
    """The soft targets of a mixed batch: t_i ← λ t_i + (1 - λ) t_π(i).

    Mixing in several steps is the same rule again on its own result: CutMix with λ_c and π and then moment
    exchange with λ and the same π give the three terms λ λ_c y, [λ (1 - λ_c) + λ_c (1 - λ)] y_π and
    (1 - λ)(1 - λ_c) y_ππ of the public code of the paper.

    Args:
        targets: integer or soft labels, see `soft_targets`.
        plan: of moment exchange, Mixup or CutMix. None: nothing is mixed.
        num_classes, smoothing: see `soft_targets`. Smooth once, in the first step.

    Raises:
        ValueError: see `soft_targets`; a plan for another number of samples.
    """
    soft = soft_targets(targets, num_classes, smoothing)
    if plan is None:
        return soft
    if plan.swap_index.shape != soft.shape[:1]:
        raise ValueError(
            f"the plan is for {plan.swap_index.shape[0]} samples, but there are targets for {soft.shape[0]}: "
            "draw it with the batch size of the targets"
        )
    lam = plan.lam.astype(soft.dtype).reshape(-1, *[1] * (soft.ndim - 1))
    return lam * soft + (1 - lam) * soft[plan.swap_index]


def soft_cross_entropy(
    logits: Float[Array | np.ndarray, "batch *dims classes"], targets: Float[Array | np.ndarray, "batch *dims classes"]
) -> Float[Array, ""]:
    """Cross-entropy -Σ_k t_k log softmax(logits)_k, in nats, averaged over the samples (and positions).

    It is linear in the targets: with `mix_targets` it equals λ CE(y_i) + (1 - λ) CE(y_π(i)), the loss of the paper
    (section 3.1). Logits in half precision are computed with in float32.
    """
    wide = jnp.asarray(logits)
    wide = wide.astype(jnp.promote_types(wide.dtype, jnp.float32))
    return jnp.mean(optax.softmax_cross_entropy(wide, jnp.asarray(targets).astype(wide.dtype)))


def dominant_labels(labels: Int[Array | np.ndarray, "batch"], plan: MixPlan | CutMixPlan) -> Int[Array, "batch"]:
    """The label with the larger weight, y_i where λ >= 1/2, else y_π(i): for counting accuracy in training."""
    own = jnp.asarray(labels)
    return jnp.where(plan.lam >= 0.5, own, own[plan.swap_index])


def _check_labels(labels: Array | np.ndarray, num_classes: int) -> None:
    if isinstance(labels, jax.core.Tracer) or labels.size == 0:
        return
    known = np.asarray(labels)  # concrete, also while something else is traced
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels reach from {low} to {high}, but num_classes={num_classes} allows 0..{num_classes - 1}"
        )


def _check_soft(targets: Array | np.ndarray, num_classes: int | None) -> None:
    if targets.ndim < 2:
        raise ValueError(f"soft labels need shape (B, ..., K), got {targets.shape}; labels must be integers, else")
    if num_classes is not None and targets.shape[-1] != num_classes:
        raise ValueError(f"soft labels for {targets.shape[-1]} classes, but num_classes={num_classes}")
    if isinstance(targets, jax.core.Tracer):
        return
    off = float(np.max(np.abs(np.sum(np.asarray(targets, float), axis=-1) - 1), initial=0))
    if not off <= 1e-3:
        raise ValueError(
            f"soft labels must sum to 1 over the classes, but a sum is off by {off:.3g}: divide by the sums"
        )
