"""Dense first, then sparser: one-shot and gradual pruning while training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from offprint.sparsity._counts import FixedPattern, Patterns, Rounding, Scope, check_sparsity
from offprint.sparsity._mask import all_fixed, masks_by_count
from offprint.sparsity._moments import moments_of
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity._warning import warn
from offprint.sparsity.methods._counts import Dist, Target, count_table, counts_at
from offprint.sparsity.methods._method import Change, Method, View, is_update_step, update_index, update_steps
from offprint.sparsity.methods._random import uniform_like

Criterion = Literal["magnitude", "magnitude_l2", "taylor", "adam", "random"] | Callable[..., Any]
Curve = Literal["cubic", "linear", "exponential"] | Callable[[float], float]


@dataclass(frozen=True)
class OneShot(Method):
    """Train dense, prune once, and go on training what is left (Han et al. 2015, `han2015`).

    Attributes:
        sparsity: share of the units to remove, in [0, 1); none if `scope` is a mapping or the pattern is N:M.
        at: the step, counted from 0, at which it happens; 0 prunes before the first step.
        criterion, scope, dist, pattern, rounding, min_keep: see `GMP`.
    """

    paper: ClassVar[str] = "han2015"

    sparsity: float | int | None = None
    at: int = 0
    criterion: Criterion = "magnitude"
    scope: Scope = "local"
    dist: Dist = "uniform"
    pattern: Patterns = UNSTRUCTURED
    rounding: Rounding = "nearest"
    min_keep: int | None = None

    def __post_init__(self) -> None:
        check_target(self)
        if self.at < 0:
            raise ValueError(f"at is a step, counted from 0; got {self.at}")

    @property
    def draws(self) -> bool:
        """Whether the scores are random."""
        return self.criterion == "random"

    @property
    def target_step(self) -> int:
        """The one step."""
        return self.at

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """At the one step."""
        return count == self.at

    def change(self, view: View) -> Change:
        """Keep the highest scores of those that are there."""
        return Change(prune_to(self, view, [target_of(self)], 0), view.own)


@dataclass(frozen=True)
class GMP(Method):
    """Gradual magnitude pruning: sparsity grows along a curve while training goes on (Zhu & Gupta 2018, `zhu2018gmp`).

    s(t) = s_f + (s_i - s_f) (1 - (t - begin) / (end - begin))^3 is read at the steps begin, begin + every, ... and at
    `end` itself, so that the target is reached exactly whatever `every` is. jaxpruner reads it one step later and
    misses the target where `every` does not divide the range (0.8993 instead of 0.9). Weights that are pruned get no
    gradients and stay pruned; `sparsify(..., mask_grads=False)` lets the optimiser see them.

    Attributes:
        sparsity: the target s_f: share of the units to remove, in [0, 1); none if `scope` is a mapping or the pattern
            is N:M.
        end: step at which it is reached; must be given.
        begin: step of the first update.
        every: steps between updates; warns if it is more than there are from begin to end.
        initial: s_i.
        curve: 'cubic', 'linear' or 'exponential' (in the density), or a function of the progress from 0 to 1 that
            falls from 1 to 0: the share of the way that is left.
        scope: 'local' (that sparsity in every leaf), 'global' (one ranking), or a mapping of path patterns to
            targets, each a ranking of its own that goes along the curve to its target; the other leaves stay dense.
        criterion: high = keep: 'magnitude' |w|, 'magnitude_l2' (over the leaf's norm), 'taylor' |g w| with the
            gradient of this step, 'adam' w² ν with the inner optimiser's second moment, 'random', or a function
            (params, grads) -> scores.
        dist: density of the leaves, see `density_map` ('uniform', 'erk', ...), if the scope is local.
        pattern: what is pruned as one; N:M patterns reach their density with the first update.
        rounding: of the number of removed units.
        min_keep: units that every leaf keeps at least; by default 1, and 0 with the scope 'global' or a mapping.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "zhu2018gmp"

    sparsity: float | int | None = None
    end: int = field(kw_only=True)
    begin: int = 0
    every: int = 100
    initial: float | int = 0.0
    curve: Curve = "cubic"
    criterion: Criterion = "magnitude"
    scope: Scope = "local"
    dist: Dist = "uniform"
    pattern: Patterns = UNSTRUCTURED
    rounding: Rounding = "nearest"
    min_keep: int | None = None

    def __post_init__(self) -> None:
        check_target(self)
        check_sparsity(self.initial)
        check_range(self.begin, self.end, self.every)
        warn_of_every(self.begin, self.end, self.every)

    @property
    def draws(self) -> bool:
        """Whether the scores are random."""
        return self.criterion == "random"

    @property
    def target_step(self) -> int:
        """The end."""
        return self.end

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """From begin to end, every so many steps, and at the end."""
        return is_update_step(count, self.begin, self.end, self.every, at_end=True)

    def sparsities(self) -> list[Target]:
        """The sparsity of every update (or those of every group), in order (float64 on the host)."""
        return gradual(self.curve, self.initial, target_of(self), self.begin, self.end, self.every)

    def change(self, view: View) -> Change:
        """Keep the highest scores of those that are there."""
        sparsities = self.sparsities()
        index = update_index(view.count, self.begin, self.end, self.every, len(sparsities))
        return Change(prune_to(self, view, sparsities, index), view.own)


def prune_to(
    method: Any, view: View, targets: Sequence[Target], index: Int[Array, ""] | int, monotone: bool = True
) -> PyTree[Bool[Array, "..."]]:
    """Masks of `targets[index]`, by the method's criterion, scope, pattern, rounding and min_keep.

    With `monotone` nothing that is pruned returns. Leaves in no group of a scope keep all that they have.
    """
    devices = 1 if view.axis_name is None else jax.lax.axis_size(view.axis_name)
    counts = None
    if not all_fixed(view.masks, method.pattern):
        table = count_table(
            view.masks, targets, scope=method.scope, dist=method.dist, pattern=method.pattern,
            rounding=method.rounding, min_keep=method.min_keep, devices=devices,
        )  # fmt: skip
        counts = counts_at(table, index)
    local = method.scope == "local" or (isinstance(method.scope, str) and method.dist != "uniform")
    masks = masks_by_count(
        scores_of(method.criterion, view),
        counts,
        pattern=method.pattern,
        previous=view.masks if monotone else None,
        groups=tuple(method.scope) if isinstance(method.scope, Mapping) and counts is not None else None,
        min_keep=0 if local else method.min_keep or 0,
        axis_name=view.axis_name,
    )
    return jax.tree.map(lambda old, new: old if new is None else new, view.masks, masks)


def scores_of(criterion: Criterion, view: View) -> PyTree[Array]:
    """Scores of the pruned leaves, high = keep, at least in float32."""
    if callable(criterion):
        scores = criterion(view.params, view.grads)
        return _at_masks(lambda score: score, view.masks, scores)
    if criterion == "random":
        return uniform_like(view.masks, view.key, view.axis_name)
    weights = _at_masks(_wide, view.masks, view.params)
    if criterion == "magnitude":
        return jax.tree.map(jnp.abs, weights)
    if criterion == "magnitude_l2":
        return jax.tree.map(lambda w: jnp.abs(w) / _norm(w, view.axis_name), weights)
    if criterion == "taylor":
        if view.grads is None:
            raise ValueError("the criterion 'taylor' needs gradients: update_masks(..., grads)")
        return jax.tree.map(lambda w, g: jnp.abs(w * g), weights, _at_masks(_wide, view.masks, view.grads))
    if criterion == "adam":
        second = moments_of(view.inner, view.params, "nu")
        if second is None:
            raise ValueError("the criterion 'adam' needs an inner optimiser with second moments, such as optax.adam")
        return jax.tree.map(lambda w, v: w * w * v, weights, _at_masks(_wide, view.masks, second))
    raise ValueError(
        f"criterion must be 'magnitude', 'magnitude_l2', 'taylor', 'adam', 'random' or a function; got {criterion!r}"
    )


def gradual(curve: Curve, initial: float | int, final: Target, begin: int, end: int, every: int) -> list[Target]:
    """Sparsity of every update from begin to end; with a mapping as target, those of every group."""

    def at(step: int) -> Target:
        progress = (step - begin) / (end - begin) if end > begin else 1.0
        if isinstance(final, Mapping):
            return {key: _along(curve, initial, share, progress) for key, share in final.items()}
        return _along(curve, initial, final, progress)

    return [at(step) for step in update_steps(begin, end, every, at_end=True)]


def check_target(method: Any) -> None:
    """Raise ValueError unless the method says once, and in [0, 1), how much is to be removed."""
    if isinstance(method.scope, Mapping):
        if method.sparsity is not None:
            raise ValueError(
                "give a sparsity or a scope that is a mapping of sparsities, not both; "
                f"got {method.sparsity:g} and {dict(method.scope)}"
            )
        if method.dist != "uniform":
            raise ValueError(
                f"dist={method.dist!r} is of one sparsity over the leaves; the scope has a mapping of them"
            )
        for share in method.scope.values():
            check_sparsity(share)
        return
    patterns = method.pattern.values() if isinstance(method.pattern, Mapping) else [method.pattern]
    alone = method.pattern
    fixed = isinstance(alone, FixedPattern) and method.sparsity is not None
    if fixed and abs(check_sparsity(method.sparsity) - (1 - alone.density)) > 1e-9:
        raise ValueError(
            f"{alone.n}:{alone.m} removes {1 - alone.density:g} of every group: leave out the sparsity; got "
            f"{method.sparsity:g}"
        )
    if method.sparsity is not None or not all(isinstance(pattern, FixedPattern) for pattern in patterns):
        check_sparsity(method.sparsity)


def target_of(method: Any) -> Target:
    """What is to be removed at last: a sparsity, or those of the groups of the scope."""
    if isinstance(method.scope, Mapping):
        return method.scope
    return 0.0 if method.sparsity is None else method.sparsity  # None: N:M patterns say it


def check_range(begin: int, end: int, every: int) -> None:
    """Raise ValueError unless 0 <= begin <= end and every >= 1."""
    if every < 1:
        raise ValueError(f"every is a number of steps, at least 1; got {every}")
    if begin < 0 or end < begin:
        raise ValueError(f"the schedule needs 0 <= begin <= end; got begin={begin}, end={end}")


def warn_of_every(begin: int, end: int, every: int) -> None:
    """Warn if a schedule has no update between its first and its last step."""
    if every > end - begin > 0:
        warn(
            f"every={every} is more than the {end - begin} steps from begin={begin} to end={end}: only the first and "
            "the last update happen"
        )


def _along(curve: Curve, initial: float | int, final: float | int, progress: float) -> float:
    if curve == "exponential":
        return 1.0 - (1.0 - initial) * ((1.0 - final) / (1.0 - initial)) ** progress
    if callable(curve):
        left = float(curve(progress))
    elif curve in ("cubic", "linear"):
        left = (1.0 - progress) ** (3 if curve == "cubic" else 1)
    else:
        raise ValueError(f"curve must be 'cubic', 'linear', 'exponential' or a function; got {curve!r}")
    return final + (initial - final) * left


def _at_masks(function: Callable[[Array], Array], masks: PyTree, tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, mask: None if mask is None else function(leaf), tree, masks)


def _wide(leaf: Array) -> Array:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _norm(weight: Array, axis_name: str | None) -> Array:
    """Euclidean norm of a whole leaf, never zero. On many devices it may differ in the last digit."""
    square = jnp.sum(weight * weight)
    square = square if axis_name is None else jax.lax.psum(square, axis_name)
    return jnp.sqrt(jnp.maximum(square, jnp.finfo(weight.dtype).tiny))
