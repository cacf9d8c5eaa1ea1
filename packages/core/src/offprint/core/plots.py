"""One look for every figure.

Figures are made without pyplot and without touching matplotlib's global settings: many threads may draw at
once, nothing opens a window, and the user's own matplotlib style is left alone.
"""

from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#555555")
"""Colours for any kind of colour vision: the set of Okabe and Ito, with a grey in place of its yellow."""

PANEL_SIZE = (4.8, 3.4)
"""Width and height of one panel in inches."""


def new_figure(
    rows: int = 1, cols: int = 1, *, size: tuple[float | int, float | int] | None = None
) -> tuple[Figure, Any]:
    """A figure with a grid of empty panels.

    Args:
        rows, cols: number of panels.
        size: width and height of the whole figure in inches; PANEL_SIZE for each panel by default.

    Returns:
        The figure, and its one Axes, or an array of them of shape ``(rows, cols)`` without the sides of
        length 1, as ``matplotlib.pyplot.subplots`` has it.

    Raises:
        ValueError: fewer than one row or column.
    """
    if rows < 1 or cols < 1:
        raise ValueError(f"a figure needs at least one row and one column, not rows={rows}, cols={cols}")
    figure = Figure(figsize=size or (PANEL_SIZE[0] * cols, PANEL_SIZE[1] * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, cols, squeeze=False)
    for ax in panels.flat:
        _style(ax)
    if rows == cols == 1:
        return figure, panels[0, 0]
    return figure, panels.squeeze()


def _style(ax: Axes) -> None:
    ax.set_prop_cycle(color=COLORS, linewidth=[1.6] * len(COLORS))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color="#d9d9d9", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=9)
    ax.title.set_fontsize(11)
    ax.xaxis.label.set_fontsize(10)
    ax.yaxis.label.set_fontsize(10)


def plot_band(
    ax: Axes,
    x: Real[ArrayLike, " points"],
    low: Real[ArrayLike, " points"],
    middle: Real[ArrayLike, " points"],
    high: Real[ArrayLike, " points"],
    **line: Any,
) -> None:
    """A curve with the band around it, such as a mean over seeds with its interval.

    Args:
        ax: where to draw.
        x: positions, shape ``(points,)``.
        low, middle, high: lower edge, curve and upper edge, each of shape ``(points,)``.
        **line: passed to ``Axes.plot``: label, color, linestyle, ...
    """
    (drawn,) = ax.plot(np.asarray(x), np.asarray(middle), **line)
    ax.fill_between(np.asarray(x), np.asarray(low), np.asarray(high), color=drawn.get_color(), alpha=0.2, linewidth=0)
