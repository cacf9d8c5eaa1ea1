"""Sequences of weights A_0 ... A_{L-1} whose behaviour with the depth L is known: each hypothesis of the paper, drawn.

| function | A_k | largest norm | Σ‖A_k‖² |
| --- | --- | --- | --- |
| `smooth` | L^-β Ā(k/L) | L^-β | L^{1-2β} |
| `brownian` | independent N(0, 1/L) | L^-½ √log L | 1 |
| `fbm_increments` | L^-H times fractional Gaussian noise | L^-H √log L | L^{1-2H} |
| `rbf` | unit increments of a smooth Gaussian process | 1 | L |
| `iid` | independent N(0, L^{-2β}) | L^-β √log L | L^{1-2β} |
| `sparse` | a few fixed matrices, zero elsewhere | 1 | 1 |

All take a typed key, the depth, and the shape of one layer, and draw each entry of a layer by itself. They work under
jit and vmap, over keys and over exponents. For a network of width d divide by √d.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

Number = float | int
Scalar = Number | Float[Array, ""]
Trend = Callable[[Array], Array]

PERIOD = 2.0
"""Of the Fourier series of smooth processes on [0, 1]: twice the interval, so that its ends are not tied together."""
LARGEST_LENGTH_SCALE = 0.2
"""Beyond it the period would show in the covariance: exp(-1 / (2 · 0.2²)) = 4e-6."""


def smooth(
    key: PRNGKeyArray,
    L: int,
    shape: tuple[int, ...],
    *,
    beta: Scalar = 0.0,
    trend: Trend | None = None,
    length_scale: Number = 0.2,
    dtype: DTypeLike | None = None,
) -> Float[Array, "depth ..."]:
    """Hypothesis 1: A_k = L^-β Ā(k/L) with continuous Ā.

    Args:
        key: typed key; the same key gives the same Ā at every depth.
        L: depth.
        shape: of one layer.
        beta: β.
        trend: Ā, a function of t in [0, 1) that returns an array of the shape; a smooth Gaussian process of unit
            variance is drawn when None.
        length_scale: of that process, whose covariance is exp(-(s - t)² / (2 length_scale²)); at most 0.2.
        dtype: floating-point type; JAX's default when None.

    Raises:
        ValueError: L below 1, or a length scale outside (0, 0.2].
    """
    dtype = _checked(L, dtype)
    times = jnp.arange(L, dtype=dtype) / L
    if trend is None:
        values = _fourier_process(key, times, shape, _rbf_variances(length_scale))
    else:
        values = jnp.asarray(jax.vmap(trend)(times), dtype)
        if values.shape[1:] != shape:
            raise ValueError(f"trend returns shape {values.shape[1:]}; the shape {shape} of a layer is needed")
    return jnp.asarray(L, dtype) ** -jnp.asarray(beta, dtype) * values


def brownian(
    key: PRNGKeyArray, L: int, shape: tuple[int, ...], *, dtype: DTypeLike | None = None
) -> Float[Array, "depth ..."]:
    """Hypothesis 2 without trend: increments over 1/L of Brownian motions, N(0, 1/L), independent entries.

    Raises:
        ValueError: L below 1.
    """
    return iid(key, L, shape, beta=0.5, dtype=dtype)


def iid(
    key: PRNGKeyArray, L: int, shape: tuple[int, ...], *, beta: Scalar = 0.0, dtype: DTypeLike | None = None
) -> Float[Array, "depth ..."]:
    """Independent entries N(0, L^{-2β}).

    Raises:
        ValueError: L below 1.
    """
    dtype = _checked(L, dtype)
    return jnp.asarray(L, dtype) ** -jnp.asarray(beta, dtype) * jax.random.normal(key, (L, *shape), dtype)


def fbm_increments(
    key: PRNGKeyArray,
    L: int,
    shape: tuple[int, ...],
    *,
    hurst: Scalar = 0.5,
    method: str = "davies-harte",
    dtype: DTypeLike | None = None,
) -> Float[Array, "depth ..."]:
    """Increments over 1/L of fractional Brownian motions on [0, 1]: L^-H times fractional Gaussian noise.

    Exact in law by circulant embedding (Davies and Harte 1987): the autocovariance γ_0 ... γ_L, γ_{L-1} ... γ_1 of a
    circle of 2L points has non-negative eigenvalues, and white noise is coloured by their square roots.

    Args:
        key: typed key.
        L: depth.
        shape: of one layer.
        hurst: H in (0, 1); ½ gives `brownian` in law, more gives persistent and less alternating layers.
        method: "davies-harte" is the only one.
        dtype: floating-point type; JAX's default when None.

    Raises:
        ValueError: L below 1, H outside (0, 1), another method.
    """
    dtype = _checked(L, dtype)
    if method != "davies-harte":
        raise ValueError(f"method={method!r} is unknown; 'davies-harte' is needed")
    if not isinstance(hurst, jax.core.Tracer) and not 0 < float(hurst) < 1:
        raise ValueError(f"hurst={float(hurst):g}; a Hurst exponent lies strictly between 0 and 1")
    return _davies_harte(key, jnp.asarray(hurst, dtype), L, shape)


@partial(jax.jit, static_argnames=("L", "shape"))
def _davies_harte(key: PRNGKeyArray, hurst: Array, L: int, shape: tuple[int, ...]) -> Array:
    gamma = autocovariance(L, hurst)
    eigenvalues = jnp.fft.rfft(jnp.concatenate([gamma, gamma[-2:0:-1]])).real
    white = jax.random.normal(key, (2 * L, *shape), hurst.dtype)
    colour = jnp.sqrt(jnp.maximum(eigenvalues, 0)).reshape(-1, *(1,) * len(shape))
    noise = jnp.fft.irfft(colour * jnp.fft.rfft(white, axis=0), n=2 * L, axis=0)[:L]
    return (jnp.asarray(L, hurst.dtype) ** -hurst * noise).astype(hurst.dtype)


def autocovariance(L: int, hurst: Float[Array, ""]) -> Float[Array, "lags"]:
    """γ(k) = ½(|k-1|^{2H} - 2|k|^{2H} + |k+1|^{2H}) of fractional Gaussian noise, k = 0 ... L.

    The three terms cancel to k^{-2} of their size. They are therefore taken relative to k^{2H}, and for large k by the
    binomial series, which keeps single precision usable at any depth.
    """
    p = 2 * hurst
    k = jnp.arange(2, max(L, 2) + 1, dtype=p.dtype)
    inverse = 1 / k
    near = jnp.expm1(p * jnp.log1p(-inverse)) + jnp.expm1(p * jnp.log1p(inverse))
    c2 = p * (p - 1) / 2
    c4 = c2 * (p - 2) * (p - 3) / 12
    c6 = c4 * (p - 4) * (p - 5) / 30
    x = inverse**2
    far = 2 * x * (c2 + x * (c4 + x * c6))
    rest = k**p * jnp.where(k < 50, near, far) / 2
    return jnp.concatenate([jnp.ones(1, p.dtype), (2 ** (p - 1) - 1)[None], rest])[: L + 1]


def rbf(
    key: PRNGKeyArray,
    L: int,
    shape: tuple[int, ...],
    *,
    length_scale: Number = 0.1,
    dtype: DTypeLike | None = None,
) -> Float[Array, "depth ..."]:
    """Increments of a smooth Gaussian process over L + 1 equidistant points of [0, 1], divided by their deviation.

    The smooth initialisation of Marion et al. (2025), whose covariance exp(-(s-t)²/(2·0.01)) is that of the default
    length scale; they divide by √d besides. Each entry has unit variance at every layer. The process is a Fourier
    series of period 2, whose covariance is the stated one to exp(-1/(2 length_scale²)), so that no L x L matrix is
    factored and no jitter roughens the sequence.

    Raises:
        ValueError: L below 1, or a length scale outside (0, 0.2].
    """
    dtype = _checked(L, dtype)
    variances = _rbf_variances(length_scale)
    # An increment of cos(ωt) over 1/L is -2 sin(ω/2L) sin(ω(t + 1/2L)): again such a series, at the midpoints.
    variances = variances * np.sin(np.pi * np.arange(variances.size) / (PERIOD * L)) ** 2
    midpoints = (jnp.arange(L, dtype=dtype) + 0.5) / L
    return _fourier_process(key, midpoints, shape, variances / variances.sum())


def sparse(
    key: PRNGKeyArray,
    L: int,
    shape: tuple[int, ...],
    *,
    active: int = 5,
    dtype: DTypeLike | None = None,
) -> Float[Array, "depth ..."]:
    """Finitely many active layers: standard normal ones at ⌊(i + ½)L / active⌋, i < active, zero elsewhere.

    The same key gives the same active layers at every depth.

    Raises:
        ValueError: L below `active`, or `active` below 1.
    """
    dtype = _checked(L, dtype)
    if not 1 <= active <= L:
        raise ValueError(f"active={active}; a number from 1 to the {L} layers is needed")
    places = (2 * np.arange(active) + 1) * L // (2 * active)
    return jnp.zeros((L, *shape), dtype).at[places].set(jax.random.normal(key, (active, *shape), dtype))


def _checked(L: int, dtype: DTypeLike | None) -> np.dtype:
    """The floating-point type, once the depth is found good."""
    if L < 1:
        raise ValueError(f"L={L}; at least one layer is needed")
    return np.dtype(jnp.result_type(float) if dtype is None else dtype)


def _rbf_variances(length_scale: Number) -> np.ndarray:
    """Of the modes cos, sin(2π m t / PERIOD), m = 0, 1, ..., for the covariance exp(-t²/(2 length_scale²))."""
    if not 0 < length_scale <= LARGEST_LENGTH_SCALE:
        raise ValueError(f"length_scale={length_scale:g}; more than 0 and at most {LARGEST_LENGTH_SCALE} is needed")
    frequency = 2 * math.pi / PERIOD * float(length_scale)
    modes = np.arange(math.ceil(9 / frequency) + 1)
    spectrum = np.exp(-0.5 * (frequency * modes) ** 2) * np.where(modes == 0, 1, 2)
    return spectrum / spectrum.sum()


def _fourier_process(
    key: PRNGKeyArray, times: Float[Array, "depth"], shape: tuple[int, ...], variances: np.ndarray
) -> Float[Array, "depth ..."]:
    """Σ_m √v_m (g_m cos(ω_m t) + g'_m sin(ω_m t)): a stationary Gaussian process in each entry."""
    return _series(key, times, jnp.asarray(np.sqrt(variances), times.dtype), shape)


@partial(jax.jit, static_argnames="shape")
def _series(key: PRNGKeyArray, times: Array, deviations: Array, shape: tuple[int, ...]) -> Array:
    angles = 2 * math.pi / PERIOD * jnp.arange(deviations.size, dtype=times.dtype) * times[:, None]
    basis = jnp.concatenate([deviations * jnp.cos(angles), deviations * jnp.sin(angles)], axis=1)
    normals = jax.random.normal(key, (basis.shape[1], *shape), times.dtype)
    return jnp.tensordot(basis, normals, axes=1, precision="highest")
