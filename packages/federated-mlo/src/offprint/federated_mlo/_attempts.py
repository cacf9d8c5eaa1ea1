"""The fixed point of DCF under the decoupling assumption: all attempts of a station collide with one probability.

tau(p) is the attempt probability of a station whose attempts collide with probability p; p follows from the tau of the
others. Solved for n like stations by bisection, for unlike ones by damped iteration and Newton; the derivatives are
those of the implicit function theorem, so that they are exact and don't go through the iteration.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from offprint.federated_mlo._checks import is_concrete

_MOST_STAGES = 16


def attempt_probability(p: Array, W: Array, m: Array, retry_limit: int | None, stages: int) -> Array:
    """tau(p), attempts over slots of one backoff cycle (Bianchi 2000, Eq. 7).

    A sum stands for the quotient that is 0/0 at p = 1/2. With a retry limit R a frame has at most R + 1 attempts.

    Args:
        stages: no fewer than the largest `m`, static.
    """
    if retry_limit is None:
        total = jnp.zeros_like(p)
        for i in reversed(range(stages)):  # Horner: sum over i < m of (2p)^i
            total = jnp.where(i < m, 1 + 2 * p * total, total)
        return 2 / (1 + W + p * W * total)

    def attempt(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        reached, attempts, slots = carry
        window = W * 2.0 ** jnp.minimum(i, m)
        return reached * p, attempts + reached, slots + reached * (window + 1) / 2

    shape = jnp.broadcast_shapes(p.shape, W.shape, m.shape)
    start = (jnp.ones(shape, p.dtype), jnp.zeros(shape, p.dtype), jnp.zeros(shape, p.dtype))
    _, attempts, slots = jax.lax.fori_loop(0, retry_limit + 1, attempt, start)
    return attempts / slots


def survival(tau: Array, others: Array) -> Array:
    """(1 - tau)^others for others >= 0, with gradients that are finite at others = 0 and at tau = 1."""
    some, below = others > 0, tau < 1
    log = jnp.where(some, others, 1.0) * jnp.log1p(-jnp.where(below, tau, 0.0))
    return jnp.where(some, jnp.where(below, jnp.exp(log), 0.0), 1.0)


def collision_probability(tau: Array, n: Array) -> Array:
    """1 - (1 - tau)^(n-1), without cancellation for small tau."""
    some, below = n > 1, tau < 1
    log = jnp.where(some, n - 1, 1.0) * jnp.log1p(-jnp.where(below, tau, 0.0))
    return jnp.where(some, jnp.where(below, -jnp.expm1(log), 1.0), 0.0)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def fixed_point(n: Array, W: Array, m: Array, retry_limit: int | None, stages: int) -> Array:
    """The root of tau - tau(p(tau)), which rises strictly, by bisection between 0 and tau(0) = 2 / (W + 1)."""

    def halve(_: Array, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = middle < attempt_probability(collision_probability(middle, n), W, m, retry_limit, stages)
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    top = 2 / (W + 1)
    low, high = jax.lax.fori_loop(0, 60, halve, (jnp.zeros_like(top), top))
    return jnp.where(n > 1, 0.5 * (low + high), top)


@fixed_point.defjvp
def _fixed_point_jvp(
    retry_limit: int | None, stages: int, primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    """Implicit function theorem: d tau = (partial of tau(p(tau, n), W) along n, W) / (1 - d tau(p(tau)) / d tau)."""
    n, W, m = primals
    tau = fixed_point(n, W, m, retry_limit, stages)

    def updated(tau: Array, n: Array, W: Array) -> Array:
        return attempt_probability(collision_probability(tau, n), W, m, retry_limit, stages)

    _, explicit = jax.jvp(partial(updated, tau), (n, W), tangents[:2])
    _, slope = jax.jvp(lambda t: updated(t, n, W), (tau,), (jnp.ones_like(tau),))
    return tau, explicit / (1 - slope)


def stages_of(m: Any) -> int:
    """How many doublings to allow for: the largest m where it is known.

    Raises:
        ValueError: m is negative, or larger than 16.
    """
    if not is_concrete(m):
        return _MOST_STAGES
    values = np.asarray(m)
    if (values < 0).any() or (values > _MOST_STAGES).any():
        raise ValueError(f"m = {values.max() if values.min() >= 0 else values.min()}: stages 0 to {_MOST_STAGES} only")
    return int(values.max(initial=0))


def check_retries(retry_limit: int | None) -> None:
    if retry_limit is not None and retry_limit < 0:
        raise ValueError(f"retry_limit = {retry_limit}: 0 or more retries, or None for no limit")


def as_floats(*values: Any) -> list[Array]:
    """The arguments as arrays of one shape and one floating-point type."""
    arrays = [jnp.asarray(value) for value in values]
    dtype = jnp.result_type(float, *arrays)
    return list(jnp.broadcast_arrays(*(array.astype(dtype) for array in arrays)))


def idle_others(tau: Array) -> Array:
    """Probability that no other station attempts, for each station: product of 1 - tau_j over j != i."""
    factors = jnp.concatenate([jnp.ones_like(tau[:1]), 1 - tau])
    before = jnp.cumprod(factors)[:-1]
    after = jnp.cumprod(jnp.concatenate([factors[:1], factors[:0:-1]]))[:-1][::-1]
    return before * after


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def hetero_fixed_point(W: Array, m: Array, on: Array, retry_limit: int | None, stages: int) -> Array:
    """Damped iteration, then Newton. The map falls with a slope down to -4 at m = 10, so a quarter of it is taken."""

    def updated(tau: Array) -> Array:
        return on * attempt_probability(1 - idle_others(tau), W, m, retry_limit, stages)

    def newton(_: Array, tau: Array) -> Array:
        system = jnp.eye(len(tau), dtype=tau.dtype) - jax.jacfwd(updated)(tau)
        return jnp.clip(tau - jnp.linalg.solve(system, tau - updated(tau)), 0, on * top)

    top = 2 / (W + 1)
    tau = jax.lax.fori_loop(0, 60, lambda _, tau: 0.75 * tau + 0.25 * updated(tau), on * top)
    return jax.lax.fori_loop(0, 5, newton, tau)


@hetero_fixed_point.defjvp
def _hetero_fixed_point_jvp(
    retry_limit: int | None, stages: int, primals: tuple[Array, Array, Array], tangents: tuple[Any, Any, Any]
) -> tuple[Array, Array]:
    W, m, on = primals
    tau = hetero_fixed_point(W, m, on, retry_limit, stages)

    def updated(tau: Array, W: Array) -> Array:
        return on * attempt_probability(1 - idle_others(tau), W, m, retry_limit, stages)

    _, explicit = jax.jvp(partial(updated, tau), (W,), tangents[:1])
    system = jnp.eye(len(tau), dtype=tau.dtype) - jax.jacfwd(updated)(tau, W)
    return tau, jnp.linalg.solve(system, explicit)
