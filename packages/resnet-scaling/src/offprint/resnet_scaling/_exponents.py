"""Exponents: slopes of straight lines through log values against log L, with intervals over depths and seeds."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from offprint.resnet_scaling._arguments import Depths, Values, checked_depths

METHODS = ("ols", "theil-sen", "huber")
HUBER_TUNING = 1.345
"""Residuals beyond this many standard deviations count less: 95 % efficiency for normal errors."""


@dataclass(frozen=True)
class Fit:
    """The line log(value) = intercept + slope · log(L)."""

    slope: float
    intercept: float
    se: float
    """Standard error of the slope: the formula of least squares, for robust methods the deviation of the bootstrap."""
    ci: tuple[float, float]
    """Interval of the slope: percentiles of the bootstrap; NaN without one."""
    local_slopes: Float[np.ndarray, " steps"]
    """(n - 1,): between neighbouring depths; a power law has the same everywhere."""
    depths: Int[np.ndarray, " depths"]
    """(n,): that were used."""
    values: Float[np.ndarray, " depths"]
    """(n,): fitted, medians over seeds."""
    resampled: Float[np.ndarray, " resamples"]
    """Slopes of the bootstrap."""
    method: str

    def __str__(self) -> str:
        return f"{self.slope:+.3f} ± {self.se:.3f} [{self.ci[0]:+.3f}, {self.ci[1]:+.3f}]"

    def predict(self, depths: Depths) -> Float[np.ndarray, " at"]:
        """Values of the line."""
        return np.exp(self.intercept) * np.asarray(depths, float) ** self.slope

    def p_value(self, slope: float | int) -> float:
        """Of the hypothesis that the true slope is this one: two-sided t test with n - 2 degrees of freedom.

        A score rather than a probability: deviations of neighbouring depths are neither independent nor normal.
        """
        if self.se == 0:
            return float(self.slope == slope)
        return float(2 * stats.t.sf(abs(self.slope - slope) / self.se, len(self.depths) - 2))


def fit_exponent(
    depths: Depths,
    values: Values,
    *,
    method: str = "ols",
    offset: int = 0,
    n_boot: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    name: str = "value",
) -> Fit:
    """The exponent of a power law value ~ L^slope.

    Args:
        depths: (n,): strictly increasing, n at least 3 after `offset`.
        values: (n,), or (n, seeds); the line goes through the medians of the seeds. NaN marks a seed that is missing.
        method: "ols", ordinary least squares of log value on log L over all depths, as in the paper; "theil-sen", the
            median of the slopes of all pairs; "huber", least squares that counts outlying depths less.
        offset: leave out this many of the smallest depths.
        n_boot: resamples of the depths, and of the seeds at each, for the interval; 0 for none.
        confidence: of the interval.
        seed: of the bootstrap.
        name: what the values are, for messages.

    Raises:
        ValueError: depths that are not positive or not strictly increasing, fewer than 3 of them, values that are zero,
            negative or missing for a whole depth (with name and depth), an unknown method.
    """
    L = checked_depths(depths)
    if method not in METHODS:
        raise ValueError(f"method={method!r} is unknown; one of {', '.join(map(repr, METHODS))} is needed")
    if not 0 <= offset <= len(L) - 3:
        raise ValueError(f"offset={offset} leaves {len(L) - offset} of {len(L)} depths; at least 3 are needed")
    if n_boot < 0 or not 0 < confidence < 1:
        raise ValueError(f"n_boot={n_boot} and confidence={confidence}; at least 0, and between 0 and 1, are needed")
    logs = _log_values(L, values, name)[offset:]
    L = L[offset:]
    x, y = np.log(L), np.nanmedian(logs, axis=1)
    (slope,), (intercept,) = _lines(x[None], y[None], method)
    resampled = _bootstrap(x, logs, method, n_boot, seed)
    if resampled.size:
        low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    else:
        low = high = math.nan
    if method == "ols":
        se = math.sqrt(np.sum((y - intercept - slope * x) ** 2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    else:
        se = float(np.std(resampled, ddof=1)) if resampled.size > 1 else math.nan
    return Fit(
        slope=float(slope),
        intercept=float(intercept),
        se=se,
        ci=(float(low), float(high)),
        local_slopes=np.diff(y) / np.diff(x),
        depths=L,
        values=np.exp(y),
        resampled=resampled,
        method=method,
    )


def _log_values(L: Int[np.ndarray, " depths"], values: Values, name: str) -> Float[np.ndarray, "depths seeds"]:
    table = np.asarray(values, float)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[0] != len(L) or table.shape[1] == 0:
        raise ValueError(f"{name} has shape {np.shape(values)}; ({len(L)},) or ({len(L)}, seeds) is needed")
    bad = (table <= 0) | np.isinf(table) | np.isnan(table).all(axis=1, keepdims=True)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} is {table[row, column]:g} at depth {L[row]}, which has no logarithm; positive numbers are needed"
        )
    return np.log(table)


def _bootstrap(
    x: Float[np.ndarray, " depths"], logs: Float[np.ndarray, "depths seeds"], method: str, n_boot: int, seed: int
) -> Float[np.ndarray, " resamples"]:
    """Slopes of resampled depths, each with resampled seeds. Draws of a single depth have no slope and are left out."""
    if n_boot == 0:
        return np.zeros(0)
    rng = np.random.default_rng(seed)
    n, seeds = logs.shape
    rows = rng.integers(n, size=(n_boot, n))
    rows = rows[(rows != rows[:, :1]).any(axis=1)]
    filled = np.where(np.isnan(logs), np.nanmedian(logs, axis=1, keepdims=True), logs)
    y = np.median(filled[rows[:, :, None], rng.integers(seeds, size=(*rows.shape, seeds))], axis=2)
    return _lines(x[rows], y, method)[0]


def _lines(
    x: Float[np.ndarray, "lines points"], y: Float[np.ndarray, "lines points"], method: str
) -> tuple[Float[np.ndarray, " lines"], Float[np.ndarray, " lines"]]:
    """Slopes and intercepts of many lines at once, for the bootstrap."""
    if method == "theil-sen":
        first, second = np.triu_indices(x.shape[1], 1)
        run = x[:, second] - x[:, first]
        rise = y[:, second] - y[:, first]
        with np.errstate(invalid="ignore", divide="ignore"):  # a depth that was drawn twice makes no slope with itself
            slope = np.nanmedian(np.where(run == 0, np.nan, rise / run), axis=1)
        return slope, np.median(y, axis=1) - slope * np.median(x, axis=1)
    weight = np.ones_like(y)
    slope, intercept = _weighted_lines(x, y, weight)
    if method == "huber":
        for _ in range(50):
            residual = np.abs(y - intercept[:, None] - slope[:, None] * x)
            scale = np.median(residual, axis=1, keepdims=True) / stats.norm.ppf(0.75)
            cut = HUBER_TUNING * np.maximum(scale, 1e-12)
            weight = np.minimum(1, cut / np.maximum(residual, 1e-300))
            slope, intercept = _weighted_lines(x, y, weight)
    return slope, intercept


def _weighted_lines(
    x: Float[np.ndarray, "lines points"],
    y: Float[np.ndarray, "lines points"],
    weight: Float[np.ndarray, "lines points"],
) -> tuple[Float[np.ndarray, " lines"], Float[np.ndarray, " lines"]]:
    share = weight / weight.sum(axis=1, keepdims=True)
    mean_x, mean_y = np.sum(share * x, axis=1), np.sum(share * y, axis=1)
    dx = x - mean_x[:, None]
    slope = np.sum(share * dx * y, axis=1) / np.sum(share * dx**2, axis=1)
    return slope, mean_y - slope * mean_x
