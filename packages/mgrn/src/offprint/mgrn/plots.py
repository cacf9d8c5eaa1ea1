"""Plots of training, predictions, gates and comparisons: functions that take results and return a matplotlib Figure.

Figures come from `offprint.core.plots`, so they look alike and nothing global is touched.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix as count_pairs

from offprint.core.plots import COLORS, new_figure

Values = ArrayLike | Sequence[float | int]
Labels = np.ndarray | Sequence[Any]

_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _GREY = COLORS


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss by epoch, of training and of validation where there was one; the validation score beside it.

    Args:
        history: `history_` of an `MGRNEstimator`: rows with `epoch`, `loss` and, optionally, `val_loss`, `val_score`.

    Raises:
        ValueError: no rows, or rows without `epoch` and `loss`.
    """
    if not history or not {"epoch", "loss"} <= history[0].keys():
        raise ValueError("learning curves need rows with 'epoch' and 'loss', as in history_ of a fitted estimator")
    scored = any("val_score" in row for row in history)
    figure, panels = new_figure(1, 1 + scored)
    left, *right = np.atleast_1d(panels)
    _curve(left, history, "loss", label="training", color=_BLUE)
    if any("val_loss" in row for row in history):
        _curve(left, history, "val_loss", label="validation", color=_VERMILLION)
        _mark_best(left, history, "val_loss", min)
    left.set(xlabel="epoch", ylabel="loss")
    left.legend(frameon=False)
    for ax in right:
        _curve(ax, history, "val_score", label="validation", color=_VERMILLION)
        _mark_best(ax, history, "val_score", max)
        ax.set(xlabel="epoch", ylabel="score")
    return figure


def confusion_matrix(true: Labels, predicted: Labels, classes: Labels | None = None) -> Figure:
    """Counts of every pair of true and predicted class; the colour is the share of the true class.

    Args:
        true, predicted: (n,) labels of the same kind.
        classes: in the order of the axes; all that occur, sorted, by default.

    Raises:
        ValueError: lengths that differ, or none of the labels among `classes`.
    """
    labels = np.union1d(np.asarray(true), np.asarray(predicted)) if classes is None else np.asarray(classes)
    counts = count_pairs(np.asarray(true), np.asarray(predicted), labels=labels)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(3.6, 1.6 + 0.38 * len(labels))
    figure, ax = new_figure(size=(side + 0.9, side))
    ax.grid(False)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, str(count), ha="center", va="center", fontsize=8, color=color)
    names = [str(label) for label in labels]
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=ax, label="share of the true class")
    return figure


def gate_map(
    marginal: ArrayLike, joint: ArrayLike, *, group_names: Sequence[str] | None = None, first_step: int = 1
) -> Figure:
    """Heat map of mean update gates over time: one row for each group's z_t^k, and the joint memory's below.

    A gate of 1 keeps the memory, a gate of 0 replaces it.

    Args:
        marginal: (G, T), mean of z_t^k over sequences and units, in [0, 1]; of `update_gates`.
        joint: (T,), mean of the joint gate.
        group_names: G names; numbers from 1 by default.
        first_step: what the time axis begins with.

    Raises:
        ValueError: shapes that do not go together.
    """
    rows, last = np.atleast_2d(np.asarray(marginal)), np.asarray(joint)
    names = [f"group {k}" for k in range(1, len(rows) + 1)] if group_names is None else list(group_names)
    if last.shape != rows.shape[1:] or len(names) != len(rows):
        raise ValueError(
            f"gates of shape (G, T), a joint gate (T,) and G names are needed, got {rows.shape}, {last.shape} and "
            f"{len(names)} names"
        )
    steps = rows.shape[1]
    figure, (upper, lower) = new_figure(2, 1, size=(6.4, 2.0 + 0.24 * len(rows)))
    upper.get_gridspec().set_height_ratios([max(len(rows), 2), 1])
    edges = first_step - 0.5, first_step + steps - 0.5
    for ax, values, labels in ((upper, rows, names), (lower, last[None], ["joint"])):
        ax.grid(False)
        image = ax.imshow(
            values, aspect="auto", vmin=0, vmax=1, cmap="viridis", extent=(*edges, len(values), 0), interpolation="none"
        )
        ax.set_yticks(np.arange(len(values)) + 0.5, labels)
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("time step")
    figure.colorbar(image, ax=[upper, lower], label="mean update gate (1 keeps, 0 replaces)")
    return figure


