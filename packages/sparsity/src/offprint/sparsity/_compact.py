"""Compaction: a smaller network that computes what the masked one does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from offprint.sparsity._compact_report import CompactReport, like, take
from offprint.sparsity._constants import Constants
from offprint.sparsity._dependency import Group, check_keep, group_masks, groups_of, rounded
from offprint.sparsity._jaxprs import check_host, shapes_of, trace
from offprint.sparsity._labels import Labels, label
from offprint.sparsity._program import difference
from offprint.sparsity._rewrite import Shrunk, rewritten
from offprint.sparsity._sinks import Sink, settle, violated
from offprint.sparsity._tree import check_same, map_named, named_leaves


def compact(
    apply_fn: Callable[..., PyTree],
    params: PyTree,
    masks_or_keep: PyTree,
    example: PyTree,
    *,
    round_to: int = 1,
    min_keep: int = 0,
    fold: bool = True,
    freeze: str | Sequence[str] = (),
) -> tuple[PyTree, CompactReport]:
    """Cut out of a network what its masks have made useless: arrays really get smaller, the function stays the same.

    With masks, every unit goes that can: whose terms are all zero, or constants, wherever they are added up (whole
    columns of kernels that are masked, units whose outputs are all masked, and what only fed those). Constants arise
    from biases and batch norms behind masked kernels; they go into the bias, or the running mean, that follows. Where
    that is not possible exactly (the next convolution pads with zeros, no bias follows) the unit stays, and the report
    says why. With `keep` exactly the named units go, with everything that belongs to them (biases too), and it is an
    error if that changes the function.

    Torch-Pruning and its like remove units without looking at constants, so what they return differs from the masked
    network; `fold=False` does that. Runs on the host, for a few
    times the memory of the parameters; the work is one pass through the network with a batch of one.

    Args:
        apply_fn: `apply_fn(params, x)`, in evaluation mode.
        params: all arrays that shrink, running statistics included.
        masks_or_keep: masks like `params` (`None` at leaves without), or {group name: bool (units,)} as `prune_groups`
            makes it, with the groups of `dependency_groups(apply_fn, params, example, freeze=freeze)`.
        example: x, or its shape and dtype.
        round_to: keep a multiple of this many units per group (all, if the group has fewer), masked ones among them.
        min_keep: units that each group keeps, useless or not. With 0 a group that would become empty is an error; with
            1 residual branches that are masked altogether shrink to one unit.
        fold: False drops constants instead of folding them, and with `keep` checks nothing: the shapes fit, the
            function changes.
        freeze: patterns of paths of leaves that keep all their axes.

    Returns:
        The small parameters, masked, and a `CompactReport`. Call `report.apply_fn(small, x)`; it is `apply_fn` itself
        if that runs with the small parameters unchanged, else its jaxpr with the shapes put right (derivatives of
        functions with derivatives of their own are then those of their definition).

    Raises:
        ValueError: masks of another tree, no such group, a group that would become empty, a primitive without a rule,
            a kept list whose removal would change the function, `round_to` < 1.
    """
    small, report, _ = compacted(
        apply_fn, params, masks_or_keep, example, round_to=round_to, min_keep=min_keep, fold=fold, freeze=freeze
    )
    return small, report


def compacted(
    apply_fn: Callable[..., PyTree],
    params: PyTree,
    masks_or_keep: PyTree,
    example: PyTree,
    *,
    round_to: int,
    min_keep: int,
    fold: bool,
    freeze: str | Sequence[str],
) -> tuple[PyTree, CompactReport, Shrunk]:
    """`compact`, with what a caller needs to check another program against the same labels."""
    check_host("compact", params, masks_or_keep)
    if round_to < 1:
        raise ValueError(f"round_to must be at least 1; got {round_to}")
    if min_keep < 0:
        raise ValueError(f"min_keep must not be negative; got {min_keep}")
    patterns = (freeze,) if isinstance(freeze, str) else tuple(freeze)
    labels = label(apply_fn, params, example, patterns)
    groups = groups_of(labels)
    keep = _as_keep(groups, masks_or_keep)
    masks = masks_or_keep if keep is None else group_masks(groups, params, keep)
    flags = _checked(params, masks)
    leaves = {path: _masked(leaf, flags.get(path)) for path, leaf in named_leaves(params) if leaf is not None}
    sinks = list(Constants(labels, leaves).sinks.values()) if fold or keep is None else []
    if keep is None:
        removed, why = _removable(labels, groups, sinks, round_to, min_keep, fold)
    else:
        removed, why = _asked(labels, groups, keep, sinks, round_to, fold), {}
    shrunk = Shrunk(labels, removed)
    folded = _fold(sinks, removed, leaves) if fold else {}
    index = {path: tuple(shrunk.kept(axis) for axis in axes) for path, axes in labels.leaves.items()}
    small = map_named(lambda path, leaf: None if leaf is None else like(leaf, take(leaves[path], index[path])), params)
    function = _runnable(apply_fn, params, small, example, shrunk, patterns, fold, index)
    report = CompactReport(
        {g.name: (g.size, int((~removed[g.units]).sum())) for g in groups},
        (_count(params), _count(small)),
        folded,
        _stayed(groups, flags, removed, why),
        map_named(lambda path, leaf: take(flags[path], index[path]) if path in flags else None, params),
        function,
        index,
    )
    return small, report, shrunk


def compacted_size(groups: Sequence[Group], params: PyTree, keep: Mapping[str, Any]) -> int:
    """The number of parameters that `compact` leaves when these units are kept, without running anything."""
    flags = check_keep(groups, keep)
    left = {p: [np.ones(n, bool) for n in leaf.shape] for p, leaf in named_leaves(params) if leaf is not None}
    for group in groups:
        for m in group.members:
            left[m.path][m.axis][m.index[~flags[group.name]].ravel()] = False
    return int(sum(np.prod([axis.sum() for axis in axes], dtype=np.int64) for axes in left.values()))


def _as_keep(groups: Sequence[Group], given: PyTree) -> dict[str, np.ndarray] | None:
    names = {group.name for group in groups}
    if not isinstance(given, Mapping):
        return None
    if not given:
        return check_keep(groups, {})
    keys = {str(key) for key in given}
    if keys & names or any(":" in key for key in keys):
        return check_keep(groups, given)
    return None


def _checked(params: PyTree, masks: PyTree) -> dict[str, np.ndarray]:
    check_same(params, masks, "masks")
    flags = {path: np.asarray(leaf) for path, leaf in named_leaves(masks) if leaf is not None}
    for path, mask in flags.items():
        if mask.dtype != np.bool_ and not np.isin(mask, (0, 1)).all():
            raise ValueError(f"masks must be bool, or exactly 0 and 1; {path!r} is neither")
    return {path: mask.astype(bool) for path, mask in flags.items()}


def _masked(leaf: Any, mask: np.ndarray | None) -> Any:
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", np.dtype(float)), jax.dtypes.extended):
        return leaf  # a random key
    array = np.asarray(leaf)
    return array if mask is None else np.where(mask, array, np.zeros((), array.dtype))


def _count(tree: PyTree) -> int:
    return int(sum(np.prod(np.shape(leaf), dtype=np.int64) for leaf in jax.tree.leaves(tree)))


def _removable(
    labels: Labels, groups: Sequence[Group], sinks: list[Sink], round_to: int, min_keep: int, fold: bool
) -> tuple[np.ndarray, dict[int, str]]:
    """The largest set of units that can go together, less what `round_to` keeps; why the others stay."""
    removed = np.zeros(labels.units.count, bool)
    for group in groups:
        removed[group.units] = True
    why: dict[int, str] = {}
    while True:
        settle(sinks, removed, why, fold)
        changed = False
        for group in groups:
            gone = removed[group.units]
            if gone.all() and not min_keep:
                raise ValueError(
                    f"all {group.size} units of group {group.name} are masked or useless, so that it would become "
                    "empty; keep at least one, shrink it to one with min_keep=1, or keep all with "
                    f"freeze={group.name.rsplit(':', 1)[0]!r}"
                )
            left = int((~gone).sum())
            extra = rounded(max(left, min_keep), group.size, round_to) - left
            if extra:
                back = group.units[gone][:extra]
                removed[back] = False
                why.update(dict.fromkeys(back.tolist(), f"round_to={round_to}, min_keep={min_keep}"))
                changed = True
        if not changed:
            return removed, why


def _asked(
    labels: Labels,
    groups: Sequence[Group],
    keep: dict[str, np.ndarray],
    sinks: list[Sink],
    round_to: int,
    fold: bool,
) -> np.ndarray:
    removed = np.zeros(labels.units.count, bool)
    for group in groups:
        gone = np.flatnonzero(~keep[group.name])
        count = rounded(group.size - gone.size, group.size, round_to)
        removed[group.units[gone[count - (group.size - gone.size) :]]] = True
    for sink in sinks:
        units, constant = violated(sink, removed, fold)
        if units.size:
            group = next(g for g in groups if np.isin(g.units, units).any())
            reason = sink.reason if constant[0] else "they are not zero there, as behind a normalisation over the units"
            raise ValueError(
                f"removing units of group {group.name} changes what {sink.name} adds up: {reason}; keep them, freeze "
                "the leaf, or pass fold=False to remove them all the same"
            )
    return removed


def _fold(sinks: list[Sink], removed: np.ndarray, leaves: dict[str, Any]) -> dict[str, int]:
    folded: dict[str, int] = {}
    for sink in sinks:
        if sink.reason or sink.target is None or not sink.removed(removed).any():
            continue
        path, places, sign = sink.target
        constant = sink.constant_sum(removed)
        if not constant.any():
            continue
        order = [d for d in places if d >= 0]
        rest = [d for d in range(constant.ndim) if d not in order]
        turned = constant.transpose(order + rest).reshape([constant.shape[d] if d >= 0 else 1 for d in places])
        leaf = leaves[path]
        leaves[path] = (leaf + sign * turned).astype(leaf.dtype)
        folded[path] = folded.get(path, 0) + 1
    return folded


def _stayed(
    groups: Sequence[Group], flags: dict[str, np.ndarray], removed: np.ndarray, why: dict[int, str]
) -> dict[str, dict[str, int]]:
    stayed: dict[str, dict[str, int]] = {}
    for group in groups:
        masked = np.zeros(group.size, bool)
        for m in group.members:
            if m.path in flags:
                masked |= ~np.moveaxis(flags[m.path], m.axis, 0)[m.index].reshape(group.size, -1).any(1)
        for unit in group.units[masked & ~removed[group.units]].tolist():
            reasons = stayed.setdefault(group.name, {})
            reason = why.get(unit, "it is needed")
            reasons[reason] = reasons.get(reason, 0) + 1
    return stayed


def _runnable(
    apply_fn: Callable[..., PyTree],
    params: PyTree,
    small: PyTree,
    example: PyTree,
    shrunk: Shrunk,
    freeze: tuple[str, ...],
    exact: bool,
    index: dict[str, tuple[np.ndarray, ...]],
) -> Callable[..., PyTree]:
    try:
        traced = trace(apply_fn, small, example)
    except Exception:  # whatever the user's code raises on the wrong shape
        traced = None
    if traced is not None and not difference(shrunk, traced.jaxpr, exact):
        return apply_fn

    def removed_of(labels: Labels) -> np.ndarray:
        removed = np.zeros(labels.units.count, bool)
        for group in groups_of(labels):
            gone = np.ones(group.size, bool)
            for m in group.members:
                gone &= ~np.isin(m.index, index[m.path][m.axis]).any(1)
            removed[group.units[gone]] = True
        return removed

    return rewritten(apply_fn, shapes_of(params), freeze, removed_of)


def live(
    apply_fn: Callable[..., PyTree], params: PyTree, flags: dict[str, np.ndarray], example: PyTree
) -> dict[str, tuple[np.ndarray, ...]]:
    """What of each axis of each leaf the masked network uses, constants apart: for `effective_sparsity`."""
    labels = label(apply_fn, params, example)
    leaves = {path: _masked(leaf, flags.get(path)) for path, leaf in named_leaves(params) if leaf is not None}
    removed = np.zeros(labels.units.count, bool)
    for group in groups_of(labels):
        removed[group.units] = True
    settle(list(Constants(labels, leaves).sinks.values()), removed, {}, False)
    shrunk = Shrunk(labels, removed)
    return {path: tuple(shrunk.kept(axis) for axis in axes) for path, axes in labels.leaves.items()}
