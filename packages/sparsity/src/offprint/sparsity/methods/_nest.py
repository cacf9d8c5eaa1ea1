"""NeST: grow connections by their gradients, then prune."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._counts import Patterns, check_sparsity
from offprint.sparsity._growth import active_counts, grow_best, keep_best
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist, count_table, counts_at
from offprint.sparsity.methods._dynamic import need_grads
from offprint.sparsity.methods._gradual import check_range, warn_of_every
from offprint.sparsity.methods._method import Change, Method, View, is_update_step, update_index, update_steps
from offprint.sparsity.methods._static import start
from offprint.sparsity.methods._units import by_leaf, expand, pick, unit_patterns


@dataclass(frozen=True)
class NeST(Method):
    """From a sparse seed, grow the connections with the largest gradients, then prune by magnitude (`dai2019nest`).

    Until `turn`, every update activates the share `rate` of the inactive entries of a leaf: those of the largest dense
    gradient, with the weight -sign(g) sqrt(|g|), scaled so that their mean size is `scale` times that of the active
    weights. From `turn` to `end` the leaves are pruned by magnitude along a cubic curve to the final sparsity. Only
    connections grow: for the paper's growth of neurons the arrays would have to grow. From memory of the paper, not
    checked against it.

    Attributes:
        sparsity: the final one, in [0, 1).
        initial: of the seed.
        turn: the step at which growth ends and pruning begins.
        end: step of the last update.
        begin: step of the first update.
        every: steps between updates.
        rate: share of the inactive entries that an update activates.
        scale: of the weights of grown entries.
        dist: density of the leaves, of the seed and at the end, see `density_map`.
        criterion: the seed is 'random' or the largest initial weights.
        pattern: what is pruned as one.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "dai2019nest"
    grows: ClassVar[bool] = True

    sparsity: float | int
    initial: float | int
    turn: int
    end: int
    begin: int = 0
    every: int = 100
    rate: float = 0.1
    scale: float = 1.0
    dist: Dist = "uniform"
    criterion: Literal["random", "magnitude"] = "random"
    pattern: Patterns = UNSTRUCTURED

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)
        check_sparsity(self.initial)
        check_range(self.begin, self.end, self.every)
        if not self.begin <= self.turn <= self.end:
            raise ValueError(f"NeST needs begin <= turn <= end; got {self.begin}, {self.turn} and {self.end}")
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is a share of the inactive entries, in [0, 1]; got {self.rate}")
        warn_of_every(self.begin, self.end, self.every)

    @property
    def target_step(self) -> int:
        """The last update."""
        return self.end

    @property
    def draws_first(self) -> bool:
        """Whether the seed is random."""
        return self.criterion == "random"

    @property
    def sets_values(self) -> bool:
        """Grown entries start with a step against their gradient."""
        return True

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """The seed."""
        return start(_Seed(self), params, key)

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """From begin to end, every so many steps, and at the end."""
        return is_update_step(count, self.begin, self.end, self.every, at_end=True)

    def targets(self, masks: PyTree[Bool[Array, "..."]]) -> PyTree[np.ndarray]:
        """Number of active units of every leaf after each update (on the host)."""
        shares = {"dist": self.dist, "pattern": self.pattern}
        seed = count_table(masks, [self.initial], rounding="floor", **shares)
        final = count_table(masks, [self.sparsity], **shares)
        total = count_table(masks, [0.0], pattern=self.pattern)
        steps = update_steps(self.begin, self.end, self.every, at_end=True)

        def of_leaf(first: np.ndarray, last: np.ndarray, n: np.ndarray) -> np.ndarray:
            active, grown = int(first[0]), int(first[0])
            rows = []
            for step in steps:
                if step < self.turn:
                    active = grown = active + int(self.rate * (int(n[0]) - active))
                else:
                    left = (1 - (step - self.turn) / (self.end - self.turn)) ** 3 if self.end > self.turn else 0.0
                    active = int(np.rint(last[0] + (grown - last[0]) * left))
                rows.append(active)
            return np.array(rows, np.int32)

        return jax.tree.map(of_leaf, seed, final, total)

    def change(self, view: View) -> Change:
        """Grow by gradient or prune by magnitude, to the number of the table."""
        targets = self.targets(view.masks)
        rows = len(jax.tree.leaves(targets)[0])
        wanted = counts_at(targets, update_index(view.count, self.begin, self.end, self.every, rows))
        patterns = unit_patterns(view.masks, self.pattern)
        active = by_leaf(lambda kind, mask: kind.kept_units(mask), patterns, view.masks)
        sizes = by_leaf(lambda kind, w: kind.units(jnp.abs(w)), patterns, pick(view.params, view.masks))
        grads = pick(need_grads(self, view), view.masks)
        slopes = by_leaf(lambda kind, g: kind.units(jnp.abs(g)), patterns, grads)
        counts = active_counts(active, view.axis_name)
        surplus = jax.tree.map(lambda have, want: jnp.maximum(have - want, 0), counts, wanted)
        lacking = jax.tree.map(lambda have, want: jnp.maximum(want - have, 0), counts, wanted)
        kept = keep_best(active, sizes, surplus, axis_name=view.axis_name)
        masks = expand(patterns, view.masks, grow_best(kept, slopes, lacking, axis_name=view.axis_name))
        weights = pick(view.params, view.masks)
        values = jax.tree.map(
            lambda mask, old, w, g: self._bridge(mask, old, w, g, view.axis_name), masks, view.masks, weights, grads
        )
        return Change(masks, view.own, values)

    def _bridge(self, mask: Array, old: Array, weight: Array, grad: Array, axis_name: str | None) -> Array:
        """Weights of grown entries."""
        root = jnp.sqrt(jnp.abs(grad))
        sums = [
            (jnp.sum(values, where=where), jnp.sum(where, dtype=jnp.int32))
            for values, where in ((jnp.abs(weight), old), (root, mask & ~old))
        ]
        if axis_name is not None:
            sums = jax.lax.psum(sums, axis_name)
        usual, ours = (total / jnp.maximum(count, 1) for total, count in sums)
        factor = self.scale * usual / jnp.where(ours > 0, ours, 1)
        return (-jnp.sign(grad) * root * factor).astype(weight.dtype)


class _Seed:
    """The settings of the seed, as `start` reads them."""

    def __init__(self, method: NeST) -> None:
        self.sparsity, self.dist, self.pattern = method.initial, method.dist, method.pattern
        self.filter, self.criterion = method.filter, method.criterion
