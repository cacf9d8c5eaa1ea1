"""Sparse variational dropout: a Gaussian per weight, whose noise grows where the weight is not needed.

q(w) = N(θ, σ²) under the log-uniform prior; `α = σ² / θ²` is the dropout rate of the weight, and a weight with a large
α is noise and is removed (Molchanov, Ashukha, Vetrov 2017: `molchanov2017vd`).
"""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Floats = Float[Array | np.ndarray, "*shape"]
Number = float | int | Float[Array | np.ndarray, ""]

# The three constants of Eq. 14.
_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695
_LRT_EPS = 1e-8
_HALF_LOG2_GAMMA = (np.euler_gamma + np.log(2)) / 2  # -E log|ε| of a standard normal ε


def log_alpha_of(theta: Floats, log_sigma2: Floats, limit: float | int = 8.0) -> Float[Array, "*shape"]:
    """`log α = log σ² - log θ²`, clipped to ± `limit`.

    Finite with a finite gradient at θ = 0, where it is `limit`. The parameters are θ and log σ², whose gradients have
    a far smaller variance than those of θ and α (`molchanov2017vd`).
    """
    mean = jnp.asarray(theta)
    tiny = jnp.finfo(mean.dtype).tiny
    return jnp.clip(jnp.asarray(log_sigma2) - jnp.log(mean * mean + tiny), -limit, limit)


def kept_weights(theta: Floats, log_sigma2: Floats, threshold: float | int = 3.0) -> Bool[Array, "*shape"]:
    """The mask that evaluation uses: True where `log α < threshold` (3: a weight that is 95 % noise)."""
    return log_alpha_of(theta, log_sigma2, limit=float("inf")) < threshold


def local_reparameterisation(
    mean: Floats, variance: Floats, noise: Float[Array | np.ndarray, "*shape"]
) -> Float[Array, "*shape"]:
    """A draw of the pre-activation, `mean + sqrt(variance + 1e-8) noise`.

    With `mean = x @ θ` and `variance = x² @ σ²` this is the exact distribution of `x @ w`, at the cost of two products
    instead of one weight matrix per example (`kingma2015vd`, Eq. 6; the 1e-8 keeps the gradient finite where no input
    is active).
    """
    return jnp.asarray(mean) + jnp.sqrt(jnp.asarray(variance) + _LRT_EPS) * jnp.asarray(noise)


def kl_approx(log_alpha: Floats) -> Float[Array, "*shape"]:
    """KL divergence from the log-uniform prior, per weight, by the three constants of the paper (Eq. 14).

    `-[k₁ σ(k₂ + k₃ log α) - ½ log(1 + 1/α) - k₁]`, which tends to 0 as α grows. Off by up to 0.0094: see `kl_exact`.
    """
    la = jnp.asarray(log_alpha)
    # k₁ - k₁ σ(x) = k₁ σ(-x), without the cancellation for large α.
    return _K1 * jax.nn.sigmoid(-(_K2 + _K3 * la)) + jax.nn.softplus(-la) / 2


def kl_exact(log_alpha: Floats) -> Float[Array, "*shape"]:
    """The same divergence to rounding: `E log|μ + ε| - E log|ε|` with `μ² = 1/α` and ε standard normal.

    Since (μ + ε)² is noncentral chi-squared, this is `½ Σ_j Pois(j; μ²/2) [ψ(j + ½) - ψ(½)]`, a series of positive
    terms; where μ is large its asymptotic expansion takes over. Both have a fixed number of terms (about 50 in float32,
    125 in float64), so training with the exact divergence is affordable. The paper and the known codes have only the
    fit.
    """
    return _kl_exact(jnp.asarray(log_alpha))


@jax.custom_jvp
def _kl_exact(log_alpha: Array) -> Array:
    la = _wide(log_alpha)
    y, alpha, near, order = _split(la)
    small = jnp.exp(-y) * _nested(y, _HARMONIC[: order.poisson]) / 2
    tail = _horner(alpha, _ODD[: order.asymptotic] / (2 * np.arange(1, order.asymptotic + 1)))
    return jnp.where(near, small, _HALF_LOG2_GAMMA - la / 2 - tail).astype(log_alpha.dtype)


