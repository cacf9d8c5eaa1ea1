"""The plots: what stands on the axes, and how much is drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.mgrn import plots

HISTORY = [{"epoch": e, "loss": 1 / e, "val_loss": (e - 3) ** 2 + 1.0, "val_score": 0.1 * e} for e in range(1, 6)]


def axes_of(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_learning_curves_mark_the_best_epoch():
    left, right = axes_of(plots.learning_curves(HISTORY))
    assert [line.get_label() for line in left.lines[:2]] == ["training", "validation"]
    assert left.lines[2].get_xydata().tolist() == [[3.0, 1.0]]
    assert right.lines[1].get_xydata().tolist() == [[5.0, 0.5]]
    (alone,) = axes_of(plots.learning_curves([{"epoch": 1, "loss": 2.0}]))
    assert len(alone.lines) == 1


def test_confusion_matrix_counts_pairs():
    ax, _ = axes_of(plots.confusion_matrix(["a", "a", "b"], ["a", "b", "b"]))
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.5, 0.5], [0.0, 1.0]])
    assert [text.get_text() for text in ax.texts] == ["1", "1", "1"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    ordered, _ = axes_of(plots.confusion_matrix([0, 1], [1, 1], classes=[1, 0]))
    np.testing.assert_allclose(ordered.images[0].get_array(), [[1.0, 0.0], [1.0, 0.0]])


def test_gate_map_has_a_row_for_each_group_and_the_joint_one():
    gates = np.linspace(0, 1, 12).reshape(3, 4)
    upper, lower, _ = axes_of(plots.gate_map(gates, gates[0], group_names=["x", "y", "z"]))
    np.testing.assert_array_equal(upper.images[0].get_array(), gates)
    np.testing.assert_array_equal(lower.images[0].get_array(), gates[:1])
    assert [text.get_text() for text in upper.get_yticklabels()] == ["x", "y", "z"]
    assert upper.images[0].get_extent()[:2] == [0.5, 4.5]


def test_difference_boxes():
    (ax,) = axes_of(plots.difference_boxes({"GRU": [0.1, 0.3], "mGRN": [0.0]}, lines={"minimum": -0.2}))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["GRU", "mGRN"]
    points = [line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert points == [[0.1, 0.3], [0.0]]
    dashed = [line for line in ax.lines if line.get_label() == "minimum"]
    assert [set(line.get_ydata()) for line in dashed] == [{-0.2}]


def test_metric_bars():
    (ax,) = axes_of(plots.metric_bars({"mGRN": [0.8, 1.0], "LSTM": [0.5]}, metric="accuracy"))
    assert [patch.get_height() for patch in ax.patches] == [0.9, 0.5]
    assert ax.get_ylabel() == "accuracy"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.learning_curves([]), "need rows with 'epoch' and 'loss'"),
        (lambda: plots.gate_map(np.ones((2, 3)), np.ones(2)), r"got \(2, 3\), \(2,\) and 2 names"),
        (lambda: plots.difference_boxes({}), "got no box"),
        (lambda: plots.difference_boxes({"GRU": [np.nan]}), "finite values, got GRU"),
        (lambda: plots.metric_bars({"GRU": []}), "finite values, got GRU"),
    ],
)
def test_bad_input(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
