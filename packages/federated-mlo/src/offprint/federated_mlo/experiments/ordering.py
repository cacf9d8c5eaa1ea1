"""The claim of the paper's abstract: federated learning against fixed, random and RL-based link activation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, ordered
from offprint.federated_mlo import plots
from offprint.federated_mlo._actions import masks_from_actions
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo._run import History
from offprint.federated_mlo.experiments._compare import (
    Outcome,
    digits,
    learned_on_scenarios,
    optimum,
    outcome,
    unlearned,
)

STARVING = ("chain3_l2", "star4_l2", "chain5_l2")
"""Scenarios in which somebody starves when all links are on."""
_LEAST = {"chain3_l2": 0.97, "star4_l2": 0.97, "clique3_l2": 0.97, "chain5_l2": 0.95, "ring5_l2": 0.95}
_UNLEARNED = ("random", "fixed:all")


@dataclass(frozen=True)
class OrderingConfig:
    """Settings of the comparison on five small topologies."""

    scenarios: tuple[str, ...] = ("chain3_l2", "star4_l2", "chain5_l2", "clique3_l2", "ring5_l2")
    """Topologies, all with two equal links; "chain3_l2" is needed for the claims."""
    methods: tuple[str, ...] = ("frl_minrate", "frl_mix", "frl_fedavg", "rl")
    """Learners that are compared, with random actions and all links on; all but "frl_mix" are needed for the claims."""
    steps: int = 4000
    """Steps of learning; throughputs are means over the last fifth."""
    seeds: int = 64
    """Runs of each learner."""
    seed: int = 0
    """Of the key that the runs' keys are split from."""


@experiment(
    "ordering",
    reproduces="Abstract: minimum rate and fairness against fixed, random and RL-based allocation",
    paper=OrderingConfig(seeds=512),
)
def ordering(config: OrderingConfig, run: Run) -> Iterator[Claim]:
    """Federated learners raise the smallest throughput nearly to its optimum where selfish ones starve somebody."""
    deployments = {name: make_scenario(name) for name in config.scenarios}
    best = {name: optimum(params) for name, (_, params) in deployments.items()}
    found: dict[str, dict[str, Outcome]] = {name: {} for name in config.scenarios}
    histories: dict[str, dict[str, History]] = {name: {} for name in config.scenarios}
    for method in config.methods:
        key = jax.random.key(config.seed)
        every = learned_on_scenarios(method, config.scenarios, config.steps, config.seeds, key)
        for scenario, history in every.items():
            histories[scenario][method], found[scenario][method] = history, outcome(history)
    for scenario, (env, params) in deployments.items():
        found[scenario] |= {name: unlearned(name, env, params) for name in _UNLEARNED}
        for name, reached in found[scenario].items():
            ratio = reached.least / best[scenario]
            row = {"ratio": ratio.mean(), "share_above_0_9": (ratio >= 0.9).mean(), "jain": reached.jain.mean()}
            run.log(scenario=scenario, method=name, **row, total=reached.total.mean(), optimum=best[scenario])
    _figures(found, histories, best, run)
    yield from _claims(found, best)


def _claims(found: Mapping[str, Mapping[str, Outcome]], best: Mapping[str, float]) -> Iterator[Claim]:
    ratio = {
        scenario: {name: float(reached.least.mean() / best[scenario]) for name, reached in methods.items()}
        for scenario, methods in found.items()
    }
    for scenario, least in _LEAST.items():
        if scenario in ratio:
            yield Claim(
                f"{scenario}: smallest throughput with frl_minrate as a share of the optimum of {best[scenario]:.0f} "
                f"Mb/s ({digits(ratio[scenario])})",
                paper="the BSSs maximise the minimum achieved data rate",
                here=ratio[scenario]["frl_minrate"],
                rule=at_least(least),
            )
    starving = [scenario for scenario in STARVING if scenario in ratio]
    yield Claim(
        f"smallest throughput of selfish learners (rl) as a share of the best possible, on {', '.join(starving)}",
        paper="independent learning hardly finds a good configuration",
        here={scenario: ratio[scenario]["rl"] for scenario in starving},
        rule=at_most(0.06),
    )
    yield Claim(
        f"the same for textbook federated averaging of stateless tables (frl_fedavg), on {', '.join(starving)}",
        paper="not said which models are averaged, nor how",
        here={scenario: ratio[scenario]["frl_fedavg"] for scenario in starving},
        rule=at_most(0.15),
    )
    yield Claim(
        "Jain's index of the throughputs with frl_minrate, mean over the seeds",
        paper="better throughput fairness",
        here={scenario: methods["frl_minrate"].jain.mean() for scenario, methods in found.items()},
        rule=at_least(0.99),
    )
    names = {"frl": "frl_minrate", "random": "random", "rl": "rl", "fixed": "fixed:all"}
    yield Claim(
        "chain3_l2: smallest throughput of the methods as a share of the best possible",
        paper="better than fixed, random and RL-based allocation",
        here={short: ratio["chain3_l2"][name] for short, name in names.items()},
        rule=ordered("frl > random > rl > fixed"),
    )


def _figures(
    found: Mapping[str, Mapping[str, Outcome]],
    histories: Mapping[str, Mapping[str, History]],
    best: Mapping[str, float],
    run: Run,
) -> None:
    least = {s: {name: reached.least / best[s] for name, reached in methods.items()} for s, methods in found.items()}
    fair = {s: {name: reached.jain for name, reached in methods.items()} for s, methods in found.items()}
    label = "smallest throughput / optimum"
    run.figure(
        "fairness",
        plots.fairness_bars({label: least, "Jain's index": fair}, lines={label: 1}),
        "Smallest throughput of each step as a share of the best that any allocation gives, and fairness, in the last "
        "fifth of the steps: mean over the seeds, and from the worst to the best of them. Random actions and all links "
        "on by complete enumeration.",
    )
    shown = [scenario for scenario in STARVING if scenario in found]
    curves: dict[str, dict[str, Any]] = {
        s: {name: (history.curve_steps, history.curve_min) for name, history in histories[s].items()} for s in shown
    }
    run.figure(
        "learning",
        plots.learning_curves(curves, optimum={s: best[s] for s in shown}),
        "Smallest throughput over the steps, mean over the seeds and the band of 80 % of them. Exploration falls until "
        "half of the steps are done.",
    )
    run.figure(
        "throughput",
        plots.throughput_cdf({s: {name: reached.throughput for name, reached in found[s].items()} for s in shown}),
        "Distribution of the BSSs' throughputs over all seeds. Selfish learners give some nothing and others all.",
    )
    env, params = make_scenario("chain3_l2")
    pair = {name: histories["chain3_l2"][name] for name in ("rl", "frl_minrate")}
    run.figure(
        "actions",
        plots.action_heat_map({name: history.action_counts[0] for name, history in pair.items()}, env.num_links),
        "chain3_l2, first seed: how often each BSS chose each set of links in the last fifth of the steps. BSS 1 hears "
        "both others, which don't hear each other.",
    )
    masks = {name: masks_from_actions(history.actions[0], env.num_links) for name, history in pair.items()}
    rates = {name: np.asarray(env.throughput(params, mask)[0]) for name, mask in masks.items()}
    run.figure(
        "links",
        plots.topology_map(params.topology.adj, masks, throughput=rates),
        "chain3_l2, first seed: links that are on after the run, and the throughput of each BSS in Mb/s.",
    )
