"""How many elements each ranking keeps: exact integers, computed on the host in float64."""

import fnmatch
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import PyTree

from offprint.sparsity._pattern import UNSTRUCTURED, Pattern, Shape, Unstructured
from offprint.sparsity._pattern_nm import NM
from offprint.sparsity._pattern_transposable import TransposableNM
from offprint.sparsity._tree import map_named, named_leaves
from offprint.sparsity._warning import warn

Rounding = Literal["nearest", "floor", "ceil"]
Scope = str | Mapping[str, float]
FixedPattern = NM | TransposableNM  # how much is kept is part of the pattern: there is nothing to rank
AnyPattern = Pattern | FixedPattern
Patterns = AnyPattern | Mapping[str, AnyPattern]

_SLACK = 1e-14  # some roundings of float64 in a share of n units
_ROUND = {"nearest": np.rint, "floor": np.floor, "ceil": np.ceil}


def keep_counts(
    params_or_scores: PyTree,
    sparsity: float | int | None = None,
    *,
    scope: Scope = "local",
    budget: PyTree = None,
    pattern: Patterns = UNSTRUCTURED,
    rounding: Rounding = "nearest",
    min_keep: int | None = None,
) -> Any:
    """How many units `make_masks` keeps for the same arguments, as Python integers.

    Only shapes are read; leaves that are `None` take no part. The removed units are `rint(sparsity * n)` in float64
    (`rounding` as asked, see `n_prune`), never in float32, which errs above 2^24 elements. A density d removes as many
    as the sparsity 1 - d, whatever the rounding.

    Returns:
        `scope='local'` or a `budget`: a tree of integers like `params_or_scores`; `'global'`: one integer; a mapping:
        one integer per path pattern. Leaves with an N:M pattern keep what it says and are in no ranking; in a tree
        their number of kept elements is given.

    Raises:
        ValueError: sparsity outside [0, 1), an unknown scope or rounding, a path pattern that matches nothing, a
            pattern that does not fit a leaf.
    """
    patterns = patterns_of(params_or_scores, pattern)
    shapes = {path: tuple(leaf.shape) for path, leaf in named_leaves(params_or_scores) if leaf is not None}
    units = {path: n_units(patterns[path], shape) for path, shape in shapes.items()}
    ranked = [path for path in shapes if not isinstance(patterns[path], FixedPattern)]
    least = _least(min_keep, scope if budget is None else "local")
    short: list[str] = []
    if budget is not None:
        if sparsity is not None:
            raise ValueError("give a sparsity or a budget of densities, not both")
        shares = _removed(budget, params_or_scores)
    elif isinstance(scope, Mapping):
        found = {}
        for key, paths in members_of(ranked, tuple(scope)).items():
            n = sum(units[path] for path in paths)
            found[key] = _kept(n, check_sparsity(scope[key]), rounding, least * len(paths), key, short)
        _warn_of_least(short)
        return found
    elif scope == "global":
        n = sum(units[path] for path in ranked)
        kept = _kept(n, check_sparsity(sparsity), rounding, least * len(ranked), "the whole tree", short)
        _warn_of_least(short)
        return kept
    elif scope == "local":
        shares = dict.fromkeys(shapes, check_sparsity(sparsity))
    else:
        raise ValueError(f"scope must be 'local', 'global' or a mapping of path patterns to sparsities; got {scope!r}")

    def count(path: str, leaf: Any) -> int | None:
        if leaf is None or path not in shares:
            return None
        if isinstance(patterns[path], FixedPattern):
            return units[path]
        return _kept(units[path], shares[path], rounding, least, path or "the array", short)

    counts = map_named(count, params_or_scores)
    _warn_of_least(short)
    return counts


def patterns_of(tree: PyTree, pattern: Patterns) -> dict[str, AnyPattern]:
    """The pattern of every leaf that is not `None`, checked against its shape. Unmatched leaves are unstructured."""
    leaves = [(path, tuple(leaf.shape)) for path, leaf in named_leaves(tree) if leaf is not None]
    if isinstance(pattern, Mapping):
        members = members_of([path for path, _ in leaves], tuple(pattern))
        chosen = {path: pattern[key] for key, paths in members.items() for path in paths}
    else:
        chosen = {path: pattern for path, _ in leaves}
    patterns = {path: chosen.get(path, Unstructured()) for path, _ in leaves}
    for path, shape in leaves:
        patterns[path].check(path, shape)
    return patterns


