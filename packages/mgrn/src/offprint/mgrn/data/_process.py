"""The bivariate heavy-tailed process of the simulation study (paper, supplement; Yan, Wu and Zhang, NeurIPS 2019)."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.mgrn.data._minimum import conditional_mean

AR_COEFFICIENTS = (0.9, -0.8, 0.7, -0.6, 0.5)
"""Of p(t-1), ..., p(t-5), for every parameter."""
NOISE_VARIANCE = 0.01
"""Of the shocks of every parameter."""
TAIL = 4.0
"""A in g(w; u, v) = w (u^w / A + v^(-w) / A + 1)."""

PARAMETERS = ("alpha", "beta", "uM", "vM", "gamma", "u", "v")
COLUMNS = ("y1", "y2", *(f"{name}{series}" for series in (1, 2) for name in PARAMETERS))
"""Columns of a simulated series: the two observations, then the parameters of each, as levels."""

# alpha, beta, uM, vM, gamma, u, v, fitted to the returns of: AAPL BA CAT CVX DIS, DWDP IBM INTC JNJ (unnamed), KO MMM
# NKE PG WMT.
_FITTED = (
    (0.0256, 0.3295, 1.0, 1.7909, 0.6071, 2.0504, 1.6992),
    (-0.0223, 0.3276, 1.8424, 1.8344, 0.6043, 1.7252, 1.494),
    (0.0653, 0.3882, 1.0, 1.9623, 0.5947, 1.9417, 1.663),
    (0.0368, 0.3322, 1.0, 1.9017, 0.5898, 1.7723, 1.5853),
    (0.0075, 0.3557, 1.6818, 2.0383, 0.5651, 1.9214, 1.6551),
    (-0.0231, 0.3644, 1.7973, 1.8581, 0.5576, 1.934, 1.6005),
    (0.0686, 0.433, 1.0, 1.9335, 0.5216, 2.0673, 1.8113),
    (0.041, 0.424, 1.0, 1.6414, 0.5443, 1.7529, 1.5982),
    (-0.0091, 0.343, 1.8771, 2.0107, 0.573, 2.1325, 1.7065),
    (0.0581, 0.407, 1.0, 2.0084, 0.5393, 1.9392, 1.6606),
    (0.0219, 0.3828, 1.4783, 1.9378, 0.5759, 1.999, 1.6679),
    (0.0037, 0.4023, 1.8597, 1.933, 0.5658, 1.9396, 1.7124),
    (-0.0083, 0.3627, 2.438, 1.946, 0.7101, 3.1765, 2.6941),
    (0.0335, 0.3829, 1.375, 1.9521, 0.5998, 2.0163, 1.7129),
    (-0.0237, 0.3769, 1.8415, 1.6061, 0.5488, 1.8287, 1.6256),
)
STOCKS = len(_FITTED)
PAIRS = ((7, 11), (2, 3), (6, 9), (4, 14), (7, 9), (13, 15), (2, 14), (8, 11), (1, 13), (12, 5))
"""Stocks, counted from 1, of the ten published pairs."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SimulatedPair:
    """A simulated series with what the best possible forecast says.

    `series` has shape (time, 16), see `columns`; entry t of `conditional_mean`, shape (time,), is
    E[100 y1(t+1) y2(t+1) | everything up to t]. Under `jax.vmap` both have the batch axes in front.
    """

    series: Float[Array | np.ndarray, "*batch time columns"]
    conditional_mean: Float[Array | np.ndarray, "*batch time"]
    columns: tuple[str, ...] = field(default=COLUMNS, metadata={"static": True})

    @property
    def target(self) -> Float[Array | np.ndarray, "*batch time"]:
        """What is forecast: 100 y1(t) y2(t)."""
        return 100 * self.series[..., 0] * self.series[..., 1]


def constants(first: int, second: int) -> Float[np.ndarray, "series parameters"]:
    """Unconditional levels of the parameters (alpha, beta, uM, vM, gamma, u, v) of two stocks, float64 of shape (2, 7).

    Args:
        first, second: stocks, counted from 1 to 15, in the order of the paper's table.

    Raises:
        ValueError: a number outside 1 to 15.
    """
    for stock in (first, second):
        if not 1 <= stock <= STOCKS:
            raise ValueError(f"stocks are numbered from 1 to {STOCKS}, got {stock}")
    levels = np.array([_FITTED[first - 1], _FITTED[second - 1]])
    levels[:, [1, 4]] /= 10  # the study takes beta and gamma a tenth of what was fitted
    return levels


def pair_constants(pair: int) -> Float[np.ndarray, "series parameters"]:
    """The `constants` of published pair 1 to 10.

    Raises:
        ValueError: another number.
    """
    if not 1 <= pair <= len(PAIRS):
        raise ValueError(f"the published pairs are numbered from 1 to {len(PAIRS)}, got {pair}")
    return constants(*PAIRS[pair - 1])


