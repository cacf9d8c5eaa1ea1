"""One optax optimiser for K partitions, each of which it treats as if the others weren't there."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from offprint.network_partitioning._independent import Independent
from offprint.network_partitioning._partition import Partition


def partitioned(tx: optax.GradientTransformation, part: Partition | Independent) -> Any:
    """`tx` applied to each partition on its own: gradients, weights and state outside of it are zeros to `tx`.

    `update(grads, state, params, active=k)` updates partition k = 1..K (it may be traced) and leaves the moments of
    all others as they are; with `active=None` all partitions are updated, each by itself. So the weights of
    partition j depend on the first j shards whatever `tx` does, global-norm clipping and trust ratios included.
    Masking the gradients alone would not do: zero gradients decay Adam's moments, momentum goes on moving the
    weights, and decoupled weight decay shrinks them.

    What `tx` keeps for each parameter is kept once; what else it keeps (step counters, learning rates) has a leading
    axis of K, so that bias correction and learning-rate schedules count each partition's own updates.

    Args:
        tx: any optax optimiser whose state for a parameter has that parameter's shape.
        part: the partition of the parameters.

    Returns:
        An `optax.GradientTransformationExtraArgs`; `update` returns zeros for what isn't updated.

    Raises:
        ValueError: (from `init`) a state for a parameter has another shape, as Adafactor's row means do, and can't be
            divided among partitions.
    """
    inner = optax.with_extra_args_support(tx)

    def labels_of(state: PyTree) -> list[Any]:
        """For each leaf of the state, the ids of the parameter that it belongs to, or False."""

        def label(leaf: Any, ids: Array) -> Any:
            return leaf if isinstance(leaf, optax.MaskedNode) else ids

        labels = optax.tree_utils.tree_map_params(
            inner, label, state, part.ids, transform_non_params=lambda _: False, is_leaf=_is_masked
        )
        return jax.tree.leaves(labels)

    def init(params: PyTree) -> PyTree:
        state = inner.init(params)
        leaves, treedef = jax.tree.flatten(state)
        labels = labels_of(state)
        for leaf, label in zip(leaves, labels, strict=True):
            if label is not False and leaf.shape != label.shape:
                raise ValueError(
                    f"the optimiser keeps a state of shape {leaf.shape} for a parameter of shape {label.shape}, which "
                    "can't be divided among partitions; take one that keeps its state element by element, such as adam"
                )
        return jax.tree.unflatten(
            treedef,
            [
                jnp.broadcast_to(leaf, (part.num, *jnp.shape(leaf))) if label is False else leaf
                for leaf, label in zip(leaves, labels, strict=True)
            ],
        )

    def update_one(grads: PyTree, state: PyTree, params: PyTree, k: int | Int[Array, ""], extra: Any) -> Any:
        def own(tree: PyTree) -> PyTree:
            return jax.tree.map(lambda ids, x: jnp.where(ids == k - 1, x, 0), part.ids, tree)

        leaves, treedef = jax.tree.flatten(state)
        labels = labels_of(state)
        mine = jax.tree.unflatten(
            treedef,
            [
                leaf[k - 1] if ids is False else jnp.where(ids == k - 1, leaf, 0)
                for leaf, ids in zip(leaves, labels, strict=True)
            ],
        )
        updates, mine = inner.update(own(grads), mine, None if params is None else own(params), **extra)
        state = jax.tree.unflatten(
            treedef,
            [
                old.at[k - 1].set(new) if ids is False else jnp.where(ids == k - 1, new, old)
                for old, new, ids in zip(leaves, jax.tree.leaves(mine), labels, strict=True)
            ],
        )
        return own(updates), state

    def update(
        grads: PyTree,
        state: PyTree,
        params: PyTree | None = None,
        *,
        active: int | Int[Array, ""] | None = None,
        **extra: Any,
    ) -> tuple[PyTree, PyTree]:
        if active is not None:
            return update_one(grads, state, params, active, extra)
        total = None
        for k in range(1, part.num + 1):
            updates, state = update_one(grads, state, params, k, extra)
            # The sum of updates of which all but one are zero: exact.
            total = updates if total is None else jax.tree.map(jnp.add, total, updates)
        return total, state

    return optax.GradientTransformationExtraArgs(init, update)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)
