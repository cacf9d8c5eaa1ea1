"""Solutions as functions of space: slices, films, marginal densities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure, plot_band
from offprint.neural_ivp._conserved import marginal
from offprint.neural_ivp._problem import Field
from offprint.neural_ivp._solution import Solution

Number = float | int


def slices(
    solution: Solution,
    *,
    field: int = 0,
    axes: tuple[int, int] = (0, 1),
    outputs: Sequence[int] | None = None,
    resolution: int = 80,
    reference: Field | None = None,
    at: Sequence[Number] | None = None,
) -> Figure:
    """The solution on a plane, a row for each output time; beside it the reference and the difference, if there is one.

    In one dimension the curves of solution and reference, a panel for each output time.

    Args:
        solution: from `solve_ivp`.
        field: which of the fields.
        axes: the coordinates that span the plane.
        outputs: numbers of output times, by default the first, the middle and the last.
        resolution: points along an axis.
        reference: `(x, t) -> (k,)`, by default `exact` of the problem.
        at: the point through which the plane goes, by default the middle of the box.

    Raises:
        ValueError: axes that the box does not have, or twice the same.
    """
    chosen = _spread(len(solution.ts)) if outputs is None else [range(len(solution.ts))[i] for i in outputs]
    exact = solution.problem.exact if reference is None else reference
    points, extent = _plane(solution, axes, resolution, at)
    found = [np.asarray(solution(points, i))[..., field] for i in chosen]
    true = None if exact is None else [_values(exact, points, solution.ts[i])[..., field] for i in chosen]
    times = [f"t = {solution.ts[i]:.3g}" for i in chosen]
    if solution.problem.domain.dim == 1:
        return _curves(points[:, 0], found, true, times)
    columns = ["solution"] if true is None else ["solution", "reference", "difference"]
    figure, panels = new_figure(len(chosen), len(columns), size=(3.1 * len(columns), 2.7 * len(chosen)))
    grid = np.reshape(panels, (len(chosen), len(columns)))
    for row, time in enumerate(times):
        shown = [found[row]] if true is None else [found[row], true[row], found[row] - true[row]]
        reach = max(np.abs(values).max() for values in shown[:2]) or 1.0
        limits = [reach, reach, np.abs(shown[-1]).max() or 1.0][: len(shown)]
        for ax, values, limit, name in zip(grid[row], shown, limits, columns):
            image = ax.imshow(values, origin="lower", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit)
            ax.grid(False)
            ax.set(title=f"{name}, {time}", xlabel=f"x{_sub(axes[0])}", ylabel=f"x{_sub(axes[1])}")
            if name != "reference":
                figure.colorbar(image, ax=ax, shrink=0.85, format="%.2g")
    return figure


def animation(
    solution: Solution,
    path: str | Path,
    *,
    field: int = 0,
    axes: tuple[int, int] = (0, 1),
    frames: int = 40,
    fps: int = 12,
    resolution: int = 80,
    at: Sequence[Number] | None = None,
) -> Path:
    """A film of the solution on a plane, or in one dimension of its curve, as a GIF.

    Args:
        solution: from `solve_ivp`.
        path: the file to write.
        field, axes, resolution, at: as in `slices`.
        frames: how many, evenly spaced in time.
        fps: frames for each second.

    Returns:
        The path.

    Raises:
        ValueError: axes that the box does not have.
    """
    points, extent = _plane(solution, axes, resolution, at)
    times = np.linspace(solution.ts[0], solution.ts[-1], frames)
    values = np.stack([np.asarray(solution(points, t=float(t)))[..., field] for t in times])
    reach = np.abs(values).max() or 1.0
    figure, ax = new_figure(size=(4.4, 3.6))
    if solution.problem.domain.dim == 1:
        (line,) = ax.plot(points[:, 0], values[0])
        ax.set(xlabel="x", ylabel="u", ylim=(min(values.min(), 0) - 0.05 * reach, values.max() + 0.05 * reach))
    else:
        image = ax.imshow(values[0], origin="lower", extent=extent, cmap="RdBu_r", vmin=-reach, vmax=reach)
        ax.grid(False)
        ax.set(xlabel=f"x{_sub(axes[0])}", ylabel=f"x{_sub(axes[1])}")
        figure.colorbar(image, ax=ax)

    ax.set_title(f"t = {times[0]:.3f}")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # once laid out, it stays: most of the time of a frame would go there
    target, writer = Path(path), PillowWriter(fps=fps)
    with writer.saving(figure, target, dpi=90):
        for time, frame in zip(times, values):
            ax.set_title(f"t = {time:.3f}")
            if solution.problem.domain.dim == 1:
                line.set_ydata(frame)
            else:
                image.set_data(frame)
            writer.grab_frame()
    return target


def marginals(
    solution: Solution,
    points: Float[Array | np.ndarray, "m d"],
    *,
    axes: Sequence[int] = (0,),
    outputs: Sequence[int] | None = None,
    field: int = 0,
    resolution: int = 60,
    reference: Mapping[float, Field] | None = None,
) -> Figure:
    """The density integrated over all coordinates but one, a panel for each axis, with two standard errors.

    Args:
        solution: from `solve_ivp`.
        points: (m, d) uniform in the box, over which is averaged.
        axes: the coordinates.
        outputs: numbers of output times, by default the first, the middle and the last.
        field: which field is the density.
        resolution: values of the coordinate.
        reference: output time -> its marginal along the first of the axes, drawn dashed.
    """
    domain = solution.problem.domain
    chosen = _spread(len(solution.ts)) if outputs is None else [range(len(solution.ts))[i] for i in outputs]
    figure, panels = new_figure(1, len(axes))
    for ax, axis in zip(np.ravel(panels), axes):
        grid = np.linspace(domain.lo[axis], domain.hi[axis], resolution)
        for number, i in enumerate(chosen):
            found = _marginal(solution, i, points, axis, grid, field)
            color, t = COLORS[number % len(COLORS)], float(solution.ts[i])
            low, high = found.value - 2 * found.error, found.value + 2 * found.error
            plot_band(ax, grid, low, found.value, high, color=color, label=f"t = {t:.3g}")
            if reference is not None and axis == axes[0] and t in reference:
                true = [float(np.squeeze(reference[t](jnp.asarray(x)))) for x in grid]
                ax.plot(grid, true, "--", color="k", linewidth=1)
        ax.set(xlabel=f"x{_sub(axis)}", ylabel="marginal density")
        ax.legend(frameon=False, fontsize=9)
    return figure


def _marginal(solution: Solution, i: int, points: Any, axis: int, grid: np.ndarray, field: int) -> Any:
    apply, domain, t = solution.apply, solution.problem.domain, float(solution.ts[i])

    @jax.jit
    def compute(theta: Array, X: Array, values: Array) -> Any:
        return marginal(lambda x: apply(theta, x, t), domain, X, axis, values, component=field)

    found = compute(jnp.asarray(solution.thetas[i]), jnp.asarray(points), jnp.asarray(grid))
    return jax.tree.map(np.asarray, found)


def _curves(x: np.ndarray, found: list[np.ndarray], true: list[np.ndarray] | None, times: list[str]) -> Figure:
    figure, panels = new_figure(1, len(times), size=(3.4 * len(times), 2.8))
    for number, (ax, time) in enumerate(zip(np.ravel(panels), times)):
        ax.plot(x, found[number], label="solution")
        if true is not None:
            ax.plot(x, true[number], "--", color="k", linewidth=1, label="reference")
        ax.set(xlabel="x", title=time)
        ax.legend(frameon=False, fontsize=9)
    return figure


def _plane(
    solution: Solution, axes: tuple[int, int], resolution: int, at: Sequence[Number] | None
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Points of the plane, (rows, columns, d), or of the line in one dimension; and its corners."""
    domain = solution.problem.domain
    if domain.dim == 1:
        return np.linspace(domain.lo[0], domain.hi[0], resolution)[:, None], (domain.lo[0], domain.hi[0], 0.0, 0.0)
    first, second = axes
    if first == second or not all(0 <= axis < domain.dim for axis in axes):
        raise ValueError(f"axes={axes}; two different coordinates of 0 to {domain.dim - 1} are needed")
    middle = (domain.lower + domain.upper) / 2 if at is None else np.asarray(at, float)
    points = np.broadcast_to(middle, (resolution, resolution, domain.dim)).copy()
    points[..., first] = np.linspace(domain.lo[first], domain.hi[first], resolution)[None, :]
    points[..., second] = np.linspace(domain.lo[second], domain.hi[second], resolution)[:, None]
    return points, (domain.lo[first], domain.hi[first], domain.lo[second], domain.hi[second])


def _values(exact: Any, points: np.ndarray, t: float) -> np.ndarray:
    flat = jnp.asarray(points.reshape(-1, points.shape[-1]))
    values = jax.jit(jax.vmap(lambda x: exact(x, float(t))))(flat)
    return np.asarray(values).reshape(*points.shape[:-1], -1)


def _spread(count: int) -> list[int]:
    """The first, the middle and the last."""
    return sorted({0, (count - 1) // 2 if count > 2 else 0, count - 1})


def _sub(axis: int) -> str:
    return f"$_{{{axis + 1}}}$"
