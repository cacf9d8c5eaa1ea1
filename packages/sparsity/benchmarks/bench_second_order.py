"""P7: the second-order methods on one layer: WoodFisher from m gradients, SparseGPT of a square kernel.

Peers are written here after what the authors' codes do, in NumPy: WoodFisher's d × d inverse, updated by one gradient
after the other, and SparseGPT's sweep one input at a time, over the whole rest of the kernel. `--d 31360` is the first
layer of the MNIST network of the WoodFisher paper; its peer needs 4 GB and minutes, and runs with `--peer` only. With
`--network` the gradients of a whole network of 25 million weights are inverted, 10 GB of them.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.benchmark import measure, report, row
from offprint.sparsity._woodfisher import WoodFisher
from offprint.sparsity.layerwise import sparsegpt

DAMP = 1e-5


def rank_one_updates(rows):
    """The inverse of a whole d × d block, and its diagonal."""
    inverse = np.eye(rows.shape[1], dtype=rows.dtype) / DAMP
    for row_ in rows:
        product = inverse @ row_
        inverse -= np.outer(product, product / (len(rows) + row_ @ product))
    return inverse.diagonal()


def input_by_input(kernel, H, sparsity, damp=0.01, blocksize=128):
    """SparseGPT without lazy updates: each input is spread over all that follow, at once."""
    inputs = kernel.shape[0]
    upper = np.linalg.cholesky(np.linalg.inv(H + damp * np.mean(np.diagonal(H)) * np.eye(inputs, dtype=H.dtype))).T
    weights = kernel.copy()
    for start in range(0, inputs, blocksize):
        stop = min(start + blocksize, inputs)
        score = (weights[start:stop] / np.diagonal(upper)[start:stop, None]) ** 2
        goes = score <= np.partition(score.ravel(), int(score.size * sparsity))[int(score.size * sparsity)]
        for j in range(start, stop):
            error = np.where(goes[j - start], weights[j], 0) / upper[j, j]
            weights[j:] -= np.outer(upper[j, j:], error)
            weights[j][goes[j - start]] = 0
    return weights


def woodfisher(d, m, peer):
    """Fit and diagonal."""
    rows = np.random.default_rng(0).standard_normal((m, d), dtype=np.float32)
    workloads = {
        solver: lambda solver=solver: WoodFisher.fit({"kernel": rows}, damp=DAMP, solver=solver).diag()
        for solver in ("woodbury", "mfac")
    }
    if peer:
        workloads["peer"] = lambda: rank_one_updates(rows)
    times = measure(workloads, repeats=3)
    other = times.get("peer")
    return [
        row(f"{solver}, d = {d}, m = {m}", ours=times[solver], peer=other, peer_name="d × d updates")
        for solver in ("woodbury", "mfac")
    ]


def network(size, m):
    """The blocks of a network, one 512 × 512 leaf for each 262 144 weights; pruned globally."""
    leaves = max(1, size // 512**2)
    generator = np.random.default_rng(0)
    rows = {str(i): {"kernel": generator.standard_normal((m, 512, 512), dtype=np.float32)} for i in range(leaves)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), rows)
    times = measure({"ours": lambda: WoodFisher.fit(rows, damp=DAMP).prune(params, 0.9)}, repeats=1)
    return [row(f"fit and prune, d = {leaves * 512**2}, m = {m}", ours=times["ours"], peer=None, peer_name="–")]


def layer(size, peer):
    """SparseGPT of a size × size kernel, unstructured and 2:4."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2 * size, size), dtype=np.float32)
    kernel, H = generator.standard_normal((size, size), dtype=np.float32), 2 * x.T @ x
    workloads = {
        "50 %": lambda: sparsegpt(kernel, H, 0.5).kernel,
        "2:4": lambda: sparsegpt(kernel, H, nm=(2, 4)).kernel,
    }
    if peer:
        workloads["peer"] = lambda: input_by_input(kernel, H, 0.5)
    times = measure(workloads, repeats=3)
    return [
        row(f"SparseGPT {size}², 50 %", ours=times["50 %"], peer=times.get("peer"), peer_name="input by input"),
        row(f"SparseGPT {size}², 2:4", ours=times["2:4"], peer=None, peer_name="–"),
    ]


def main():
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--d", type=int, default=31_360, help="weights of the WoodFisher layer")
    parser.add_argument("--m", type=int, default=100, help="gradients")
    parser.add_argument("--size", type=int, default=1024, help="inputs and outputs of the SparseGPT layer (4096)")
    parser.add_argument("--network", action="store_true", help="also 25 million weights in 96 leaves")
    parser.add_argument("--peer", action="store_true", help="the d × d peer also where it takes gigabytes")
    options = parser.parse_args()
    rows = woodfisher(4000, options.m, True) + woodfisher(options.d, options.m, options.peer)
    rows += layer(options.size, options.size <= 1024 or options.peer)
    if options.network:
        rows += network(25_165_824, options.m)
    report("sparsity: second-order methods", rows)


if __name__ == "__main__":
    main()
