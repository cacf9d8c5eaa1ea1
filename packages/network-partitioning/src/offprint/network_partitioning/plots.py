"""The method in pictures: functions that take arrays or curves and return a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure, plot_band

Number = float | int
Curve = tuple[ArrayLike, ArrayLike]
Images = Float[Array, "images height width channels"] | Float[np.ndarray, "images height width channels"]
Samples = (
    Float[Array, "samples images height width channels"] | Float[np.ndarray, "samples images height width channels"]
)


def curves(
    panels: Mapping[str, Mapping[str, Sequence[Curve]]],
    *,
    truth: Mapping[str, Number] | None = None,
    xlabel: str = "step",
) -> Figure:
    """Hyperparameters or losses over steps: a panel for each quantity, a colour for each way, a line for each seed.

    Args:
        panels: label of the vertical axis -> way -> its seeds' (steps, values).
        truth: label of the vertical axis -> the true value, a dashed line.
        xlabel: what runs from left to right.
    """
    figure, axes = new_figure(1, len(panels))
    drawn: dict[str, Artist] = {}
    names = list(dict.fromkeys(way for ways in panels.values() for way in ways))
    for ax, (quantity, ways) in zip(np.atleast_1d(axes).flat, panels.items()):
        for way, seeds in ways.items():
            for steps, values in seeds:
                mark = "o" if np.size(steps) == 1 else ""  # a line through one point is not seen
                color = COLORS[names.index(way) % len(COLORS)]
                (line,) = ax.plot(np.asarray(steps), np.asarray(values), marker=mark, color=color, alpha=0.8)
                drawn.setdefault(way, line)
        if truth is not None and quantity in truth:
            drawn.setdefault("truth", ax.axhline(float(truth[quantity]), color="0.3", linestyle="--", linewidth=1))
        ax.set(xlabel=xlabel, ylabel=quantity)
    _legend(figure, drawn)
    return figure


def model_selection(
    choices: Sequence[Number],
    losses: Mapping[str, Float[ArrayLike, "_ choices"]],
    *,
    truth: Number | None = None,
    xlabel: str = "inputs kept, $M$",
) -> Figure:
    """What each criterion says of a row of models: its mean over the seeds, the band of all seeds, its minimum.

    Args:
        choices: what the models differ in, such as how many inputs they keep.
        losses: criterion -> nats per example of every seed and model; the smallest mean is marked.
        truth: the right choice, a dashed line.
        xlabel: what the models differ in, in words.
    """
    figure, ax = new_figure()
    x = np.asarray(choices, float)
    for number, (name, values) in enumerate(losses.items()):
        seeds = np.atleast_2d(np.asarray(values, float))
        mean, color = seeds.mean(0), COLORS[number % len(COLORS)]
        plot_band(ax, x, seeds.min(0), mean, seeds.max(0), color=color, label=name)
        ax.plot(x[mean.argmin()], mean.min(), "o", color=color, markersize=8)
    if truth is not None:
        ax.axvline(float(truth), color="0.3", linestyle="--", linewidth=1, label="truth")
    ax.set(xlabel=xlabel, ylabel="nats per example")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def keep_probabilities(
    probabilities: Float[ArrayLike, "times inputs"], steps: Int[ArrayLike, " times"], *, informative: int | None = None
) -> Figure:
    """The keep-probability of every input over the steps of a training, as a heat map.

    Args:
        probabilities: from 0 to 1.
        steps: of the rows, in equal distances.
        informative: how many of the first inputs know something; a line is drawn behind them.
    """
    values, when = np.asarray(probabilities, float), np.asarray(steps)
    inputs = values.shape[1]
    figure, ax = new_figure()
    extent = (float(when[0]), float(when[-1]) if len(when) > 1 else float(when[0]) + 1, 0.5, inputs + 0.5)
    picture = ax.imshow(values.T, aspect="auto", origin="lower", extent=extent, vmin=0, vmax=1, cmap="cividis")
    if informative is not None:
        ax.axhline(informative + 0.5, color="w", linestyle="--", linewidth=1.2)
    ax.set(xlabel="step", ylabel="input")
    ax.grid(False)
    figure.colorbar(picture, ax=ax, label="probability that it is kept")
    return figure


def augmented_images(images: Images, samples: Mapping[str, Samples]) -> Figure:
    """Images, and below each its samples under an augmentation, such as before and after it was learned.

    Args:
        images: a few, grey or RGB, of any scale: each picture is drawn from its least to its greatest value.
        samples: name of a block of rows -> samples of every image.
    """
    count = len(images)
    rows = 1 + sum(len(block) for block in samples.values())
    figure, axes = new_figure(rows, count, size=(1.1 * count + 0.8, 1.1 * rows + 0.2))
    grid = np.asarray(axes).reshape(rows, count)
    for ax in grid.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    low, high = float(np.min(images)), float(np.max(images))
    for column in range(count):
        _show(grid[0, column], np.asarray(images[column]), low, high)
    grid[0, 0].set_ylabel("image")
    row = 1
    for name, block in samples.items():
        grid[row, 0].set_ylabel(name)
        for sample in np.asarray(block):
            for column in range(count):
                _show(grid[row, column], sample[column], low, high)
            row += 1
    return figure


def nll_heat_map(matrix: Float[ArrayLike, "subnetworks shards"]) -> Figure:
    """Mean loss of every subnetwork on every shard; above the staircase no subnetwork has seen the shard.

    Args:
        matrix: nats per example; row k is the subnetwork of the first k partitions, k = 0 to K, column s shard s + 1.
    """
    cells = np.asarray(matrix, float)
    figure, ax = new_figure()
    ax.imshow(cells, cmap="cividis", aspect="auto")
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for (row, column), value in np.ndenumerate(cells):
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", color="k" if value > middle else "w")
    for column in range(cells.shape[1]):
        ax.plot([column - 0.5, column + 0.5], [column + 0.5] * 2, color="w", linewidth=2.5)  # seen below this line
    ax.set_xticks(range(cells.shape[1]), [str(shard + 1) for shard in range(cells.shape[1])])
    ax.set_yticks(range(cells.shape[0]))
    ax.set(xlabel="shard", ylabel="subnetwork: partitions in use", title="NLL per example; seen shards below the line")
    ax.grid(False)
    return figure


def accuracy_over(
    sizes: Sequence[Number],
    accuracies: Mapping[str, Float[ArrayLike, "sizes _"]],
    *,
    xlabel: str = "training examples",
    logarithmic: bool = True,
) -> Figure:
    """Accuracy over the size of the training set, or over anything else that was varied.

    Args:
        sizes: what was varied.
        accuracies: way of training -> accuracy in percent for every size and seed.
        xlabel: its name.
        logarithmic: the horizontal axis.
    """
    figure, ax = new_figure()
    x = np.asarray(sizes, float)
    for number, (name, values) in enumerate(accuracies.items()):
        seeds = np.asarray(values, float).reshape(len(x), -1)
        color = COLORS[number % len(COLORS)]
        plot_band(ax, x, seeds.min(1), seeds.mean(1), seeds.max(1), color=color, label=name, marker="o", markersize=4)
    ax.set(xlabel=xlabel, ylabel="test accuracy, %", xscale="log" if logarithmic else "linear")
    ax.legend(frameon=False, fontsize=9)
    return figure


def federated_accuracy(
    runs: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]]],
) -> Figure:
    """Accuracy of federated training over the rounds, and over what the clients have uploaded.

    Args:
        runs: way of training -> its seeds' (rounds, uploaded megabytes, accuracy in percent).
    """
    figure, (left, right) = new_figure(1, 2)
    drawn: dict[str, Artist] = {}
    for number, (name, seeds) in enumerate(runs.items()):
        for rounds, megabytes, accuracy in seeds:
            color = COLORS[number % len(COLORS)]
            (line,) = left.plot(np.asarray(rounds), np.asarray(accuracy), color=color, alpha=0.8)
            right.plot(np.asarray(megabytes), np.asarray(accuracy), color=color, alpha=0.8)
            drawn.setdefault(name, line)
    left.set(xlabel="round", ylabel="test accuracy, %")
    right.set(xlabel="uploaded by all clients, MB", ylabel="test accuracy, %")
    _legend(figure, drawn)
    return figure


def planes(
    panels: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]], *, reach: Number = 1.5, columns: int = 3
) -> Figure:
    """Points of the plane over the probability of class 1, a panel for each network.

    Args:
        panels: title -> (probabilities on a square grid of [-reach, reach]², rows from bottom to top; points; labels).
        reach: of the grid.
        columns: panels in a row.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(rows, columns, size=(3.2 * columns, 3.3 * rows))
    every = np.atleast_1d(axes).flat
    for ax in list(every)[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, (probabilities, points, labels)) in zip(np.atleast_1d(axes).flat, panels.items()):
        extent = (-float(reach), float(reach), -float(reach), float(reach))
        ax.imshow(np.asarray(probabilities), origin="lower", extent=extent, vmin=-0.2, vmax=1.2, cmap="coolwarm")
        x, y = np.asarray(points), np.asarray(labels)
        for label, color in enumerate(("#053061", "#67001f")):
            ax.plot(*x[y == label].T, "o", color=color, markersize=3, markeredgecolor="w", markeredgewidth=0.3)
        ax.set(title=title, xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
        ax.grid(False)
    return figure


def bars(panels: Mapping[str, Mapping[str, ArrayLike | Sequence[Number]]]) -> Figure:
    """A panel for each quantity, a bar for each way of training: the mean of its seeds, which are dots.

    A way has the same colour in all panels.

    Args:
        panels: label of the vertical axis -> way of training -> one value or several.
    """
    figure, axes = new_figure(1, len(panels))
    names = list(dict.fromkeys(way for ways in panels.values() for way in ways))
    for ax, (quantity, ways) in zip(np.atleast_1d(axes).flat, panels.items()):
        for number, (way, values) in enumerate(ways.items()):
            seeds = np.atleast_1d(np.asarray(values, float))
            ax.bar(number, seeds.mean(), 0.7, color=COLORS[names.index(way) % len(COLORS)], alpha=0.8)
            ax.plot(np.full(seeds.size, number), seeds, "o", color="k", markersize=3)
        every = np.concatenate([np.atleast_1d(np.asarray(values, float)) for values in ways.values()])
        reach = np.ptp(every)
        if every.min() > reach > 0:  # differences far from zero would not be seen
            ax.set_ylim(every.min() - 0.5 * reach, every.max() + 0.2 * reach)
        ax.set_xticks(range(len(ways)), list(ways), rotation=20, ha="right")
        ax.set_ylabel(quantity)
    return figure


def _show(ax: Axes, image: np.ndarray, low: float, high: float) -> None:
    scaled = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    picture: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1} if scaled.shape[-1] == 1 else {}
    ax.imshow(scaled[..., 0] if scaled.shape[-1] == 1 else scaled, **picture)


def _legend(figure: Figure, drawn: Mapping[str, Artist]) -> None:
    figure.legend(
        list(drawn.values()), list(drawn), loc="outside upper center", ncols=max(1, min(len(drawn), 4)), frameon=False
    )
