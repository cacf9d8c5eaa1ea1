"""Figures of merit of a vector of throughputs, and of how it came about. All but `cdf` work under jit and vmap.

The last axis is that of the BSSs; leading axes (seeds, deployments, steps) are kept.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

TINY = 1e-9
"""Mb/s that stand for nothing at all where a logarithm is taken."""

Values = Shaped[Array | np.ndarray, "*batch bss"]


def jain(x: Values) -> Float[Array, "*batch"]:
    """Jain's fairness index (Σx)² / (B Σx²), between 1/B and 1; 1 where all are zero."""
    x = jnp.asarray(x, float)
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    x = x / jnp.where(largest > 0, largest, 1)  # squares of tiny rates would vanish in float32
    square = x.shape[-1] * jnp.sum(x**2, axis=-1)
    return jnp.where(square > 0, jnp.sum(x, axis=-1) ** 2 / jnp.where(square > 0, square, 1), 1)


def proportional_fairness(x: Values) -> Float[Array, "*batch"]:
    """Σ log max(x, 1e-9), natural logarithm of Mb/s."""
    return jnp.sum(jnp.log(jnp.maximum(jnp.asarray(x, float), TINY)), axis=-1)


def geometric_mean(x: Values) -> Float[Array, "*batch"]:
    """exp of the mean of log max(x, 1e-9)."""
    return jnp.exp(proportional_fairness(x) / x.shape[-1])


def satisfaction(
    x: Values, demand: Shaped[Array | np.ndarray, "*batch bss"] | float | int
) -> Float[Array, "*batch bss"]:
    """min(1, x / demand); 1 where nothing is demanded."""
    demand = jnp.asarray(demand, float)
    return jnp.where(demand > 0, jnp.minimum(1, x / jnp.where(demand > 0, demand, 1)), 1)


def satisfied_fraction(
    x: Values, demand: Shaped[Array | np.ndarray, "*batch bss"] | float | int
) -> Float[Array, "*batch"]:
    """Share of the BSSs that get what they demand."""
    return jnp.mean(jnp.asarray(x) >= jnp.asarray(demand), axis=-1, dtype=jnp.result_type(float))


def cdf(x: Shaped[Array | np.ndarray, "..."]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Empirical distribution of all entries: sorted values, and the share of the entries up to each."""
    ordered = jnp.sort(jnp.ravel(jnp.asarray(x, float)))
    return ordered, jnp.arange(1, ordered.size + 1) / ordered.size


def quantiles(x: Shaped[Array | np.ndarray, "..."], q: Shaped[Array | np.ndarray, " q"]) -> Float[Array, " q"]:
    """Quantiles of all entries, interpolated linearly; q in [0, 1]."""
    return jnp.quantile(jnp.ravel(jnp.asarray(x, float)), jnp.asarray(q, float))


def moving_mean(curve: Shaped[Array | np.ndarray, "*batch time"], window: int) -> Float[Array, "*batch time"]:
    """Mean of the last `window` entries, of those that there are at the beginning."""
    total = jnp.cumsum(jnp.asarray(curve, float), axis=-1)
    steps = jnp.arange(1, total.shape[-1] + 1)
    before = jnp.where(steps > window, jnp.roll(total, window, axis=-1), 0)
    return (total - before) / jnp.minimum(steps, window)


def convergence_step(
    curve: Shaped[Array | np.ndarray, "*batch time"], window: int = 100, level: float | int = 0.9
) -> Int[Array, "*batch"]:
    """First entry from which on the moving mean stays at `level` of its final value or above.

    Args:
        curve: minimum rate by step; or by blocks of steps (`History.curve_min`), with the window in blocks as well.
        window: length of the moving mean.
        level: share of the final value.
    """
    smooth = moving_mean(curve, window)
    below = smooth < level * smooth[..., -1:]
    last = jnp.where(below, jnp.arange(1, below.shape[-1] + 1), 0)
    return jnp.max(last, axis=-1).astype(jnp.int32)


def ratio_to(x: Values, optimum: Shaped[Array | np.ndarray, "*batch"] | float | int) -> Float[Array, "*batch"]:
    """Minimum over the BSSs as a share of the optimum."""
    return jnp.min(jnp.asarray(x, float), axis=-1) / jnp.asarray(optimum, float)


def switch_rate(actions: Int[Array | np.ndarray, "time *batch"]) -> Float[Array, ""]:
    """Share of the steps in which an action differs from the one before."""
    actions = jnp.asarray(actions)
    changed: Bool[Array, "..."] = actions[1:] != actions[:-1]
    return jnp.mean(changed, dtype=jnp.result_type(float))
