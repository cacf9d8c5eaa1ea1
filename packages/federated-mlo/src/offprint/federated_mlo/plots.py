"""The method in pictures: functions that take arrays by name and return a matplotlib Figure.

Rates are in Mb/s unless they are said to be relative. Legends stand outside the panels, so that they cover no curve.
The names of the methods that the package ships have colours of their own, the same in every figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Shaped
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Wedge
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from offprint.core.plots import COLORS, new_figure, plot_band

Number = float | int
Values = ArrayLike | Sequence[Number]
Seeds = Float[ArrayLike, "seeds points"]

_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _GREY = COLORS
_METHOD_COLORS = {
    "frl_minrate": _BLUE,
    "frl_mix": _GREEN,
    "frl_fedavg": _PURPLE,
    "frl_fedavg_occ": _SKY,
    "rl": _VERMILLION,
    "random": _GREY,
    "fixed:all": _ORANGE,
    "oracle_maxmin": _BLACK,
}


def throughput_cdf(panels: Mapping[str, Mapping[str, Values]]) -> Figure:
    """Empirical distribution of the throughput over BSSs, seeds and deployments: a panel each, a line for each method.

    Args:
        panels: title -> method -> throughputs (Mb/s) of any shape; all of them are pooled.
    """
    figure, axes = _row(len(panels))
    drawn: dict[str, Artist] = {}
    colors = _colors(panels.values())
    for ax, (title, methods) in zip(axes, panels.items()):
        for method, values in methods.items():
            x = np.sort(np.ravel(np.asarray(values, float)))
            share = np.arange(1, x.size + 1) / x.size
            (line,) = ax.step(np.append(x[:1], x), np.append(0, share), where="post", color=colors[method])
            drawn.setdefault(method, line)
        ax.set(title=title, xlabel="throughput of a BSS, Mb/s", ylim=(0, 1.02))
    axes[0].set_ylabel("share of BSSs")
    _legend(figure, drawn)
    return figure


def fairness_bars(
    panels: Mapping[str, Mapping[str, Mapping[str, Values]]], *, lines: Mapping[str, Number] | None = None
) -> Figure:
    """Minimum rate, Jain's index and the like: a panel for each quantity, a group of bars for each scenario.

    Args:
        panels: label of the vertical axis -> scenario -> method -> values of the seeds. The bar is their mean, the
            whisker goes from the smallest to the largest.
        lines: label of the vertical axis -> where to draw a line, such as 1 for the optimum.
    """
    figure, axes = new_figure(len(panels), 1, size=(8.6, 2.9 * len(panels)))
    colors = _colors(methods for scenarios in panels.values() for methods in scenarios.values())
    drawn: dict[str, Artist] = {}
    width = 0.84 / len(colors)
    for ax, (quantity, scenarios) in zip(np.atleast_1d(axes).flat, panels.items()):
        for group, methods in enumerate(scenarios.values()):
            for method, values in methods.items():
                seeds = np.ravel(np.asarray(values, float))
                place = group + (list(colors).index(method) - (len(colors) - 1) / 2) * width
                reach = np.abs([[seeds.min() - seeds.mean()], [seeds.max() - seeds.mean()]])
                (bar,) = ax.bar(place, seeds.mean(), 0.9 * width, color=colors[method], yerr=reach, error_kw=_WHISKER)
                drawn.setdefault(method, bar)
        if lines is not None and quantity in lines:
            ax.axhline(float(lines[quantity]), color="0.3", linestyle="--", linewidth=1)
        ax.set_xticks(range(len(scenarios)), list(scenarios))
        ax.set_ylabel(quantity)
        ax.grid(False, axis="x")
    _legend(figure, drawn)
    return figure


_WHISKER = {"elinewidth": 0.9, "capsize": 2, "ecolor": "0.25"}


def learning_curves(
    panels: Mapping[str, Mapping[str, tuple[Values, Seeds]]],
    *,
    optimum: Mapping[str, Number] | None = None,
    xlabel: str = "step",
    ylabel: str = "smallest throughput, Mb/s",
) -> Figure:
    """What is reached over the steps of learning: mean over the seeds, and the band in which 80 % of them lie.

    Args:
        panels: title -> method -> (steps (points,), values (seeds, points)).
        optimum: title -> the best that can be reached, a dashed line.
        xlabel, ylabel: what runs from left to right, and upwards.
    """
    figure, axes = _row(len(panels))
    drawn: dict[str, Artist] = {}
    colors = _colors(panels.values())
    for ax, (title, methods) in zip(axes, panels.items()):
        for method, (steps, values) in methods.items():
            seeds = np.atleast_2d(np.asarray(values, float))
            low, high = np.quantile(seeds, (0.1, 0.9), axis=0)
            plot_band(ax, np.asarray(steps), low, seeds.mean(axis=0), high, color=colors[method])
            drawn.setdefault(method, ax.lines[-1])
        if optimum is not None and title in optimum:
            line = ax.axhline(float(optimum[title]), color="0.2", linestyle="--", linewidth=1)
            drawn.setdefault("optimum", line)
        ax.set(title=title, xlabel=xlabel)
        ax.set_ylim(bottom=0)
    axes[0].set_ylabel(ylabel)
    _legend(figure, drawn)
    return figure


def action_heat_map(
    panels: Mapping[str, Shaped[Array, "bss actions"] | Shaped[np.ndarray, "bss actions"]], num_links: int
) -> Figure:
    """How often each BSS takes each set of links.

    Args:
        panels: title -> counts or probabilities; every row is divided by its sum.
        num_links: links of a device; there are 2^links - 1 actions.
    """
    names = action_names(num_links)
    rows = max(len(values) for values in panels.values())
    figure, axes = _row(len(panels), size=(max(2.2, 0.62 * len(names) + 0.8), 0.5 * rows + 1.3))
    for ax, (title, values) in zip(axes, panels.items()):
        counts = np.asarray(values, float)
        total = counts.sum(axis=1, keepdims=True)
        share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
        picture = ax.imshow(share, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        for (row, column), value in np.ndenumerate(share):
            if round(100 * value) > 0:
                shade = "white" if value > 0.6 else "0.2"
                ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=shade)
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks(range(len(counts)), [str(b) for b in range(len(counts))])
        ax.set(title=title, xlabel="links that are on")
        ax.grid(False)
    axes[0].set_ylabel("BSS")
    figure.colorbar(picture, ax=list(axes), label="share of steps", ticks=[0, 0.5, 1])
    return figure


def action_names(num_links: int) -> list[str]:
    """The actions as sets of links in the order of their indices: `0`, `1`, `0+1`, `2`, ..."""
    return ["+".join(str(n) for n in range(num_links) if (a + 1) >> n & 1) for a in range(2**num_links - 1)]


def topology_map(
    adj: Bool[ArrayLike, "links bss bss"],
    panels: Mapping[str, Bool[ArrayLike, "bss links"]],
    *,
    ap: Float[ArrayLike, "bss 2"] | None = None,
    sta: Float[ArrayLike, "bss ..."] | None = None,
    throughput: Mapping[str, Float[ArrayLike, " bss"]] | None = None,
) -> Figure:
    """Who uses which links, and who contends with whom there.

    Every AP is a disc with a sector for each link, coloured where the link is on. Two BSSs that sense each other on a
    link that both use are joined in the link's colour; in grey where they would, but don't both use it.

    Args:
        adj: sensing graph of every link.
        panels: title -> links that are on.
        ap: positions of the access points, m; a circle if not given.
        sta: positions of the stations, m: (bss, 2), or (bss, stations, 2).
        throughput: title -> throughput of the BSSs, Mb/s, written beside them.
    """
    graph = np.asarray(adj, bool)
    num_links, count = graph.shape[0], graph.shape[1]
    angles = 2 * np.pi * np.arange(count) / max(count, 1)
    place = np.stack([np.cos(angles), np.sin(angles)], axis=1) if ap is None else np.asarray(ap, float)
    stations = np.zeros((count, 0, 2)) if sta is None else np.asarray(sta, float).reshape(count, -1, 2)
    ends = np.concatenate([place, stations.reshape(-1, 2)])
    centre, reach = (ends.min(axis=0) + ends.max(axis=0)) / 2, max(float(np.ptp(ends, axis=0).max()), 1e-3)
    figure, axes = _row(len(panels), size=(3.9, 3.7))
    for ax, (title, values) in zip(axes, panels.items()):
        mask = np.asarray(values, bool)
        _contention(ax, graph, mask, place, 0.018 * reach)
        for b in range(count):
            for station in stations[b]:
                path = np.stack([place[b], station]).T
                ax.plot(*path, ":", color="0.4", linewidth=1, marker="s", markersize=4, markevery=[1])
            for n in range(num_links):
                begin = 90 + 360 * n / num_links
                fill = COLORS[n % len(COLORS)] if mask[b, n] else "white"
                sector = Wedge(tuple(place[b]), 0.05 * reach, begin, begin + 360 / num_links)
                sector.set(facecolor=fill, edgecolor="0.2", linewidth=0.8, zorder=4)
                ax.add_patch(sector)
            name = f"{b}" if throughput is None else f"{b}: {np.asarray(throughput[title])[b]:.0f}"
            offset = (place[b, 0], place[b, 1] - 0.065 * reach)
            around = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
            ax.annotate(name, offset, ha="center", va="top", fontsize=8, zorder=5, bbox=around)
        ax.set(title=title, aspect="equal")
        for low, middle in ((ax.set_xlim, centre[0]), (ax.set_ylim, centre[1])):
            low(middle - 0.64 * reach, middle + 0.64 * reach)
        if ap is None:
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        else:
            ax.set_xlabel("m")
    _legend(figure, {f"link {n}": Patch(color=COLORS[n % len(COLORS)]) for n in range(num_links)})
    return figure


def _contention(ax: Axes, graph: np.ndarray, mask: np.ndarray, place: np.ndarray, apart: float) -> None:
    """The edges of the sensing graphs, the links beside each other."""
    num_links = len(graph)
    for n, i, j in zip(*np.nonzero(np.triu(graph))):
        along = place[j] - place[i]
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9)
        shift = across * apart * (n - (num_links - 1) / 2)
        both = mask[i, n] and mask[j, n]
        style: dict[str, Any] = {"color": "0.85", "linewidth": 0.8, "zorder": 1}
        if both:
            style = {"color": COLORS[n % len(COLORS)], "linewidth": 2, "zorder": 2}
        ax.plot(*np.stack([place[i] + shift, place[j] + shift]).T, **style)


def rate_vs_size(
    sizes: Sequence[Number],
    curves: Mapping[str, Float[ArrayLike, "sizes seeds"]],
    *,
    xlabel: str = "number of BSSs",
    ylabel: str = "smallest throughput, Mb/s",
    logarithmic: bool = False,
) -> Figure:
    """A rate against the number of BSSs, their density, or whatever else grows: mean over the seeds and their range.

    Args:
        sizes: from left to right.
        curves: method -> values.
        xlabel, ylabel: what runs from left to right, and upwards.
        logarithmic: the horizontal axis.
    """
    figure, ax = new_figure()
    colors = _colors([curves])
    for method, values in curves.items():
        seeds = np.asarray(values, float).reshape(len(sizes), -1)
        style = {"color": colors[method], "label": method, "marker": "o", "markersize": 4}
        plot_band(ax, np.asarray(sizes, float), seeds.min(axis=1), seeds.mean(axis=1), seeds.max(axis=1), **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_ylim(bottom=0)
    if logarithmic:
        ax.set_xscale("log")
    _legend(figure, {line.get_label(): line for line in ax.lines})
    return figure


def agreement(
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]], *, xlabel: str, ylabel: str, log: bool = False
) -> Figure:
    """One way of computing something against another, with the line on which they agree.

    Args:
        panels: title -> series -> (horizontal, vertical), of one shape.
        xlabel, ylabel: the two ways in words.
        log: both axes.
    """
    figure, axes = _row(len(panels))
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    drawn: dict[str, Artist] = {}
    for ax, (title, series) in zip(axes, panels.items()):
        pairs = {name: (np.ravel(np.asarray(x)), np.ravel(np.asarray(y))) for name, (x, y) in series.items()}
        ends = np.concatenate([np.concatenate(pair) for pair in pairs.values()])
        span = np.array([ends[ends > 0].min() if log else ends.min(), ends.max()])
        ax.plot(span, span, color="0.6", linewidth=1, zorder=1)
        for name, (x, y) in pairs.items():
            color = COLORS[names.index(name) % len(COLORS)]
            (dots,) = ax.plot(x, y, "o", color=color, markersize=4, alpha=0.6, markeredgewidth=0)
            drawn.setdefault(name, dots)
        if log:
            ax.set(xscale="log", yscale="log")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(ScalarFormatter())
                axis.set_minor_formatter(NullFormatter())
        ax.set(title=title, xlabel=xlabel)
    axes[0].set_ylabel(ylabel)
    if len(names) > 1:
        _legend(figure, drawn)
    return figure


def trade_off(
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    fronts: Mapping[str, Float[ArrayLike, "points 2"]] | None = None,
) -> Figure:
    """Throughput of all BSSs together against the smallest: a panel for each scenario, a dot for each run.

    Args:
        panels: title -> method -> (smallest throughput, total throughput) of its runs, Mb/s.
        fronts: title -> (smallest, total) of the allocations that no other one beats in both, joined by a line.
    """
    figure, axes = _row(len(panels))
    colors = _colors(panels.values())
    drawn: dict[str, Artist] = {}
    for ax, (title, methods) in zip(axes, panels.items()):
        if fronts is not None and title in fronts:
            (line,) = ax.plot(*np.asarray(fronts[title]).T, "-", color="0.6", marker=".", markersize=5, linewidth=1)
            drawn.setdefault("best possible", line)
        for method, (least, total) in methods.items():
            style = {"color": colors[method], "markersize": 5, "alpha": 0.6, "markeredgewidth": 0}
            (dots,) = ax.plot(np.ravel(np.asarray(least)), np.ravel(np.asarray(total)), "o", **style)
            drawn.setdefault(method, dots)
        ax.set(title=title, xlabel="smallest throughput, Mb/s")
    axes[0].set_ylabel("total throughput, Mb/s")
    _legend(figure, drawn)
    return figure


def _row(columns: int, size: tuple[float, float] | None = None) -> tuple[Figure, np.ndarray]:
    """Panels side by side; `size` is that of one, in inches."""
    figure, axes = new_figure(1, columns, size=None if size is None else (size[0] * columns, size[1]))
    return figure, np.atleast_1d(axes)


def _colors(panels: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for every method, in the order of their first appearance."""
    names = list(dict.fromkeys(name for panel in panels for name in panel))
    free = [color for color in COLORS if color not in {_METHOD_COLORS.get(name) for name in names}] or list(COLORS)
    strangers = [name for name in names if name not in _METHOD_COLORS]
    return {name: _METHOD_COLORS.get(name) or free[strangers.index(name) % len(free)] for name in names}


def _legend(figure: Figure, drawn: Mapping[Any, Artist]) -> None:
    rows = -(-len(drawn) // max(2, round(figure.get_figwidth() / 1.5)))
    style: Any = {"loc": "outside upper center", "ncols": -(-len(drawn) // rows), "frameon": False, "fontsize": 9}
    figure.legend(list(drawn.values()), [str(name) for name in drawn], **style)
