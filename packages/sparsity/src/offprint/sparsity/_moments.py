"""The leaves of an optimiser's state that belong to a parameter: momenta, second moments, slow weights."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from offprint.sparsity._tree import named_leaves, path_of


def map_moments(
    function: Callable[[Array, Any], Array], state: PyTree, tree: PyTree, but: Sequence[str] = ()
) -> PyTree:
    """`function(leaf, companion)` for every leaf of an optimiser's state that belongs to a leaf of `tree`.

    A leaf belongs to a parameter if its path ends with the parameter's path and its shape ends with the parameter's
    shape: `0/mu/layer/kernel` belongs to `layer/kernel`, whatever optimiser wrote it, alone or inside `optax.chain`,
    `masked`, `multi_transform` or `MultiSteps`. Statistics of another shape (Adafactor's factored second moments) and
    counters belong to none. With two candidates the longer path wins.

    Args:
        function: what to do with a floating leaf of the state and the leaf of `tree` that it belongs to.
        state: the state of any optax transformation.
        tree: arrays with the structure of the params, `None` where nothing is to be done.
        but: shell patterns of paths in the state that are left alone (`*/ns_coeffs`).
    """
    companions = {path: leaf for path, leaf in named_leaves(tree) if leaf is not None}

    def visit(key_path: tuple[Any, ...], leaf: Any) -> Any:
        companion = _companion(key_path, leaf, companions)
        if companion is None or any(fnmatch.fnmatchcase(path_of(key_path), pattern) for pattern in but):
            return leaf
        return function(leaf, companion)

    return jax.tree_util.tree_map_with_path(visit, state)


def mask_moments(state: PyTree, masks: PyTree[Bool[Array, "..."]], but: Sequence[str] = ()) -> PyTree:
    """The optimiser's state with exact zeros at pruned weights; see `map_moments` for which leaves those are."""
    return map_moments(lambda leaf, mask: jnp.where(mask, leaf, jnp.zeros((), leaf.dtype)), state, masks, but)


def moments_of(state: PyTree, params: PyTree, name: str) -> PyTree | None:
    """The tree called `name` (`mu`, `nu`, `trace`) in an optimiser's state, like `params`; `None` if there is none.

    Leaves of the params for which the state has none are `None`.
    """
    found: dict[str, Array] = {}
    wanted = {path: leaf for path, leaf in named_leaves(params) if leaf is not None}
    for key_path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        for start in range(1, len(key_path) + 1):
            path = path_of(key_path[start:])
            at_name = path_of(key_path[start - 1 : start]) == name
            if at_name and path in wanted and leaf.shape == wanted[path].shape:
                found.setdefault(path, leaf)
    if not found:
        return None
    return jax.tree_util.tree_map_with_path(lambda key_path, _: found.get(path_of(key_path)), params)


def _companion(key_path: tuple[Any, ...], leaf: Any, companions: dict[str, Any]) -> Any:
    if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return None
    for start in range(len(key_path) + 1):
        companion = companions.get(path_of(key_path[start:]))
        if companion is not None:
            shape = tuple(companion.shape)
            return companion if tuple(leaf.shape[leaf.ndim - len(shape) :]) == shape else None
    return None
