"""Which leaves may be pruned."""

import fnmatch
from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import PyTree

from offprint.sparsity._tree import named_leaves

# From the path of a leaf and the leaf, of which the shape may be all there is, to whether it may be pruned.
Filter = Callable[[str, Any], bool]

NAMES = ("kernel", "weight", "w")


def kernels(path: str, leaf: Any) -> bool:
    """The leaves pruned by default: kernels, that is two or more axes and the name `kernel`, `weight` or `w`.

    A name may be followed by a number (`w1`). Biases and the parameters of normalisation have one axis; embeddings
    have another name, and Python numbers no axes at all.
    """
    return getattr(leaf, "ndim", 0) >= 2 and path.rsplit("/", 1)[-1].rstrip("0123456789") in NAMES


def matching(patterns: str | Sequence[str], but: str | Sequence[str] = ()) -> Filter:
    """The leaves whose path matches one of `patterns` and none of `but` (shell patterns: `layers/*/kernel`).

    `matching("*kernel", but=("first/*", "last/*"))` keeps the first and the last layer dense, as several methods do.
    """
    wanted = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    unwanted = (but,) if isinstance(but, str) else tuple(but)

    def chosen(path: str, leaf: Any) -> bool:
        del leaf
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in wanted) and not any(
            fnmatch.fnmatchcase(path, pattern) for pattern in unwanted
        )

    return chosen


def prunable(params: PyTree, filter: Filter | None = None) -> dict[str, Any]:
    """{path: leaf} of the leaves that `filter` (default: `kernels`) chooses, in order.

    Leaves without a shape, such as Python numbers, are not asked about. Raises ValueError, listing the paths there are,
    if it chooses none.
    """
    choose = kernels if filter is None else filter
    leaves = [(path, leaf) for path, leaf in named_leaves(params) if hasattr(leaf, "shape")]
    chosen = {path: leaf for path, leaf in leaves if choose(path, leaf)}
    if not chosen:
        raise ValueError(
            "the filter chooses no leaf to prune; the leaves are "
            + ", ".join(f"{path} {tuple(leaf.shape)}" for path, leaf in leaves)
        )
    return chosen
