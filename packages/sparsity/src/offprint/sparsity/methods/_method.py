"""What a sparse-training method is: when the masks change, how, and what else it does to a step."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._bibliography import cite
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import map_named


class View(NamedTuple):
    """What a method sees when the masks are about to change."""

    count: Int[Array, ""]  # type: ignore[assignment]  # steps taken so far
    masks: PyTree[Bool[Array, "..."]]  # in force until now, None at leaves that are never pruned
    params: PyTree[Array]
    grads: PyTree[Array]  # with respect to the masked params, also at pruned entries (dense)
    inner: PyTree  # state of the inner optimiser
    own: PyTree  # the method's own state
    key: Key[Array, ""] | None  # for this step alone
    axis_name: str | None  # mesh axis over which pruned leaves are split, inside shard_map


class Change(NamedTuple):
    """What a method makes of it."""

    masks: PyTree[Bool[Array, "..."]]
    own: PyTree = None
    # Weights of entries that were inactive before (None: zeros); of a method that keeps dense weights, all of them.
    values: PyTree | None = None


@dataclass(frozen=True)
class Method:
    """Base of the methods that `sparsify` takes: frozen settings and pure functions of arrays.

    To write your own, subclass it (as a frozen dataclass) and define `due` and `change`, and what else differs.
    """

    _: KW_ONLY
    filter: Filter | None = None  # which leaves are pruned; None: kernels

    grows: ClassVar[bool] = False  # entries may return
    masks_grads: ClassVar[bool] = True  # the inner optimiser sees no gradients of pruned entries
    keeps_dense: ClassVar[bool] = False  # dense weights live on behind the masks (`dense_step`)
    paper: ClassVar[str] = ""  # its key in the bibliography

    def first_masks(self, params: PyTree, key: Key[Array, ""] | None) -> PyTree[Bool[Array, "..."]]:
        """The masks before the first step; the user may give others. Here: everything is kept."""
        return all_true(params, self.filter)

    def first_own(self, params: PyTree, masks: PyTree[Bool[Array, "..."]], key: Key[Array, ""] | None) -> PyTree:
        """The method's own state before the first step. Here: none."""
        return None

    def due(self, count: Int[Array, ""]) -> Bool[Array, ""] | bool:
        """Whether the masks change at this step; plain False if they never do."""
        raise NotImplementedError

    def change(self, view: View) -> Change:
        """The new masks."""
        raise NotImplementedError

    @property
    def target_step(self) -> int | None:
        """The step that makes the masks as sparse as they are meant to be; None if they are so from the start."""
        return None

    def trained_for(self, total: int) -> "Method":
        """The method, knowing the number of steps of the training, for those that are set as a share of it."""
        return self

    @property
    def draws_first(self) -> bool:
        """Whether the first masks are random."""
        return False

    @property
    def draws(self) -> bool:
        """Whether anything later is random."""
        return False

    @property
    def separable(self) -> bool:
        """Whether `change` treats every leaf by itself, and leaves the method's own state as it is."""
        return False

    @property
    def skips_step(self) -> bool:
        """Whether the optimiser does not step when the masks change."""
        return False

    @property
    def resets_moments(self) -> bool:
        """Whether the optimiser forgets all momentum of pruned leaves when the masks change."""
        return False

    @property
    def sets_values(self) -> bool:
        """Whether `change` gives weights; else entries grow at zero, or as they were if dense weights are kept."""
        return False

    def trained(self, view: View) -> PyTree[Bool[Array, "..."]] | None:
        """Only for methods that keep dense weights: those that the optimiser moves; None means all of them."""
        return None

    def before(self, grads: PyTree, view: View) -> tuple[PyTree, PyTree]:
        """At every step: the gradients that the optimiser shall see, and the method's own state."""
        return grads, view.own

    @classmethod
    def citation(cls) -> str:
        """BibTeX entry of the method's paper."""
        return cite(cls.paper)


def all_true(params: PyTree, filter: Filter | None) -> PyTree[Bool[Array, "..."]]:
    """Masks that keep everything: True at the leaves that the filter chooses, None elsewhere."""
    chosen = prunable(params, filter)
    return map_named(lambda path, leaf: jnp.ones(leaf.shape, bool) if path in chosen else None, params)


def is_update_step(count: Int[Array, ""], begin: int, end: int, every: int, at_end: bool) -> Bool[Array, ""]:
    """Whether begin <= count <= end and every | count - begin; the end itself counts if `at_end`, else never."""
    on_grid = (count >= begin) & (count < end) & ((count - begin) % every == 0)
    return on_grid | (count == end) if at_end else on_grid


def update_steps(begin: int, end: int, every: int, at_end: bool) -> list[int]:
    """All the steps for which `is_update_step` holds."""
    steps = list(range(begin, end, every))
    return [*steps, end] if at_end else steps


def update_index(count: Int[Array, ""], begin: int, end: int, every: int, total: int) -> Int[Array, ""]:
    """Which row of a table over `update_steps` is in force at `count` (also between and after update steps)."""
    return jnp.where(count >= end, total - 1, jnp.clip((count - begin) // every, 0, total - 1))
