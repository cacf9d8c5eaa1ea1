"""The inputs that the method is evaluated on, and their autocovariances.

All of them are synthetic: the papers use no data set, so there is nothing to download. Every input is a pure
function of a typed key and has mean zero.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.memory_capacity import _arguments as arguments
from offprint.memory_capacity._simulate import simulate

Number = float | int
Autocovariance = Callable[[ArrayLike], Array]


def gaussian(
    key: PRNGKeyArray, T: int, *, variance: Number = 1.0, dtype: DTypeLike | None = None
) -> Float[Array, "time"]:
    """White Gaussian input (T,) of that variance: the input of the paper's linear experiments."""
    std = float(np.sqrt(_positive("variance", variance)))
    return std * jax.random.normal(key, (arguments.count("T", T),), _float(dtype))


def rademacher(key: PRNGKeyArray, T: int, *, dtype: DTypeLike | None = None) -> Float[Array, "time"]:
    """Random signs (T,), variance 1: the input of the 2025 paper's nonlinear experiments."""
    return jax.random.rademacher(key, (arguments.count("T", T),), _float(dtype))


def uniform(
    key: PRNGKeyArray, T: int, *, half_width: Number = 1.0, dtype: DTypeLike | None = None
) -> Float[Array, "time"]:
    """Uniform on (-half_width, half_width), shape (T,), variance half_width²/3.

    With half_width 1 it is the law of the Legendre polynomials, the usual input for information processing capacity
    (Dambre et al. 2012).
    """
    width = float(_positive("half_width", half_width))
    return jax.random.uniform(key, (arguments.count("T", T),), _float(dtype), minval=-width, maxval=width)


def ar1(
    key: PRNGKeyArray, T: int, phi: Number | Float[Array, ""], *, noise: Number = 1.0, dtype: DTypeLike | None = None
) -> Float[Array, "time"]:
    """Autoregressive input z_t = phi z_{t-1} + noise e_t, with e_t standard normal; shape (T,).

    The sample before the first is drawn from the stationary law N(0, noise²/(1 - phi²)), so the series is stationary
    from its start and no stretch has to be dropped.

    Raises:
        ValueError: |phi| of 1 or more, where no stationary law exists; noise that is not positive; T < 1.
    """
    coefficient, std = _coefficient(phi), float(_positive("noise", noise))
    past, present = jax.random.split(key)
    shocks = jax.random.normal(present, (arguments.count("T", T),), _float(dtype))
    before = jax.random.normal(past, (1,), shocks.dtype) * std / jnp.sqrt(1 - coefficient**2)
    # A network of one linear neuron, run in chunks of time that advance side by side.
    one = jnp.ones((1, 1), shocks.dtype)
    series = simulate(
        (coefficient * one).astype(shocks.dtype), std * one[0], shocks, x0=before.astype(shocks.dtype),
        activation="identity", method="chunked", washout=0,
    )  # fmt: skip
    return series[:, 0]


def white_autocovariance(variance: Number = 1.0) -> Autocovariance:
    """γ(k) of a white input: its variance at lag 0, zero elsewhere. 1/3 · half_width² for `uniform`."""
    power = float(_positive("variance", variance))
    return lambda lags: jnp.where(jnp.asarray(lags) == 0, power, 0.0)


def ar1_autocovariance(phi: Number | Float[Array, ""], *, noise: Number = 1.0) -> Autocovariance:
    """γ(k) = noise² phi^|k| / (1 - phi²) of `ar1`, as a function of an array of lags.

    Raises:
        ValueError: |phi| of 1 or more; noise that is not positive.
    """
    coefficient, std = _coefficient(phi), float(_positive("noise", noise))
    variance = std**2 / (1 - coefficient**2)
    return lambda lags: variance * coefficient ** jnp.abs(jnp.asarray(lags))


def _positive(name: str, value: Number) -> Number:
    if not 0 < value < np.inf:
        raise ValueError(f"{name}={value!r}; a positive number is needed.")
    return value


def _coefficient(phi: Number | Float[Array, ""]) -> Array:
    if arguments.is_concrete(phi) and not -1 < float(phi) < 1:
        raise ValueError(f"phi={phi!r}; an autoregressive input is stationary only for |phi| < 1.")
    return jnp.asarray(phi, jnp.result_type(float))


def _float(dtype: DTypeLike | None) -> np.dtype:
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)
