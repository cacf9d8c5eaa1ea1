"""How a sparsity is shared out over the layers: a density for every leaf."""

import fnmatch
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import PyTree

from offprint.sparsity._counts import check_sparsity, members_of, n_prune
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import map_named
from offprint.sparsity._warning import warn

Relative = Callable[[str, tuple[int, ...]], float]
Distribution = Literal["uniform", "uniform_plus", "er", "erk"] | Mapping[str, float | int] | Relative


def density_map(
    params: PyTree,
    sparsity: float | int | None = None,
    dist: Distribution = "uniform",
    filter: Filter | None = None,
    power: float | int = 1.0,
    dense: str | Sequence[str] = (),
    last: float | int = 0.0,
    first: str | None = None,
) -> PyTree[float | None]:
    """Density of every leaf, for `make_masks(..., budget=...)`; `None` at leaves that the filter leaves out.

    Args:
        params: only shapes are read.
        sparsity: share of all the elements of the chosen leaves to remove; None with a mapping: what it says.
        dist: 'uniform': 1 - sparsity everywhere. 'uniform_plus': likewise, with one leaf dense, the `first`, so that a
            little less is removed.
            'er': densities in proportion to (in + out) / (in out), Erdős-Rényi (`mocanu2018set`). 'erk': to
            sum(shape) / prod(shape), with the kernel size (`evci2020rigl`). A mapping of path patterns to densities;
            leaves that none matches share what remains of the budget evenly. A function (path, shape) -> relative
            density, scaled as 'erk' is.
        filter: which leaves (default: `kernels`).
        power: exponent of the relative densities of 'er', 'erk' and a function.
        dense: path patterns of leaves to keep whole; 'er', 'erk' and functions make up for them elsewhere.
        last: least density of the last leaf with 'uniform_plus'; Gale et al. (2019) set 0.2, RigL 0. The last in the
            order of paths, as for `first`.
        first: path (or a path pattern) of the one leaf that 'uniform_plus' keeps dense, the network's first layer. By
            default the first convolution, or the first leaf if there is none, in the order of paths with their numbers
            counted (`layers/2` before `layers/10`). Trees of arrays do not know the order of use: with names such as
            `block1`, `head`, `stem` that is `block1`, so give `first="stem/*"`. If there are leaves in `dense`, none is
            chosen by default.

    A relative density that would exceed 1 is fixed at 1 (the largest first, all equal ones with it) and the rest
    scaled again, as in rigl's code: a budget counts whole elements, `floor(sparsity n)` of each leaf removed. Masks
    that agree with that code need `rounding='floor'`.

    Warns if 'uniform_plus' chose itself which leaf to keep dense and so keeps more than 1.1 times what was asked for.

    Raises:
        ValueError: a budget that no densities meet, with the numbers; a path pattern that matches nothing; a density
            outside [0, 1]; no sparsity where one is needed; a `first` that is not one leaf, or without 'uniform_plus'.
    """
    leaves = prunable(params, filter)
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves.items()}
    patterns = (dense,) if isinstance(dense, str) else tuple(dense)
    members_of(list(shapes), patterns)  # for its error
    whole = {path for path in shapes if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)}
    if first is not None and dist != "uniform_plus":
        raise ValueError(f"first={first!r} names the dense leaf of dist='uniform_plus'; otherwise give dense={first!r}")
    if isinstance(dist, Mapping):
        densities = _explicit(shapes, dist, sparsity, whole)
    elif dist == "uniform":
        densities = dict.fromkeys(shapes, 1.0 - check_sparsity(sparsity)) | dict.fromkeys(whole, 1.0)
    elif dist == "uniform_plus":
        densities = _uniform_plus(shapes, check_sparsity(sparsity), whole, last, first)
    elif callable(dist):
        relative = {path: float(dist(path, shape)) ** power for path, shape in shapes.items()}
        densities = _scaled(shapes, relative, check_sparsity(sparsity), whole)
    elif dist in ("er", "erk"):
        relative = {path: _random_graph(shape, kernel=dist == "erk") ** power for path, shape in shapes.items()}
        densities = _scaled(shapes, relative, check_sparsity(sparsity), whole)
    else:
        raise ValueError(f"dist must be 'uniform', 'uniform_plus', 'er', 'erk', a mapping or a function; got {dist!r}")
    return map_named(lambda path, _: densities.get(path), params)


def _uniform_plus(
    shapes: dict[str, tuple[int, ...]], sparsity: float, whole: set[str], last: float | int, first: str | None
) -> dict[str, float]:
    """One density but for the dense leaf and the last one."""
    ordered = sorted(shapes, key=natural)
    densities = dict.fromkeys(shapes, 1.0 - sparsity)
    densities[ordered[-1]] = max(1.0 - sparsity, last)
    if first is not None:
        named = members_of(list(shapes), (first,))[first]
        if len(named) > 1:
            raise ValueError(f"first={first!r} must name one leaf, but matches {', '.join(named)}")
        return densities | dict.fromkeys({*whole, *named}, 1.0)
    if whole:
        return densities | dict.fromkeys(whole, 1.0)
    chosen = next((path for path in ordered if len(shapes[path]) > 2), ordered[0])
    size = {path: math.prod(shape) for path, shape in shapes.items()}
    # Without the numbers of this sparsity, so that a schedule of many says it once.
    if (1.0 - sparsity) * sum(size.values()) + sparsity * size[chosen] > 1.1 * (1.0 - sparsity) * sum(size.values()):
        warn(
            f"'uniform_plus' keeps {chosen!r} dense, which comes first in the order of paths and has {size[chosen]} of "
            f"{sum(size.values())} elements: more than 1.1 times what the sparsity says is kept. If another layer is "
            "the first in use, name it with first='...'; with a mapping {path: density} the other leaves make up for it"
        )
    return densities | {chosen: 1.0}


