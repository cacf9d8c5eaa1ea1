"""What a sparse network costs: sizes, weights in use, overlaps of masks, bits, training."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from offprint.sparsity._jaxprs import check_host
from offprint.sparsity._tree import check_same, named_leaves

Numbers = Array | np.ndarray | Sequence[float | int] | float | int


class LeafSummary(NamedTuple):
    """One leaf: how many of its elements are kept."""

    path: str
    shape: tuple[int, ...]
    size: int
    nnz: int
    masked: bool  # whether there is a mask for it

    @property
    def sparsity(self) -> float:
        """Share removed."""
        return 1 - self.nnz / self.size if self.size else 0.0


class Summary(NamedTuple):
    """All leaves; `str()` makes a table."""

    leaves: tuple[LeafSummary, ...]

    @property
    def size(self) -> int:
        """Elements of all leaves."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def nnz(self) -> int:
        """Kept elements of all leaves."""
        return sum(leaf.nnz for leaf in self.leaves)

    @property
    def sparsity(self) -> float:
        """Share removed of the leaves that have masks, which is what methods are asked for."""
        masked = [leaf for leaf in self.leaves if leaf.masked]
        return 1 - sum(leaf.nnz for leaf in masked) / max(sum(leaf.size for leaf in masked), 1) if masked else 0.0

    @property
    def total_sparsity(self) -> float:
        """Share removed of all parameters."""
        return 1 - self.nnz / self.size if self.size else 0.0

    @property
    def compression(self) -> float:
        """All parameters over those kept; `compression` counts bits."""
        return self.size / self.nnz if self.nnz else float("inf")

    def __str__(self) -> str:
        width = max([5, *(len(leaf.path) for leaf in self.leaves)])
        shapes = max([5, *(len(str(leaf.shape)) for leaf in self.leaves)])
        rows = [f"{'leaf':{width}} {'shape':{shapes}} {'kept':>12} {'of':>12} sparsity"]
        for leaf in self.leaves:
            share = f"{leaf.sparsity:8.4f}" if leaf.masked else "   dense"
            rows.append(f"{leaf.path:{width}} {leaf.shape!s:{shapes}} {leaf.nnz:12d} {leaf.size:12d} {share}")
        rows.append(f"{'total':{width}} {'':{shapes}} {self.nnz:12d} {self.size:12d} {self.total_sparsity:8.4f}")
        return "\n".join(rows)


def summary(params: PyTree, masks: PyTree | None = None) -> Summary:
    """Kept elements of each leaf, on the host and exact.

    Args:
        params: arrays.
        masks: like `params`, `None` at leaves that are dense. Without masks, what is not zero counts as kept, in every
            leaf of two or more axes.

    Raises:
        ValueError: masks of another tree.
    """
    check_host("summary", params, masks)
    flags: dict[str, Any] = {}
    if masks is not None:
        check_same(params, masks, "masks")
        flags = {path: mask for path, mask in named_leaves(masks) if mask is not None}
    rows = []
    for path, leaf in named_leaves(params):
        if leaf is None:
            continue
        counted = flags.get(path) if masks is not None else (leaf if np.ndim(leaf) > 1 else None)
        size = int(np.prod(np.shape(leaf), dtype=np.int64))
        nnz = size if counted is None else int(np.count_nonzero(np.asarray(counted)))
        rows.append(LeafSummary(path, tuple(np.shape(leaf)), size, nnz, counted is not None))
    return Summary(tuple(rows))


def effective_sparsity(apply_fn: Callable[..., PyTree], params: PyTree, masks: PyTree, example: PyTree) -> float:
    """Sparsity when weights that no path from input to output uses count as removed too.

    A kept weight is dead if its unit depends on no input, or reaches no output, because of masks elsewhere; at high
    sparsity many are. This is 1[m ∂R/∂m > 0] of the all-ones positive network R, but found on the jaxpr unit by unit as
    `compact` does, so that nothing overflows and normalisations and attention are no obstacle. Where units can't be
    removed at all (they are tied to an input, or normalised over) their weights count as used.

    Args:
        apply_fn: `apply_fn(params, x)`, in evaluation mode.
        params: arrays.
        masks: like `params`, `None` at leaves that are dense, which don't count.
        example: x, or its shape and dtype.

    Raises:
        ValueError: masks of another tree, or none.
    """
    from offprint.sparsity._compact import live

    check_host("effective_sparsity", params, masks)
    check_same(params, masks, "masks")
    flags = {path: np.asarray(mask) != 0 for path, mask in named_leaves(masks) if mask is not None}
    if not flags:
        raise ValueError("effective_sparsity needs masks; all leaves of the given tree are None")
    kept = live(apply_fn, params, flags, example)
    used = sum(int(np.count_nonzero(mask[np.ix_(*kept[path])])) for path, mask in flags.items())
    return 1 - used / sum(mask.size for mask in flags.values())


