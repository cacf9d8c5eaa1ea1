"""The method in pictures: functions that take arrays, spike trains or layers and return a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, PANEL_SIZE, new_figure
from offprint.forward_propagation._embed import recurrent_params
from offprint.forward_propagation._neuron import LayerParams
from offprint.forward_propagation._plots_comparison import (
    against_differences,
    bars,
    gradient_difference,
    update_similarity,
)
from offprint.forward_propagation._potential import membrane_potential
from offprint.forward_propagation._recurrent import RecurrentParams
from offprint.forward_propagation._spikes import SpikeTrain

__all__ = [
    "activity",
    "against_differences",
    "bars",
    "convergence_histogram",
    "first_spike_histograms",
    "gradient_difference",
    "latency_map",
    "parameter_histograms",
    "predicted_classes",
    "training_curves",
    "update_similarity",
]

Number = float | int
Points = Num[Array, "samples d"] | Num[np.ndarray, "samples d"]
Labels = Int[Array, " samples"] | Int[np.ndarray, " samples"]
SQUARE = 3.6
"""Inches of a panel with two axes of one scale."""
Times = Float[Array, "samples n"] | Float[np.ndarray, "samples n"]


def convergence_histogram(epochs: Mapping[str, Sequence[Number] | Float[np.ndarray, " seeds"]]) -> Figure:
    """How many runs converged in which epoch, a panel for each setting, on one pair of axes' scales.

    Args:
        epochs: name of a setting -> epoch of each run, infinite where it did not converge; see `convergence_epoch`.
    """
    found = {name: np.asarray(values, float) for name, values in epochs.items()}
    last = max((values[np.isfinite(values)].max(initial=1) for values in found.values()), default=1)
    edges = np.linspace(0, last + 1, min(int(last) + 1, 50) + 1)
    figure, axes = new_figure(1, len(found))
    for ax, color, (name, values) in zip(np.atleast_1d(axes).flat, COLORS, found.items()):
        done = values[np.isfinite(values)]
        ax.hist(done, edges, color=color, alpha=0.8)
        if done.size:
            ax.axvline(done.mean(), color="k", linewidth=1, label=f"mean {done.mean():.1f}")
            ax.legend(frameon=False, fontsize=9)
        ax.set(xlabel="epoch of convergence", ylabel="runs", title=f"{name}: {done.size} of {values.size} converge")
    _same_limits(axes)
    return figure


def first_spike_histograms(
    t: Times, y: Labels, t_max: Number, *, classes: Sequence[str] | None = None, bins: int = 30
) -> Figure:
    """When the output neurons fire first: a panel for each class of the samples, a colour for each neuron.

    Args:
        t: first spike times (samples, n); silent neurons are at or after the horizon and counted in the legend.
        y: class of each sample; the neuron of that number should be the first.
        t_max: horizon T.
        classes: names of the classes.
        bins: of each histogram.
    """
    times, labels = np.asarray(t), np.asarray(y)
    kinds = np.unique(labels)
    fired = times[times < t_max]
    edges = np.histogram_bin_edges(fired if fired.size else np.array([0.0, t_max]), bins)
    figure, axes = new_figure(1, len(kinds))
    for ax, kind in zip(np.atleast_1d(axes).flat, kinds):
        of_class = times[labels == kind]
        for neuron, column in enumerate(of_class.T):
            there = column[column < t_max]
            label = f"neuron {neuron}" + (f" ({column.size - there.size} silent)" if there.size < column.size else "")
            color = COLORS[neuron % len(COLORS)]
            ax.hist(there, edges, histtype="stepfilled", facecolor=(color, 0.35), edgecolor=color, label=label)
        title = f"class {kind}" if classes is None else classes[int(kind)]
        ax.set(xlabel="first spike time", ylabel="samples", title=title)
        ax.margins(y=0.35)  # room for the legend
        ax.legend(frameon=False, fontsize=8, loc="upper right")
    return figure


def training_curves(
    panels: Mapping[str, Mapping[str, Num[ArrayLike, "..."]]], *, window: int = 100, steps_per_epoch: int | None = None
) -> Figure:
    """Moving averages over faint raw lines, a panel for each quantity, a colour for each run or group of seeds.

    Args:
        panels: label of the vertical axis -> name -> values (steps,), or (seeds, steps), of which the mean is drawn.
        window: steps that are averaged; the last ones at most.
        steps_per_epoch: with it the horizontal axis has epochs.
    """
    figure, axes = new_figure(1, len(panels))
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    drawn: dict[str, Any] = {}
    for ax, (quantity, curves) in zip(np.atleast_1d(axes).flat, panels.items()):
        for name, values in curves.items():
            raw = np.atleast_2d(np.asarray(values, float))
            color = COLORS[names.index(name) % len(COLORS)]
            at = np.arange(1, raw.shape[1] + 1) / (steps_per_epoch or 1)
            ax.plot(at, raw.T, color=color, alpha=0.15, linewidth=0.6)
            mark = "o" if raw.shape[1] == 1 else ""  # a line through one point is not seen
            (drawn[name],) = ax.plot(at, _moving_average(raw.mean(0), window), marker=mark, color=color)
        ax.set(xlabel="epoch" if steps_per_epoch else "step", ylabel=quantity)
    figure.legend(
        list(drawn.values()), list(drawn), loc="outside upper center", ncols=min(4, len(drawn)), frameon=False
    )
    return figure


def predicted_classes(x: Points, y: Labels, predicted: Labels, *, names: tuple[str, str] = ("x", "y")) -> Figure:
    """The test set beside what the network makes of it, over the first two features; wrong answers are ringed.

    Args:
        x: features (samples, d), d >= 2.
        y: labels.
        predicted: predicted labels.
        names: of the two features.
    """
    points, truth, answer = np.asarray(x), np.asarray(y), np.asarray(predicted)
    wrong = truth != answer
    figure, axes = new_figure(1, 2, size=(2 * SQUARE, 1.1 * SQUARE))
    titles = ("test set", f"predicted, {100 * np.mean(~wrong):.1f} % right")
    for ax, labels, title in zip(axes, (truth, answer), titles):
        for kind in np.unique(np.concatenate([truth, answer])):
            chosen = labels == kind
            ax.scatter(*points[chosen, :2].T, s=9, color=COLORS[int(kind) % len(COLORS)], label=f"class {kind}")
        ax.set(xlabel=names[0], ylabel=names[1], title=title, aspect="equal")
    axes[1].scatter(*points[wrong, :2].T, s=25, facecolors="none", edgecolors="k", linewidths=0.8, label="wrong")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def latency_map(x: Points, t: Times, t_max: Number, *, names: tuple[str, str] = ("x", "y")) -> Figure:
    """First spike time of every output neuron over the first two features; silent samples are grey crosses.

    Args:
        x: features (samples, d), d >= 2.
        t: first spike times (samples, n).
        t_max: horizon T: who has not fired before it is silent.
        names: of the two features.
    """
    points, times = np.asarray(x), np.asarray(t)
    silent = ~(times < t_max)
    fired = times[~silent]
    low, high = (float(fired.min()), float(fired.max())) if fired.size else (0.0, float(t_max))
    figure, axes = new_figure(1, times.shape[1], size=(SQUARE * times.shape[1] + 0.8, SQUARE))
    for neuron, ax in enumerate(np.atleast_1d(axes).flat):
        here = silent[:, neuron]
        dots = ax.scatter(
            *points[~here, :2].T, c=times[~here, neuron], s=9, cmap="viridis", vmin=low, vmax=high, rasterized=True
        )
        ax.scatter(*points[here, :2].T, marker="x", s=12, color="#999999", linewidths=0.7)
        title = f"neuron {neuron}" + (f", silent in {100 * here.mean():.0f} %" if here.any() else "")
        ax.set(xlabel=names[0], ylabel=names[1], title=title, aspect="equal")
    figure.colorbar(dots, ax=axes, label="first spike time", shrink=0.8)
    return figure


def activity(
    spikes_in: SpikeTrain,
    trains: Sequence[SpikeTrain],
    params: Sequence[LayerParams] | RecurrentParams,
    t_max: Number,
    *,
    traced: int = 3,
    points: int = 600,
) -> Figure:
    """One sample: the spikes of inputs and layers, and the membrane potentials of some neurons with their thresholds.

    Args:
        spikes_in: input spikes (n_in, S).
        trains: spikes of every layer, as from `feedforward`; of a recurrent network the one train.
        params: parameters of every layer, or of the recurrent network.
        t_max: end of the time axis.
        traced: neurons of each layer whose potential is drawn: those that fire most, of them the first. Where a neuron
            fires more than `max_spikes` times, its potential ends with the last spike that was kept.
        points: times at which it is computed; the spikes themselves come on top.
    """
    layers: list[Any] = [recurrent_params(params)] if isinstance(params, RecurrentParams) else list(params)
    before = [spikes_in, *trains[:-1]]
    height = 1 + 0.6 * len(trains)
    figure, axes = new_figure(1 + len(trains), 1, size=(1.5 * PANEL_SIZE[0], PANEL_SIZE[1] * height))
    _raster(axes[0], [spikes_in, *trains])
    for number, (ax, source, train, layer) in enumerate(zip(axes[1:], before, trains, layers), 1):
        chosen = np.sort(np.argsort(-np.asarray(train.count), kind="stable")[:traced])
        spikes = np.asarray(train.times)[chosen]
        spikes = spikes[np.isfinite(spikes) & (spikes < t_max)]
        # just before a spike V = θ, just after it 0
        at = np.unique(np.concatenate([np.linspace(0, t_max, points), spikes, np.nextafter(spikes, np.inf)]))
        v = np.array(_potential(jnp.asarray(at, train.times.dtype), source, train, layer))
        last = np.asarray(train.times)[:, -1]
        v[np.asarray(train.overflow) & (at[:, None] > last)] = np.nan  # what comes then was not simulated
        for color, neuron in zip(COLORS, chosen):
            ax.plot(at, v[:, neuron], color=color, linewidth=1.2, label=f"neuron {neuron}")
        for color, neuron in zip(COLORS, chosen):
            theta = np.broadcast_to(np.asarray(layer.neuron.threshold), v.shape[1:])[neuron]
            ax.axhline(theta, color=color, linestyle=":", linewidth=1)
        ax.set(ylabel=f"V, layer {number}")
        ax.legend(frameon=False, fontsize=8, loc="upper left", ncols=traced)
        ax.margins(y=0.2)
    axes[-1].set_xlabel("time")
    for ax in axes:
        ax.set_xlim(0, t_max)
    return figure


def parameter_histograms(
    before: Mapping[str, Num[ArrayLike, "..."]], after: Mapping[str, Num[ArrayLike, "..."]], *, bins: int = 40
) -> Figure:
    """Distributions of what was learnt, before and after, a panel for each parameter.

    Args:
        before: name, such as `delay` -> values, of any shape.
        after: the same names.
        bins: of each histogram.
    """
    figure, axes = new_figure(1, len(before))
    for ax, name in zip(np.atleast_1d(axes).flat, before):
        both = [np.asarray(values, float).ravel() for values in (before[name], after[name])]
        edges = np.histogram_bin_edges(np.concatenate(both), bins)
        for label, values, color in zip(("before", "after"), both, COLORS):
            if np.ptp(values):
                ax.hist(values, edges, color=color, alpha=0.6, label=label)
            else:  # one value, whose bar would hide the rest
                ax.axvline(values[0], color=color, label=f"{label}: {values[0]:.3g}")
        ax.set(xlabel=name, ylabel="number")
        ax.legend(frameon=False, fontsize=9)
    return figure


_potential = jax.jit(membrane_potential)  # one program, rather than one for each of its operations


def _raster(ax: Axes, trains: Sequence[SpikeTrain]) -> None:
    start, ticks = 0, []
    length = max(0.8, sum(train.times.shape[0] for train in trains) / 80)  # of many neurons ticks would not be seen
    for number, train in enumerate(trains):
        rows = [times[np.isfinite(times)] for times in np.asarray(train.times)]
        ax.eventplot(rows, lineoffsets=range(start, start + len(rows)), linelengths=length, colors=COLORS[number])
        ticks.append((start + (len(rows) - 1) / 2, "input" if number == 0 else f"layer {number}"))
        start += len(rows)
        ax.axhline(start - 0.5, color="#bbbbbb", linewidth=0.6)
    ax.set_yticks(*zip(*ticks))
    ax.set_ylim(-0.5, start - 0.5)
    ax.grid(False, axis="y")


def _moving_average(values: Float[np.ndarray, " steps"], window: int) -> Float[np.ndarray, " steps"]:
    """Mean of each value and the ones before it, `window` at most."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _same_limits(axes: Any) -> None:
    top = max(ax.get_ylim()[1] for ax in np.atleast_1d(axes).flat)
    for ax in np.atleast_1d(axes).flat:
        ax.set_ylim(0, top)
