"""How primitives that move or reduce elements keep values known; see `_known.py`."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from offprint.sparsity._jaxprs import regroup, window_axes
from offprint.sparsity._known import Known, exact, full, uniform, unknown
from offprint.sparsity._rules import pad_index, slice_of


def _shaped(x: Known, shape: tuple[int, ...], move: tuple[int, ...] | None) -> Known:
    """`x` reshaped without its elements moving; `move[d]` is the axis that axis d becomes."""
    leaf = None
    if x.leaf is not None and move is not None:
        leaf = (x.leaf[0], tuple(move[d] if d >= 0 else -1 for d in x.leaf[1]))
    return Known(x.value.reshape(shape), x.known.reshape(shape), leaf)


def broadcast_in_dim(eqn: Any, ins: list[Known]) -> Known:
    shape = [1] * len(eqn.outvars[0].aval.shape)
    dims = tuple(int(d) for d in eqn.params["broadcast_dimensions"])
    for n, d in zip(ins[0].value.shape, dims, strict=True):
        shape[d] = n
    return _shaped(ins[0], tuple(shape), dims)


def reshape(eqn: Any, ins: list[Known]) -> Known:
    order = tuple(eqn.params.get("dimensions") or range(ins[0].value.ndim))
    before = tuple(eqn.invars[0].aval.shape[d] for d in order)
    after = eqn.outvars[0].aval.shape
    if 0 in before:
        return unknown(eqn.outvars[0].aval)
    x, shape, wanted = _permuted(ins[0], order), [1] * len(after), []
    groups = regroup(before, after)
    for old, new in groups:
        if any(x.value.shape[d] != 1 for d in old):
            wanted += old
            for d in new:
                shape[d] = after[d]
    plain = all(len(old) == len(new) == 1 for old, new in groups)
    move = {old[0]: new[0] for old, new in groups} if plain else None
    wide = dataclasses.replace(full(x, before, wanted), leaf=x.leaf)
    # An axis of size 1 has no place in the new shape: -1.
    return _shaped(wide, tuple(shape), tuple(move.get(d, -1) for d in range(len(before))) if move is not None else None)


def transpose(eqn: Any, ins: list[Known]) -> Known:
    return _permuted(ins[0], tuple(eqn.params["permutation"]))


def _permuted(x: Known, order: tuple[int, ...]) -> Known:
    leaf = None if x.leaf is None else (x.leaf[0], tuple(order.index(d) if d >= 0 else -1 for d in x.leaf[1]))
    return Known(x.value.transpose(order), x.known.transpose(order), leaf)


def squeeze(eqn: Any, ins: list[Known]) -> Known:
    gone = tuple(eqn.params["dimensions"])
    return Known(ins[0].value.squeeze(gone), ins[0].known.squeeze(gone))


def _index(x: Known, index: list[slice]) -> Known:
    # An axis of size 1 stands for all of its elements.
    where = tuple(slice(None) if n == 1 else i for n, i in zip(x.value.shape, index, strict=True))
    return Known(x.value[where], x.known[where])


def slice_(eqn: Any, ins: list[Known]) -> Known:
    return _index(ins[0], [slice_of(eqn.params, d) for d in range(ins[0].value.ndim)])


def split(eqn: Any, ins: list[Known]) -> list[Known]:
    along, ends = eqn.params["axis"], [0, *np.cumsum(eqn.params["sizes"]).tolist()]
    whole = [slice(None)] * ins[0].value.ndim
    return [_index(ins[0], [*whole[:along], slice(a, b), *whole[along + 1 :]]) for a, b in pairwise(ends)]


def rev(eqn: Any, ins: list[Known]) -> Known:
    turned = tuple(eqn.params["dimensions"])
    return Known(np.flip(ins[0].value, turned), np.flip(ins[0].known, turned))


def concatenate(eqn: Any, ins: list[Known]) -> Known:
    along = eqn.params["dimension"]
    parts = [full(x, var.aval.shape, [along]) for x, var in zip(ins, eqn.invars, strict=True)]
    shape = np.broadcast_shapes(*((*p.value.shape[:along], 1, *p.value.shape[along + 1 :]) for p in parts))
    shapes = [(*shape[:along], p.value.shape[along], *shape[along + 1 :]) for p in parts]
    return Known(
        np.concatenate([np.broadcast_to(p.value, s) for p, s in zip(parts, shapes, strict=True)], along),
        np.concatenate([np.broadcast_to(p.known, s) for p, s in zip(parts, shapes, strict=True)], along),
    )


def pad(eqn: Any, ins: list[Known]) -> Known:
    x, filler = ins
    shape = eqn.invars[0].aval.shape
    for d, config in enumerate(eqn.params["padding_config"]):
        if tuple(config) == (0, 0, 0):
            continue
        index = pad_index(config, shape[d])
        x = full(x, shape, [d])
        where = (index >= 0).reshape([-1 if i == d else 1 for i in range(len(shape))])
        taken = index.clip(0)
        x = Known(
            np.where(where, x.value.take(taken, d), filler.value), np.where(where, x.known.take(taken, d), filler.known)
        )
    return x


def iota(eqn: Any, ins: list[Known]) -> Known:
    shape, along = eqn.params["shape"], eqn.params["dimension"]
    counted = np.arange(shape[along], dtype=eqn.outvars[0].aval.dtype)
    return exact(counted.reshape([-1 if d == along else 1 for d in range(len(shape))]))


_REDUCE: dict[str, Callable[..., Any]] = {
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_and": np.all,
    "reduce_or": np.any,
}


def reduce_(eqn: Any, ins: list[Known]) -> Known:
    axes = tuple(int(d) for d in eqn.params["axes"])
    value = _REDUCE[eqn.primitive.name](ins[0].value, axis=axes)
    return Known(np.asarray(value), np.asarray(ins[0].known.all(axis=axes)))


def pool(eqn: Any, ins: list[Known]) -> Known:
    pooled = [d for d, used in enumerate(window_axes(eqn.params)) if used]
    x = uniform(ins[0], pooled)
    if eqn.primitive.name != "reduce_window_sum":
        return x  # the largest or smallest of equal values; padding never wins
    for d in pooled:
        counts = _elements_per_window(eqn, d)
        counts = counts[:1] if (counts == counts[0]).all() else counts
        counts = counts.reshape([-1 if i == d else 1 for i in range(x.value.ndim)]).astype(x.value.dtype)
        x = Known(x.value * counts, np.broadcast_to(x.known, np.broadcast_shapes(x.known.shape, counts.shape)))
    return x


def _elements_per_window(eqn: Any, d: int) -> np.ndarray:
    """How many elements each window sees along one axis: fewer at a padded edge."""
    params, n, ones = eqn.params, eqn.invars[0].aval.shape[d], (1,) * (d + 1)
    width, stride = params["window_dimensions"][d], (params.get("window_strides") or ones)[d]
    apart, spread = (params.get("base_dilation") or ones)[d], (params.get("window_dilation") or ones)[d]
    low, high = params["padding"][d]
    there = pad_index((low, high, apart - 1), n) >= 0
    starts = np.arange(0, there.size - spread * (width - 1), stride)
    return there[starts[:, None] + spread * np.arange(width)].sum(1)


def gather(eqn: Any, ins: list[Known]) -> Known:
    numbers, sizes = eqn.params["dimension_numbers"], eqn.params["slice_sizes"]
    operand = eqn.invars[0].aval.shape
    batching = tuple(getattr(numbers, "operand_batching_dims", ()))
    x = uniform(ins[0], [d for d in range(len(operand)) if sizes[d] != operand[d] or d in batching])
    windows = [d for d in range(len(operand)) if d not in numbers.collapsed_slice_dims and d not in batching]
    shape = [1] * len(eqn.outvars[0].aval.shape)
    for out, d in zip(numbers.offset_dims, windows, strict=True):
        shape[out] = x.value.shape[d]
    return _shaped(x, tuple(shape), None)


def dynamic_slice(eqn: Any, ins: list[Known]) -> Known:
    operand = eqn.invars[0].aval.shape
    return uniform(ins[0], [d for d, n in enumerate(eqn.params["slice_sizes"]) if n != operand[d]])


KNOWN: dict[str, Callable[[Any, list[Known]], Any]] = {
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "transpose": transpose,
    "squeeze": squeeze,
    "slice": slice_,
    "split": split,
    "rev": rev,
    "concatenate": concatenate,
    "pad": pad,
    "iota": iota,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
    "optimization_barrier": lambda eqn, ins: list(ins),
    "reduce_window_sum": pool,
    "reduce_window_max": pool,
    "reduce_window_min": pool,
    **dict.fromkeys(_REDUCE, reduce_),
}
