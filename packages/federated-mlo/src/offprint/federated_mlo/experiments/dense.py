"""Large networks: what a step of up to 100 000 BSSs costs, and what they learn from their neighbours' throughputs."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, Unavailable, at_most, experiment
from offprint.federated_mlo import plots
from offprint.federated_mlo._dense import dense as dense_topology
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._protocol import method
from offprint.federated_mlo._run import run as train


@dataclass(frozen=True)
class DenseConfig:
    """Settings of the comparison on large networks."""

    sizes: tuple[int, ...] = ()
    """Numbers of BSSs, at constant density."""
    methods: tuple[str, ...] = ("frl_neigh", "rl", "random", "fixed:all")
    """What is compared; "frl_neigh" is frl_minrate with the least throughput among a BSS and its neighbours."""
    degree: float = 7.0
    """Mean number of BSSs that one senses on the link that reaches farthest, away from the border."""
    steps: int = 1000
    """Steps of learning; throughputs are means over the last fifth."""
    quantile: float = 0.05
    """Which quantile of the throughputs over the BSSs stands for the worst off."""
    seed: int = 0
    """Of deployment and learning."""


@experiment(
    "dense",
    reproduces="Beyond the paper: up to 100 000 BSSs",
    paper=DenseConfig(sizes=(100, 1000, 10_000, 100_000)),
    long=True,
)
def dense(config: DenseConfig, run: Run) -> Iterator[Claim]:
    """The cost of a step grows in proportion to the BSSs; how those worst off fare with each method."""
    if not config.sizes:
        raise Unavailable("up to 100 000 BSSs are for a GPU: add --profile paper, or --sizes 100 1000")
    worst: dict[str, list[float]] = {name: [] for name in config.methods}
    cost: dict[str, list[float]] = {name: [] for name in config.methods}
    rates: dict[str, dict[str, np.ndarray]] = {}
    for size in config.sizes:
        topology = dense_topology(jax.random.key(config.seed), size, config.degree)
        env, params = make_env(topology, "bethe")
        rates[f"{size} BSSs"] = {}
        for name in config.methods:
            x, seconds = _train(name, env, params, config)
            rates[f"{size} BSSs"][name] = x
            worst[name].append(float(np.quantile(x, config.quantile)))
            cost[name].append(seconds / config.steps)
            row = {"quantile": worst[name][-1], "smallest": x.min(), "mean": x.mean()}
            run.log(bss=size, method=name, **row, steps_per_s=config.steps / seconds)
    label = f"{100 * config.quantile:g} % quantile of throughput"
    run.figure(
        "size",
        plots.rate_vs_size(
            config.sizes,
            {name: np.asarray(values)[:, None] for name, values in worst.items()},
            ylabel=f"{label}, Mb/s",
            logarithmic=True,
        ),
        "Throughput that all but the worst-off BSSs have, against the number of BSSs at constant density.",
    )
    run.figure(
        "throughput",
        plots.throughput_cdf({list(rates)[-1]: rates[list(rates)[-1]]}),
        "Distribution of the BSSs' throughputs in the largest network.",
    )
    if len(config.sizes) > 1:
        exponents = {name: _exponent(config.sizes, seconds) for name, seconds in cost.items()}
        yield Claim(
            f"seconds of a step over the number of BSSs, {config.sizes[0]} to {config.sizes[-1]}: exponent",
            paper="not said; in proportion is 1",
            here=exponents,
            rule=at_most(1.2),
        )


def _exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope of the least squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _train(name: str, env: MLOEnv, params: MLOParams, config: DenseConfig) -> tuple[np.ndarray, float]:
    """Throughput of each BSS, and the seconds of a run that is compiled already."""
    own: Any
    own, agent, frl = method("frl_minrate" if name == "frl_neigh" else name, env, params, config.steps)
    if name == "frl_neigh":
        own = dataclasses.replace(own, reward="neigh_min")
    seconds = 0.0
    for seed in (1, 0):
        began = time.perf_counter()
        history = train(jax.random.key(config.seed + seed), own, params, agent, frl, config.steps)
        x = np.asarray(history.throughput)
        seconds = time.perf_counter() - began
    return x, seconds
