"""P5: the rate of single evaluations of a network of six nodes, beside mapc-sim, on one machine in one run.

mapc-sim answers what a configuration of simultaneous transmissions yields in one TXOP, we what a set of active links
yields in the long run. The figure is evaluations per second under `jax.vmap`.

mapc-sim wants a JAX of its own (~=0.5), so it runs in an environment of its own: `pip install mapc-sim` there, and name
its Python in OFFPRINT_MAPC_SIM. It is measured by this file, run by that Python.
"""

import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

BATCH = 4096
REPEATS = 7
KEY = jax.random.PRNGKey(0)
POSITIONS = [[0.0, 0.0], [12.0, 0.0], [24.0, 0.0], [2.0, 1.0], [14.0, 1.0], [26.0, 1.0]]


def ours():
    """Throughput of three BSSs (an AP and a station each) with random sets of active links."""
    from offprint.federated_mlo import from_positions, make_env

    place = jnp.array(POSITIONS)
    env, params = make_env(from_positions(place[:3], place[3:]), tables=False)
    masks = jax.random.bernoulli(KEY, 0.5, (BATCH, 3, env.num_links)).at[:, :, 0].set(True)
    evaluate = jax.jit(jax.vmap(lambda mask: env.throughput(params, mask)[0].sum()))
    return lambda: evaluate(masks)


def theirs():
    """mapc-sim's network data rate of three AP-station pairs, all transmitting at once."""
    from mapc_sim.sim import network_data_rate

    links = jnp.zeros((6, 6)).at[jnp.arange(3), jnp.arange(3) + 3].set(1)
    mcs, power, walls = jnp.full(6, 11), jnp.full(6, 20.0), jnp.zeros((6, 6))
    rate = jax.vmap(lambda key: network_data_rate(key, links, jnp.array(POSITIONS), mcs, power, 2.0, walls))
    evaluate = jax.jit(rate)
    keys = jax.random.split(KEY, BATCH)
    return lambda: evaluate(keys)


def seconds(workload):
    """Of the first call, and the median of the others."""
    taken = []
    for _ in range(1 + REPEATS):
        time.sleep(0.25)
        began = time.perf_counter()
        jax.block_until_ready(workload())
        taken.append(time.perf_counter() - began)
    return taken[0], sorted(taken[1:])[REPEATS // 2]


def row(name, first, median):
    """A row of the table."""
    return {"workload": f"P5, {name}", "evaluations / s": BATCH / median, "first call [s]": first}


def main():
    """Measure both and report."""
    from offprint.core.benchmark import report

    rows = [row("ours", *seconds(ours()))]
    python, note = os.environ.get("OFFPRINT_MAPC_SIM"), "OFFPRINT_MAPC_SIM names no Python that has mapc-sim"
    if python:
        done = subprocess.run([python, __file__, "--peer"], capture_output=True, text=True, check=True)
        rows.append(row("mapc-sim", *json.loads(done.stdout.splitlines()[-1])))
        note = ""
    report("federated-mlo: one evaluation of six nodes", rows, note=note)


if __name__ == "__main__":
    if "--peer" in sys.argv:
        print(json.dumps(seconds(theirs())))
    else:
        main()
