"""From a score to an edge: mixed probabilities, a hard draw of each pair, and the slope of its relaxation."""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Estimator = Literal["binary_concrete", "gumbel_paper", "add_round", "rand", "edge", "soft"]
ScoreMap = Literal["max", "sigmoid"]
TINY = 1e-12
"""Below this the largest logit counts as this: an embedding of zeros has no largest one to divide by."""


def keep(p: Float[Array, "..."], u: Float[Array, "..."], estimator: str) -> Bool[Array, "..."]:
    """Whether a pair is drawn: whether its relaxed sample exceeds one half, which no temperature changes."""
    p, u = _inside(p), _inside(u)
    return p > -jnp.log(u) if estimator == "gumbel_paper" else u > 1 - p


def relaxed(
    p: Float[Array, "..."], u: Float[Array, "..."], temperature: Float[Array, ""] | float | int, estimator: str
) -> Float[Array, "..."]:
    """S, the relaxed sample of each pair, in (0, 1)."""
    return jax.nn.sigmoid(_logit(_inside(p), _inside(u), estimator) / temperature)


def slope(
    p: Float[Array, "..."], u: Float[Array, "..."], temperature: Float[Array, ""] | float | int, estimator: str
) -> Float[Array, "..."]:
    """∂S/∂P of the relaxed sample; 0 where the probability was clipped."""
    eps = jnp.finfo(p.dtype).eps
    clipped, u = _inside(p), _inside(u)
    # s (1 - s) from the side where nothing cancels.
    t = jnp.exp(-jnp.abs(_logit(clipped, u, estimator)) / temperature)
    of_logit = clipped if estimator == "gumbel_paper" else clipped * (1 - clipped)
    return jnp.where((p > eps) & (p < 1 - eps), t / ((1 + t) ** 2 * temperature * of_logit), 0)


def _inside(p: Array) -> Array:
    eps = jnp.finfo(p.dtype).eps
    return jnp.clip(p, eps, 1 - eps)


def _logit(p: Array, u: Array, estimator: str) -> Array:
    if estimator == "gumbel_paper":
        return jnp.log(p / -jnp.log(u))  # log P + G with G = -log(-log U)
    return jnp.log(p * u / ((1 - p) * (1 - u)))  # logit P + logit U, with one logarithm in place of four


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def straight_through(p: Array, u: Array, temperature: Any, estimator: str) -> Array:
    """`keep` as numbers, with the derivative of `relaxed` with respect to p."""
    return keep(p, u, estimator).astype(p.dtype)


@straight_through.defjvp
def _(estimator: str, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    p, u, temperature = primals
    return straight_through(p, u, temperature, estimator), slope(p, u, temperature, estimator) * tangents[0]


@jax.custom_jvp
def rounded(p: Array) -> Array:
    """Round half to even, with the derivative of the identity."""
    return jnp.round(p)


@rounded.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    return rounded(*primals), tangents[0]


@jax.custom_jvp
def ceiled(scores: Array) -> Array:
    """1 where a score is above 0 and at most 1, with the derivative of the identity."""
    return jnp.ceil(scores)


@ceiled.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    return ceiled(*primals), tangents[0]


def check_settings(alpha: Any, temperature: Any, estimator: Any, score_map: Any) -> None:
    """Numbers that are known are checked; traced ones cannot be."""
    for name, value, choices in (("estimator", estimator, Estimator), ("score_map", score_map, ScoreMap)):
        if value not in get_args(choices):
            raise ValueError(f"{name} {value!r} is unknown; one of {', '.join(get_args(choices))} is needed")
    if not isinstance(alpha, jax.core.Tracer) and not 0 <= float(np.asarray(alpha)) <= 1:
        raise ValueError(f"alpha={alpha}, the weight of the scores against the graph, must lie in [0, 1]")
    if not isinstance(temperature, jax.core.Tracer) and not float(np.asarray(temperature)) > 0:
        raise ValueError(f"temperature={temperature} must be above 0")
