"""Memory and forecasting capacity under a correlated input: theory against samples."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, ordered
from offprint.memory_capacity import (
    data,
    dependent_memory,
    empirical_memory_curve,
    forecasting_capacity,
    mask,
    plots,
    reservoir,
    simulate,
)


@dataclass(frozen=True)
class DependentConfig:
    """Settings of the experiment on correlated inputs."""

    neurons: int = 8
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius of the Gaussian reservoir."""
    coefficients: tuple[float, ...] = (-0.6, 0.0, 0.6)
    """Coefficients φ of the AR(1) inputs."""
    samples: int = 200_000
    """Sample size T of each series."""
    series: int = 8
    """Independent series for each input; their scatter is the standard error of one."""
    lags: int = 25
    """Lags of the memory curve, from 0."""
    ahead: int = 5
    """Steps of forecasting."""
    seed: int = 0
    """Of the reservoir, the mask and the inputs."""


@experiment(
    "dependent",
    reproduces="Theory for dependent inputs (Gonon, Grigoryeva and Ortega 2020)",
    paper=DependentConfig(series=100, coefficients=(-0.9, -0.6, 0.0, 0.6, 0.9)),
    x64=True,
)
def dependent(config: DependentConfig, run: Run) -> Iterator[Claim]:
    """With a correlated input the memory of N neurons may exceed N, and the future can be forecast."""
    N = config.neurons
    to_A, to_C, to_z = jax.random.split(jax.random.key(config.seed), 3)
    A, C = reservoir.normal(to_A, N, rho=config.rho), mask.normal(to_C, N)
    theory, measured, forecasts, sums = {}, {}, {}, {}
    z_scores = []
    for number, phi in enumerate(config.coefficients):
        found = dependent_memory(A, C, data.ar1_autocovariance(phi), config.lags, config.ahead)
        curve = np.concatenate([np.asarray(found.memory), np.asarray(found.forecast)])
        keys = jax.random.split(jax.random.fold_in(to_z, number), config.series)
        estimates = np.asarray(_estimates(A, C, jnp.asarray(phi), keys, config))
        label = rf"$\varphi={phi:g}$"
        theory[label], measured[label] = curve[: config.lags], estimates[0, : config.lags]
        forecasts[label] = curve[config.lags :], estimates[0, config.lags :]
        scatter = estimates.std(axis=0, ddof=1)
        z_scores.append((estimates - curve) / scatter)
        totals = estimates.sum(axis=1)
        whole = dependent_memory(A, C, data.ar1_autocovariance(phi), 100 * N, 100)
        sums[phi] = {
            "memory": float(whole.memory.sum()),
            "forecast": float(whole.forecast.sum()),
            "bound": float(whole.bound),
        }
        score = abs(totals[0] - curve.sum()) / totals.std(ddof=1)
        run.log(phi=phi, **sums[phi], sampled=totals[0], analytic=curve.sum(), standard_errors=score)
        yield Claim(
            f"total of the first series, standard errors from the analytic total, φ = {phi:g}",
            "at most 3",
            score,
            at_most(3),
        )
    run.figure(
        "dependent",
        plots.dependent_curves(theory, measured, forecasts),
        f"Memory and forecasting capacities of a Gaussian reservoir (N = {N}, ρ = {config.rho}) for AR(1) inputs of "
        f"coefficient φ: analytic (lines) and from {config.samples} samples (dots).",
    )
    yield Claim(
        "share of lags and series within 3 standard errors of the analytic curves",
        paper="all but chance (0.997)",
        here=np.mean(np.abs(np.stack(z_scores)) <= 3),
        rule=at_least(0.98),
    )
    if 0.6 in sums:
        yield Claim(
            f"total memory of N = {N} neurons at φ = 0.6",
            paper=f"may exceed N = {N} (9.90 for another network)",
            here={"N": N, "memory": sums[0.6]["memory"]},
            rule=ordered("N < memory"),
        )
    for phi, total in sums.items():
        yield Claim(
            f"memory and forecasting capacity together, φ = {phi:g}",
            paper="at most r (1+|φ|)/(1-|φ|)",
            here={"sum": total["memory"] + total["forecast"], "bound": N * (1 + abs(phi)) / (1 - abs(phi)) + 1e-9},
            rule=ordered("sum <= bound"),
        )


@partial(jax.jit, static_argnames="config")
def _estimates(
    A: Float[Array, "N N"],
    C: Float[Array, "N"],
    phi: Float[Array, ""],
    keys: Key[Array, "series"],
    config: DependentConfig,
) -> Float[Array, "series capacities"]:
    """Memory at each lag, then forecasts, estimated from each series."""

    def one(key: PRNGKeyArray) -> Array:
        z = data.ar1(key, config.samples + 200, phi)
        X, z = simulate(A, C, z, activation="identity", washout=200, method="chunked"), z[200:]
        # A few neurons and many samples: well conditioned, so the fastest factorisation will do.
        memory = empirical_memory_curve(X, z, config.lags, solver="cholesky", null=None, check=False)
        forecast = forecasting_capacity(X, z, config.ahead, solver="cholesky", null=None)
        return jnp.concatenate([memory.values, forecast.values])

    return jax.lax.map(one, keys)
