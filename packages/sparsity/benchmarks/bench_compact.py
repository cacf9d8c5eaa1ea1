"""What compaction gains in a forward pass, and what it costs to find the dependency groups and to cut.

The peer of a compacted network is the masked one, which is as fast as the dense one. Half of the units of every group
go: channels of a residual network with batch norm, heads and hidden units of a transformer, written as plain functions.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from offprint.core.benchmark import measure, report, row
from offprint.sparsity._compact import compact
from offprint.sparsity._dependency import dependency_groups, group_masks
from offprint.sparsity._macs import macs

Params = dict[str, Any]


def random(shape: tuple[int, ...], seed: int) -> jax.Array:
    scale = np.prod(shape[:-1]) ** -0.5 if len(shape) > 1 else 1.0
    return jnp.asarray(np.random.default_rng(seed).uniform(0.5, 1, shape) * scale, jnp.float32)


def residual(width: int, blocks: int) -> tuple[Callable, Params, jax.Array]:
    """Blocks of two 3 x 3 convolutions, each with batch norm."""
    params = {"stem": random((3, 3, 3, width), 0), "out": random((width, 10), 1)}
    for i in range(blocks):
        for j in "ab":
            params[f"{i}{j}"] = {"kernel": random((3, 3, width, width), i)}
            params[f"{i}{j}"] |= {name: random((width,), 2) for name in ("scale", "bias", "mean", "var")}

    def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def layer(p: Params, x: jax.Array) -> jax.Array:
        return (conv(x, p["kernel"]) - p["mean"]) * lax.rsqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]

    def apply(p: Params, x: jax.Array) -> jax.Array:
        x = conv(x, p["stem"])
        for i in range(blocks):
            x = jax.nn.relu(x + layer(p[f"{i}b"], jax.nn.relu(layer(p[f"{i}a"], x))))
        return x.mean((1, 2)) @ p["out"]

    return apply, params, jnp.ones((16, 32, 32, 3), jnp.float32)


def transformer(width: int, blocks: int) -> tuple[Callable, Params, jax.Array]:
    """Blocks of attention and a hidden layer of four times the width, heads of 64 channels."""
    heads = width // 64
    shapes = {"qkv": (width, 3 * width), "o": (width, width), "up": (width, 4 * width), "down": (4 * width, width)}
    params = {str(i): {name: random(shape, i) for name, shape in shapes.items()} for i in range(blocks)}

    def norm(x: jax.Array) -> jax.Array:
        return jax.nn.standardize(x, axis=-1)

    def apply(p: Params, x: jax.Array) -> jax.Array:
        for block in p.values():
            qkv = jnp.split(norm(x) @ block["qkv"], 3, axis=-1)
            q, k, v = (t.reshape(*x.shape[:2], heads, 64) for t in qkv)
            score = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 8, axis=-1)
            x = x + jnp.einsum("bhqk,bkhd->bqhd", score, v).reshape(*x.shape[:2], heads * 64) @ block["o"]
            x = x + jax.nn.gelu(norm(x) @ block["up"]) @ block["down"]
        return x

    return apply, params, jnp.ones((2, 128, width), jnp.float32)


def compare(name: str, apply: Callable, params: Params, x: jax.Array, repeats: int) -> dict[str, Any]:
    """One row: the masked and the compacted forward pass, the reduction, and the seconds that compaction took."""
    groups = dependency_groups(apply, params, x)
    # Not the channels inside of heads, which have half as many elements per unit as heads have.
    chosen = [g for g in groups if "qkv" not in g.name or g.size < 64]
    keep = {g.name: np.arange(g.size) % 2 == 0 for g in chosen}
    masks = group_masks(groups, params, keep)
    masked = jax.tree.map(lambda p, m: p if m is None else jnp.where(m, p, 0), params, masks)
    small, found = compact(apply, params, keep, x)
    dense, cut = jax.jit(apply), jax.jit(found.apply_fn)
    times = measure({"masked": lambda: dense(masked, x), "small": lambda: cut(small, x)}, repeats=repeats)
    again = measure(
        {"groups": lambda: dependency_groups(apply, params, x), "compact": lambda: compact(apply, params, keep, x)[0]},
        repeats=1,
    )
    return row(name, ours=times["small"], peer=times["masked"], peer_name="masked") | {
        "parameters": found.parameters[1] / found.parameters[0],
        "MACs": macs(found.apply_fn, small, x).dense / macs(apply, params, x).dense,
        "groups [s]": again["groups"].median,
        "compact [s]": again["compact"].median,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--width", type=int, default=64, help="channels of the residual network; x 4 in the transformer"
    )
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    rows = []
    for name, build, width in (("residual", residual, args.width), ("transformer", transformer, 4 * args.width)):
        rows.append(compare(f"{name}, width {width}", *build(width, args.blocks), args.repeats))
    report("compaction: half of the units, forward pass", rows, note="parameters and MACs: what is left")


if __name__ == "__main__":
    main()
