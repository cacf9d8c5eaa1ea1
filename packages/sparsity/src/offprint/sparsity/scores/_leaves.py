"""What every criterion does first: choose the leaves it scores, and take and put them."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import check_same, map_named, named_leaves

Leaves = dict[str, Array]


def wide(x: Array | np.ndarray) -> Array:
    """`x` in at least float32: products and sums of half-precision numbers underflow and tie."""
    return jnp.asarray(x).astype(jnp.promote_types(x.dtype, jnp.float32))


def score_leaves(
    function: Callable[..., Array], params: PyTree, *rest: PyTree, filter: Filter | None = None, names: str = "grads"
) -> PyTree:
    """`function(leaf, *leaves of rest)` where `filter` chooses, `None` elsewhere; `names` names `rest` in errors."""
    chosen = prunable(params, filter)
    for tree, name in zip(rest, names.split(), strict=True):
        check_same(params, tree, name)
        missing = [path for path, leaf in named_leaves(tree) if leaf is None and path in chosen]
        if missing:
            raise ValueError(
                f"{name} is None at {', '.join(missing)}, which the filter chooses; every chosen leaf needs one"
            )
    return map_named(
        lambda path, leaf, *others: function(wide(leaf), *map(wide, others)) if path in chosen else None, params, *rest
    )


def take(params: PyTree, filter: Filter | None = None) -> tuple[Leaves, Callable[[Leaves], PyTree]]:
    """The chosen leaves, and a function that puts others in their place.

    Differentiating in the chosen leaves alone saves the gradients of the others and leaves integers (counters, keys)
    where they are. Raises TypeError if a chosen leaf is not real floating point.
    """
    chosen = prunable(params, filter)
    for path, leaf in chosen.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(
                f"{path} is {leaf.dtype}, which has no derivative; choose floating-point leaves with filter="
            )
    return chosen, lambda leaves: map_named(lambda path, leaf: leaves.get(path, leaf), params)


def as_scores(params: PyTree, leaves: Leaves) -> PyTree:
    """The tree of params with `leaves` in their places and `None` elsewhere."""
    return map_named(lambda path, leaf: leaves.get(path), params)


def masked(leaves: Leaves, masks: PyTree | None) -> Leaves:
    """The chosen leaves with what `masks` prunes set to zero."""
    if masks is None:
        return leaves
    found = dict(named_leaves(masks))
    return {path: leaf if found.get(path) is None else leaf * found[path] for path, leaf in leaves.items()}


def warn_of_zeros(name: str, scores: Leaves) -> None:
    """Warn if every score is zero (where they are not traced): then position alone decides what is kept."""
    if concrete(scores) and not any(bool(jnp.any(score)) for score in scores.values()):
        warnings.warn(
            f"all scores are zero: what {name} returns does not depend on the weights (an integer operation such as "
            "argmax, a masked network that nothing passes through?)",
            stacklevel=3,
        )


def concrete(*trees: PyTree) -> bool:
    """Whether all values are known, that is, nothing is being traced."""
    return not any(isinstance(leaf, jax.core.Tracer) for tree in trees for leaf in jax.tree.leaves(tree))
