"""What is done with masks: multiply, store as bits, check."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from offprint.sparsity._counts import AnyPattern, FixedPattern, Patterns, check_sparsity, n_units, patterns_of
from offprint.sparsity._tree import check_same, map_named, named_leaves


def apply(params: PyTree, masks: PyTree) -> PyTree:
    """Params that are exactly 0 wherever their mask is False. Leaves whose mask is `None` stay as they are.

    Raises ValueError, naming the first leaf that differs, for masks of another model.
    """
    check_same(params, masks, "masks")
    return jax.tree.map(_keep, params, masks)


def _keep(leaf: Any, mask: Any) -> Any:
    return leaf if mask is None else jnp.where(mask, leaf, jnp.zeros((), leaf.dtype))


def as_masks(masks: PyTree) -> PyTree:
    """Masks as bool arrays; numbers that are exactly 0 or 1 are accepted.

    Raises ValueError, naming the leaf, for any other number (where it is not traced).
    """

    def cast(path: str, mask: Any) -> Any:
        if mask is None:
            return None
        array = jnp.asarray(mask)
        if array.dtype == jnp.bool_:
            return array
        if not isinstance(array, jax.core.Tracer) and not jnp.all((array == 0) | (array == 1)):
            raise ValueError(f"masks are True or False, or exactly 0 or 1; {path!r} has other values")
        return array != 0

    return map_named(cast, masks)


def pack(masks: PyTree) -> PyTree:
    """Masks as bits: flat uint8 arrays, eight elements a byte, the first in the highest bit (as `numpy.packbits`)."""
    return map_named(lambda _, mask: None if mask is None else jnp.packbits(mask), masks)


def unpack(packed: PyTree, like: PyTree) -> PyTree:
    """Masks from their bits; `like` (params, scores or anything with their shapes) tells the shapes.

    Raises ValueError, naming the leaf, if a shape does not have that many bits.
    """

    def whole(path: str, leaf: Any, bits: Any) -> Any:
        if bits is None:
            return None
        size = math.prod(leaf.shape)
        if bits.size != -(-size // 8):
            raise ValueError(f"{path!r} {tuple(leaf.shape)} needs {-(-size // 8)} bytes of mask bits; got {bits.size}")
        return jnp.unpackbits(bits, count=size).reshape(leaf.shape).astype(bool)

    return map_named(whole, like, packed)


def check_masks(
    params: PyTree, masks: PyTree, pattern: Patterns | None = None, sparsity: float | int | None = None
) -> None:
    """Raise unless the masks belong to the params and are what they are said to be. Not under `jit`.

    Args:
        params: what is to be masked.
        masks: bool (or exactly 0/1) arrays of the shapes of params, `None` where nothing is pruned.
        pattern: if given, every mask must have it: whole units, or at most n of every m.
        sparsity: if given, the share of removed units over all masks, within what rounding in each leaf can change.

    Raises:
        ValueError: naming the first leaf that is wrong, or the sparsity found.
    """
    check_same(params, masks, "masks")
    leaves = [(path, np.asarray(mask)) for path, mask in named_leaves(as_masks(masks)) if mask is not None]
    patterns = patterns_of(masks, pattern) if pattern is not None else {}
    removed = total = 0
    for path, mask in leaves:
        kind = patterns.get(path)
        if kind is not None:
            _check_pattern(path, mask, kind)
        if kind is None or isinstance(kind, FixedPattern):
            removed, total = removed + int(mask.size - mask.sum()), total + mask.size
        else:
            kept, n = int(np.sum(kind.kept_units(jnp.asarray(mask)))), n_units(kind, mask.shape)
            removed, total = removed + n - kept, total + n
    if sparsity is not None and abs(removed - check_sparsity(sparsity) * total) > max(1, len(leaves)):
        raise ValueError(
            f"the masks remove {removed} of {total} units, a sparsity of {removed / total:.6g}, not {sparsity}"
        )


def _check_pattern(path: str, mask: np.ndarray, pattern: AnyPattern) -> None:
    if isinstance(pattern, FixedPattern):
        if not pattern.satisfied(jnp.asarray(mask)):
            raise ValueError(f"the mask of {path!r} is not that of {pattern}: a group keeps more than {pattern.n}")
    elif not np.array_equal(pattern.expand(pattern.kept_units(jnp.asarray(mask)), mask.shape), mask):
        raise ValueError(f"the mask of {path!r} keeps parts of the units of {pattern}")
