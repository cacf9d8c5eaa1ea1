"""Subnetworks of scheme "node" as dense networks that are truly narrower."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from offprint.network_partitioning._partition import Partition, subnetwork
from offprint.network_partitioning._stack import hidden, trace_stack


def narrow(params: PyTree, part: Partition, k: int, *, layers: Sequence[str] | None = None) -> PyTree:
    """Subnetwork k without its inactive units: smaller tensors that compute the same function.

    Takes stacks of dense layers (in, out) and convolutions (..., in, out), with biases, and norms (out,) between.
    A norm that averages over units (layer norm, group norm) sees other averages in the narrow network than in
    the masked one; batch norm and instance norm see the same.

    Args:
        params: w.
        part: its partition by scheme "node", with known ids (not traced).
        k: 1..K, how many partitions are active.
        layers: the layers' paths in order, as for `partition`.

    Returns:
        Pytree of the structure of `params`, with the active units of every hidden layer.

    Raises:
        ValueError: k out of range; a hidden layer without active units; a partition that isn't one of units.
    """
    if not 1 <= k <= part.num:
        raise ValueError(f"k must be in 1..{part.num}, the number of active partitions, but is {k}")
    stack = trace_stack(params, layers)
    leaves, treedef = jax.tree.flatten(subnetwork(params, part, k))
    active = [np.asarray(ids) < k for ids in jax.tree.leaves(part.ids)]
    defaults = jax.tree.leaves(part.default)
    sliced: list[Any] = list(leaves)
    before: Any = None  # which units of the layer before are kept; None stands for the inputs, all of them
    for layer, is_hidden in zip(stack.layers, hidden(stack), strict=True):
        if layer.kernel is not None:
            shape = stack.shapes[layer.kernel]
            kept = np.ones(shape[-2], bool) if before is None else np.tile(before, shape[-2] // len(before))
            unit: Any = np.ones(shape[-1], bool)
            if is_hidden:
                unit = active[layer.kernel].reshape(-1, shape[-1]).any(axis=0)
            if not unit.any():
                raise ValueError(f"subnetwork {k} has no unit in {layer.path}: take larger proportions or a larger k")
            live = active[layer.kernel] | (np.asarray(defaults[layer.kernel]) != 0)
            if live[..., ~kept, :].any() or live[..., ~unit].any():
                raise ValueError(
                    f"the partition of {layer.path} isn't one of whole units with zero defaults; "
                    "only scheme='node' with default='zero' has narrow subnetworks"
                )
            kernel = jnp.asarray(leaves[layer.kernel])
            sliced[layer.kernel] = kernel[..., np.flatnonzero(kept), :][..., np.flatnonzero(unit)]
            before = unit
        for index in layer.vectors:
            sliced[index] = jnp.asarray(leaves[index])[np.flatnonzero(before)]
    return jax.tree.unflatten(treedef, sliced)
