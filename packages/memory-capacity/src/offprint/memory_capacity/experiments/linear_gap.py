"""The gap between estimates of the total memory of linear networks and the truth."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.core.experiments import Claim, Run, at_least, between, experiment, near
from offprint.memory_capacity import (
    MeaningWarning,
    data,
    empirical_memory_curve,
    mask,
    memory_curve,
    plots,
    reachable_rank,
    reservoir,
    simulate,
)

_LAWS = ("normal", "sparse_normal", "symmetric", "orthogonal", "cyclic")
_SAMPLED = {"official": (33.3, 0.4), "insample": (35.6, 0.4), "adjusted": (29.6, 0.5)}


@dataclass(frozen=True)
class GapConfig:
    """Settings of the gap experiment."""

    neurons: int = 100
    """Number of neurons N of the linear networks."""
    rho: float = 0.9
    """Spectral radius."""
    seeds: int = 5
    """Networks drawn of each law."""
    sparse_neurons: int = 20
    """Number of neurons of the sparse networks (10 %) that may be rank deficient."""
    sparse_seeds: int = 30
    """How many of those are drawn."""
    sampled_neurons: int = 30
    """Number of neurons of the orthogonal network whose memory is estimated from samples."""
    samples: int = 600
    """Sample size T of that."""
    sampled_lags: int = 150
    """Lags of that."""
    replicates: int = 200
    """Inputs drawn for that."""
    seed: int = 0
    """Of everything drawn."""


@experiment(
    "gap", reproduces="Range of the usual estimates (the title's question)",
    paper=GapConfig(seeds=100, sparse_seeds=1000, replicates=1000), x64=True,
)  # fmt: skip
def gap(config: GapConfig, run: Run) -> Iterator[Claim]:
    """One network, one true total, and estimates from a third of it to more than all of it."""
    to_linear, to_sparse, to_samples = jax.random.split(jax.random.key(config.seed), 3)
    N = config.neurons
    naive, exact = _linear(to_linear, config)
    for law in _LAWS:
        run.log(law=law, naive=naive[law], exact=exact[law])
    totals = {law.replace("_", " "): {"naive": np.array(naive[law]), "exact": np.array(exact[law])} for law in _LAWS}
    run.figure(
        "totals",
        plots.estimated_totals(totals, N),
        f"Total memory of {config.seeds} networks of each law (N = {N}, ρ = {config.rho}), by the naive algebraic "
        "estimate and exactly.",
    )
    yield Claim("naive total, Gaussian A (every seed)", "67 to 75 for five seeds", naive["normal"], between(64, 80))
    yield Claim("naive total, symmetric A (every seed)", "36 to 37", naive["symmetric"], between(33, 40))
    yield Claim("naive total, orthogonal A (every seed)", 100, naive["orthogonal"], near(N, 1e-6))
    yield Claim("sum of the exact curve, Gaussian A (every seed)", 100, exact["normal"], near(N, 1e-9))

    osm, ranks = _sparse(to_sparse, config)
    size = config.sparse_neurons
    run.log(sparse_ranks=ranks)
    yield Claim(f"OSM total, sparse A with N = {size} (every seed)", size, osm, near(size, 1e-6))
    yield Claim(
        f"share of those networks whose exact rank is below {size}", "most", np.mean(np.less(ranks, size)),
        at_least(0.5),
    )  # fmt: skip
    yield Claim("median of their exact ranks", "typically 13 to 18", float(np.median(ranks)), between(13, 18))

    sampled = _sampled(to_samples, config)
    run.figure(
        "samples",
        plots.estimated_totals(
            {name: {"one input": values} for name, values in sampled.items()}, config.sampled_neurons
        ),
        f"Total memory of an orthogonal network (N = {config.sampled_neurons}) from {config.samples} samples at "
        f"{config.sampled_lags} lags, for {config.replicates} inputs: naive, in-sample, adjusted.",
    )
    for name, values in sampled.items():
        expected, tolerance = _SAMPLED[name]
        error = values.std(ddof=1) / np.sqrt(values.size) if values.size > 1 else float("nan")
        run.log(estimator=name, mean_total=values.mean(), standard_error=error)
        yield Claim(
            f"mean total from {config.samples} samples, estimator {name!r}; the truth is {config.sampled_neurons}",
            paper=expected,
            here=values.mean(),
            rule=near(expected, tolerance),
        )


def _linear(key: PRNGKeyArray, config: GapConfig) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Totals of the naive estimate, and sums of the exact curve over 5N lags."""
    naive: dict[str, list[float]] = {law: [] for law in _LAWS}
    exact: dict[str, list[float]] = {law: [] for law in _LAWS}
    for seed in range(config.seeds):
        for number, law in enumerate(_LAWS):
            to_A, to_C = jax.random.split(jax.random.fold_in(key, seed * len(_LAWS) + number))
            A = reservoir.LAWS[law](to_A, config.neurons, rho=config.rho)
            C = mask.normal(to_C, config.neurons)
            naive[law].append(float(memory_curve(A, C, method="naive").total))
            exact[law].append(float(memory_curve(A, C).values.sum()))
    return naive, exact


def _sparse(key: PRNGKeyArray, config: GapConfig) -> tuple[list[float], list[int]]:
    """OSM totals and exact ranks of small sparse networks."""
    totals, ranks = [], []
    for seed in range(config.sparse_seeds):
        to_A, to_C = jax.random.split(jax.random.fold_in(key, seed))
        A = reservoir.sparse_normal(to_A, config.sparse_neurons, rho=config.rho)
        C = mask.normal(to_C, config.sparse_neurons)
        ranks.append(int(reachable_rank(A, C, "exact")))
        with warnings.catch_warnings():  # that OSM means nothing here is the point
            warnings.simplefilter("ignore", MeaningWarning)
            totals.append(float(memory_curve(A, C, method="osm").total))
    return totals, ranks


def _sampled(key: PRNGKeyArray, config: GapConfig) -> dict[str, Float[np.ndarray, "replicates"]]:
    """Totals of the sample estimators over many inputs of one orthogonal network."""
    lags, history = config.sampled_lags, config.sampled_lags - 1
    to_A, to_C, to_z = jax.random.split(key, 3)
    A = reservoir.orthogonal(to_A, config.sampled_neurons, rho=config.rho)
    C = mask.normal(to_C, config.sampled_neurons)

    def totals(key: PRNGKeyArray) -> dict[str, Array]:
        z = data.gaussian(key, 100 + history + config.samples)
        X, z = simulate(A, C, z, activation="identity", washout=100, method="chunked"), z[100:]
        # The fixed window has T targets at every lag, and so needs the lags' history before them.
        windows = {"official": (X[history:], z[history:]), "insample": (X, z), "adjusted": (X, z)}
        return {
            name: empirical_memory_curve(*windows[name], lags, estimator=name, null=None, check=False).total
            for name in _SAMPLED
        }

    found = jax.jit(lambda keys: jax.lax.map(totals, keys))(jax.random.split(to_z, config.replicates))
    return {name: np.asarray(values) for name, values in found.items()}