def _pairs(one: PyTree, other: PyTree) -> list[tuple[Any, Any]]:
    check_same(one, other, "the second masks")
    theirs = dict(named_leaves(other))
    pairs = [(mask, theirs[path]) for path, mask in named_leaves(one) if mask is not None or theirs[path] is not None]
    if not pairs:
        raise ValueError("there are no masks to compare: all leaves are None")
    # A leaf that only one of both masks is kept whole by the other.
    filled = [(a if a is not None else jnp.ones_like(b), b if b is not None else jnp.ones_like(a)) for a, b in pairs]
    return [(jnp.asarray(a).astype(bool), jnp.asarray(b).astype(bool)) for a, b in filled]


def _count(masks: list[Bool[Array, "..."]]) -> Float[Array, ""]:
    # Whole numbers in each leaf; in float only between leaves, for more than 2^31 elements.
    return jnp.stack([jnp.sum(mask).astype(jnp.result_type(float)) for mask in masks]).sum()


def mask_overlap(one: PyTree, other: PyTree) -> Float[Array, ""]:
    """Intersection over union of what two trees of masks keep: 1 if equal, 0 if disjoint; 1 if both keep nothing.

    Leaves that are `None` in both are left out. Two random masks of density d have d / (2 - d).
    Works under jit and vmap.
    """
    pairs = _pairs(one, other)
    both, either = _count([a & b for a, b in pairs]), _count([a | b for a, b in pairs])
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def mask_distance(one: PyTree, other: PyTree) -> Float[Array, ""]:
    """Share of elements that one tree of masks keeps and the other removes (Hamming). Works under jit and vmap."""
    pairs = _pairs(one, other)
    return _count([a ^ b for a, b in pairs]) / sum(a.size for a, _ in pairs)


def compression(masks: PyTree, fmt: str = "bitmap", bits: int = 32, *, params: PyTree | None = None) -> float:
    """Bits of the dense arrays over the bits that `storage_bits` gives for a format.

    Args:
        masks: tree of masks; `None` leaves are left out unless `params` tells their size, then they are stored dense.
        fmt: a format of `storage_bits`, or 'best' for the smallest of each leaf.
        bits: of a value.
        params: the parameters, to count those without masks too.

    Raises:
        ValueError: no masks, an unknown format.
    """
    from offprint.sparsity._bits import best_format, storage_bits

    check_host("compression", masks)
    found = [np.asarray(mask) != 0 for _, mask in named_leaves(masks) if mask is not None]
    if not found:
        raise ValueError("compression needs masks; all leaves of the given tree are None")
    stored = sum(best_format(mask, bits).bits if fmt == "best" else storage_bits(mask, bits, fmt) for mask in found)
    dense = sum(mask.size for mask in found) * bits
    if params is not None:
        check_same(params, masks, "masks")
        sizes = {path: int(np.prod(leaf.shape)) for path, leaf in named_leaves(params) if leaf is not None}
        rest = sum(sizes[path] for path, mask in named_leaves(masks) if mask is None and path in sizes) * bits
        stored, dense = stored + rest, dense + rest
    return float(dense / stored) if stored else float("inf")


_STATIC = ("static", "set", "snip", "sparse")


def training_flops(method: str, dense: float | int, sparse: Numbers, *, every: int | None = None) -> float:
    """Cost of training per example and step, in the unit of the costs of a forward pass (RigL, evci2020rigl).

    A step costs three forward passes: one forward, two backward. Dense training 3 f_D; static sparsity, SET and
    training after SNIP 3 f_S; SNFS, which needs dense gradients, 2 f_S + f_D; RigL (3 f_S ΔT + 2 f_S + f_D)/(ΔT + 1),
    as it needs one every ΔT + 1 steps; gradual pruning 3 E[f(s_t)]. The formulas are those of the table of RigL's
    repository as we recall them; they give its numbers.

    Args:
        method: 'dense', 'static', 'set', 'snip', 'sparse' (these four alike), 'snfs', 'rigl' or 'pruning'.
        dense: f_D, such as `macs(...).dense`.
        sparse: f_S; for 'pruning' the costs at equally spaced times of training.
        every: ΔT of RigL.

    Raises:
        ValueError: an unknown method, RigL without `every` or other methods with it, several costs for others than
            'pruning'.
    """
    known = ("dense", *_STATIC, "snfs", "rigl", "pruning")
    if method not in known:
        raise ValueError(f"method must be one of {', '.join(known)}; got {method!r}")
    costs = np.asarray(sparse, np.float64)
    if method != "pruning" and costs.ndim:
        raise ValueError(f"{method!r} has one sparse cost; got {costs.shape} of them (only 'pruning' takes several)")
    if (method == "rigl") != (every is not None):
        raise ValueError("every, the steps between updates, is for method='rigl', which needs it")
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1; got {every}")
    mean = float(costs.mean())
    if method == "dense":
        return 3.0 * dense
    if method == "snfs":
        return 2 * mean + dense
    if every is not None:
        return (3 * mean * every + 2 * mean + dense) / (every + 1)
    return 3 * mean
