"""Models and what is inside of them in pictures: functions that take arrays or results and return a Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure
from offprint.magnn._metrics import RankingMetrics

Number = float | int

MODEL_COLORS = dict(
    zip(
        ("MA-GNN", "BPR-MF", "HGN", "GRU4Rec", "SASRec", "MA-GNN, window graph", "chain known", "popularity"),
        COLORS,
        strict=True,
    )
)
"""A model has the same colour in every figure; what is not named here takes the colours that are free, in order."""


def metric_by_k(results: Mapping[str, Sequence[RankingMetrics]], metrics: Sequence[str] = ("recall", "ndcg")) -> Figure:
    """Ranking metrics against the length K of the lists, a panel for each metric, a line for each model.

    Args:
        results: model -> results of its seeds; the line is their mean, the dots are the seeds.
        metrics: names of `RankingMetrics`.
    """
    figure, axes = new_figure(1, len(metrics))
    colors = _colors(results)
    for ax, metric in zip(np.atleast_1d(axes).flat, metrics):
        for model, seeds in results.items():
            ks = list(getattr(seeds[0], metric))
            values = np.array([[getattr(seed, metric)[k] for k in ks] for seed in seeds])
            ax.plot(ks, values.mean(axis=0), color=colors[model], label=model)
            ax.plot(ks, values.T, "o", color=colors[model], markersize=3)
        ax.set_xticks(ks)
        ax.set(xlabel="$K$", ylabel=_label(metric), ylim=(0, None))
    _legend(figure, np.atleast_1d(axes).flat[0])
    return figure


def training_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], quantities: Mapping[str, str]
) -> Figure:
    """Loss and metrics over the epochs, a panel for each quantity, a line for each seed of each model.

    Args:
        histories: model -> histories of its seeds, each as `Fitted.history` is: rows with "epoch".
        quantities: label of the vertical axis -> name in the rows, such as "loss" or "val_ndcg@10"; rows that have it
            not are skipped.
    """
    figure, axes = new_figure(1, len(quantities))
    colors = _colors(histories)
    for ax, (label, name) in zip(np.atleast_1d(axes).flat, quantities.items()):
        for model, seeds in histories.items():
            for seed, rows in enumerate(seeds):
                points = np.array([(row["epoch"], row[name]) for row in rows if name in row]).reshape(-1, 2)
                marker = "o" if len(points) <= 20 else ""
                ax.plot(*points.T, marker=marker, markersize=3, color=colors[model], label=model if seed == 0 else None)
        ax.set(xlabel="epoch", ylabel=label)
    _legend(figure, np.atleast_1d(axes).flat[0])
    return figure


def ablation_bars(panels: Mapping[str, Mapping[str, ArrayLike | Sequence[Number]]]) -> Figure:
    """A panel for each metric, a bar for each variant: the mean of its seeds, which are dots.

    Args:
        panels: label -> variant -> one value or several. A variant has the same colour in all panels.
    """
    names = list(dict.fromkeys(name for variants in panels.values() for name in variants))
    colors = _colors(names)
    figure, axes = new_figure(1, len(panels))
    for ax, (label, variants) in zip(np.atleast_1d(axes).flat, panels.items()):
        for place, (name, values) in enumerate(variants.items()):
            seeds = np.atleast_1d(np.asarray(values, float))
            ax.barh(place, seeds.mean(), 0.7, color=colors[name], alpha=0.8)
            ax.plot(seeds, np.full(seeds.size, place), "o", color="k", markersize=3)
        ax.set_yticks(range(len(variants)), list(variants))
        ax.invert_yaxis()  # the first variant on top
        ax.set_xlabel(label)
    return figure


def memory_attention(weights: Float[Array | np.ndarray, "items m"], items: Sequence[Any]) -> Figure:
    """How much each memory unit answers to each item, as a heat map.

    Args:
        weights: rows that sum to 1, such as `MAGNN.memory_weights(items)`.
        items: their names or ids.
    """
    cells = np.asarray(weights, float)
    figure, ax = new_figure(size=(max(4.8, 0.3 * cells.shape[1] + 2), max(2.0, 0.4 * len(cells) + 1)))
    image = ax.imshow(cells, cmap="viridis", aspect="auto", vmin=0)
    ax.set_yticks(range(len(cells)), [str(item) for item in items])
    ax.set_xticks(range(0, cells.shape[1], max(1, cells.shape[1] // 10)))
    ax.set_xlabel("memory unit")
    ax.grid(False)
    figure.colorbar(image, ax=ax, label="weight")
    return figure


def gate_histogram(gates: Mapping[str, Float[Array | np.ndarray, "users d"]]) -> Figure:
    """How the gate g of Eq. 6 is spread: near 1 the short-term interest is taken, near 0 the long-term one.

    Args:
        gates: label -> gates, all dimensions counted alike.
    """
    figure, ax = new_figure()
    colors = _colors(gates)
    for label, gate in gates.items():
        values = np.asarray(gate, float).ravel()
        weights = np.full(values.size, 1 / values.size)
        ax.hist(
            values, np.linspace(0, 1, 41), weights=weights, histtype="step", lw=1.6, color=colors[label], label=label
        )
    ax.set(xlabel="gate $g$ (1: short-term, 0: long-term)", ylabel="share of users and dimensions", xlim=(0, 1))
    _legend(figure, ax)
    return figure


def metric_by_history(
    lengths: Int[Array | np.ndarray, " users"],
    values: Mapping[str, Float[Array | np.ndarray, " users"]],
    label: str = "NDCG@10",
    bins: int = 5,
) -> Figure:
    """A metric of users with short and with long histories: means of equally large groups with their standard error.

    Args:
        lengths: items in each user's history.
        values: model -> the metric of each user.
        label: of the vertical axis.
        bins: groups, from the shortest to the longest histories; groups that would be alike are joined.

    Raises:
        ValueError: numbers of users that differ.
    """
    lengths = np.asarray(lengths)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, bins + 1)))
    group = np.clip(np.searchsorted(edges, lengths, side="right") - 1, 0, max(len(edges) - 2, 0))
    groups = [np.flatnonzero(group == number) for number in np.unique(group)]
    names = [f"{lengths[rows].min()}–{lengths[rows].max()}" for rows in groups]
    figure, ax = new_figure()
    colors = _colors(values)
    for model, per_user in values.items():
        numbers = np.asarray(per_user, float)
        if numbers.shape != lengths.shape:
            raise ValueError(f"{model}: values of {numbers.shape} do not fit the lengths of {lengths.shape}")
        means = [numbers[rows].mean() for rows in groups]
        errors = [numbers[rows].std() / np.sqrt(len(rows)) for rows in groups]
        ax.errorbar(range(len(groups)), means, errors, marker="o", markersize=3, color=colors[model], label=model)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel="items in the user's history", ylabel=label, ylim=(0, None))
    _legend(figure, ax)
    return figure


def sensitivity(
    panels: Mapping[str, Mapping[Number, ArrayLike | Sequence[Number]]],
    label: str = "NDCG@10",
    baselines: Mapping[str, Number] | None = None,
) -> Figure:
    """A metric over the values of each setting, a panel for each: the line is the mean of the seeds, which are dots.

    Args:
        panels: setting, such as "h" -> its value -> the metric, one or several seeds.
        label: of the vertical axis.
        baselines: model -> its metric, a dashed line in all panels.
    """
    figure, axes = new_figure(1, len(panels))
    baselines = baselines or {}
    colors = _colors(["MA-GNN", *baselines])
    for ax, (setting, points) in zip(np.atleast_1d(axes).flat, panels.items()):
        seeds = {value: np.atleast_1d(np.asarray(points[value], float)) for value in sorted(points)}
        ax.plot(list(seeds), [found.mean() for found in seeds.values()], color=colors["MA-GNN"], label="MA-GNN")
        for value, found in seeds.items():
            ax.plot(np.full(found.size, value), found, "o", color=colors["MA-GNN"], markersize=3)
        for model, level in baselines.items():
            ax.axhline(level, linestyle="--", color=colors[model], label=model)
        ax.set_xticks(list(seeds))
        ax.set(xlabel=f"${setting}$", ylabel=label, ylim=(0, None))
    _legend(figure, np.atleast_1d(axes).flat[0])
    return figure


def _colors(names: Mapping[str, Any] | Sequence[str]) -> dict[str, str]:
    known = {name: MODEL_COLORS[name] for name in names if name in MODEL_COLORS}
    free = [color for color in COLORS if color not in known.values()] or list(COLORS)
    others = [name for name in names if name not in known]
    return known | {name: free[place % len(free)] for place, name in enumerate(others)}


def _label(metric: str) -> str:
    return f"{metric.upper() if metric in ('map', 'ndcg', 'mrr') else metric.capitalize()}@$K$"


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    columns = min(len(labels), 4)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=9)
