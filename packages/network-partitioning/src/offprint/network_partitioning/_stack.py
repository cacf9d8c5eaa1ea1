"""The stack of layers behind a pytree of parameters, and partitions of its units."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from offprint.network_partitioning._proportions import partition_counts

_UNTRACEABLE = ("attention", "attn", "query", "lora", "embed")


def path_of(key_path: tuple[Any, ...]) -> str:
    """The name of a leaf, as `layers/0/kernel`."""
    return jax.tree_util.keystr(key_path, simple=True, separator="/").removesuffix("/value")


class Layer(NamedTuple):
    """One module of a stack: its parameters by their position in the flattened pytree, and their shapes."""

    path: str
    kernel: int | None
    """The tensor of at least two axes (..., in, out); None for a norm."""
    vectors: tuple[int, ...]
    """Bias, scale: tensors with one axis, (out,)."""


class Stack(NamedTuple):
    """Layers in the order of the network, and the shape of every leaf of its parameters."""

    layers: tuple[Layer, ...]
    shapes: tuple[tuple[int, ...], ...]


def trace_stack(params: PyTree, order: Sequence[str] | None = None) -> Stack:
    """Find the layers of a plain stack of dense or convolutional layers, and norms between them, from parameters alone.

    The order is `order` (the layers' paths), or that of a list, or that of the numbers in names which differ in
    nothing else (`layers/0`, `layers/2`), or the only one in which every layer's inputs are the units of the
    layer before.

    Raises:
        ValueError: the parameters do not form such a stack, or their order isn't clear; it names the path.
    """
    named = [(path_of(path), path, np.shape(leaf)) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]]
    for path, _, _ in named:
        if any(word in path.lower() for word in _UNTRACEABLE):
            raise ValueError(f"scheme 'node' cannot trace {path}; take scheme='random_weight'")
    shapes = tuple(shape for _, _, shape in named)
    layers = [_layer(name, members, shapes) for name, members in _groups(named).items()]
    if order is not None:
        by_path = {layer.path: layer for layer in layers}
        if sorted(order) != sorted(by_path):
            raise ValueError(f"layers must name each of {', '.join(by_path)} once, but is {list(order)}")
        ordered: Sequence[Layer] = [by_path[name] for name in order]
    else:
        ordered = _in_order(layers, shapes)
    stack = Stack(tuple(ordered), shapes)
    _check_chain(stack)
    return stack


def _groups(named: Sequence[tuple[str, tuple[Any, ...], tuple[int, ...]]]) -> dict[str, list[int]]:
    """Leaves by the module that they belong to; in a flat list every kernel begins a layer."""
    groups: dict[str, list[int]] = {}
    current = ""
    for index, (path, keys, shape) in enumerate(named):
        if keys and isinstance(keys[-1], jax.tree_util.SequenceKey):
            current = path if len(shape) >= 2 or not current else current
            groups.setdefault(current, []).append(index)
        else:
            groups.setdefault(path.rpartition("/")[0] or path, []).append(index)
    return groups


def _layer(name: str, members: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> Layer:
    kernels = [index for index in members if len(shapes[index]) >= 2]
    vectors = tuple(index for index in members if len(shapes[index]) == 1)
    units = shapes[kernels[0]][-1] if kernels else shapes[members[0]][-1:]
    units = units if isinstance(units, int) else (units[0] if units else 0)
    if len(kernels) > 1 or len(kernels) + len(vectors) < len(members) or any(shapes[i] != (units,) for i in vectors):
        described = ", ".join(str(shapes[index]) for index in members)
        raise ValueError(
            f"scheme 'node' cannot trace {name}: it needs one kernel (..., in, out) with vectors (out,), "
            f"but the shapes are {described}; take scheme='random_weight'"
        )
    return Layer(name, kernels[0] if kernels else None, vectors)


def _units(layer: Layer, shapes: Sequence[tuple[int, ...]]) -> int:
    return shapes[layer.vectors[0] if layer.kernel is None else layer.kernel][-1]


def _follows(layer: Layer, units: int, spatial: bool, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a layer can take `units` inputs; dense layers take flattened images, channels last."""
    if layer.kernel is None:
        return _units(layer, shapes) == units
    inputs = shapes[layer.kernel][-2]
    flattens = spatial and len(shapes[layer.kernel]) == 2
    return inputs == units or (flattens and inputs % units == 0)


def _in_order(layers: Sequence[Layer], shapes: Sequence[tuple[int, ...]]) -> Sequence[Layer]:
    numbers = [re.findall(r"\d+", layer.path) for layer in layers]
    if len({re.sub(r"\d+", "#", layer.path) for layer in layers}) == 1 and all(len(n) == 1 for n in numbers):
        return [layers[i] for i in np.argsort([int(n[0]) for n in numbers])]
    found: list[list[Layer]] = []

    def extend(chain: list[Layer], rest: list[Layer]) -> None:
        if len(found) > 1:
            return
        if not rest:
            found.append(chain)
        for layer in rest:
            if not chain and layer.kernel is None:
                continue
            last = chain[-1] if chain else layer
            spatial = any(known.kernel is not None and len(shapes[known.kernel]) > 2 for known in chain)
            if not chain or _follows(layer, _units(last, shapes), spatial, shapes):
                extend([*chain, layer], [other for other in rest if other is not layer])

    extend([], list(layers))
    if len(found) == 1:
        return found[0]
    why = "several orders fit their shapes" if found else "they do not form one chain"
    raise ValueError(
        f"scheme 'node' cannot tell the order of the layers {', '.join(layer.path for layer in layers)}: {why}; "
        "give layers=[...], their paths in the order of the network, or take scheme='random_weight'"
    )


def _check_chain(stack: Stack) -> None:
    units, spatial = None, False
    for layer in stack.layers:
        if units is None and layer.kernel is None:
            raise ValueError(f"scheme 'node' cannot trace {layer.path}: a norm before the first layer")
        if units is not None and not _follows(layer, units, spatial, stack.shapes):
            shape = stack.shapes[layer.vectors[0] if layer.kernel is None else layer.kernel]
            raise ValueError(
                f"scheme 'node' cannot trace {layer.path}: its shape {shape} does not take the {units} units of the "
                "layer before; give layers=[...] in the order of the network, or take scheme='random_weight'"
            )
        units = _units(layer, stack.shapes)
        spatial = spatial or (layer.kernel is not None and len(stack.shapes[layer.kernel]) > 2)


def hidden(stack: Stack) -> list[bool]:
    """For each layer, whether its units are hidden: all but the last kernel, and the norms behind it."""
    last = max(index for index, layer in enumerate(stack.layers) if layer.kernel is not None)
    return [index < last for index in range(len(stack.layers))]


def node_ids(stack: Stack, shares: np.ndarray) -> list[np.ndarray]:
    """The ids of every leaf: max(c(i), c(j)) for a weight i -> j, c(j) for the bias and norm parameters of j."""
    ids: list[Any] = [None] * len(stack.shapes)
    before: np.ndarray | None = None
    for layer, is_hidden in zip(stack.layers, hidden(stack), strict=True):
        if layer.kernel is not None:
            shape = stack.shapes[layer.kernel]
            counts = partition_counts(shape[-1], shares)
            unit = np.repeat(np.arange(len(shares)), counts) if is_hidden else np.zeros(shape[-1], np.int64)
            source = np.zeros(shape[-2], np.int64) if before is None else np.tile(before, shape[-2] // len(before))
            ids[layer.kernel] = np.broadcast_to(np.maximum(source[:, None], unit[None, :]), shape)
            before = unit
        for index in layer.vectors:
            ids[index] = before
    return ids
