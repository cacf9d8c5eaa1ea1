"""Fields on grids: measured or simulated values as an initial condition, and solutions written for other tools.

The method needs no data set: all problems of the paper are given by formulas. One's own initial condition may be an
array, though, and a solution may have to go on to a program that wants arrays.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.core.data import load_npz
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._solution import Solution

MOST_AXES = 4
"""Most coordinates of a grid: a value between its points takes 4^d of them."""


@dataclass(frozen=True, eq=False)
class GridField:
    """A function of a point that interpolates values on a uniform grid; made by `grid_field`."""

    domain: Box
    """The box between the first and the last points of the grid."""
    values: Float[np.ndarray, "*grid k"]
    """The k fields at the points of the grid, with a frame of one more point on each side."""

    def __call__(self, x: Float[Array, "d"]) -> Float[Array, "k"]:
        """The k fields at a point; outside the grid those at its nearest point."""
        cells = np.array(self.values.shape[:-1]) - 3
        place = (self.domain.normalize(x) + 1) / 2 * cells.astype(x.dtype)
        place = jnp.clip(place, 0, cells.astype(x.dtype))
        first = jnp.minimum(place.astype(jnp.int32), jnp.asarray(cells - 1, jnp.int32))
        weights = _cubic(place - first)
        table = jnp.asarray(self.values, x.dtype)
        total = jnp.zeros(table.shape[-1], x.dtype)
        for corner in itertools.product(range(4), repeat=len(cells)):
            weight = jnp.prod(jnp.stack([weights[axis, step] for axis, step in enumerate(corner)]))
            total += weight * table[tuple(first[axis] + step for axis, step in enumerate(corner))]
        return total


def grid_field(
    axes: Sequence[Float[np.ndarray, "_"] | Sequence[float | int]], values: Float[np.ndarray, "..."]
) -> GridField:
    """Values on a grid as a function of a point, for `Problem(ic=...)` or to compare with.

    Between the points it is the cubic convolution of Keys (IEEE Trans. ASSP 29, 1981): through all values, once
    differentiable, with an error of third order in the spacing.

    Args:
        axes: the coordinates of the grid along each of the d axes, ascending and evenly spaced, at least 3 each.
        values: the fields, (n_1, ..., n_d) for one field or (n_1, ..., n_d, k) for k.

    Raises:
        ValueError: axes that are not evenly spaced or ascending, more than 4 of them, another shape of the values,
            values that are not finite.
    """
    coordinates = [np.asarray(axis, float) for axis in axes]
    if not 1 <= len(coordinates) <= MOST_AXES:
        raise ValueError(f"a grid has 1 to {MOST_AXES} axes, but {len(coordinates)} are given")
    for number, axis in enumerate(coordinates):
        steps = np.diff(axis)
        if axis.ndim != 1 or len(axis) < 3 or not (steps > 0).all() or np.ptp(steps) > 1e-6 * steps.mean():
            raise ValueError(f"axis {number} must be at least 3 ascending, evenly spaced numbers, but is {axis!r:.120}")
    shape = tuple(map(len, coordinates))
    field = np.asarray(values, float)
    if field.shape == shape:
        field = field[..., None]
    if field.shape[:-1] != shape:
        raise ValueError(
            f"values have shape {np.shape(values)}; {shape}, or {shape} and the number of fields, is needed"
        )
    if not np.isfinite(field).all():
        where = np.argwhere(~np.isfinite(field))[0][:-1]
        point = [float(axis[i]) for axis, i in zip(coordinates, where, strict=True)]
        raise ValueError(f"values must be finite, but that at {point} is not")
    for number in range(len(shape)):
        field = _framed(field, number)
    return GridField(Box([axis[0] for axis in coordinates], [axis[-1] for axis in coordinates]), field)


def read_grid(path: str | Path) -> GridField:
    """A field from an `.npz` file with `axis0`, `axis1`, ... and `values`, such as `write_grid` writes.

    If the values have a first axis more, for `ts`, the last time is taken.

    Raises:
        ValueError: arrays that are missing or do not fit together, see `grid_field`.
    """
    arrays = load_npz(Path(path))
    axes = [arrays[name] for name in sorted(name for name in arrays if name.startswith("axis"))]
    if not axes or "values" not in arrays:
        raise ValueError(f"{path} holds {', '.join(arrays)}; axis0, axis1, ... and values are needed")
    values = arrays["values"]
    return grid_field(axes, values[-1] if "ts" in arrays else values)


def write_grid(sol: Solution, path: str | Path, n: int = 101) -> None:
    """Write a solution on a uniform grid of its domain as `.npz`: `ts`, `axis0`, `axis1`, ... and `values`.

    Args:
        sol: the solution.
        path: the file.
        n: points along each axis. In more than 3 dimensions the grid is large: n^d points for every time.

    Raises:
        ValueError: fewer than 3 points.
    """
    if n < 3:
        raise ValueError(f"a grid needs at least 3 points along each axis, but n={n}")
    box = sol.problem.domain
    axes = [np.linspace(lo, hi, n) for lo, hi in zip(box.lo, box.hi, strict=True)]
    X = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.stack([np.asarray(sol(X, i)) for i in range(len(sol.ts))])
    arrays: dict[str, Any] = {f"axis{i}": axis for i, axis in enumerate(axes)}
    with Path(path).open("wb") as file:
        np.savez(file, ts=sol.ts, values=values, **arrays)


def _framed(field: np.ndarray, axis: int) -> np.ndarray:
    """One more value before the first and after the last, on the parabola through the three at that end."""
    a = np.moveaxis(field, axis, 0)
    ends = [3 * a[i] - 3 * a[i + s] + a[i + 2 * s] for i, s in ((0, 1), (-1, -1))]
    return np.moveaxis(np.concatenate([ends[0][None], a, ends[1][None]]), 0, axis)


def _cubic(s: Float[Array, "d"]) -> Float[Array, "d 4"]:
    """Weights of the values at -1, 0, 1, 2 for a place s in [0, 1]."""
    return jnp.stack(
        [
            ((2 - s) * s - 1) * s / 2,
            ((3 * s - 5) * s * s + 2) / 2,
            ((4 - 3 * s) * s + 1) * s / 2,
            (s - 1) * s * s / 2,
        ],
        axis=-1,
    )
