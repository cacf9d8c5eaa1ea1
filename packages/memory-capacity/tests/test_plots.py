"""The plots: what stands on the axes, how many lines there are, and that legends cover nothing."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.memory_capacity import plots
from offprint.memory_capacity._krylov import KrylovDistances

N = 4
CURVE = np.array([1.0, 0.9, 0.5, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])


def visible(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    assert all(ax.get_legend() is None for ax in figure.axes)
    return [ax for ax in figure.axes if ax.get_visible()]


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_memory_curves():
    panels = {
        f"law {i}": {"naive": plots.Band(CURVE - 0.1, CURVE, CURVE + 0.1), "OSM": CURVE, "exact": CURVE}
        for i in range(4)
    }
    figure = plots.memory_curves(panels, N, max_lag=2 * N)
    axes = visible(figure)
    assert [ax.get_title() for ax in axes] == list(panels)
    assert labels(figure) == ["naive", "OSM", "exact"]
    for ax in axes:
        curves, marks = ax.lines[:3], ax.lines[3:]
        assert all(line.get_xdata().size == 2 * N + 1 for line in curves)
        assert [line.get_xdata()[0] for line in marks] == [N]
        assert len(ax.collections) == 1
    # Labels stand at the edge of the grid of 2 x 3 panels only.
    assert [bool(ax.get_ylabel()) for ax in axes] == [True, False, False, True]
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, True, True, True]


def test_the_legend_stands_outside():
    figure = plots.memory_curves({"one": {"exact": CURVE}}, N)
    (ax,) = visible(figure)
    assert not figure.legends[0].get_window_extent().overlaps(ax.get_window_extent())


def test_memory_curves_of_masks():
    figure = plots.memory_curves_of_masks({"OSM": [CURVE] * 3, "exact": [CURVE] * 2}, N, max_lag=5)
    assert [len(ax.lines) for ax in visible(figure)] == [4, 3]


def test_sampling_floor():
    figure = plots.sampling_floor(
        {100: CURVE, 200: CURVE},
        {100: np.array([6.0, 8.0]), 200: np.array([5.0, 5.0])},
        {100: 7.1, 200: 5.2},
        neurons=N,
    )
    left, right = visible(figure)
    assert len(left.lines) == 3
    assert left.lines[0].get_xdata()[-1] == 2 * N
    assert [patch.get_height() for patch in right.patches] == [7 / N, 5 / N]
    assert [text.get_text() for text in right.get_xticklabels()] == ["100", "200"]
    assert len(labels(figure)) == 4


def test_gramian_spectra_are_sorted_and_relative():
    figure = plots.gramian_spectra({"normal": np.array([1e-9, -4.0, 2.0]), "cyclic": np.array([1.0, 1.0, 1.0])}, 2e-16)
    (ax,) = visible(figure)
    assert ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1, 0.5, 2.5e-10])
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), 2e-16)
    assert labels(figure) == ["normal", "cyclic", r"$\varepsilon$"]


def test_squeezing():
    product = np.array([1, 0.5, 0.1, 0.1])
    found = KrylovDistances(np.array([1, 0.4, 0.05, 0]), np.array([1, 0.4, 0.05, 1e-20]), product)
    figure = plots.squeezing({"normal": found, "ring": found}, 0.9, {"normal": 2, "ring": 3})
    first, _ = visible(figure)
    arnoldi, _, eigenvalues, decay, _, rank = first.lines
    assert np.isnan(arnoldi.get_ydata()[-1])  # zero is not on a log axis
    assert np.isnan(eigenvalues.get_ydata()[-1])  # there is no further eigenvalue
    np.testing.assert_allclose(decay.get_ydata(), 0.9 ** np.arange(4))
    assert rank.get_xdata()[0] == 2
    assert len(labels(figure)) == 6


def test_eigenvalue_disks():
    figure = plots.eigenvalue_disks({"a": np.array([0.5 + 0.5j, 0.5 - 0.5j]), "b": np.array([1.2, -0.3])})
    first, second = visible(figure)
    np.testing.assert_allclose(first.collections[0].get_offsets(), [[0.5, 0.5], [0.5, -0.5]])
    assert first.get_xlim() == second.get_xlim()
    assert first.get_xlim()[1] > 1.2
    assert first.get_aspect() == 1


def test_memory_against_scale():
    figure = plots.memory_against_scale({"a": np.array([0.1, 1.0, 10.0])}, {"a": np.array([3.9, 2.0, 1.0])}, N)
    (ax,) = visible(figure)
    assert [patch.get_height() for patch in ax.patches] == [3.9, 2.0, 1.0]
    assert [line.get_ydata()[0] for line in ax.lines] == [N, 1]


def test_capacity_stacks_add_up():
    figure = plots.capacity_stacks(["weak", "strong"], [np.array([3.5, 0.0, 0.5]), np.array([2.0, 0.0, 1.5])], N)
    (ax,) = visible(figure)
    tops = [patch.get_y() + patch.get_height() for patch in ax.patches[-2:]]
    assert tops == [4.0, 3.5]
    assert labels(figure) == ["rank 4", "degree 1", "degree 2", "degree 3"]


def test_second_order_map_is_symmetric():
    figure = plots.second_order_map(np.array([[0.5, 0.2], [0.0, 0.1]]))
    ax, bar = visible(figure)
    np.testing.assert_array_equal(ax.images[0].get_array(), [[0.5, 0.2], [0.2, 0.1]])
    assert bar.get_ylabel() == "capacity of degree 2"


def test_estimated_totals():
    figure = plots.estimated_totals({"normal": {"naive": np.array([1.0, 2.0]), "exact": np.array([4.0, 4.0])}}, N)
    (ax,) = visible(figure)
    assert [line.get_xdata().size for line in ax.lines[:2]] == [2, 2]
    assert ax.get_xlim()[0] == 0
    assert labels(figure) == ["naive", "exact", "$N=4$"]
    assert plots.estimated_totals({"a": {"b": np.array([3.9, 4.2])}}, N).axes[0].get_xlim()[0] > 3


def test_dependent_curves():
    figure = plots.dependent_curves(
        {"a": CURVE, "b": CURVE},
        {"a": CURVE, "b": CURVE},
        {"a": (np.array([0.3]), np.array([0.2])), "b": (np.array([0.1]), np.array([0.1]))},
    )
    left, right = visible(figure)
    assert len(left.lines) == len(right.lines) == 4
    assert labels(figure) == ["a", "samples", "b", "samples"]


def test_null_law():
    figure = plots.null_law(np.linspace(0, 0.02, 100), 20, 2000, 0.018)
    (ax,) = visible(figure)
    density, threshold = ax.lines
    area = np.trapezoid(density.get_ydata(), density.get_xdata())
    assert area == pytest.approx(1, abs=0.02)
    assert threshold.get_xdata()[0] == 0.018


def test_nothing_to_plot():
    with pytest.raises(ValueError, match="there is nothing to plot: no panel was given"):
        plots.memory_curves({}, N)