def simulate(
    key: PRNGKeyArray,
    pair: int | Float[np.ndarray | Array, "series parameters"],
    length: int,
    burn_in: int = 100,
    *,
    dtype: DTypeLike | None = None,
) -> SimulatedPair:
    """A series of the process, drawn with JAX's generator. Works under jit and vmap (over keys or constants).

    Args:
        key: a typed key.
        pair: number of a published pair, 1 to 10, or levels of shape (2, 7) as `constants` gives them; all but alpha
            positive.
        length: steps kept.
        burn_in: first steps dropped; before them, every parameter is at its unconditional mean.
        dtype: of the arrays; JAX's default float where not given.

    Raises:
        ValueError: an unknown pair, levels of another shape or not positive, length < 1 or burn_in < 0.
    """
    levels = pair_constants(pair) if isinstance(pair, int) else pair
    _check(levels, length, burn_in)
    return _simulate(key, jnp.asarray(levels, dtype or jnp.result_type(float)), length, burn_in)


def _check(levels: Any, length: int, burn_in: int) -> None:
    if levels.shape != (2, len(PARAMETERS)):
        raise ValueError(f"constants need shape (2, {len(PARAMETERS)}): {', '.join(PARAMETERS)}; got {levels.shape}")
    if length < 1 or burn_in < 0:
        raise ValueError(f"simulate needs length >= 1 and burn_in >= 0, got length={length}, burn_in={burn_in}")
    if isinstance(levels, jax.core.Tracer):
        return
    values = np.asarray(levels)
    if not np.isfinite(values).all() or (values[:, 1:] <= 0).any():
        raise ValueError(f"constants must be finite, and all but alpha positive, got {values.tolist()}")


@partial(jax.jit, static_argnums=(2, 3))
def _simulate(key: PRNGKeyArray, levels: Array, length: int, burn_in: int) -> SimulatedPair:
    to_shocks, to_w = jax.random.split(key)
    steps, mean = length + burn_in, log_levels(levels)
    scale = NOISE_VARIANCE**0.5
    shocks = scale * jax.random.normal(to_shocks, (steps, *levels.shape), levels.dtype)
    coefficients = jnp.asarray(AR_COEFFICIENTS, levels.dtype)

    def advance(past: Array, shock: Array) -> tuple[Array, Array]:
        present = jnp.tensordot(coefficients, past, 1) + shock
        return jnp.concatenate([present[None], past[:-1]]), present

    before = jnp.zeros((len(AR_COEFFICIENTS), *levels.shape), levels.dtype)
    _, deviations = jax.lax.scan(advance, before, shocks, unroll=8)
    w = jax.random.normal(to_w, (3, steps), levels.dtype)
    return assemble(deviations, mean, w[0], w[1:].T, burn_in)


def log_levels(levels: Any) -> Any:
    """Means of the AR processes: of alpha itself, and of the logarithms of the others."""
    xp = levels.__array_namespace__()
    return xp.concatenate([levels[..., :1], xp.log(levels[..., 1:])], axis=-1)


def assemble(deviations: Any, mean: Any, w_market: Any, w_own: Any, burn_in: int) -> SimulatedPair:
    """The series and its conditional mean from the AR processes and the shocks w, in NumPy or JAX.

    Args:
        deviations: of the parameters from their means, shape (time, 2, 7).
        mean: those means, shape (2, 7).
        w_market, w_own: w_M of shape (time,), and w_1 and w_2 of shape (time, 2).
        burn_in: first steps dropped.
    """
    xp = deviations.__array_namespace__()
    logs = mean + deviations
    alpha, log_beta, log_uM, log_vM, log_gamma, log_u, log_v = xp.moveaxis(logs, -1, 0)
    market = xp.exp(log_beta) * _heavy_tail(xp, w_market[:, None], log_uM, log_vM)
    own = xp.exp(log_gamma) * _heavy_tail(xp, w_own, log_u, log_v)
    observed = alpha + market + own
    parameters = xp.concatenate([logs[..., :1], xp.exp(logs[..., 1:])], axis=-1).reshape(len(logs), -1)
    series = xp.concatenate([observed, parameters], axis=1)
    expected: Any = conditional_mean(mean + _predicted_deviations(xp, deviations), NOISE_VARIANCE, TAIL)
    return SimulatedPair(series[burn_in:], expected[burn_in:])


def _heavy_tail(xp: Any, w: Any, log_u: Any, log_v: Any) -> Any:
    return w * (xp.exp(w * log_u) / TAIL + xp.exp(-w * log_v) / TAIL + 1)


def _predicted_deviations(xp: Any, deviations: Any) -> Any:
    """Entry t: the AR prediction of t+1 from t, t-1, ...; before the first step all deviations are 0."""
    order, steps = len(AR_COEFFICIENTS), len(deviations)
    before = xp.zeros((order - 1, *deviations.shape[1:]), dtype=deviations.dtype)
    padded = xp.concatenate([before, deviations])
    return sum(c * padded[order - 1 - lag : order - 1 - lag + steps] for lag, c in enumerate(AR_COEFFICIENTS))
