"""What fairness costs: the smallest throughput against the throughput of all BSSs together."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from offprint.core.experiments import Claim, Run, at_least, between, experiment
from offprint.federated_mlo import plots
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo.experiments._compare import joint_table, learned, outcome, unlearned


@dataclass(frozen=True)
class PriceConfig:
    """Settings of the comparison of totals."""

    scenarios: tuple[str, ...] = ("chain3_l2", "random5_l3")
    """Topologies; "chain3_l2" is needed for the claims."""
    methods: tuple[str, ...] = ("frl_minrate", "rl")
    """Learners that are compared; these are needed for the claims."""
    allocations: tuple[str, ...] = ("random", "fixed:all", "greedy_coloring", "oracle_pf")
    """What they are compared with, by complete enumeration."""
    steps: int = 4000
    """Steps of learning; throughputs are means over the last fifth."""
    seeds: int = 32
    """Runs of each method."""
    seed: int = 0
    """Of the runs' keys and of the random deployment."""


@experiment(
    "price-of-fairness",
    reproduces="Cost of the minimum rate in total throughput",
    paper=PriceConfig(scenarios=("chain3_l2", "star4_l2", "chain5_l2", "chain4_l3", "random5_l3"), seeds=64),
)
def price_of_fairness(config: PriceConfig, run: Run) -> Iterator[Claim]:
    """The largest smallest throughput costs a part of the total; no allocation has both."""
    panels: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    fronts: dict[str, np.ndarray] = {}
    for scenario in config.scenarios:
        key = jax.random.key(config.seed)
        env, params = make_scenario(scenario, key=key)
        table = joint_table(params)
        fronts[scenario] = pareto(table.min(axis=1), table.sum(axis=1))
        found = {name: outcome(learned(name, env, params, config.steps, config.seeds, key)) for name in config.methods}
        found |= {name: unlearned(name, env, params) for name in config.allocations}
        panels[scenario] = {name: (reached.least, reached.total) for name, reached in found.items()}
        for name, (least, total) in panels[scenario].items():
            run.log(scenario=scenario, method=name, smallest=least.mean(), total=total.mean())
        front = fronts[scenario]
        run.log(scenario=scenario, method="best possible", smallest=front[:, 0].max(), total=front[:, 1].max())
    run.figure(
        "trade-off",
        plots.trade_off(panels, fronts),
        "Throughput of all BSSs together against that of the smallest, each run a dot; the line joins the allocations "
        "that no other one beats in both.",
    )
    totals = {name: float(values.mean()) for name, (_, values) in panels["chain3_l2"].items()}
    front = fronts["chain3_l2"]
    yield Claim(
        f"chain3_l2: total throughput with frl_minrate over that of selfish learners ({totals['frl_minrate']:.0f} of "
        f"{totals['rl']:.0f} Mb/s)",
        paper="not said; the minimum rate is what is maximised",
        here=totals["frl_minrate"] / totals["rl"],
        rule=between(0.72, 0.79),
    )
    yield Claim(
        f"chain3_l2: the same of the best possible totals: with the largest minimum rate over any ({front[-1, 1]:.0f} "
        f"of {front[0, 1]:.0f} Mb/s)",
        paper="not said; three quarters by complete enumeration",
        here=front[-1, 1] / front[0, 1],
        rule=between(0.75, 0.76),
    )
    yield Claim(
        "chain3_l2: total throughput with frl_minrate over that of the best allocation for the minimum rate",
        paper="the BSSs maximise the minimum achieved data rate",
        here=totals["frl_minrate"] / front[-1, 1],
        rule=at_least(0.98),
    )


def pareto(
    least: Float[np.ndarray, " allocations"], total: Float[np.ndarray, " allocations"]
) -> Float[np.ndarray, "points 2"]:
    """The allocations that no other one beats in both, as (least, total), from the largest total on."""
    order = np.lexsort((-least, -total))
    pairs = np.stack([least[order], total[order]], axis=1)
    record = np.maximum.accumulate(np.append(-np.inf, pairs[:-1, 0]))
    return pairs[pairs[:, 0] > record]
