"""Masks from scores: exactly as many elements kept as asked for, chosen without sorting."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jaxtyping import Array, Bool, Num, PyTree

from offprint.sparsity import _limbs as limbs
from offprint.sparsity._counts import (
    AnyPattern,
    FixedPattern,
    Patterns,
    Rounding,
    Scope,
    check_sparsity,
    keep_counts,
    members_of,
    patterns_of,
)
from offprint.sparsity._pattern import UNSTRUCTURED, Layer, Unstructured
from offprint.sparsity._topk import count_not_finite, top_k_masks
from offprint.sparsity._tree import check_same, named_leaves
from offprint.sparsity._warning import warn


def make_mask(
    score: Num[Array, "*shape"] | np.ndarray,
    sparsity: float | int | None = None,
    *,
    n_keep: int | Array | np.ndarray | None = None,
    pattern: AnyPattern = UNSTRUCTURED,
    rounding: Rounding = "nearest",
    min_keep: int = 1,
) -> Bool[Array, "*shape"]:
    """The mask (True = keep) of one array that keeps its highest scores.

    Args:
        score: high = keep; ties keep the lower flat index (C order).
        sparsity: share of the units to remove, in [0, 1); `rint(sparsity * n)` are, in float64.
        n_keep: instead of a sparsity, the number of units to keep; it may be traced, so that it can change without
            compiling again.
        pattern: what a unit is; an `NM` pattern says itself how much it keeps and takes neither sparsity (but its own,
            1 - n/m) nor `n_keep`.
        rounding: of the number of removed units: 'nearest' (ties to even), 'floor' or 'ceil'.
        min_keep: units that a sparsity leaves at least, with a warning.

    Raises:
        ValueError: both or neither of sparsity and n_keep, one of them with an N:M pattern, a sparsity outside [0, 1),
            scores that are not finite (where they are not traced), a pattern that does not fit the shape.
    """
    if n_keep is None:
        return make_masks(score, sparsity, pattern=pattern, rounding=rounding, min_keep=min_keep)
    if sparsity is not None:
        raise ValueError("give a sparsity or n_keep, not both")
    if isinstance(pattern, FixedPattern):
        raise ValueError(f"{_says(pattern)}: leave out n_keep")
    _check_finite(score)
    return masks_by_count(score, n_keep, pattern=pattern)


def make_masks(
    scores: PyTree,
    sparsity: float | int | None = None,
    *,
    scope: Scope = "local",
    pattern: Patterns = UNSTRUCTURED,
    budget: PyTree = None,
    previous: PyTree = None,
    monotone: bool = True,
    rounding: Rounding = "nearest",
    min_keep: int | None = None,
) -> PyTree:
    """Masks (True = keep) of a tree of scores.

    Args:
        scores: high = keep; `None` at leaves that are not pruned, which stay `None`. Ties keep the earlier leaf and,
            in a leaf, the lower flat index (C order).
        sparsity: share of the units to remove, in [0, 1); a Python number, also under `jit` (for a traced number of
            kept elements see `masks_by_count`).
        scope: 'local' (this share of every leaf), 'global' (of one ranking over all leaves), or a mapping of path
            patterns (`layers/*/kernel`) to sparsities, each its own ranking over the leaves that it matches first, with
            no other sparsity; leaves that none matches get `None`.
        pattern: what a unit is; or a mapping of path patterns to patterns, all other leaves unstructured. Leaves with
            an `NM` pattern keep what it says and are in no ranking; if all have one, there is no sparsity to give.
        budget: densities of the leaves (`density_map`) instead of a sparsity and a scope.
        previous: masks of which, if `monotone`, nothing that is pruned returns; if more is asked for than they keep,
            they stay as they are.
        monotone: whether `previous` counts.
        rounding: of the number of removed units: 'nearest' (ties to even), 'floor' (RigL, ERK) or 'ceil' (OBC).
        min_keep: units that every leaf keeps at least; by default 1 with a warning where the sparsity says none, and
            with the scope 'global' 0, with a warning that names the leaves left empty.

    Raises:
        ValueError: see `keep_counts`; a sparsity besides a mapping of them; a sparsity (other than its own, 1 - n/m) or
            a budget where all patterns are N:M; scores that are not finite or masks of another model (where not
            traced).
    """
    check_amount(scores, sparsity, scope=scope, budget=budget, pattern=pattern)
    _check_finite(scores)
    if previous is not None and monotone:
        check_same(scores, previous, "previous")
    else:
        previous = None
    counts: Any = None
    if not all_fixed(scores, pattern) or scope not in ("local", "global"):
        counts = keep_counts(
            scores, sparsity, scope=scope, budget=budget, pattern=pattern, rounding=rounding, min_keep=min_keep
        )
    groups = tuple(scope) if budget is None and not isinstance(scope, str) else None
    local = scope == "local" or budget is not None
    masks = masks_by_count(
        scores, counts, pattern=pattern, previous=previous, groups=groups, min_keep=0 if local else min_keep or 0
    )
    _warn_about(scores, masks, patterns_of(scores, pattern), local=local)
    return masks


def masks_by_count(
    scores: PyTree,
    n_keep: Any,
    *,
    pattern: Patterns = UNSTRUCTURED,
    previous: PyTree = None,
    groups: Sequence[str] | None = None,
    min_keep: int = 0,
    axis_name: str | None = None,
) -> PyTree:
    """The core of `make_masks`: masks that keep a given number of units, which may be traced.

    Args:
        scores: high = keep; `None` at leaves that are not pruned.
        n_keep: a Python integer, an integer scalar or the limbs of `count_limbs` (from 2^31 on): units that one
            ranking over all leaves keeps. A tree of them like `scores`: one per leaf. With `groups`, a mapping of the
            path patterns to them. `keep_counts` gives all three.
        pattern: see `make_masks`.
        previous: masks of which nothing that is pruned returns.
        groups: path patterns, each a ranking of its own.
        min_keep: units that every leaf keeps before a ranking goes on over all leaves.
        axis_name: inside `shard_map`, the axis over which every leaf is split in equal blocks of its first axis; the
            counts are then those of the whole. Not for patterns with units of several elements.
    """
    patterns = patterns_of(scores, pattern)
    names = [path for path, _ in named_leaves(scores)]
    leaves = {path: jnp.asarray(leaf) for path, leaf in named_leaves(scores) if leaf is not None}
    before = dict(named_leaves(previous)) if previous is not None else {}
    fixed = [path for path in leaves if isinstance(patterns[path], FixedPattern)]
    rankings, counts = _rankings([path for path in leaves if path not in fixed], n_keep, groups)
    if axis_name is not None and any(
        not isinstance(patterns[path], Unstructured) for paths in rankings for path in paths
    ):
        raise ValueError("axis_name works with Unstructured and NM patterns only: other units may straddle devices")
    found = {path: _fixed_mask(leaves[path], before.get(path), pattern=patterns[path]) for path in fixed}
    ranked = tuple(path for paths in rankings for path in paths)
    if ranked:
        masks = _ranked_masks(
            tuple(leaves[path] for path in ranked),
            limbs.stack(counts),
            tuple(before.get(path) for path in ranked),
            patterns=tuple(patterns[path] for path in ranked),
            groups=tuple(group for group, paths in enumerate(rankings) for _ in paths),
            min_keep=min_keep,
            axis_name=axis_name,
        )
        found.update(zip(ranked, masks))
    treedef = jax.tree.structure(scores, is_leaf=lambda leaf: leaf is None)
    return jax.tree.unflatten(treedef, [found.get(name) for name in names])


def _rankings(paths: list[str], n_keep: Any, groups: Sequence[str] | None) -> tuple[list[list[str]], list[Any]]:
    """The leaves of every ranking and its count."""
    if groups is not None:
        members = members_of(paths, tuple(groups))
        return list(members.values()), [n_keep[key] for key in members]
    if _is_count(n_keep):
        return ([paths] if paths else []), ([n_keep] if paths else [])
    counts = {path: count for path, count in named_leaves(n_keep) if count is not None} if n_keep is not None else {}
    unknown = [path for path in counts if path not in paths]
    chosen = [path for path in paths if path in counts]
    if not chosen and paths:
        raise ValueError(
            f"n_keep must be one count or a tree like scores; it has no count for any of {', '.join(paths)}"
            + (f", but for {', '.join(unknown)}" if unknown else "")
        )
    return [[path] for path in chosen], [counts[path] for path in chosen]


def _is_count(n_keep: Any) -> bool:
    return isinstance(n_keep, int | np.integer | np.ndarray | jax.Array)


@functools.partial(jax.jit, static_argnames=("pattern",))
def _fixed_mask(score: Array, previous: Array | None, *, pattern: FixedPattern) -> Bool[Array, "..."]:
    return pattern.mask(jax.lax.stop_gradient(score), previous)


@functools.partial(jax.jit, static_argnames=("patterns", "groups", "min_keep", "axis_name"))
def _ranked_masks(
    scores: tuple[Array, ...],
    counts: Array,
    previous: tuple[Array | None, ...],
    *,
    patterns: tuple[AnyPattern, ...],
    groups: tuple[int, ...],
    min_keep: int,
    axis_name: str | None,
) -> list[Bool[Array, "..."]]:
    dtype = jnp.result_type(*scores)
    scores = jax.lax.stop_gradient(scores)
    ranked = [pattern for pattern in patterns if not isinstance(pattern, FixedPattern)]
    units = [pattern.units(score.astype(dtype)) for pattern, score in zip(ranked, scores)]
    allowed = [None if mask is None else pattern.kept_units(mask) for pattern, mask in zip(ranked, previous)]
    forced = None
    if min_keep:
        # The best of each leaf first; then one ranking in which these come before all others.
        least = jnp.stack([limbs.as_limbs(min_keep)] * len(units))
        forced = top_k_masks(units, range(len(units)), least, candidates=allowed, axis_name=axis_name)
    keep = top_k_masks(units, groups, counts, candidates=allowed, forced=forced, axis_name=axis_name)
    masks = [pattern.expand(chosen, score.shape) for pattern, chosen, score in zip(ranked, keep, scores)]
    return [mask if old is None else mask & old for mask, old in zip(masks, previous)]


def check_amount(
    tree: PyTree, sparsity: float | int | None, *, scope: Scope, budget: PyTree, pattern: Patterns
) -> None:
    """ValueError if how much is kept is said twice: by a mapping of sparsities or by N:M patterns besides."""
    if sparsity is not None and budget is None and isinstance(scope, Mapping):
        raise ValueError(
            f"give a sparsity or a scope that is a mapping of sparsities, not both; got {sparsity:g} and {dict(scope)}"
        )
    if (sparsity is None and budget is None) or not all_fixed(tree, pattern):
        return
    for kind in patterns_of(tree, pattern).values():
        assert isinstance(kind, FixedPattern)
        if budget is not None:
            raise ValueError(f"{_says(kind)}: leave out the budget")
        if abs(check_sparsity(sparsity) - (1 - kind.density)) > 1e-9:
            raise ValueError(f"{_says(kind)}: leave out the sparsity, {sparsity:g}")


def _says(pattern: FixedPattern) -> str:
    n, m = pattern.n, pattern.m
    return f"the pattern {n}:{m} says itself how much is kept, {n} of every {m} (a sparsity of {1 - n / m:g})"


def all_fixed(tree: PyTree, pattern: Patterns) -> bool:
    """Whether every leaf has an N:M pattern, so that there is nothing to rank."""
    return all(isinstance(kind, FixedPattern) for kind in patterns_of(tree, pattern).values())


def _traced(*leaves: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def _check_finite(scores: PyTree) -> None:
    leaves = {
        path: jnp.asarray(leaf)
        for path, leaf in named_leaves(scores)
        if leaf is not None and jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    if not leaves:
        return
    counts = _not_finite(tuple(leaves.values()))
    for (path, leaf), count in zip(leaves.items(), counts if _traced(counts) else np.asarray(counts)):
        if _traced(count):
            # Costs nothing unless the caller wraps the function with `checkify`.
            checkify.debug_check(jnp.all(count == 0), f"scores must be finite, but those of {path!r} are not")
        elif count.any():
            bad = (int(count[0]) << limbs.BITS) + int(count[1])
            raise ValueError(f"scores must be finite, but {bad} of the {leaf.size} of {path!r} are NaN or infinite")


_not_finite = jax.jit(count_not_finite)


def _warn_about(scores: PyTree, masks: PyTree, patterns: dict[str, AnyPattern], *, local: bool) -> None:
    """Leaves that a global ranking empties, and half-precision scores whose ties decide."""
    pairs = [
        (path, score, mask)
        for (path, score), (_, mask) in zip(named_leaves(scores), named_leaves(masks))
        if mask is not None and score.size
    ]
    if _traced(*(mask for _, _, mask in pairs)):
        return
    layered = [] if local else [pair for pair in pairs if not isinstance(patterns[pair[0]], Layer)]
    some = np.asarray(_any_kept(tuple(mask for _, _, mask in layered))) if layered else np.zeros(0, bool)
    empty = [path for (path, _, _), kept in zip(layered, some) if not kept]
    if empty:
        warn(f"nothing is kept of {', '.join(empty)}: set min_keep, or a scope per layer")
    for path, score, mask in pairs:
        half = jnp.issubdtype(score.dtype, jnp.floating) and score.dtype.itemsize == 2
        if half and isinstance(patterns[path], Unstructured):
            ties = int(_cut_ties(score, mask))
            if ties > max(8, score.size // 1000):
                warn(
                    f"{ties} of the {score.size} scores of {path!r} ({score.dtype}) tie at the threshold, so their "
                    "position decides: give float32 scores"
                )


@jax.jit
def _any_kept(masks: tuple[Array, ...]) -> Bool[Array, " leaves"]:
    return jnp.stack([jnp.any(mask) for mask in masks])


@jax.jit
def _cut_ties(score: Array, mask: Array) -> Array:
    """How many scores equal the lowest kept one, if pruned ones are among them."""
    lowest = jnp.min(jnp.where(mask, score, jnp.inf))
    tied = score == lowest
    return jnp.where(jnp.any(tied & ~mask), jnp.sum(tied), 0)
