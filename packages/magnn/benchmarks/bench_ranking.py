"""Full-catalogue ranking and its metrics, against plain PyTorch and against the way public code does it.

The catalogues have the sizes of MovieLens-1M and Amazon-CDs under the paper's protocol; vectors are random, d = 50.
Peers get every user's query vector for nothing, 256 users at a time:

- PyTorch: one product, seen items set to -inf, torch.topk;
- public code: user, union and item-item scores apart, the last as (users, L, items); seen items set to 0 through a
  matrix on the host, NumPy's argpartition and argsort; then precision, recall, MAP and NDCG in a loop over users.

CPU seconds of all threads are given beside the time, which other programs on the machine lengthen.
"""

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from offprint.core.benchmark import report
from offprint.magnn import Sequences, evaluate, recommend, split_ratio
from offprint.magnn.baselines import BPRMF
from offprint.magnn.data import zipf_catalogue

D, L, K, KS, PEER_USERS = 50, 5, 20, (5, 10, 15, 20), 256
SIZES = {
    "ML-1M size, 5,950 x 3,125": ((5_950, 3_125, 573_726), 3),
    "CDs size, 17,052 x 35,118": ((17_052, 35_118, 472_265), 1),  # the public way takes a minute of CPU time
}
"""Users, items and interactions; timed repeats."""
QUICK = {"2,000 x 3,125": ((2_000, 3_125, 200_000), 1)}


def given_model(num_users, num_items):
    """Matrix factorisation: its queries cost nothing, as the peers' do."""
    model = BPRMF(num_users, num_items, D, rngs=nnx.Rngs(0))
    model.b[...] = 0.1 * jax.random.normal(jax.random.key(1), (num_items,))
    return model


class Peer:
    """Users' queries and items in PyTorch."""

    def __init__(self, model, split, threads):
        import torch

        self.torch, self.threads = torch, threads
        self.P, self.Q, self.b = (torch.tensor(np.asarray(x[...])) for x in (model.P, model.Q, model.b))
        self.E = torch.randn_like(self.Q) / D
        self.known, self.split = split.train_val, split
        self.short = np.stack([np.resize(self.known.of(u)[-L:], L) for u in range(self.known.num_users)])
        self.test = [split.test.of(u) for u in range(self.known.num_users)]

    def blocks(self):
        indptr, items = np.asarray(self.known.indptr), np.asarray(self.known.items)
        for start in range(0, self.known.num_users, PEER_USERS):
            users = np.arange(start, min(start + PEER_USERS, self.known.num_users))
            rows = np.repeat(users - start, np.diff(indptr)[users])
            yield users, rows, items[indptr[users[0]] : indptr[users[-1] + 1]]

    def top_k(self):
        """One product, a mask, torch.topk."""
        torch = self.torch
        torch.set_num_threads(self.threads)
        lists = []
        with torch.no_grad():
            for users, rows, seen in self.blocks():
                scores = torch.addmm(self.b, self.P[users], self.Q.T)
                scores[torch.from_numpy(rows), torch.from_numpy(seen).long()] = -math.inf
                lists.append(scores.topk(K).indices)
        return torch.cat(lists).numpy()

    def public(self):
        """As public code ranks: three scores, a zero mask and a partition on the host."""
        torch = self.torch
        torch.set_num_threads(self.threads)
        lists = []
        with torch.no_grad():
            for users, rows, seen in self.blocks():
                scores = self.b + self.P[users] @ self.Q.T + self.P[users] @ self.Q.T
                scores = scores + (self.E[self.short[users]] @ self.Q.T).sum(1)  # (users, L, items) on the way
                predicted = scores.numpy().copy()
                predicted[rows, seen] = 0
                best = np.argpartition(predicted, -K)[:, -K:]
                order = np.argsort(np.take_along_axis(predicted, best, 1))[:, ::-1]
                lists.append(np.take_along_axis(best, order, 1))
        return np.concatenate(lists)

    def metrics_by_loop(self, lists):
        """Precision, recall, MAP and NDCG, one user and one K after another."""
        means = {}
        for k in KS:
            sums, counted = np.zeros(4), 0
            for actual, predicted in zip(self.test, lists.tolist()):
                wanted = set(actual.tolist())
                if not wanted:
                    continue
                hits, precisions, gain = 0, 0.0, 0.0
                for place, item in enumerate(predicted[:k]):
                    if item in wanted:
                        hits += 1
                        precisions += hits / (place + 1)
                        gain += 1 / math.log2(place + 2)
                best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
                sums += hits / k, hits / len(wanted), precisions / min(k, len(wanted)), gain / best
                counted += 1
            means |= {f"{name}@{k}": s / counted for name, s in zip(("precision", "recall", "map", "ndcg"), sums)}
        return means