def members_of(paths: list[str], keys: tuple[str, ...]) -> dict[str, list[str]]:
    """The paths that each path pattern matches; the first pattern that matches takes a path.

    Raises ValueError, listing the paths, if a pattern is left without any.
    """
    members: dict[str, list[str]] = {key: [] for key in keys}
    for path in paths:
        key = next((key for key in keys if fnmatch.fnmatchcase(path, key)), None)
        if key is not None:
            members[key].append(path)
    for key, found in members.items():
        if not found:
            raise ValueError(
                f"{key!r} matches no leaf (or only leaves taken before); the leaves are {', '.join(paths)}"
            )
    return members


def n_units(pattern: AnyPattern, shape: Shape) -> int:
    """Units of a leaf; of an N:M pattern, the elements it keeps."""
    if isinstance(pattern, FixedPattern):
        return pattern.kept(shape)
    return math.prod(pattern.units_shape(shape))


def check_sparsity(sparsity: float | int | None) -> float:
    """The sparsity; ValueError unless it is a share of what is removed, in [0, 1)."""
    if sparsity is None:
        raise ValueError("give a sparsity, the share of elements to remove, in [0, 1)")
    if not 0 <= sparsity < 1:
        hint = f". Did you mean {sparsity / 100:g}?" if 1 < sparsity < 100 else ""
        raise ValueError(f"sparsity must be in [0, 1); got {sparsity:g}{hint}")
    return float(sparsity)


def n_prune(n: int, sparsity: float | int, rounding: Rounding = "nearest") -> int:
    """How many of n units a sparsity removes: sparsity n, rounded.

    Products that are whole but for the rounding of float64 are taken as whole, or 'floor' and 'ceil' would be one off:
    0.29 of 100 is 28.999999999999996 in float64, and 29 with any rounding here.
    """
    if rounding not in _ROUND:
        raise ValueError(f"rounding must be 'nearest', 'floor' or 'ceil'; got {rounding!r}")
    product = np.float64(sparsity) * np.float64(n)
    whole = np.rint(product)
    return int(whole if abs(product - whole) <= _SLACK * n else _ROUND[rounding](product))


def _kept(n: int, sparsity: float, rounding: Rounding, least: int, name: str, short: list[str]) -> int:
    """Units kept, at least `least` of them; where that makes a difference, a sentence is added to `short`."""
    kept, least = n - n_prune(n, sparsity, rounding), min(n, least)
    if kept < least:
        short.append(f"sparsity {sparsity:g} would leave {kept} of the {n} units of {name}; {least} are kept")
    return max(kept, least)


def _warn_of_least(short: list[str]) -> None:
    """Say where `min_keep` made a difference."""
    if short:
        warn("; ".join(short) + " (min_keep)")


def _least(min_keep: int | None, scope: Scope) -> int:
    least = min_keep if min_keep is not None else int(scope == "local")
    if least < 0:
        raise ValueError(f"min_keep must not be negative; got {least}")
    return least


def _removed(budget: PyTree, scores: PyTree) -> dict[str, float]:
    """Share of the elements that each leaf loses by its density."""
    paths, densities = [path for path, _ in named_leaves(scores)], named_leaves(budget)
    for path, density in densities:
        if path not in paths:
            raise ValueError(f"the budget has a leaf {path!r} that the scores have not; theirs are {', '.join(paths)}")
        if density is not None and not 0 <= density <= 1:
            raise ValueError(f"densities must be in [0, 1]; the budget has {density:g} at {path!r}")
    return {path: _complement(float(density)) for path, density in densities if density is not None}


def _complement(density: float) -> float:
    """The sparsity 1 - density as it was or would have been written.

    1.0 - 0.9 is 0.09999999999999998, and a count of units can be one off by it; that 0.1 has this density as well.
    """
    sparsity = 1.0 - density
    short = round(sparsity, 15)
    return short if abs(1.0 - short - density) <= 2.0**-52 else sparsity
