"""The plots: how many panels, what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.gaug import Graph, plots


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def history(epochs, **more):
    return {"val": np.linspace(0.5, 0.8, epochs), "loss": np.ones(epochs), **more}


def test_training_curves_have_a_panel_for_each_quantity_that_some_history_has():
    joint = history(4, edge_auc=np.full(4, 0.9))
    figure = plots.training_curves({"original": [history(6)], "GAug-O": [joint, joint]})
    axes = drawn(figure)
    assert [ax.get_ylabel() for ax in axes] == ["validation F1", "AUC of the edge predictor", "training loss"]
    assert [len(ax.lines) for ax in axes] == [3, 2, 3]
    assert axes[0].lines[1].get_color() == axes[0].lines[2].get_color() == axes[1].lines[0].get_color()
    assert axes[0].lines[0].get_color() != axes[0].lines[1].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["original", "GAug-O"]
    assert not figure.legends[0].get_window_extent().overlaps(axes[0].get_window_extent())


def test_training_curves_draw_what_was_asked_for_and_nothing_unknown():
    (ax,) = drawn(plots.training_curves({"one": [history(1)]}, ["test", "val"]))
    assert ax.lines[0].get_marker() == "o"  # a single epoch is seen
    with pytest.raises(ValueError, match="no history has any of edge_auc"):
        plots.training_curves({"one": [history(3)]}, ["edge_auc"])


def test_heat_maps_share_their_colours():
    grids = {"GAE": np.array([[80.0, 82.0]]), "random": np.array([[80.0, 70.0]])}
    left, right = drawn(plots.heat_maps(grids, [0.02], [0, 0.57]))
    assert left.images[0].get_clim() == right.images[0].get_clim() == (70, 82)
    assert [label.get_text() for label in left.get_xticklabels()] == ["0", "57"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["2"]
    assert sorted(text.get_text() for text in right.texts) == ["70", "80"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("% added", "% removed")


def test_bars_show_mean_spread_and_seeds():
    left, right = drawn(plots.bars({"F1": {"original": [1.0, 3.0], "GAug-O": 8.0}, "AUC": {"GAug-O": [0.1]}}))
    assert [patch.get_height() for patch in left.patches] == [2.0, 8.0]
    assert right.patches[0].get_facecolor() == left.patches[1].get_facecolor() != left.patches[0].get_facecolor()
    error = left.collections[0]
    np.testing.assert_allclose(error.get_segments()[0][:, 1], [1, 3])
    assert left.get_ylim()[0] <= 0


def test_bars_far_from_zero_are_cut_so_that_differences_are_seen():
    (ax,) = drawn(plots.bars({"F1": {"original": [81.0, 82.0], "GAug-O": [83.0]}}))
    low, high = ax.get_ylim()
    assert (low, high) == pytest.approx((80, 83.4))


def test_degree_distribution():
    path, star = (
        Graph.from_edges(np.array([[0, 1], [1, 2]]), 4),
        Graph.from_edges(np.array([[0, 1], [0, 2], [0, 3]]), 4),
    )
    (ax,) = drawn(plots.degree_distribution({"before": path, "after": star}))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.75, 0.25])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [1, 0.25, 0.25])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["before (1 nodes without an edge)", "after"]


def test_score_histograms():
    scores = {"inner": (np.array([2.0, 3.0]), np.array([0.0, 1.0])), "cosine": (np.array([0.9]), np.array([0.1]))}
    figure = plots.score_histograms(scores, bins=4)
    left, right = drawn(figure)
    assert (left.get_xlabel(), right.get_xlabel()) == ("inner", "cosine")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["edges", "other pairs"]
    heights = [patch.get_height() * patch.get_width() for patch in left.patches]
    assert sum(heights) == pytest.approx(2)  # two densities


def test_sampling_frequencies():
    p = np.array([0.1, 0.9])
    (ax,) = drawn(plots.sampling_frequencies(p, {"a": p + 0.01, "b": p}, {"a": p, "b": p}))
    assert len(ax.lines) == 4
    np.testing.assert_allclose(ax.lines[1].get_ydata(), p + 0.01)
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()
