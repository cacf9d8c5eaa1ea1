"""The state of `sparsify`, wherever it is inside an optimiser's state, and what may be done with it between steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int, PyTree

from offprint.sparsity._apply import as_masks, pack, unpack
from offprint.sparsity._tree import check_same


class SparsifyState(NamedTuple):
    """State of `sparsify`: arrays only, so it is saved, sharded and scanned like the params."""

    count: Int[Array, ""]  # type: ignore[assignment]  # int32: steps taken
    frozen: Bool[Array, ""]  # True: the masks change no more
    masks: PyTree  # bool like the params (uint8 if packed), None at leaves that are never pruned
    key: Array | None  # key data (uint32) of the method's random numbers
    own: PyTree  # the method's own state
    dense: PyTree | None  # weights behind the masks, for methods that keep them
    inner: PyTree  # state of the inner optimiser


def masks_of(opt_state: PyTree, params: PyTree | None = None) -> PyTree[Bool[Array, "..."]]:
    """The masks now in force, wherever `sparsify` stands in the optimiser (`optax.chain`, `MultiSteps`, `nnx`).

    Args:
        opt_state: what `tx.init` or `tx.update` returned, or the `opt_state` of an `nnx.Optimizer`.
        params: only needed to unpack packed masks; an `nnx.State` will do.

    Returns:
        Bool arrays like the params, True = keep, `None` at leaves that are never pruned.

    Raises:
        ValueError: there is no `sparsify` in the optimiser, or more than one; or masks are packed and params missing.
    """
    return unpacked(nnx.as_pure(find_state(opt_state).masks), nnx.as_pure(params))


def set_masks(opt_state: PyTree, masks: PyTree[Array]) -> PyTree:
    """The optimiser's state with other masks: your own, a ticket's, those of a pruning at initialisation.

    Apply them to the params too (`apply(params, masks)`); the next step would do it as well, but the next forward pass
    comes first. Entries that become active start without momentum only if their moments are zero, as they are when
    they were masked before.

    Raises:
        ValueError: the masks have other leaves or shapes than those in force, or numbers other than 0 and 1.
    """
    masks = as_masks(masks)

    def changed(state: SparsifyState) -> SparsifyState:
        fresh = pack(masks) if is_packed(state.masks) else masks
        check_same(nnx.as_pure(state.masks), fresh, "masks")
        return state._replace(masks=refill(state.masks, fresh))

    return change_state(opt_state, changed)


def freeze(opt_state: PyTree) -> PyTree:
    """The optimiser's state with masks that change no more, in no step and by no `update_masks`: fine-tuning."""
    return change_state(
        opt_state, lambda state: state._replace(frozen=refill(state.frozen, jnp.ones_like(nnx.as_pure(state.frozen))))
    )


def vmap_axes(opt_state: PyTree) -> PyTree:
    """`in_axes` and `out_axes` for an optimiser's state under `jax.vmap` over seeds: step counters stay unbatched.

    With a batched counter `jax.lax.cond` becomes a select, and the masks would be computed anew at every step:

        axes = vmap_axes(jax.eval_shape(tx.init, params_of_one_seed))
        states = jax.vmap(tx.init, out_axes=axes)(params)
        step = jax.vmap(step, in_axes=(0, axes, 0), out_axes=(0, axes))

    Made like this, all seeds have the key that `sparsify(..., key=key)` was given, so the same first random masks, and
    they draw the same numbers later. For keys of their own make the optimiser inside, where it can be given one:

        states = jax.vmap(lambda p, key: sparsify(inner, method, key=key).init(p), out_axes=axes)(params, keys)

    The key is in the state from then on: any `tx` of the same settings may `update` it.
    """

    def axes(node: Any) -> Any:
        if isinstance(node, SparsifyState):
            inner = vmap_axes(node.inner)
            return SparsifyState(count=None, frozen=None, masks=0, key=0, own=0, dense=0, inner=inner)  # type: ignore[arg-type]
        if isinstance(node, optax.MultiStepsState):
            fields = {name: vmap_axes(field) for name, field in node._asdict().items()}
            return node._replace(**(fields | {"mini_step": None, "gradient_step": None}))
        return 0

    return jax.tree.map(axes, opt_state, is_leaf=lambda node: isinstance(node, SparsifyState | optax.MultiStepsState))


def find_state(opt_state: PyTree) -> SparsifyState:
    """The one `SparsifyState` inside an optimiser's state."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, SparsifyState))
    found = [leaf for leaf in leaves if isinstance(leaf, SparsifyState)]
    if len(found) != 1:
        raise ValueError(
            f"the optimiser's state has {len(found)} states of sparsify, not one; wrap it in sparsify once"
        )
    return found[0]


def is_packed(masks: PyTree) -> bool:
    """Whether masks are bits in bytes."""
    return any(leaf.dtype == jnp.uint8 for leaf in jax.tree.leaves(masks))


def unpacked(masks: PyTree, params: PyTree | None) -> PyTree[Bool[Array, "..."]]:
    """Masks as bool arrays."""
    if not is_packed(masks):
        return masks
    if params is None:
        raise ValueError("the masks are packed: pass the params, whose shapes are needed to unpack them")
    return unpack(masks, params)


def change_state(opt_state: PyTree, change: Callable[[SparsifyState], SparsifyState]) -> PyTree:
    find_state(opt_state)
    is_ours = lambda node: isinstance(node, SparsifyState)  # noqa: E731
    return jax.tree.map(lambda node: change(node) if is_ours(node) else node, opt_state, is_leaf=is_ours)


def refill(old: PyTree, new: PyTree) -> PyTree:
    """`new` in the containers of `old`: NNX keeps every array of an optimiser's state in a variable."""
    return jax.tree.unflatten(jax.tree.structure(old), jax.tree.leaves(new))
