"""The paper's plots: functions that take results and return a matplotlib Figure.

Figures come from `offprint.core.plots`, so they look alike and nothing global is touched. Legends stand outside the
panels, so that they cover no curve.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from offprint.core.plots import COLORS, new_figure, plot_band
from offprint.memory_capacity._krylov import KrylovDistances

Number = float | int

_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _GREY = COLORS
_STYLES: dict[str, dict[str, Any]] = {
    "exact": {"color": _BLACK, "linewidth": 1.2, "zorder": 4},
    "naive": {"color": _VERMILLION, "linewidth": 2.2},
    "OSM": {"color": _SKY, "linewidth": 1.0},
    "OSM+": {"color": _BLUE, "linestyle": (0, (5, 1.5))},
    "official": {"color": _VERMILLION},
    "adjusted": {"color": _BLUE},
}
_LAG, _MC = r"lag $\tau$", r"$\mathrm{MC}_\tau$"


class Band(NamedTuple):
    """A curve with a band around it."""

    low: ArrayLike
    middle: ArrayLike
    high: ArrayLike


def memory_curves(
    panels: Mapping[str, Mapping[str, ArrayLike | Band]],
    neurons: int,
    *,
    max_lag: int | None = None,
    max_cols: int = 3,
) -> Figure:
    """Memory curves MC_τ against the lag, one panel for each network, one line (or band) for each estimator.

    Args:
        panels: title of the panel -> label of the line -> values (T,) from lag 0 on, or a `Band` of three such.
            The labels `exact`, `naive`, `OSM`, `OSM+` have colours of their own.
        neurons: N, where a dotted line marks the lag beyond which a perfect shift register holds nothing.
        max_lag: last lag drawn, default all.
        max_cols: panels side by side.
    """
    figure, axes = _grid(len(panels), max_cols)
    for ax, (title, curves) in zip(axes.flat, panels.items()):
        for number, (label, curve) in enumerate(curves.items()):
            style = _style(label, number)
            low, middle, high = curve if isinstance(curve, Band) else (None, curve, None)
            shown = slice(0, None if max_lag is None else max_lag + 1)
            line = np.asarray(middle)[shown]
            if low is None or high is None:
                ax.plot(np.arange(line.size), line, label=label, **style)
            else:
                edges = np.asarray(low)[shown], np.asarray(high)[shown]
                plot_band(ax, np.arange(line.size), edges[0], line, edges[1], label=label, **style)
        _mark_neurons(ax, neurons)
        ax.set(title=title, ylim=(-0.03, 1.06))
    _label_outer(axes, _LAG, _MC)
    _legend(figure, axes.flat[0])
    return figure


def memory_curves_of_masks(
    panels: Mapping[str, Sequence[ArrayLike]], neurons: int, *, max_lag: int | None = None
) -> Figure:
    """Memory curves of one network for many masks, thin lines over each other: title -> curves (T,) from lag 0 on."""
    figure, axes = _grid(len(panels), 3, size=(4.6 * len(panels), 3.3))
    for ax, (title, curves) in zip(axes.flat, panels.items()):
        shown = slice(0, None if max_lag is None else max_lag + 1)
        for shade, curve in zip(_shades(len(curves)), curves):
            line = np.asarray(curve)[shown]
            ax.plot(np.arange(line.size), line, color=shade, linewidth=0.8, alpha=0.8)
        _mark_neurons(ax, neurons)
        ax.set(title=title, ylim=(-0.03, 1.06))
    _label_outer(axes, _LAG, _MC)
    return figure


def sampling_floor(
    curves: Mapping[int, ArrayLike], totals: Mapping[int, ArrayLike], expected: Mapping[int, Number], neurons: int
) -> Figure:
    """The in-sample floor: estimated curves to lag 2N for each sample size T (left), totals over N (right).

    Args:
        curves: T -> estimated memory curve.
        totals: T -> totals of the replicates, (R,) each; the bar is their mean, the whisker their range.
        expected: T -> expected total.
        neurons: N, the true total.
    """
    figure, (left, right) = new_figure(1, 2, size=(10.4, 3.9))
    shades = _shades(len(curves))
    for shade, (samples, curve) in zip(shades, curves.items()):
        line = np.asarray(curve)[: 2 * neurons + 1]
        left.plot(np.arange(line.size), line, color=shade, linewidth=1.2, label=f"$T={samples}$")
    _mark_neurons(left, neurons)
    left.set(xlabel=_LAG, ylabel=r"$\widehat{\mathrm{MC}}_\tau$", title="Estimated memory curve", ylim=(-0.03, 1.06))

    place = np.arange(len(totals))
    values = [np.atleast_1d(np.asarray(total)) / neurons for total in totals.values()]
    means = np.array([value.mean() for value in values])
    spread = np.abs(np.array([[value.min(), value.max()] for value in values]).T - means)
    right.bar(place, means, 0.7, color=shades, yerr=spread, error_kw={"elinewidth": 1.0, "capsize": 2.5})
    right.plot(
        place,
        [expected[samples] / neurons for samples in totals],
        linestyle="none",
        marker="D",
        markersize=4.5,
        markerfacecolor="white",
        color=_BLACK,
        label="expected in-sample total",
    )
    right.axhline(1, color=_VERMILLION, linewidth=1.2, label="true total, $N$")
    right.set_xticks(place, [str(samples) for samples in totals], rotation=45 if len(totals) > 8 else 0)
    right.set(xlabel="sample size $T$", ylabel=r"$\widehat{\mathrm{MC}}/N$", title="Estimated total")
    right.set_ylim(0.9 * min(1, means.min()), 1.04 * (means + spread[1]).max())
    right.grid(False, axis="x")
    _legend(
        figure, left, right, ncols=-(-(len(curves) + 2) // (1 if len(curves) < 5 else 2 if len(curves) < 12 else 3))
    )
    return figure


def gramian_spectra(spectra: Mapping[str, ArrayLike], eps: Number) -> Figure:
    """Sorted eigenvalue moduli of controllability Gramians on a log axis, with the line of machine epsilon.

    Args:
        spectra: label -> eigenvalues (N,) of the Gramian, in any order; relative to the largest of each.
        eps: relative precision of the floats they were computed in.
    """
    figure, ax = new_figure(size=(6.4, 4.0))
    markers = "osD^vPX*"
    for number, (label, values) in enumerate(spectra.items()):
        moduli = np.sort(np.abs(np.asarray(values)))[::-1]
        ax.semilogy(
            np.arange(1, moduli.size + 1),
            np.maximum(moduli / moduli[0], np.finfo(float).tiny),
            color=COLORS[number % len(COLORS)],
            marker=markers[number % len(markers)],
            markersize=3,
            linewidth=1.2,
            label=label,
        )
    ax.axhline(eps, color=_BLACK, linestyle="--", linewidth=1.0, label=r"$\varepsilon$")
    ax.set(xlabel="index $i$", ylabel=r"$|\lambda_i(\Gamma)|\,/\,|\lambda_1(\Gamma)|$")
    _legend(figure, ax, side="right")
    return figure


def squeezing(distances: Mapping[str, KrylovDistances], rho: Number, ranks: Mapping[str, Number]) -> Figure:
    """How far A^j C sticks out of the span of C, ..., A^{j-1} C: the squeezing of Krylov subspaces.

    Args:
        distances: title of the panel -> distances by `krylov_distances`.
        rho: spectral radius, for the line ρ^j.
        ranks: title of the panel -> numerical rank of the Krylov matrix, marked by a vertical line.
    """
    figure, axes = _grid(len(distances), 3)
    for ax, (title, found) in zip(axes.flat, distances.items()):
        j = np.arange(np.asarray(found.svd).size)
        size = float(np.asarray(found.eigenvalues)[0])
        ax.semilogy(j, _positive(found.arnoldi), color=_BLUE, label="distance, Arnoldi basis")
        ax.semilogy(j, _positive(found.svd), color=_ORANGE, linestyle=(0, (4, 2)), label="distance, SVD basis")
        # There are N eigenvalues: after the N-th their product no longer changes, and is not drawn.
        product = _positive(found.eigenvalues)
        product[1:][np.diff(product) == 0] = np.nan
        ax.semilogy(j, product, color=_GREEN, label=r"$\|C\|\prod_{i\leq j}|\lambda_i|$")
        ax.semilogy(j, size * float(rho) ** j, color=_GREY, linewidth=1.0, linestyle=":", label=r"$\|C\|\,\rho^j$")
        ax.axhline(np.finfo(float).eps, color=_BLACK, linewidth=1.0, linestyle="--", label=r"$\varepsilon$")
        ax.axvline(float(ranks[title]), color=_VERMILLION, linewidth=1.0, label="numerical rank")
        ax.set(title=title, ylim=(1e-20, 10))
    _label_outer(axes, "$j$", r"$\mathrm{dist}(A^jC,\,\mathcal{K}_j)$")
    _legend(figure, axes.flat[0])
    return figure


def eigenvalue_disks(spectra: Mapping[str, ArrayLike]) -> Figure:
    """Eigenvalues of reservoir matrices in the complex plane, with the unit circle.

    Args:
        spectra: title of the panel -> eigenvalues (N,).
    """
    columns = min(3, len(spectra))
    rows = -(-len(spectra) // columns)
    figure, axes = _grid(len(spectra), 3, size=(3.1 * columns, 3.2 * rows))
    angle = np.linspace(0, 2 * np.pi, 400)
    widest = max([1.0] + [float(np.abs(np.asarray(values)).max()) for values in spectra.values()])
    for ax, (title, values) in zip(axes.flat, spectra.items()):
        points = np.asarray(values)
        ax.plot(np.cos(angle), np.sin(angle), color=_BLACK, linewidth=0.9)
        ax.scatter(points.real, points.imag, s=11, color=_BLUE, alpha=0.75, linewidths=0)
        ax.set(title=title, aspect="equal", xlim=(-1.08 * widest, 1.08 * widest), ylim=(-1.08 * widest, 1.08 * widest))
        ax.set_xticks([-1, 0, 1])
        ax.set_yticks([-1, 0, 1])
    _label_outer(axes, r"$\mathrm{Re}\,\lambda$", r"$\mathrm{Im}\,\lambda$")
    return figure


def memory_against_scale(sigmas: Mapping[str, ArrayLike], totals: Mapping[str, ArrayLike], neurons: int) -> Figure:
    """Total memory of nonlinear networks against the input scale σ, with lines at 1 and N.

    Args:
        sigmas: title of the panel -> input scales (S,).
        totals: title of the panel -> total memory at each (S,).
        neurons: N.
    """
    figure, axes = _grid(len(totals), 3)
    for ax, (title, total) in zip(axes.flat, totals.items()):
        place = np.log10(np.asarray(sigmas[title], float))
        width = 0.8 * np.diff(place).min() if place.size > 1 else 0.5
        ax.bar(place, np.asarray(total), width, color=_BLUE)
        ax.axhline(neurons, color=_BLACK, linewidth=1.0, linestyle="--", label=f"$N={neurons}$")
        ax.axhline(1, color=_VERMILLION, linewidth=1.2, label="1")
        ax.set(title=title, ylim=(0, 1.08 * neurons))
        ax.grid(False, axis="x")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.xaxis.set_major_formatter(lambda value, _: rf"$10^{{{value:.0f}}}$")
    _label_outer(axes, r"input scale $\sigma$", r"$\widehat{\mathrm{MC}}(\sigma)$")
    _legend(figure, axes.flat[0])
    return figure


def capacity_stacks(
    labels: Sequence[str], by_degree: Sequence[ArrayLike], rank: Number, *, xlabel: str = r"input gain $\iota$"
) -> Figure:
    """Information processing capacity as bars stacked by degree, with a line at the rank of the states.

    Args:
        labels: of the bars.
        by_degree: for each bar, the capacity of degree 1, 2, ... (D,).
        rank: number of independent directions of the states, which bounds every stack.
        xlabel: what the bars stand for.
    """
    figure, ax = new_figure(size=(6.4, 3.8))
    heights = np.stack([np.asarray(values, float) for values in by_degree])
    place, base = np.arange(len(labels)), np.zeros(len(labels))
    colors = (_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _VERMILLION)
    for degree, height in enumerate(heights.T, start=1):
        ax.bar(place, height, 0.72, base, color=colors[(degree - 1) % len(colors)], label=f"degree {degree}")
        base = base + height
    ax.axhline(float(rank), color=_BLACK, linestyle="--", linewidth=1.0, label=f"rank {int(rank)}")
    ax.set_xticks(place, list(labels))
    ax.set(xlabel=xlabel, ylabel="information processing capacity", ylim=(0, 1.06 * max(float(rank), base.max())))
    ax.grid(False, axis="x")
    _legend(figure, ax, side="right")
    return figure


def second_order_map(capacities: ArrayLike) -> Figure:
    """Second-order memory by the two delays of the target.

    Args:
        capacities: (D+1, D+1) capacity of p_1(z_{t-k1}) p_1(z_{t-k2}) at [k1, k2], k1 < k2, and of p_2(z_{t-k}) on the
            diagonal, as in `IPC.second_order`; the map is drawn symmetric.
    """
    upper = np.asarray(capacities, float)
    full = np.maximum(upper, upper.T)
    figure, ax = new_figure(size=(4.9, 4.0))
    image = ax.imshow(full, origin="lower", cmap="viridis", vmin=0)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="delay $k_1$", ylabel="delay $k_2$")
    bar = figure.colorbar(image, ax=ax)
    bar.set_label("capacity of degree 2")
    bar.outline.set_linewidth(0.6)
    return figure


def estimated_totals(totals: Mapping[str, Mapping[str, ArrayLike]], neurons: Number) -> Figure:
    """What estimators make of one true total: a dot for each seed, one row for each network.

    Args:
        totals: network -> estimator -> totals (S,).
        neurons: N, marked by a line.
    """
    figure, ax = new_figure(size=(6.8, 0.9 + 0.55 * len(totals)))
    for row, estimates in enumerate(totals.values()):
        offsets = np.linspace(0.18, -0.18, len(estimates)) if len(estimates) > 1 else [0.0]
        for number, (offset, (label, values)) in enumerate(zip(offsets, estimates.items())):
            points = np.atleast_1d(np.asarray(values))
            ax.plot(
                points,
                np.full(points.shape, row - offset),
                linestyle="none",
                marker="osD^"[number % 4],
                markersize=5,
                alpha=0.8 if points.size < 20 else 0.25,
                markeredgewidth=0,
                color=_style(label, number)["color"],
                label=label if row == 0 else None,
            )
    ax.axvline(float(neurons), color=_GREY, linestyle=":", linewidth=1.0, label=f"$N={neurons:g}$")
    ax.set_yticks(np.arange(len(totals)), list(totals))
    every = np.concatenate([np.ravel(found) for estimates in totals.values() for found in estimates.values()])
    low, high = float(every.min()), float(every.max())
    ax.set(xlabel="total memory", ylim=(len(totals) - 0.5, -0.5))
    # From zero, unless all estimates lie close together.
    ax.set_xlim(0 if low < 0.6 * neurons else 0.9 * low, 1.08 * max(high, float(neurons)))
    _legend(figure, ax)
    return figure


def dependent_curves(
    theory: Mapping[str, ArrayLike],
    measured: Mapping[str, ArrayLike],
    forecasts: Mapping[str, tuple[ArrayLike, ArrayLike]],
) -> Figure:
    """Memory (left) and forecasting capacities (right) for correlated inputs: theory as lines, samples as dots.

    Args:
        theory: label -> MC_τ (T,).
        measured: label -> its estimate from samples (T,).
        forecasts: label -> (FC_h (H,), its estimate (H,)), h = 1, ..., H.
    """
    figure, (left, right) = new_figure(1, 2)
    for number, label in enumerate(theory):
        line: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "linewidth": 1.3, "label": label}
        # Larger markers first, so that those of coinciding curves lie within each other.
        dots = {"color": line["color"], "linestyle": "none", "marker": "osD^v"[number % 5]}
        dots |= {"markerfacecolor": "none", "markersize": max(8.0 - 2 * number, 3.5)}
        curve, sampled = np.asarray(theory[label]), np.asarray(measured[label])
        left.plot(np.arange(curve.size), curve, **line)
        left.plot(np.arange(sampled.size), sampled, **dots, label="samples")
        ahead, sampled_ahead = (np.asarray(part) for part in forecasts[label])
        right.plot(np.arange(1, ahead.size + 1), ahead, **line)
        right.plot(np.arange(1, sampled_ahead.size + 1), sampled_ahead, **dots)
    left.set(xlabel=_LAG, ylabel=_MC, title="Memory")
    right.set(xlabel="steps ahead $h$", ylabel=r"$\mathrm{FC}_h$", title="Forecasting")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, left)
    return figure


def null_law(capacities: ArrayLike, rank: int, n_samples: int, threshold: Number) -> Figure:
    """Capacities of targets that the states know nothing of, with the Beta law that the threshold comes from.

    Args:
        capacities: (targets,) in-sample capacities.
        rank: r, and n_samples: T, of Beta(r/2, (T-1-r)/2).
        threshold: the capacity above which a target would count.
    """
    import scipy.stats

    figure, ax = new_figure(size=(6.0, 3.6))
    values = np.asarray(capacities)
    law = scipy.stats.beta(rank / 2, (n_samples - 1 - rank) / 2)
    grid = np.linspace(0, 1.05 * max(values.max(), float(threshold)), 400)
    ax.hist(values, bins=50, density=True, color=_SKY, label="unrelated targets")
    ax.plot(grid, law.pdf(grid), color=_BLACK, linewidth=1.4, label=r"$\mathrm{Beta}(r/2,\,(T-1-r)/2)$")
    ax.axvline(float(threshold), color=_VERMILLION, label="threshold")
    ax.set(xlabel=r"in-sample capacity $\widehat{C}$", ylabel="density")
    _legend(figure, ax)
    return figure


def _grid(panels: int, max_cols: int, size: tuple[float, float] | None = None) -> tuple[Figure, np.ndarray]:
    """A figure with that many panels in rows of at most max_cols; panels left over are hidden."""
    if panels < 1:
        raise ValueError("there is nothing to plot: no panel was given.")
    columns = min(max_cols, panels)
    rows = -(-panels // columns)
    figure, made = new_figure(rows, columns, size=size or (3.5 * columns, 2.7 * rows + 0.4))
    axes = np.asarray(made, dtype=object).reshape(rows, columns)
    for ax in axes.flat[panels:]:
        ax.set_visible(False)
    return figure, axes


def _label_outer(axes: np.ndarray, xlabel: str, ylabel: str) -> None:
    rows, _ = axes.shape
    for (row, column), ax in np.ndenumerate(axes):
        last = row == rows - 1 or not axes[row + 1, column].get_visible()
        ax.set(xlabel=xlabel if last else "", ylabel=ylabel if column == 0 else "")


def _legend(figure: Figure, *sources: Axes, side: str = "top", ncols: int | None = None) -> None:
    handles: list[Any] = []
    labels: list[str] = []
    for ax in sources:
        more = ax.get_legend_handles_labels()
        handles += more[0]
        labels += more[1]
    look: dict[str, Any] = {"frameon": False, "fontsize": 9}
    if side == "top":
        figure.legend(handles, labels, loc="outside upper center", ncols=ncols or min(len(labels), 6), **look)
    else:
        figure.legend(handles, labels, loc="outside right center", **look)


def _mark_neurons(ax: Axes, neurons: int) -> None:
    ax.axvline(neurons, color=_GREY, linestyle=":", linewidth=1.0)


def _style(label: str, number: int) -> dict[str, Any]:
    return dict(_STYLES.get(label, {"color": COLORS[number % len(COLORS)]}))


def _positive(values: ArrayLike) -> np.ndarray:
    """What a log axis can show: zeros and underflows are left out."""
    array = np.asarray(values, float)
    return np.where(array > 0, array, np.nan)


def _shades(count: int) -> list[tuple[float, ...]]:
    """Colours from light to dark, for an ordered family of curves."""
    from matplotlib import colormaps

    return [tuple(colormaps["viridis_r"](x)) for x in np.linspace(0.12, 0.95, count)]
