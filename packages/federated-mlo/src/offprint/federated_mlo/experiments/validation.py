"""The models of the channel against published and exact numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from offprint.core.experiments import Claim, Run, at_most, experiment
from offprint.federated_mlo import plots
from offprint.federated_mlo._bianchi import bianchi_throughput
from offprint.federated_mlo._clique import Counts, Decrement, sim_clique, throughput_from_counts
from offprint.federated_mlo._ctmn import ctmn_activity
from offprint.federated_mlo._graph import sim_graph
from offprint.federated_mlo._topology import Graph, Topology, from_graph, named_graph
from offprint.federated_mlo._txop import txop_times
from offprint.federated_mlo.data import published_bianchi, published_cw16
from offprint.federated_mlo.experiments._exact import Law, exact_law

_GRAPHS: dict[str, tuple[Graph, int]] = {
    "chain of 3": ("chain", 3),
    "chain of 4": ("chain", 4),
    "ring of 5": ("ring", 5),
    "clique of 3": ("clique", 3),
}
_DECREMENTS: tuple[Decrement, ...] = ("bianchi", "freeze")
_T_S = 5566.0  # us, a full TXOP with basic access


@dataclass(frozen=True)
class ValidationConfig:
    """Settings of the checks of the models."""

    replicas: int = 256
    """Independent simulations of one collision domain."""
    busy_periods: int = 4000
    """Of each of them."""
    stations: tuple[int, ...] = (2, 5, 20)
    """Sizes at which the simulation of one collision domain is set beside Bianchi's fixed point."""
    exact_stations: tuple[int, ...] = (2, 3)
    """Sizes at which it is set beside the exact law (W = 4, m = 1); the chain has 12^n states."""
    graph_seconds: float = 20.0
    """Simulated time of each run on a sensing graph."""
    graph_runs: int = 16
    """Runs on each sensing graph."""
    seed: int = 0
    """Of the simulations."""


@experiment(
    "validation",
    reproduces="Models of the channel: ns-3, Komondor, exact chains",
    paper=ValidationConfig(
        replicas=1024, busy_periods=16_000, stations=(2, 3, 5, 10, 20, 50), graph_seconds=200.0, graph_runs=64
    ),
    x64=True,
)
def validation(config: ValidationConfig, run: Run) -> Iterator[Claim]:
    """Bianchi's model gives the published throughputs, and the simulators agree with exact and analytical laws."""
    yield from _published(run)
    yield from _exact(config, run)
    yield from _fixed_point(config, run)
    yield from _networks(config, run)


def _published(run: Run) -> Iterator[Claim]:
    """Two published validations, from PHY parameters to throughputs."""
    ns3, sheet = published_bianchi(), published_cw16()
    here: dict[str, np.ndarray] = {}
    for flavour in ("eifs", "difs"):
        times = txop_times(ns3.mcs, ns3.bw_mhz, access="basic", eifs=flavour == "eifs", preset="ns3_11ax")
        result = bianchi_throughput(ns3.n, times.t_s[:, None], times.t_c[:, None], 9, times.bits[:, None])
        here[flavour] = np.asarray(result.throughput)
    published = {"eifs": ns3.throughput_eifs, "difs": ns3.throughput_difs}
    worst = {name: np.abs(here[name] / published[name] - 1).max() for name in here}
    times = txop_times(9, 20, preset="komondor")
    per_wlan = np.asarray(bianchi_throughput(sheet.n, times.t_s, times.t_c, 9, times.bits, m=0).throughput) / sheet.n
    run.log(check="published", ns3=worst, komondor=np.abs(per_wlan - sheet.throughput_bianchi).max())
    run.figure(
        "published",
        plots.agreement(
            {
                "ns-3, 802.11ax": {name: (published[name], here[name]) for name in here},
                "Komondor's sheet": {
                    "Bianchi": (sheet.throughput_bianchi, per_wlan),
                    "Komondor": (sheet.throughput_komondor, per_wlan),
                    "ns-3": _known(sheet.throughput_ns3, per_wlan),
                },
            },
            xlabel="published throughput, Mb/s",
            ylabel="Bianchi's model here, Mb/s",
            log=True,
        ),
        "Saturation throughput by Bianchi's model, from MCS, bandwidth and number of stations, against published "
        "values: totals of 5 to 50 stations (left), and of each WLAN of up to 50 (right), the latter also by two "
        "event simulators.",
    )
    yield Claim(
        f"ns-3's reference throughputs, {2 * here['eifs'].size} values: largest relative difference",
        paper="published with 4 decimals",
        here=max(worst.values()),
        rule=at_most(5e-5),
    )
    yield Claim(
        f"Komondor's validation of Bianchi's model, {sheet.n.size} values: largest difference in Mb/s",
        paper="published with 3 decimals",
        here=np.abs(per_wlan - sheet.throughput_bianchi).max(),
        rule=at_most(6e-4),
    )


