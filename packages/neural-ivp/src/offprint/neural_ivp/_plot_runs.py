"""Runs in numbers: curves over time, spectra, costs and iterations."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure
from offprint.neural_ivp._solution import Solution

Number = float | int
Values = Sequence[float | int] | np.ndarray | Array
Curve = tuple[Values, Values]

QUANTITIES = {
    "rho": "relative residual",
    "rho_fresh": "the same on fresh points",
    "h": "step tried",
    "cg_iters": "CG iterations",
    "d_eff": "effective dimension",
    "theta_norm": "‖θ‖",
    "speed": "‖dθ/dt‖",
    "error": "estimated error of the step",
}
"""What `evolution` knows of a history, and how it is called there."""


def over_time(
    curves: Mapping[str, Curve], label: str, *, log: bool = True, marks: Mapping[str, Sequence[Number]] | None = None
) -> Figure:
    """Curves over time, such as relative errors of several methods.

    Args:
        curves: name -> (times, values).
        label: of the vertical axis.
        log: a logarithmic axis.
        marks: name -> times at which something happened, dotted lines in the colour of that curve.
    """
    figure, ax = new_figure()
    for number, (name, (times, values)) in enumerate(curves.items()):
        color, style = COLORS[number % len(COLORS)], "o-" if np.size(times) <= 12 else "-"
        ax.plot(np.asarray(times), np.asarray(values), style, color=color, markersize=4, label=name)
        for time in (marks or {}).get(name, ()):
            ax.axvline(float(time), color=color, linestyle=":", linewidth=1.2)
    ax.set(xlabel="t", ylabel=label, yscale="log" if log else "linear")
    ax.legend(frameon=False, fontsize=9)
    return figure


def residuals(solutions: Mapping[str, Solution]) -> Figure:
    """The relative residual of the PDE on fresh points, at every accepted step; restarts are dotted lines.

    Args:
        solutions: name, such as with and without restarts -> solution.
    """
    curves, marks = {}, {}
    for name, solution in solutions.items():
        steps = solution.history[solution.history["accepted"]]
        curves[name] = (steps["t"], steps["rho_fresh"])
        marks[name] = restarts(solution)
    return over_time(curves, "relative residual", marks=marks)


def restarts(solution: Solution) -> list[float]:
    """The times at which weights were replaced."""
    return [float(fit["t"]) for fit in solution.restarts[1:] if fit["kept"]]


def evolution(solutions: Solution | Mapping[str, Solution], quantities: Sequence[str] = tuple(QUANTITIES)) -> Figure:
    """What the history holds over time, a panel for each quantity: residuals, steps, iterations, d_eff, ‖θ‖.

    Args:
        solutions: a solution, or several by name.
        quantities: columns of `Solution.history`; those that are all zero or not known (iterations of a direct
            solver) are left out. Restarts are dotted lines.

    Raises:
        ValueError: nothing is left to draw.
    """
    named = {"": solutions} if isinstance(solutions, Solution) else dict(solutions)
    tables = {name: solution.history[solution.history["accepted"]] for name, solution in named.items()}
    kept = [q for q in quantities if any(_telling(table, q) for table in tables.values())]
    if not kept:
        raise ValueError(f"no history has an accepted step with any of {', '.join(quantities)}")
    rows = -(-len(kept) // 3)
    figure, panels = new_figure(rows, min(len(kept), 3), size=(3.6 * min(len(kept), 3), 2.6 * rows))
    drawn: dict[str, Artist] = {}
    for ax, quantity in zip(np.ravel(panels), kept):
        for number, (name, table) in enumerate(tables.items()):
            if _telling(table, quantity):
                (line,) = ax.plot(table["t"], table[quantity], color=COLORS[number % len(COLORS)])
                drawn.setdefault(name, line)
            for time in restarts(named[name]):
                ax.axvline(time, color=COLORS[number % len(COLORS)], linestyle=":", linewidth=1.2)
        ax.set(xlabel="t", ylabel=QUANTITIES.get(quantity, quantity), yscale="log")
    for ax in np.ravel(panels)[len(kept) :]:
        ax.set_visible(False)
    if len(drawn) > 1:
        figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=len(drawn), frameon=False)
    return figure


def eigenvalues(spectra: Mapping[str, Values], *, floor: Number = 1e-16) -> Figure:
    """Decay of the eigenvalues of M, a curve for each time or run.

    Args:
        spectra: name -> eigenvalues, descending, as `spectrum` gives them.
        floor: what is below this share of the largest of all is not drawn: there is rounding alone.
    """
    figure, ax = new_figure()
    least = floor * max(np.max(np.asarray(lam)) for lam in spectra.values())
    for number, (name, lam) in enumerate(spectra.items()):
        shown = np.asarray(lam)[np.asarray(lam) > least]
        ax.plot(np.arange(1, len(shown) + 1), shown, color=COLORS[number % len(COLORS)], label=name)
    ax.set(xlabel="number", ylabel="eigenvalue of M", yscale="log")
    ax.legend(frameon=False, fontsize=9)
    return figure


def scaling(curves: Mapping[str, Curve], label: str, xlabel: str = "weights p") -> Figure:
    """Cost over the number of weights, both axes logarithmic, with the exponent of each curve.

    Args:
        curves: name -> (sizes, seconds or bytes or errors).
        label: of the vertical axis.
        xlabel: of the horizontal one.
    """
    figure, ax = new_figure()
    for number, (name, (sizes, costs)) in enumerate(curves.items()):
        named = f"{name}, slope {slope(sizes, costs):.2f}" if np.size(sizes) > 1 else name
        ax.plot(np.asarray(sizes), np.asarray(costs), "o-", color=COLORS[number % len(COLORS)], label=named)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=label)
    ax.legend(frameon=False, fontsize=9)
    return figure


def slope(sizes: Values, costs: Values) -> float:
    """Exponent of growth: the slope of the straight line through (log size, log cost), by least squares."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float)), 1)[0])


def iterations(counts: Mapping[str, Mapping[str, Number]]) -> Figure:
    """Iterations of the conjugate gradients in groups of bars, such as with and without preconditioner.

    Args:
        counts: kind of problem -> name of the bar -> iterations.
    """
    names = list(dict.fromkeys(name for bars in counts.values() for name in bars))
    figure, ax = new_figure(size=(max(4.8, 0.95 * len(counts) + 1.5), 3.4))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        heights = [bars.get(name, np.nan) for bars in counts.values()]
        places = np.arange(len(counts)) + (number - (len(names) - 1) / 2) * width
        drawn = ax.bar(places, heights, width, color=COLORS[number % len(COLORS)], label=name)
        ax.bar_label(drawn, fmt="%g", fontsize=7)
    ax.set_xticks(range(len(counts)), list(counts), rotation=20, ha="right")
    ax.set(ylabel="iterations", yscale="log")
    ax.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names))
    return figure


def _telling(table: np.ndarray, quantity: str) -> bool:
    names = table.dtype.names or ()
    return quantity in names and len(table) > 0 and bool((np.nan_to_num(table[quantity]) > 0).any())
