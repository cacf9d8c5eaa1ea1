"""The command `report`."""

import re
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.sparsity._bits import best_format, storage_bits
from offprint.sparsity._command_files import Flat, load_function, nested, read_checkpoint
from offprint.sparsity._filter import kernels

if TYPE_CHECKING:
    from offprint.sparsity._command import Report

_NM = ((1, 4), (2, 4), (4, 8))


def report(command: "Report") -> None:
    """Print a row for each kernel, and the whole."""
    check_output(command.out, (".csv",))
    check_output(command.plot, (".png", ".pdf", ".svg"))
    if (command.model is None) != (command.input is None):
        raise UsageError("--model and --input are given together")
    flat = read_checkpoint(command.source.checkpoint, command.source.torch)
    found = {name: array for name, array in flat.items() if kernels(name, array)}
    if not found:
        raise UsageError(f"{command.source.checkpoint} has no kernels; its leaves are {', '.join(flat)}")
    rows = [_row(name, array != 0, command.bits) for name, array in found.items()]
    rows.append(_whole(found, rows, command.bits))
    print_table(f"{command.source.checkpoint}: kernels; bits of {command.bits}-bit values with their indices", rows)
    write_rows(command.out, rows)
    if command.model is not None and command.input is not None:
        costs, effective = _costs(flat, found, command.model, command.input)
        print_table(f"multiply-adds for x of shape {command.input}; effective sparsity {effective}", costs)
    if command.plot is not None:
        from offprint.sparsity.plots import layer_density

        densities = {name: float((array != 0).mean()) for name, array in found.items()}
        layer_density({"density": densities}).savefig(command.plot)


def _row(name: str, mask: np.ndarray, bits: int) -> dict[str, Any]:
    best = best_format(mask, bits)
    return {
        "leaf": name,
        "shape": "x".join(map(str, mask.shape)),
        "kept": int(mask.sum()),
        "density": float(mask.mean()),
        "N:M": " ".join(f"{n}:{m}" for n, m in _NM if _fits(mask, n, m)) or "-",
        "dense": storage_bits(mask, bits, "dense"),
        "bitmap": storage_bits(mask, bits, "bitmap"),
        "csr": storage_bits(mask, bits, "csr"),
        "smallest": best.name,
        "bits": best.bits,
    }


def _whole(found: Flat, rows: list[dict[str, Any]], bits: int) -> dict[str, Any]:
    size = sum(array.size for array in found.values())
    sums = {key: sum(row[key] for row in rows) for key in ("kept", "dense", "bitmap", "csr", "bits")}
    return {
        "leaf": "all",
        "shape": "",
        "kept": sums["kept"],
        "density": sums["kept"] / size,
        "N:M": "",
        "dense": sums["dense"],
        "bitmap": sums["bitmap"],
        "csr": sums["csr"],
        "smallest": f"{sums['dense'] / sums['bits']:.2f} times less",
        "bits": sums["bits"],
    }


def _fits(mask: np.ndarray, n: int, m: int) -> bool:
    """Whether every m consecutive inputs of each output keep at most n."""
    if mask.shape[-2] % m:
        return False
    groups = np.moveaxis(mask, -2, 0).reshape(-1, m, mask.size // mask.shape[-2])
    return bool((groups.sum(1) <= n).all())


def _costs(flat: Flat, found: Flat, model: str, shape: str) -> tuple[list[dict[str, Any]], str]:
    """Rows of multiply-adds, and the share of the weights that no path from input to output uses."""
    from offprint.sparsity._macs import macs
    from offprint.sparsity._metrics import effective_sparsity

    if not re.fullmatch(r"\d+(x\d+)*", shape):
        raise UsageError(f"--input is a shape such as 1x784; got {shape!r}")
    x = jax.ShapeDtypeStruct(tuple(map(int, shape.split("x"))), jnp.float32)
    params = nested({name: jnp.asarray(array) for name, array in flat.items()})
    masks = nested({name: jnp.asarray(array != 0) if name in found else None for name, array in flat.items()})
    apply = load_function(model)
    counted = macs(apply, params, x, masks)
    rows = [{"leaf": name, "dense": dense, "sparse": sparse} for name, (dense, sparse) in counted.by_leaf.items()]
    if counted.other:
        rows.append({"leaf": "activations with activations", "dense": counted.other, "sparse": float(counted.other)})
    try:
        effective = f"{effective_sparsity(apply, params, masks, x):.4f}"
    except ValueError as error:  # an operation that units cannot be followed through
        effective = f"unknown: {error}"
    return [*rows, {"leaf": "all", "dense": counted.dense, "sparse": counted.sparse}], effective
