"""Figure 1: the floor that finite samples put under a memory curve."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.experiments import Claim, Rule, Run, experiment, holds_when, ordered
from offprint.memory_capacity import data, empirical_memory_curve, mask, memory_curve, plots, reservoir, simulate

_SINGLE_RUN = {1000: 1.178, 2000: 1.100, 5000: 1.056, 10000: 1.028}
"""Total over N at the figure's setting (N = 100, 500 lags), from one run of the official script."""


@dataclass(frozen=True)
class FloorConfig:
    """Settings of the sampling-floor experiment."""

    neurons: int = 100
    """Number of neurons N."""
    rho: float = 0.9
    """Spectral radius of the orthogonal reservoir."""
    sample_sizes: tuple[int, ...] = (1000, 1500, 2000, 3000, 5000, 7000, 10000)
    """Sample sizes T, without the washout."""
    discard: int = 100
    """First states dropped."""
    replicates: int = 20
    """Inputs drawn; the totals are averaged over them."""
    seed: int = 0
    """Of the reservoir, the mask and the inputs."""


@experiment(
    "floor",
    reproduces="Figure 1",
    paper=FloorConfig(sample_sizes=tuple(range(1000, 10001, 500)), replicates=100),
    x64=True,
)
def floor(config: FloorConfig, run: Run) -> Iterator[Claim]:
    """The in-sample Monte Carlo estimate of the memory of a linear network exceeds N when samples are few."""
    N, sizes = config.neurons, sorted(config.sample_sizes)
    to_A, to_C, to_z = jax.random.split(jax.random.key(config.seed), 3)
    A, C = reservoir.orthogonal(to_A, N, rho=config.rho), mask.normal(to_C, N)
    exact = np.asarray(memory_curve(A, C, 5 * N).values)
    curves = np.stack([_curves(A, C, key, sizes, config) for key in jax.random.split(to_z, config.replicates)])

    totals = dict(zip(sizes, curves.sum(axis=2).T))
    expected = {T: float(expected_curve(exact, N, T).sum()) for T in sizes}
    for T in sizes:
        run.log(T=T, total=totals[T].mean(), total_over_N=totals[T].mean() / N, expected_over_N=expected[T] / N)
    run.figure(
        "floor",
        plots.sampling_floor(dict(zip(sizes, curves[0])), totals, expected, N),
        f"Naive sample estimate of the memory of an orthogonal reservoir (N = {N}, ρ = {config.rho}), {5 * N} lags. "
        "Left: one replicate's curve to lag 2N for each sample size T. Right: total over N, mean and range over "
        f"{config.replicates} replicates, beside the expected in-sample total; the truth is 1.",
    )
    for T in sizes:
        if T in _SINGLE_RUN and config.replicates > 1:
            yield Claim(
                f"estimated total over N at T = {T}",
                paper=_SINGLE_RUN[T],
                here={"mean": totals[T].mean() / N, "deviation": totals[T].std(ddof=1) / N},
                rule=_covers(_SINGLE_RUN[T]),
            )
    yield Claim(
        "total over N with the fewest and with the most samples",
        paper="above 1, and falling towards 1 as T grows",
        here={"most": totals[sizes[-1]].mean() / N, "fewest": totals[sizes[0]].mean() / N},
        rule=ordered("1 < most < fewest"),
    )


def _covers(value: float) -> Rule:
    """Whether one run of somebody else's may be one of ours."""
    return holds_when(
        f"{value:g} lies within 3 standard deviations of one run from the mean",
        lambda here: abs(here["mean"] - value) <= 3 * here["deviation"],
    )


def expected_curve(exact: Float[np.ndarray, "lags"], neurons: int, samples: int) -> Float[np.ndarray, "lags"]:
    """About the expectation of the naive sample estimate at each lag: the shrunken truth plus the floor.

    To first order in N/T: at N/T = 0.1 it is above the mean of many runs by about 0.02 of the total over N.
    """
    left = 1 - np.arange(exact.size) / samples
    return left**2 * exact + neurons / samples * left * (1 - exact)


def _curves(A: Array, C: Array, key: Array, sizes: list[int], config: FloorConfig) -> Float[np.ndarray, "sizes lags"]:
    """The official estimate from the first T samples of one run, for every T."""
    longest = max(sizes)
    z = data.gaussian(key, longest + config.discard)
    states = simulate(A, C, z, activation="identity", washout=config.discard, method="chunked")
    return np.asarray(_official(states, z[config.discard :], jnp.asarray(sizes), 5 * config.neurons))


def _official_unjitted(
    states: Float[Array, "T N"], z: Float[Array, "T"], sizes: Array, n_lags: int
) -> Float[Array, "sizes lags"]:
    # The official sums are not centred, so samples set to zero are samples that are not there: one compiled
    # program serves every sample size.
    def at_size(size: Array) -> Array:
        there = jnp.arange(z.size) < size
        estimate = empirical_memory_curve(
            states * there[:, None], z * there, n_lags, estimator="official", null=None, check=False
        )
        return estimate.values

    return jax.lax.map(at_size, sizes)


_official = jax.jit(_official_unjitted, static_argnums=3)