def difference_boxes(
    differences: Mapping[str, Values],
    *,
    ylabel: str = "MSE(model) - MSE(reference)",
    lines: Mapping[str, float | int] | None = None,
) -> Figure:
    """Box plots of differences to a reference, one box for each model (Figure 2 of the paper).

    Args:
        differences: label -> (n,) differences, one for each data set; all points are drawn.
        ylabel: of the axis.
        lines: label -> height of a dashed line, such as the theoretical minimum.

    Raises:
        ValueError: nothing to draw, or values that are not finite.
    """
    values = {label: np.asarray(value, float).ravel() for label, value in differences.items()}
    if not values or any(not value.size or not np.isfinite(value).all() for value in values.values()):
        raise ValueError(f"every box needs finite values, got {', '.join(values) or 'no box'}")
    figure, ax = new_figure(size=(max(4.8, 1.1 * len(values) + 1.5), 3.8))
    ax.axhline(0, color=_GREY, linewidth=1.0)
    for number, (label, height) in enumerate((lines or {}).items()):
        ax.axhline(height, color=COLORS[(number + 1) % len(COLORS)], linewidth=1.0, linestyle=(0, (4, 2)), label=label)
    places = np.arange(1, len(values) + 1)
    ax.boxplot(
        list(values.values()),
        positions=places,
        widths=0.5,
        showfliers=False,
        medianprops={"color": _VERMILLION, "linewidth": 1.6},
        boxprops={"color": _BLUE},
        whiskerprops={"color": _BLUE},
        capprops={"color": _BLUE},
    )
    for place, value in zip(places, values.values()):
        ax.plot(place + _spread(len(value), 0.12), value, linestyle="none", marker="o", markersize=3, color=_BLACK)
    ax.set_xticks(places, list(values), rotation=20 if max(map(len, values)) > 8 else 0)
    ax.set_ylabel(ylabel)
    ax.grid(False, axis="x")
    if lines:
        figure.legend(loc="outside lower center", frameon=False, ncols=2)
    return figure


def metric_bars(values: Mapping[str, Values], *, metric: str = "score") -> Figure:
    """Mean over seeds of a metric for each model, with its standard deviation; a dot for every seed.

    Args:
        values: label -> (seeds,) values.
        metric: name of the axis.

    Raises:
        ValueError: nothing to draw, or values that are not finite.
    """
    seeds = {label: np.asarray(value, float).ravel() for label, value in values.items()}
    if not seeds or any(not value.size or not np.isfinite(value).all() for value in seeds.values()):
        raise ValueError(f"every bar needs finite values, got {', '.join(seeds) or 'no bar'}")
    figure, ax = new_figure(size=(max(4.2, 1.0 * len(seeds) + 1.5), 3.4))
    places = np.arange(len(seeds))
    means = [value.mean() for value in seeds.values()]
    deviations = [value.std(ddof=1) if value.size > 1 else 0.0 for value in seeds.values()]
    shades = [COLORS[i % len(COLORS)] for i in places]
    ax.bar(places, means, 0.6, color=shades, alpha=0.7, yerr=deviations, error_kw={"elinewidth": 1.2, "capsize": 3})
    for place, value in zip(places, seeds.values()):
        ax.plot(place + _spread(value.size, 0.15), value, linestyle="none", marker="o", markersize=3, color=_BLACK)
    ax.set_xticks(places, list(seeds))
    ax.set_ylabel(metric)
    ax.grid(False, axis="x")
    return figure


def _curve(ax: Axes, history: Sequence[Mapping[str, Any]], name: str, **line: Any) -> None:
    rows = [row for row in history if name in row]
    ax.plot([row["epoch"] for row in rows], [row[name] for row in rows], **line)


def _mark_best(ax: Axes, history: Sequence[Mapping[str, Any]], name: str, better: Any) -> None:
    best = better((row for row in history if name in row), key=lambda row: row[name])
    ax.plot(best["epoch"], best[name], marker="o", markersize=5, color=_VERMILLION)


def _spread(count: int, width: float) -> np.ndarray:
    """Horizontal places of points, side by side, so that equal values stay visible."""
    return np.linspace(-width, width, count) if count > 1 else np.zeros(1)
