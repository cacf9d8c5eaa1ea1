"""Training on Cora: one joint epoch of GAug-O, a whole run of it, and the classifier alone.

Ours against the same dense arithmetic in plain PyTorch (N x N tensors, normalisation of the features and not of the
matrix), and the classifier alone against PyTorch Geometric's GCNConv. Without the data set a random graph of Cora's
size stands in. `--quick`: fewer epochs and repeats.
"""

import argparse
import functools
import importlib.util
import os
import time
from dataclasses import replace

import jax
import numpy as np
from flax import nnx

from offprint.core.benchmark import Timing, measure, report, row
from offprint.gaug import (
    GCN,
    EdgePredictor,
    GAugOConfig,
    Graph,
    SparseFeatures,
    fit_gaug_o,
    fit_node_classifier,
    paper_config,
)
from offprint.gaug.data import cora

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_PYG = HAS_TORCH and importlib.util.find_spec("torch_geometric") is not None
HIDDEN, EMBED = 128, 32


def problem():
    """Cora, or a random graph of its size; with sparse features."""
    try:
        data = cora()
        return "Cora", data.graph, data.x, np.asarray(data.y), tuple(data.split)
    except Exception as error:  # no network and no local copy: sizes are what counts here
        print(f"Cora is not at hand ({error}); a random graph of its size is used")
        rng = np.random.default_rng(0)
        n, f, c = 2708, 1433, 7
        upper = np.unique(np.sort(rng.integers(0, n, (5400, 2)), axis=1), axis=0)
        g = Graph.from_edges(upper[upper[:, 0] < upper[:, 1]], n)
        x = SparseFeatures.from_dense((rng.random((n, f)) < 0.0127).astype(np.float32))
        order = rng.permutation(n)
        return (
            "random graph of Cora's size",
            g,
            x,
            rng.integers(0, c, n),
            (order[:140], order[140:640], order[640:1640]),
        )


def ours(g, x, y, split, cfg, seed=0):
    classes = int(y.max()) + 1
    node = GCN(x.shape[1], HIDDEN, classes, rngs=nnx.Rngs(seed))
    edge = EdgePredictor(x.shape[1], HIDDEN, EMBED, rngs=nnx.Rngs(seed + 1))
    return fit_gaug_o(node, edge, g, x, y, split, cfg, key=jax.random.key(seed))


