"""Fusion of short-term and long-term interest, Eq. 6."""

import jax
from jaxtyping import Array, Float


def fusion_gate(
    short: Float[Array, "batch d"],
    long: Float[Array, "batch d"],
    p: Float[Array, "batch d"],
    Wg1: Float[Array, "d d"],
    Wg2: Float[Array, "d d"],
    Wg3: Float[Array, "d d"],
) -> Float[Array, "batch d"]:
    """g = sigmoid(Wg1 h + Wg2 p^H + Wg3 p_u), Eq. 6.

    Args:
        short: h, the short-term interest.
        long: p^H, the long-term interest.
        p: the users' vectors.
        Wg1: applied to the short-term interest.
        Wg2: applied to the long-term interest.
        Wg3: applied to the users' vectors.

    Returns:
        The share that each dimension takes from the short-term interest, between 0 and 1.
    """
    return jax.nn.sigmoid(short @ Wg1.T + long @ Wg2.T + p @ Wg3.T)


def gated(
    g: Float[Array, "batch d"], short: Float[Array, "batch d"], long: Float[Array, "batch d"]
) -> Float[Array, "batch d"]:
    """p^C = g * h + (1 - g) * p^H, Eq. 6."""
    return g * short + (1 - g) * long


def concatenated(
    short: Float[Array, "batch d"], long: Float[Array, "batch d"], Wc: Float[Array, "d two_d"]
) -> Float[Array, "batch d"]:
    """p^C = Wc [h ; p^H]: the ablation that replaces the gate by a linear map of both."""
    d = short.shape[-1]
    return short @ Wc[:, :d].T + long @ Wc[:, d:].T
