"""What compaction returns besides the small parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from offprint.sparsity._tree import map_named, named_leaves


@dataclasses.dataclass(frozen=True, eq=False)
class CompactReport:
    """What compaction did."""

    groups: dict[str, tuple[int, int]]  # units of each group, before and after
    parameters: tuple[int, int]  # elements of all leaves, before and after
    folded: dict[str, int]  # biases and running means that took up constants, and of how many contractions
    stayed: dict[str, dict[str, int]]  # masked units that had to stay: {group: {reason: how many}}
    masks: PyTree  # the masks of the small parameters, for further fine-tuning; None at leaves without
    apply_fn: Callable[..., PyTree]  # for the small parameters: the given function if it can take them
    index: dict[str, tuple[np.ndarray, ...]] = dataclasses.field(repr=False)  # what is left of each axis of each leaf

    def shrink(self, tree: PyTree) -> PyTree:
        """Slice a tree like the parameters (moments of an optimiser, scores, averages) as the parameters were.

        Folded constants are not added. `None` stays.
        """
        unknown = [path for path, _ in named_leaves(tree) if path not in self.index]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no leaf of the compacted parameters; they are {', '.join(self.index)}")
        return map_named(lambda path, leaf: None if leaf is None else take(leaf, self.index[path]), tree)

    def __str__(self) -> str:
        before, after = self.parameters
        lines = [f"parameters {before} -> {after} ({100 * (1 - after / max(before, 1)):.1f} % removed)"]
        lines += [f"  {name}: {b} -> {a} units" for name, (b, a) in self.groups.items() if a != b]
        lines += [
            f"  {name}: {count} masked units stay, because {reason}"
            for name, reasons in self.stayed.items()
            for reason, count in reasons.items()
        ]
        if self.folded:
            lines.append(f"  constants went into {', '.join(self.folded)}")
        return "\n".join(lines)


def take(array: Any, index: tuple[np.ndarray, ...]) -> Any:
    """What is left of an array, given what is left of each of its axes."""
    if all(i.size == n for i, n in zip(index, np.shape(array), strict=True)):
        return array
    host = np.asarray(array)[np.ix_(*index)]
    return like(array, host)


def like(leaf: Any, array: Any) -> Any:
    """`array` on the device if `leaf` is there."""
    return jnp.asarray(array) if isinstance(leaf, jax.Array) and isinstance(array, np.ndarray) else array
