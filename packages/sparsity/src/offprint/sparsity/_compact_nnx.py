"""Compaction of an NNX model: smaller variables, and modules that know their new sizes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import PyTree

from offprint.sparsity._compact import CompactReport, compacted
from offprint.sparsity._dependency import Group, dependency_groups
from offprint.sparsity._jaxprs import trace
from offprint.sparsity._program import difference
from offprint.sparsity._tree import map_named, named_leaves


def _run(model: Any, x: Any) -> Any:
    return model(x)


def functional(
    model: nnx.Module, call: Callable[[Any, Any], PyTree] = _run
) -> tuple[Callable[[PyTree, PyTree], PyTree], PyTree]:
    """An NNX model as `(apply_fn, params)` for `dependency_groups`, `compact` and `macs`.

    `params` holds all variables but those of random numbers, so running statistics too.
    """
    graph, random, params = nnx.split(model, nnx.RngState, ...)

    def apply_fn(params: PyTree, x: PyTree) -> PyTree:
        return call(nnx.merge(graph, random, params, copy=True), x)

    return apply_fn, params


def nnx_groups(
    model: nnx.Module,
    example: PyTree,
    *,
    freeze: str | Sequence[str] = (),
    call: Callable[[Any, Any], PyTree] = _run,
) -> tuple[Group, ...]:
    """`dependency_groups` of an NNX model."""
    return dependency_groups(*functional(model, call), example, freeze=freeze)


def compact_nnx(
    model: nnx.Module,
    masks_or_keep: PyTree,
    example: PyTree,
    *,
    round_to: int = 1,
    min_keep: int = 0,
    fold: bool = True,
    freeze: str | Sequence[str] = (),
    call: Callable[[Any, Any], PyTree] = _run,
) -> tuple[nnx.Module, CompactReport]:
    """`compact` for an NNX model: returns a smaller model of the same classes; `model` itself is unchanged.

    The static sizes of Flax's modules (`in_features`, `out_features`, `num_features`, `feature_group_count`,
    `num_heads`, ...) are set from the new shapes.

    Args:
        model: in evaluation mode (`model.eval()`).
        masks_or_keep: masks of some or all variables, as a state or nested dictionary with the model's paths (those of
            `nnx.state(model, nnx.Param)`, say), or {group name: bool (units,)} for the groups of `nnx_groups`.
        example: x, or its shape and dtype.
        round_to, min_keep, fold, freeze: see `compact`.
        call: `call(model, x)`, if it isn't `model(x)`.

    Raises:
        ValueError: what `compact` raises, and a model whose own code fixes sizes, or writes the number of channels of
            heads into its formula, so that it can't run with the new ones; `compact(*functional(model), ...)` then
            gives a function that can.
    """
    apply_fn, params = functional(model, call)
    given = _aligned(params, masks_or_keep)
    small, report, shrunk = compacted(
        apply_fn, params, given, example, round_to=round_to, min_keep=min_keep, fold=fold, freeze=freeze
    )
    new = resize_nnx(model, small, report.index)
    apply_small, state = functional(new, call)
    try:
        reason = difference(shrunk, trace(apply_small, state, example).jaxpr, fold)
    except Exception as error:
        reason = str(error).partition("\n")[0]
    if reason:
        raise ValueError(
            f"{type(model).__name__} can't run with the sizes that are left ({reason}): its own code fixes sizes; take "
            "them from the arrays there, freeze the leaves, or use compact(*functional(model), ...), whose report "
            "has a function that runs"
        )
    return new, dataclasses.replace(report, apply_fn=apply_small)


def resize_nnx(model: nnx.Module, params: PyTree, index: Mapping[str, tuple[np.ndarray, ...]]) -> nnx.Module:
    """A model like `model` with smaller variables: how to load what `compact_nnx` made.

    Save the `params` of `functional(small)` and `report.index`; later build the model in its full size (under
    `nnx.eval_shape`, to need no memory) and pass all three.

    Args:
        model: of the full size; unchanged.
        params: a state or nested dictionary with its paths: all variables but those of random numbers.
        index: what is left of each axis of each of them.

    Raises:
        ValueError: paths or shapes that don't fit together.
    """
    graph, random, full = nnx.split(model, nnx.RngState, ...)
    arrays = dict(named_leaves(params))
    for path, leaf in named_leaves(full):
        if path not in arrays or path not in index:
            raise ValueError(f"params and index must have a leaf {path!r}; they have {', '.join(arrays)}")
        left = tuple(len(kept) for kept in index[path])
        if len(left) != leaf.ndim or tuple(arrays[path].shape) != left:
            raise ValueError(f"{path!r} has shape {tuple(arrays[path].shape)}, but index leaves {left} of {leaf.shape}")
    small = map_named(lambda path, leaf: arrays[path], full)
    new = nnx.merge(graph, random, small, copy=True)
    for place, module in nnx.iter_modules(new):
        _resize(module, "/".join(map(str, place)), index)
    return new


def _aligned(params: PyTree, given: PyTree) -> PyTree:
    """Masks laid out as the variables, `None` where there is none; a dictionary of units to keep as it is."""
    if isinstance(given, Mapping) and given and all(isinstance(k, str) and ":" in k for k in given):
        return given
    masks = dict(named_leaves(given))
    paths = [path for path, _ in named_leaves(params)]
    for path in masks:
        if path not in paths:
            raise ValueError(f"masks have a leaf {path!r} that the model has not; its leaves are {', '.join(paths)}")
    return map_named(lambda path, leaf: masks.get(path), params)


def _shape(module: Any, *names: str) -> tuple[int, ...] | None:
    for name in names:
        variable = getattr(module, name, None)
        if isinstance(variable, nnx.Variable) and variable.get_value() is not None:
            return tuple(variable.get_value().shape)
    return None


def _resize(module: Any, path: str, index: Mapping[str, tuple[np.ndarray, ...]]) -> None:
    """Set the static sizes of one module from the shapes of its variables."""
    kernel = _shape(module, "kernel")
    if isinstance(module, nnx.MultiHeadAttention):
        (*inputs, heads, channels) = _shape(module.query, "kernel") or ()
        (*_, kv_heads, _) = key = _shape(module.key, "kernel") or ()
        out = _shape(module.out, "kernel") or ()
        module.num_heads, module.head_dim, module.qkv_features = heads, channels, heads * channels
        module.in_features, module.in_kv_features, module.out_features = inputs[0], key[0], out[-1]
        if hasattr(module, "num_kv_heads"):
            module.num_kv_heads = kv_heads
    elif isinstance(module, nnx.GroupNorm):
        shape = _shape(module, "scale", "bias")
        if shape is not None:
            kept = index[f"{path}/scale" if _shape(module, "scale") else f"{path}/bias"][0]
            module.num_groups = np.unique(kept // module.group_size).size
            module.group_size = shape[0] // module.num_groups
            _set(module, "num_features", shape[0])
    elif isinstance(module, (nnx.Conv, nnx.ConvTranspose)) and kernel is not None:
        groups = getattr(module, "feature_group_count", 1)
        if groups > 1:  # the groups that kept any output
            groups = np.unique(index[f"{path}/kernel"][-1] // (module.out_features // groups)).size
            module.feature_group_count = groups  # type: ignore[union-attr]
        module.kernel_shape, module.in_features, module.out_features = kernel, kernel[-2] * groups, kernel[-1]
    elif isinstance(module, nnx.LinearGeneral) and kernel is not None:
        outputs = len(module.out_features)
        module.in_features = kernel[len(kernel) - outputs - len(module.in_features) : len(kernel) - outputs]
        module.out_features = kernel[len(kernel) - outputs :]
    elif isinstance(module, nnx.Einsum) and kernel is not None:
        module.kernel_shape = kernel
        module.bias_shape = _shape(module, "bias") or module.bias_shape
    elif isinstance(module, nnx.Embed):
        module.num_embeddings, module.features = _shape(module, "embedding") or (0, 0)
    elif isinstance(module, nnx.RNNCellBase):
        hidden, given = "hidden_features", "in_features"
        for child, name in (("dense_h", hidden), ("hi", hidden), ("dense_i", given), ("ii", given)):
            weights = _shape(getattr(module, child, None), "kernel")
            if weights is not None:
                _set(module, name, weights[0])
    elif kernel is not None and len(kernel) > 1:
        _set(module, "in_features", kernel[-2])
        _set(module, "out_features", kernel[-1])
    elif kernel is None:
        shape = _shape(module, "scale", "bias", "mean")
        if shape is not None and len(shape) == 1:
            _set(module, "num_features", shape[0])


def _set(module: Any, name: str, size: int) -> None:
    if isinstance(getattr(module, name, None), int):
        setattr(module, name, size)
