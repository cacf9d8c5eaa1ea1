"""The plots: how many panels, what they show."""

import numpy as np
from matplotlib.figure import Figure

from offprint.network_partitioning import plots

RNG = np.random.default_rng(0)


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_curves():
    curve = np.arange(4), np.arange(4.0)
    panels = {
        "rotation": {"partitioned": [curve, curve], "none": [curve]},
        "NLL": {"none": [(np.array([3]), np.array([0.1]))]},
    }
    figure = plots.curves(panels, truth={"rotation": np.pi})
    left, right = drawn(figure)
    assert (len(left.lines), len(right.lines)) == (4, 1)
    assert left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()
    assert right.lines[0].get_color() == left.lines[2].get_color()
    np.testing.assert_allclose(left.lines[3].get_ydata(), np.pi)
    assert right.lines[0].get_marker() == "o"  # one point is seen
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["partitioned", "none", "truth"]


def test_model_selection_marks_the_smallest_mean():
    losses = {"out of sample": np.array([[3.0, 1.0, 2.0], [3.0, 1.5, 1.0]]), "training": np.array([[3.0, 2.0, 1.0]])}
    (ax,) = drawn(plots.model_selection([5, 15, 30], losses, truth=15))
    marks = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]
    assert marks == [[15.0, 1.25], [30.0, 1.0]]


def test_keep_probabilities():
    values = RNG.uniform(size=(6, 4))
    ax, bar = drawn(plots.keep_probabilities(values, np.arange(0, 60, 10), informative=2))
    np.testing.assert_allclose(ax.images[0].get_array(), values.T)
    assert ax.lines[0].get_ydata()[0] == 2.5
    assert "kept" in bar.get_ylabel()
    assert len(drawn(plots.keep_probabilities(values[:1], np.array([7])))) == 2


def test_augmented_images():
    images = RNG.uniform(size=(3, 5, 5, 1))
    samples = {"before": RNG.uniform(size=(1, 3, 5, 5, 1)), "after": RNG.uniform(size=(2, 3, 5, 5, 1))}
    axes = drawn(plots.augmented_images(images, samples))
    assert len(axes) == 12
    assert [axes[row * 3].get_ylabel() for row in range(4)] == ["image", "before", "after", ""]
    low, high = images.min(), images.max()
    shown = np.clip((samples["after"][1, 2, ..., 0] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(axes[11].images[0].get_array(), shown)
    assert len(drawn(plots.augmented_images(RNG.uniform(size=(2, 4, 4, 3)), {}))) == 2


def test_nll_heat_map():
    (ax,) = drawn(plots.nll_heat_map(np.arange(6.0).reshape(3, 2)))
    assert [text.get_text() for text in ax.texts] == ["0", "1", "2", "3", "4", "5"]
    # Shard 1 is seen by subnetworks 1 and 2, shard 2 by subnetwork 2 alone: the line lies above them.
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.5, 0.5], [1.5, 1.5]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2"]


def test_accuracy_over():
    (ax,) = drawn(
        plots.accuracy_over(
            [100, 1000], {"none": np.array([[50.0, 60.0], [70.0, 80.0]]), "ours": np.array([[60.0], [90.0]])}
        )
    )
    assert ax.lines[0].get_ydata().tolist() == [55.0, 75.0]
    assert ax.get_xscale() == "log"
    (ax,) = drawn(
        plots.accuracy_over([0.3, 0.9], {"none": np.array([[50.0], [70.0]])}, xlabel="share", logarithmic=False)
    )
    assert (ax.get_xlabel(), ax.get_xscale()) == ("share", "linear")


def test_federated_accuracy():
    run = np.arange(3), np.array([0.0, 0.77, 1.54]), np.array([10.0, 50.0, 80.0])
    left, right = drawn(plots.federated_accuracy({"FedAvg": [run], "partitioned": [run, run]}))
    assert (len(left.lines), len(right.lines)) == (3, 3)
    assert right.lines[1].get_xdata().tolist() == [0.0, 0.77, 1.54]
    assert left.lines[0].get_color() != left.lines[1].get_color() == left.lines[2].get_color()


def test_planes():
    points, labels = RNG.normal(size=(8, 2)), np.arange(8) % 2
    panels = {name: (RNG.uniform(size=(5, 5)), points, labels) for name in "abcd"}
    axes = drawn(plots.planes(panels, columns=3))
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", "d", "", ""]
    assert axes[0].images[0].get_extent() == [-1.5, 1.5, -1.5, 1.5]
    np.testing.assert_allclose(axes[1].lines[1].get_xydata(), points[1::2])
    assert len(drawn(plots.planes({"one": panels["a"]}))) == 1


def test_bars():
    left, right = drawn(plots.bars({"accuracy, %": {"none": [76.0, 78.0], "ours": 85.0}, "range": {"ours": [3.0]}}))
    assert [patch.get_height() for patch in left.patches] == [77.0, 85.0]
    assert left.get_ylim()[0] > 70
    assert right.patches[0].get_facecolor() == left.patches[1].get_facecolor() != left.patches[0].get_facecolor()
