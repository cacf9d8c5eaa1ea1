"""Learning from throughputs that an event-level simulation of CSMA/CA measures in half a second."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.federated_mlo import plots
from offprint.federated_mlo._actions import joint_index
from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._run import History
from offprint.federated_mlo._scenarios import scenario_topology
from offprint.federated_mlo._simulated import simulated_table
from offprint.federated_mlo._topology import Topology
from offprint.federated_mlo.experiments._compare import joint_table, learned


@dataclass(frozen=True)
class EventLevelConfig:
    """Settings of learning on the event-level simulation."""

    seeds: int = 4
    """Runs of each method."""
    window_s: float = 0.5
    """Seconds of channel time in a step."""
    windows: int = 3000
    """Steps on chain3_l2."""
    random_windows: int = 0
    """Steps on a random deployment of five BSSs with three links; 0 leaves it out."""
    scoring_s: float = 100.0
    """Seconds of channel time, of each of the scoring seeds, that say what an allocation is worth in the long run."""
    scoring_seeds: int = 8
    """Independent simulations of each set of BSSs on a link."""
    seed: int = 0
    """Of deployment, learning and scoring."""


@experiment(
    "event-level",
    reproduces="Abstract, on an event-level simulation of CSMA/CA",
    paper=EventLevelConfig(seeds=16, random_windows=5000),
)
def event_level(config: EventLevelConfig, run: Run) -> Iterator[Claim]:
    """The learners find the best allocation from short, noisy measurements with collisions and phases."""
    chain = scenario_topology("chain3_l2")
    found = _learn(config, chain, ("frl_minrate", "rl"), config.windows)
    table = _long_run(config, chain)
    markov = joint_table(make_env(chain)[1])
    correlation = rank_correlation(table.min(axis=1), markov.min(axis=1))
    best = table.min(axis=1).max()
    score = {name: _score(history, table) / best for name, history in found.items()}
    everything = table[-1].min()
    for name, values in score.items():
        run.log(scenario="chain3_l2", method=name, score=values, optimum=best, all_links=everything)
    run.figure(
        "payoffs",
        plots.agreement(
            {"chain3_l2": {"smallest throughput": (markov.min(axis=1), table.min(axis=1))}},
            xlabel="Markov network, Mb/s",
            ylabel="event simulation, Mb/s",
        ),
        "Smallest throughput of each of the 27 allocations of chain3_l2: long event simulations against the Markov "
        "network.",
    )
    run.figure(
        "learning",
        plots.learning_curves(
            {"chain3_l2": {name: (history.curve_steps, history.curve_min) for name, history in found.items()}},
            optimum={"chain3_l2": best},
            xlabel=f"window of {config.window_s:g} s",
        ),
        "Smallest throughput in each window, mean over the seeds and the band of 80 % of them.",
    )
    yield Claim(
        f"chain3_l2: smallest throughput of the allocation that frl_minrate has learned as a share of the simulated "
        f"optimum, {best:.0f} Mb/s (all links on: {everything:.0f} Mb/s), worst of {config.seeds} seeds",
        paper="the BSSs maximise the minimum achieved data rate",
        here=score["frl_minrate"].min(),
        rule=at_least(0.95),
    )
    yield Claim(
        "the same of selfish learners (rl), mean of the seeds",
        paper="independent learning hardly finds a good configuration",
        here=score["rl"].mean(),
        rule=at_most(0.06),
    )
    yield Claim(
        "chain3_l2: rank correlation of the smallest throughputs of all allocations, event simulation against model",
        paper="not said which model of the channel is used",
        here=correlation,
        rule=at_least(0.95),
    )
    if config.random_windows:
        yield _random(config, run)


def _random(config: EventLevelConfig, run: Run) -> Claim:
    topology = scenario_topology("random5_l3", jax.random.key(config.seed))
    history = _learn(config, topology, ("frl_minrate",), config.random_windows)["frl_minrate"]
    table = _long_run(config, topology)
    reference = table[joint_table(make_env(topology)[1]).min(axis=1).argmax()].min()
    score = _score(history, table) / reference
    run.log(scenario="random5_l3", method="frl_minrate", score=score, reference=reference)
    return Claim(
        f"random5_l3: share of the seeds in which frl_minrate reaches 80 % of what the best allocation of the Markov "
        f"network gives in the simulation, {reference:.0f} Mb/s (mean {score.mean():.2f}, worst {score.min():.2f})",
        paper="the BSSs maximise the minimum achieved data rate",
        here=(score >= 0.8).mean(),
        rule=at_least(0.8),
    )


def _learn(config: EventLevelConfig, topology: Topology, methods: tuple[str, ...], windows: int) -> dict[str, History]:
    env, params = make_env(topology, "dcf", window_s=config.window_s)
    key = jax.random.key(config.seed)
    return {name: learned(name, env, params, windows, config.seeds, key) for name in methods}


def _long_run(config: EventLevelConfig, topology: Topology) -> Float[np.ndarray, "joint bss"]:
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    return np.asarray(simulated_table(key, topology, 1e6 * config.scoring_s, seeds=config.scoring_seeds))


def _score(history: History, table: Float[np.ndarray, "joint bss"]) -> Float[np.ndarray, " seeds"]:
    """Smallest throughput in the long run of the allocation that each seed ended with, Mb/s."""
    actions = np.asarray(history.actions)
    num_links = int(np.log2(round(len(table) ** (1 / actions.shape[1])) + 1))
    return table[np.asarray(joint_index(jnp.asarray(actions), num_links))].min(axis=1)


def rank_correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Spearman's coefficient; equal values (to seven digits) share their mean rank."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place, count = np.unique(np.round(values / np.abs(values).max(), 7), return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[place]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])
