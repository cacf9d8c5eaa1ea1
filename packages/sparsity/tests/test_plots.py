"""The plots: how many panels, what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.sparsity import plots

RNG = np.random.default_rng(0)


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_tradeoff():
    curves = {"GMP": ([0.5, 0.9], [[90.0, 92.0], [80.0, 84.0]]), "random": (np.array([0.5, 0.9]), [80.0, 60.0])}
    figure = plots.tradeoff(curves, dense=95, published={"STR": ([0.8], [76.1])})
    (ax,) = drawn(figure)
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([0.5, 0.1])
    assert ax.lines[0].get_ydata().tolist() == [91.0, 82.0]
    assert ax.lines[2].get_xdata().tolist() == pytest.approx([0.2])
    assert ax.xaxis_inverted()
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["GMP", "random", "STR", "dense"]


def test_occam_marks_the_top_of_every_hill():
    (ax,) = drawn(plots.occam({"ticket": ([1, 0.1, 0.02], [[97, 97], [98, 99], [95, 94]])}, dense=97))
    stars = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "*"]
    assert stars == [[0.1, 98.5]]


def test_comparison():
    (ax,) = drawn(plots.comparison({"GMP": [96.0, 97.0], "SET": [93.0]}, published={"SET": (94.0, 0.5)}, dense=97))
    assert ax.lines[0].get_xydata().tolist() == [[96.0, 0.0], [97.0, 0.0]]
    assert ax.lines[1].get_xdata().tolist() == [96.5, 96.5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["GMP", "SET"]
    assert ax.containers[0].lines[0].get_xydata().tolist() == [[94.0, 1.25]]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top


def test_layer_density():
    (ax,) = drawn(plots.layer_density({"erk": {"a": 1.0, "b": 0.2}, "uniform": {"a": 0.5, "b": 0.5}}))
    assert [patch.get_height() for patch in ax.patches] == [1.0, 0.2, 0.5, 0.5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    (ax,) = drawn(plots.layer_density({"erk": RNG.uniform(size=54), "uniform": np.full(54, 0.1)}))
    assert len(ax.lines) == 2
    with pytest.raises(ValueError, match="every method must have the same layers, but their numbers are a 2, b 1"):
        plots.layer_density({"a": [0.1, 0.2], "b": [0.1]})


def test_mask_overlap():
    ax, bar = drawn(plots.mask_overlap([[1.0, 0.25], [0.25, 1.0]], ["SET", "RigL"]))
    assert [text.get_text() for text in ax.texts] == ["1.00", "0.25", "0.25", "1.00"]
    assert bar.get_ylabel() == "overlap"
    with pytest.raises(ValueError, match=r"1 names need a matrix \(1, 1\), got \(2, 2\)"):
        plots.mask_overlap(np.eye(2), ["SET"])


def test_schedule():
    steps = np.arange(4)
    curves = {"cubic": (steps, [0.0, 0.6, 0.85, 0.9]), "linear": (steps, steps / 4)}
    (ax,) = drawn(plots.schedule(curves, held={"cubic": (steps, [0.0, 0.0, 0.85, 0.85])}))
    assert len(ax.lines) == 3
    assert ax.lines[2].get_color() == ax.lines[0].get_color() != ax.lines[1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cubic", "linear"]


def test_score_hist():
    scores = {"a": {"kernel": RNG.normal(size=(8, 5)), "bias": None}, "b": {"kernel": np.zeros((2, 2))}}
    masks = {"a": {"kernel": np.abs(scores["a"]["kernel"]) > 0.5, "bias": None}, "b": {"kernel": np.ones((2, 2), bool)}}
    left, right = drawn(plots.score_hist(scores, masks, bins=10))
    assert (left.get_title(), right.get_title()) == ("a/kernel", "b/kernel")
    heights = [patch.get_height() for patch in left.patches]
    assert sum(heights[:10]) == 40
    assert sum(heights[10:]) == masks["a"]["kernel"].sum()
    assert not right.patches
    assert len(drawn(plots.score_hist(scores, panels=1))) == 1
    with pytest.raises(ValueError, match="no leaf of the tree has scores"):
        plots.score_hist({"a": None})


def test_training_flops():
    (ax,) = drawn(plots.training_flops({"RigL": ([2.1, 0.4], [77.2, 75.1])}, dense=(1, 76.8)))
    assert ax.lines[0].get_xydata().tolist() == [[0.4, 75.1], [2.1, 77.2]]
    assert ax.lines[1].get_xydata().tolist() == [[1.0, 76.8]]


def test_storage():
    densities = np.array([0.01, 0.1, 1.0])
    curves = {"bitmap": 1 + 32 * densities, "COO": 52 * densities}
    figure = plots.storage(densities, curves, break_evens={"COO = bitmap": 0.05})
    (ax,) = drawn(figure)
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([1.32, 4.2, 33])
    assert [text.get_text() for text in ax.texts] == ["COO = bitmap"]
    assert len(figure.legends[0].get_texts()) == 2


def test_latency_has_the_larger_of_the_two_bounds():
    kwargs = {"flops": [100, 10], "peak_flops": 1e5, "bytes_moved": [50, 40], "bandwidth": 1e4}
    (ax,) = drawn(plots.latency([0.0, 0.9], {"block": [0.2, 0.05]}, dense=0.1, **kwargs))
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([200, 50])
    assert ax.lines[1].get_ydata().tolist() == pytest.approx([5.0, 4.0])
    assert ax.lines[2].get_ydata()[0] == pytest.approx(100)
    (ax,) = drawn(plots.latency([0.0, 0.9], {"block": [0.2, 0.05]}, flops=[1, 1]))
    assert len(ax.lines) == 1
