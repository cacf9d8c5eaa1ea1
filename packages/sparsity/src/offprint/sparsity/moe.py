"""Conditional computation: which experts of a mixture see which token.

Noisy top-k gating with its two balancing losses (shazeer2017moe), Switch routing to one expert of limited capacity
(fedus2022switch), and the router's z-loss (zoph2022stmoe). All functions are pure; `offprint.sparsity.nnx.MoE` is the
layer made of them.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Number = float | int | Float[Array, ""]


class Gating(NamedTuple):
    """Which experts each token goes to."""

    gates: Float[Array, "tokens experts"]  # softmax over the k that are kept, 0 elsewhere
    indices: Int[Array, "tokens k"]  # the experts kept, the largest logit first
    load: Float[Array, " experts"]  # smooth estimate of the number of tokens of each expert
    importance: Float[Array, " experts"]  # sum of gates over tokens


class Routing(NamedTuple):
    """Where in the experts' buffers each (token, choice) goes."""

    expert: Int[Array, "tokens k"]
    position: Int[Array, "tokens k"]  # order of arrival at that expert, from 0
    kept: Bool[Array, "tokens k"]  # position < capacity; the others pass by on the residual connection


def noisy_top_k(
    logits: Float[Array, "tokens experts"],
    k: int,
    noise_scale: Float[Array, "tokens experts"] | None = None,
    noise: Float[Array, "tokens experts"] | None = None,
) -> Gating:
    """Gates of the k largest of H = logits + noise · noise_scale (shazeer2017moe, Eq. 3-5 and appendix A).

    `load` is sum over tokens of Φ((logits - k-th largest of the others' H) / noise_scale): the probability that the
    expert would be chosen under a new draw of its noise. Without noise it is the plain count, which has no gradient.

    Args:
        logits: x W_g, without noise.
        k: experts of each token.
        noise_scale: softplus(x W_n), standard deviation of the noise; None at test time.
        noise: standard normal draws.

    Raises:
        ValueError: k not between 1 and the number of experts, or one of `noise_scale` and `noise` without the other.
    """
    experts = logits.shape[-1]
    if not 1 <= k <= experts:
        raise ValueError(f"k must be between 1 and the {experts} experts; got {k}")
    if (noise is None) != (noise_scale is None):
        raise ValueError("noise_scale and noise are given together or not at all")
    noisy = logits if noise is None or noise_scale is None else logits + noise * noise_scale
    top, indices = jax.lax.top_k(noisy, min(k + 1, experts))
    chosen = jax.nn.one_hot(indices[:, :k], experts, dtype=logits.dtype)  # tokens, k, experts
    gates = jnp.einsum("tk,tke->te", jax.nn.softmax(top[:, :k], -1), chosen)
    mine = chosen.sum(1)
    if noise_scale is None or k == experts:
        load = mine.sum(0)
    else:
        # The k-th largest of the others: for a chosen expert that is the (k+1)-th of all.
        threshold = jnp.where(mine > 0, top[:, k:], top[:, k - 1 : k])
        load = jax.scipy.stats.norm.cdf((logits - threshold) / noise_scale).sum(0)
    return Gating(gates, indices[:, :k], load, gates.sum(0))


def cv_squared(x: Float[Array, " experts"]) -> Float[Array, ""]:
    """Squared coefficient of variation, with the population variance: the importance and the load loss
    (shazeer2017moe). Zero when all experts get the same, also when all get nothing."""
    mean = jnp.mean(x)
    return jnp.where(mean == 0, 0.0, jnp.var(x) / jnp.where(mean == 0, 1.0, mean) ** 2)


def switch_loss(
    probabilities: Float[Array, "tokens experts"], expert: Int[Array, " tokens"] | None = None, alpha: Number = 0.01
) -> Float[Array, ""]:
    """alpha · E · sum over experts of f_e P_e, with f the share of tokens and P the mean probability of each expert
    (fedus2022switch, Eq. 4). It is `alpha` when tokens are spread evenly. No gradient passes through f.

    Args:
        probabilities: softmax of the router's logits.
        expert: the choice of each token; the most probable by default.
    """
    experts = probabilities.shape[-1]
    choice = jnp.argmax(probabilities, -1) if expert is None else expert
    share = jax.nn.one_hot(choice, experts, dtype=probabilities.dtype).mean(0)
    return alpha * experts * jnp.sum(share * probabilities.mean(0))


def router_z_loss(logits: Float[Array, "tokens experts"]) -> Float[Array, ""]:
    """Mean squared log-sum-exp of the router's logits, which keeps them small (zoph2022stmoe)."""
    return jnp.mean(jax.nn.logsumexp(logits, -1) ** 2)


def capacity(tokens: int, experts: int, factor: float = 1.25, k: int = 1) -> int:
    """Tokens that one expert takes: ceil(factor · k · tokens / experts) (fedus2022switch, Eq. 3)."""
    if tokens < 1 or experts < 1 or k < 1 or not factor > 0:
        raise ValueError(f"all of tokens, experts, k, factor must be positive; got {tokens}, {experts}, {k}, {factor}")
    return math.ceil(factor * k * tokens / experts)


def route(indices: Int[Array, "tokens k"], experts: int, capacity: int) -> Routing:
    """Places in the buffers of the experts, in the order of the tokens, first choices first (fedus2022switch).

    Args:
        indices: the experts of each token, such as `Gating.indices`.
        experts: number of experts.
        capacity: places of each expert, see `capacity`.

    Raises:
        ValueError: a capacity below 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1; got {capacity}")
    arrivals = jax.nn.one_hot(indices.T.reshape(-1), experts, dtype=jnp.int32)  # all first choices, then all second
    position = jnp.sum((jnp.cumsum(arrivals, 0) - 1) * arrivals, -1).reshape(indices.shape[1], -1).T
    return Routing(indices, position, position < capacity)


def dispatch(
    x: Float[Array, "tokens features"], routing: Routing, experts: int, capacity: int
) -> Float[Array, "experts capacity features"]:
    """The buffers of the experts: each token at its places, zeros where nobody came."""
    slot = jnp.where(routing.kept, routing.expert * capacity + routing.position, experts * capacity)
    buffers = jnp.zeros((experts * capacity, x.shape[-1]), x.dtype)
    rows = jnp.repeat(x[:, None], slot.shape[1], 1).reshape(-1, x.shape[-1])
    return buffers.at[slot.reshape(-1)].set(rows, mode="drop").reshape(experts, capacity, -1)


def combine(
    y: Float[Array, "experts capacity features"], gates: Float[Array, "tokens experts"], routing: Routing
) -> Float[Array, "tokens features"]:
    """Sum over a token's experts of gate times output; choices that overflowed add nothing."""
    experts, places, features = y.shape
    slot = jnp.where(routing.kept, routing.expert * places + routing.position, 0)
    weight = jnp.where(routing.kept, jnp.take_along_axis(gates, routing.expert, 1), 0)
    return jnp.einsum("tk,tkf->tf", weight, y.reshape(experts * places, features)[slot])
