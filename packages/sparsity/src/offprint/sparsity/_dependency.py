"""Dependency groups: what has to be removed together for a smaller network to fit together again."""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, PyTree

from offprint.sparsity._labels import Labels, label
from offprint.sparsity._tree import map_named, named_leaves


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One axis of one leaf that loses elements with a group."""

    path: str  # of the leaf
    axis: int
    index: np.ndarray  # (units, per unit) elements of the axis that go with each unit


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Units of one kind (neurons, filters, heads, channels of heads), each removable, with all that goes with each."""

    name: str  # `path:axis` of a member, a kernel that makes the units if there is one; numbered if several share it
    size: int  # number of units
    members: tuple[Member, ...]
    units: np.ndarray = dataclasses.field(repr=False)  # (size,) the pass's own numbers of the units

    def __str__(self) -> str:
        shown = [f"{m.path}:{m.axis}" + f" x{m.index.shape[1]}" * (m.index.shape[1] > 1) for m in self.members[:8]]
        members = ", ".join(shown) + f" and {len(self.members) - 8} more" * (len(self.members) > 8)
        return f"{self.name}: {self.size} units of {members}"


def dependency_groups(
    apply_fn: Callable[..., PyTree], params: PyTree, example: PyTree, *, freeze: str | Sequence[str] = ()
) -> tuple[Group, ...]:
    """Groups of units that can be removed from a network, with every slice of every parameter that goes with each.

    The function is traced to a jaxpr and each element of each axis is followed through it, so that any code works (NNX,
    Linen, Equinox, plain dictionaries; concatenation, residual sums, flattening, grouped and depthwise convolutions,
    attention with heads, batch norm and its running statistics, scanned layers). The axes of inputs and outputs stay
    whole. Nothing is computed: shapes are enough. The idea of grouping by dependency is DepGraph's (fang2023depgraph),
    which builds a graph of modules with hand-written links; here the jaxpr is the graph and the elements are exact.

    Args:
        apply_fn: `apply_fn(params, x)`; it may hold constants. Evaluation mode, since random masks tie units.
        params: parameters and other arrays that shrink with them, such as running statistics.
        example: x, or its shape and dtype (`jax.ShapeDtypeStruct`), or a tree of either.
        freeze: patterns of paths of leaves that must keep all of their axes.

    Returns:
        The groups in the order of their first leaves; elements that nothing else depends on are in none. A head group
        removes whole heads, a group of channels inside of heads the same channel of each head.

    Raises:
        ValueError: a primitive without a rule touches a unit (it is named), or a `freeze` pattern matches nothing.
    """
    return groups_of(label(apply_fn, params, example, (freeze,) if isinstance(freeze, str) else freeze))


