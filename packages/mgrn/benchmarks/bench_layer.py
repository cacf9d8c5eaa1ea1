"""Training steps of the layer (forward, backward, Adam) on four workloads, against PyTorch and flax.

    python bench_layer.py [--quick] [--cores N] [--only A B C D]

Peers: the same equations in PyTorch, eager, as a loop over groups and steps; PyTorch's LSTM and flax's
`nnx.RNN(OptimizedLSTMCell)` of J units, which is what the layer replaces. All run on the same cores (one, unless
`--cores` says otherwise; PyTorch has as many threads) and read fresh batches (B, T, F) from memory. JAX runs a chunk of
steps in each call, as `offprint.core.train.fit` does. Peers that are not installed are left out.
"""

import argparse
import os

WORKLOADS = {  # name: steps T, batch B, sizes of the groups, H, s, training steps in a call
    "A simulation": (5, 128, (8, 8), 6, 4, 100),
    "B archive": (182, 32, (1, 1, 1), 64, 4, 3),
    "C mortality": (48, 8, (3, 2, 2, 9, 13, 14, 13, *[2] * 10), 8, 8, 20),
    "D decompensation": (72, 128, (3, 2, 2, 9, 13, 14, 13, *[2] * 10), 64, 4, 2),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats, and only the default way to run")
    parser.add_argument("--cores", type=int, default=1, help="cores for everything (default 1; 0 for all)")
    parser.add_argument("--only", nargs="+", default=[name[0] for name in WORKLOADS], help="workloads, by letter")
    return parser.parse_args()


OPTIONS = arguments()
if OPTIONS.cores and hasattr(os, "sched_setaffinity"):  # before JAX and PyTorch count the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: OPTIONS.cores])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import nnx  # noqa: E402

from offprint.core.benchmark import measure, report, row  # noqa: E402
from offprint.core.train import TrainState, supervised_step  # noqa: E402
from offprint.mgrn import MGRN, Execution  # noqa: E402

WAYS = {
    "custom derivative": Execution(),
    "autodiff of the scan": Execution(vjp="autodiff"),
    "chunks of sqrt(T)": Execution(remat=True),
    "8 steps an iteration": Execution(unroll=8),
}
if jax.default_backend() == "gpu":
    WAYS["Pallas kernel"] = Execution(kernel="pallas")


class Last(nnx.Module):
    """A linear head on the last state of a layer."""

    def __init__(self, layer, units, rngs):
        self.layer, self.head = layer, nnx.Linear(units, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(self.layer(x))


class FlaxLSTM(nnx.Module):
    """flax's LSTM; its state after the last step."""

    def __init__(self, features, units, rngs):
        self.rnn = nnx.RNN(nnx.OptimizedLSTMCell(features, units, rngs=rngs), return_carry=True)

    def __call__(self, x):
        (_, h), _ = self.rnn(x)
        return h


def ours(groups, hidden, size_of, execution):
    return Last(MGRN(groups, hidden, size_of, execution=execution, rngs=nnx.Rngs(0)), hidden * size_of, nnx.Rngs(1))


def flax_lstm(features, units):
    return Last(FlaxLSTM(features, units, nnx.Rngs(0)), units, nnx.Rngs(1))


def jax_training(model, x, y):
    """A function that trains `model` by one step on each of the batches; it keeps its state from call to call."""
    step = supervised_step(lambda model, batch, key: jnp.mean((model(batch[0]) - batch[1]) ** 2))
    leaves, treedef = jax.tree.flatten(TrainState.create(model, optax.adam(1e-3)))

    def chunk(leaves, x, y):
        def body(leaves, batch):
            state, metrics = step(jax.tree.unflatten(treedef, leaves), batch, jax.random.key(0))
            return jax.tree.leaves(state), metrics["loss"]

        return jax.lax.scan(body, leaves, (x, y))

    run, data, kept = jax.jit(chunk, donate_argnums=0), jax.device_put((x, y)), [leaves]

    def call():
        kept[0], losses = run(kept[0], *data)
        return losses

    return call


def torch_peers(T, B, groups, hidden, size_of, x, y):
    """The two peers in PyTorch, by name; none where it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(OPTIONS.cores or os.cpu_count() or 1)
    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    features, units, F = list(groups), hidden * size_of, torch.nn.functional

    def weight(*shape):
        return torch.nn.Parameter(torch.empty(*shape).uniform_(-(hidden**-0.5), hidden**-0.5))

    class Loop(torch.nn.Module):
        """The network's equations, group by group and step by step."""

        def __init__(self):
            super().__init__()
            self.w = torch.nn.ParameterList(weight(3 * hidden, f) for f in features)
            self.u = torch.nn.ParameterList(weight(3 * hidden, hidden) for _ in features)
            self.b = torch.nn.ParameterList(weight(3 * hidden) for _ in features)
            self.u_c, self.b_c = weight(units, len(features) * hidden), weight(units)
            self.w_z, self.u_z, self.b_z = weight(units, sum(features)), weight(units, units), weight(units)
            self.head = torch.nn.Linear(units, 1)

        def marginal(self, x, w, u, b):
            h, candidates = x.new_zeros(x.shape[1], hidden), []
            for x_t in x:
                from_r, from_z, from_n = F.linear(x_t, w, b).chunk(3, dim=1)
                to_r, to_z, to_n = F.linear(h, u).chunk(3, dim=1)
                r, z = torch.sigmoid(from_r + to_r), torch.sigmoid(from_z + to_z)
                n = torch.tanh(from_n + r * to_n)
                h = n + z * (h - n)
                candidates.append(n)
            return candidates

        def forward(self, x):
            x = x.transpose(0, 1)
            parts = x.split(features, dim=2)
            by_group = [self.marginal(*arguments) for arguments in zip(parts, self.w, self.u, self.b)]
            g = x.new_zeros(x.shape[1], units)
            for x_t, *candidates in zip(x, *by_group):
                n = torch.tanh(F.linear(torch.cat(candidates, dim=1), self.u_c, self.b_c))
                z = torch.sigmoid(F.linear(x_t, self.w_z, self.b_z) + F.linear(g, self.u_z))
                g = n + z * (g - n)
            return self.head(g)

    class LSTM(torch.nn.Module):
        """PyTorch's own LSTM."""

        def __init__(self):
            super().__init__()
            self.rnn, self.head = torch.nn.LSTM(sum(features), units, batch_first=True), torch.nn.Linear(units, 1)

        def forward(self, x):
            return self.head(self.rnn(x)[1][0][0])

    def training(model):
        model = model.to(device)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        batches = [(torch.tensor(a, device=device), torch.tensor(b, device=device)) for a, b in zip(x, y)]

        def call():
            for batch, target in batches:
                optimiser.zero_grad()
                loss = F.mse_loss(model(batch), target)
                loss.backward()
                optimiser.step()
            return float(loss.detach())  # waits for the device

        return call

    return {"PyTorch, loop over groups": training(Loop()), "PyTorch LSTM": training(LSTM())}


def compare(name, repeats):
    """One workload: a row for each peer, and a row for each way to run."""
    T, B, groups, hidden, size_of, steps = WORKLOADS[name]
    units, features = hidden * size_of, sum(groups)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps, B, T, features)).astype(np.float32)
    y = rng.normal(size=(steps, B, 1)).astype(np.float32)
    shape = groups, hidden, size_of
    peers = torch_peers(T, B, groups, hidden, size_of, x, y)
    peers["flax nnx.RNN(OptimizedLSTMCell)"] = jax_training(flax_lstm(features, units), x, y)
    times = measure({"ours": jax_training(ours(*shape, Execution()), x, y), **peers}, repeats=repeats)
    title = f"{name} (T={T}, B={B}, F={features}, G={len(groups)}, H={hidden}, J={units})"
    rows = [
        row(title, ours=times["ours"], peer=times[peer], peer_name=peer, per=steps)
        | {"peer's first call [s]": times[peer].first}
        for peer in peers
    ]
    if OPTIONS.quick:
        return rows, []
    ways = measure({way: jax_training(ours(*shape, how), x, y) for way, how in WAYS.items()}, repeats=repeats)
    reference = ways["custom derivative"].median
    return rows, [
        {
            "workload": name,
            "way": way,
            "ms": 1e3 * timing.median / steps,
            "time / custom": timing.median / reference,
            "first call [s]": timing.first,
        }
        for way, timing in ways.items()
    ]


def main():
    rows, ways = [], []
    for name in WORKLOADS:
        if name[0] in OPTIONS.only:
            compared, run = compare(name, 3 if OPTIONS.quick else 7)
            rows += compared
            ways += run
    cores = OPTIONS.cores or os.cpu_count()
    note = f"float32, forward + backward + Adam, a step; all on {cores} core(s), PyTorch with {cores} thread(s)"
    report("Training steps", rows, note=note)
    if ways:
        report("Ways to run", ways, note=note)


if __name__ == "__main__":
    main()
