"""RigL: the smallest weights give way to those of the largest gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import PyTree

from offprint.sparsity.methods._dynamic import DropGrow, need_grads
from offprint.sparsity.methods._method import View
from offprint.sparsity.methods._units import by_leaf, pick


@dataclass(frozen=True)
class RigL(DropGrow):
    """Drop the smallest weights, grow where the gradient is largest (Evci et al. 2020, `evci2020rigl`).

    The gradient at masked params is the dense gradient already, so growth costs nothing extra. Follows
    google-research/rigl: whole part of the drop count, no optimiser step at updates (`skip_step`); without its noise of
    1e-5 on the scores for dropping. jaxpruner's counts come from float densities and can be one off.

    Attributes:
        skip_step: no optimiser step when the masks change.

    The other attributes are those of `DropGrow`.
    """

    paper: ClassVar[str] = "evci2020rigl"

    skip_step: bool = True

    @property
    def separable(self) -> bool:
        """Every leaf for itself; a mapping of patterns is checked against all of them."""
        return not isinstance(self.pattern, Mapping)

    @property
    def skips_step(self) -> bool:
        """Whether the optimiser does not step when the masks change."""
        return self.skip_step

    def growth(self, view: View, patterns: dict[str, Any]) -> PyTree:
        """Size of the dense gradient."""
        grads = pick(need_grads(self, view), view.masks)
        return by_leaf(lambda kind, g: kind.units(jnp.abs(g)), patterns, grads)
