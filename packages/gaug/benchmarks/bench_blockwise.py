"""GAug-O without an N x N array: one joint epoch on 50 000 nodes and 500 000 edges, and the search for new edges.

    python bench_blockwise.py [--quick]

Peak memory is measured in a process of its own: the resident set's high-water mark of the whole run less that of the
same process when everything is imported and nothing built yet. Beside it stands what XLA planned for the compiled
epoch (arguments + results + temporary buffers). `--quick` takes a tenth of the nodes and edges.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from offprint.core.benchmark import measure, report
from offprint.gaug._blockwise import expected_edges, sample_graph
from offprint.gaug._edge_loss import edge_loss
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._graph import Graph
from offprint.gaug._normalize import aggregate
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._scores import top_pairs

CLASSES, FEATURES, HIDDEN = 10, 64, 128
ALPHA, BETA, TEMPERATURE = 0.01, 0.8, 1.2


def problem(nodes, edges, seed=0):
    """Random edges, three quarters of them inside ten classes; features that tell the classes apart a little."""
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, CLASSES, nodes))
    first = np.searchsorted(labels, np.arange(CLASSES + 1))
    i = rng.integers(0, nodes, int(edges * 1.2))
    low, high = first[labels[i]], first[labels[i] + 1]
    inside = rng.random(len(i)) < 0.75
    j = np.where(inside, rng.integers(low, high), rng.integers(0, nodes, len(i)))
    pairs = np.unique(np.sort(np.stack([i, j], axis=1)[i != j], axis=1), axis=0)
    pairs = pairs[np.sort(rng.permutation(len(pairs))[:edges])]
    x = rng.normal(size=(nodes, FEATURES)).astype(np.float32) + 0.5 * np.eye(CLASSES, FEATURES)[labels]
    return Graph.from_edges(pairs, nodes), jnp.asarray(x, jnp.float32), jnp.asarray(labels, jnp.int32)


def classify(graph, x, params):
    hidden = jax.nn.relu(aggregate(graph, x @ params["w0"], "sym") + params["b0"])
    return aggregate(graph, hidden @ params["w1"], "sym") + params["b1"]


def start():
    rng = np.random.default_rng(1)
    node = {
        "w0": rng.normal(size=(FEATURES, HIDDEN)) / 8,
        "b0": np.zeros(HIDDEN),
        "w1": rng.normal(size=(HIDDEN, CLASSES)) / 11,
        "b1": np.zeros(CLASSES),
    }
    graphdef, edge = nnx.split(EdgePredictor(FEATURES, rngs=nnx.Rngs(0)))
    params = {"node": jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), node), "edge": edge}
    return graphdef, params


def joint_epoch(graphdef, optimizer, backend, capacity):
    """One update of both networks, with everything that may be large as an argument."""

    def loss(params, g, x, labels, key):
        z = nnx.merge(graphdef, params["edge"], copy=True)(g, x).z
        if backend == "dense":
            sample = sample_adjacency(key, z, g, alpha=ALPHA, temperature=TEMPERATURE)
            logits, drawn = classify(sample, x, params["node"]), (sample.sum() - len(sample)) / 2
        else:
            sample = sample_graph(key, z, g, alpha=ALPHA, temperature=TEMPERATURE, capacity=capacity)
            logits = sample.apply(lambda graph, params: classify(graph, x, params), params["node"])
            drawn = sample.num_drawn
        cross = optax.softmax_cross_entropy_with_integer_labels(logits, labels)[::10].mean()
        return cross + BETA * edge_loss(z, g, mode=backend), drawn

    def step(params, state, g, x, labels, key):
        (value, drawn), grads = jax.value_and_grad(loss, has_aux=True)(params, g, x, labels, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, drawn

    return jax.jit(step, donate_argnums=(0, 1))


def resident():
    """High-water mark of the resident set, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured_epoch(nodes, edges, epochs):
    """In a process of its own: compile, run, and tell memory and time."""
    jax.block_until_ready(jnp.ones(8) + 1)
    before = resident()
    g, x, labels = problem(nodes, edges)
    graphdef, params = start()
    z = nnx.merge(graphdef, params["edge"], copy=True)(g, x).z
    capacity = int(1.25 * expected_edges(z, g, alpha=ALPHA))
    del z
    optimizer = optax.adam(0.01)
    state = optimizer.init(params)
    began = time.perf_counter()
    key = jax.random.key(0)
    compiled = joint_epoch(graphdef, optimizer, "blockwise", capacity).lower(params, state, g, x, labels, key).compile()
    took = time.perf_counter() - began
    built = resident()
    walls, cpus, losses, drawn = [], [], [], 0
    for epoch in range(epochs):
        began, began_cpu = time.perf_counter(), time.process_time()
        params, state, value, drawn = compiled(params, state, g, x, labels, jax.random.fold_in(key, epoch))
        losses.append(float(value))
        walls.append(time.perf_counter() - began)
        cpus.append(time.process_time() - began_cpu)
    plan = compiled.memory_analysis()
    planned = (
        plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    )
    return {
        "workload": f"joint epoch, N = {nodes}, E = {g.num_edges}, {int(drawn)} drawn",
        "s per epoch": float(np.median(walls)),
        "CPU-s per epoch": float(np.median(cpus)),
        "compile [s]": took,
        "peak above imports [MB]": resident() - before,
        "of it before the first epoch [MB]": built - before,
        "planned by XLA [MB]": planned / 2**20,
        "N x N float32 [MB]": 4 * nodes**2 / 2**20,
        "finite": bool(np.isfinite(losses).all()),
    }


