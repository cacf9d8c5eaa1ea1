"""Affine augmentation: exponentials of 10 000 generator matrices, and 20 samples of 250 images 32 x 32 x 3 resampled.

Resampling is measured forward, and forward with the gradient in the matrices for a given cotangent, as between an
augmentation and a network. Beside it stand the vmapped map_coordinates that JAX offers, the same interpolation with
the gradient that JAX derives, and PyTorch's grid_sample on images that are repeated for it beforehand.
"""

import functools
import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from offprint.core.benchmark import measure, report
from offprint.network_partitioning import affine_algebra, affine_matrices, expm3, resample

KEY = jax.random.key(0)
SAMPLES, IMAGES, SIZE, CHANNELS = 20, 250, 32, 3
EXPONENTIALS = 10_000
RAW = jnp.array([-3.0, -3.0, 3.1, -3.0, -3.0, -3.0])  # rotations up to almost pi, everything else narrow
HAS_TORCH = importlib.util.find_spec("torch") is not None
COUNTS_OF_THREADS = sorted({1, os.cpu_count() or 1}) if HAS_TORCH else []


def map_coordinates(images, matrices):
    """What one would write with JAX alone: a grid for every image, read by `jax.scipy.ndimage`."""
    line = jnp.linspace(-1, 1, SIZE)
    x, y = jnp.meshgrid(line, line)
    points = jnp.stack([x, y, jnp.ones_like(x)]).reshape(3, -1)

    def channel(plane, where):
        return jax.scipy.ndimage.map_coordinates(plane, where, order=1, mode="constant")

    def one(image, matrix):
        across, down = (matrix[:2] @ points + 1) * (SIZE - 1) / 2
        read = jax.vmap(channel, in_axes=(2, None), out_axes=1)(image, [down, across])
        return read.reshape(SIZE, SIZE, CHANNELS)

    return jax.vmap(jax.vmap(one), in_axes=(None, 0))(images, matrices)


def derived(images, matrices):
    """Our interpolation, differentiated by JAX from its four corners."""
    line = np.arange(SIZE) - (SIZE - 1) / 2
    rows = matrices[..., :2, :, None, None]
    along, aside, shift = rows[..., 0, :, :], rows[..., 1, :, :], rows[..., 2, :, :]
    scaled = shift * (SIZE - 1) / 2 + (SIZE - 1) / 2
    positions = along * jnp.asarray(line, images.dtype) + (aside * jnp.asarray(line[:, None], images.dtype) + scaled)
    across, down = positions[..., 0, :, :], positions[..., 1, :, :]
    corner_x, corner_y = jnp.floor(across), jnp.floor(down)
    x, y = (across - corner_x)[..., None], (down - corner_y)[..., None]
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    i, j = ((jnp.clip(corner, -2, SIZE) + 2).astype(jnp.int32) for corner in (corner_y, corner_x))
    image = jnp.arange(len(images))[:, None, None]

    def at(below, right):
        return padded.at[image, i + below, j + right].get(mode="promise_in_bounds")

    return (1 - y) * ((1 - x) * at(0, 0) + x * at(0, 1)) + y * ((1 - x) * at(1, 0) + x * at(1, 1))


def both_ways(resampler):
    """Forward, and the gradient in the matrices, in one program."""

    def run(images, matrices, cotangent):
        out, pull = jax.vjp(functools.partial(resampler, images), matrices)
        return out, pull(cotangent)[0]

    return run


