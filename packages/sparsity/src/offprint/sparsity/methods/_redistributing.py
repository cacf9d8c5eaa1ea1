"""Dynamic masks that also move weights from one leaf to another: SNFS and DSR."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from offprint.sparsity._growth import active_counts, drop_counts, fraction_words, grow_best
from offprint.sparsity._moments import moments_of
from offprint.sparsity.methods._counts import look_up
from offprint.sparsity.methods._dynamic import DropGrow
from offprint.sparsity.methods._method import Change, View
from offprint.sparsity.methods._random import uniform_like
from offprint.sparsity.methods._units import by_leaf, expand, pick, unit_patterns


@dataclass(frozen=True)
class SNFS(DropGrow):
    """Sparse networks from scratch: sparse momentum (Dettmers & Zettlemoyer 2019, `dettmers2019snfs`).

    Every leaf drops the fraction f of its smallest weights. As many as went in all come back: to each leaf in
    proportion to the mean size of the momentum of its active weights (before the drop), and in a leaf where the
    momentum of inactive entries is largest. The number of active entries of the tree never changes. The momentum is
    that of the inner optimiser (`trace` of SGD, `mu` of Lion; `mu / (sqrt(nu) + 1e-8)` of Adam), which therefore sees
    dense gradients. A quota that a leaf cannot take goes to the others. From memory of the paper, not checked against
    it. The attributes are those of `DropGrow`.
    """

    paper: ClassVar[str] = "dettmers2019snfs"
    masks_grads: ClassVar[bool] = False

    def change(self, view: View) -> Change:
        """Drop in every leaf, grow where the momentum is."""
        fractions = self.fractions()
        fraction = look_up(fraction_words(fractions), self.index(view.count, len(fractions)))
        patterns = unit_patterns(view.masks, self.pattern)
        active = by_leaf(lambda kind, mask: kind.kept_units(mask), patterns, view.masks)
        n_drop = drop_counts(active, fraction, view.axis_name)
        kept = self.kept(view, patterns, active, n_drop, fraction)
        momentum = by_leaf(lambda kind, m: kind.units(jnp.abs(m)), patterns, pick(_momentum(view), view.masks))
        shares = jax.tree.map(lambda m, on: _mean(m, on, view.axis_name), momentum, active)
        n_grow = _quotas(n_drop, shares, kept, view.axis_name)
        masks = expand(patterns, view.masks, grow_best(kept, momentum, n_grow, axis_name=view.axis_name))
        return Change(masks, view.own, self.values(view) if self.sets_values else None)


@dataclass(frozen=True)
class DSR(DropGrow):
    """Dynamic sparse reparameterisation: one threshold for all leaves (Mostafa & Wang 2019, `mostafa2019dsr`).

    Active weights below the threshold are dropped, whatever their leaf. If more than 1.1 of the target number (`drop`
    of the active ones) went, the threshold is halved, if fewer than 0.9 of it, doubled. As many come back at random, to
    each leaf in proportion to the active weights that it has left; a leaf that has none left counts as having one, so
    that no layer dies. The number of active entries of the tree never changes. From memory of the paper, not checked
    against it.

    Attributes:
        threshold: the first one.

    The other attributes are those of `DropGrow`; `drop` sets the target number.
    """

    paper: ClassVar[str] = "mostafa2019dsr"

    threshold: float = 1e-3
    drop: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold <= 0:
            raise ValueError(f"the threshold is doubled and halved, so it must be positive; got {self.threshold}")

    @property
    def draws(self) -> bool:
        """Growth is random."""
        return True

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """The threshold, and initial weights if grown entries return to them."""
        return {"threshold": jnp.asarray(self.threshold, jnp.float32), "initial": super().first_own(params, masks, key)}

    def initial_weights(self, view: View) -> PyTree:
        """What the weights were before training."""
        return view.own["initial"]

    def change(self, view: View) -> Change:
        """Drop below the threshold, adapt it, grow at random."""
        fractions = self.fractions()
        fraction = look_up(fraction_words(fractions), self.index(view.count, len(fractions)))
        patterns = unit_patterns(view.masks, self.pattern)
        active = by_leaf(lambda kind, mask: kind.kept_units(mask), patterns, view.masks)
        sizes = by_leaf(lambda kind, w: kind.units(jnp.abs(w)), patterns, pick(view.params, view.masks))
        threshold = view.own["threshold"]
        kept = jax.tree.map(lambda on, size: on & (size >= threshold.astype(size.dtype)), active, sizes)
        before, after = active_counts(active, view.axis_name), active_counts(kept, view.axis_name)
        gone = jax.tree.map(jnp.subtract, before, after)
        wanted = _total(drop_counts(active, fraction, view.axis_name)).astype(jnp.float32)
        removed = _total(gone).astype(jnp.float32)
        factor = jnp.where(removed > 1.1 * wanted, 0.5, jnp.where(removed < 0.9 * wanted, 2.0, 1.0))
        shares = jax.tree.map(lambda left: jnp.maximum(left, 1).astype(jnp.float32), after)
        n_grow = _quotas(gone, shares, kept, view.axis_name)
        grown = grow_best(kept, uniform_like(kept, view.key, view.axis_name), n_grow, axis_name=view.axis_name)
        own = {**view.own, "threshold": threshold * factor}
        return Change(expand(patterns, view.masks, grown), own, self.values(view) if self.sets_values else None)


def allocate(total: Int[Array, ""], shares: Float[Array, " leaves"], capacity: Int[Array, " leaves"]) -> Array:
    """Whole numbers that sum to `total`, as near to proportional to `shares` as `capacity` allows.

    What a full leaf cannot take is shared out among the others; leftovers of rounding go, one each, to the largest
    shares.
    """
    order = jnp.argsort(-shares)
    place = jnp.zeros_like(capacity).at[order].set(jnp.arange(len(order), dtype=capacity.dtype))

    def unfinished(quota: Array) -> Array:
        return (jnp.sum(quota) < total) & jnp.any(quota < capacity)

    def more(quota: Array) -> Array:
        left = total - jnp.sum(quota)
        room = capacity - quota
        weights = jnp.where(room > 0, shares, 0)
        even = jnp.where(room > 0, jnp.ones_like(shares), 0)
        weights = jnp.where(jnp.sum(weights) > 0, weights, even)
        asked = jnp.floor(left * (weights / jnp.sum(weights))).astype(capacity.dtype)
        asked = jnp.minimum(asked, room)
        single = ((room > 0) & (jnp.cumsum((room > 0)[order])[place] <= left)).astype(capacity.dtype)
        asked = jnp.where(jnp.sum(asked) > 0, asked, single)
        # float32 shares of large numbers may sum to a little more than there is.
        taken_before = (jnp.cumsum(asked[order]) - asked[order])[place]
        return quota + jnp.clip(asked, 0, jnp.maximum(left - taken_before, 0)).astype(quota.dtype)

    return jax.lax.while_loop(unfinished, more, jnp.zeros_like(capacity))


def _quotas(gone: PyTree, shares: PyTree, kept: PyTree, axis_name: str | None) -> PyTree[Int[Array, ""]]:
    """How many grow in each leaf, in all as many as are gone."""
    inactive = active_counts(jax.tree.map(jnp.logical_not, kept), axis_name)
    flat, treedef = jax.tree.flatten(inactive)
    weights = jnp.stack(jax.tree.leaves(shares)).astype(jnp.float32)
    quota = allocate(_total(gone), weights, jnp.stack(flat))
    return jax.tree.unflatten(treedef, list(quota))


def _total(counts: PyTree[Int[Array, ""]]) -> Int[Array, ""]:
    return jnp.sum(jnp.stack(jax.tree.leaves(counts)), dtype=jnp.int32)


def _momentum(view: View) -> PyTree:
    first = moments_of(view.inner, view.params, "mu")
    second = moments_of(view.inner, view.params, "nu")
    if first is None:
        first = moments_of(view.inner, view.params, "trace")
    if first is None:
        raise ValueError("SNFS grows by momentum: give it an inner optimiser that has one, such as optax.sgd(0.1, 0.9)")
    if second is None:
        return first
    return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-8), first, second)


def _mean(values: Array, where: Array, axis_name: str | None) -> Array:
    total, count = jnp.sum(values, where=where), jnp.sum(where, dtype=jnp.int32)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1)
