"""Training steps of MA-GNN (batch, forward, backward, Adam) on two logs, against the same equations in PyTorch.

    python bench_training.py [--quick] [--cores N] [--only ml-1m cds]

ml-1m: MovieLens-1M, training and validation part (a log of the same size where the file is not to be had); cds: a
generated log of the size of Amazon-CDs. d = 50, h = m = 20, L = 5, T = 3, 20 earlier items, batches of 4096.
The peer is plain PyTorch: `nn.Embedding`, `torch.optim.Adam` with its (coupled) weight decay, the item graph as the
compressed-row or dense tensor, whichever is faster. Both make their batches in the step: windows are gathered and
negatives drawn, ours on the device, the peer's with PyTorch on the CPU (rejected once or twice against a table of
seen pairs). CPU time is that of all threads.
"""

import argparse
import os
import resource
from collections.abc import Callable

LOGS = {  # name: users, items, interactions of the training and validation part, as generated
    "ml-1m": (5950, 3125, 456_600),
    "cds": (17_052, 35_118, 371_149),
}
D, H, M, L, T, S, BATCH = 50, 20, 20, 5, 3, 20, 4096


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer steps and repeats")
    parser.add_argument("--cores", type=int, default=0, help="cores for everything (default 0: all)")
    parser.add_argument("--only", nargs="+", default=list(LOGS), choices=list(LOGS), help="logs")
    return parser.parse_args()


OPTIONS = arguments()
if OPTIONS.cores and hasattr(os, "sched_setaffinity"):  # before JAX and PyTorch count the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: OPTIONS.cores])

import jax  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402

from offprint.core.benchmark import measure, report, row  # noqa: E402
from offprint.core.data import DataError  # noqa: E402
from offprint.core.train import TrainState, scan  # noqa: E402
from offprint.magnn import MAGNN, Sequences, item_graph, seen_items, split_ratio, windows  # noqa: E402
from offprint.magnn._step import WindowBatches, WindowStep, optimiser  # noqa: E402
from offprint.magnn.data import movielens_1m, zipf_catalogue  # noqa: E402

STEPS = 4 if OPTIONS.quick else 20


def training_log(name: str) -> tuple[Sequences, str]:
    if name == "ml-1m":
        try:
            return split_ratio(movielens_1m()).train_val, "MovieLens-1M"
        except DataError:
            pass  # not on this machine: the generated log has to do
    users, items, interactions = LOGS[name]
    return zipf_catalogue(0, users, items, interactions), f"generated, of the size of {name}"


def ours(train: Sequences, graph) -> Callable[[], jax.Array]:
    """Trains by `STEPS` steps, as `fit` does, and goes on from there at the next call."""
    model = MAGNN(train.num_users, train.num_items, D, H, M, graph=graph, L=L, max_long=S, rngs=nnx.Rngs(0))
    found = windows(train, L, T, S)
    options = {"kind": "per_window", "num_negatives": T, "weighs": False}
    batches = WindowBatches(train, found, seen_items(train), BATCH, **options)
    step = WindowStep("bpr", 0.0, train.num_items, None)
    run = jax.jit(lambda state, batches, key: scan(step, state, batches, STEPS, key), donate_argnums=0)
    kept = [TrainState.create(model, optimiser(1e-3, 1e-3, "coupled"))]

    def call() -> jax.Array:
        kept[0], metrics = run(kept[0], batches, jax.random.key(0))
        return metrics["loss"]

    return call


