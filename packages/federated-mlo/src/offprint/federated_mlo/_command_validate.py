"""What the command `validate` compares: every channel model with numbers that are known from elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from offprint.federated_mlo import data
from offprint.federated_mlo._bianchi import bianchi_throughput
from offprint.federated_mlo._clique import sim_clique, throughput_from_counts
from offprint.federated_mlo._ctmn import ctmn_activity
from offprint.federated_mlo._graph import sim_graph
from offprint.federated_mlo._topology import THETA, Graph, named_graph
from offprint.federated_mlo._txop import txop_times

REPLICAS = 500
STATIONS = (2, 5, 10, 20)


@dataclass(frozen=True)
class Check:
    """A largest difference, and how large it may be."""

    what: str
    values: int
    difference: float
    limit: float
    unit: str = ""

    def row(self) -> dict[str, Any]:
        """For a table."""
        holds = "yes" if self.difference <= self.limit else "NO"
        size = {"difference": f"{self.difference:.2g}{self.unit}", "limit": f"{self.limit:g}{self.unit}"}
        return {"what": self.what, "values": self.values} | size | {"holds": holds}


def checks(events: int, key: PRNGKeyArray) -> Iterator[Check]:
    """All comparisons, the analytical ones first."""
    yield _ns3()
    yield _komondor()
    yield from _closed_forms()
    yield _clique_against_bianchi(events, key)
    yield _chain_against_ctmn(key)


def _relative(ours: Any, theirs: Any) -> float:
    return float(np.max(np.abs(np.asarray(ours) / np.asarray(theirs) - 1)))


def _ns3() -> Check:
    table = data.published_bianchi()
    worst = 0.0
    for eifs, published in ((True, table.throughput_eifs), (False, table.throughput_difs)):
        times = txop_times(table.mcs, table.bw_mhz, access="basic", preset="ns3_11ax", eifs=eifs)
        t_s, t_c = np.asarray(times.t_s)[:, None], np.asarray(times.t_c)[:, None]
        ours = bianchi_throughput(table.n, t_s, t_c, 9.0, table.bits).throughput
        worst = max(worst, _relative(ours, published))
    return Check("Bianchi's model: the table of ns-3, 802.11ax", 2 * table.throughput_eifs.size, worst, 5e-5)


def _komondor() -> Check:
    sheet = data.published_cw16()
    times = txop_times(9, 20, preset="komondor")
    ours = bianchi_throughput(sheet.n, float(times.t_s), float(times.t_c), 9.0, float(times.bits), W=16, m=0).throughput
    worst = float(np.max(np.abs(np.asarray(ours) / sheet.n - sheet.throughput_bianchi)))
    return Check("Bianchi's model: the validation sheet of Komondor", sheet.n.size, worst, 6e-4, " Mb/s")


def _closed_forms() -> Iterator[Check]:
    tolerance = 1e-5 if jnp.zeros(()).dtype == jnp.float32 else 1e-12
    sizes = range(1, 9)
    first = [_activity("clique", n)[0] for n in sizes]
    exact = [THETA / (1 + n * THETA) for n in sizes]
    yield Check("Markov network: cliques of 1 to 8, θ / (1 + n θ)", len(exact), _relative(first, exact), tolerance)
    end, middle, weights = THETA + THETA**2, THETA, 1 + 3 * THETA + THETA**2
    exact = [end / weights, middle / weights, end / weights]
    yield Check("Markov network: chain of 3 in closed form", 3, _relative(_activity("chain", 3), exact), tolerance)


def _activity(graph: Graph, n: int) -> np.ndarray:
    return np.asarray(ctmn_activity(named_graph(graph, n), np.ones((n, 1), bool), np.full((n, 1), THETA)))[:, 0]


def _clique_against_bianchi(events: int, key: PRNGKeyArray) -> Check:
    times = txop_times(7, 20, access="basic")
    t_s, t_c, bits = float(times.t_s), float(times.t_c), float(times.bits)
    ratios = []
    for n in STATIONS:
        counts = sim_clique(key, n, events=events, decrement="bianchi", replicas=REPLICAS, warmup=200)
        total = jax.tree.map(lambda count: jnp.sum(count, axis=0, dtype=float), counts)
        simulated = np.sum(throughput_from_counts(total, t_s, t_c, 9.0, bits))
        ratios.append(simulated / float(bianchi_throughput(n, t_s, t_c, 9.0, bits).throughput))
    worst = float(np.max(np.abs(np.array(ratios) - 1)))
    stations = ", ".join(map(str, STATIONS))
    return Check(f"simulation of {stations} stations: Bianchi's model", len(STATIONS), worst, 0.006)


def _chain_against_ctmn(key: PRNGKeyArray) -> Check:
    """The ends of a chain transmit nearly all the time; the middle one starves in both, more so with collisions."""
    t_s = THETA * 67.5
    graph = np.asarray(named_graph("chain", 3))
    simulate = jax.jit(jax.vmap(lambda k: sim_graph(k, graph[0], None, t_s, t_s, 20e6).success))
    y = np.asarray(simulate(jax.random.split(key, 32)), float).mean(axis=0) * t_s / 20e6
    worst = float(np.max(np.abs(y - _activity("chain", 3))))
    return Check("simulation of a chain of 3, shares of time: Markov network", 3, worst, 0.02)
