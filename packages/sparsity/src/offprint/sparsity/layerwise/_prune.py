"""The layer-wise methods on all kernels of a model."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import PyTree

from offprint.sparsity._filter import Filter
from offprint.sparsity._tree import map_named, named_leaves
from offprint.sparsity.layerwise._choice import NofM
from offprint.sparsity.layerwise._collect import (
    LayerStats,
    as_matrix,
    collect,
    from_matrix,
    functional,
    order_of_use,
)
from offprint.sparsity.layerwise._lobs import lobs
from offprint.sparsity.layerwise._obc import obc
from offprint.sparsity.layerwise._quadratic import Pruned, is_traced
from offprint.sparsity.layerwise._sparsegpt import sparsegpt
from offprint.sparsity.layerwise._wanda import wanda

Method = str | Callable[..., Pruned]
_BY_NAME: dict[str, Callable[..., Pruned]] = {"sparsegpt": sparsegpt, "obc": obc, "wanda": wanda, "lobs": lobs}


def prune_layerwise(
    params: PyTree,
    stats: Mapping[str, LayerStats],
    method: Method = "sparsegpt",
    sparsity: float | int | None = None,
    *,
    nm: NofM | None = None,
    budget: PyTree = None,
    **options: Any,
) -> tuple[PyTree, PyTree]:
    """Prune every kernel that has statistics, each by itself, with the inputs that the dense model gave it.

    `prune_in_sequence` gives each layer the inputs that come out of the layers pruned before it, as SparseGPT does.

    Args:
        params: tree of arrays.
        stats: from `collect`.
        method: 'sparsegpt', 'obc', 'wanda', 'lobs', or a function of a kernel (in, out), H (or, for one named `wanda`,
            the norms), a sparsity and options.
        sparsity: share removed of each kernel.
        nm: instead, (n, m): n kept of every m consecutive inputs.
        budget: instead, a density for each leaf (`density_map`).
        **options: of the method (`damp`, `blocksize`, …).

    Returns:
        (params, masks): removed weights are exactly 0; masks are None at leaves without statistics.

    Raises:
        ValueError: unknown method; statistics of leaves that are not there; not one of sparsity, nm, budget; and what
            the method raises, with the path of the leaf.
    """
    leaves = dict(named_leaves(params))
    for path in stats:
        if leaves.get(path) is None:
            raise ValueError(f"there are statistics of {path!r}, but no such leaf; the leaves are {', '.join(leaves)}")
    share = _shares(list(stats), sparsity, nm, budget)
    done = {
        path: _prune_leaf(path, leaves[path], each, method, share[path], nm, options) for path, each in stats.items()
    }
    pruned = map_named(lambda path, leaf: done[path].kernel if path in done else leaf, params)
    return pruned, map_named(lambda path, leaf: done[path].mask if path in done else None, params)


def prune_in_sequence(
    apply_fn: Callable[[PyTree, Any], Any] | nnx.Module,
    params: PyTree,
    batches: Sequence[Any] | Callable[[], Iterable[Any]],
    method: Method = "sparsegpt",
    sparsity: float | int | None = None,
    *,
    nm: NofM | None = None,
    budget: PyTree = None,
    filter: Filter | None = None,
    **options: Any,
) -> tuple[PyTree, PyTree]:
    """Prune the kernels in the order in which the model uses them, each with the inputs that come out of those before.

    For every kernel the calibration runs through the model up to it, and one program is compiled, so this takes about
    half as many forward passes as there are kernels.

    Args:
        apply_fn, params, filter: see `collect`.
        batches: the calibration: a sequence, or a function that gives a fresh iterable each time.
        method, sparsity, nm, budget, options: see `prune_layerwise`.

    Returns and raises: see `prune_layerwise` and `collect`.

    Source: frantar2023sparsegpt prunes models so, a block of layers at a time.
    """
    function, params = functional(apply_fn, params)
    again = batches if callable(batches) else lambda: batches
    first = next(iter(again()), None)
    if first is None:
        raise ValueError("there are no batches to collect statistics from")
    order = order_of_use(function, params, first, filter)
    share = _shares(order, sparsity, nm, budget)
    masks = {}
    for path in order:
        stats = collect(
            function, params, again(), filter=lambda name, leaf, path=path: name == path, hessian=method != "wanda"
        )
        leaf = dict(named_leaves(params))[path]
        pruned = _prune_leaf(path, leaf, stats[path], method, share[path], nm, options)
        masks[path] = pruned.mask
        params = map_named(lambda name, old, path=path, new=pruned.kernel: new if name == path else old, params)
    return params, map_named(lambda path, leaf: masks.get(path), params)


def _prune_leaf(
    path: str,
    leaf: Any,
    stats: LayerStats,
    method: Method,
    sparsity: float | None,
    nm: NofM | None,
    options: dict[str, Any],
) -> Pruned:
    if isinstance(method, str) and method not in _BY_NAME:
        raise ValueError(f"method must be one of {', '.join(_BY_NAME)} or a function; got {method!r}")
    function = _BY_NAME[method] if isinstance(method, str) else method
    if method == "lobs" and nm is not None:
        raise ValueError("lobs has no n:m form; use sparsegpt, obc or wanda")
    choice: dict[str, Any] = {"sparsity": sparsity} if nm is None else {"nm": nm}
    if nm is not None and leaf.shape[stats.axes[-1]] % nm[1]:
        raise ValueError(
            f"{path}: {nm[0]}:{nm[1]} needs axis {stats.axes[-1]} of the kernel of shape {tuple(leaf.shape)} to be "
            f"divisible by {nm[1]}; leave it out by the filter"
        )
    layers = range(leaf.shape[0]) if stats.stacked else [None]
    kernels, masks = [], []
    for layer in layers:
        kernel, own = (leaf, stats) if layer is None else (leaf[layer], _layer(stats, layer))
        matrix = as_matrix(kernel, own.axes)
        if function is not wanda:
            _check_rank(path, own)
        try:
            pruned = function(matrix, own.norms if function is wanda else own.H, **choice, **options)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        kernels.append(from_matrix(pruned.kernel, kernel.shape, own.axes))
        masks.append(from_matrix(pruned.mask, kernel.shape, own.axes))
    if not stats.stacked:
        return Pruned(jnp.asarray(kernels[0]), jnp.asarray(masks[0]))
    return Pruned(jnp.stack(kernels), jnp.stack(masks))


def _layer(stats: LayerStats, layer: int) -> LayerStats:
    H = None if stats.H is None else stats.H[layer]
    return LayerStats(H, stats.squares[layer], stats.n[layer], tuple(axis - 1 for axis in stats.axes), False)


def _check_rank(path: str, stats: LayerStats) -> None:
    if stats.H is None:
        raise ValueError(f"{path}: the statistics have no H; collect them with hessian=True, or use wanda")
    inputs = stats.squares.shape[-1]
    if not is_traced(stats.n) and int(stats.n) < inputs:
        warnings.warn(
            f"{path}: {int(stats.n)} rows of calibration for {inputs} inputs, so H has not full rank and the "
            "correction rests on damp; use more calibration data",
            stacklevel=4,
        )


def _shares(
    paths: Sequence[str], sparsity: float | int | None, nm: NofM | None, budget: PyTree
) -> dict[str, float | None]:
    """The share that each kernel loses; None with n:m."""
    if sum(choice is not None for choice in (sparsity, nm, budget)) != 1:
        raise ValueError("give one of sparsity, nm and budget")
    if budget is None:
        return dict.fromkeys(paths, None if sparsity is None else float(sparsity))
    densities = dict(named_leaves(budget))
    missing = [path for path in paths if densities.get(path) is None]
    if missing:
        raise ValueError(f"the budget has no density for {', '.join(missing)}; it has {', '.join(densities)}")
    return {path: 1 - float(np.asarray(densities[path])) for path in paths}
