"""Scores of whole filters and of groups of units that go together."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._dependency import Group
from offprint.sparsity._pattern import Pattern, Reduce
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.scores._leaves import wide


def fpgm(kernel: Float[Array, "..."], *, axis: int = -1) -> Float[Array, " filters"]:
    """Σ_k ‖F_j − F_k‖₂ of every filter, low near the geometric median (He et al. 2019, `he2019fpgm`).

    A filter near the median is one that others can stand in for.

    Distances are of the filters themselves, one at a time, not of their inner products, which cancel in float32 for
    filters that are nearly the same: those that this criterion is about.

    Args:
        kernel: (in, out) or HWIO.
        axis: the axis of the filters.

    Returns:
        one score per filter, high = keep.
    """
    filters = jnp.moveaxis(wide(kernel), axis, 0).reshape(kernel.shape[axis], -1)

    def total(one: Array) -> Array:
        return jnp.sum(_norm(filters - one))

    return jax.lax.map(total, filters)


def _norm(rows: Array) -> Array:
    squares = jnp.sum(rows**2, axis=-1)
    safe = jnp.where(squares > 0, squares, 1)  # the root of zero has no derivative
    return jnp.where(squares > 0, jnp.sqrt(safe), 0)


def group(scores: PyTree, groups: Pattern | Sequence[Group], reduce: Reduce | None = None) -> PyTree:
    """One score per unit from the scores of its weights.

    Args:
        scores: tree of scores of weights, `None` at leaves that take no part.
        groups: a pattern (`Channel`, `Block`, `Head`, ...), which reduces every leaf by itself; or the groups of
            `dependency_groups`, whose units have weights in several leaves.
        reduce: 'sum', 'mean', 'rms' or 'max' over all weights of a unit that have scores. None: that of the pattern;
            'sum' for groups.

    Returns:
        for a pattern, the tree with arrays of units in place of scores; for groups, {name: (units,)} of those that
        have a member with scores.

    Raises:
        ValueError: an unknown reduction, a pattern without one, without units (N:M) or that does not fit a leaf, or
            groups none of which has a member with scores.
    """
    if reduce not in (None, "sum", "mean", "rms", "max"):
        raise ValueError(f"reduce must be 'sum', 'mean', 'rms' or 'max'; got {reduce!r}")
    leaves = {path: leaf for path, leaf in named_leaves(scores) if leaf is not None}
    if isinstance(groups, Sequence):
        return _united(groups, leaves, reduce or "sum")
    pattern = groups
    if not hasattr(pattern, "units"):
        raise ValueError(f"{pattern} keeps some of every group and has no units to score; use another pattern")
    if reduce is not None:
        if not hasattr(pattern, "reduce"):
            raise ValueError(f"{pattern} has no reduction: leave reduce=None")
        pattern = dataclasses.replace(pattern, reduce=reduce)  # type: ignore[type-var]
    for path, leaf in leaves.items():
        pattern.check(path, leaf.shape)
    return jax.tree.map(lambda score: pattern.units(wide(score)), scores)


def _united(groups: Sequence[Group], leaves: dict[str, Array], reduce: Reduce) -> dict[str, Array]:
    """All weights of each unit, whatever their leaf."""
    found = {}
    for one in groups:
        parts = [
            jnp.moveaxis(wide(leaves[member.path]), member.axis, 0)[member.index].reshape(one.size, -1)
            for member in one.members
            if member.path in leaves
        ]
        if parts:
            found[one.name] = _REDUCE[reduce](jnp.concatenate(parts, axis=1))
    if not found:
        raise ValueError(
            f"no group has a member with scores; the groups are {', '.join(one.name for one in groups)}, and there are "
            f"scores of {', '.join(leaves)}"
        )
    return found


_REDUCE = {
    "sum": lambda rows: jnp.sum(rows, axis=1),
    "mean": lambda rows: jnp.mean(rows, axis=1),
    "rms": lambda rows: jnp.sqrt(jnp.mean(rows**2, axis=1)),
    "max": lambda rows: jnp.max(rows, axis=1),
}
