"""Sparse from the first step to the last, with masks that move: what SET, RigL and their kin share."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._counts import Patterns
from offprint.sparsity._growth import drop_counts, fraction_words, grow_best, keep_best
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity._warning import warn
from offprint.sparsity.methods._counts import Dist, look_up
from offprint.sparsity.methods._method import Change, Method, View, is_update_step, update_index, update_steps
from offprint.sparsity.methods._random import normal_like
from offprint.sparsity.methods._static import check_start, start
from offprint.sparsity.methods._units import by_leaf, expand, pick, unit_patterns

GrowInit = Literal["zeros", "normal", "gradient", "initial"]
Decay = Literal["cosine", "linear", "constant"]

STEPS = 33_333  # three quarters of it are the 25 000 steps after which google-research/rigl stops by default


@dataclass(frozen=True)
class DropGrow(Method):
    """What SET and RigL share: at every update a fraction of the active entries gives way to as many others.

    Of the A active units of a leaf, floor(f A) with the smallest weights are dropped, and as many grow among all that
    are not active then, those just dropped included; an entry that is dropped and grown at once keeps its weight and
    its momentum (as google-research/rigl has it). The number of active units never changes.

    Attributes:
        sparsity: share of the units to remove, in [0, 1).
        every: steps between updates.
        begin: step of the first update.
        end: no update from this step on: a number of steps, or a share of `steps`, or None for never.
        steps: length of the training, if `end` is a share. By default the `total` of `sparsify`; without that 33 333,
            of which the share of 0.75 is 25 000 steps, the default of google-research/rigl.
        drop: the fraction f of the first update.
        decay: of f until `end`: 'cosine' f/2 (1 + cos(π t / end)), 'linear', 'constant'.
        dist: density of the leaves, see `density_map`.
        criterion: first masks: 'random' or by 'magnitude' of the initial weights.
        grow_init: weight of a grown entry: 'zeros', 'normal' (standard deviation of the leaf's active weights),
            'gradient' (-`grow_scale` times the gradient), 'initial' (what it was before training).
        grow_scale: factor for 'normal' and 'gradient'.
        pattern: what is pruned as one; a block is dropped and grown by the mean over its entries.
        filter: which leaves; default: kernels.
    """

    grows: ClassVar[bool] = True

    sparsity: float | int
    every: int = 100
    begin: int = 0
    end: int | float | None = 0.75
    steps: int | None = None
    drop: float = 0.3
    decay: Decay = "cosine"
    dist: Dist = "erk"
    criterion: Literal["random", "magnitude"] = "random"
    grow_init: GrowInit = "zeros"
    grow_scale: float = 1.0
    pattern: Patterns = UNSTRUCTURED

    def __post_init__(self) -> None:
        check_start(self.sparsity, self.criterion)
        last = last_step(self)
        if not 0 <= self.drop <= 1:
            raise ValueError(f"drop is the fraction of active entries that is replaced, in [0, 1]; got {self.drop}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise ValueError(f"decay must be 'cosine', 'linear' or 'constant'; got {self.decay!r}")
        if self.end is None and self.decay != "constant":
            raise ValueError(
                f"without an end the fraction cannot decay: end=None needs decay='constant', not {self.decay!r}"
            )
        if self.grow_init not in ("zeros", "normal", "gradient", "initial"):
            raise ValueError(f"grow_init must be 'zeros', 'normal', 'gradient' or 'initial'; got {self.grow_init!r}")
        if self.every > last - self.begin:
            warn(f"every={self.every} is more than the {last - self.begin} steps from begin to end: one update happens")

    def trained_for(self, total: int) -> Method:
        """`end` as a share of these steps, if no others are given."""
        share = isinstance(self.end, float) and self.steps is None
        return dataclasses.replace(self, steps=total) if share else self

    @property
    def sets_values(self) -> bool:
        """Whether grown entries start at another value than zero."""
        return self.grow_init != "zeros"

    @property
    def draws_first(self) -> bool:
        """Whether the first masks are random."""
        return self.criterion == "random"

    @property
    def draws(self) -> bool:
        """Whether grown entries get random weights."""
        return self.grow_init == "normal"

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """Sparse from the start."""
        return start(self, params, key)

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """The initial weights, if grown entries return to them."""
        return pick(params, masks) if self.grow_init == "initial" else None

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """Every so many steps from begin on and before the end."""
        return is_update_step(count, self.begin, last_step(self), self.every, at_end=False)

    def fractions(self) -> np.ndarray:
        """The drop fraction of every update (float64 on the host); a single one if it is constant."""
        end = last_step(self)
        if self.decay == "constant":
            return np.array([self.drop])
        steps = np.array(update_steps(self.begin, end, self.every, at_end=False) or [end])
        left = (1 + np.cos(np.pi * steps / end)) / 2 if self.decay == "cosine" else 1 - steps / end
        return self.drop * left

    def index(self, count: Int[Array, ""], total: int) -> Int[Array, ""]:
        """Which of `total` fractions is in force."""
        return update_index(count, self.begin, last_step(self), self.every, total)

    def change(self, view: View) -> Change:
        """Drop and grow, leaf by leaf."""
        fractions = self.fractions()
        fraction = look_up(fraction_words(fractions), self.index(view.count, len(fractions)))
        patterns = unit_patterns(view.masks, self.pattern)
        active = by_leaf(lambda kind, mask: kind.kept_units(mask), patterns, view.masks)
        n_drop = drop_counts(active, fraction, view.axis_name)
        kept = self.kept(view, patterns, active, n_drop, fraction)
        grown = grow_best(kept, self.growth(view, patterns), n_drop, axis_name=view.axis_name)
        masks = expand(patterns, view.masks, grown)
        return Change(masks, view.own, self.values(view) if self.sets_values else None)

    def kept(self, view: View, patterns: dict[str, Any], active: PyTree, n_drop: PyTree, fraction: Array) -> PyTree:
        """The active units that are not dropped: here, those of the largest weights."""
        del fraction  # SET counts by sign
        sizes = by_leaf(lambda kind, w: kind.units(jnp.abs(w)), patterns, pick(view.params, view.masks))
        return keep_best(active, sizes, n_drop, axis_name=view.axis_name)

    def growth(self, view: View, patterns: dict[str, Any]) -> PyTree:
        """Scores of the units, high = grow."""
        raise NotImplementedError

    def initial_weights(self, view: View) -> PyTree:
        """What the weights were before training."""
        return view.own

    def values(self, view: View) -> PyTree:
        """Weights of grown entries."""
        weights = pick(view.params, view.masks)
        if self.grow_init == "initial":
            return jax.tree.map(lambda p, w: p.astype(w.dtype), self.initial_weights(view), weights)
        if self.grow_init == "gradient":
            grads = pick(need_grads(self, view), view.masks)
            return jax.tree.map(lambda g, w: (-self.grow_scale * g).astype(w.dtype), grads, weights)
        assert view.key is not None
        drawn = normal_like(view.masks, jax.random.fold_in(view.key, len(jax.tree.leaves(view.params))), view.axis_name)
        return jax.tree.map(lambda w, mask, nu: self._normal(w, mask, nu, view.axis_name), weights, view.masks, drawn)

    def _normal(self, weight: Array, mask: Bool[Array, "..."], normal: Array, axis_name: str | None) -> Array:
        count, total = _over(axis_name, jnp.sum(mask, dtype=jnp.int32), jnp.sum(weight, where=mask))
        count = jnp.maximum(count, 1)
        (square,) = _over(axis_name, jnp.sum((weight - total / count) ** 2, where=mask))
        return (self.grow_scale * jnp.sqrt(square / count) * normal).astype(weight.dtype)


def last_step(method: Any) -> int:
    """The step from which on the masks stay as they are."""
    begin, end, every = method.begin, method.end, method.every
    if every < 1:
        raise ValueError(f"every is a number of steps, at least 1; got {every}")
    if end is None:
        last = 2**31 - 1
    elif isinstance(end, float) and 0 < end <= 1:
        last = math.ceil(end * (STEPS if method.steps is None else method.steps))
    elif isinstance(end, int):
        last = end
    else:
        raise ValueError(f"end must be a step, or a share of the training in (0, 1]; got {end!r}")
    if begin < 0 or last <= begin:
        raise ValueError(f"the schedule needs 0 <= begin < end; got begin={begin}, end={last}")
    return last


def need_grads(method: Method, view: View) -> PyTree:
    """The dense gradients, or ValueError."""
    if view.grads is None:
        raise ValueError(f"{type(method).__name__} grows by gradients: update_masks(..., grads)")
    return view.grads


def _over(axis_name: str | None, *sums: Array) -> tuple[Array, ...]:
    """Sums over all devices of an axis."""
    return sums if axis_name is None else jax.lax.psum(sums, axis_name)
