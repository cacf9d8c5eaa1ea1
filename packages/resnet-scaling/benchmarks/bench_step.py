"""W1: one full training step (forward, backward, Adam) of the tanh network, against PyTorch layer by layer.

Shared multiplier, d = 10, batch 32, float32. The peer is what one writes first in PyTorch: a Python loop over the
layers, each with its own two parameters. `--quick` stops at 1000 layers.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from offprint.core.benchmark import measure, report
from offprint.resnet_scaling import evaluate_loss, init_params, parallel_apply, resnet_apply
from offprint.resnet_scaling.data import synthetic_ode

DIM, BATCH, RATE = 10, 32, 1e-2
DEPTHS = (100, 1000, 10_000, 30_000)
WAYS = {"scan": {}, "scan, remat": {"remat": "auto"}, "parallel": {"mode": "parallel"}}


def compiled_step(params, x, y, options):
    """A closure that makes one step on a state of its own, the seconds of its compilation, and temporary megabytes."""
    optimizer = optax.adam(RATE)

    def step(params, state):
        def loss(params):
            return jnp.mean((resnet_apply(params, x, **options) - y) ** 2)

        value, gradient = jax.value_and_grad(loss)(params)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state, value

    now = [jax.tree.map(jnp.copy, params), optimizer.init(params)]
    began = time.perf_counter()
    program = jax.jit(step, donate_argnums=(0, 1)).lower(*now).compile()
    seconds = time.perf_counter() - began

    def run():
        *now[:], loss = program(*now)
        return loss

    return run, seconds, program.memory_analysis().temp_size_in_bytes / 1e6


def torch_step(params, x, y):
    """The same step in PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    delta, *layers = (
        torch.nn.Parameter(torch.tensor(np.array(array))) for array in (params.delta, *params.A, *params.b)
    )
    depth = len(layers) // 2
    weights, biases = layers[:depth], layers[depth:]
    x, y = torch.tensor(np.array(x)), torch.tensor(np.array(y))
    optimizer = torch.optim.Adam([delta, *layers], lr=RATE)

    def run():
        optimizer.zero_grad()
        h, multiplier = x, delta.abs()
        for A, b in zip(weights, biases):
            h = h + multiplier * torch.tanh(h @ A + b)
        loss = torch.mean((h - y) ** 2)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def main():
    depths = DEPTHS[:2] if "--quick" in sys.argv else DEPTHS
    data = synthetic_ode(jax.random.key(0), BATCH, 1, DIM)
    x, y = data.x_train, data.y_train
    rows, notes = [], []
    for depth in depths:
        params = init_params(jax.random.key(1), depth, DIM, init="xavier-depth", initial_sd=0.01)
        steps = {way: compiled_step(params, x, y, options) for way, options in WAYS.items()}
        losses = {way: float(run()) for way, (run, _, _) in steps.items()}
        times = measure(
            {way: run for way, (run, _, _) in steps.items() if way != "parallel"}, repeats=20 if depth <= 10_000 else 5
        )
        times |= measure({"parallel": steps["parallel"][0]}, repeats=5 if depth <= 1000 else 2)
        peer = torch_step(params, x, y) if depth <= 10_000 else None
        if peer is not None:
            losses["PyTorch"] = peer()
            times |= measure({"PyTorch": peer}, repeats=1 if depth >= 10_000 else 5)
        info = jax.jit(parallel_apply)(params, x)[1]
        for way, timing in times.items():
            _, seconds, megabytes = steps.get(way, (None, None, None))
            rows.append(
                {
                    "L": depth,
                    "way": way,
                    "ms per step": 1e3 * timing.median,
                    "PyTorch / this": times["PyTorch"].median / timing.median if peer is not None else None,
                    "compile [s]": seconds,
                    "temporary [MB]": megabytes,
                    "loss": losses[way],
                }
            )
        notes.append(f"L = {depth}: {int(info.iterations)} Newton iterations, converged: {bool(info.converged)}")
        exact = float(evaluate_loss(params, x, y))
        worst = max(abs(loss - exact) for loss in losses.values())
        notes[-1] += f"; first losses agree to {worst:.1e}"
    if len(depths) > 2:
        notes.append("PyTorch: one repeat at 10 000 layers, left out at 30 000 (half a minute a step)")
    report("W1: one training step, tanh, d = 10, batch 32, float32", rows, note="\n".join(notes))


if __name__ == "__main__":
    main()