def in_another_process(*arguments):
    done = subprocess.run([sys.executable, __file__, "--epoch", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measuring process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def cora_like(quick):
    """Both ways on a graph of Cora's size, where the dense one is possible."""
    nodes, edges = (1000, 2000) if quick else (2708, 5278)
    g, x, labels = problem(nodes, edges)
    workloads = {}
    for backend in ("dense", "blockwise"):
        graphdef, params = start()
        optimizer = optax.sgd(0.0)  # the same work every time
        step = joint_epoch(graphdef, optimizer, backend, 40 * edges)

        state = optimizer.init(params)

        def run(step=step, params=params, state=state):
            fresh = jax.tree.map(jnp.copy, (params, state))  # the step takes over what it is given
            return step(*fresh, g, x, labels, jax.random.key(0))

        workloads[backend] = run
    times, cpus = measure(workloads, repeats=3 if quick else 7), {}
    for name, run in workloads.items():
        began = time.process_time()
        jax.block_until_ready(run())
        cpus[name] = time.process_time() - began
    return [
        {
            "workload": f"joint epoch, N = {nodes}, E = {edges}, {name}",
            "ms": 1e3 * times[name].median,
            "CPU-s": cpus[name],
            "first call [s]": times[name].first,
        }
        for name in workloads
    ]


def search(quick):
    nodes, k = (20_000, 40_000) if quick else (100_000, 200_000)
    rng = np.random.default_rng(0)
    g, _, _ = problem(nodes, 5 * nodes)
    z = np.maximum(rng.normal(size=(nodes, 32)), 0).astype(np.float32)
    rows = []
    for score in ("inner", "cosine"):
        began, began_cpu = time.perf_counter(), time.process_time()
        pairs, _ = top_pairs(z, k, exclude=g, score=score)
        rows.append(
            {
                "workload": f"top_pairs, N = {nodes}, k = {len(pairs)}, {score}",
                "s": time.perf_counter() - began,
                "CPU-s": time.process_time() - began_cpu,
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the nodes and edges")
    parser.add_argument("--epoch", nargs=3, type=int, metavar=("NODES", "EDGES", "EPOCHS"), help="used by itself")
    options = parser.parse_args()
    if options.epoch:
        print(json.dumps(measured_epoch(*options.epoch)))
        return
    size = (5_000, 50_000, 3) if options.quick else (50_000, 500_000, 2)
    note = "peak: high-water mark of the resident set less that after the imports, in a process of its own"
    report("GAug-O by blocks: memory and time of a joint epoch", [in_another_process(*size)], note=note)
    report("GAug-O on a graph of Cora's size, 64 features", cora_like(options.quick))
    report("search for the best new edges", search(options.quick))


if __name__ == "__main__":
    main()
