"""Sparsity in pictures: functions that take arrays or results and return a matplotlib Figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Array, PyTree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from offprint.core.plots import COLORS, new_figure, plot_band
from offprint.sparsity._tree import named_leaves

Number = float | int
Row = Sequence[Number] | np.ndarray | Array
Rows = Row | Sequence[Row]


def tradeoff(
    curves: Mapping[str, tuple[Row, Rows]],
    *,
    dense: Number | None = None,
    published: Mapping[str, tuple[Row, Row]] | None = None,
    ylabel: str = "test accuracy, %",
) -> Figure:
    """Quality over sparsity: a curve and the band of its seeds for each method, with published points beside them.

    The horizontal axis is the share of the weights that is kept, on a logarithmic scale, sparser to the right.

    Args:
        curves: method -> (sparsities, values): one value for each, or one for each and every seed.
        dense: quality of the dense network, a line.
        published: name -> (sparsities, values), points without a line.
        ylabel: the quality.
    """
    figure, ax = new_figure()
    for number, (name, (sparsities, values)) in enumerate(curves.items()):
        density = 1 - np.asarray(sparsities, float)
        _seeds(ax, density, values, color=COLORS[number % len(COLORS)], label=name)
    for number, (name, (sparsities, values)) in enumerate((published or {}).items()):
        color = COLORS[(len(curves) + number) % len(COLORS)]
        mark = "sDv^<>"[number % 6]
        ax.plot(1 - np.asarray(sparsities, float), np.asarray(values), mark, color=color, markersize=4, label=name)
    if dense is not None:
        ax.axhline(float(dense), color="0.3", linestyle="--", linewidth=1, label="dense")
    _density_axis(ax)
    ax.set_ylabel(ylabel)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def occam(
    accuracy: Mapping[str, tuple[Row, Rows]], *, dense: Number | None = None, ylabel: str = "test accuracy, %"
) -> Figure:
    """Occam's hill: quality over what is left of the network, with the best point of every curve marked.

    Args:
        accuracy: such as "lottery ticket" and "new initial values" -> (densities, values), with or without seeds.
        dense: quality of the dense network, a line.
        ylabel: the quality.
    """
    figure, ax = new_figure()
    for number, (name, (densities, values)) in enumerate(accuracy.items()):
        density, color = np.asarray(densities, float), COLORS[number % len(COLORS)]
        mean = _seeds(ax, density, values, color=color, label=name)
        best = int(mean.argmax())
        ax.plot(density[best], mean[best], "*", color=color, markersize=12)
    if dense is not None:
        ax.axhline(float(dense), color="0.3", linestyle="--", linewidth=1, label="dense")
    _density_axis(ax)
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, fontsize=9)
    return figure


def comparison(
    values: Mapping[str, Row],
    *,
    published: Mapping[str, tuple[Number, Number]] | None = None,
    dense: Number | None = None,
    xlabel: str = "test accuracy, %",
) -> Figure:
    """Methods at one sparsity: a dot for each seed, a line at their mean, and published means with deviations.

    Args:
        values: method -> one number for each seed; drawn from top to bottom.
        published: method -> (mean, standard deviation).
        dense: quality of the dense network, a line.
        xlabel: the quality.
    """
    figure, ax = new_figure(size=(6.4, 0.8 + 0.32 * len(values)))
    for row, (name, seeds) in enumerate(values.items()):
        points = np.asarray(seeds, float)
        ax.plot(points, np.full(points.size, row), "o", color=COLORS[0], markersize=4, alpha=0.8)
        ax.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color=COLORS[0])
        if published is not None and name in published:
            mean, deviation = published[name]
            ax.errorbar(
                float(mean), row + 0.25, xerr=float(deviation), fmt="D", color=COLORS[1], markersize=3.5, linewidth=1
            )
    if dense is not None:
        ax.axvline(float(dense), color="0.3", linestyle="--", linewidth=1)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(xlabel=xlabel, ylim=(len(values) - 0.4, -0.6))
    return figure


def layer_density(densities: Mapping[str, Mapping[str, Number] | Row]) -> Figure:
    """The density that each method leaves every layer: bars for a few layers, steps for many.

    Args:
        densities: method -> layer -> share of weights kept, or the shares in the order of the layers.

    Raises:
        ValueError: methods differ in the number of layers.
    """
    rows = {
        name: list(layers.values()) if isinstance(layers, Mapping) else [float(value) for value in np.asarray(layers)]
        for name, layers in densities.items()
    }
    if len({len(row) for row in rows.values()}) != 1:
        counts = ", ".join(f"{name} {len(row)}" for name, row in rows.items())
        raise ValueError(f"every method must have the same layers, but their numbers are {counts}")
    count = len(next(iter(rows.values())))
    few = count <= 12
    figure, ax = new_figure(size=(7.5, 3.4))
    place = np.arange(count)
    for number, (name, row) in enumerate(rows.items()):
        color = COLORS[number % len(COLORS)]
        if few:
            width = 0.8 / len(rows)
            ax.bar(place + (number - (len(rows) - 1) / 2) * width, row, width, color=color, label=name)
        else:
            ax.step(place, row, where="mid", color=color, label=name)
    layers = next(iter(densities.values()))
    if few and isinstance(layers, Mapping):
        ax.set_xticks(place, list(layers), rotation=20, ha="right")
    else:
        ax.set_xlabel("layer")
    ax.set(ylabel="weights kept", ylim=(0, 1.03))
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def mask_overlap(matrix: Rows, names: Sequence[str]) -> Figure:
    """How much masks share, as a matrix of numbers from 0 to 1, such as intersection over union.

    Args:
        matrix: (masks, masks).
        names: of the masks.

    Raises:
        ValueError: another number of names than of masks.
    """
    cells = np.asarray(matrix, float)
    if cells.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names need a matrix {(len(names), len(names))}, got {cells.shape}")
    side = 1.6 + 0.55 * len(names)
    figure, ax = new_figure(size=(side + 0.8, side))
    picture = ax.imshow(cells, vmin=0, vmax=1, cmap="cividis")
    for (row, column), value in np.ndenumerate(cells):
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="k" if value > 0.5 else "w")
    ax.set_xticks(range(len(names)), list(names), rotation=40, ha="right")
    ax.set_yticks(range(len(names)), list(names))
    ax.grid(False)
    figure.colorbar(picture, ax=ax, label="overlap")
    return figure


def schedule(
    curves: Mapping[str, tuple[Row, Row]],
    *,
    held: Mapping[str, tuple[Row, Row]] | None = None,
    xlabel: str = "step",
) -> Figure:
    """Sparsity over the steps of a training: the schedule as a line, what is in force between updates as steps.

    Args:
        curves: name -> (steps, sparsity).
        held: name -> (steps, sparsity in force); a name that `curves` has too gets its colour.
        xlabel: what is counted.
    """
    figure, ax = new_figure()
    names = list(dict.fromkeys([*curves, *(held or {})]))
    for name, (steps, values) in curves.items():
        ax.plot(np.asarray(steps), np.asarray(values), color=_color(names, name), label=name)
    for name, (steps, values) in (held or {}).items():
        label = None if name in curves else name
        ax.step(
            np.asarray(steps), np.asarray(values), where="post", color=_color(names, name), linewidth=0.9, label=label
        )
    ax.set(xlabel=xlabel, ylabel="sparsity", ylim=(-0.03, 1.03))
    ax.legend(frameon=False, fontsize=9)
    return figure


def score_hist(scores: PyTree, masks: PyTree | None = None, *, bins: int = 60, panels: int = 6) -> Figure:
    """Distribution of the scores of every leaf, logarithmic, with what a mask keeps drawn over it.

    Scores of zero are left out. Of scores with both signs the absolute value is drawn.

    Args:
        scores: tree of scores; `None` for leaves that are not pruned.
        masks: tree of masks like it.
        bins: of the histograms.
        panels: leaves to be drawn at most, the first ones.

    Raises:
        ValueError: no leaf has scores.
    """
    kept = dict(named_leaves(masks)) if masks is not None else {}
    leaves = [(path, np.abs(np.asarray(leaf, float))) for path, leaf in named_leaves(scores) if leaf is not None]
    if not leaves:
        raise ValueError("no leaf of the tree has scores")
    leaves = leaves[:panels]
    figure, axes = new_figure(1, len(leaves), size=(3.6 * len(leaves), 3.0))
    for ax, (path, values) in zip(np.atleast_1d(axes).flat, leaves):
        positive = values > 0
        if positive.any():
            logs = np.log10(values[positive])
            edges = np.linspace(logs.min(), max(logs.max(), logs.min() + 1e-6), bins + 1)
            ax.hist(logs, edges, color="0.75", label="all")
            if kept.get(path) is not None:
                mask = np.asarray(kept[path], bool) & positive
                ax.hist(np.log10(values[mask]), edges, color=COLORS[0], alpha=0.8, label="kept")
                ax.legend(frameon=False, fontsize=8)
        ax.set(title=path, xlabel=r"$\log_{10}$ score", ylabel="weights")
    return figure


def training_flops(points: Mapping[str, tuple[Row, Row]], *, dense: tuple[Number, Number] | None = None) -> Figure:
    """Accuracy over the operations that training took, relative to dense training; both of one method joined.

    Args:
        points: method -> (training FLOPs over those of dense training, accuracy in percent).
        dense: (1, accuracy) of dense training.
    """
    figure, ax = new_figure()
    for number, (name, (flops, accuracy)) in enumerate(points.items()):
        order = np.argsort(np.asarray(flops, float))
        x, y = np.asarray(flops, float)[order], np.asarray(accuracy, float)[order]
        ax.plot(x, y, "o-", color=COLORS[number % len(COLORS)], markersize=4, label=name)
    if dense is not None:
        ax.plot(*map(float, dense), "k*", markersize=11, label="dense")
    ax.set(xlabel="training FLOPs, dense = 1", ylabel="test accuracy, %", xscale="log")
    _plain_ticks(ax, 1)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def storage(
    densities: Row, bits: Mapping[str, Row], *, break_evens: Mapping[str, Number] | None = None, value_bits: int = 32
) -> Figure:
    """Bits for each element of a matrix over its density, a curve for each format.

    Args:
        densities: shares of non-zeros.
        bits: format -> bits in all, divided by the number of elements, for each density.
        break_evens: label -> density at which two formats cost the same.
        value_bits: of a value; the cost of a dense matrix is drawn at this height.
    """
    figure, ax = new_figure(size=(6.4, 3.8))
    x = np.asarray(densities, float)
    for number, (name, values) in enumerate(bits.items()):
        style = "-" if number < len(COLORS) else "--"
        ax.plot(x, np.asarray(values, float), style, color=COLORS[number % len(COLORS)], label=name)
    ax.axhline(value_bits, color="0.3", linestyle=":", linewidth=1)
    _density_axis(ax)
    ax.set(ylabel="bits for each element", yscale="log")
    for label, density in (break_evens or {}).items():
        ax.axvline(float(density), color="0.6", linewidth=0.8)
        ax.text(
            float(density), 0.02, label, rotation=90, fontsize=7, color="0.35", transform=ax.get_xaxis_transform(),
            ha="right", va="bottom",
        )  # fmt: skip
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def latency(
    sparsities: Row,
    seconds: Mapping[str, Row],
    *,
    dense: Number | None = None,
    flops: Row | None = None,
    bytes_moved: Row | None = None,
    peak_flops: Number | None = None,
    bandwidth: Number | None = None,
) -> Figure:
    """Time of an operation over sparsity, a curve for each kernel, and the roofline below which no kernel can be.

    Args:
        sparsities: at which times were measured.
        seconds: kernel -> time at each sparsity.
        dense: time of the dense operation, a line.
        flops, bytes_moved: of the sparse operation at each sparsity.
        peak_flops, bandwidth: operations and bytes per second of the device. The roofline is drawn from those of the
            four that make a bound.
    """
    figure, ax = new_figure()
    density = 1 - np.asarray(sparsities, float)
    for number, (name, values) in enumerate(seconds.items()):
        ax.plot(
            density, 1e3 * np.asarray(values, float), "o-", color=COLORS[number % len(COLORS)], markersize=4, label=name
        )
    bounds = []
    if flops is not None and peak_flops is not None:
        bounds.append(np.asarray(flops, float) / peak_flops)
    if bytes_moved is not None and bandwidth is not None:
        bounds.append(np.asarray(bytes_moved, float) / bandwidth)
    if bounds:
        ax.plot(density, 1e3 * np.max(bounds, 0), color="0.3", linestyle=":", linewidth=1.4, label="roofline")
    if dense is not None:
        ax.axhline(1e3 * float(dense), color="0.3", linestyle="--", linewidth=1, label="dense")
    _density_axis(ax)
    ax.set(ylabel="time, ms", yscale="log")
    ax.legend(frameon=False, fontsize=9)
    return figure


def _seeds(ax: Axes, x: np.ndarray, values: Rows, *, color: str, label: str) -> np.ndarray:
    """A curve with the band of its seeds; the curve."""
    rows = np.asarray(values, float).reshape(len(x), -1)
    mean = rows.mean(1)
    plot_band(ax, x, rows.min(1), mean, rows.max(1), color=color, label=label, marker="o", markersize=4)
    return mean


def _density_axis(ax: Axes) -> None:
    ax.set(xlabel="weights kept, %", xscale="log")
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    _plain_ticks(ax, 100)


def _plain_ticks(ax: Axes, scale: int) -> None:
    """Numbers at 1, 2 and 5 of every decade of a logarithmic axis, or at 1 alone if there are many."""
    low, high = sorted(ax.get_xlim())
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 3e3 * low else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{scale * value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _color(names: Sequence[str], name: str) -> str:
    return COLORS[list(names).index(name) % len(COLORS)]
