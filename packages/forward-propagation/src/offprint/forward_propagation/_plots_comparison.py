"""Pictures of comparisons: learning rules and gradients with each other, and accuracies."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Num
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure

Number = float | int


def update_similarity(
    similarities: Mapping[str, Num[ArrayLike, "points layers"]], steps: Sequence[Number] | Num[np.ndarray, " points"]
) -> Figure:
    """Cosine similarity of other learning rules' updates with the exact gradient while training, a panel per layer.

    Args:
        similarities: name of a rule -> similarities, one row for each point of the training, one column per layer.
        steps: where in the training the points are.
    """
    found = {name: np.asarray(values, float) for name, values in similarities.items()}
    layers = next(iter(found.values())).shape[1]
    figure, axes = new_figure(1, layers)
    for layer, ax in enumerate(np.atleast_1d(axes).flat):
        for number, (name, values) in enumerate(found.items()):
            ax.plot(steps, values[:, layer], "o-", color=COLORS[number % len(COLORS)], markersize=4, label=name)
        ax.axhline(0, color="k", linewidth=0.8)
        ax.set(xlabel="epoch", ylabel="cosine with the exact gradient", title=f"weights into layer {layer + 1}")
        ax.set_ylim(min(-0.1, *(float(np.nanmin(values)) - 0.05 for values in found.values())), 1.05)
    handles, names = np.atleast_1d(axes).flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(4, len(names)), frameon=False)
    return figure


def gradient_difference(fired: Int[np.ndarray, " networks"], difference: Float[np.ndarray, " networks"]) -> Figure:
    """How far a gradient is off over how often the hidden neurons fired; the medians as lines.

    Args:
        fired: most spikes of a hidden neuron that could matter, of each network.
        difference: of the two gradients in %.
    """
    figure, ax = new_figure()
    beside = np.random.default_rng(0).uniform(-0.25, 0.25, fired.size)
    ax.plot(fired + beside, difference, "o", markersize=3, alpha=0.5)
    for times in np.unique(fired):
        ax.hlines(np.median(difference[fired == times]), times - 0.35, times + 0.35, color=COLORS[1], linewidth=2)
    ax.set(xlabel="most spikes of a hidden neuron before the outputs", ylabel="difference, %")
    ax.set_xticks(np.unique(fired))
    return figure


def against_differences(
    differences: Float[np.ndarray, " directions"], slopes: Mapping[str, Float[np.ndarray, " directions"]]
) -> Figure:
    """Derivatives in some directions over the central differences in the same, a colour for each gradient; and errors.

    Args:
        differences: central differences.
        slopes: name of a gradient -> its derivatives.
    """
    figure, (left, right) = new_figure(1, 2)
    least, most = 0, -16
    for color, (name, values) in zip(COLORS, slopes.items()):
        left.plot(differences, values, "o", color=color, markersize=3, alpha=0.6, label=name)
        errors = np.sort(np.maximum(np.abs(values - differences), 1e-16))
        right.plot(errors, np.arange(1, errors.size + 1) / max(errors.size, 1), color=color, drawstyle="steps-post")
        least = min(least, math.floor(np.log10(errors.min(initial=1))))
        most = max(most, math.ceil(np.log10(errors.max(initial=1e-16))))
    ends = [float(differences.min(initial=0)), float(differences.max(initial=0))]
    left.plot(ends, ends, color="k", linewidth=0.8)
    left.set(xlabel="central difference", ylabel="derivative")
    left.legend(frameon=False, fontsize=9)
    right.set(xscale="log", xlim=(10.0**least, 10.0 ** max(most, least + 1)), ylim=(0, 1.05))
    right.set(xlabel="|derivative - central difference|", ylabel="share of directions with at most it")
    return figure


def bars(panels: Mapping[str, Mapping[str, ArrayLike | Sequence[Number]]]) -> Figure:
    """A panel for each quantity, a bar for each method: the mean of its seeds, the seeds as dots.

    Args:
        panels: label of the vertical axis -> method -> one value or several.
    """
    figure, axes = new_figure(1, len(panels))
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods))
    for ax, (quantity, methods) in zip(np.atleast_1d(axes).flat, panels.items()):
        for number, (name, values) in enumerate(methods.items()):
            seeds = np.atleast_1d(np.asarray(values, float))
            ax.bar(number, seeds.mean(), 0.7, color=COLORS[names.index(name) % len(COLORS)], alpha=0.8)
            beside = number + np.linspace(-0.2, 0.2, seeds.size) if seeds.size > 1 else np.array([number])
            ax.plot(beside, seeds, "o", color="k", markersize=3)
        ax.set_xticks(range(len(methods)), list(methods), rotation=25, ha="right")
        ax.set_ylabel(quantity)
    return figure
