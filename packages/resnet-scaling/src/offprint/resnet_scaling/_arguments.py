"""What the estimators accept: depths, and stacks of layers by depth with or without seeds."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, Real

Depths = Sequence[int] | Int[np.ndarray, " depths"] | Int[jax.Array, " depths"]
Values = Sequence[float | int] | Real[np.ndarray, "depths *seeds"] | Real[jax.Array, "depths *seeds"]
Stack = np.ndarray | jax.Array
ByDepth = Sequence[Stack] | Mapping[int, Stack]


def checked_depths(depths: Depths, at_least: int = 3) -> Int[np.ndarray, " depths"]:
    """Depths as an array.

    Raises:
        ValueError: fewer than `at_least`, not whole, not positive, or not strictly increasing.
    """
    given = np.asarray(depths)
    if given.ndim != 1 or len(given) < at_least:
        raise ValueError(f"depths={given.tolist()}; at least {at_least} depths are needed")
    if not np.issubdtype(given.dtype, np.integer) or given[0] < 1 or (np.diff(given) <= 0).any():
        raise ValueError(f"depths={given.tolist()}; positive whole numbers that strictly increase are needed")
    return given


def stacks_by_depth(weights: ByDepth, name: str = "weights") -> dict[int, np.ndarray]:
    """Stacks (seeds, L, ...) of float64 or float32 numbers, by depth L.

    Each of `weights` is (L, ...), or (seeds, L, ...) for all of them. With a mapping its keys say which axis is L; in a
    sequence it is the first axis where that strictly increases, else the second.

    Raises:
        ValueError: depths that are not strictly increasing, no axis that can be the depth, layers of different shapes.
    """
    if not len(weights):
        raise ValueError(f"{name} is empty; a stack of layers for each depth is needed")
    keys = list(weights) if isinstance(weights, Mapping) else None
    stacks = [_as_stack(stack, name) for stack in (weights.values() if isinstance(weights, Mapping) else weights)]
    axis = _depth_axis(stacks, keys, name)
    depths = [stack.shape[axis] for stack in stacks]
    if len(depths) > 1:
        checked_depths(depths, 1)
    first = stacks[0].shape[axis + 1 :]
    for depth, stack in zip(depths, stacks):
        if stack.shape[axis + 1 :] != first:
            raise ValueError(
                f"{name} at depth {depth} has layers of shape {stack.shape[axis + 1 :]}, at depth {depths[0]} of "
                f"shape {first}; layers of one shape are needed"
            )
    return {depth: stack if axis else stack[None] for depth, stack in zip(depths, stacks)}


def _as_stack(stack: Any, name: str) -> np.ndarray:
    """An array; a list of layers is refused by its first layer of another shape."""
    if isinstance(stack, (list, tuple)):
        shapes = [np.shape(layer) for layer in stack]
        odd = next((k for k, shape in enumerate(shapes) if shape != shapes[0]), None)
        if odd is not None:
            raise ValueError(
                f"{name}: layer {odd} has shape {shapes[odd]} and layer 0 {shapes[0]}; layers of one shape are needed"
            )
    array = np.asarray(stack)
    if array.ndim < 1 or 0 in array.shape:
        raise ValueError(f"{name} has a stack of shape {array.shape}; (L, ...) or (seeds, L, ...) is needed")
    return array


def _depth_axis(stacks: list[np.ndarray], keys: list[int] | None, name: str) -> int:
    for axis in (0, 1):
        if any(stack.ndim <= axis for stack in stacks):
            continue
        sizes = [stack.shape[axis] for stack in stacks]
        if sizes == keys or (keys is None and all(a < b for a, b in pairwise(sizes))):
            return axis
    shapes = ", ".join(str(stack.shape) for stack in stacks[:6])
    wanted = "strictly increasing depths" if keys is None else f"the depths {keys}"
    raise ValueError(f"{name} has stacks of shapes {shapes}; {wanted} are needed along the first axis or the second")
