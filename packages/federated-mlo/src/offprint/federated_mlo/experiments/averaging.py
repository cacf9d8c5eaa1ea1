"""What averaging the agents' tables adds, and where it destroys what was learned."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment
from offprint.federated_mlo import plots
from offprint.federated_mlo._actions import masks_from_actions
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo._protocol import method
from offprint.federated_mlo._run import History
from offprint.federated_mlo._run import run as train
from offprint.federated_mlo.experiments._compare import optimum, quiet


@dataclass(frozen=True)
class AveragingConfig:
    """Settings of the sweep of the mixing weight."""

    scenarios: tuple[str, ...] = ("chain3_l2", "clique3_l2")
    """A topology that wants neighbours to differ, and one in which all may be alike: needed for the claims."""
    weights: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Mixing weights μ of the server's table; 1 is textbook federated averaging."""
    local_steps: int = 20
    """K, steps between two rounds."""
    steps: int = 4000
    """Steps of learning; throughputs are means over the last fifth."""
    seeds: int = 32
    """Runs at each weight."""
    seed: int = 0
    """Of the key that the runs' keys are split from."""


@experiment(
    "averaging",
    reproduces="Federated averaging of the models",
    paper=AveragingConfig(
        scenarios=("chain3_l2", "star4_l2", "chain5_l2", "clique3_l2", "ring5_l2"),
        weights=(0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0),
        seeds=64,
    ),
)
def averaging(config: AveragingConfig, run: Run) -> Iterator[Claim]:
    """Averaging stateless tables makes all BSSs choose alike: harmless where that is best, ruinous elsewhere."""
    found = {scenario: _sweep(config, scenario) for scenario in config.scenarios}
    ratio = {scenario: np.asarray(history.inst_min) / best for scenario, (history, best) in found.items()}
    alike = {scenario: _alike(np.asarray(history.actions)) for scenario, (history, _) in found.items()}
    for scenario in config.scenarios:
        for number, mu in enumerate(config.weights):
            run.log(
                scenario=scenario, mu=mu, ratio=ratio[scenario][number].mean(), all_alike=alike[scenario][number].mean()
            )
    run.figure(
        "weight",
        plots.rate_vs_size(
            config.weights,
            ratio,
            xlabel=r"mixing weight $\mu$ of the server's table",
            ylabel="smallest throughput / optimum",
            logarithmic=True,
        ),
        f"Smallest throughput against the weight with which the averaged table replaces the BSSs' own every "
        f"{config.local_steps} steps: mean over the seeds and their range. On the right, textbook federated averaging.",
    )
    history, _ = found["chain3_l2"]
    env, params = make_scenario("chain3_l2")
    last = masks_from_actions(history.actions[-1, 0], env.num_links)
    rates = {"after averaging": np.asarray(env.throughput(params, last)[0])}
    run.figure(
        "links",
        plots.topology_map(params.topology.adj, {"after averaging": last}, throughput=rates),
        f"chain3_l2 with μ = {config.weights[-1]:g}, first seed: links that are on after the run, and Mb/s.",
    )
    yield Claim(
        f"chain3_l2: smallest throughput as a share of the optimum at μ = {config.weights[-1]:g}",
        paper="federated models find the best allocation (which models are averaged, and how, is not said)",
        here=ratio["chain3_l2"][-1].mean(),
        rule=at_most(0.15),
    )
    yield Claim(
        f"chain3_l2: share of the seeds in which all BSSs end with the same links, at μ = {config.weights[-1]:g}",
        paper="not said",
        here=alike["chain3_l2"][-1].mean(),
        rule=at_least(0.9),
    )
    yield Claim(
        f"clique3_l2, where all links on are best for everybody: smallest throughput at μ = {config.weights[-1]:g}",
        paper="federated models find the best allocation",
        here=ratio["clique3_l2"][-1].mean(),
        rule=at_least(0.95),
    )
    yield Claim(
        f"chain3_l2: smallest throughput as a share of the optimum at μ = {config.weights[0]:g}",
        paper="federated models find the best allocation",
        here=ratio["chain3_l2"][0].mean(),
        rule=at_least(0.9),
    )


def _sweep(config: AveragingConfig, scenario: str) -> tuple[History, float]:
    """Histories [weights, seeds, ...] in one program, and the optimum."""
    env, params = make_scenario(scenario)
    frl: Any
    shared, agent, frl = method("frl_mix", env, params, config.steps)

    def at(mu: jax.Array) -> History:
        settings = dataclasses.replace(frl, K=config.local_steps, mu=mu)
        return train(jax.random.key(config.seed), shared, params, agent, settings, config.steps, num_seeds=config.seeds)

    with quiet():
        return jax.tree.map(np.asarray, jax.vmap(at)(jnp.asarray(config.weights))), optimum(params)


def _alike(actions: np.ndarray) -> np.ndarray:
    """Whether all BSSs have the same action."""
    return (actions == actions[..., :1]).all(axis=-1)
