"""One step of a sparse optimiser: the masks if they are due, then the inner optimiser under them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, PyTree

from offprint.sparsity._apply import pack
from offprint.sparsity._moments import map_moments, mask_moments
from offprint.sparsity._skip import step_unless
from offprint.sparsity._state import SparsifyState, is_packed, unpacked
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.methods._method import Change, Method, View

KEY_IMPL = "threefry2x32"  # whatever kind of key the user has: only 64 bits of it are stored


class Settings(NamedTuple):
    """The arguments of `sparsify`, checked."""

    inner: optax.GradientTransformationExtraArgs
    method: Method
    mask_grads: bool
    explicit: bool
    debug: bool
    unmasked: tuple[str, ...]
    axis_name: str | None


def masked_step(
    settings: Settings, grads: PyTree, state: SparsifyState, params: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, SparsifyState]:
    """Pruned weights are zero in the params; nothing of them is kept."""
    method, old = settings.method, unpacked(state.masks, params)
    if settings.debug:
        check_zeros(old, params, state)
    grads, own = method.before(grads, view_of(state, old, params, grads, settings.axis_name))
    view = view_of(state._replace(own=own), old, params, grads, settings.axis_name)
    due, change, live = due_change(settings, state, view)
    inner = _cleared(settings, state.inner, live, change, due)
    shown = where(live, grads, zeros(grads)) if settings.mask_grads else grads
    weights = where(live, params, zeros(params))
    step = functools.partial(settings.inner.update, **extra)
    if method.skips_step and due is not False:
        updates, inner = step_unless(due, step, shown, inner, weights)
    else:
        updates, inner = step(shown, inner, weights)
    updates = where(live, updates, to_target(params, change))
    return updates, after(state, change, inner, None)


def _cleared(settings: Settings, inner: PyTree, live: PyTree, change: Change, due: Bool[Array, ""] | bool) -> PyTree:
    """The inner state before the step, with zero moments at pruned entries.

    Moments are masked on their way in, not out: an optimiser's update then shares its arithmetic with the state that it
    leaves, in place. Masked afterwards, XLA computes both apart from the old moments, of which it first makes copies.
    """
    if settings.mask_grads:
        inner = mask_moments(inner, live, settings.unmasked)
    elif settings.method.grows and due is not False:
        inner = mask_moments(inner, not_grown(change.masks, live), settings.unmasked)
    if settings.method.resets_moments and due is not False:
        inner = map_moments(lambda leaf, _: jnp.where(due, 0, leaf), inner, change.masks, settings.unmasked)
    return inner


def dense_step(
    settings: Settings, grads: PyTree, state: SparsifyState, params: PyTree, extra: dict[str, Any]
) -> tuple[PyTree, SparsifyState]:
    """The optimiser moves dense weights in its state; the params are these weights under the masks."""
    method, old = settings.method, unpacked(state.masks, params)
    if settings.debug:
        check_zeros(old, params, state)
    weights = merge(state.dense, params)
    grads, own = method.before(grads, view_of(state, old, weights, grads, settings.axis_name))
    trained = method.trained(view_of(state._replace(own=own), old, weights, grads, settings.axis_name))
    if trained is not None:
        grads = where(trained, grads, zeros(grads))
    updates, inner = settings.inner.update(grads, state.inner, weights, **extra)
    if trained is not None:
        updates = where(trained, updates, zeros(updates))
        inner = mask_moments(inner, trained, settings.unmasked)
    moved = optax.apply_updates(weights, updates)
    _, change, _ = due_change(
        settings, state, view_of(state._replace(own=own, inner=inner), old, moved, grads, settings.axis_name)
    )
    moved = merge(change.values, moved) if change.values is not None else moved
    targets = jax.tree.map(
        lambda update, mask, weight, p: update if mask is None else jnp.where(mask, weight - p, -p),
        updates, change.masks, moved, params,
    )  # fmt: skip
    return targets, after(state, change, inner, chosen(moved, change.masks))


def change_now(
    settings: Settings, state: SparsifyState, params: PyTree, grads: PyTree | None
) -> tuple[PyTree, SparsifyState]:
    """Params and state with new masks, between two steps; as they are if the masks are frozen."""
    if isinstance(state.frozen, jax.core.Tracer):
        return jax.lax.cond(state.frozen, lambda: (params, state), lambda: _changed_now(settings, state, params, grads))
    return (params, state) if state.frozen else _changed_now(settings, state, params, grads)


def _changed_now(
    settings: Settings, state: SparsifyState, params: PyTree, grads: PyTree | None
) -> tuple[PyTree, SparsifyState]:
    method, old = settings.method, unpacked(state.masks, params)
    weights = merge(state.dense, params) if method.keeps_dense else params
    change = method.change(view_of(state, old, weights, grads, settings.axis_name))
    if method.keeps_dense:
        weights = merge(change.values, weights) if change.values is not None else weights
        state = state._replace(dense=chosen(weights, change.masks))
        fresh = where(change.masks, weights, zeros(weights))
    else:
        live = jax.tree.map(jnp.logical_and, change.masks, old)
        fresh = optax.apply_updates(params, where(live, zeros(params), to_target(params, change)))
        state = state._replace(inner=_cleared(settings, state.inner, live, change, due=True))
    masks = pack(change.masks) if is_packed(state.masks) else change.masks
    return fresh, state._replace(masks=masks, own=change.own)


def view_of(state: SparsifyState, masks: PyTree, weights: PyTree, grads: PyTree | None, axis_name: str | None) -> View:
    """What the method sees of a state."""
    key = None
    if state.key is not None:
        # The key of a step is a function of the first key and the count: a resumed run draws the same numbers.
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key, impl=KEY_IMPL), state.count)
    return View(state.count, masks, weights, grads, state.inner, state.own, key, axis_name)


def due_change(
    settings: Settings, state: SparsifyState, view: View
) -> tuple[Bool[Array, ""] | bool, Change, PyTree[Bool[Array, "..."]]]:
    """Whether the masks change in this step, those in force from now on, and which entries take part in the step.

    What is pruned now does not take part any more, and what grows now starts after it.
    """
    method = settings.method
    due = False if settings.explicit else method.due(state.count)
    if due is False:
        return False, Change(view.masks, view.own), view.masks

    due = due & ~state.frozen
    if not method.separable:
        return _branch(method, view, due)
    # One branch for each leaf: XLA can then finish a leaf's step before it has the gradients of all the others.
    flat, treedef = jax.tree.flatten(view.masks, is_leaf=lambda leaf: leaf is None)
    places = [place for place, leaf in enumerate(flat) if leaf is not None]

    def alone(place: int) -> View:
        leaves = [leaf if i == place else None for i, leaf in enumerate(flat)]
        return view._replace(masks=jax.tree.unflatten(treedef, leaves))

    parts = [_branch(method, alone(place), due) for place in places]

    def joined(trees: list[PyTree]) -> PyTree:
        leaves: list[Any] = [None] * len(flat)
        for place, tree in zip(places, trees, strict=True):
            (leaves[place],) = jax.tree.leaves(tree)
        return jax.tree.unflatten(treedef, leaves)

    values = joined([change.values for _, change, _ in parts]) if method.sets_values else None
    change = Change(joined([change.masks for _, change, _ in parts]), view.own, values)
    # Its own branch: that of a leaf would make all others wait for that leaf's gradient.
    flag = jax.lax.cond(due, lambda: jnp.ones((), bool), lambda: jnp.zeros((), bool))
    return flag, change, joined([live for _, _, live in parts])


def _branch(method: Method, view: View, due: Bool[Array, ""]) -> tuple[Bool[Array, ""], Change, PyTree]:
    """`method.change` if it is due, and which entries take part in the step."""
    kept: dict[str, Any] = {"own": None} if method.separable else {}  # what does not change need not be copied

    # The branches say themselves which of them was taken: that is one number in memory, where `due` would be computed
    # again from the count at every element of every parameter.
    def changed() -> tuple[Any, ...]:
        change = method.change(view)._replace(**kept)
        both = jax.tree.map(jnp.logical_and, change.masks, view.masks) if method.grows else None
        return jnp.ones((), bool), change, both

    def unchanged() -> tuple[Any, ...]:
        values = chosen(view.params, view.masks) if method.sets_values else None
        same = Change(view.masks, view.own, values)._replace(**kept)
        return jnp.zeros((), bool), same, view.masks if method.grows else None

    due, change, live = jax.lax.cond(due, changed, unchanged)
    return due, change, change.masks if live is None else live


def after(state: SparsifyState, change: Change, inner: PyTree, dense: PyTree | None) -> SparsifyState:
    """The next state."""
    masks = pack(change.masks) if is_packed(state.masks) else change.masks
    count = optax.safe_increment(state.count)
    return state._replace(count=count, masks=masks, own=change.own, dense=dense, inner=inner)


def to_target(params: PyTree, change: Change) -> PyTree:
    """Updates of the entries that are not live: to zero, or to the value with which they grow."""
    if change.values is None:
        return jax.tree.map(jnp.negative, params)
    return jax.tree.map(
        lambda p, value, mask: p if mask is None else jnp.where(mask, value.astype(p.dtype), 0) - p,
        params, change.values, change.masks,
    )  # fmt: skip


def where(masks: PyTree, chosen: PyTree, other: PyTree) -> PyTree:
    """`chosen` where the mask is True or there is none, else `other`."""
    return jax.tree.map(lambda a, mask, b: a if mask is None else jnp.where(mask, a, b), chosen, masks, other)


def zeros(tree: PyTree) -> PyTree:
    """A scalar zero for every leaf, of its type."""
    return jax.tree.map(lambda leaf: jnp.zeros((), leaf.dtype), tree)


def not_grown(masks: PyTree, live: PyTree) -> PyTree:
    """True but at entries that are active now and were not before; `live` are those that were and are."""
    return jax.tree.map(lambda new, both: ~new | both, masks, live)


def chosen(tree: PyTree, masks: PyTree) -> PyTree:
    """`tree` with `None` where `masks` have it."""
    return jax.tree.map(lambda leaf, mask: None if mask is None else leaf, tree, masks)


def merge(dense: PyTree, params: PyTree) -> PyTree:
    """`params` with the dense weights where there are any."""
    return jax.tree.map(lambda p, weight: p if weight is None else weight, params, dense)


def check_zeros(masks: PyTree, params: PyTree, state: SparsifyState) -> None:
    """Raise ValueError, at once or from inside the compiled program, if a pruned weight is not zero after a step."""
    wrong = {
        path: jnp.any(jnp.where(mask, False, leaf != 0)) & (state.count > 0)
        for (path, leaf), (_, mask) in zip(named_leaves(params), named_leaves(masks), strict=True)
        if mask is not None
    }

    def complain(wrong: dict[str, Any]) -> None:
        paths = [path for path, flag in wrong.items() if np.any(flag)]
        if paths:
            raise ValueError(
                f"pruned weights of {', '.join(paths)} are not zero after a step: sparsify must be the outermost "
                "transformation (what scales its updates afterwards breaks p + (-p) = 0), and params must be masked "
                "with apply(params, masks) after set_masks"
            )

    if any(isinstance(flag, jax.core.Tracer) for flag in wrong.values()):
        jax.debug.callback(complain, wrong)
    else:
        complain(wrong)