class TorchRun:
    """GAug-O with a GCN, written plainly: every N x N array is a dense tensor, gradients by autograd."""

    def __init__(self, g, x, y, split, cfg: GAugOConfig, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch, self.cfg = torch, cfg
        n, f, c = g.num_nodes, x.shape[1], int(y.max()) + 1
        self.x, self.y = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(y), dtype=torch.long)
        self.train, self.val, self.test = (torch.tensor(np.asarray(part), dtype=torch.long) for part in split)
        i, j = (torch.tensor(part, dtype=torch.long) for part in g.edges().T)
        self.adjacency = torch.eye(n)
        self.adjacency[i, j] = self.adjacency[j, i] = 1.0
        rows = torch.cat([i, j, torch.arange(n)])
        columns = torch.cat([j, i, torch.arange(n)])
        scale = self.adjacency.sum(1).rsqrt()
        weights = scale[rows] * scale[columns]
        self.normalized = torch.sparse_coo_tensor(torch.stack([rows, columns]), weights, (n, n)).to_sparse_csr()
        total = self.adjacency.sum()
        self.pos_weight, self.norm = (n * n - total) / total, n * n / (2 * (n * n - total))

        def glorot(a, b):
            return torch.nn.init.xavier_uniform_(torch.empty(a, b)).requires_grad_()

        self.edge = [glorot(f, HIDDEN), glorot(HIDDEN, EMBED)]
        self.node = [glorot(f, HIDDEN), torch.zeros(HIDDEN, requires_grad=True), glorot(HIDDEN, c),
                     torch.zeros(c, requires_grad=True)]  # fmt: skip
        self.fresh_optimizers()

    def fresh_optimizers(self):
        adam, cfg = self.torch.optim.Adam, self.cfg
        self.edge_optimizer = adam(self.edge, lr=cfg.lr)
        self.node_optimizer = adam(self.node, lr=cfg.lr, weight_decay=cfg.weight_decay)

    def embedding(self):
        h = self.normalized @ (self.x @ self.edge[0])
        return self.torch.relu(self.normalized @ (h @ self.edge[1]))

    def classify(self, propagate, training):
        w0, b0, w1, b1 = self.node
        h = self.torch.relu(propagate(self.x @ w0) + b0)
        return propagate(self.torch.nn.functional.dropout(h, 0.5, training) @ w1) + b1

    def original(self, h):
        return self.normalized @ h

    def edge_loss(self, logits):
        loss = self.torch.nn.functional.binary_cross_entropy_with_logits
        return self.norm * loss(logits, self.adjacency, pos_weight=self.pos_weight)

    def sample(self, logits):
        torch, cfg = self.torch, self.cfg
        p = cfg.alpha * logits / logits.max() + (1 - cfg.alpha) * self.adjacency
        eps = torch.finfo(p.dtype).eps
        soft = torch.sigmoid((torch.logit(torch.rand_like(p), eps) + torch.logit(p, eps)) / cfg.temperature)
        hard = soft.round()
        upper = (hard.detach() + soft - soft.detach()).triu(1)
        return upper + upper.T + torch.eye(len(p))

    def edge_epoch(self):
        z = self.embedding()
        loss = self.edge_loss(z @ z.T)
        self.edge_optimizer.zero_grad()
        loss.backward()
        self.edge_optimizer.step()

    def node_epoch(self):
        logits = self.classify(self.original, True)
        loss = self.torch.nn.functional.cross_entropy(logits[self.train], self.y[self.train])
        self.node_optimizer.zero_grad()
        loss.backward()
        self.node_optimizer.step()
        self.scores()

    def joint_epoch(self):
        z = self.embedding()
        link = z @ z.T
        sampled = self.sample(link)
        scale = sampled.sum(1, keepdim=True).rsqrt()
        logits = self.classify(lambda h: scale * (sampled @ (scale * h)), True)
        loss = self.torch.nn.functional.cross_entropy(logits[self.train], self.y[self.train])
        loss = loss + self.cfg.beta * self.edge_loss(link)
        self.edge_optimizer.zero_grad()
        self.node_optimizer.zero_grad()
        loss.backward()
        self.edge_optimizer.step()
        self.node_optimizer.step()
        return self.scores()

    def scores(self):
        with self.torch.no_grad():
            predicted = self.classify(self.original, False).argmax(1)
        return [float((predicted[part] == self.y[part]).float().mean()) for part in (self.val, self.test)]

    def run(self):
        for _ in range(self.cfg.pretrain_edge):
            self.edge_epoch()
        for _ in range(self.cfg.pretrain_nodes):
            self.node_epoch()
        self.fresh_optimizers()
        return [self.joint_epoch() for _ in range(self.cfg.epochs)]


def pyg_classifier(g, x, y, split, epochs):
    """A GCN of PyTorch Geometric: the same widths, dropout, optimiser and evaluation in every epoch."""
    import torch
    from torch_geometric.nn import GCNConv

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = GCNConv(x.shape[1], HIDDEN, cached=True)
            self.last = GCNConv(HIDDEN, int(y.max()) + 1, cached=True)

        def forward(self, h, edges):
            h = torch.relu(self.first(h, edges))
            return self.last(torch.nn.functional.dropout(h, 0.5, self.training), edges)

    i, j = g.edges().T
    edges = torch.tensor(np.stack([np.concatenate([i, j]), np.concatenate([j, i])]), dtype=torch.long)
    features, labels = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(y), dtype=torch.long)
    train, val, test = (torch.tensor(np.asarray(part), dtype=torch.long) for part in split)

    def run():
        torch.manual_seed(0)
        model = Network()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
        for _ in range(epochs):
            model.train()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(features, edges)[train], labels[train]).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                predicted = model(features, edges).argmax(1)
            scores = [float((predicted[part] == labels[part]).float().mean()) for part in (val, test)]
        return scores

    return run


