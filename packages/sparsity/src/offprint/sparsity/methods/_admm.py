"""ADMM: weights that are drawn to a sparse copy of themselves, then pruned."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._admm import ADMMState, admm_init
from offprint.sparsity._counts import AnyPattern, Rounding, Scope, check_sparsity
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist
from offprint.sparsity.methods._gradual import Criterion, check_range, prune_to, warn_of_every
from offprint.sparsity.methods._method import Change, Method, View, is_update_step
from offprint.sparsity.methods._units import pick


@dataclass(frozen=True)
class ADMM(Method):
    """min L(w) + ρ/2 ‖w - z + u‖² with sparse z: the penalty while training, one cut at the end (`zhang2018admm`).

    Until `end` the optimiser sees g + ρ (w - z + u); every `every` steps z = Π(w + u) and u += w - z, where Π keeps the
    largest magnitudes of a leaf. At `end` each leaf is pruned to its largest weights, which are near z by then, and the
    penalty ceases.

    Attributes:
        sparsity: of every leaf, in [0, 1).
        end: the step of the cut.
        begin: first step of the penalty.
        every: steps between updates of z and u.
        rho: ρ.
        pattern: what is pruned as one.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "zhang2018admm"

    sparsity: float | int
    end: int
    begin: int = 0
    every: int = 100
    rho: float = 1e-3
    pattern: AnyPattern = UNSTRUCTURED

    # Not to be chosen: ADMM prunes every leaf by magnitude.
    criterion: ClassVar[Criterion] = "magnitude"
    scope: ClassVar[Scope] = "local"
    dist: ClassVar[Dist] = "uniform"
    rounding: ClassVar[Rounding] = "nearest"
    min_keep: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_range(self.begin, self.end, self.every)
        if self.rho <= 0:
            raise ValueError(f"rho must be positive; got {self.rho}")
        warn_of_every(self.begin, self.end, self.every)

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """z = Π(w), u = 0."""
        return admm_init(params, self.sparsity, pattern=self.pattern, filter=self.filter)

    @property
    def target_step(self) -> int:
        """The cut."""
        return self.end

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """Every so many steps from begin on, and at the end."""
        return is_update_step(count, self.begin, self.end, self.every, at_end=True)

    def before(self, grads: PyTree, view: View) -> tuple[PyTree, PyTree]:
        """Add the gradient of the penalty."""
        on = (view.count >= self.begin) & (view.count < self.end)
        rho = on * self.rho

        def pulled(grad: Array, w: Array, z: Array | None, u: Array | None) -> Array:
            return grad if z is None or u is None else grad + (rho * (w - z + u)).astype(grad.dtype)

        return jax.tree.map(pulled, grads, view.params, view.own.z, view.own.u), view.own

    def change(self, view: View) -> Change:
        """z and u; at the end, the masks."""
        # As in `admm_update`, but with counts of the whole leaf where it is split over devices.
        sums = jax.tree.map(jnp.add, pick(view.params, view.masks), view.own.u)
        near = prune_to(self, view._replace(params=sums), [self.sparsity], 0, monotone=False)
        z = jax.tree.map(lambda total, mask: jnp.where(mask, total, 0), sums, near)
        own = ADMMState(z, jax.tree.map(jnp.subtract, sums, z))
        final = prune_to(self, view, [self.sparsity], 0)
        last = view.count >= self.end
        return Change(jax.tree.map(lambda old, new: old & (new | ~last), view.masks, final), own)
