"""Training and its parts: P1 a run of 1024 seeds, P3 the table of activities, P4 a step of 100 000 BSSs.

P1 counts agent-steps: one BSS that observes, acts, is measured and learns. Its peer does the same for one seed the way
SF-CTMN does, in NumPy: it lists the feasible states of each link's Markov network in every step. P3's peer makes the
table by listing states for every pattern. CPU time is told beside wall time, for machines that others share.
"""

import argparse
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import measure, report
from offprint.federated_mlo import (
    activity_table,
    dense,
    from_graph,
    make_env,
    make_scenario,
    method,
    named_graph,
    run_sharded,
)
from offprint.federated_mlo import run as train

KEY = jax.random.key(0)
STEPS, SEEDS, PEER_STEPS = 4000, 1024, 200


def activity_by_enumeration(adj, active, theta):
    """Stationary activities of one link from its feasible states, listed one by one."""
    members = np.flatnonzero(active)
    total, y = 0.0, np.zeros(len(theta))
    for size in range(len(members) + 1):
        for state in itertools.combinations(members, size):
            if any(adj[i, j] for i, j in itertools.combinations(state, 2)):
                continue
            weight = np.prod(theta[list(state)])
            total += weight
            y[list(state)] += weight
    return y / total


def numpy_run(topology, steps, seed=0):
    """`frl_minrate` of one seed in NumPy."""
    rng = np.random.default_rng(seed)
    adj, theta, cap = (np.asarray(a, float) for a in (topology.adj, topology.theta, topology.cap))
    bss, links = cap.shape
    q, scale = np.zeros((bss, 2**links - 1)), cap.max(0).sum()
    for t in range(steps):
        epsilon = max(1 - 0.99 * t / (steps / 2), 0.01)
        ties = np.where(rng.random((bss, 1)) < epsilon, True, q == q.max(1, keepdims=True))
        actions = np.argmax(ties * rng.random(ties.shape), axis=1)
        mask = actions[:, None] + 1 >> np.arange(links) & 1
        y = np.stack([activity_by_enumeration(adj[i], mask[:, i], theta[:, i]) for i in range(links)], 1)
        d = (y * cap).sum(1).min() / scale - q[np.arange(bss), actions]
        q[np.arange(bss), actions] += np.where(d > 0, 0.1, 0.01) * d
    return q


def cpu_seconds(workload, repeats=3):
    """Least CPU time of a workload that was compiled before."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        jax.block_until_ready(workload())
        taken.append(time.process_time() - began)
    return min(taken)


def p1(seeds):
    env, params = make_scenario("random5_l3", key=KEY)
    env, agent, frl = method("frl_minrate", env, params, STEPS)
    settings = (env, params, agent, frl, STEPS)
    workloads = {"ours": lambda: train(KEY, *settings, num_seeds=seeds)}
    if len(jax.devices()) > 1:
        workloads["sharded"] = lambda: run_sharded(KEY, *settings, num_seeds=seeds)
    workloads["peer"] = functools.partial(numpy_run, params.topology, PEER_STEPS)
    times = measure(workloads, repeats=3)
    peer = PEER_STEPS * env.num_bss / times["peer"].median
    for name in ("ours", "sharded"):
        if name in times:
            done = STEPS * env.num_bss * seeds
            yield {
                "workload": f"P1 random5_l3, T={STEPS}, {seeds} seeds, {name}",
                "agent-steps / s": done / times[name].median,
                "agent-steps / CPU-s": done / cpu_seconds(workloads[name]),
                "peer (NumPy, 1 seed) / s": peer,
                "ours / peer": done / times[name].median / peer,
                "first call [s]": times[name].first,
            }


def p3():
    num_bss, links = 12, 3
    adj = np.triu(np.random.default_rng(0).random((links, num_bss, num_bss)) < 0.3, 1)
    topology = from_graph(adj | adj.swapaxes(1, 2))
    theta = np.asarray(topology.theta, float)
    few = range(0, 2**num_bss, 64)

    def listed():
        graph = np.asarray(topology.adj[0])
        return [activity_by_enumeration(graph, pattern >> np.arange(num_bss) & 1, theta[:, 0]) for pattern in few]

    times = measure({"ours": lambda: activity_table(topology.adj, topology.theta), "peer": listed}, repeats=3)
    ours, peer = times["ours"].median / (links * 2**num_bss), times["peer"].median / len(few)
    yield {
        "workload": "P3 activity_table, B=12, L=3",
        "ours [ms]": 1e3 * times["ours"].median,
        "patterns / s": 1 / ours,
        "peer (NumPy) / s": 1 / peer,
        "ours / peer": peer / ours,
        "first call [s]": times["ours"].first,
    }


def p4(num_bss):
    env, params = make_env(dense(KEY, num_bss), "bethe", reward="neigh_min")
    _, state = env.reset(KEY, params)
    action = jax.random.randint(KEY, (num_bss,), 0, env.num_actions, jnp.int32)
    step = jax.jit(env.step)
    times = measure({"step": lambda: step(KEY, state, action, params)}, repeats=3)
    yield {
        "workload": f"P4 a step of dense({num_bss}), Bethe, {env.bethe_iters} rounds",
        "ours [ms]": 1e3 * times["step"].median,
        "BSSs / s": num_bss / times["step"].median,
        "CPU [ms]": 1e3 * cpu_seconds(lambda: step(KEY, state, action, params)),
        "first call [s]": times["step"].first,
    }


def smallest():
    """Where compilation decides: the default scenario, 64 seeds."""
    env, params = make_env(from_graph(named_graph("chain", 3, 2)))
    env, agent, frl = method("frl_minrate", env, params, STEPS)
    times = measure({"run": lambda: train(KEY, env, params, agent, frl, STEPS, num_seeds=64)}, repeats=3)
    yield {
        "workload": f"chain3_l2, T={STEPS}, 64 seeds",
        "ours [ms]": 1e3 * times["run"].median,
        "first call [s]": times["run"].first,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--bss", type=int, default=100_000)
    options = parser.parse_args()
    report("federated-mlo: training", [*p1(options.seeds), *smallest()])
    report("federated-mlo: activities", list(p3()))
    report("federated-mlo: dense networks", list(p4(options.bss)))
