"""The method in pictures: functions that take arrays or results and return a matplotlib Figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure
from offprint.moex._exchange import moment_exchange
from offprint.moex._moments import moments
from offprint.moex._norms import NormSpec

Number = float | int
Curve = tuple[ArrayLike, ArrayLike]


def moment_maps(
    images: Float[Array | np.ndarray, "batch height width channels"],
    features: Float[Array | np.ndarray, "batch rows columns features"],
) -> Figure:
    """Images over the mean and the standard deviation of their features at every position (PONO), a column each.

    Args:
        images: in [0, 1], grey or RGB.
        features: at the layer where moments are exchanged, such as `network.stem(x)`.
    """
    mean, std = (np.asarray(moment)[..., 0] for moment in moments(features, "pono"))
    figure, axes = _pictures(3, len(images))
    for column, image in enumerate(np.asarray(images)):
        _show(axes[0, column], image)
        axes[1, column].imshow(mean[column], cmap="viridis")
        axes[2, column].imshow(std[column], cmap="magma", vmin=0)
    for row, name in enumerate(("image", r"mean $\mu$", r"std $\sigma$")):
        axes[row, 0].set_ylabel(name)
    return figure


def exchanged_images(
    images: Float[Array | np.ndarray, "batch height width channels"], norm: str | NormSpec = "pono"
) -> Figure:
    """Every image with the moments of every other: rows keep their content, columns give the moments.

    Args:
        images: in [0, 1], grey or RGB; at most about eight are readable.
        norm: whose moments are exchanged, of the pixels themselves. Grey images have no "pono" moments: take "in".
    """
    batch = len(images)
    x = jnp.asarray(images, jnp.float32)
    figure, axes = _pictures(batch + 1, batch + 1)
    axes[0, 0].set_axis_off()
    for column in range(batch):
        _show(axes[0, column + 1], np.asarray(x[column]))
        rebuilt = moment_exchange(x, jnp.full(batch, column, jnp.int32), norm)
        for row in range(batch):
            _show(axes[row + 1, column + 1], np.asarray(rebuilt[row]))
    for row in range(batch):
        _show(axes[row + 1, 0], np.asarray(x[row]))
    axes[0, min(1, batch)].set_title("moments of", fontsize=9)
    axes[min(1, batch), 0].set_ylabel("content of", fontsize=9)
    return figure


def training_curves(panels: Mapping[str, Mapping[str, Sequence[Curve]]]) -> Figure:
    """Curves of a training, one panel for each quantity, one colour for each way of training, a line for each seed.

    Args:
        panels: label of the vertical axis -> way of training -> its seeds' (steps, values), as `FitResult.series`
            gives them.
    """
    figure, axes = new_figure(1, len(panels))
    for ax, (quantity, ways) in zip(np.atleast_1d(axes).flat, panels.items()):
        for number, (way, seeds) in enumerate(ways.items()):
            for seed, (steps, values) in enumerate(seeds):
                label = way if seed == 0 else None
                mark = "o" if np.size(steps) == 1 else ""  # a line through one point is not seen
                color = COLORS[number % len(COLORS)]
                ax.plot(np.asarray(steps), np.asarray(values), marker=mark, color=color, label=label)
        ax.set(xlabel="step", ylabel=quantity)
    _legend(figure, np.atleast_1d(axes).flat[0])
    return figure


def mixing_grid(
    values: Mapping[str, Float[ArrayLike, "lams ps"]], lams: Sequence[Number], ps: Sequence[Number]
) -> Figure:
    """Results over the weight λ and the probability p, one panel for each quantity, with the numbers written in.

    Args:
        values: title -> array of shape (len(lams), len(ps)).
        lams: λ of the rows.
        ps: p of the columns.
    """
    figure, axes = new_figure(1, len(values))
    for ax, (title, grid) in zip(np.atleast_1d(axes).flat, values.items()):
        cells = np.asarray(grid, float)
        ax.imshow(cells, cmap="cividis", aspect="auto")
        middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
        for (row, column), value in np.ndenumerate(cells):
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", color="k" if value > middle else "w")
        ax.set_xticks(range(len(ps)), [f"{p:g}" for p in ps])
        ax.set_yticks(range(len(lams)), [f"{lam:g}" for lam in lams])
        ax.set(xlabel="$p$", ylabel=r"$\lambda$", title=title)
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
        ax.set_xticks(range(len(ways)), list(ways), rotation=20, ha="right")
        ax.set_ylabel(quantity)
    return figure


def _pictures(rows: int, columns: int) -> tuple[Figure, Any]:
    figure, axes = new_figure(rows, columns, size=(1.1 * columns + 0.5, 1.1 * rows + 0.3))
    axes = np.asarray(axes).reshape(rows, columns)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    return figure, axes


def _show(ax: Axes, image: np.ndarray) -> None:
    if image.shape[-1] == 1:
        ax.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        ax.imshow(np.clip(image, 0, 1))


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