def measured(workloads, repeats):
    """Median seconds and CPU seconds of each, in turn; the first call apart."""
    first, taken = {}, {name: [] for name in workloads}
    for name, run in workloads.items():
        began = time.perf_counter()
        run()
        first[name] = time.perf_counter() - began
    for _ in range(repeats):
        for name, run in workloads.items():
            time.sleep(0.3)  # threads of the one before come to rest
            began, cpu = time.perf_counter(), time.process_time()
            run()
            taken[name].append((time.perf_counter() - began, time.process_time() - cpu))
    medians = {name: tuple(map(statistics.median, zip(*pairs))) for name, pairs in taken.items()}
    return medians, first


def compare(workload, model, split, repeats):
    def ours():
        return evaluate(recommend(model, split.train_val, K).items, split.test, KS)

    workloads = {"ranking": lambda: recommend(model, split.train_val, K), "ranking and metrics": ours}
    if importlib.util.find_spec("torch") is not None:
        peer = Peer(model, split, threads=2)
        check(peer, recommend(model, split.train_val, K).items, ours())
        workloads |= {
            "PyTorch": peer.top_k,
            "PyTorch, loop": lambda: peer.metrics_by_loop(peer.top_k()),
            "public": lambda: peer.metrics_by_loop(peer.public()),
        }
    times, first = measured(workloads, repeats)
    pairs = {"ranking": ["PyTorch"], "ranking and metrics": ["PyTorch, loop", "public"]}
    for what, peers in pairs.items():
        line = {"workload": f"{workload}: {what}", "ours [s]": times[what][0], "ours [CPU s]": times[what][1]}
        for name in peers:
            if name in times:
                yield line | {
                    "peer": {"PyTorch, loop": "PyTorch + loop", "public": "public way + loop"}.get(name, name),
                    "peer [s]": times[name][0],
                    "peer [CPU s]": times[name][1],
                    "peer / ours": times[name][0] / times[what][0],
                    "CPU, peer / ours": times[name][1] / times[what][1],
                    "first call [s]": first[what],
                }
        if not set(peers) & times.keys():
            yield line | {"first call [s]": first[what]}


def check(peer, items, metrics):
    """Both rank and measure the same."""
    lists = peer.top_k()
    assert (lists == items).mean() > 0.999, "scores that differ in their last bit may change places, no more"
    by_loop = peer.metrics_by_loop(items)
    assert all(abs(by_loop[name] - metrics.as_dict()[name]) < 1e-9 for name in by_loop)


def peak():
    """Most memory that this process ever held, in MB; ru_maxrss would begin with the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: memory is measured on Linux")


def memory(num_users, num_items):
    """In a process of its own: how much its peak grew by ranking."""
    d = 16
    model = BPRMF(num_users, num_items, d, rngs=nnx.Rngs(0))
    sequences = Sequences.from_lists([[u, u + 1] for u in range(num_users)], num_items)
    jax.block_until_ready(jnp.ones(8) @ jnp.ones(8))
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    recommend(model, sequences, K)
    print(
        json.dumps(
            {
                "workload": f"{num_users:,} x {num_items:,}, d = {d}",
                "ours [s]": time.perf_counter() - began,
                "ours [CPU s]": time.process_time() - cpu,
                "memory before [MB]": before,
                "peak [MB]": peak(),
                "item table [MB]": num_items * d * 4 / 2**20,
                "all scores [MB]": num_users * num_items * 4 / 2**20,
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one small catalogue")
    parser.add_argument("--memory", nargs=2, type=int, metavar=("USERS", "ITEMS"), help="measure one process's peak")
    options = parser.parse_args()
    if options.memory:
        memory(*options.memory)
        return
    rows = []
    for workload, (size, repeats) in (QUICK if options.quick else SIZES).items():
        split = split_ratio(zipf_catalogue(0, *size))
        rows += compare(workload, given_model(*size[:2]), split, repeats)
    report(f"top {K} of the whole catalogue, d = {D}", rows, note="PyTorch with 2 threads, 256 users at a time")
    size = (256, 200_000) if options.quick else (2_048, 1_000_000)
    child = subprocess.run(
        [sys.executable, __file__, "--memory", *map(str, size)], check=True, capture_output=True, text=True
    )
    report("memory of ranking", [json.loads(child.stdout)], note="with compilation; the table is laid out once more")


if __name__ == "__main__":
    main()