@_kl_exact.defjvp
def _kl_exact_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    (log_alpha,), (tangent,) = primals, tangents
    y, alpha, near, order = _split(_wide(log_alpha))
    small = y * jnp.exp(-y) * _nested(y, 1 / (np.arange(order.poisson) + 0.5))
    slope = jnp.where(near, small, 1 + _horner(alpha, _ODD[: order.asymptotic])) / -2
    return _kl_exact(log_alpha), slope.astype(tangent.dtype) * tangent


class _Order(NamedTuple):
    """Where the series of `kl_exact` hands over (y = 1 / 2α) and how many terms each needs; the error is e^-y."""

    switch: float
    poisson: int
    asymptotic: int


_ORDERS = {32: _Order(16.0, 44, 12), 64: _Order(36.0, 96, 30)}
_HARMONIC = np.cumsum(1 / (np.arange(100) - 0.5)) + 2  # ψ(j + ½) - ψ(½) for j = 0, 1, ...
_ODD = np.cumprod(2 * np.arange(1.0, 31) - 1)  # (2k - 1)!! for k = 1, 2, ...


def _wide(x: Array) -> Array:
    """At least float32: the series overflows a float16."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _split(la: Array) -> tuple[Array, Array, Array, _Order]:
    """y and α, each held within the range of its series, and which series counts."""
    order = _ORDERS[jnp.finfo(la.dtype).bits]
    y = jnp.exp(-la) / 2
    return jnp.minimum(y, order.switch), jnp.minimum(jnp.exp(la), 0.5 / order.switch), y < order.switch, order


def _nested(y: Array, coefficients: np.ndarray) -> Array:
    """Σ_j c_j y^j / j!, innermost term first: nothing under- or overflows."""
    total = jnp.full_like(y, coefficients[-1])
    for j in range(len(coefficients) - 1, 0, -1):
        total = coefficients[j - 1] + total * (y * (1 / j))
    return total


def _horner(x: Array, coefficients: np.ndarray) -> Array:
    """Σ_k c_k x^k for k = 1, 2, ..., by scaled steps as `_nested`."""
    total = jnp.zeros_like(x)
    for k in range(len(coefficients) - 1, 0, -1):
        total = (1 + total) * (x * (coefficients[k] / coefficients[k - 1]))
    return (1 + total) * (x * coefficients[0])


def variational_kl(
    theta: Floats, log_sigma2: Floats, *, exact: bool = False, limit: float | int = 8.0
) -> Float[Array, ""]:
    """The sum over weights of the KL divergence, at log α clipped to ± `limit`.

    Args:
        theta, log_sigma2: means and log variances of the weights.
        exact: `kl_exact` instead of the paper's `kl_approx`.
        limit: see `log_alpha_of`.
    """
    la = log_alpha_of(theta, log_sigma2, limit)
    return jnp.sum(kl_exact(la) if exact else kl_approx(la))


def variational_loss(
    cross_entropy: Number,
    kl: Number,
    num_data: int | None = None,
    kl_weight: Number | int = 1,
) -> Float[Array, ""]:
    """The negative evidence bound per example, `cross_entropy + kl_weight · kl / num_data`.

    It has the minimum of the paper's `N · CE + KL`, and values and gradients that do not grow with N.

    Args:
        cross_entropy: mean over the batch.
        kl: total over the weights.
        num_data: number of training examples N. Without it the KL counts N times too much, which prunes everything:
            a warning says so.
        kl_weight: the warm-up, such as `kl_ramp(step, ...)`.

    Raises:
        ValueError: `num_data` below 1.
    """
    if num_data is None:
        warnings.warn(
            "variational_loss without num_data adds the KL of the weights unscaled to a mean over examples; "
            "give num_data, the number of training examples, to divide it by",
            UserWarning,
            stacklevel=2,
        )
    elif num_data < 1:
        raise ValueError(f"num_data={num_data}: the number of training examples is needed, at least 1")
    return jnp.asarray(cross_entropy) + kl_weight * jnp.asarray(kl) / (num_data or 1)


def kl_ramp(step: Int[Array | np.ndarray, ""] | Number | int, begin: float | int, end: float | int) -> Float[Array, ""]:
    """The weight of the KL at a step: 0 until `begin`, then linear up to 1 at `end`.

    Starting with the full KL prunes weights before they have learnt anything (authors' code of `molchanov2017vd`).

    Raises:
        ValueError: an end that is not after the beginning.
    """
    if not end > begin:
        raise ValueError(f"begin={begin}, end={end}: the ramp must end after it begins")
    return jnp.clip((jnp.asarray(step) - begin) / (end - begin), 0.0, 1.0)
