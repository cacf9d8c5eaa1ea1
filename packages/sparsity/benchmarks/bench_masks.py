"""Making a mask: one large vector, and a global ranking over the tree of a transformer.

Peers: a mask by `jnp.argsort`, as jaxpruner makes it; jaxpruner's own function, if it can be imported (from the folder
that OFFPRINT_PEERS names, or installed); and NumPy's `partition`, which selects but does not run in a program.

`--size 1e8`: a longer vector. `--sharded`: the tree on eight devices (simulated ones on a CPU), with what moves between
them. `--tree 1e8`: elements of that tree. `--quick`: small ones, few repeats.
"""

import argparse
import os
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from offprint.core.benchmark import measure, report, row
from offprint.sparsity._mask import make_mask, masks_by_count

SPARSITY = 0.9


def by_argsort(score: jax.Array, n_keep: int) -> jax.Array:
    """Sort all indices, find the last score to keep, compare; ties by the index."""
    flat = score.reshape(-1)
    last = jnp.argsort(-flat)[n_keep - 1]
    mask = (flat > flat[last]) | ((flat == flat[last]) & (jnp.arange(flat.size) <= last))
    return mask.reshape(score.shape)


def jaxpruner() -> Any:
    """jaxpruner's mask of one array, or None."""
    if os.environ.get("OFFPRINT_PEERS"):
        sys.path.insert(0, os.environ["OFFPRINT_PEERS"])
    if not hasattr(jax, "tree_map"):
        jax.tree_map = jax.tree.map  # removed from JAX, and jaxpruner needs it
    try:
        from jaxpruner import mask_calculator
    except ImportError:
        return None
    return mask_calculator.topk_mask_calculator


def by_partition(score: np.ndarray, n_keep: int) -> np.ndarray:
    """NumPy's selection and a comparison."""
    return score >= np.partition(score, score.size - n_keep)[score.size - n_keep]


def vector(n: int, repeats: int, with_sort: bool) -> list[dict[str, Any]]:
    host = np.abs(np.random.default_rng(0).standard_normal(n, dtype=np.float32))
    score, n_keep = jnp.asarray(host), n - round(SPARSITY * n)
    count = jax.jit(lambda score, k: masks_by_count(score, k))
    compiled = count.lower(score, np.int32(n_keep)).compile()
    mask = np.asarray(compiled(score, np.int32(n_keep)))
    assert mask.sum() == n_keep  # NumPy's comparison keeps all ties, of which 1e8 float32 numbers have many
    assert not np.any(mask & ~by_partition(host, n_keep))
    workloads = {
        "traced count": lambda: compiled(score, np.int32(n_keep)),
        "make_mask": lambda: make_mask(score, SPARSITY),
        "numpy": lambda: by_partition(host, n_keep),
    }
    slow = {}
    if with_sort:
        sort = jax.jit(by_argsort, static_argnums=1)
        slow["jnp.argsort"] = lambda: sort(score, n_keep)
        pruner = jaxpruner()
        if pruner is not None:
            slow["jaxpruner"] = lambda: pruner(score, SPARSITY)
    times = measure(workloads, repeats=repeats) | measure(slow, repeats=max(1, repeats // 5))
    extra = compiled.memory_analysis().temp_size_in_bytes / n
    return [
        row(f"{n:.0e} scores, {ours}", ours=times[ours], peer=times[peer], peer_name=peer)
        | {"extra [byte/score]": extra}
        for ours in ("traced count", "make_mask")
        for peer in ("numpy", *slow)
    ]


def transformer(n: int) -> dict[str, tuple[int, int]]:
    """Kernel shapes of a transformer with about n elements in them."""
    width = 1024 if n >= 10**8 else 256
    layer = {"qkv": (width, 3 * width), "out": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    layers = max(1, round(n / (12 * width**2)))
    return {f"layer{i}/{name}": shape for i in range(layers) for name, shape in layer.items()}


def tree(n: int, repeats: int, with_sort: bool, sharded: bool) -> list[dict[str, Any]]:
    rng, shapes = np.random.default_rng(0), transformer(n)
    scores = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    if sharded:
        mesh = Mesh(np.array(jax.devices()[:8]), ("model",))
        spec = {"out": PartitionSpec("model"), "down": PartitionSpec("model")}
        scores = {
            name: jax.device_put(score, NamedSharding(mesh, spec.get(name.split("/")[1], PartitionSpec(None, "model"))))
            for name, score in scores.items()
        }
    else:
        scores = jax.device_put(scores)
    size = sum(score.size for score in scores.values())
    n_keep = np.int32(size - round(SPARSITY * size))
    compiled = jax.jit(lambda scores, k: masks_by_count(scores, k)).lower(scores, n_keep).compile()
    text = compiled.as_text()

    def concatenated(scores):
        return by_argsort(jnp.concatenate([score.reshape(-1) for score in scores.values()]), int(n_keep))

    sort = jax.jit(concatenated)
    times = measure({"ours": lambda: compiled(scores, n_keep)}, repeats=repeats)
    times |= measure({"sort": lambda: sort(scores)}, repeats=max(1, repeats // 5)) if with_sort else {}
    assert sum(int(jnp.sum(mask)) for mask in compiled(scores, n_keep).values()) == n_keep
    where = f"on {8 if sharded else 1} device{'s' if sharded else ''}"
    return [
        row(f"{size:.1e} in {len(scores)} leaves, {where}", ours=times["ours"], peer=times.get("sort"),
            peer_name="concatenate, argsort")
        | {
            "extra [byte/score]": compiled.memory_analysis().temp_size_in_bytes * (8 if sharded else 1) / size,
            "gathers": len(re.findall(r" (?:all-gather|all-to-all|collective-permute)\(", text)),
        }
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1e7, help="length of the vector")
    parser.add_argument("--tree", type=float, default=1e7, help="elements of the tree")
    parser.add_argument("--sharded", action="store_true", help="the tree alone, on eight devices")
    parser.add_argument("--no-sort", action="store_true", help="without the slow peers")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.sharded:
        jax.config.update("jax_num_cpu_devices", 8)
    repeats = 3 if args.quick else 11
    rows = []
    if not args.sharded:
        rows += vector(10**5 if args.quick else int(args.size), repeats, not args.no_sort)
    rows += tree(10**6 if args.quick else int(args.tree), repeats, not args.no_sort, args.sharded)
    report(f"Masks at {SPARSITY:.0%} sparsity", rows, note="the count is traced: one program for every sparsity")


if __name__ == "__main__":
    main()