def peer(train: Sequences, graph, dense: bool) -> Callable[[], float] | None:
    """The same in PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(OPTIONS.cores or os.cpu_count() or 1)
    torch.manual_seed(0)
    F, N = torch.nn.functional, train.num_items
    if dense:
        A = torch.tensor(np.array(graph.to_dense()))
    else:
        parts = (torch.tensor(np.array(part)) for part in (graph.indptr, graph.cols, graph.weights))
        A = torch.sparse_csr_tensor(*parts, size=(N, N), check_invariants=True)
    indptr, items = (torch.tensor(np.asarray(a), dtype=torch.long) for a in (train.indptr, train.items))
    found = windows(train, L, T, S)
    users, ends = (torch.tensor(np.asarray(a), dtype=torch.long) for a in (found.users, found.ends))
    owner = torch.repeat_interleave(torch.arange(train.num_users), torch.diff(indptr))
    seen = torch.zeros(train.num_users, N, dtype=torch.bool)
    seen[owner, items] = True

    P, E, Q = (torch.nn.Embedding(n, D) for n in (train.num_users, N, N))
    b = torch.nn.Parameter(torch.zeros(N))
    shapes = {"W1": (D, 2 * D), "Wa1": (D, D), "Wa2": (D, D), "Wa3": (H, D), "K": (D, M), "V": (D, M)}
    shapes |= dict.fromkeys(("Wg1", "Wg2", "Wg3", "Wr"), (D, D))
    W = {name: torch.nn.Parameter(torch.nn.init.xavier_uniform_(torch.empty(s))) for name, s in shapes.items()}
    for table in (P, E, Q):
        torch.nn.init.normal_(table.weight, std=1 / D)
    parameters = [P.weight, E.weight, Q.weight, b, *W.values()]
    adam = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-3)
    angles = torch.arange(S)[:, None] / 10000 ** (2 * (torch.arange(D) // 2) / D)
    place = torch.where(torch.arange(D) % 2 == 0, torch.sin(angles), torch.cos(angles))
    offsets = torch.arange(-S - L, T)

    def batch():
        chosen = torch.randint(len(users), (BATCH,))
        u = users[chosen]
        positions = ends[chosen][:, None] + offsets
        rows = items[(indptr[u][:, None] + positions.clamp(min=0))]
        negatives = torch.randint(N, (BATCH, T))
        while (again := seen[u[:, None], negatives]).any():
            negatives[again] = torch.randint(N, (int(again.sum()),))
        return u, rows, positions >= 0, negatives

    def mean(x, mask):
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)

    def loss():
        u, rows, real, negatives = batch()
        long, short, targets = rows.split([S, L, T], dim=1)
        long_real, short_real, _ = real.split([S, L, T], dim=1)
        p, e = P(u), E(short)
        around = F.embedding(short, A @ E.weight)
        h, e_mean = mean(torch.tanh(torch.cat([around, e], 2) @ W["W1"].T), short_real), mean(e, short_real)
        history = E(long) + place
        logits = torch.tanh(history @ W["Wa1"].T + (p @ W["Wa2"].T)[:, None]) @ W["Wa3"].T
        logits = logits.masked_fill(~long_real[..., None], -1e30)
        weights = torch.softmax(logits, 1) * long_real[..., None]
        z = torch.tanh(weights.transpose(1, 2) @ history).mean(1)
        p_H = z + torch.softmax(z @ W["K"], 1) @ W["V"].T
        g = torch.sigmoid(h @ W["Wg1"].T + p_H @ W["Wg2"].T + p @ W["Wg3"].T)
        q = p + g * h + (1 - g) * p_H + e_mean @ W["Wr"]
        candidates = torch.cat([targets, negatives], 1)
        scores = (Q(candidates) @ q[:, :, None])[..., 0] + b[candidates]
        return F.softplus(scores[:, T:] - scores[:, :T]).sum()

    def call() -> float:
        for _ in range(STEPS):
            adam.zero_grad()
            value = loss()
            value.backward()
            adam.step()
        return float(value.detach())

    return call


def cpu_seconds(call: Callable, repeats: int) -> float:
    """The least CPU time of a call, all threads together."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(repeats):
        began = used()
        jax.block_until_ready(call())
        times.append(used() - began)
    return min(times)


def compare(name: str, repeats: int) -> dict:
    train, source = training_log(name)
    graph = item_graph(train)
    mine = ours(train, graph)
    ways = {"PyTorch, compressed rows": peer(train, graph, dense=False)}
    if graph.dense is not None:
        ways["PyTorch, dense"] = peer(train, graph, dense=True)
    ways = {way: call for way, call in ways.items() if call is not None}
    times = measure({"ours": mine, **ways}, repeats=repeats)
    best = min(ways, key=lambda way: times[way].median, default=None)
    steps = -(-len(windows(train, L, T, S)) // BATCH)
    cpu, cpu_peer = (None if call is None else cpu_seconds(call, repeats) / STEPS for call in (mine, ways.get(best)))
    line = row(
        f"{name} ({source}): {train.num_users} x {train.num_items}, {graph.num_edges} edges",
        ours=times["ours"],
        peer=times.get(best),
        peer_name=best or "PyTorch",
        per=STEPS,
    )
    return line | {
        "ours [CPU-ms]": 1e3 * cpu,
        "peer [CPU-ms]": None if cpu_peer is None else 1e3 * cpu_peer,
        "CPU peer / ours": None if cpu_peer is None else cpu_peer / cpu,
        "steps in an epoch": steps,
        "our epoch [CPU-s]": cpu * steps,
    }


def main():
    lines = [compare(name, 2 if OPTIONS.quick else 5) for name in OPTIONS.only]
    cores = OPTIONS.cores or os.cpu_count()
    report("Training steps", lines, note=f"float32, batch to Adam, a step; all on {cores} core(s)")


if __name__ == "__main__":
    main()
