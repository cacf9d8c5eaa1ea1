"""Memory of a nonlinear network as a function of the scale of its input.

Ballarin, Grigoryeva and Ortega, "Memory capacity of nonlinear recurrent networks: Is it informative?",
2025: the memory capacity of one network moves between 1 and N with the input scale alone. A small input
sees the linearised network; a large one saturates the neurons, whose states are then signs.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._empirical import EmpiricalCurve, Estimator, empirical_memory_curve
from offprint.memory_capacity._samples import orthonormal_basis
from offprint.memory_capacity._simulate import Activation, simulate


def memory_vs_input_scale(
    A: ArrayLike,
    C: ArrayLike,
    sigmas: ArrayLike,
    inputs: ArrayLike,
    activation: Activation = "tanh",
    *,
    n_lags: int | None = None,
    leak: float | int = 1.0,
    bias: ArrayLike | None = None,
    washout: int = 100,
    estimator: Estimator = "adjusted",
    normalise: Literal["variance", "unit"] | str = "variance",
    rank_tol: float | None = None,
    null: Literal["beta"] | str | None = None,
) -> EmpiricalCurve:
    """Memory curves of x_t = f(A x_{t-1} + sigma C z_t + bias) for each input scale sigma.

    Arguments: `A` (N, N), `C` (N,), `sigmas` (S,) positive, `inputs` z (T,); `n_lags` from 0 on, default
    2N; `washout`: first states dropped, which are history for the targets and so at least n_lags - 1.
    All scales run side by side (`jax.vmap`). `null=None` sums all lags.

    `normalise="variance"` divides by the variance of the target, as a capacity has to. "unit" gives 1 - mean
    squared residual of the in-sample fit, as the script of the 2025 paper does, whose lag k is fitted to the
    samples from `washout + k` on, with history only from `washout` on. That is a capacity only for an input
    of variance 1, such as random signs, and is negative for others. It is not clipped at N here.

    Returns an `EmpiricalCurve` whose arrays have a leading axis of the scales. States are divided by
    min(sigma, 1) before the regression, which changes nothing but the rounding. Raises `ValueError` as
    `simulate` and `empirical_memory_curve` do, and for a sigma that is not positive.
    """
    A, C = arguments.network(A, C)
    if C.shape[1] != 1:
        raise ValueError(f"C has shape {C.shape}; one input channel is needed here.")
    scales, z = jnp.atleast_1d(arguments.real_array("sigmas", sigmas)), arguments.drive(inputs, 1)[:, 0]
    if scales.ndim != 1 or (arguments.is_concrete(scales) and not (np.asarray(scales) > 0).all()):
        raise ValueError(f"sigmas of shape {scales.shape} has to be a vector of positive input scales.")
    arguments.one_of("normalise", normalise, ("variance", "unit"))
    if normalise == "unit" and (estimator not in ("insample", "adjusted") or null is not None):
        raise ValueError("normalise='unit' is the script's in-sample fit: no other estimator, and null=None.")
    n_lags = 2 * A.shape[0] if n_lags is None else arguments.count("n_lags", n_lags)
    if normalise == "unit":
        _check_script_window(z.shape[0], washout, n_lags, A.shape[0])

    def at_scale(sigma: Float[Array, ""]) -> EmpiricalCurve:
        X = simulate(A, sigma * C, z, activation=activation, leak=leak, bias=bias, washout=0)
        X = X / jnp.minimum(sigma, 1)
        if normalise == "unit":
            return _script_curve(X[washout:], z[washout:], n_lags, rank_tol)
        return empirical_memory_curve(X, z, n_lags, estimator=estimator, null=null, washout=washout, rank_tol=rank_tol)

    return jax.vmap(at_scale)(scales.astype(A.dtype))


def _script_curve(X: Float[Array, "T N"], z: Float[Array, "T"], n_lags: int, rank_tol: float | None) -> EmpiricalCurve:
    """1 - mean squared residual of z_{t-k} on (1, x_t), with a regression of its own for each lag, t >= k."""
    n_samples = X.shape[0]
    regressors = jnp.concatenate([jnp.ones((n_samples, 1), X.dtype), X], axis=1)

    def at_lag(lag: Array) -> tuple[Array, Array, Array]:
        there = jnp.arange(n_samples) >= lag
        basis = orthonormal_basis(regressors * there[:, None], "svd", rank_tol, centre=False)
        y = jnp.where(there, jnp.roll(z, lag), 0)
        fitted = jnp.matmul(basis.columns.T, y, precision=jax.lax.Precision.HIGHEST)
        residual = jnp.sum(y**2) - jnp.sum(fitted**2)
        return 1 - residual / jnp.sum(there), basis.rank, basis.scales[0] / basis.scales[-1]

    lags = jnp.arange(n_lags)
    values, ranks, conditions = jax.lax.map(at_lag, lags)
    # The constant is one of the regressors, and no direction of the centred states.
    rank = ranks[0] - 1
    return EmpiricalCurve(
        values=values,
        lags=lags,
        total=values.sum(),
        se=jnp.asarray(jnp.nan, values.dtype),
        floor=(rank / (n_samples - 1)).astype(values.dtype),
        threshold=jnp.asarray(-jnp.inf, values.dtype),
        significant=jnp.ones(n_lags, bool),
        rank=rank,
        n_samples=jnp.asarray(n_samples),
        condition=conditions[0],
    )


def _check_script_window(n_samples: int, washout: int, n_lags: int, n_neurons: int) -> None:
    washout = arguments.count("washout", washout, least=0)
    if n_samples - washout - n_lags <= n_neurons + 1:
        raise ValueError(
            f"{n_samples} inputs less washout={washout} and n_lags={n_lags} leave "
            f"{n_samples - washout - n_lags} samples for {n_neurons} neurons; more samples are needed."
        )


def script_input_scales(A: ArrayLike, C: ArrayLike, n_scales: int = 17) -> Float[Array, "scales"]:
    """The input scales of the 2025 paper's script, log-spaced from linear behaviour to saturation.

    From 0.4 (1 - s)/max|C|, with s the largest singular value of A (below 1), to (4 + N max|A|)/min|C|, where
    min is over the non-zero entries.
    """
    A, C = arguments.network(A, C)
    gain = float(np.linalg.norm(np.asarray(A), 2))
    if gain >= 1:
        raise ValueError(f"A has largest singular value {gain:g}; below 1 is needed. Scale it: sigma_max=0.95.")
    weights = np.abs(np.asarray(C))
    weights = weights[weights > 0]
    if not weights.size:
        raise ValueError("C is zero: no input reaches the network at any scale.")
    low = 0.4 * (1 - gain) / weights.max()
    high = (4 + A.shape[0] * float(np.abs(np.asarray(A)).max())) / weights.min()
    return jnp.asarray(np.geomspace(low, high, arguments.count("n_scales", n_scales)), A.dtype)
