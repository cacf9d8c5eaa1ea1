"""Metrics that several methods need, as pure functions that work under jit, vmap and grad.

Everything else is in scikit-learn. The arguments stand in the order of optax's losses, predictions before
targets (scikit-learn has it the other way round). ``weights`` are non-negative and need not sum to one; a
weight of 0 takes an example out, which is how padded batches are handled. Where a metric is not defined, as
the area under the curve of a single class, it is NaN.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num
from scipy.special import stdtrit


def _mean(values: Float[Array, " n"], weights: Num[Array, " n"] | None) -> Float[Array, ""]:
    return jnp.average(values, weights=weights)


def accuracy(
    predictions: Int[Array, " n"], labels: Int[Array, " n"], weights: Num[Array, " n"] | None = None
) -> Float[Array, ""]:
    """Share of the predictions that equal their label, in [0, 1]."""
    return _mean((predictions == labels).astype(jnp.result_type(float)), weights)


def mean_squared_error(
    predictions: Float[Array, "n *outputs"],
    targets: Float[Array, "n *outputs"],
    weights: Num[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Mean over the examples, and over their outputs, of (prediction - target)²."""
    squared = jnp.square(predictions - targets)
    return _mean(squared.reshape(len(squared), -1).mean(axis=1), weights)


def normalized_mean_squared_error(
    predictions: Float[Array, " n"], targets: Float[Array, " n"], weights: Num[Array, " n"] | None = None
) -> Float[Array, ""]:
    """Mean squared error over the variance of the targets (NMSE): 0 is perfect, 1 is as good as their mean.

    Constant targets have no variance: NaN where they are met exactly, infinity otherwise.
    """
    centre = jnp.average(targets, weights=weights)
    return mean_squared_error(predictions, targets, weights) / _mean(jnp.square(targets - centre), weights)


def r2_score(
    predictions: Float[Array, " n"], targets: Float[Array, " n"], weights: Num[Array, " n"] | None = None
) -> Float[Array, ""]:
    """Coefficient of determination R² = 1 - NMSE, at most 1; see `normalized_mean_squared_error`."""
    return 1 - normalized_mean_squared_error(predictions, targets, weights)


def roc_auc(
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | Bool[Array, " n"],
    weights: Num[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Area under the receiver operating characteristic: P(score of a positive > score of a negative).

    Ties count one half; with weights, each pair counts the product of its two weights (the Mann-Whitney
    statistic). Sorts once: O(n log n).

    Args:
        scores: higher means more likely positive.
        labels: positive where not zero.
        weights: one per example, all 1 by default.

    Returns:
        Scalar in [0, 1]; NaN where one class has no weight or a score is NaN.
    """
    dtype = scores.dtype
    weight = jnp.ones_like(scores) if weights is None else jnp.asarray(weights, dtype)
    positive = jnp.where(jnp.asarray(labels) != 0, weight, 0)
    negative = weight - positive
    order = jnp.argsort(scores)
    ordered = scores[order]
    below = jnp.concatenate([jnp.zeros(1, dtype), jnp.cumsum(negative[order])])
    # Weight of the negatives below each score, and of those up to and with it: a tie counts half of each.
    lower = below[jnp.searchsorted(ordered, scores, side="left")]
    upper = below[jnp.searchsorted(ordered, scores, side="right")]
    area = jnp.sum(positive * (lower + upper)) / (2 * positive.sum() * negative.sum())
    return jnp.where(jnp.isnan(scores).any(), jnp.nan, area)


def mean_interval(
    values: Float[Array, "n *rest"], confidence: float = 0.95
) -> tuple[Float[Array, "*rest"], Float[Array, "*rest"], Float[Array, "*rest"]]:
    """Mean over independent repeats with Student's interval: mean -/+ t_{n-1} s / sqrt(n).

    Args:
        values: one row per repeat (seed), at least 2.
        confidence: probability that the interval covers the true mean of normal values, in (0, 1).

    Returns:
        Mean, lower end and upper end, each of the shape of one row.

    Raises:
        ValueError: fewer than 2 repeats, or a confidence outside (0, 1).
    """
    count = values.shape[0]
    if count < 2:
        raise ValueError(f"an interval needs at least 2 repeats, got {count}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    mean = values.mean(axis=0)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * values.std(axis=0, ddof=1) / count**0.5
    return mean, mean - half, mean + half
