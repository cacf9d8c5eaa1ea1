"""Ranking losses: Bayesian personalised ranking (Eq. 9), and three that others train such models by."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from offprint.magnn._scores import item_scores
from offprint.magnn._windows import Batch

Reduction = Literal["sum", "mean"]
Loss = Literal["bpr", "bce", "sampled_softmax", "softmax"]


def bpr_loss(
    pos: Float[Array, "*batch"],
    neg: Float[Array, "..."],
    *,
    mask: Bool[Array, "*batch"] | None = None,
    reduction: Reduction = "sum",
) -> Float[Array, ""]:
    """-log sigmoid(pos - neg), Eq. 9 without its penalty, as softplus(neg - pos), which does not saturate.

    Args:
        pos: scores of targets.
        neg: scores of as many negatives.
        mask: which targets are real; None for all.
        reduction: the "sum", as in the paper, or the "mean" over the real targets.

    Returns:
        The loss.

    Raises:
        ValueError: unequal shapes.
    """
    _check_same("bpr_loss", pos, neg)
    return _reduced(jax.nn.softplus(neg - pos), mask, reduction)


def bce_loss(
    pos: Float[Array, "*batch"],
    neg: Float[Array, "..."],
    *,
    mask: Bool[Array, "*batch"] | None = None,
    reduction: Reduction = "sum",
) -> Float[Array, ""]:
    """-log sigmoid(pos) - log(1 - sigmoid(neg)): binary cross-entropy, as SASRec is trained.

    Args:
        pos: scores of targets.
        neg: scores of as many negatives.
        mask: which targets are real; None for all.
        reduction: the "sum" or the "mean" over the real targets.

    Returns:
        The loss.

    Raises:
        ValueError: unequal shapes.
    """
    _check_same("bce_loss", pos, neg)
    return _reduced(jax.nn.softplus(-pos) + jax.nn.softplus(neg), mask, reduction)


def softmax_loss(
    scores: Float[Array, "batch items"], targets: Int[Array, "batch T"], *, reduction: Reduction = "sum"
) -> Float[Array, ""]:
    """Cross-entropy of each target against the whole catalogue.

    Args:
        scores: of all items.
        targets: item ids; -1 is padding and counts nothing.
        reduction: the "sum" or the "mean" over the real targets.

    Returns:
        The loss.
    """
    real = targets >= 0
    chosen = jnp.take_along_axis(scores, jnp.where(real, targets, 0), axis=1)
    return _reduced(jax.nn.logsumexp(scores, axis=1, keepdims=True) - chosen, real, reduction)


def sampled_softmax_loss(
    pos: Float[Array, "batch T"],
    neg: Float[Array, "batch K"],
    log_q: Float[Array, "..."] | float | int,
    *,
    mask: Bool[Array, "batch T"] | None = None,
    reduction: Reduction = "sum",
) -> Float[Array, ""]:
    """Cross-entropy of each target against K sampled negatives, corrected for how likely they were drawn.

    The sum over all negatives in the softmax's denominator is replaced by its unbiased estimate,
    sum_k exp(neg_k) / (K q_k). The targets must not be among the items drawn from (`sample_negatives` sees to it).

    Args:
        pos: scores of targets.
        neg: scores of the negatives, shared by the targets of a row.
        log_q: log of the probability with which each negative was drawn, to be broadcast against `neg`; under
            `sample_negatives` it is -log of the user's number of unseen items.
        mask: which targets are real; None for all.
        reduction: the "sum" or the "mean" over the real targets.

    Returns:
        The loss.

    Raises:
        ValueError: another number of rows.
    """
    if pos.shape[:-1] != neg.shape[:-1]:
        raise ValueError(f"sampled_softmax_loss needs as many rows of both, but pos is {pos.shape}, neg {neg.shape}")
    others = jax.nn.logsumexp(neg - log_q, axis=-1, keepdims=True) - jnp.log(float(neg.shape[-1])).astype(neg.dtype)
    return _reduced(jax.nn.softplus(others - pos), mask, reduction)


def batch_loss(
    model: Any,
    batch: Batch,
    negatives: Int[Array, "batch K"] | None = None,
    loss: Loss = "bpr",
    *,
    log_q: Float[Array, "..."] | float | int | None = None,
    reduction: Reduction = "sum",
) -> Float[Array, ""]:
    """The loss of a batch under any recommender of this package, padded targets left out.

    Args:
        model: has `queries` and `item_table`.
        batch: its targets are padded by -1.
        negatives: items for each row: as many as targets for "bpr" and "bce", K for "sampled_softmax".
        loss: which.
        log_q: for "sampled_softmax", see `sampled_softmax_loss`; None for a uniform draw from the catalogue.
        reduction: the "sum" or the "mean" over the real targets.

    Returns:
        The loss.

    Raises:
        ValueError: an unknown loss, no negatives where they are needed, or as many as do not fit.
    """
    if loss not in ("bpr", "bce", "sampled_softmax", "softmax"):
        raise ValueError(f"loss must be 'bpr', 'bce', 'sampled_softmax' or 'softmax', but is {loss!r}")
    targets = batch.targets
    if loss == "softmax":
        Q, b = model.item_table()
        return softmax_loss(model.queries(batch) @ Q.T + b, targets, reduction=reduction)
    if negatives is None:
        raise ValueError(f"the loss {loss!r} needs negatives: draw them by sample_negatives")
    if loss != "sampled_softmax" and negatives.shape != targets.shape:
        raise ValueError(
            f"the loss {loss!r} needs one negative for each target, but the targets are {targets.shape} and the "
            f"negatives {negatives.shape}"
        )
    # One lookup of all candidates, so that the gradient of the item table is one scatter.
    scores = item_scores(model, model.queries(batch), jnp.concatenate([targets, negatives], axis=1))
    pos, neg = scores[:, : targets.shape[1]], scores[:, targets.shape[1] :]
    if loss == "sampled_softmax":
        uniform = -jnp.log(float(model.num_items)).astype(scores.dtype)
        log_q = uniform if log_q is None else log_q
        return sampled_softmax_loss(pos, neg, log_q, mask=targets >= 0, reduction=reduction)
    return (bpr_loss if loss == "bpr" else bce_loss)(pos, neg, mask=targets >= 0, reduction=reduction)


def _check_same(name: str, pos: Array, neg: Array) -> None:
    if pos.shape != neg.shape:
        raise ValueError(f"{name} needs a negative for each target, but pos is {pos.shape} and neg is {neg.shape}")


def _reduced(terms: Array, mask: Array | None, reduction: str) -> Array:
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', but is {reduction!r}")
    if mask is None:
        return terms.sum() if reduction == "sum" else terms.mean()
    total = jnp.where(mask, terms, 0).sum()
    return total if reduction == "sum" else total / jnp.maximum(mask.sum(), 1).astype(terms.dtype)
