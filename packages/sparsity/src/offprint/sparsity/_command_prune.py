"""The command `prune`."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from offprint.core.program import UsageError, print_table
from offprint.sparsity._apply import apply
from offprint.sparsity._budget import density_map
from offprint.sparsity._command_files import (
    Flat,
    check_new,
    flattened,
    load_function,
    nested,
    read_checkpoint,
    read_npz,
    write_checkpoint,
)
from offprint.sparsity._config import parse_pattern
from offprint.sparsity._filter import Filter, kernels, matching, prunable
from offprint.sparsity._mask import make_masks
from offprint.sparsity._pattern import Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.layerwise import LayerStats, collect, prune_in_sequence, prune_layerwise
from offprint.sparsity.scores import lamp, magnitude, random

if TYPE_CHECKING:
    from offprint.sparsity._command import Prune

_LAYERWISE = ("wanda", "sparsegpt", "obc")


def prune(command: "Prune") -> None:
    """Read, prune, write, and say what each leaf has left."""
    check_new(command.out)
    flat = read_checkpoint(command.source.checkpoint, command.source.torch)
    chosen = prunable(flat, _filter(command))
    pruned, masks = (_by_layer if command.method in _LAYERWISE else _by_score)(command, flat, chosen)
    result = {name: np.asarray(leaf).astype(flat[name].dtype) for name, leaf in pruned.items()}
    write_checkpoint(command.out, result, command.source.torch)
    kept = {name: np.asarray(mask) for name, mask in masks.items() if mask is not None}
    beside = command.out.with_name(f"{command.out.stem}.masks.npz")
    np.savez_compressed(beside, **kept)  # type: ignore[arg-type]
    rows = [_row(name, "x".join(map(str, mask.shape)), int(mask.sum()), mask.size) for name, mask in kept.items()]
    rows.append(
        _row("all", "", sum(int(mask.sum()) for mask in kept.values()), sum(mask.size for mask in kept.values()))
    )
    print_table(f"{command.out}: {command.method}, {command.pattern}; masks in {beside}", rows)


def _row(name: str, shape: str, kept: int, of: int) -> dict[str, Any]:
    return {"leaf": name, "shape": shape, "kept": kept, "density": kept / of}


def _filter(command: "Prune") -> Filter:
    """Kernels, or what matches --only, but for what matches --but."""
    named = matching(command.only or ("*",), command.but)

    def choose(path: str, leaf: Any) -> bool:
        return leaf.ndim >= 2 and named(path, leaf) and (bool(command.only) or kernels(path, leaf))

    return choose


def _by_score(command: "Prune", flat: Flat, chosen: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    pattern = parse_pattern(command.pattern)
    weights = {name: jnp.asarray(array) if name in chosen else None for name, array in flat.items()}
    everything = lambda path, leaf: True  # noqa: E731 the others are None
    if command.method == "magnitude":
        scores = magnitude(weights, filter=everything)
    elif command.method == "magnitude-l2":
        scores = magnitude(weights, normalise="l2", filter=everything)
    elif command.method == "lamp":
        scores = lamp(weights, filter=everything)
    else:
        scores = random(jax.random.key(command.seed), weights, filter=everything)
    fixed = isinstance(pattern, NM) or not hasattr(pattern, "units")
    if fixed != (command.sparsity is None):
        raise UsageError(
            f"the pattern {command.pattern} says how much it keeps: leave out --sparsity"
            if fixed
            else "give --sparsity, the share of the weights to remove"
        )
    options: dict[str, Any] = {"sparsity": command.sparsity, "scope": command.scope}
    if command.budget != "uniform":
        if command.scope == "global":
            raise UsageError("a budget is for local scope; with --scope global all kernels are ranked together")
        options = {"budget": density_map(weights, command.sparsity, command.budget, filter=everything)}
    masks = make_masks(scores, pattern=pattern, **options)
    return apply(flat, masks), masks


def _by_layer(command: "Prune", flat: Flat, chosen: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if command.calib is None:
        raise UsageError(f"{command.method} needs calibration data: --calib FILE.npz")
    pattern = parse_pattern(command.pattern)
    if not isinstance(pattern, NM | Unstructured) or (isinstance(pattern, NM) and pattern.axis != -2):
        raise UsageError(f"{command.method} prunes unstructured or N:M, not {command.pattern}")
    options: dict[str, Any] = {"nm": (pattern.n, pattern.m)} if isinstance(pattern, NM) else {}
    if (command.sparsity is None) == (not options):
        raise UsageError("give --sparsity or an N:M pattern, one of them")
    if not options and command.budget != "uniform":
        options["budget"] = density_map(
            flat, command.sparsity, command.budget, filter=lambda path, leaf: path in chosen
        )
    elif not options:
        options["sparsity"] = command.sparsity
    if command.scope != "local":
        raise UsageError(f"{command.method} prunes each kernel by itself: --scope local")
    if command.method != "wanda":
        options["damp"] = command.damp
    arrays = read_npz(command.calib)
    if command.model is None:
        params = {name: jnp.asarray(array) for name, array in flat.items()}
        return prune_layerwise(params, _stats(arrays, chosen, command), command.method, **options)
    if "x" not in arrays:
        raise UsageError(f"{command.calib} has no array x; it has {', '.join(arrays)}")
    x = arrays["x"]
    params = nested({name: jnp.asarray(array) for name, array in flat.items()})
    batches = [x[start : start + 256] for start in range(0, len(x), 256)]
    pruned, masks = prune_in_sequence(
        load_function(command.model), params, batches, command.method,
        filter=lambda path, leaf: path in chosen, **options,
    )  # fmt: skip
    return flattened(pruned), {name: dict(named_leaves(masks)).get(name) for name in flat}


def _stats(arrays: Flat, chosen: dict[str, Any], command: "Prune") -> dict[str, LayerStats]:
    """Statistics of the inputs of each kernel that the file has inputs of."""
    unknown = [name for name in arrays if name not in chosen]
    if unknown or not arrays:
        raise UsageError(
            f"{command.calib} must have the inputs of kernels under their paths ({', '.join(chosen)}); it has "
            f"{', '.join(arrays) or 'nothing'}. With --model it needs one array x"
        )
    stats = {}
    for name, x in arrays.items():
        kernel = chosen[name]
        if kernel.ndim != 2 or x.ndim != 2 or x.shape[1] != kernel.shape[0]:
            raise UsageError(
                f"{name}: inputs (rows, in) for a kernel (in, out) are needed; got {x.shape} for {kernel.shape}"
            )
        (stats[name],) = collect(
            lambda params, batch: batch @ params["kernel"], {"kernel": jnp.asarray(kernel)}, [x]
        ).values()
    return stats
