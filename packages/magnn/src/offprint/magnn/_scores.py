"""Scores: linear in the candidate's output vector, Eq. 7 and 8."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from offprint.magnn._options import Cooccurrence
from offprint.magnn._short_term import lookup


def recent_items(
    e_mean: Float[Array, "batch d"],
    mask: Bool[Array, "batch L"],
    kind: Cooccurrence,
    Wr: Float[Array, "d d"] | None,
) -> Float[Array, "batch d"] | None:
    """Wr^T times the mean of e_i: what a candidate's output vector is multiplied by for the items of the window, Eq. 7.

    Args:
        e_mean: means of the items' vectors over each window.
        mask: which items of the windows are real.
        kind: "bilinear" is Eq. 7; "identity" has no Wr; "sum" has the sum instead of the mean; "none" nothing.
        Wr: for "bilinear".

    Returns:
        The vectors; None for "none".
    """
    if kind == "none":
        return None
    if kind == "bilinear":
        assert Wr is not None
        return e_mean @ Wr
    return e_mean * mask.sum(axis=1, keepdims=True).astype(e_mean.dtype) if kind == "sum" else e_mean


def item_scores(model: Any, q: Float[Array, "batch d"], items: Int[Array, "batch k"]) -> Float[Array, "batch k"]:
    """Scores q . Q[j] + b[j] of items by any recommender of this package; `items` of -1 get 0."""
    Q, b = model.item_table()
    return jnp.einsum("bd,bkd->bk", q, lookup(Q, items)) + lookup(b[:, None], items)[..., 0]
