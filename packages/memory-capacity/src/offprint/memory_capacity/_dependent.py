"""Memory and forecasting capacity when the input is correlated in time.

A correlated input can be recovered beyond what the network stores, since what it stores tells of its
neighbours, and it can be forecast. The total then isn't the rank and may exceed N.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Float

from offprint.memory_capacity._blaschke import takenaka_malmquist
from offprint.memory_capacity._curve import memory_curve
from offprint.memory_capacity._network import check_count, concrete, is_traced
from offprint.memory_capacity._reachable import RankRule, fading_steps


class DependentMemory(NamedTuple):
    """Capacities of a linear network driven by a stationary input."""

    memory: Float[Array, "n_lags"]  # MC_τ, τ = 0..n_lags-1
    forecast: Float[Array, "n_ahead"]  # FC_h, h = 1..n_ahead
    bound: Float[Array, ""]  # of the sum of both over all lags: r · max(2πf) / γ(0)


Autocovariance = Callable[[Array], Array]


def dependent_memory(
    A: ArrayLike,
    C: ArrayLike | None,
    autocov: ArrayLike | Autocovariance | None = None,
    n_lags: int | None = None,
    n_ahead: int = 0,
    *,
    spectral_density: Callable[[Array], Array] | None = None,
    rank: RankRule | str | int = "auto",
    horizon: int | None = None,
) -> DependentMemory:
    """Memory curve and forecasting capacities of x_t = A x_{t-1} + C z_t for a stationary, correlated input z.

    MC_τ = Cov(z_{t-τ}, x_t) Γ_x⁻¹ Cov(x_t, z_{t-τ}) / γ(0), and FC_h the same at τ = -h.

    Args:
        A: (N, N) reservoir matrix with spectral radius below 1. C: (N,) input mask, or None as in `memory_curve`.
        autocov: the input's autocovariance: (K+1,) values γ(0), ..., γ(K), zero beyond; or a function of an
            array of lags >= 0.
        n_lags: number of lags T from 0, default 5N. n_ahead: number of steps ahead, from 1.
        spectral_density: instead of `autocov`, f(ω) for an array ω in [0, π], with γ(k) = ∫ f(ω) e^{ikω} dω over
            (-π, π]; a white input of variance σ² has f = σ²/2π.
        rank: see `memory_curve`.
        horizon: steps after which A^j is negligible; found from the spectral radius, except inside `jit`.

    Returns:
        `DependentMemory(memory, forecast, bound)`.

    Raises:
        ValueError: neither or both of `autocov` and `spectral_density`, values that aren't the autocovariance
            of any process, and what `memory_curve` raises.

    Differentiable in the autocovariance; a derivative in A raises `TypeError`.

    The states are taken in an orthonormal form first, so that the condition of Γ is that of the input alone.
    Source: Gonon, Grigoryeva and Ortega, arXiv:2004.11234 (dependent inputs, forecasting capacity).
    """
    if (autocov is None) == (spectral_density is None):
        raise ValueError("Give the input's autocov or its spectral_density: exactly one of them.")
    lags = 5 * np.shape(A)[0] if n_lags is None else check_count("n_lags", n_lags)
    ahead = check_count("n_ahead", n_ahead)
    network = memory_curve(_without_derivative(A) if is_traced(A) else A, C, 0, rank=rank)
    dtype = network.total.dtype
    if network.poles.shape[0] == 0:
        return DependentMemory(jnp.zeros(lags, dtype), jnp.zeros(ahead, dtype), jnp.zeros((), dtype))
    spectrum = concrete(network.poles)
    radius = None if spectrum is None else float(np.abs(spectrum).max())
    steps = fading_steps(horizon, network.poles.shape[0], radius, dtype)
    reach = steps + lags + ahead
    gamma = _autocovariance(autocov, spectral_density, reach).astype(dtype)
    lowest, highest = _spectral_range(gamma)
    _check_autocovariance(gamma, lowest)
    memory, forecast = _capacities(network.poles, gamma, steps, lags, ahead)
    return DependentMemory(memory, forecast, network.rank * highest / gamma[0])


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _capacities(
    poles: Complex[Array, "r"], gamma: Float[Array, "reach"], steps: int, lags: int, ahead: int
) -> tuple[Array, Array]:
    # Inactive poles last: what stands behind a pole hears only what it lets through.
    poles = poles[jnp.argsort(jnp.isnan(poles))]
    active = ~jnp.isnan(poles)
    form = takenaka_malmquist(jnp.where(active, poles, 0))
    _, responses = jax.lax.scan(lambda s, _: (form.A @ s, s), form.b, length=steps)
    responses = jnp.where(active, responses, 0).T  # (r, steps), orthonormal rows

    # Rows times the Toeplitz matrix of γ, at output times -ahead .. max(steps, lags) - 1, by one FFT.
    length = max(steps, lags)
    kernel = jnp.concatenate([gamma[length + ahead - 1 : 0 : -1], gamma[: length + ahead]])
    size = 2 ** math.ceil(math.log2(steps + kernel.shape[0]))
    product = jnp.fft.ifft(jnp.fft.fft(responses, size) * jnp.fft.fft(kernel, size))
    zero = length + ahead - 1  # where output time 0 stands
    present = product[:, zero : zero + length]
    future = product[:, zero - ahead : zero][:, ::-1]

    covariance = present[:, :steps] @ responses.conj().T
    variances, vectors = jnp.linalg.eigh((covariance + covariance.conj().T) / 2)
    floor = variances[-1] * poles.shape[0] * jnp.finfo(variances.dtype).eps
    weight = jnp.where(variances > floor, 1 / jnp.where(variances > floor, variances, 1), 0)

    def capacity(covariances: Array) -> Array:
        return weight @ jnp.abs(vectors.conj().T @ covariances) ** 2 / gamma[0]

    return capacity(present[:, :lags]), capacity(future)


@jax.custom_jvp
def _without_derivative(A: Array) -> Array:
    """A, refusing to be differentiated: its eigenvalues have no derivative where they meet."""
    return A


@_without_derivative.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise TypeError(
        "dependent_memory has derivatives in the autocovariance, but not in A: it goes through eigenvalues. "
        "memory_curve has them in A for an independent input."
    )


def _autocovariance(
    autocov: ArrayLike | Autocovariance | None, density: Callable[[Array], Array] | None, reach: int
) -> Array:
    if density is not None:
        points = 2 ** math.ceil(math.log2(8 * reach))
        values = density(jnp.linspace(0, jnp.pi, points // 2 + 1))
        return 2 * jnp.pi * jnp.fft.irfft(values, points)[:reach]
    if callable(autocov):
        return jnp.asarray(autocov(jnp.arange(reach)))
    values = jnp.asarray(autocov)
    if values.ndim != 1 or values.shape[0] == 0:
        raise ValueError(f"autocov must have shape (K+1,) with K >= 0, got shape {values.shape}.")
    return jnp.zeros(reach, values.dtype).at[: min(reach, values.shape[0])].set(values[:reach])


@jax.jit
def _spectral_range(gamma: Array) -> tuple[Array, Array]:
    """Least and greatest 2πf(ω) = Σ_k γ(k) e^{-ikω} on a fine grid of [0, π]."""
    points = 2 ** math.ceil(math.log2(8 * gamma.shape[0]))
    two_sided = jnp.zeros(points, gamma.dtype).at[: gamma.shape[0]].set(gamma)
    two_sided = two_sided.at[points - gamma.shape[0] + 1 :].add(gamma[1:][::-1])
    density = jnp.fft.rfft(two_sided).real
    return jnp.min(density), jnp.max(density)


def _check_autocovariance(gamma: Array, lowest: Array) -> None:
    values, least = concrete(gamma), concrete(lowest)
    if values is None or least is None:
        return
    if not np.isfinite(values).all() or values[0] <= 0:
        raise ValueError(f"autocov must be finite with a variance above 0, got γ(0) = {values[0]:.6g}.")
    if least < -1e-3 * values[0]:
        raise ValueError(
            "The values given aren't the autocovariance of a stationary process: their spectral density falls to "
            f"{least / (2 * math.pi):.3g}, and must not be negative."
        )
