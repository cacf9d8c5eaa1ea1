"""How each primitive of a jaxpr ties the axes of its arrays: elementwise operations, shapes and indexing.

A rule takes the pass (`_labels.Labels`), the equation, its key and the axes of its inputs, and returns the axes of its
outputs. Contractions are in `_rules_contract.py`, loops and branches in `_rules_control.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from offprint.sparsity._jaxprs import ELEMENTWISE, Key, regroup, window_axes
from offprint.sparsity._units import Axis, flatten, split

Axes = tuple[Axis, ...]
Rule = Callable[[Any, Any, Key, list[Axes]], list[Axes]]

RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register the rule of these primitives."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def kept(n: int) -> Axis:
    """An axis that loses nothing."""
    return np.zeros((n, 0), np.int64)


@rule(*ELEMENTWISE)
def _elementwise(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    shape = eqn.outvars[0].aval.shape
    axes = []
    for d, n in enumerate(shape):
        # Inputs of rank 0 and of size 1 along an axis are broadcast: they tie nothing.
        same = [axis[d] for axis in ins if len(axis) == len(shape) and len(axis[d]) == n]
        for other in same[1:]:
            labels.units.unify(same[0], other)
        axes.append(same[0] if same and n != 1 else labels.units.fresh(n))
    return [tuple(axes)]


@rule("bitcast_convert_type")
def _bitcast(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    if eqn.outvars[0].aval.shape != eqn.invars[0].aval.shape:
        return labels.unknown(eqn, ins)
    return ins


@rule("optimization_barrier")
def _each(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    return ins


@rule("broadcast_in_dim")
def _broadcast(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    shape = eqn.outvars[0].aval.shape
    axes = [labels.units.fresh(n) for n in shape]  # every element of a new axis is the same: any may go
    for axis, d in zip(ins[0], eqn.params["broadcast_dimensions"], strict=True):
        if len(axis) == shape[d]:
            axes[d] = axis
    return [tuple(axes)]


@rule("reshape")
def _reshape(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    order = eqn.params.get("dimensions") or range(len(ins[0]))  # the axes may be permuted first
    before = tuple(eqn.invars[0].aval.shape[d] for d in order)
    after = eqn.outvars[0].aval.shape
    if 0 in before:
        return labels.unknown(eqn, ins)
    source = [ins[0][d] for d in order]
    axes = [kept(n) for n in after]
    for old, new in regroup(before, after):
        merged = source[old[0]] if len(old) == 1 else flatten([source[d] for d in old])
        parts = [merged] if len(new) == 1 else split(labels.units, merged, tuple(after[d] for d in new))
        for d, part in zip(new, parts, strict=True):
            axes[d] = part
    return [tuple(axes)]


@rule("transpose")
def _transpose(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    return [tuple(ins[0][d] for d in eqn.params["permutation"])]


@rule("squeeze")
def _squeeze(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    gone = eqn.params["dimensions"]
    return [tuple(axis for d, axis in enumerate(ins[0]) if d not in gone)]


@rule("expand_dims")
def _expand(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    axes = list(ins[0])
    for d in sorted(eqn.params["dimensions"]):
        axes.insert(d, kept(1))
    return [tuple(axes)]


@rule("rev")
def _reverse(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    turned = eqn.params["dimensions"]
    return [tuple(axis[::-1] if d in turned else axis for d, axis in enumerate(ins[0]))]


def slice_of(params: dict[str, Any], d: int) -> slice:
    """What a `slice` equation takes of axis d."""
    strides = params["strides"]
    return slice(params["start_indices"][d], params["limit_indices"][d], strides[d] if strides else 1)


@rule("slice")
def _slice(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    return [tuple(axis[slice_of(eqn.params, d)] for d, axis in enumerate(ins[0]))]


@rule("split")
def _split(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    along, ends = eqn.params["axis"], np.cumsum(eqn.params["sizes"])
    pieces = np.split(ins[0][along], ends[:-1])
    return [tuple(piece if d == along else axis for d, axis in enumerate(ins[0])) for piece in pieces]


def pad_index(config: Sequence[Any], n: int) -> np.ndarray:
    """Where each element of a padded axis comes from; -1: it is padding."""
    low, high, inside = map(int, config)
    index = np.full((n + max(n - 1, 0) * inside), -1)
    index[:: inside + 1] = np.arange(n)
    index = np.concatenate([np.full(max(low, 0), -1), index[max(-low, 0) :]])
    return np.concatenate([index[: len(index) + min(high, 0)], np.full(max(high, 0), -1)])


@rule("pad")
def _pad(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    axes = []
    for axis, config in zip(ins[0], eqn.params["padding_config"], strict=True):
        if tuple(config) == (0, 0, 0) or axis.shape[1] == 0:
            axes.append(axis if tuple(config) == (0, 0, 0) else kept(len(pad_index(config, len(axis)))))
            continue
        index = pad_index(config, len(axis))
        padded = np.where((index >= 0)[:, None], axis[index], 0)
        padded[index < 0, :1] = labels.units.fresh(max(int((index < 0).sum()), 2))[: (index < 0).sum()]
        axes.append(padded)
    return [tuple(axes)]


@rule("concatenate")
def _concatenate(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    along = eqn.params["dimension"]
    axes = list(ins[0])
    for d in range(len(axes)):
        if d != along:
            for other in ins[1:]:
                labels.units.unify(axes[d], other[d])
    pieces = [labels.units.resolve(axis[along]) for axis in ins]
    width = max(piece.shape[1] for piece in pieces)
    axes[along] = np.concatenate([np.pad(piece, ((0, 0), (0, width - piece.shape[1]))) for piece in pieces])
    return [tuple(axes)]


@rule("iota")
def _iota(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    shape, counted = eqn.params["shape"], eqn.params["dimension"]
    return [tuple(kept(n) if d == counted else labels.units.fresh(n) for d, n in enumerate(shape))]


@rule("reduce_sum")
def _reduce_sum(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    # A removed element must add nothing; `_constants.py` looks at that.
    gone = eqn.params["axes"]
    return [tuple(axis for d, axis in enumerate(ins[0]) if d not in gone)]


@rule("reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin")
def _reduce(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    gone = eqn.params["axes"]
    for d in gone:
        labels.units.freeze(ins[0][d])
    return [tuple(axis for d, axis in enumerate(ins[0]) if d not in gone)]


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def _cumulative(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    labels.units.freeze(ins[0][eqn.params["axis"]])
    return ins


@rule("sort")
def _sort(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    for axes in ins:
        labels.units.freeze(axes[eqn.params["dimension"]])
        for one, other in zip(ins[0], axes, strict=True):
            labels.units.unify(one, other)
    return ins


@rule("top_k")
def _top_k(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    labels.units.freeze(ins[0][-1])
    out = (*ins[0][:-1], kept(eqn.outvars[0].aval.shape[-1]))
    return [out, out]


@rule(
    "reduce_window_sum",
    "reduce_window_max",
    "reduce_window_min",
    "reduce_window",
    "cumred_reduce_window",
)
def _pool(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    arrays = [axes for axes in ins if len(axes) == len(eqn.outvars[0].aval.shape)]
    outs = []
    for axes, var in zip(arrays, eqn.outvars, strict=True):
        pooled = window_axes(eqn.params)
        for axis, used in zip(axes, pooled, strict=True):
            if used:
                labels.units.freeze(axis)
        shape = var.aval.shape
        outs.append(tuple(kept(n) if used else axis for axis, used, n in zip(axes, pooled, shape, strict=True)))
    return outs


@rule("gather")
def _gather(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    operand, indices = ins
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    shape = eqn.outvars[0].aval.shape
    axes: list[Axis | None] = [None] * len(shape)
    windows = [d for d in range(len(operand)) if d not in numbers.collapsed_slice_dims and d not in batching]
    for out, d in zip(numbers.offset_dims, windows, strict=True):
        axes[out] = operand[d] if sizes[d] == len(operand[d]) else kept(sizes[d])
    for d, axis in enumerate(operand):
        if d in batching or sizes[d] != len(axis):
            labels.units.freeze(axis)
    labels.units.freeze(indices[-1])
    batch = iter(indices[:-1])
    outs = [next(batch) if axis is None else axis for axis in axes]
    for d in getattr(numbers, "start_indices_batching_dims", ()):
        labels.units.freeze(indices[d])
    return [tuple(outs)]


@rule("dynamic_slice")
def _dynamic_slice(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    axes = []
    for axis, n in zip(ins[0], eqn.params["slice_sizes"], strict=True):
        if n != len(axis):
            labels.units.freeze(axis)
        axes.append(axis if n == len(axis) else kept(n))
    return [tuple(axes)]


@rule("dynamic_update_slice")
def _dynamic_update(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    for axis, new in zip(ins[0], ins[1], strict=True):
        if len(axis) == len(new):
            labels.units.unify(axis, new)
        else:
            labels.units.freeze(axis)
            labels.units.freeze(new)
    return [ins[0]]


@rule("scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "scatter-min", "scatter-max")
def _scatter(labels: Any, eqn: Any, key: Key, ins: list[Axes]) -> list[Axes]:
    operand, indices, updates = ins
    numbers = eqn.params["dimension_numbers"]
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    windows = [d for d in range(len(operand)) if d not in numbers.inserted_window_dims and d not in batching]
    whole = dict(zip(windows, numbers.update_window_dims, strict=True))
    for d, axis in enumerate(operand):
        if d in whole and len(axis) == len(updates[whole[d]]) and d not in numbers.scatter_dims_to_operand_dims:
            labels.units.unify(axis, updates[whole[d]])
        else:
            labels.units.freeze(axis)
    for d, axis in enumerate(updates):
        if d not in whole.values() or len(axis) != len(operand[windows[numbers.update_window_dims.index(d)]]):
            labels.units.freeze(axis)
    for axis in indices:
        labels.units.freeze(axis)
    return [operand]
