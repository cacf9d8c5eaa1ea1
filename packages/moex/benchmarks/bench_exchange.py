"""Moment exchange and CutMix on the features of a ResNet-50 stem, against a copy, a plain expression and PyTorch.

On the CPU float32 features (32, 56, 56, 64); where there is a GPU, bfloat16 features (256, 56, 56, 64) on it.
The copy, x a + b, is the least that any function of the features costs: one pass of reading and one of writing.
"""

import functools
import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import measure, report
from offprint.moex import cutmix_plan, moment_exchange, paste_box

KEY = jax.random.key(0)
ON_GPU = jax.default_backend() == "gpu"
SHAPE, DTYPE = ((256, 56, 56, 64), jnp.bfloat16) if ON_GPU else ((32, 56, 56, 64), jnp.float32)
AXES = {"pono": (3,), "in": (1, 2)}
HAS_TORCH = importlib.util.find_spec("torch") is not None


def copied(x):
    return x * 1.5 + 0.5


def plain(x, swap_index, norm):
    """The equation as one would write it down, differentiated by JAX."""
    wide = x.astype(jnp.float32)
    mean = wide.mean(AXES[norm], keepdims=True)
    std = jnp.sqrt(wide.var(AXES[norm], keepdims=True, ddof=1) + 1e-5)
    return ((wide - mean) / std * std[swap_index] + mean[swap_index]).astype(x.dtype)


def both_ways(exchange):
    """Forward and backward in one program."""

    def run(x, swap_index, cotangent):
        y, pull = jax.vjp(lambda x: exchange(x, swap_index), x)
        return y, pull(cotangent)[0]

    return run


def torch_workloads(x, swap_index, cotangent, threads):
    """The same arithmetic in PyTorch, in its own layout (B, C, H, W), with so many threads."""
    import torch

    device = "cuda" if ON_GPU and torch.cuda.is_available() else "cpu"
    h, g = (
        torch.tensor(np.moveaxis(np.asarray(a, np.float32), -1, 1), device=device).contiguous() for a in (x, cotangent)
    )
    if ON_GPU:
        h, g = h.bfloat16(), g.bfloat16()
    index = torch.tensor(np.asarray(swap_index), device=device, dtype=torch.long)

    def exchange(h, axes):
        wide = h.float()
        mean, std = wide.mean(axes, keepdim=True), (wide.var(axes, keepdim=True) + 1e-5).sqrt()
        return ((wide - mean) / std * std[index] + mean[index]).to(h.dtype)

    def forward(axes):
        torch.set_num_threads(threads)
        with torch.no_grad():
            return _finished(exchange(h, axes))

    def forward_and_backward(axes):
        torch.set_num_threads(threads)
        leaf = h.detach().requires_grad_()
        exchange(leaf, axes).backward(g)
        return _finished(leaf.grad)

    def _finished(result):
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    def paste(box):
        torch.set_num_threads(threads)
        r0, r1, c0, c1 = box
        mixed = h.clone()
        mixed[:, :, r0:r1, c0:c1] = h[index, :, r0:r1, c0:c1]
        return _finished(mixed)

    return forward, forward_and_backward, paste


def counts_of_threads():
    return sorted({1, os.cpu_count() or 1}) if HAS_TORCH else []


def exchanges(x, swap_index, cotangent):
    for norm, axes in AXES.items():
        ours = functools.partial(moment_exchange, norm=norm)
        simple = functools.partial(plain, norm=norm)
        forward = {"ours": (ours, (x, swap_index)), "plain": (simple, (x, swap_index)), "copy": (copied, (x,))}
        around = (x, swap_index, cotangent)
        backward = {"ours": (both_ways(ours), around), "plain": (both_ways(simple), around), "copy": (copied, (x,))}
        channels_first = (1,) if axes == (3,) else (2, 3)
        rows = []
        for k, (direction, programs) in enumerate({"forward": forward, "forward + backward": backward}.items()):
            workloads = {name: functools.partial(jax.jit(f), *args) for name, (f, args) in programs.items()}
            for threads in counts_of_threads():
                run = torch_workloads(x, swap_index, cotangent, threads)[k]
                workloads[f"PyTorch, {threads} threads"] = functools.partial(run, channels_first)
            rows.append(line(f"{norm}, {direction}", measure(workloads, repeats=15)))
        yield from rows


def line(workload, times):
    """Times by workload, and how many times ours each other took."""
    ours = times["ours"]
    row = {"workload": workload, "ours [ms]": 1e3 * ours.median, "first call [s]": ours.first}
    for name, timing in times.items():
        if name == "copy":
            row |= {"copy [ms]": 1e3 * timing.median, "ours / copy": ours.median / timing.median}
        elif name != "ours":
            row[f"{name} / ours"] = timing.median / ours.median
    return row


def pasting(x, swap_index, cotangent):
    plan = cutmix_plan(KEY, SHAPE[0], *SHAPE[1:3], swap_index=swap_index)
    workloads = {
        "ours": functools.partial(jax.jit(paste_box), x, plan),
        "copy": functools.partial(jax.jit(copied), x),
    }
    box = [int(edge) for edge in plan.box]
    for threads in counts_of_threads():
        paste = torch_workloads(x, swap_index, cotangent, threads)[2]
        workloads[f"PyTorch, {threads} threads"] = functools.partial(paste, box)
    return line(f"CutMix, box of {box[1] - box[0]} x {box[3] - box[2]}", measure(workloads, repeats=15))


def main():
    for_x, for_cotangent, for_index = jax.random.split(KEY, 3)
    x, cotangent = (jax.random.normal(key, SHAPE, DTYPE) for key in (for_x, for_cotangent))
    swap_index = jax.random.permutation(for_index, SHAPE[0])
    rows = [*exchanges(x, swap_index, cotangent), pasting(x, swap_index, cotangent)]
    megabytes = x.nbytes / 1e6
    note = f"{megabytes:.1f} MB of features; copy: x a + b" + (
        "" if HAS_TORCH else "; PyTorch is not installed: skipped"
    )
    report(f"moment exchange of {SHAPE}, {x.dtype}", rows, note=note)


if __name__ == "__main__":
    main()
