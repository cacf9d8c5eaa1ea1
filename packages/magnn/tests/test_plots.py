"""The plots: how many panels, what they show."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from offprint.core.plots import COLORS
from offprint.magnn import Sequences, evaluate, plots

TEST = Sequences.from_lists([[1, 2], [3, 4, 5]], 50)
GOOD = evaluate(np.array([[1, 2, 10, 11], [3, 4, 5, 10]]), TEST, (2, 4))
POOR = evaluate(np.array([[10, 1, 11, 12], [10, 11, 12, 13]]), TEST, (2, 4))


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_metric_by_k_has_the_mean_as_a_line_and_the_seeds_as_dots():
    figure = plots.metric_by_k({"MA-GNN": [GOOD, POOR], "BPR-MF": [POOR]})
    left, right = drawn(figure)
    assert (left.get_ylabel(), right.get_ylabel()) == ("Recall@$K$", "NDCG@$K$")
    np.testing.assert_allclose(left.lines[0].get_xdata(), [2, 4])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [(GOOD.recall[k] + POOR.recall[k]) / 2 for k in (2, 4)])
    np.testing.assert_allclose(left.lines[2].get_ydata(), [POOR.recall[2], POOR.recall[4]])
    assert len(left.lines) == 1 + 2 + 1 + 1
    assert legend(figure) == ["MA-GNN", "BPR-MF"]


def test_a_model_has_one_colour_everywhere():
    curves = drawn(plots.metric_by_k({"something else": [POOR], "MA-GNN": [GOOD]}))[0].lines
    bars = drawn(plots.ablation_bars({"NDCG@10": {"other": 0.1, "MA-GNN": 0.2}}))[0].patches
    assert curves[2].get_color() == plots.MODEL_COLORS["MA-GNN"]
    assert bars[1].get_facecolor()[:3] == to_rgba(plots.MODEL_COLORS["MA-GNN"])[:3]
    assert curves[0].get_color() != curves[2].get_color()
    assert len(set(plots.MODEL_COLORS.values())) == len(COLORS)


def test_training_curves_skip_the_epochs_without_an_evaluation():
    rows = [{"epoch": epoch, "loss": 1 / epoch} | ({"val_ndcg@10": 0.1} if epoch == 2 else {}) for epoch in (1, 2, 3)]
    figure = plots.training_curves(
        {"MA-GNN": [rows, rows], "HGN": [rows[:1]]}, {"loss": "loss", "validation NDCG@10": "val_ndcg@10"}
    )
    loss, ndcg = drawn(figure)
    assert len(loss.lines) == len(ndcg.lines) == 3
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    assert [len(line.get_xdata()) for line in ndcg.lines] == [1, 1, 0]
    assert legend(figure) == ["MA-GNN", "HGN"]


def test_ablation_bars():
    left, right = drawn(plots.ablation_bars({"Recall@10": {"P": [1.0, 3.0], "MA-GNN": 4.0}, "NDCG@10": {"P": [0.5]}}))
    assert [patch.get_width() for patch in left.patches] == [2.0, 4.0]
    np.testing.assert_allclose(left.lines[0].get_xdata(), [1, 3])
    assert [label.get_text() for label in left.get_yticklabels()] == ["P", "MA-GNN"]
    assert left.yaxis_inverted()
    assert right.patches[0].get_facecolor() == left.patches[0].get_facecolor()


def test_memory_attention():
    weights = np.random.default_rng(0).dirichlet(np.ones(20), 3)
    ax = drawn(plots.memory_attention(weights, ["Blue", "White", 7]))[0]
    np.testing.assert_allclose(ax.images[0].get_array(), weights)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Blue", "White", "7"]


def test_gate_histogram_counts_shares():
    figure = plots.gate_histogram({"MA-GNN": np.full((10, 4), 0.99), "other": np.linspace(0, 1, 50)[:, None]})
    (ax,) = drawn(figure)
    heights = ax.patches[0].get_path().vertices[:, 1]
    assert heights.max() == pytest.approx(1)
    assert legend(figure) == ["MA-GNN", "other"]


def test_metric_by_history_groups_users_by_length():
    lengths = np.arange(1, 11)
    (ax,) = drawn(plots.metric_by_history(lengths, {"HGN": lengths / 10, "MA-GNN": np.ones(10)}, bins=2))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1–5", "6–10"]
    np.testing.assert_allclose(ax.lines[0].get_ydata().astype(float), [0.3, 0.8])
    (alike,) = drawn(plots.metric_by_history(np.full(4, 7), {"HGN": np.array([0.0, 0, 1, 1])}))
    np.testing.assert_allclose(alike.lines[0].get_ydata().astype(float), [0.5])


def test_metric_by_history_refuses_values_of_other_users(unchecked_types):
    with pytest.raises(ValueError, match=r"HGN: values of \(3,\) do not fit the lengths of \(10,\)"):
        plots.metric_by_history(np.arange(10), {"HGN": np.ones(3)})


def test_sensitivity_is_drawn_from_small_to_large():
    figure = plots.sensitivity({"h": {20: [0.3, 0.5], 5: [0.2]}, "m": {5: 0.1}}, baselines={"popularity": 0.05})
    left, right = drawn(figure)
    np.testing.assert_allclose(left.lines[0].get_xdata(), [5, 20])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.2, 0.4])
    np.testing.assert_allclose(right.lines[-1].get_ydata(), [0.05, 0.05])
    assert legend(figure) == ["MA-GNN", "popularity"]
