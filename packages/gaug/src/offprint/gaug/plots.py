"""The method in pictures: functions that take arrays, histories or graphs and return a matplotlib Figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure
from offprint.gaug._graph import Graph

Number = float | int
History = Mapping[str, ArrayLike]

QUANTITIES = {
    "val": "validation F1",
    "edge_auc": "AUC of the edge predictor",
    "sampled_edges": "sampled edges",
    "sampled_homophily": "homophily of the sample",
    "loss": "training loss",
}
"""What `training_curves` knows of a history, and how it is called there."""


def training_curves(
    histories: Mapping[str, Sequence[History]], quantities: Sequence[str] = tuple(QUANTITIES)
) -> Figure:
    """Curves over the epochs, a panel for each quantity, a colour for each method, a line for each seed.

    Args:
        histories: method -> the `Result.history` of its seeds.
        quantities: which of the history are drawn; those that no history has are left out.

    Raises:
        ValueError: no history has any of them.
    """
    known = [name for name in quantities if any(name in seed for seeds in histories.values() for seed in seeds)]
    if not known:
        raise ValueError(f"no history has any of {', '.join(quantities)}")
    figure, axes = new_figure(1, len(known))
    drawn: dict[str, Artist] = {}
    for ax, name in zip(np.atleast_1d(axes).flat, known):
        for number, (method, seeds) in enumerate(histories.items()):
            for seed in (seed for seed in seeds if name in seed):
                values = np.asarray(seed[name])
                mark = "o" if values.size == 1 else ""  # a line through one point is not seen
                color = COLORS[number % len(COLORS)]
                (line,) = ax.plot(np.arange(values.size), values, marker=mark, color=color, alpha=0.8)
                drawn.setdefault(method, line)
        ax.set(xlabel="epoch", ylabel=QUANTITIES.get(name, name))
    _legend(figure, drawn)
    return figure


def heat_maps(
    values: Mapping[str, Float[ArrayLike, "removes adds"]], removes: Sequence[Number], adds: Sequence[Number]
) -> Figure:
    """A quantity over the shares of removed and of added edges, a panel for each way, all in one colour scale.

    Args:
        values: title, such as the scores that chose the edges -> array of shape (len(removes), len(adds)).
        removes: removed edges over all edges, of the rows.
        adds: added edges over all edges, of the columns.
    """
    grids = {title: np.asarray(grid, float) for title, grid in values.items()}
    low, high = (reach([reach(grid) for grid in grids.values()]) for reach in (np.nanmin, np.nanmax))
    figure, axes = new_figure(1, len(grids))
    for ax, (title, cells) in zip(np.atleast_1d(axes).flat, grids.items()):
        ax.imshow(cells, cmap="cividis", aspect="auto", vmin=low, vmax=high, origin="lower")
        for (row, column), value in np.ndenumerate(cells):
            color = "k" if value > (low + high) / 2 else "w"
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", color=color)
        ax.set_xticks(range(len(adds)), [f"{100 * add:g}" for add in adds])
        ax.set_yticks(range(len(removes)), [f"{100 * remove:g}" for remove in removes])
        ax.set(xlabel="% added", ylabel="% removed", title=title)
        ax.grid(False)
    return figure


def bars(panels: Mapping[str, Mapping[str, ArrayLike | Sequence[Number]]]) -> Figure:
    """A panel for each quantity, a bar for each method: the mean of its seeds with their spread, the seeds as dots.

    A method has the same colour in all panels.

    Args:
        panels: label of the vertical axis -> method -> one value or several.
    """
    figure, axes = new_figure(1, len(panels))
    names = list(dict.fromkeys(method for methods in panels.values() for method in methods))
    for ax, (quantity, methods) in zip(np.atleast_1d(axes).flat, panels.items()):
        for number, (method, values) in enumerate(methods.items()):
            seeds = np.atleast_1d(np.asarray(values, float))
            color = COLORS[names.index(method) % len(COLORS)]
            ax.bar(number, seeds.mean(), 0.7, yerr=seeds.std() or None, color=color, alpha=0.8, capsize=3)
            beside = number + np.linspace(-0.2, 0.2, seeds.size) if seeds.size > 1 else np.array([number])
            ax.plot(beside, seeds, "o", color="k", markersize=3)
        every = np.concatenate([np.atleast_1d(np.asarray(values, float)) for values in methods.values()])
        reach = np.ptp(every)
        if every.min() > reach > 0:  # differences far from zero would not be seen
            ax.set_ylim(every.min() - 0.5 * reach, every.max() + 0.2 * reach)
        ax.set_xticks(range(len(methods)), list(methods), rotation=20, ha="right")
        ax.set_ylabel(quantity)
    return figure


def degree_distribution(graphs: Mapping[str, Graph]) -> Figure:
    """Share of the nodes with at least so many neighbours, both axes logarithmic, a curve for each graph.

    Args:
        graphs: name, such as before and after -> graph.
    """
    figure, ax = new_figure()
    for name, graph in graphs.items():
        degrees = np.bincount(graph.edges().ravel(), minlength=graph.num_nodes)
        steps = np.arange(1, max(degrees.max(initial=0), 1) + 1)
        ordered = np.sort(degrees)
        shares = 1 - np.searchsorted(ordered, steps) / graph.num_nodes
        alone = int((degrees == 0).sum())
        ax.step(steps, shares, where="mid", label=f"{name} ({alone} nodes without an edge)" if alone else name)
    ax.set(xscale="log", yscale="log", xlabel="degree d", ylabel="share of nodes of degree ≥ d")
    ax.legend(frameon=False, fontsize=9)
    return figure


def score_histograms(scores: Mapping[str, tuple[ArrayLike, ArrayLike]], bins: int = 50) -> Figure:
    """How scores of edges and of other pairs are distributed, a panel for each score.

    Args:
        scores: name of the score -> (scores of edges, scores of pairs without one).
        bins: of each histogram.
    """
    figure, axes = new_figure(1, len(scores))
    drawn: dict[str, Artist] = {}
    for ax, (name, pair) in zip(np.atleast_1d(axes).flat, scores.items()):
        both = [np.asarray(values, float) for values in pair]
        edges = np.histogram_bin_edges(np.concatenate(both), bins)
        for label, values, color in zip(("edges", "other pairs"), both, COLORS):
            *_, patches = ax.hist(values, edges, density=True, color=color, alpha=0.6)
            drawn.setdefault(label, patches[0])
        ax.set(xlabel=name, ylabel="density")
    _legend(figure, drawn)
    return figure


def sampling_frequencies(
    p: Float[ArrayLike, " probabilities"],
    measured: Mapping[str, Float[ArrayLike, " probabilities"]],
    expected: Mapping[str, Float[ArrayLike, " probabilities"]],
) -> Figure:
    """How often pairs of probability P were drawn, as dots, over what is expected, as lines.

    Args:
        p: probabilities P, ascending.
        measured: estimator -> share of the pairs that were drawn, for each P.
        expected: the same estimators -> share to expect.
    """
    figure, ax = new_figure()
    for number, (name, shares) in enumerate(measured.items()):
        color = COLORS[number % len(COLORS)]
        ax.plot(np.asarray(p), np.asarray(expected[name]), color=color)
        ax.plot(np.asarray(p), np.asarray(shares), "o", color=color, label=name)
    ax.set(xlabel="$P_{ij}$", ylabel="share drawn")
    ax.legend(frameon=False, fontsize=9)
    return figure


def _legend(figure: Figure, drawn: Mapping[str, Artist]) -> None:
    figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=len(drawn), frameon=False)
