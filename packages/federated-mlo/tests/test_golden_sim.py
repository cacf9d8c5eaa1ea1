"""The simulators against the exact law of the joint chain, Bianchi's fixed point, and another event simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo._bianchi import bianchi_throughput
from offprint.federated_mlo._clique import sim_clique, throughput_from_counts
from offprint.federated_mlo._graph import sim_graph

REPLICAS, EVENTS = 512, 1000
SEEDS = 6
HORIZON_US = 200e6


def close(samples, expected, standard_errors=4.0):
    """Whether the mean of independent samples is within some standard errors of a number that is exact."""
    samples = np.asarray(samples, float)
    return abs(samples.mean() - expected) <= standard_errors * samples.std(ddof=1) / np.sqrt(samples.size)


def test_clique_follows_the_exact_joint_chain(golden):
    exact = golden("dcf_joint_exact")
    for k, (n, W, m, freeze) in enumerate(zip(*(exact[name].tolist() for name in ("n", "W", "m", "freeze")))):
        decrement = "freeze" if freeze else "bianchi"
        counts = sim_clique(jax.random.key(k), n, W, m, EVENTS, decrement, replicas=REPLICAS, warmup=100)
        idle, success, collision, busy = (np.asarray(x, float) for x in counts)
        slots, succeeded, attempts = idle + busy, success.sum(1), (success + collision).sum(1)
        measured = {
            "pe": idle / slots,
            "ps": succeeded / slots,
            "pc": (busy - succeeded) / slots,
            "tau": attempts / n / slots,
            "p": collision.sum(1) / attempts,
        }
        for name, samples in measured.items():
            assert close(samples, exact[name][k]), (k, name, samples.mean(), exact[name][k])


@pytest.mark.parametrize("n", [2, 3])
def test_bianchi_mode_is_within_the_decoupling_error_of_the_fixed_point(n):
    """Decoupling costs 0.4 % of the throughput at n = 2 and 3; the bound is 0.6 %."""
    times = (5566.0, 5566.0, 9.0)
    counts = sim_clique(jax.random.key(n), n, 16, 6, EVENTS, "bianchi", replicas=REPLICAS, warmup=100)
    total = np.asarray(throughput_from_counts(counts, *times, 1e5)).sum(1)
    ratio = total.mean() / float(bianchi_throughput(n, *times, 1e5).throughput)
    error = total.std(ddof=1) / np.sqrt(REPLICAS) / total.mean()
    assert error < 0.0005
    assert abs(ratio - 1) <= 0.006


@pytest.fixture(scope="module")
def simulated(golden):
    """All graphs as one batch of five nodes: six of the Monte-Carlo file, and cliques of the exact one."""
    graphs, exact = golden("graph_dcf_montecarlo"), golden("dcf_joint_exact")
    cases = []
    for g in range(int(graphs["count"])):
        W, m, t_s, t_c, slot, difs = graphs[f"g{g}_params_ns"].tolist()
        cases.append((graphs[f"g{g}_adj"], graphs[f"g{g}_intf"], W, m, t_s / 1e3, t_c / 1e3))
        assert (slot, difs) == (9000, 34000)
    for k in np.flatnonzero(exact["freeze"] == 1):
        n = int(exact["n"][k])
        clique = 1 - np.eye(n, dtype=int)
        cases.append((clique, clique, int(exact["W"][k]), int(exact["m"][k]), 2500.0, 2500.0))

    def pad(graph):
        return np.pad(graph, (0, 5 - len(graph))).astype(bool)

    adj, intf = (np.stack([pad(case[i]) for case in cases]) for i in (0, 1))
    active = np.stack([np.arange(5) < len(case[0]) for case in cases])
    W, m, t_s, t_c = (np.array([case[i] for case in cases]) for i in (2, 3, 4, 5))

    def run(key, adj, intf, t_s, t_c, W, m, active):
        return sim_graph(key, adj, intf, t_s, t_c, HORIZON_US, W, m, active=active)

    over_seeds = jax.vmap(run, (0, *[None] * 7))
    keys = jax.random.split(jax.random.key(0), (len(cases), SEEDS))
    counts = jax.jit(jax.vmap(over_seeds))(keys, *map(jnp.asarray, (adj, intf, t_s, t_c, W, m, active)))
    return jax.tree.map(np.asarray, counts)


def test_graphs_match_another_event_simulation(golden, simulated):
    """Four combined standard errors, at least 1 % or 0.02 per second."""
    graphs = golden("graph_dcf_montecarlo")
    for g in range(int(graphs["count"])):
        nodes = len(graphs[f"g{g}_adj"])
        for name, counted in (("succ", simulated.success), ("coll", simulated.collision)):
            rate = counted[g, :, :nodes] / (HORIZON_US / 1e6)
            mean, sem = graphs[f"g{g}_{name}_per_s_mean"], graphs[f"g{g}_{name}_per_s_sem"]
            error = np.hypot(sem, rate.std(0, ddof=1) / np.sqrt(SEEDS))
            allowed = np.maximum(4 * error, np.maximum(0.01 * mean, 0.02))
            assert (abs(rate.mean(0) - mean) <= allowed).all(), (graphs["names"][g], name, rate.mean(0), mean)
            assert not counted[g, :, nodes:].any()


def test_graph_simulator_on_a_clique_is_the_exact_chain_with_freezing(golden, simulated):
    exact, first = golden("dcf_joint_exact"), int(golden("graph_dcf_montecarlo")["count"])
    for case, k in enumerate(np.flatnonzero(exact["freeze"] == 1)):
        n = int(exact["n"][k])
        success, collision = (x[first + case, :, :n].astype(float) for x in (simulated.success, simulated.collision))
        share = collision.sum(1) / (success + collision).sum(1)
        assert close(share, exact["p"][k]), (k, share.mean(), exact["p"][k])
