"""The figures that the program `offprint-neural-ivp` writes beside a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from offprint.core.plots import new_figure
from offprint.neural_ivp import plots
from offprint.neural_ivp._solution import Solution

ERROR = "relative L2"
"""Column of the outputs with the error against the reference."""


def draw(
    folder: Path,
    solution: Solution,
    outputs: Sequence[Mapping[str, Any]],
    what: str = "all",
    axes: tuple[int, int] = (0, 1),
    field: int = 0,
    frames: int = 40,
) -> list[Path]:
    """Write figures of a run into its folder.

    Args:
        folder: of the run.
        solution: its solution.
        outputs: what was measured of it at the output times.
        what: "all", or one of solution, errors, residual, history, animation. All leaves out what there is nothing
            to draw of, and the animation, which takes longer than the others together.
        axes: coordinates of a slice.
        field: which field.
        frames: of the animation.

    Returns:
        The files.

    Raises:
        ValueError: the one figure that was asked for has nothing to show.
    """
    makers = {
        "solution": lambda: plots.slices(solution, field=field, axes=axes),
        "errors": lambda: plots.over_time({"u": _errors(outputs)}, f"{ERROR} error"),
        "residual": lambda: plots.residuals({"on fresh points": solution}),
        "history": lambda: plots.evolution(solution),
    }
    if what == "animation":
        if len(solution.ts) < 2:
            raise ValueError("the run has no output after its first one: there is nothing that moves")
        return [plots.animation(solution, folder / "animation.gif", field=field, axes=axes, frames=frames)]
    chosen = [what]
    if what == "all":
        stepped = len(solution.history) > 0 and solution.history["accepted"].any()
        compared = bool(outputs) and ERROR in outputs[0]
        chosen = ["solution", *(["errors"] if compared else []), *(["residual", "history"] if stepped else [])]
    written = []
    for name in chosen:
        written.append(folder / f"{name}.png")
        makers[name]().savefig(written[-1])
    return written


def spectrum_figure(solution: Solution, spectra: Sequence[np.ndarray]) -> Figure:
    """Eigenvalues of M at the output times."""
    return plots.eigenvalues({f"t = {t:.3g}": lam for t, lam in zip(solution.ts, spectra)})


def comparison_figure(solutions: Mapping[str, Solution], rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Error (where there is a reference) and residual over time, a curve for each method."""
    compared = ERROR in rows[0]
    figure, panels = new_figure(1, 2 if compared else 1)
    for name, solution in solutions.items():
        steps = solution.history[solution.history["accepted"]]
        curves = [(steps["t"], steps["rho_fresh"], "relative residual on fresh points")]
        if compared:
            errors = _errors([row for row in rows if row["method"] == name])
            curves.insert(0, (*errors, f"{ERROR} error"))
        for ax, (times, values, label) in zip(np.ravel(panels), curves):
            ax.plot(times, values, "o-" if len(times) <= 12 else "-", markersize=4, label=name)
            ax.set(xlabel="t", ylabel=label, yscale="log")
    np.ravel(panels)[0].legend(frameon=False, fontsize=9)
    return figure


def _errors(outputs: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    if not outputs or ERROR not in outputs[0]:
        raise ValueError("the problem has no exact solution, so that there are no errors to draw")
    return np.array([row["t"] for row in outputs]), np.array([row[ERROR] for row in outputs])
