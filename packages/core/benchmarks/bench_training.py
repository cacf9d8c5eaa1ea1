"""Microseconds per step of `fit`, of hand-written JAX loops and of PyTorch, on the same networks and data.

Two networks: 64-128-10 on the digits (batch 32), and three convolutions on 16x16 images (batch 64). All train with
Adam. Memory: the arrays that are alive while `fit` runs, beyond the data.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from offprint.core.benchmark import measure, report
from offprint.core.digits import MLP, cross_entropy, load_digits
from offprint.core.train import Minibatches, TrainState, fit, scan, supervised_step

KEY = jax.random.key(0)
ADAM = optax.adam(1e-3)


class ConvNet(nnx.Module):
    """Three convolutions of 16 channels on 16x16x3 images, global average pooling, ten classes."""

    def __init__(self, rngs: nnx.Rngs):
        self.convs = nnx.List([nnx.Conv(i, 16, (3, 3), rngs=rngs) for i in (3, 16, 16)])
        self.out = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        for conv in self.convs:
            x = nnx.relu(conv(x))
        return self.out(x.mean(axis=(1, 2)))


def new_state(model):
    return TrainState.create(model, ADAM)


def with_fit(state, step, batches, num_steps):
    """`fit` with one row of the history at the end; later calls find the compiled program."""

    def run():
        return fit(step, state, batches, num_steps=num_steps, key=KEY, log_every=num_steps).state

    return run


def by_hand_scan(state, step, batches, num_steps):
    """What a careful user writes: all steps in one jitted scan, batches gathered from shuffled indices, losses kept."""
    data = batches.arrays
    size, batch = batches.size, batches.batch_size
    epochs = -(-num_steps // (size // batch))

    @jax.jit
    def train(state, data, key):
        orders = jax.vmap(lambda k: jax.random.permutation(k, size))(jax.random.split(key, epochs))
        rows = orders[:, : size // batch * batch].reshape(-1, batch)[:num_steps]

        def body(state, rows):
            return step(state, jax.tree.map(lambda x: x[rows], data), key)

        return jax.lax.scan(body, state, rows)

    return lambda: train(state, data, KEY)


def by_hand_steps(state, step, batches, num_steps):
    """The usual loop: one jitted, donated step at a time on the NNX state, batches gathered outside."""
    data, rng = batches.arrays, np.random.default_rng(0)
    jitted = jax.jit(step, donate_argnums=0)

    def run():
        present = jax.tree.map(jnp.copy, state)
        for _ in range(num_steps):
            rows = rng.integers(0, batches.size, batches.batch_size)
            present, _ = jitted(present, jax.tree.map(lambda x: x[rows], data), KEY)  # noqa: B023
        return present

    return run


def bare_steps(state, step, batches, num_steps):
    """The step itself: compiled with its batch and its state as flat leaves, called in the tightest loop."""
    leaves, treedef = jax.tree.flatten(state)

    @jax.jit
    def flat(leaves, data, index):
        present = jax.tree.unflatten(treedef, leaves)
        batch = data.batch_at(index, KEY)
        new, metrics = step(present, batch, KEY)
        return jax.tree.leaves(new), index + 1, metrics["loss"]

    flat = jax.jit(flat, donate_argnums=(0, 2))

    def run():
        present, index = [jnp.copy(leaf) for leaf in leaves], jnp.int32(0)
        for _ in range(num_steps):
            present, index, _ = flat(present, batches, index)
        return present

    return run


def naive_scan(state, step, batches, num_steps):
    """All steps in one scan, also where they convolve."""
    run = jax.jit(lambda state: scan(step, state, batches, num_steps, KEY)[0])
    return lambda: run(state)


def with_default_fit(state, step, batches, num_steps):
    """`fit` with a row of the history for every 100 steps, its default."""
    return lambda: fit(step, state, batches, num_steps=num_steps, key=KEY).state


def with_torch(kind, batches, num_steps):
    """The same network, optimiser and data in PyTorch's usual loop; None where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(2)
    x, y = (torch.from_numpy(np.array(array)) for array in batches.arrays)
    y = y.long()
    if kind == "mlp":
        model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    else:
        x = x.permute(0, 3, 1, 2).contiguous()
        layers = [layer for i in (3, 16, 16) for layer in (torch.nn.Conv2d(i, 16, 3, padding=1), torch.nn.ReLU())]
        model = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10))
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    loss_of = torch.nn.CrossEntropyLoss()

    def run():
        order = torch.randperm(len(x))
        for i in range(num_steps):
            start = i * batches.batch_size % (len(x) - batches.batch_size + 1)
            rows = order[start : start + batches.batch_size]
            optimiser.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimiser.step()

    return run


