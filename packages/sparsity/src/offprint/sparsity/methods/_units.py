"""Trees of units: what a pattern prunes as one, leaf by leaf."""

from typing import Any

import jax
from jaxtyping import Array, Bool, PyTree

from offprint.sparsity._counts import Patterns, patterns_of
from offprint.sparsity._tree import map_named


def unit_patterns(masks: PyTree, pattern: Patterns) -> dict[str, Any]:
    """The pattern of every leaf, for methods that drop and grow; ValueError for those without units (N:M)."""
    patterns = patterns_of(masks, pattern)
    for path, kind in patterns.items():
        if not hasattr(kind, "units"):
            raise ValueError(f"{path!r}: {kind} has no units that could be dropped and grown; use another pattern")
    return patterns


def by_leaf(function: Any, patterns: dict[str, Any], tree: PyTree) -> PyTree:
    """`function(pattern, leaf)` of every leaf that is not None."""
    return map_named(lambda path, leaf: None if leaf is None else function(patterns[path], leaf), tree)


def expand(patterns: dict[str, Any], masks: PyTree, units: PyTree) -> PyTree[Bool[Array, "..."]]:
    """Masks of elements from kept units; `masks` gives the shapes."""
    return map_named(
        lambda path, mask, kept: None if mask is None else patterns[path].expand(kept, mask.shape), masks, units
    )


def pick(tree: PyTree, masks: PyTree) -> PyTree:
    """`tree` with None where `masks` have it."""
    return jax.tree.map(lambda leaf, mask: None if mask is None else leaf, tree, masks)
