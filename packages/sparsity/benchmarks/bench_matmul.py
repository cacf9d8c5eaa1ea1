"""y = x @ W for sparse kernels: 2048 x 2048 at batch 256 in float32, with blocks of 1 to 128 and 50 to 99 % sparsity.

Peers: the dense product, BCSR and (on request: seconds) BCOO of JAX, CSR of SciPy and of PyTorch, the last two on the
CPU with the unstructured kernels. All of one row is measured in turns, so the ratios stand even if the machine is busy.

On a GPU: `--shape 4096x4096 8192x28672 --batch 1 16 256 4096 --dtype bfloat16 --blocks 16 32 64 128` and `--nm 2:4`.
`--training` measures the gradients in x and W instead of the product.
"""

import argparse
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental import sparse

from offprint.core.benchmark import measure, report
from offprint.sparsity._matmul import matmul
from offprint.sparsity.formats import BlockELL, NMPacked

HAS_TORCH = importlib.util.find_spec("torch") is not None


def block_mask(rng: np.random.Generator, shape: tuple[int, int], block: int, sparsity: float) -> np.ndarray:
    """A mask with exactly that share of its blocks, drawn anywhere."""
    count = shape[0] // block, shape[1] // block
    keep = np.arange(count[0] * count[1]) < round((1 - sparsity) * count[0] * count[1])
    return np.kron(rng.permutation(keep).reshape(count), np.ones((block, block), bool))


def nm_mask(rng: np.random.Generator, shape: tuple[int, int], n: int, m: int) -> np.ndarray:
    """n of every m consecutive inputs."""
    return (np.argsort(rng.random((shape[0] // m, m, shape[1])), axis=1) < n).reshape(shape)


def gradients(x: jax.Array, W: Any, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """dx and dW of the product."""
    if isinstance(W, BlockELL | NMPacked):
        return jax.vjp(lambda x, values: matmul(x, W.with_values(values)), x, W.values)[1](dy)
    return jax.vjp(lambda x, W: x @ W, x, W)[1](dy)


def on_cpu(x: np.ndarray, kernel: np.ndarray) -> dict[str, Callable[[], Any]]:
    """SciPy's and PyTorch's CSR: (x @ W).T = W.T @ x.T with both already transposed, which is their best case."""
    compressed, columns = scipy.sparse.csr_array(kernel.T), np.ascontiguousarray(x.T)
    calls: dict[str, Callable[[], Any]] = {"SciPy CSR": lambda: compressed @ columns}
    if HAS_TORCH:
        import torch

        theirs, given = torch.tensor(kernel.T.copy()).to_sparse_csr(), torch.tensor(columns)
        calls["PyTorch CSR"] = lambda: theirs @ given
    return calls


def workloads(args: argparse.Namespace) -> Iterator[tuple[str, Any, np.ndarray, np.ndarray]]:
    """Name, kernel in our format, the same as an array, inputs."""
    rng = np.random.default_rng(0)
    for shape, batch in itertools.product(args.shape, args.batch):
        size = tuple(int(side) for side in shape.split("x"))
        x = rng.normal(size=(batch, size[0])).astype(np.float32)
        dense = rng.normal(size=size).astype(np.float32)
        for pair in args.nm:
            n, m = (int(part) for part in pair.split(":"))
            mask = nm_mask(rng, size, n, m)
            yield f"{shape}, batch {batch}, {pair}", NMPacked.from_dense(dense, mask, n=n, m=m), dense * mask, x
        for block, sparsity in itertools.product(args.blocks, args.sparsity):
            mask = block_mask(rng, size, block, sparsity)
            form = BlockELL.from_dense(dense, mask, block=(block, block))
            yield f"{shape}, batch {batch}, block {block}, {sparsity:.0%} sparse", form, dense * mask, x


def compare(name: str, form: Any, kernel: np.ndarray, x: np.ndarray, args: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    dtype = jnp.dtype(args.dtype)
    inputs, dense = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
    form = form.with_values(form.values.astype(dtype))
    if args.training:
        run = jax.jit(gradients)
        dy = jnp.ones((x.shape[0], kernel.shape[1]), dtype)
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda: run(inputs, form, dy),
            "dense": lambda: run(inputs, dense, dy),
        }
    else:
        run = jax.jit(matmul)
        calls = {"ours": lambda: run(inputs, form), "dense": lambda: run(inputs, dense)}
        density = np.count_nonzero(kernel) / kernel.size
        if density <= 0.3 and isinstance(form, BlockELL):
            transposed = sparse.BCSR.fromdense(dense.T)
            columns = inputs.T
            times = jax.jit(lambda w, x: w @ x)
            calls["BCSR"] = lambda: times(transposed, columns)
            if args.bcoo:
                coordinates = sparse.BCOO.fromdense(dense.T)
                calls["BCOO"] = lambda: times(coordinates, columns)
            if jax.default_backend() == "cpu" and dtype == jnp.float32:
                calls |= on_cpu(x, kernel)
    times_of = measure(calls, repeats=args.repeats)
    least = {peer: 1e3 * timing.least for peer, timing in times_of.items()}
    row = {"workload": name, "ours [ms]": least.pop("ours")}
    row |= {"dense / ours": least["dense"] / row["ours [ms]"]}
    return row | {f"{peer} [ms]": time for peer, time in least.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["2048x2048"], help="in x out")
    parser.add_argument("--batch", nargs="+", type=int, default=[256])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--blocks", nargs="*", type=int, default=[1, 16, 32, 64, 128])
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.5, 0.75, 0.9, 0.95, 0.99])
    parser.add_argument("--nm", nargs="*", default=[], help="n:m patterns, such as 2:4")
    parser.add_argument("--training", action="store_true", help="gradients instead of the product")
    parser.add_argument("--bcoo", action="store_true", help="measure BCOO as well, which takes seconds a call")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rows = [compare(*workload, args) for workload in workloads(args)]
    title = "gradients in x and W" if args.training else "x @ W"
    report(f"{title}, {args.dtype}", rows, note="least of the repeats, compiled before")


if __name__ == "__main__":
    main()
