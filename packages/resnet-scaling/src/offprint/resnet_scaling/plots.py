"""The paper's plots: functions that take results and return a matplotlib Figure.

Figures come from `offprint.core.plots`, so they look alike and nothing global is touched. Legends stand beside the
panels, so that they cover no curve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure, plot_band
from offprint.resnet_scaling._classification_study import Study
from offprint.resnet_scaling._classify import SMOOTH_BELOW, ScalingReport
from offprint.resnet_scaling._exponents import Fit
from offprint.resnet_scaling._phase import PhaseDiagram
from offprint.resnet_scaling._sweep_result import SweepResult

Numbers = ArrayLike | Sequence[float | int]

_BLUE, _VERMILLION, _GREEN, _PURPLE, _ORANGE, _SKY, _BLACK, _GREY = COLORS
_DEPTH = "depth $L$"
_REGIME_COLORS = {"smooth": _BLUE, "diffusive": _VERMILLION, "rough": _ORANGE, "sparse": _GREEN}
_LABELS = {
    "max_norm": r"$\max_k\|A_k\|$",
    "rms": r"$(\frac{1}{L}\sum_k\|A_k\|^2)^{1/2}$",
    "scaled_increment": r"$\max_k\|A_{k+1}-A_k\|\,/\,\max_k\|A_k\|$",
    "root_sum_squares": r"$(\sum_k\|A_k\|^2)^{1/2}$",
    "cumsum_norm": r"$\|\sum_k A_k\|$",
    "delta": r"$|\delta|$",
}


def scaling(report: ScalingReport) -> Figure:
    """Norms against the depth (left), and the two statistics that decide between the hypotheses (right), log-log.

    Left the largest and the root mean square norm, and |δ| where it is shared: α and β are their slopes. Right the
    increments, which fall under Hypothesis 1, and the root of the sum of squares, which stays under Hypothesis 2.
    """
    figure, (left, right) = new_figure(1, 2, size=(10.4, 4.3))
    for ax, names, title in (
        (left, ("max_norm", "rms", "delta"), "norms"),
        (right, ("scaled_increment", "root_sum_squares"), f"hypotheses: {report.regime}"),
    ):
        for name, color in zip(names, COLORS):
            if name in report.slopes:
                _power_law(ax, report.slopes[name], _LABELS[name], color)
        ax.set(xlabel=_DEPTH, title=title)
    _legend(figure, left, right)
    return figure


def slope_table(report: ScalingReport) -> Figure:
    """Slopes of all statistics with their bootstrap intervals (standard errors where there is none)."""
    figure, ax = new_figure(size=(6.4, 0.38 * len(report.slopes) + 1.4))
    names = list(report.slopes)[::-1]
    for place, name in enumerate(names):
        fit = report.slopes[name]
        low, high = fit.ci if np.isfinite(fit.ci[0]) else (fit.slope - 2 * fit.se, fit.slope + 2 * fit.se)
        ax.plot([low, high], [place, place], color=_BLUE, linewidth=1.6)
        ax.plot([fit.slope], [place], color=_BLUE, marker="o", markersize=4, linestyle="none")
        ax.annotate(f"{fit.slope:+.2f}", (fit.slope, place), xytext=(0, 5), textcoords="offset points", ha="center")
    ax.axvline(0, color=_BLACK, linewidth=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="slope of log statistic on log $L$", title=report.regime, ylim=(-0.6, len(names) - 0.3))
    return figure


def regime_map(reports: Mapping[str, ScalingReport]) -> Figure:
    """Exponents (α, β) of several sweeps, with the line α + β = 1 on which smooth weights have a limit."""
    figure, ax = new_figure(size=(5.4, 4.2))
    ax.plot([0, 1], [1, 0], color=_BLACK, linewidth=1.0, label=r"$\alpha+\beta=1$")
    ax.axhline(0.5, color=_GREY, linewidth=0.8, linestyle=":", label=r"$\beta=1/2$")
    for (label, report), marker in zip(reports.items(), _repeat("osD^vPX*", len(reports))):
        beta = report.beta if report.regime == "smooth" else report.hurst
        ax.plot(
            [report.alpha],
            [beta],
            color=_REGIME_COLORS[report.regime],
            marker=marker,
            linestyle="none",
            label=f"{label}: {report.regime}",
        )
    ax.set(xlabel=r"$\alpha$ of $\delta\sim L^{-\alpha}$", ylabel=r"$\beta$ (smooth) or RMS exponent (rough)")
    _legend(figure, ax)
    return figure


def layer_multipliers(delta: Numbers) -> Figure:
    """Trained δ_k against the layer k, (L,)."""
    values = np.asarray(delta, float).reshape(-1)
    figure, ax = new_figure(size=(6.4, 3.4))
    ax.axhline(0, color=_BLACK, linewidth=0.8)
    ax.plot(np.arange(values.size), values, color=_BLUE, linewidth=0.6, marker=".", markersize=2)
    ax.set(xlabel="layer $k$", ylabel=r"$\delta_k$")
    return figure


def trend_and_noise(trend: Numbers, noise: Numbers) -> Figure:
    """One entry of the weights along the layers: its trend (left) and the noise around it (right), (L,) each."""
    figure, panels = new_figure(1, 2, size=(10.4, 3.6))
    for ax, values, title, color in zip(panels, (trend, noise), ("trend", "noise"), (_BLUE, _VERMILLION)):
        line = np.asarray(values, float).reshape(-1)
        ax.plot(np.arange(line.size) / line.size, line, color=color, linewidth=0.9)
        ax.set(xlabel="$k/L$", title=title)
    return figure


def losses(sweep: SweepResult) -> Figure:
    """Final training loss of every seed against the depth, with the ε that ends training; below it, shaded."""
    figure, ax = new_figure(size=(6.0, 3.8))
    for depth, table in sweep.losses.items():
        rows = table.reshape(-1, table.shape[-1])
        finals = [row[~np.isnan(row)][-1] for row in rows if (~np.isnan(row)).any()]
        ax.plot([depth] * len(finals), finals, color=_BLUE, marker="o", markersize=4, linestyle="none")
    epsilon = float(sweep.config.epsilon)
    ax.axhline(epsilon, color=_VERMILLION, linewidth=1.0, label=r"$\varepsilon$")
    ax.set(xscale="log", yscale="log", xlabel=_DEPTH, ylabel="training loss")
    ax.axhspan(ax.get_ylim()[0], epsilon, color=_VERMILLION, alpha=0.08)
    _legend(figure, ax)
    return figure


def denoised_losses(trained: Mapping[int, Numbers], denoised: Mapping[int, Numbers]) -> Figure:
    """Loss with the trained weights and with their trend alone: depth -> losses of the seeds; bands are their range."""
    figure, ax = new_figure(size=(6.0, 3.8))
    for by_depth, label, color in ((trained, "trained", _BLUE), (denoised, "denoised", _VERMILLION)):
        depths = np.array(list(by_depth))
        values = [np.atleast_1d(np.asarray(row, float)) for row in by_depth.values()]
        low, middle, high = (np.array([of(row) for row in values]) for of in (np.nanmin, np.nanmedian, np.nanmax))
        plot_band(ax, depths, low, middle, high, label=label, color=color, marker="o", markersize=4)
    ax.set(xscale="log", yscale="log", xlabel=_DEPTH, ylabel="loss")
    _legend(figure, ax)
    return figure


def hidden_states(sweep: SweepResult, depth: int | None = None) -> Figure:
    """Norms of hidden states (above) and of their increments (below) along the layers, before and after training.

    Each line is an input, of the first seed: five of the training set and five that are new. The largest depth unless
    another is named.

    Raises:
        ValueError: a depth that is not in the sweep.
    """
    depth = sweep.depths[-1] if depth is None else depth
    if depth not in sweep.depths:
        raise ValueError(f"depth={depth} is not in the sweep; it has {', '.join(map(str, sweep.depths))}")
    record = next(record for record in sweep.records if record.depth == depth)
    figure, panels = new_figure(2, 2, size=(10.4, 6.2))
    rows = ((record.hidden_norms, r"$\|h_k\|$"), (record.hidden_increments, r"$\|h_{k+1}-h_k\|$"))
    for axes, (values, label) in zip(panels, rows):
        first = values.reshape(-1, *values.shape[-3:])[0]
        for ax, state, title in zip(axes, first, ("before training", "after training")):
            half = state.shape[1] // 2
            for probe in range(state.shape[1]):
                name = ("training input" if probe < half else "new input") if probe in (0, half) else None
                place = np.arange(len(state)) / depth
                ax.plot(place, state[:, probe], color=_BLUE if probe < half else _VERMILLION, linewidth=0.8, label=name)
            ax.set(xlabel="$k/L$", ylabel=label, title=f"{title}, $L={depth}$")
    _legend(figure, panels[0, 0])
    return figure


def conv_norms(norms: Mapping[int, Numbers]) -> Figure:
    """Norms of all layers of convolutional networks against the depth, with the line of the largest.

    Args:
        norms: depth -> largest singular value of each layer.
    """
    figure, ax = new_figure(size=(6.0, 3.8))
    for depth, values in norms.items():
        row = np.asarray(values, float).reshape(-1)
        ax.plot([depth] * row.size, row, color=_SKY, marker="o", markersize=3, alpha=0.6, linestyle="none")
    largest = [float(np.max(np.asarray(values))) for values in norms.values()]
    ax.plot(list(norms), largest, color=_VERMILLION, marker="D", markersize=4, label="largest")
    ax.set(xscale="log", yscale="log", xlabel=_DEPTH, ylabel="norm of a layer")
    _legend(figure, ax)
    return figure


def limit_errors(errors: Mapping[str, tuple[Numbers, Numbers]]) -> Figure:
    """Distance of networks from their limit against the depth, log-log, with lines of slope -1/2 and -1.

    Args:
        errors: label -> depths and distances.
    """
    figure, ax = new_figure(size=(6.2, 4.2))
    for (label, (depths, distances)), marker in zip(errors.items(), _repeat("osD^vPX*", len(errors))):
        ax.plot(np.asarray(depths), np.asarray(distances), marker=marker, markersize=4, label=label)
    every = np.concatenate([np.asarray(depths, float) for depths, _ in errors.values()])
    top = max(float(np.max(np.asarray(distances))) for _, distances in errors.values())
    span = np.array([every.min(), every.max()])
    for slope, style in ((-0.5, ":"), (-1.0, "--")):
        line = top * (span / span[0]) ** slope
        ax.plot(span, line, color=_GREY, linestyle=style, linewidth=1.0, label=f"$L^{{{slope:g}}}$")
    ax.set(xscale="log", yscale="log", xlabel=_DEPTH, ylabel="distance from the limit")
    _legend(figure, ax)
    return figure


def phase_diagram(diagram: PhaseDiagram) -> Figure:
    """Median log10 of |h_L - h_0| / |h_0| over Hurst exponent and scaling, its zeros, and the line max(½, H)."""
    figure, ax = new_figure(size=(6.0, 4.2))
    widest = min(3.0, float(np.abs(diagram.median).max()))
    image = ax.pcolormesh(
        np.asarray(diagram.hursts),
        np.asarray(diagram.betas),
        diagram.median.T,
        cmap="RdBu_r",
        vmin=-widest,
        vmax=widest,
        shading="nearest",
    )
    ax.plot(diagram.hursts, diagram.critical_betas, color=_BLACK, marker="o", markersize=3, label="zero")
    H = np.linspace(min(diagram.hursts), max(diagram.hursts), 100)
    ax.plot(H, np.maximum(0.5, H), color=_GREY, linestyle="--", label=r"$\max(1/2,\,H)$")
    ax.set(xlabel="Hurst exponent $H$", ylabel=r"$\beta$")
    ax.grid(False)
    figure.colorbar(image, ax=ax, label=r"$\log_{10}\|h_L-h_0\|/\|h_0\|$", extend="both")
    _legend(figure, ax)
    return figure


def classification(studies: Mapping[str, Study]) -> Figure:
    """The two slopes that decide, for the random sequences of a classification study, coloured by kind."""
    figure, ax = new_figure(size=(6.4, 4.4))
    for (name, study), color, marker in zip(studies.items(), COLORS, _repeat("osD^vPX*", len(studies))):
        rms = [report.slopes["rms"].slope for report in study.reports]
        increments = [report.slopes["scaled_increment"].slope for report in study.reports]
        label = f"{name}: {study.accuracy:.0%} found {study.regime}"
        ax.plot(rms, increments, color=color, marker=marker, markersize=4, linestyle="none", alpha=0.7, label=label)
    ax.axhline(SMOOTH_BELOW, color=_BLACK, linewidth=1.0, linestyle="--")
    ax.axvline(-0.5, color=_BLACK, linewidth=0.8, linestyle=":")
    ax.set(xlabel="slope of the root mean square norm", ylabel="slope of the increments, relative to the norm")
    _legend(figure, ax)
    return figure


def learning_rate_transfer(rates: Numbers, losses: Mapping[str, Mapping[int, Numbers]]) -> Figure:
    """Loss against the learning rate, a panel for each parametrisation and a line for each depth.

    Args:
        rates: (rates,): before the multiplier of the parametrisation.
        losses: parametrisation -> depth -> losses (rates,); what is not finite is left out.
    """
    figure, panels = new_figure(1, len(losses), size=(5.2 * len(losses), 4.2))
    axes = np.atleast_1d(panels)
    x = np.asarray(rates, float)
    for ax, (title, by_depth) in zip(axes, losses.items()):
        for depth, values in by_depth.items():
            y = np.asarray(values, float)
            ax.plot(x[np.isfinite(y)], y[np.isfinite(y)], marker="o", markersize=3, label=f"$L={depth}$")
        ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="loss", title=title)
    _legend(figure, axes[0])
    return figure


def _power_law(ax: Axes, fit: Fit, label: str, color: str) -> None:
    """Points and their line."""
    ax.plot(fit.depths, fit.values, color=color, marker="o", markersize=4, linestyle="none")
    ax.plot(fit.depths, fit.predict(fit.depths), color=color, label=f"{label}: slope {fit.slope:+.2f}")
    ax.set(xscale="log", yscale="log")


def _repeat(items: Sequence[Any], count: int) -> list[Any]:
    return [items[place % len(items)] for place in range(count)]


def _legend(figure: Figure, *axes: Axes) -> None:
    """One legend below all panels."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        entries.update(zip(labels, handles))
    figure.legend(
        handles=list(entries.values()),
        labels=list(entries),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8,
    )
