"""The command `bench`."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.experimental import sparse

from offprint.core.benchmark import machine, measure
from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.sparsity._config import parse_pattern
from offprint.sparsity._counts import AnyPattern
from offprint.sparsity._mask import make_mask
from offprint.sparsity._matmul import matmul
from offprint.sparsity._pattern import Block, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity.formats import BlockELL, NMPacked

if TYPE_CHECKING:
    from offprint.sparsity._command import Bench


def bench(command: "Bench") -> None:
    """Time every product beside the dense one, in turn."""
    check_output(command.out, (".csv",))
    check_output(command.plot, (".png", ".pdf", ".svg"))
    shape, batches = _shape(command.shape), _numbers(command.batch)
    patterns = {name.strip(): parse_pattern(name) for name in command.patterns.split(",")}
    for name, pattern in patterns.items():
        if not isinstance(pattern, Unstructured | Block | NM):
            raise UsageError(f"there is no sparse product for {name}; unstructured, block and N:M have one")
        pattern.check("W", shape)
    keys = jax.random.split(jax.random.key(0), 3)
    dense = jax.random.normal(keys[0], shape).astype(command.dtype)
    rows: list[dict[str, Any]] = []
    for batch in batches:
        x = jax.random.normal(keys[1], (batch, shape[0])).astype(command.dtype)
        for name, pattern in patterns.items():
            for sparsity in [None] if isinstance(pattern, NM) else command.sparsities:
                mask = make_mask(jax.random.uniform(keys[2], shape), sparsity, pattern=pattern)
                timings = measure(
                    {"dense": _product(dense, x), "sparse": _product(_sparse(dense, mask, pattern), x)},
                    repeats=command.repeats,
                )
                ours, theirs = timings["sparse"].median, timings["dense"].median
                rows.append(
                    {
                        "pattern": name,
                        "batch": batch,
                        "sparsity": float(1 - mask.mean()),
                        "dense [ms]": 1e3 * theirs,
                        "sparse [ms]": 1e3 * ours,
                        "dense / sparse": theirs / ours,
                    }
                )
    print_table(f"x @ W, W {shape[0]} x {shape[1]}, {command.dtype}: {machine()}", rows)
    for batch in batches:
        best = max((row for row in rows if row["batch"] == batch), key=lambda row: row["dense / sparse"])
        told = f"{best['pattern']} at sparsity {best['sparsity']:.2f}, {best['dense / sparse']:.2f} times as fast"
        print_table(f"batch {batch}: {told if best['dense / sparse'] > 1 else 'dense is the fastest'}", [])
    write_rows(command.out, rows)
    if command.plot is not None:
        _draw(rows, command.plot)


def _sparse(dense: jax.Array, mask: jax.Array, pattern: AnyPattern) -> Any:
    if isinstance(pattern, Block):
        return BlockELL.from_dense(dense, mask, block=pattern.shape)
    if isinstance(pattern, NM):
        return NMPacked.from_dense(dense, mask, n=pattern.n, m=pattern.m)
    return sparse.BCSR.fromdense(jnp.where(mask, dense, 0))


def _product(W: Any, x: jax.Array) -> Callable[[], jax.Array]:
    multiply = jax.jit(matmul)
    return lambda: multiply(x, W)


def _shape(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or "0" in found.groups():
        raise UsageError(f"--shape is in x out, such as 2048x2048; got {text!r}")
    return int(found[1]), int(found[2])


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise UsageError(f"--batch is a list of numbers of rows, such as 1,16,256; got {text!r}")
    return [int(number) for number in text.split(",")]


def _draw(rows: list[dict[str, Any]], path: Any) -> None:
    from offprint.core.plots import new_figure

    figure, ax = new_figure()
    for name in dict.fromkeys((row["pattern"], row["batch"]) for row in rows):
        chosen = [row for row in rows if (row["pattern"], row["batch"]) == name]
        x, y = ([row[key] for row in chosen] for key in ("sparsity", "dense / sparse"))
        ax.plot(x, y, marker="o", label=f"{name[0]}, batch {name[1]}")
    ax.axhline(1, color="0.3", linestyle="--", linewidth=1)
    ax.set(xlabel="sparsity", ylabel="times as fast as dense", yscale="log", xlim=(0, 1))
    ax.legend(frameon=False, fontsize=8)
    figure.savefig(path)