def torch_resampling(images, matrices, cotangent, threads):
    """The same in PyTorch, in its own layout, with so many threads; forward, and both ways."""
    import torch

    device = "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"
    channels_first = np.moveaxis(np.asarray(images), -1, 1)
    repeated = torch.tensor(np.tile(channels_first, (SAMPLES, 1, 1, 1)), device=device)
    theta = torch.tensor(np.asarray(matrices)[..., :2, :].reshape(-1, 2, 3), device=device)
    g = torch.tensor(np.moveaxis(np.asarray(cotangent).reshape(-1, SIZE, SIZE, CHANNELS), -1, 1).copy(), device=device)

    def resampled(theta):
        grid = torch.nn.functional.affine_grid(theta, repeated.shape, align_corners=True)
        return torch.nn.functional.grid_sample(repeated, grid, align_corners=True)

    def finished(result):
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    def forward():
        torch.set_num_threads(threads)
        with torch.no_grad():
            return finished(resampled(theta))

    def forward_and_gradient():
        torch.set_num_threads(threads)
        leaf = theta.clone().requires_grad_()
        resampled(leaf).backward(g)
        return finished(leaf.grad)

    return forward, forward_and_gradient


def line(workload, times, **more):
    """Our time, and how many times as long each other took."""
    ours = times["ours"]
    row = {"workload": workload, "ours [ms]": 1e3 * ours.median, "first call [s]": ours.first}
    return row | {f"{name} / ours": t.median / ours.median for name, t in times.items() if name != "ours"} | more


def resampling(images, matrices, cotangent):
    ours = functools.partial(resample, align_corners=True)
    others = {"ours": ours, "map_coordinates": map_coordinates, "derived": derived}
    for name, other in others.items():
        difference = float(jnp.abs(other(images, matrices) - ours(images, matrices)).max())
        assert difference < 1e-3, f"{name} differs by {difference}: not the same work"
    programs = {name: jax.jit(f) for name, f in others.items()}
    workloads = {name: functools.partial(f, images, matrices) for name, f in programs.items()}
    around = {name: functools.partial(jax.jit(both_ways(f)), images, matrices, cotangent) for name, f in others.items()}
    for threads in COUNTS_OF_THREADS:
        forward, gradient = torch_resampling(images, matrices, cotangent, threads)
        workloads[f"PyTorch, {threads} threads"], around[f"PyTorch, {threads} threads"] = forward, gradient
    yield line("forward", measure(workloads))
    yield line("forward + gradient", measure(around))


def exponentials():
    a = affine_algebra(RAW, jax.random.uniform(KEY, (EXPONENTIALS, 6)))
    programs = {"ours": expm3, "jax.scipy expm": jax.vmap(jax.scipy.linalg.expm)}
    exact = np.stack([scipy.linalg.expm(np.asarray(one, np.float64)) for one in a[:500]])
    errors = {f"{name}: error": float(np.abs(f(a[:500]) - exact).max()) for name, f in programs.items()}
    workloads = {name: functools.partial(jax.jit(f), a) for name, f in programs.items()}
    slopes = {
        name: functools.partial(jax.jit(jax.grad(lambda a, f=f: (f(a) ** 2).sum())), a) for name, f in programs.items()
    }
    if HAS_TORCH:
        import torch

        for threads in COUNTS_OF_THREADS:
            there = torch.tensor(np.asarray(a))

            def matrix_exp(threads=threads, there=there):
                torch.set_num_threads(threads)
                return torch.matrix_exp(there)

            workloads[f"torch.matrix_exp, {threads} threads"] = matrix_exp
    yield line("forward", measure(workloads), **errors)
    yield line("forward + gradient", measure(slopes))


def main():
    for_images, for_maps, for_cotangent = jax.random.split(KEY, 3)
    images = jax.random.normal(for_images, (IMAGES, SIZE, SIZE, CHANNELS))
    matrices = affine_matrices(RAW, jax.random.uniform(for_maps, (SAMPLES, IMAGES, 6)))
    cotangent = jax.random.normal(for_cotangent, (SAMPLES, *images.shape))
    note = "" if HAS_TORCH else "PyTorch is not installed: skipped"
    report(
        f"resampling of {SAMPLES} x {images.shape}, float32", list(resampling(images, matrices, cotangent)), note=note
    )
    report(f"exponentials of {EXPONENTIALS} 3 x 3 matrices, float32", list(exponentials()), note=note)


if __name__ == "__main__":
    main()
