"""How many entries are kept at every update: tables of exact counts, made on the host."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from offprint.sparsity._budget import density_map
from offprint.sparsity._counts import Patterns, Rounding, Scope, keep_counts
from offprint.sparsity._filter import Filter
from offprint.sparsity._limbs import count_limbs
from offprint.sparsity._mask import masks_by_count
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.methods._method import all_true
from offprint.sparsity.methods._random import uniform_like

Dist = Any  # a name, a map of path patterns to densities, or a function: see `density_map`
Target = float | int | Mapping[str, float | int]  # a sparsity, or those of the groups of leaves


def count_table(
    masks: PyTree[Bool[Array, "..."]],
    targets: Sequence[Target | None],
    *,
    scope: Scope = "local",
    dist: Dist = "uniform",
    pattern: Patterns = UNSTRUCTURED,
    rounding: Rounding = "nearest",
    min_keep: int | None = None,
    devices: int = 1,
) -> PyTree[np.ndarray]:
    """Kept units at each of the targets: one row each, for `masks_by_count`.

    Counts that int32 does not hold are pairs, as `count_limbs` makes them.

    Args:
        masks: of the leaves that are pruned; only shapes are read.
        targets: one per row: a sparsity, or a mapping of path patterns to sparsities, each a ranking of its own.
        scope: of a sparsity that is a number, 'local' or 'global'.
        pattern, rounding, min_keep: see `keep_counts`.
        dist: of the density over the leaves, see `density_map`.
        devices: in how many equal parts the leaves are split along their first axis; the counts are of the whole.
    """
    whole = _whole(masks, devices)
    chosen = {path for path, leaf in named_leaves(whole) if leaf is not None}
    rows = []
    for target in targets:
        if isinstance(target, Mapping):
            counts = keep_counts(whole, scope=target, pattern=pattern, rounding=rounding, min_keep=min_keep)
        elif dist == "uniform":
            counts = keep_counts(whole, target, scope=scope, pattern=pattern, rounding=rounding, min_keep=min_keep)
        else:
            budget = density_map(whole, target, dist, filter=lambda path, leaf: path in chosen)
            counts = keep_counts(whole, budget=budget, pattern=pattern, rounding=rounding, min_keep=min_keep)
        rows.append(counts)
    return jax.tree.map(_column, *rows)


def counts_at(table: PyTree[np.ndarray], index: Int[Array, ""] | int) -> PyTree[Array]:
    """One row of a table."""
    return jax.tree.map(lambda column: look_up(column, index), table)


def look_up(table: np.ndarray, index: Int[Array, ""] | int) -> Array:
    """Row `index` of a host array, in the program."""
    return jax.lax.dynamic_index_in_dim(jnp.asarray(table), jnp.asarray(index, jnp.int32), keepdims=False)


def sparse_masks(
    params: PyTree,
    sparsity: float | int,
    *,
    dist: Dist,
    pattern: Patterns,
    filter: Filter | None,
    criterion: str,
    key: Key[Array, ""] | None,
) -> PyTree[Bool[Array, "..."]]:
    """First masks of a method that starts sparse: at random, or by the magnitude of the initial weights.

    As many entries of a leaf are pruned as rigl's code does: the whole part of (1 - density) n.
    """
    masks = all_true(params, filter)
    table = count_table(masks, [sparsity], dist=dist, pattern=pattern, rounding="floor")
    if criterion == "random":
        scores = uniform_like(masks, key)
    else:
        scores = jax.tree.map(lambda p, mask: None if mask is None else jnp.abs(p), params, masks)
    return masks_by_count(scores, counts_at(table, 0), pattern=pattern)


def _whole(masks: PyTree, devices: int) -> PyTree:
    """Shapes of the leaves before they were split over devices."""
    return jax.tree.map(lambda m: jax.ShapeDtypeStruct((devices * m.shape[0], *m.shape[1:]), jnp.bool_), masks)


def _column(*counts: int) -> np.ndarray:
    if max(counts) < 2**31:
        return np.array(counts, np.int32)
    return np.stack([count_limbs(count) for count in counts])