def processor_seconds(workload):
    """Processor time of all threads of one call, which a busy machine changes less than the time on the clock."""
    began = time.process_time()
    workload()
    return time.process_time() - began


def with_processor(line, ours_run, peer_run, per=1):
    line["ours [CPU ms]"] = 1e3 * processor_seconds(ours_run) / per
    line["peer [CPU ms]"] = None if peer_run is None else 1e3 * processor_seconds(peer_run) / per
    return line


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs and repeats")
    quick = parser.parse_args().quick
    repeats, threads = (1, os.cpu_count() or 1) if quick else (3, os.cpu_count() or 1)
    name, g, x, y, split = problem()
    dense = np.asarray(x.to_dense(), np.float32)  # for the peers
    paper = paper_config("cora", "gcn", "o")
    rows, notes = [], ["features: ours sparse, the peers' dense, as their users have them"]

    epochs = 4 if quick else 25
    for backend in ("dense", "blockwise"):
        cfg = replace(paper, pretrain_edge=2 if quick else 20, pretrain_nodes=0, epochs=epochs, backend=backend)
        none = replace(cfg, epochs=1)
        run = lambda cfg=cfg: ours(g, x, y, split, cfg).history["loss"]  # noqa: E731
        short = lambda cfg=none: ours(g, x, y, split, cfg).history["loss"]  # noqa: E731
        torch_run = TorchRun(g, dense, y, split, cfg, threads) if HAS_TORCH else None
        peer = (lambda run=torch_run: [run.joint_epoch() for _ in range(epochs)]) if HAS_TORCH else None
        times = measure({"all": run, "short": short, **({"peer": peer} if peer else {})}, repeats=repeats)
        # What both runs share (edge pretraining, set-up) is taken off: joint epochs are left.
        seconds = (times["all"].median - times["short"].median) / (epochs - 1)
        line = row(f"joint epoch, {backend}", ours=Timing(seconds, seconds, times["all"].first), peer=None)
        if peer:
            each = times["peer"].median / epochs
            line |= {"peer": "PyTorch", "peer [ms]": 1e3 * each, "peer / ours": each / seconds}
            line["peer [CPU ms]"] = 1e3 * processor_seconds(peer) / epochs
        line["ours [CPU ms]"] = 1e3 * (processor_seconds(run) - processor_seconds(short)) / (epochs - 1)
        rows.append(line)

    cfg = replace(paper, pretrain_edge=4, pretrain_nodes=2, epochs=5) if quick else paper
    cfg = replace(cfg, patience=cfg.epochs)
    run = lambda: ours(g, x, y, split, cfg).history["loss"]  # noqa: E731
    peer = TorchRun(g, dense, y, split, cfg, threads).run if HAS_TORCH else None
    times = measure({"ours": run, **({"peer": peer} if peer else {})}, repeats=1)
    label = f"GAug-O, {cfg.pretrain_edge} + {cfg.pretrain_nodes} + {cfg.epochs} epochs"
    line = row(label, ours=times["ours"], peer=times.get("peer"), peer_name="PyTorch")
    rows.append(with_processor(line, run, peer))

    epochs = 20 if quick else 200
    model = GCN(x.shape[1], HIDDEN, int(y.max()) + 1, rngs=nnx.Rngs(0))

    def alone(features):
        return fit_node_classifier(model, g, features, y, split, epochs=epochs, key=jax.random.key(0)).history

    peer = pyg_classifier(g, dense, y, split, epochs) if HAS_PYG else None
    for label, features in (("sparse", x), ("dense", dense)):
        run = functools.partial(alone, features)
        times = measure({"ours": run, **({"peer": peer} if peer else {})}, repeats=repeats)
        line = row(
            f"GCN alone, epoch, {label}", ours=times["ours"], peer=times.get("peer"), peer_name="PyG", per=epochs
        )
        rows.append(with_processor(line, run, peer, per=epochs))
    if not HAS_TORCH:
        notes.append("PyTorch is not installed: skipped")
    elif not HAS_PYG:
        notes.append("PyTorch Geometric is not installed: skipped")
    report(f"training, {name}, N={g.num_nodes}, E={g.num_edges}", rows, note="; ".join(notes))


if __name__ == "__main__":
    main()
