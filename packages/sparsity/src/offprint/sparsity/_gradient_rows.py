"""Gradients of single examples as rows, of the leaves that are pruned."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import map_named, named_leaves

Grads = PyTree | Iterator[PyTree] | Callable[[], Any]


def per_example_grads(
    loss: Callable[[PyTree, PyTree], Any],
    params: PyTree,
    batch: PyTree,
    *,
    filter: Filter | None = None,
    microbatch: int | None = None,
) -> PyTree:
    """The gradient of the loss of every example with respect to the leaves that are pruned.

    A row may also be the gradient of a small batch: give `batch` one more axis and `loss` the mean over it.

    Args:
        loss: `loss(params, example)`, a scalar.
        params: pytree of arrays.
        batch: pytree with leading axis m, one example each.
        filter: which leaves; `kernels` by default. The others are `None` in the result.
        microbatch: examples that are differentiated at a time; all by default.

    Returns:
        Tree of params with leaves (m, *shape), which `WoodFisher.fit` takes.

    Raises:
        ValueError: the filter chooses no leaf, or microbatch < 1.
    """
    prunable(params, filter)
    if microbatch is not None and microbatch < 1:
        raise ValueError(f"microbatch must be at least 1 (or None for all examples at once), but is {microbatch}")
    rows = _rows(loss, filter, microbatch, params, batch)
    return map_named(lambda path, leaf: rows.get(path), params)


# Jitted here, so that the same loss is compiled once however often its gradients are taken.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _rows(
    loss: Callable[[PyTree, PyTree], Any], filter: Filter | None, microbatch: int | None, params: PyTree, batch: PyTree
) -> dict[str, Array]:
    chosen = prunable(params, filter)

    def of_chosen(leaves: dict[str, Array], example: PyTree) -> Any:
        return loss(map_named(lambda path, leaf: leaves.get(path, leaf), params), example)

    gradient = jax.grad(of_chosen)
    if microbatch is None:
        return jax.vmap(gradient, in_axes=(None, 0))(chosen, batch)
    return jax.lax.map(lambda example: gradient(chosen, example), batch, batch_size=microbatch)


def collect(grads: Any) -> PyTree:
    """One tree of rows from a tree, an iterator of trees or a function that gives either; on the host if on the CPU."""
    if callable(grads):
        grads = grads()
    if isinstance(grads, Iterator):
        grads = _concatenated(grads)
    rows = map_named(_placed, grads)
    leaves = [(path, leaf) for path, leaf in named_leaves(rows) if leaf is not None]
    if not leaves:
        raise ValueError("there are no gradients: every leaf is None; which leaves does the filter choose?")
    first, m = leaves[0][0], leaves[0][1].shape[0]
    for path, leaf in leaves:
        if leaf.shape[0] != m:
            raise ValueError(
                f"every leaf of the gradients needs as many rows: {first!r} has {m}, {path!r} has {leaf.shape[0]}"
            )
        if not isinstance(leaf, jax.core.Tracer) and not bool(np.all(np.isfinite(np.asarray(leaf.sum(axis=0))))):
            raise ValueError(f"the gradients of {path!r} are not finite")
    return rows


def masked(rows: PyTree, masks: PyTree) -> PyTree:
    """The rows with zeros where the masks prune."""
    return map_named(
        lambda path, leaf, keep: leaf if leaf is None or keep is None else leaf * _beside(leaf, keep), rows, masks
    )


def _beside(leaf: Any, keep: Any) -> Any:
    host = isinstance(leaf, np.ndarray) and not isinstance(keep, jax.core.Tracer)
    return np.asarray(keep, leaf.dtype) if host else jnp.asarray(keep, leaf.dtype)


def _concatenated(parts: Iterator[PyTree]) -> PyTree:
    trees = list(parts)
    if not trees:
        raise ValueError("the iterator of gradients gave nothing")
    pieces = [[leaf for _, leaf in named_leaves(tree)] for tree in trees]
    structure = jax.tree.structure(trees[0], is_leaf=lambda leaf: leaf is None)
    trees.clear()
    joined = []
    for index in range(len(pieces[0])):
        # What has been joined is let go at once, so that there are never two copies of everything.
        column = [_placed("", piece[index]) for piece in pieces]
        for piece in pieces:
            piece[index] = None
        joined.append(
            None if column[0] is None else (np if isinstance(column[0], np.ndarray) else jnp).concatenate(column)
        )
    return jax.tree.unflatten(structure, joined)


def _placed(path: str, leaf: Any) -> Any:
    """A NumPy array of what is on the CPU (without copying), a JAX array of the rest."""
    if leaf is None:
        return None
    if leaf.ndim < 2 or not jnp.issubdtype(leaf.dtype, jnp.floating):
        raise ValueError(
            f"the gradients of {path!r} must be floats of shape (rows, *shape of the leaf), but are {leaf.dtype} of "
            f"shape {tuple(leaf.shape)}"
        )
    if isinstance(leaf, np.ndarray | jax.core.Tracer):
        return leaf
    on_cpu = all(device.platform == "cpu" for device in leaf.devices())
    return np.asarray(leaf) if on_cpu else leaf
