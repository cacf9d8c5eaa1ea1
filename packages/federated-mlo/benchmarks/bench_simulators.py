"""Event-level simulators of contention: busy periods and TXOPs per second.

P2 is `sim_clique` with 10 stations, 1024 replicas of 1000 busy periods. The peer measured here is the same process
written as a loop over slots in NumPy. Komondor and ns-3 are not run: their lines are the wall-clock times that the
authors of Komondor published for their validation (fixed contention window of 16 values, RTS/CTS, 20 MHz; the time
that was simulated, about 1000 s, is inferred from their event counts), and on another machine.

Each line also says how much per second of processor time, which a machine that does other work distorts less.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import measure, report
from offprint.federated_mlo._clique import sim_clique
from offprint.federated_mlo._graph import sim_graph
from offprint.federated_mlo._multilink_sim import sim_multilink
from offprint.federated_mlo._topology import named_graph

REPEATS = 5
REPLICAS, EVENTS = 1024, 1000
T_S, T_C = 5566.0, 214.0  # us, RTS/CTS
SLOTS_OF_PEER = 20_000
PUBLISHED = {  # stations: wall-clock seconds of Komondor, of ns-3
    4: (2.078, 52.108),
    8: (4.724, 100.104),
    16: (15.374, 206.936),
    32: (157.806, 430.701),
}
PUBLISHED_SIMULATED_S = 1000.0


def slot_loop(stations, slots, W=16, m=6, seed=0):
    """Busy periods in a number of slots, one slot at a time; a busy period is a slot and freezes nobody."""
    rng = np.random.default_rng(seed)
    stage = np.zeros(stations, int)
    counter = rng.integers(0, W, stations)
    busy = 0
    for _ in range(slots):
        due = counter == 0
        if due.any():
            busy += 1
            stage[due] = 0 if due.sum() == 1 else np.minimum(stage[due] + 1, m)
            counter[due] = rng.integers(0, W << stage[due]) + 1
        counter -= 1
    return busy


def processor_seconds(workload):
    """Least processor time of a call."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        jax.block_until_ready(workload())
        taken.append(time.process_time() - began)
    return min(taken)


def line(name, what, ours, count, peer=None):
    """A row of a table: `count(result)` events in a call of `ours`."""
    timing = measure({name: ours}, repeats=REPEATS)[name]
    events = count(ours())
    rate = events / timing.median
    row = {
        "workload": name,
        "of": what,
        "per second": rate,
        "per processor second": events / processor_seconds(ours),
        "first call [s]": timing.first,
    }
    if peer is not None:
        row |= {"slot loop, per second": peer, "ratio": rate / peer}
    return row


def cliques():
    rows = []
    for stations in (3, 10, 50):

        def ours(stations=stations):
            return sim_clique(jax.random.key(0), stations, events=EVENTS, decrement="bianchi", replicas=REPLICAS)

        began = time.perf_counter()
        peer = slot_loop(stations, SLOTS_OF_PEER) / (time.perf_counter() - began)
        rows.append(line(f"n = {stations}", "busy periods", ours, lambda counts: float(counts.busy.sum()), peer))
    report(f"P2: sim_clique, {REPLICAS} replicas of {EVENTS} busy periods, W = 16, m = 6", rows)


def published():
    rows = []
    for stations, (komondor, ns3) in PUBLISHED.items():

        def ours(stations=stations):
            return sim_clique(jax.random.key(0), stations, 16, 0, EVENTS, replicas=REPLICAS)

        counts = ours()
        collided = counts.busy - counts.success.sum(-1)
        channel_s = float((counts.idle * 9.0 + counts.success.sum(-1) * 5647.0 + collided * 155.0).sum()) / 1e6
        seconds = measure({"ours": ours}, repeats=REPEATS)["ours"].median
        rows.append(
            {
                "BSSs": stations,
                "ours [simulated s / s]": channel_s / seconds,
                "Komondor, published": PUBLISHED_SIMULATED_S / komondor,
                "ns-3, published": PUBLISHED_SIMULATED_S / ns3,
            }
        )
    note = "Komondor and ns-3 simulate PHY and frames as well; their figures are quoted, not measured here"
    report("Simulated seconds of one channel per second of wall clock, W = 16, m = 0", rows, note=note)


def txops(counts):
    """All that were sent."""
    return float(jnp.sum(counts.success + counts.collision))


def graphs():
    rows = []
    for name, bss in (("chain", 3), ("ring", 5), ("grid2d", 16)):
        adj = named_graph(name, bss)[0]
        run = jax.jit(jax.vmap(lambda key, adj=adj: sim_graph(key, adj, None, T_S, T_C, 10e6)))
        for lanes in (1, 32, 1024):
            ours = partial(run, jax.random.split(jax.random.key(0), lanes))
            rows.append(line(f"{name} of {bss}, {lanes} at once", "TXOPs", ours, txops))
    report("sim_graph, 10 s of channel time each", rows, note="a TXOP is two events, its start and its end")


def devices():
    rows = []
    adj = named_graph("chain", 3, 2)
    keys = jax.random.split(jax.random.key(0), 256)
    for mld in ("str", "nstr", "emlsr"):
        run = jax.jit(jax.vmap(lambda key, mld=mld: sim_multilink(key, adj, None, T_S, T_C, 10e6, mld)))
        rows.append(line(f"{mld}, 256 at once", "TXOPs", partial(run, keys), txops))
    report("sim_multilink, chain of 3 BSSs with 2 links, 10 s of channel time each", rows)


def main():
    for table in (cliques, published, graphs, devices):
        table()


if __name__ == "__main__":
    main()
