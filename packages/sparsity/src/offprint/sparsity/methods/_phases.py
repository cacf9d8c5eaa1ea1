"""Sparse and dense phases in turn: AC/DC and DSD."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from offprint.sparsity._counts import Patterns, Rounding, Scope
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity.methods._counts import Dist
from offprint.sparsity.methods._gradual import Criterion, check_range, check_target, prune_to, target_of
from offprint.sparsity.methods._method import Change, Method, View


@dataclass(frozen=True)
class ACDC(Method):
    """Alternating compressed and decompressed training (Peste et al. 2021, `peste2021acdc`).

    Dense until `begin`; then `every` steps sparse, `every` steps dense, and so on; sparse from `end` on for good. Every
    sparse phase starts with the highest scores of the moment, so entries return; in a dense phase they start at zero.
    From memory of the paper, not checked against it.

    Attributes:
        sparsity: of the sparse phases, in [0, 1); none if `scope` is a mapping or the pattern is N:M.
        end: first step of the last, sparse phase; must be given.
        begin: first step of the first sparse phase; by default `every`, after one dense phase, since magnitudes of
            weights that have not been trained say little.
        every: steps of a phase.
        reset: forget the momentum of pruned leaves at every change of phase.
        criterion, scope, dist, pattern, rounding, min_keep: see `GMP`.
    """

    paper: ClassVar[str] = "peste2021acdc"
    grows: ClassVar[bool] = True

    sparsity: float | int | None = None
    end: int = field(kw_only=True)
    begin: int | None = None
    every: int = 1000
    reset: bool = False
    criterion: Criterion = "magnitude"
    scope: Scope = "global"
    dist: Dist = "uniform"
    pattern: Patterns = UNSTRUCTURED
    rounding: Rounding = "nearest"
    min_keep: int | None = None

    def __post_init__(self) -> None:
        check_target(self)
        check_range(self.first, self.end, self.every)

    @property
    def first(self) -> int:
        """First step of the first sparse phase."""
        return self.every if self.begin is None else self.begin

    @property
    def target_step(self) -> int:
        """First step of the last phase."""
        return self.end

    @property
    def draws(self) -> bool:
        """Whether the scores are random."""
        return self.criterion == "random"

    @property
    def resets_moments(self) -> bool:
        """Whether momentum is forgotten."""
        return self.reset

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """When a phase begins."""
        turns = (count >= self.first) & (count < self.end) & ((count - self.first) % self.every == 0)
        return turns | (count == self.end)

    def is_sparse(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """Whether the phase at this step is a sparse one."""
        even = ((count - self.first) // self.every) % 2 == 0
        return (count >= self.end) | ((count >= self.first) & even)

    def change(self, view: View) -> Change:
        """The highest scores, or everything."""
        return alternate(self, view, self.is_sparse(view.count))


@dataclass(frozen=True)
class DSD(Method):
    """Dense, sparse, dense: pruning as a regulariser (Han et al. 2017, `han2017dsd`).

    Dense until `begin`, sparse until `end`, then dense again: what was pruned starts at zero (with a smaller learning
    rate, which is for your schedule to say). The result is a dense network. From memory of the paper, not checked
    against it.

    Attributes:
        sparsity: of the sparse phase; the paper takes 0.25 to 0.5. None if `scope` is a mapping or the pattern is N:M.
        begin: its first step; must be given.
        end: first step of the last dense phase; must be given.
        criterion, scope, dist, pattern, rounding, min_keep: see `GMP`.
    """

    paper: ClassVar[str] = "han2017dsd"
    grows: ClassVar[bool] = True

    sparsity: float | int | None = None
    begin: int = field(kw_only=True)
    end: int = field(kw_only=True)
    criterion: Criterion = "magnitude"
    scope: Scope = "local"
    dist: Dist = "uniform"
    pattern: Patterns = UNSTRUCTURED
    rounding: Rounding = "nearest"
    min_keep: int | None = None

    def __post_init__(self) -> None:
        check_target(self)
        check_range(self.begin, self.end, 1)

    @property
    def target_step(self) -> int:
        """Where the sparse phase begins."""
        return self.begin

    @property
    def draws(self) -> bool:
        """Whether the scores are random."""
        return self.criterion == "random"

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""]:
        """At the two changes of phase."""
        return (count == self.begin) | (count == self.end)

    def change(self, view: View) -> Change:
        """The highest scores, or everything."""
        return alternate(self, view, (view.count >= self.begin) & (view.count < self.end))


def alternate(method: ACDC | DSD, view: View, sparse: Bool[Array, ""]) -> Change:
    """Masks of a phase that is sparse or dense."""
    best = prune_to(method, view, [target_of(method)], 0, monotone=False)
    return Change(jax.tree.map(lambda mask: mask | jnp.logical_not(sparse), best), view.own)
