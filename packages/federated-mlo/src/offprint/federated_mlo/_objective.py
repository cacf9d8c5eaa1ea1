"""What a BSS is rewarded for: its own throughput, or something that all of them share."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from offprint.federated_mlo._exploration import Scalar

Reward = Literal["own", "min", "neigh_min", "mean", "alpha_fair", "mix"]
REWARDS = get_args(Reward)
SHARED_REWARDS = tuple(name for name in REWARDS if name != "own")
"""Rewards for which every BSS must report its throughput to the server in each step."""

FLOOR = 1e-3
"""Least throughput, as a share of the largest, that an α-fair utility looks at: log 0 has no value."""


def alpha_fair(x: Shaped[Array, "..."], alpha: Scalar) -> Shaped[Array, "..."]:
    """U(x) = log x for α = 1, otherwise x^(1-α) / (1-α) (Mo & Walrand 2000), with x at least `FLOOR`."""
    x = jnp.maximum(x, FLOOR)
    alpha = jnp.asarray(alpha, x.dtype)
    one = alpha == 1
    return jnp.where(one, jnp.log(x), x ** (1 - alpha) / jnp.where(one, 1, 1 - alpha))


def neighbours(adj: Bool[Array, "links bss bss"]) -> Bool[Array, "bss bss"]:
    """Who hears whom on any link, and everybody themselves."""
    return jnp.any(adj, axis=0) | jnp.eye(adj.shape[-1], dtype=bool)


def rewards(
    kind: str,
    x: Float[Array, " bss"],
    near: Bool[Array, "bss bss"] | None = None,
    alive: Bool[Array, " bss"] | None = None,
    *,
    alpha: Scalar = 1.0,
    beta: Scalar = 0.5,
) -> Float[Array, " bss"]:
    """Reward of every BSS.

    Args:
        kind: "own" x_b; "min" min_j x_j; "neigh_min" the least of b and its neighbours; "mean"; "alpha_fair" the mean
            utility U_α; "mix" (1 - β) own + β min.
        x: throughputs, divided by a common scale.
        near: who counts as a neighbour, for "neigh_min"; with itself.
        alive: who is there; the others count for nothing and get 0.
        alpha: α of "alpha_fair".
        beta: β of "mix".
    """
    here = x if alive is None else jnp.where(alive, x, jnp.inf)
    if kind == "own":
        r = x
    elif kind == "min":
        r = jnp.broadcast_to(jnp.min(here), x.shape)
    elif kind == "neigh_min":
        assert near is not None
        r = jnp.min(jnp.where(near, here, jnp.inf), axis=1)
    elif kind == "mean":
        r = jnp.broadcast_to(jnp.mean(x, where=alive), x.shape)
    elif kind == "alpha_fair":
        r = jnp.broadcast_to(jnp.mean(alpha_fair(x, alpha), where=alive), x.shape)
    else:
        r = (1 - beta) * x + beta * jnp.min(here)
    return r if alive is None else jnp.where(alive, r, 0)
