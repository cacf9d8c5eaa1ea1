"""The wrapper: any optax optimiser, with masks. Pure arrays in and out, no hook after the step.

The update that leaves it is u = where(mask, inner update, -p): `optax.apply_updates` then makes a pruned weight
p + (-p), which is exactly zero, whatever the inner optimiser did (weight decay, momentum, sign, orthogonalisation).
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Key, PyTree

from offprint.sparsity._apply import as_masks, pack
from offprint.sparsity._state import SparsifyState, change_state, find_state, refill, unpacked
from offprint.sparsity._step import Settings, change_now, chosen, dense_step, masked_step
from offprint.sparsity._tree import check_same
from offprint.sparsity._warning import warn
from offprint.sparsity.methods._method import Method


class Sparsified(optax.GradientTransformationExtraArgs):
    """What `sparsify` returns: an optax transformation that remembers its method and its other settings."""

    method: Method
    settings: Settings


def sparsify(
    inner: optax.GradientTransformation,
    method: Method,
    *,
    key: Key[Array, ""] | None = None,
    masks: PyTree | None = None,
    mask_grads: bool | None = None,
    packed: bool = False,
    when: Literal["auto", "explicit"] = "auto",
    unmasked: Sequence[str] = (),
    axis_name: str | None = None,
    total: int | None = None,
    debug: bool = False,
) -> Sparsified:
    """An optax optimiser that trains sparse: `tx = sparsify(optax.adamw(1e-3), GMP(sparsity=0.9, end=10_000))`.

    Use it like any optimiser (`optax.apply_updates`, `nnx.Optimizer`, under jit, vmap, scan, with sharded params).
    From the step on at which the masks change, pruned weights are exactly 0.0 after every `apply_updates`. It must be
    the outermost transformation that changes updates: what scales them afterwards breaks p + (-p) = 0 (`debug` finds
    out). `optax.MultiSteps` may stand outside (masks change once per accumulated step) or inside.

    Methods that start sparse (Static, SET, RigL, ...) prune with the first update. To have the first forward pass
    sparse as well: `params = apply(params, masks_of(opt_state))`.

    Unlike jaxpruner's wrapper it needs no `post_gradient_update`, takes any pytree and any optax optimiser (moments are
    found by path and shape, see `mask_moments`), and under vmap the masks are only computed when they are due
    (`vmap_axes`).

    Args:
        inner: the optimiser of the weights that are there.
        method: how the masks change (`OneShot`, `GMP`, `Static`, `SET`, `RigL`, ...).
        key: for methods that draw random numbers.
        masks: first masks like the params, instead of the method's own; True = keep.
        mask_grads: whether the inner optimiser sees zero gradients, and keeps zero moments, at pruned entries. Default:
            what the method needs (True; False for SNFS). With False the moments of grown entries are zeroed when they
            grow.
        packed: keep masks as bits, 1/8 of the memory and a little more work at every step.
        when: 'explicit': masks change only in `update_masks`, which you call between steps.
        unmasked: shell patterns of paths in the inner state that are never masked.
        axis_name: mesh axis over which all pruned leaves are split along their first axis, in equal blocks, when
            `update` is called inside `shard_map`. The masks are then those of one device, random ones too. (With the
            criterion 'magnitude_l2' a norm may differ in its last digit, and grown weights of `grow_init='normal'`
            do.) Call `init` outside, on the whole params.
        total: length of the training in steps of this optimiser, to be warned if it is over before the method has
            reached its sparsity; RigL and its kin take their `end` as a share of it.
        debug: check at every step that pruned weights were zero, which tells of a transformation behind this one.
            Without jit that is a ValueError. Under jit it is a `jax.errors.JaxRuntimeError` that quotes the ValueError,
            raised by the call or, where JAX runs ahead, by the first use of its results.

    Raises:
        TypeError: `inner` is no optax transformation, or `method` no method.
        ValueError: the method needs a key and has none; total < 1. In `init`: first masks that are counted over whole
            leaves, inside `shard_map`. In `update`: no params; grads unlike params.
    """
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise TypeError(f"sparsify needs an optax optimiser to wrap; got {type(inner).__name__}")
    if not isinstance(method, Method):
        raise TypeError(f"sparsify needs a method such as GMP(sparsity=0.9, end=1000); got {type(method).__name__}")
    if key is None and (method.draws or (method.draws_first and masks is None)):
        raise ValueError(f"{type(method).__name__} draws random numbers: pass sparsify(..., key=jax.random.key(0))")
    if when not in ("auto", "explicit"):
        raise ValueError(f"when must be 'auto' or 'explicit'; got {when!r}")
    if total is not None:
        method = _trained_for(method, total)
    settings = Settings(
        inner=optax.with_extra_args_support(inner),
        method=method,
        mask_grads=method.masks_grads if mask_grads is None else mask_grads,
        explicit=when == "explicit",
        debug=debug,
        unmasked=tuple(unmasked),
        axis_name=axis_name,
    )

    def init(params: PyTree) -> SparsifyState:
        _check_whole(method, axis_name)
        first = method.first_masks(params, key) if masks is None else as_masks(masks)
        check_same(params, first, "masks")
        return SparsifyState(
            count=jnp.zeros((), jnp.int32),
            frozen=jnp.zeros((), bool),
            masks=pack(first) if packed else first,
            key=None if key is None else jax.random.bits(key, (2,), jnp.uint32),
            own=method.first_own(params, first, key),
            dense=chosen(params, first) if method.keeps_dense else None,
            inner=settings.inner.init(params),
        )

    def update(
        grads: PyTree, state: SparsifyState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, SparsifyState]:
        if params is None:
            raise ValueError("sparsify needs params: call update(grads, state, params)")
        check_same(params, grads, "grads")
        check_same(params, unpacked(state.masks, params), "masks in the optimiser's state")
        step = dense_step if method.keeps_dense else masked_step
        return step(settings, grads, state, params, extra)

    transformation = Sparsified(init, update)
    transformation.method, transformation.settings = method, settings
    return transformation


def _trained_for(method: Method, total: int) -> Method:
    """The method for a training of that length."""
    if total < 1:
        raise ValueError(f"total is the number of steps of the training, at least 1; got {total}")
    reached = method.target_step
    if reached is not None and reached >= total:
        warn(
            f"the target sparsity is never reached: {type(method).__name__} comes to it at step {reached}, counted "
            f"from 0, of a training of {total} steps"
        )
    return method.trained_for(total)


def _check_whole(method: Method, axis_name: str | None) -> None:
    """Raise ValueError where first masks would be those of a block of every leaf."""
    if axis_name is None or (
        type(method).first_masks is Method.first_masks and type(method).first_own is Method.first_own
    ):
        return
    try:
        jax.lax.axis_size(axis_name)
    except NameError:  # not inside
        return
    raise ValueError(
        f"the first masks of {type(method).__name__} are counted over whole leaves: call init outside shard_map"
    )


def update_masks(
    method: Method | Sparsified, opt_state: PyTree, params: PyTree, grads: PyTree | None = None
) -> tuple[PyTree, PyTree]:
    """Change the masks now, between two steps: (params, opt_state) with the new masks applied.

    For `sparsify(..., when='explicit')`: scan or loop over some steps without any mask arithmetic in the program, then
    call this (jitted). The schedule is read at the number of steps taken so far; after `freeze` nothing changes. Works
    wherever `sparsify` stands in the state, also on what NNX keeps:

        params, opt_state = update_masks(tx, optimizer.opt_state, nnx.state(model, nnx.Param), grads)
        nnx.update(model, params)
        nnx.update(optimizer.opt_state, nnx.state(opt_state))

    Args:
        method: what `sparsify` returned, or the method alone if `sparsify` had no other settings.
        opt_state: the optimiser's state.
        params: the masked params.
        grads: dense gradients at the params, for methods that score by them (RigL, NeST, Taylor).

    Returns:
        Both as they came in, with the same containers.

    Raises:
        ValueError: no `sparsify` in the state, or the method scores by gradients and there are none; masks or grads of
            another model.
    """
    if isinstance(method, Sparsified):
        settings = method.settings
    else:
        inner = optax.with_extra_args_support(optax.identity())
        settings = Settings(inner, method, method.masks_grads, explicit=True, debug=False, unmasked=(), axis_name=None)
    state, weights, slopes = find_state(nnx.as_pure(opt_state)), nnx.as_pure(params), nnx.as_pure(grads)
    if state.key is None and settings.method.draws:
        raise ValueError(
            f"{type(settings.method).__name__} draws random numbers: make the optimiser with sparsify(..., key=...)"
        )
    check_same(weights, unpacked(state.masks, weights), "masks in the optimiser's state")
    if slopes is not None:
        check_same(weights, slopes, "grads")
    fresh, after = change_now(settings, state, weights, slopes)
    return refill(params, fresh), change_state(opt_state, lambda node: refill(node, after))
