"""Whether what a memory capacity assumes holds for given data: fading memory, stationarity, white input."""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._simulate import Activation, simulate


class Hypotheses(NamedTuple):
    """p-values of three tests; a small one speaks against the hypothesis."""

    white_input: float
    """Of no autocorrelation of the input (Ljung and Box 1978)."""
    zero_mean: float
    """Of an input of mean zero. Estimators centre the input; simulated theory assumes it."""
    stationary: float
    """Of no trend in the mean and the variance of any neuron, over 20 batches of time (Bonferroni)."""


def check_hypotheses(
    states: ArrayLike, inputs: ArrayLike, *, n_lags: int = 20, level: float = 1e-6, warn: bool = True
) -> Hypotheses:
    """Tests what the capacities assume about states (T, N) and inputs (T,), and warns where it fails.

    `n_lags` is the number of autocorrelations tested, `level` the p-value below which a warning is given
    (not for the mean, which the estimators remove). Values have to be concrete. An autocorrelated input is
    no error: the capacities then measure the input's own predictability too, may exceed N, and
    `dependent_memory` gives the theory.
    """
    X, z = arguments.samples(states, inputs)
    values = np.asarray(z, np.float64)
    result = Hypotheses(_ljung_box(values, n_lags), _mean_is_zero(values), _no_trend(np.asarray(X, np.float64)))
    if warn and result.white_input < level:
        warnings.warn(
            f"inputs are autocorrelated (Ljung-Box p = {result.white_input:.1e} over {n_lags} lags): lags are "
            "not independent targets and the total may exceed the number of neurons. "
            "See dependent_memory for the theory with such inputs.",
            MeaningWarning,
            stacklevel=3,
        )
    if warn and result.stationary < level:
        warnings.warn(
            f"the states drift (p = {result.stationary:.1e} for no trend in their means and variances): "
            "drop a longer washout, or cut the series to a stationary part.",
            MeaningWarning,
            stacklevel=3,
        )
    return result


def echo_state_distances(
    A: ArrayLike,
    C: ArrayLike,
    z: ArrayLike,
    *,
    key: PRNGKeyArray,
    n_states: int = 4,
    spread: float = 1.0,
    activation: Activation = "tanh",
    leak: float = 1.0,
    bias: ArrayLike | None = None,
) -> Float[Array, "time"]:
    """How far apart runs with the same input but different first states are, over time: (T,).

    The largest Euclidean distance between `n_states` runs that start from normal states of standard
    deviation `spread`. It falls to rounding level where the network has the echo state property under this
    input, which a memory capacity presupposes.
    """
    A, C = arguments.network(A, C)
    starts = spread * jax.random.normal(key, (arguments.count("n_states", n_states, 2), A.shape[0]), A.dtype)
    runs = jnp.stack(
        [simulate(A, C, z, activation=activation, leak=leak, bias=bias, x0=start, washout=0) for start in starts]
    )
    return jnp.linalg.norm(runs[:, None] - runs[None], axis=-1).max(axis=(0, 1))


def _ljung_box(z: np.ndarray, n_lags: int) -> float:
    T = z.size
    n_lags = min(n_lags, T // 5)
    if n_lags < 1:
        return 1.0
    z = z - z.mean()
    correlation = np.array([z[k:] @ z[: T - k] for k in range(1, n_lags + 1)]) / (z @ z)
    statistic = T * (T + 2) * np.sum(correlation**2 / (T - np.arange(1, n_lags + 1)))
    return float(scipy.stats.chi2.sf(statistic, n_lags))


def _mean_is_zero(z: np.ndarray) -> float:
    return float(2 * scipy.stats.norm.sf(abs(z.mean()) / (z.std() / np.sqrt(z.size))))


def _no_trend(X: np.ndarray, n_batches: int = 20) -> float:
    """Least p-value, times the number of tests, of a linear trend in batch means and batch variances.

    Batches longer than the memory are nearly independent, so that their own scatter is the yardstick.
    """
    length = X.shape[0] // n_batches
    if length < 2 or not X.shape[1]:
        return 1.0
    batches = X[: length * n_batches].reshape(n_batches, length, -1)
    series = np.concatenate([batches.mean(axis=1), batches.var(axis=1)], axis=1)
    series = series - series.mean(axis=0)
    time = np.arange(n_batches) - (n_batches - 1) / 2
    spread = np.sqrt(np.sum(series**2, axis=0)) * np.sqrt(time @ time)
    # Constant neurons have no trend; rounding of theirs would look like one.
    moves = spread > 1e-12 * np.abs(X).max() * np.sqrt(time @ time)
    r = np.clip(time @ series[:, moves] / spread[moves], -1, 1)
    t = np.abs(r) * np.sqrt((n_batches - 2) / np.maximum(1 - r**2, 1e-300))
    p = 2 * scipy.stats.t.sf(t, n_batches - 2)
    return float(min(1.0, p.min(initial=1.0) * max(1, p.size)))