def table(title, workloads, num_steps, repeats, reference):
    times = measure({name: run for name, run in workloads.items() if run is not None}, repeats=repeats)
    rows = [
        {
            "loop": name,
            "us per step": None if run is None else 1e6 * times[name].median / num_steps,
            f"relative to {reference}": None if run is None else times[name].median / times[reference].median,
            "first call [s]": None if run is None else times[name].first,
        }
        for name, run in workloads.items()
    ]
    missing = [name for name, run in workloads.items() if run is None]
    report(title, rows, note=f"not installed: {', '.join(missing)}" if missing else "")
    return {row["loop"]: row["us per step"] for row in rows}


def memory():
    """Copies of parameters and optimiser state that are alive while `fit` runs, and how many there must be."""
    train, _ = load_digits()
    batches = Minibatches(train, 32)
    step = supervised_step(cross_entropy)
    data = sum(x.nbytes for x in batches.arrays)
    counts = []

    def count(event):
        counts.append(sum(x.nbytes for x in jax.live_arrays() if x.size) - data - before)

    fit(step, new_state(MLP(1024, nnx.Rngs(0))), batches, num_steps=20, key=KEY, log_every=10)
    before = sum(x.nbytes for x in jax.live_arrays()) - data
    holder = [new_state(MLP(1024, nnx.Rngs(0)))]
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(holder[0]))
    fit(step, holder.pop(), batches, num_steps=40, key=KEY, log_every=10, callbacks=[count], donate=True)
    rows = [{"held": "parameters and optimiser state", "MB": size / 1e6, "copies alive in fit": max(counts) / size}]
    report("Memory of fit(donate=True) beyond the data, 64-1024-10 network", rows)


def main():
    train, _ = load_digits()
    batches = Minibatches(train, 32)
    step = supervised_step(cross_entropy)
    state = new_state(MLP(128, nnx.Rngs(0)))
    steps = 2000
    table(
        "64-128-10 network on digits, batch 32, Adam",
        {
            "fit": with_fit(state, step, batches, steps),
            "fit, a row for every 100 steps": with_default_fit(state, step, batches, steps),
            "hand-written jitted scan": by_hand_scan(state, step, batches, steps),
            "step-by-step jit loop": by_hand_steps(state, step, batches, steps),
            "PyTorch loop": with_torch("mlp", batches, steps),
        },
        steps,
        repeats=5,
        reference="hand-written jitted scan",
    )

    images = jax.random.normal(KEY, (512, 16, 16, 3))
    batches = Minibatches((images, jnp.arange(512) % 10), 64)
    state = new_state(ConvNet(nnx.Rngs(0)))
    steps = 100
    times = table(
        "three convolutions on 16x16 images, batch 64, Adam",
        {
            "fit": with_fit(state, step, batches, steps),
            "jitted step alone": bare_steps(state, step, batches, steps),
            "step-by-step jit loop": by_hand_steps(state, step, batches, steps),
            "PyTorch loop": with_torch("conv", batches, steps),
        },
        steps,
        repeats=5,
        reference="jitted step alone",
    )
    naive = measure({"scan": naive_scan(state, step, batches, 2)}, repeats=1)["scan"]
    slow = {"loop": "naive scan", "us per step": 1e6 * naive.median / 2, "first call [s]": naive.first}
    dispatch = {"loop": "dispatch that fit adds", "us per step": times["fit"] - times["jitted step alone"]}
    report("the same convolutions in a scan, and what dispatching costs", [slow, dispatch])

    memory()


if __name__ == "__main__":
    main()