def _known(published: np.ndarray, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = ~np.isnan(published)
    return published[there], here[there]


def _exact(config: ValidationConfig, run: Run) -> Iterator[Claim]:
    """The simulation of one collision domain against the joint Markov chain of all stations."""
    deviations = {}
    for n in config.exact_stations:
        for decrement in _DECREMENTS:
            counts = _simulate(config, n, 4, 1, decrement)
            law = exact_law(n, 4, 1, decrement)
            per_run = _law_of(counts)
            error = per_run.std(axis=0, ddof=1) / np.sqrt(len(per_run))
            deviations[f"n={n} {decrement}"] = np.abs(per_run.mean(axis=0) - law) / error
            run.log(check="exact", n=n, decrement=decrement, exact=law, simulated=per_run.mean(axis=0), error=error)
    yield Claim(
        "simulation of one collision domain (W = 4, m = 1) against the exact law, in standard errors: probabilities "
        "that a slot is idle and a success, attempts per slot, share of collided frames",
        paper="equal but for chance",
        here={name: values.max() for name, values in deviations.items()},
        rule=at_most(4),
    )


def _simulate(config: ValidationConfig, n: int, W: int, m: int, decrement: Decrement) -> Counts:
    key = jax.random.fold_in(jax.random.key(config.seed), n)
    return sim_clique(key, n, W, m, config.busy_periods, decrement, replicas=config.replicas, warmup=200)


def _law_of(counts: Counts) -> np.ndarray:
    """The entries of `Law`, of every replica: [replicas, 4]."""
    idle, success, collision, busy = (np.asarray(part) for part in counts)
    slots, alone = idle + busy, success.sum(axis=1)
    attempts = alone + collision.sum(axis=1)
    n = success.shape[1]
    return np.stack(Law(idle / slots, alone / slots, attempts / (n * slots), 1 - alone / attempts), axis=1)  # type: ignore[arg-type]


def _fixed_point(config: ValidationConfig, run: Run) -> Iterator[Claim]:
    """The simulation against Bianchi's decoupling assumption, W = 16, m = 6."""
    times = txop_times(7, 20, access="basic", preset="ns3_11ax")
    t_s, t_c, bits = float(times.t_s), float(times.t_c), int(times.bits)
    off: dict[Decrement, list[float]] = {decrement: [] for decrement in _DECREMENTS}
    for n in config.stations:
        model = float(bianchi_throughput(n, t_s, t_c, 9, bits).throughput)
        for decrement, rows in off.items():
            counts = _simulate(config, n, 16, 6, decrement)
            total = np.asarray(throughput_from_counts(counts, t_s, t_c, 9, bits)).sum(axis=1)
            rows.append(100 * (total.mean() / model - 1))
            error = 100 * total.std(ddof=1) / np.sqrt(len(total)) / model
            run.log(check="fixed point", n=n, decrement=decrement, percent=rows[-1], error=error)
    yield Claim(
        "throughput of the simulation in which busy periods count as slots minus that of Bianchi's model, in percent, "
        "by number of stations",
        paper="the decoupling of stations is nearly exact",
        here={f"n={n}": abs(value) for n, value in zip(config.stations, off["bianchi"])},
        rule=at_most(0.6),
    )
    yield Claim(
        "the same with counters that stand still while the medium is busy, as in 802.11",
        paper="within a few percent",
        here={f"n={n}": abs(value) for n, value in zip(config.stations, off["freeze"])},
        rule=at_most(2.5),
    )


def _networks(config: ValidationConfig, run: Run) -> Iterator[Claim]:
    """The event simulation on sensing graphs against the Markov network, which has no collisions."""
    pairs = {}
    for number, (name, (graph, num_bss)) in enumerate(_GRAPHS.items()):
        topology = from_graph(named_graph(graph, num_bss), t_s=_T_S)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 1000 + number), config.graph_runs)
        pairs[name] = (_activity(topology, keys, config.graph_seconds), _airtime(topology))
        run.log(check="network", graph=name, simulated=pairs[name][0], markov=pairs[name][1])
    run.figure(
        "networks",
        plots.agreement(
            {"": {name: (markov, simulated) for name, (simulated, markov) in pairs.items()}},
            xlabel="share of time, Markov network",
            ylabel="share of time, event simulation",
        ),
        "Share of the time in which a BSS transmits successfully: event simulation of CSMA/CA against the Markov "
        f"network, on one link, {config.graph_runs} runs of {config.graph_seconds:g} s each.",
    )
    yield Claim(
        "share of time on the air: largest difference between event simulation and Markov network, by graph",
        paper="collisions and longer backoffs after them are neglected",
        here={name: np.abs(simulated - markov).max() for name, (simulated, markov) in pairs.items()},
        rule=at_most(0.05),
    )
    chain = pairs["chain of 3"]
    yield Claim(
        "chain of 3: share of time of the middle BSS, which hears both others, in the simulation and by the model",
        paper="starved",
        here={"simulated": chain[0][1], "Markov network": chain[1][1]},
        rule=at_most(0.02),
    )


def _activity(topology: Topology, keys: Key[Array, " runs"], seconds: float) -> np.ndarray:
    """Share of time of successful TXOPs, mean of the runs."""
    t_s = topology.t_s[:, 0]
    return np.asarray(_successes(keys, topology.adj[0], t_s, seconds)).mean(axis=0) * np.asarray(t_s) / (1e6 * seconds)


@partial(jax.jit, static_argnums=3)
def _successes(keys: Key[Array, " runs"], adj: Array, t_s: Array, seconds: float) -> Int[Array, "runs bss"]:
    return jax.vmap(lambda key: sim_graph(key, adj, None, t_s, t_s, 1e6 * seconds).success)(keys)


def _airtime(topology: Topology) -> np.ndarray:
    mask = jnp.ones(topology.cap.shape, bool)
    return np.asarray(ctmn_activity(topology.adj, mask, topology.theta))[:, 0]