def groups_of(labels: Labels) -> tuple[Group, ...]:
    """The groups of a labelled function."""
    # occurrences[u]: for every (leaf, axis) with unit u, the elements; as one sorted table instead of a dictionary.
    table = []
    places = []
    for path, axes in labels.leaves.items():
        for d, axis in enumerate(axes):
            units = labels.units.resolve(axis)
            elements, columns = np.nonzero(units)
            if elements.size:
                places.append((path, d))
                where = np.full(elements.size, len(places) - 1)
                table.append(np.stack([units[elements, columns], where, elements]))
    if not table:
        return ()
    unit, place, element = np.concatenate(table, axis=1)
    order = np.lexsort((element, place, unit))
    unit, place, element = unit[order], place[order], element[order]
    first, runs = _starts(unit), _starts(unit, place)
    counts = np.diff(np.append(runs, unit.size))
    # Units are alike if they are of one kind and have equally many elements of the same axes.
    _, part = np.unique(np.stack([place[runs], counts]), axis=1, return_inverse=True)
    marks = np.random.default_rng(0).integers(2**63, size=part.max() + 1, dtype=np.uint64)
    signature = np.add.reduceat(marks[part.ravel()], np.searchsorted(runs, first))
    kinds = np.stack([labels.units.kind[unit[first]].astype(np.uint64), signature])
    _, group = np.unique(kinds, axis=1, return_inverse=True)
    groups = []
    for g in range(int(group.max()) + 1):
        begin = first[group.ravel() == g]
        begin = begin[np.argsort(element[begin], kind="stable")]
        start = np.searchsorted(runs, begin[0])
        members = []
        for r in range(start, len(runs)):
            if unit[runs[r]] != unit[begin[0]]:
                break
            rows = begin[:, None] + (runs[r] - begin[0]) + np.arange(counts[r])
            path, axis = places[place[runs[r]]]
            members.append(Member(path, axis, element[rows]))
        if len(members) == 1 and members[0].index.shape[1] == 1:
            continue  # tied to nothing: what a slice leaves out for this example, such as later positions
        groups.append((place[begin[0]], element[begin[0]], -counts[start], begin[0], tuple(members), unit[begin]))
    groups.sort(key=lambda item: item[:4])
    return tuple(_numbered([Group(_name(labels, m), len(units), m, units) for *_, m, units in groups]))


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Where runs of equal keys begin."""
    changed = np.zeros(keys[0].size - 1, bool)
    for key in keys:
        changed |= key[1:] != key[:-1]
    return np.flatnonzero(np.concatenate([[True], changed]))


def _name(labels: Labels, members: tuple[Member, ...]) -> str:
    # After the leaf that makes the units, as far as one can tell: a kernel with them along its last, or a later, axis.
    def merit(m: Member) -> tuple[bool, bool, bool]:
        rank = len(labels.leaves[m.path])
        kernel = rank > 1 and m.path.rsplit("/", 1)[-1] != "bias"
        return kernel, m.axis == rank - 1, m.axis > 0

    best = max(members, key=merit)
    return f"{best.path}:{best.axis}"


def _numbered(groups: list[Group]) -> list[Group]:
    names = [group.name for group in groups]
    seen: dict[str, int] = {}
    out = []
    for group in groups:
        number = seen[group.name] = seen.get(group.name, -1) + 1
        unique = names.count(group.name) == 1
        out.append(group if unique else dataclasses.replace(group, name=f"{group.name}#{number}"))
    return out


def prune_groups(
    groups: Sequence[Group],
    scores: Mapping[str, Array | np.ndarray],
    sparsity: float | int | Mapping[str, float | int],
    *,
    scope: str = "local",
    round_to: int = 1,
) -> dict[str, np.ndarray]:
    """Which units of each group to keep so that this share of the units goes; input of `compact` and `group_masks`.

    Args:
        groups: of `dependency_groups`.
        scores: {group name: scores of its units}, high = keep, as `scores.group(scores, groups)` makes them. Groups
            without scores keep all units.
        sparsity: share of units to remove, or {pattern of group names: share} with local scope, where the first that
            matches counts and groups that match none keep all.
        scope: 'local' removes the share in each group, 'global' ranks the units of all groups together; one unit, or
            `round_to`, stays in each.
        round_to: keep a multiple of this many units, rounded up (all units if the group has fewer).

    Returns:
        {group name: bool (units,), True = keep}. Of equal scores the first units are kept.

    Raises:
        ValueError: a sparsity outside [0, 1), an unknown scope, a pattern or scores of no group, scores of another
            length or not finite, round_to < 1.
    """
    shares = sparsity if isinstance(sparsity, Mapping) else {"*": sparsity}
    for share in shares.values():
        if not 0 <= share < 1:
            hint = f". Did you mean {share / 100:g}?" if 1 < share < 100 else ""
            raise ValueError(f"sparsity must be in [0, 1); got {share}{hint}")
    if round_to < 1:
        raise ValueError(f"round_to must be at least 1; got {round_to}")
    if scope not in ("local", "global") or (scope == "global" and isinstance(sparsity, Mapping)):
        raise ValueError(f"scope must be 'local', or 'global' with one sparsity; got {scope!r}")
    ranked = _ranked(groups, scores, shares)
    counts = {}
    if scope == "global" and ranked:
        flat = np.concatenate(list(ranked.values()))
        chosen = _best(flat, flat.size - int(np.rint(np.float64(shares["*"]) * flat.size)))
        ends = np.cumsum([score.size for score in ranked.values()])
        counts = {name: int(part.sum()) for name, part in zip(ranked, np.split(chosen, ends[:-1]), strict=True)}
    elif scope == "local":
        for name, score in ranked.items():
            share = next((s for pattern, s in shares.items() if fnmatch.fnmatchcase(name, pattern)), 0.0)
            counts[name] = score.size - int(np.rint(np.float64(share) * score.size))
    keep = {group.name: np.ones(group.size, bool) for group in groups}
    for name, count in counts.items():
        keep[name] = _best(ranked[name], rounded(count, ranked[name].size, round_to))
    return keep


def _ranked(
    groups: Sequence[Group], scores: Mapping[str, Array | np.ndarray], patterns: Iterable[str]
) -> dict[str, np.ndarray]:
    sizes = {group.name: group.size for group in groups}
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in sizes):
            raise ValueError(f"no group matches {pattern!r}; the groups are {', '.join(sizes) or 'none'}")
    for name, score in scores.items():
        if name not in sizes:
            raise ValueError(f"scores name {name!r}, which is no group; the groups are {', '.join(sizes) or 'none'}")
        if np.shape(score) != (sizes[name],):
            raise ValueError(f"scores[{name!r}] must have shape ({sizes[name]},), not {np.shape(score)}")
        if not np.isfinite(np.asarray(score, np.float64)).all():
            raise ValueError(f"scores[{name!r}] are not all finite")
    return {name: np.asarray(scores[name], np.float64) for name in sizes if name in scores}


def rounded(count: int, size: int, round_to: int) -> int:
    """The least multiple of `round_to` that is at least `count` and positive, but at most all."""
    return min(size, max(1, -(-count // round_to)) * round_to)


def _best(score: np.ndarray, n_keep: int) -> np.ndarray:
    keep = np.zeros(score.size, bool)
    keep[np.argsort(-score, kind="stable")[:n_keep]] = True
    return keep


def check_keep(groups: Sequence[Group], keep: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """`keep` with all groups and checked lengths; groups that it doesn't name keep all of their units."""
    sizes = {group.name: group.size for group in groups}
    for name, units in keep.items():
        if name not in sizes:
            raise ValueError(f"keep names {name!r}, which is no group; the groups are {', '.join(sizes) or 'none'}")
        flags = np.asarray(units)
        if flags.dtype != np.bool_ or flags.shape != (sizes[name],):
            raise ValueError(
                f"keep[{name!r}] must be {sizes[name]} booleans, one per unit; got {flags.dtype} of shape {flags.shape}"
            )
        if not flags.any():
            raise ValueError(
                f"keep[{name!r}] would leave the group empty; keep at least one unit, or freeze its leaf with "
                f"freeze={name.rsplit(':', 1)[0]!r}"
            )
    return {group.name: np.asarray(keep.get(group.name, np.ones(group.size, bool))) for group in groups}


def group_masks(groups: Sequence[Group], params: PyTree, keep: Mapping[str, Any]) -> PyTree:
    """Masks, like `params`, that zero every member of the removed units: kernels on both sides, biases, norm scales.

    With these masks the network computes what the compacted one does. Leaves that lose nothing get `None`.
    """
    flags = check_keep(groups, keep)
    masks: dict[str, np.ndarray] = {}
    shapes = {path: leaf.shape for path, leaf in named_leaves(params) if leaf is not None}
    for group in groups:
        for m in group.members:
            if not flags[group.name].all():
                mask = masks.setdefault(m.path, np.ones(shapes[m.path], bool))
                np.moveaxis(mask, m.axis, 0)[m.index[~flags[group.name]].ravel()] = False
    return map_named(lambda path, leaf: masks.get(path), params)
