"""Parameters as a pytree with named leaves: the paths that filters, maps and error messages use."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

# Keys that NNX puts below the name of a variable.
_WRAPPERS = ("value", "raw_value")


def path_of(key_path: tuple[Any, ...]) -> str:
    """The path of a leaf, such as `layers/0/kernel`: keys, indices and attribute names joined by `/`.

    What NNX variables put below their own name (`value`) is left out, so the same model has the same paths as a
    dictionary of arrays, as an NNX state and as an NNX module.
    """
    parts = [jax.tree_util.keystr((key,), simple=True).strip(".") for key in key_path]
    while len(parts) > 1 and parts[-1] in _WRAPPERS:
        parts.pop()
    return "/".join(parts)


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """(path, leaf) of every leaf in order; `None` counts as a leaf, as it does in masks and scores."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: leaf is None)
    return [(path_of(key_path), leaf) for key_path, leaf in flat]


def map_named(function: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
    """`function(path, leaf, *leaves of rest)` for every leaf of `tree`; leaves of `rest` may be `None`."""
    return jax.tree_util.tree_map_with_path(
        lambda key_path, *leaves: function(path_of(key_path), *leaves), tree, *rest, is_leaf=lambda leaf: leaf is None
    )


def check_same(params: PyTree, other: PyTree, name: str) -> None:
    """Raise ValueError, naming the first leaf that differs, unless `other` has the leaves and shapes of `params`.

    A leaf of `other` may be `None` (a leaf that is never pruned).
    """
    theirs = dict(named_leaves(other))
    ours = dict(named_leaves(params))
    for path, leaf in ours.items():
        if path not in theirs:
            raise ValueError(f"{name} has no leaf {path!r}, which params have; its leaves are {', '.join(theirs)}")
        found = theirs[path]
        if found is not None and leaf is not None and np.shape(found) != np.shape(leaf):
            raise ValueError(
                f"{name} must have the shapes of params: {path!r} is {np.shape(found)}, not {np.shape(leaf)}"
            )
    for path in theirs:
        if path not in ours:
            raise ValueError(f"{name} has a leaf {path!r} that params have not; theirs are {', '.join(ours)}")
