"""The conditional mean of the simulated process in closed form, and the error that no forecast can go below."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float

if TYPE_CHECKING:
    from offprint.mgrn.data._process import SimulatedPair

Arrays = np.ndarray | np.generic | Array
Numeric = float | int | np.ndarray | Array


def first_moment(phi: Numeric, q: float | int) -> Any:
    """V1 = E[w u^w] = phi (1-q)^(-3/2) exp(phi² / (2-2q)), for w ~ N(0, 1) and log u ~ N(phi, q), q < 1."""
    return phi * (1 - q) ** -1.5 * _exp(phi**2 / (2 - 2 * q))


def second_moment(phi: Numeric, q: float | int) -> Any:
    """V2 = E[w² u^w] = (1 + phi² - q) (1-q)^(-5/2) exp(phi² / (2-2q)), as in `first_moment`."""
    return (1 + phi**2 - q) * (1 - q) ** -2.5 * _exp(phi**2 / (2 - 2 * q))


def conditional_mean(
    predicted: Float[np.ndarray | Array, "*time 2 7"], variance: float | int, tail: float | int
) -> Float[Arrays, "*time"]:
    """E[100 y1 y2] where every parameter is known up to its last shock (paper, supplement).

    Args:
        predicted: one-step predictions of (alpha, log beta, log uM, log vM, log gamma, log u, log v) of both series.
        variance: of the shocks of the parameters.
        tail: A of the process.
    """
    alpha, log_beta, uM, vM, log_gamma, u, v = (predicted[..., index] for index in range(7))
    beta, gamma = _exp(log_beta + variance / 2), _exp(log_gamma + variance / 2)

    def mean_of_g(u: Any, v: Any) -> Any:
        return (first_moment(u, variance) - first_moment(v, variance)) / tail

    own = alpha + gamma * mean_of_g(u, v)
    market = beta * mean_of_g(uM, vM)
    u1, u2, v1, v2 = uM[..., 0], uM[..., 1], vM[..., 0], vM[..., 1]
    crossed = sum(second_moment(phi, 2 * variance) for phi in (u1 + u2, u1 - v2, u2 - v1, -v1 - v2))
    single = sum(second_moment(phi, variance) for phi in (u1, u2, -v1, -v2))
    mean_of_gg = crossed / tail**2 + single / tail + 1
    product = own[..., 0] * (own[..., 1] + market[..., 1]) + market[..., 0] * own[..., 1]
    return 100 * (product + beta[..., 0] * beta[..., 1] * mean_of_gg)


def theoretical_mse(simulated: "SimulatedPair", window: int = 5, part: slice | None = None) -> Float[Arrays, ""]:
    """Mean squared error of the conditional mean: the least that a forecast of 100 y1 y2 can reach.

    Args:
        simulated: the series.
        window: rows that a forecast is made from; window i ends at row i + window - 1.
        part: which windows to take the mean over, such as `published_split().test`; all by default.

    Raises:
        ValueError: a series that is not longer than the window, or a part without windows.
    """
    steps = simulated.series.shape[0]
    if window < 1 or steps <= window:
        raise ValueError(f"windows of {window} rows and a target behind them need more than {window} rows, got {steps}")
    errors = (simulated.target[window:] - simulated.conditional_mean[window - 1 : -1]) ** 2
    chosen = errors if part is None else errors[part]
    if not chosen.shape[0]:
        raise ValueError(f"{part} takes none of the {errors.shape[0]} windows")
    return chosen.mean()


def _exp(x: Any) -> Any:
    return x.__array_namespace__().exp(x) if hasattr(x, "__array_namespace__") else np.exp(x)
