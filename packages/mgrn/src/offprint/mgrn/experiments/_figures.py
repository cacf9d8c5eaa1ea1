"""Figures that several experiments draw."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure, plot_band

Curves = Mapping[str, Float[np.ndarray, "seeds epochs"]]


def accuracy_curves(curves: Curves, *, lines: Mapping[str, float] | None = None) -> Figure:
    """Accuracy by epoch: mean over the seeds with the range between the least and the greatest.

    Args:
        curves: label -> accuracies.
        lines: label -> height of a dashed line, such as a published value.
    """
    figure, ax = new_figure()
    for label, values in curves.items():
        epochs = np.arange(1, values.shape[1] + 1)
        plot_band(ax, epochs, values.min(axis=0), values.mean(axis=0), values.max(axis=0), label=label)
    _dashed(ax, lines or {})
    lowest = min(float(values[:, values.shape[1] // 5 :].min()) for values in curves.values())
    ax.set(xlabel="epoch", ylabel="accuracy", ylim=(max(0.0, lowest - 0.05), 1.0))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def error_curves(curves: Curves, excess: Curves, minimum: float) -> Figure:
    """Validation MSE by epoch with the theoretical minimum, and the excess over the conditional mean beside it."""
    figure, (left, right) = new_figure(1, 2)
    for ax, values in ((left, curves), (right, excess)):
        for number, (label, rows) in enumerate(values.items()):
            epochs = np.arange(1, rows.shape[1] + 1)
            for row in rows:
                ax.plot(epochs, row, color=COLORS[number % len(COLORS)], linewidth=1.2, label=label)
                label = "_"  # one entry of the legend for all seeds
        ax.set(xlabel="epoch")
    _dashed(left, {"theoretical minimum": minimum})
    left.set(ylabel="validation MSE")
    right.set(ylabel="excess over the conditional mean", yscale="log")
    left.legend(frameon=False, fontsize=8)
    return figure


def _dashed(ax, lines: Mapping[str, float]) -> None:
    for number, (label, height) in enumerate(lines.items()):
        ax.axhline(height, color=("#000000", "#555555")[number % 2], linewidth=1.0, linestyle=(0, (4, 2)), label=label)
