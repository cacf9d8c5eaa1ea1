"""SET: the smallest weights give way to random ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import PyTree

from offprint.sparsity._growth import active_counts, fraction_words, grow_best, keep_signwise
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import look_up
from offprint.sparsity.methods._dynamic import Decay, DropGrow
from offprint.sparsity.methods._method import Change, View
from offprint.sparsity.methods._random import uniform_like
from offprint.sparsity.methods._units import by_leaf


@dataclass(frozen=True)
class SET(DropGrow):
    """Sparse evolutionary training: drop the smallest weights, grow at random (Mocanu et al. 2018, `mocanu2018set`).

    Attributes:
        kind: 'magnitude' drops the smallest |w|, as the codes of rigl and jaxpruner do; 'signwise' drops, as the paper
            does, the fraction of the smallest positive and the fraction of the largest negative weights.

    The other attributes are those of `DropGrow`; the defaults are the paper's constant fraction, and no end.
    """

    paper: ClassVar[str] = "mocanu2018set"

    end: int | float | None = None
    decay: Decay = "constant"
    kind: Literal["magnitude", "signwise"] = "magnitude"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("magnitude", "signwise"):
            raise ValueError(f"kind must be 'magnitude' or 'signwise'; got {self.kind!r}")
        if self.kind == "signwise" and self.pattern != UNSTRUCTURED:
            raise ValueError("signwise removal is of single weights: it needs pattern=Unstructured()")

    @property
    def separable(self) -> bool:
        """Every leaf for itself; a mapping of patterns is checked against all of them."""
        return not isinstance(self.pattern, Mapping)

    @property
    def draws(self) -> bool:
        """Growth is random."""
        return True

    def change(self, view: View) -> Change:
        """Drop and grow; signwise removal counts each sign by itself, and as many grow as went."""
        if self.kind == "magnitude":
            return super().change(view)
        fraction = look_up(fraction_words(self.fractions()), 0)
        kept = keep_signwise(view.masks, view.params, fraction, axis_name=view.axis_name)
        gone = jax.tree.map(
            lambda a, b: a - b, active_counts(view.masks, view.axis_name), active_counts(kept, view.axis_name)
        )
        masks = grow_best(kept, uniform_like(view.masks, view.key, view.axis_name), gone, axis_name=view.axis_name)
        return Change(masks, view.own, self.values(view) if self.sets_values else None)

    def growth(self, view: View, patterns: dict[str, Any]) -> PyTree:
        """Chance."""
        units = by_leaf(lambda kind, mask: kind.kept_units(mask), patterns, view.masks)
        return uniform_like(units, view.key, view.axis_name)
