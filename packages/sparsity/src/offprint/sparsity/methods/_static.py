"""Sparse from the first step to the last, with masks that stay as they are."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._counts import Patterns, check_sparsity
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist, sparse_masks
from offprint.sparsity.methods._method import Change, Method, View


@dataclass(frozen=True)
class Static(Method):
    """Masks drawn before the first step that never change: the baseline of all sparse training.

    Any masks of yours do as well: `sparsify(..., Static(sparsity), masks=masks)`.

    Attributes:
        sparsity: share of the units to remove, in [0, 1).
        dist: density of the leaves, see `density_map`.
        criterion: 'random', or 'magnitude' of the initial weights.
        pattern: what is pruned as one.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "mocanu2018set"

    sparsity: float | int
    dist: Dist = "erk"
    criterion: Literal["random", "magnitude"] = "random"
    pattern: Patterns = UNSTRUCTURED

    def __post_init__(self) -> None:
        check_start(self.sparsity, self.criterion)

    @property
    def draws_first(self) -> bool:
        """Whether the masks are random."""
        return self.criterion == "random"

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """The masks."""
        return start(self, params, key)

    def due(self, count: Int[Array, ""]) -> bool:
        """Never."""
        return False

    def change(self, view: View) -> Change:
        """Nothing."""
        return Change(view.masks, view.own)


def start(method: Any, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
    """The first masks of a method with sparsity, dist, criterion and pattern."""
    return sparse_masks(
        params, method.sparsity, dist=method.dist, pattern=method.pattern, filter=method.filter,
        criterion=method.criterion, key=key,
    )  # fmt: skip


def check_start(sparsity: float | int, criterion: str) -> None:
    """Raise ValueError for a sparsity outside [0, 1) or an unknown criterion."""
    check_sparsity(sparsity)
    if criterion not in ("random", "magnitude"):
        raise ValueError(f"criterion of the first masks must be 'random' or 'magnitude'; got {criterion!r}")