def _random_graph(shape: tuple[int, ...], *, kernel: bool) -> float:
    """Relative density of the Erdős-Rényi(-kernel) random graph."""
    counted = shape if kernel else shape[-2:]
    return sum(counted) / math.prod(counted)


def _scaled(
    shapes: dict[str, tuple[int, ...]], relative: dict[str, float], sparsity: float, whole: set[str]
) -> dict[str, float]:
    """Densities ε r of the leaves that are not dense, with the ε that meets the budget (rigl, sparse_utils)."""
    if any(not math.isfinite(r) or r <= 0 for r in relative.values()):
        path, worst = next((path, r) for path, r in relative.items() if not math.isfinite(r) or r <= 0)
        raise ValueError(f"relative densities must be positive; that of {path!r} is {worst:g}")
    size = {path: math.prod(shape) for path, shape in shapes.items()}
    zeros = {path: n_prune(n, sparsity, "floor") for path, n in size.items()}
    fixed = set(whole)
    while True:
        free = [path for path in shapes if path not in fixed]
        budget = sum(size[path] - zeros[path] for path in free) - sum(zeros[path] for path in fixed)
        if not free or budget <= 0:
            if not free and budget >= 0:
                return dict.fromkeys(shapes, 1.0)
            total, kept = sum(size.values()), sum(size[path] for path in fixed)
            raise ValueError(
                f"a sparsity of {sparsity:g} keeps {total - sum(zeros.values())} of {total} elements, but the leaves "
                f"to keep dense have {kept} already: {', '.join(sorted(fixed))}"
            )
        epsilon = budget / sum(relative[path] * size[path] for path in free)
        highest = max(relative[path] for path in free)
        if highest * epsilon <= 1:
            return {path: 1.0 if path in fixed else epsilon * relative[path] for path in shapes}
        fixed |= {path for path in free if relative[path] == highest}


def _explicit(
    shapes: dict[str, tuple[int, ...]], dist: Mapping[str, float | int], sparsity: float | int | None, whole: set[str]
) -> dict[str, float]:
    """The densities of a mapping, and one for all other leaves."""
    for key, density in dist.items():
        if not 0 <= density <= 1:
            raise ValueError(f"densities must be in [0, 1]; got {density:g} for {key!r}")
    members = members_of(list(shapes), tuple(dist))
    densities = {path: float(dist[key]) for key, paths in members.items() for path in paths}
    densities.update(dict.fromkeys(whole, 1.0))
    others = [path for path in shapes if path not in densities]
    if sparsity is None:
        return densities | dict.fromkeys(others, 1.0)
    total = sum(math.prod(shape) for shape in shapes.values())
    kept = (1.0 - check_sparsity(sparsity)) * total
    given = sum(density * math.prod(shapes[path]) for path, density in densities.items())
    free = sum(math.prod(shapes[path]) for path in others)
    # With rounding, and without leaves to make up for it, the densities need only come within an element per leaf.
    if given - kept > len(shapes) or kept - given - free > len(shapes):
        raise ValueError(
            f"a sparsity of {sparsity:g} keeps {kept:g} of {total} elements, but the densities given keep {given:g} "
            f"and the other leaves can keep 0 to {free}"
        )
    rest = min(max((kept - given) / free, 0.0), 1.0) if free else 0.0
    return densities | dict.fromkeys(others, rest)


def natural(path: str) -> list[tuple[bool, int, str]]:
    """Key for sorting in which `layers/2` comes before `layers/10`."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path)]


def flop_aware(scores: PyTree, flops: Mapping[str, float | int], power: float | int = 1.0) -> PyTree:
    """Scores over the multiply-adds that each weight costs, for a global ranking that saves work, not weights.

    Args:
        scores: high = keep, `None` at leaves that are not pruned.
        flops: multiply-adds of the dense leaf by path, for every leaf that has scores.
        power: exponent of the multiply-adds of one weight: 0 leaves the scores as they are.

    Raises:
        ValueError: a leaf whose multiply-adds are missing or not positive.
    """

    def divide(path: str, score: PyTree) -> PyTree:
        if score is None:
            return None
        if flops.get(path, 0) <= 0:
            raise ValueError(f"flops must give positive multiply-adds for {path!r}; it has {', '.join(flops)}")
        return score / np.asarray((flops[path] / score.size) ** power, score.dtype)

    return map_named(divide, scores)
