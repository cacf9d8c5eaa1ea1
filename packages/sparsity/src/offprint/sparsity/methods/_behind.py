"""Methods whose pruned weights live on behind the masks, in the optimiser's state, and may come back as they were."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from offprint.sparsity._counts import Patterns, Rounding, Scope, check_sparsity
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist, all_true
from offprint.sparsity.methods._gradual import (
    GMP,
    Criterion,
    Curve,
    check_range,
    check_target,
    gradual,
    prune_to,
    target_of,
    warn_of_every,
)
from offprint.sparsity.methods._method import Change, Method, View, is_update_step, update_index
from offprint.sparsity.methods._units import pick


@dataclass(frozen=True)
class DPF(GMP):
    """Dynamic model pruning with feedback: w <- w - η g(m w), with dense w (Lin et al. 2020, `lin2020dpf`).

    The optimiser moves dense weights by the gradient at the masked ones, so that what was pruned too early returns.
    With `every=1` and `begin=end` it is the straight-through estimator. The dense weights are in the optimiser's state:
    the params that you see are masked, with no hook before the forward pass. From memory of the paper, not checked
    against it.

    Attributes:
        sparsity, end, begin, initial, curve: the sparsity over time, see `GMP`; the masks move on after `end`.
        every: steps between updates; the paper takes 16.
        criterion, scope, dist, pattern, rounding, min_keep: see `GMP`.
    """

    paper: ClassVar[str] = "lin2020dpf"
    keeps_dense: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    every: int = 16
    scope: Scope = "global"

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """From begin on, every so many steps, for ever; and at the end of the curve."""
        return is_update_step(count, self.begin, 2**31 - 1, self.every, at_end=False) | (count == self.end)

    def change(self, view: View) -> Change:
        """The highest scores of the dense weights."""
        sparsities = self.sparsities()
        index = update_index(view.count, self.begin, self.end, self.every, len(sparsities))
        return Change(prune_to(self, view, sparsities, index, monotone=False), view.own)


@dataclass(frozen=True)
class TopKAST(Method):
    """Top-KAST: forward through the top D of the weights, backward into the top D + M (`jayakumar2020topkast`).

    Per leaf, A are the `forward` share of the largest |w|, B the `backward` share. The params are w on A and zero
    elsewhere; only weights of B are trained, by the gradient and by the penalty λ (½‖w_A‖² + ½‖w_{B∖A}‖² / D), D being
    the forward density; the rest keep their values. Weights outside A live in the optimiser's state.

    Attributes:
        forward: density of A, in (0, 1].
        backward: density of B, at least `forward`.
        every: steps between updates of both sets.
        penalty: λ; the optimiser sees its gradient.
        pattern: what is pruned as one.
        filter: which leaves; default: kernels.
    """

    paper: ClassVar[str] = "jayakumar2020topkast"
    keeps_dense: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    forward: float = 0.1
    backward: float = 0.5
    every: int = 1
    penalty: float = 1e-4
    pattern: Patterns = UNSTRUCTURED

    def __post_init__(self) -> None:
        if not 0 < self.forward <= self.backward <= 1:
            raise ValueError(f"densities need 0 < forward <= backward <= 1; got {self.forward:g} and {self.backward:g}")
        check_range(0, 0, self.every)

    def sets(self, weights: PyTree, masks: PyTree, axis_name: str | None) -> tuple[PyTree, PyTree]:
        """(A, B) of these weights."""
        settings = _Sizes(self.pattern)
        view = View(jnp.zeros((), jnp.int32), masks, weights, None, None, None, None, axis_name)
        shares = [1 - self.forward, 1 - self.backward]
        first, second = (prune_to(settings, view, shares, row, monotone=False) for row in (0, 1))
        return first, second

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """The largest initial weights."""
        return self.sets(params, all_true(params, self.filter), None)[0]

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """B."""
        return jax.tree.map(jnp.logical_or, self.sets(params, masks, None)[1], masks)

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """Every so many steps, for ever."""
        return (count + 1) % self.every == 0

    def trained(self, view: View) -> PyTree[Bool[Array, "..."]]:
        """B."""
        return view.own

    def before(self, grads: PyTree, view: View) -> tuple[PyTree, PyTree]:
        """Add the gradient of the penalty."""
        penalty = topkast_penalty_gradient(view.params, view.masks, view.own, self.forward)
        grads = jax.tree.map(
            lambda g, extra: g if extra is None else g + self.penalty * extra.astype(g.dtype), grads, penalty
        )
        return grads, view.own

    def change(self, view: View) -> Change:
        """Both sets anew."""
        return Change(*self.sets(view.params, view.masks, view.axis_name))


@dataclass(frozen=True)
class _Sizes:
    """What `prune_to` wants to know, for sets by |w| in every leaf."""

    pattern: Patterns
    criterion: Criterion = "magnitude"
    scope: Scope = "local"
    dist: Dist = "uniform"
    rounding: Rounding = "nearest"
    min_keep: int | None = None


def topkast_penalty(
    weights: PyTree[Float[Array, "..."]], forward: PyTree, backward: PyTree, density: float
) -> Float[Array, ""]:
    """½‖w_A‖² + ½‖w_{B∖A}‖² / D of Top-KAST (`jayakumar2020topkast`); leaves without masks take no part."""

    def of_leaf(w: Array, a: Any, b: Any) -> Array | None:
        if a is None:
            return None
        return 0.5 * jnp.sum(jnp.where(a, w, 0) ** 2) + 0.5 / density * jnp.sum(jnp.where(b & ~a, w, 0) ** 2)

    return jnp.sum(jnp.stack(jax.tree.leaves(jax.tree.map(of_leaf, weights, forward, backward))))


def topkast_penalty_gradient(weights: PyTree, forward: PyTree, backward: PyTree, density: float) -> PyTree:
    """Its gradient: w on A, w / D on B without A, zero elsewhere; None at leaves without masks."""
    return jax.tree.map(
        lambda w, a, b: None if a is None else jnp.where(a, w, jnp.where(b, w / density, 0)),
        weights, forward, backward,
    )  # fmt: skip


@dataclass(frozen=True)
class Movement(Method):
    """Movement pruning: keep the weights that move away from zero (Sanh et al. 2020, `sanh2020movement`).

    Scores S start at zero and S <- S - α w g at every step, g being the gradient with respect to the masked weight and
    w the weight itself, also where it is pruned (straight through); the masks keep the highest scores. Pruned weights
    wait, unchanged, in the optimiser's state, and may come back. Scores are at least float32: they are sums of many
    small terms, which shorter numbers would swallow.

    Attributes:
        sparsity, end, begin, every, initial, curve: the sparsity over time, see `GMP`; the masks move on after `end`.
        score_rate: the learning rate α of the scores.
        soft: keep where σ(S) > `threshold` instead of a given number; the sparsity follows from `penalty`, which is
            λ in the loss λ Σ σ(S).
        threshold: τ of the soft variant.
        penalty: λ of the soft variant.
        scope, pattern, rounding, min_keep: see `GMP`.
    """

    paper: ClassVar[str] = "sanh2020movement"
    keeps_dense: ClassVar[bool] = True
    grows: ClassVar[bool] = True

    sparsity: float | int | None = None
    end: int = 0
    begin: int = 0
    every: int = 1
    initial: float | int = 0.0
    curve: Curve = "cubic"
    score_rate: float = 1e-2
    soft: bool = False
    threshold: float = 0.1
    penalty: float = 0.0
    scope: Scope = "global"
    dist: Dist = "uniform"
    pattern: Patterns = UNSTRUCTURED
    rounding: Rounding = "nearest"
    min_keep: int | None = None

    def __post_init__(self) -> None:
        check_sparsity(self.initial)
        check_range(self.begin, self.begin if self.soft else self.end, self.every)
        if not self.soft:
            check_target(self)
            warn_of_every(self.begin, self.end, self.every)
        elif self.pattern != UNSTRUCTURED:
            raise ValueError("soft movement pruning is of single weights: it needs pattern=UNSTRUCTURED")
        elif self.sparsity is not None or not isinstance(self.scope, str):
            raise ValueError("the sparsity of soft movement pruning follows from penalty and threshold: leave it out")

    @property
    def target_step(self) -> int | None:
        """The end of the curve."""
        return None if self.soft else self.end

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """The scores."""
        return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)), pick(params, masks))

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """From begin on, every so many steps, for ever; and at the end of the curve."""
        return is_update_step(count, self.begin, 2**31 - 1, self.every, at_end=False) | (count == self.end)

    def trained(self, view: View) -> PyTree[Bool[Array, "..."]]:
        """The weights in force: the others have no gradient."""
        return view.masks

    def before(self, grads: PyTree, view: View) -> tuple[PyTree, PyTree]:
        """Move the scores."""

        def moved(score: Array, weight: Array, grad: Array) -> Array:
            slope = jax.nn.sigmoid(score) * jax.nn.sigmoid(-score) if self.soft else 0.0
            step = weight.astype(score.dtype) * grad.astype(score.dtype) + self.penalty * slope
            return score - (self.score_rate * step).astype(score.dtype)

        return grads, jax.tree.map(moved, view.own, pick(view.params, view.masks), pick(grads, view.masks))

    def change(self, view: View) -> Change:
        """The highest scores, or all above the threshold."""
        if self.soft:
            return Change(jax.tree.map(lambda score: jax.nn.sigmoid(score) > self.threshold, view.own), view.own)
        sparsities = gradual(self.curve, self.initial, target_of(self), self.begin, self.end, self.every)
        index = update_index(view.count, self.begin, self.end, self.every, len(sparsities))
        scored = view._replace(params=view.own)
        return Change(prune_to(_ByScore(self), scored, sparsities, index, monotone=False), view.own)


class _ByScore:
    """The settings of a movement method, with its scores, sign and all, as the criterion."""

    def __init__(self, method: Movement) -> None:
        self.scope, self.dist, self.pattern = method.scope, method.dist, method.pattern
        self.rounding, self.min_keep = method.rounding, method.min_keep

    @staticmethod
    def criterion(scores: PyTree, grads: PyTree) -> PyTree:
        """The scores themselves."""
        del grads
        return scores
