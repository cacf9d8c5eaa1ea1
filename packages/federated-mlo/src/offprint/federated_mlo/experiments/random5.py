"""Random deployments: every method against the optimum of each deployment."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from offprint.core.experiments import Claim, Run, at_least, at_most, experiment, near
from offprint.federated_mlo import plots
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._make import make_env
from offprint.federated_mlo._topology import from_graph
from offprint.federated_mlo.data import random5_deployments
from offprint.federated_mlo.experiments._compare import digits, joint_table, learned_everywhere, outcome


@dataclass(frozen=True)
class Random5Config:
    """Settings of the comparison on random deployments of five BSSs with three links."""

    methods: tuple[str, ...] = ("frl_minrate", "rl")
    """Learners that are compared; these two are needed for the claims."""
    deployments: int = 12
    """How many of the twelve fixed deployments are used, the first ones."""
    steps: int = 4000
    """Steps of learning; throughputs are means over the last fifth."""
    seeds: int = 8
    """Runs of each method on each deployment."""
    seed: int = 0
    """Of the key that the runs' keys are split from."""


@experiment(
    "random5",
    reproduces="Abstract, on random deployments of five BSSs with links at 2.4, 5 and 6 GHz",
    paper=Random5Config(methods=("frl_minrate", "frl_mix", "frl_fedavg", "frl_fedavg_occ", "rl"), seeds=64),
)
def random5(config: Random5Config, run: Run) -> Iterator[Claim]:
    """On random placements, federated learners come near the best minimum rate; selfish ones reach half of it."""
    fixed = random5_deployments()
    count = min(config.deployments, len(fixed.adj))
    env, params = _environments(*(part[:count] for part in (fixed.adj, fixed.theta, fixed.cap)))
    tables = joint_table(params)
    least = tables.min(axis=2)
    best = least.max(axis=1)
    key = jax.random.key(config.seed)
    each = [jax.tree.map(lambda leaf, k=k: leaf[k], params) for k in range(count)]
    found = {
        name: [outcome(history) for history in learned_everywhere(name, env, each, config.steps, config.seeds, key)]
        for name in config.methods
    }
    ratio = {name: np.stack([one.least for one in reached]) / best[:, None] for name, reached in found.items()}
    # Of random actions and of all links on the table says exactly what they give.
    ratio |= {"random": (least.mean(axis=1) / best)[:, None], "fixed:all": (least[:, -1] / best)[:, None]}
    for name, values in ratio.items():
        run.log(method=name, ratio=values.mean(), worst_deployment=values.mean(axis=1).min(), each=values.mean(axis=1))
    means = {name: float(values.mean()) for name, values in ratio.items()}

    label = "smallest throughput / optimum"
    groups = {f"{k}": {name: values[k] for name, values in ratio.items()} for k in range(count)}
    run.figure(
        "deployments",
        plots.fairness_bars({label: groups}, lines={label: 1}),
        "Smallest throughput of each step as a share of the optimum of each deployment (below), over the last fifth of "
        "the steps: mean over the seeds, and from the worst to the best of them.",
    )
    rates = {name: np.stack([one.throughput for one in reached]) for name, reached in found.items()}
    rates["fixed:all"] = tables[:, -1]
    run.figure(
        "throughput",
        plots.throughput_cdf({"all deployments": rates}),
        "Distribution of the BSSs' throughputs over all deployments and seeds.",
    )

    yield Claim(
        f"smallest throughput with frl_minrate as a share of the best possible, mean of {count} deployments "
        f"({digits(means)})",
        paper="the BSSs maximise the minimum achieved data rate",
        here=means["frl_minrate"],
        rule=at_least(0.90),
    )
    yield Claim(
        "the same on the worst deployment",
        paper="the BSSs maximise the minimum achieved data rate",
        here=ratio["frl_minrate"].mean(axis=1).min(),
        rule=at_least(0.82),
    )
    yield Claim(
        "the same of selfish learners (rl), mean of the deployments",
        paper="independent learning hardly finds a good configuration",
        here=means["rl"],
        rule=at_most(0.60),
    )
    if count == len(fixed.adj):
        yield Claim(
            "the same of uniformly random actions, from the table of all joint actions",
            paper="0.311 by complete enumeration elsewhere",
            here=means["random"],
            rule=near(0.311, 0.0005),
        )
        yield Claim(
            "the same of all links on, from the table of all joint actions",
            paper="0.460 by complete enumeration elsewhere",
            here=means["fixed:all"],
            rule=near(0.460, 0.0005),
        )


def _environments(
    adj: Bool[np.ndarray, "deployments links bss bss"],
    theta: Float[np.ndarray, "deployments bss links"],
    cap: Float[np.ndarray, "deployments bss links"],
) -> tuple[MLOEnv, MLOParams]:
    """One environment, and its parameters stacked over the deployments: the tables of all in one program."""
    env = MLOEnv(cap.shape[1], cap.shape[2])
    made = jax.jit(jax.vmap(lambda *graph: make_env(from_graph(*graph))[1]))
    return env, made(jnp.asarray(adj), jnp.asarray(theta, float), jnp.asarray(cap, float))
