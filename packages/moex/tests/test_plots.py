"""The plots: how many panels, what they show."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.moex import moment_exchange, moments, plots

IMAGES = np.random.default_rng(0).uniform(size=(3, 6, 6, 3)).astype(np.float32)


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_moment_maps():
    features = np.random.default_rng(1).normal(size=(3, 4, 4, 5))
    axes = drawn(plots.moment_maps(IMAGES, features))
    mean, std = moments(features, "pono")
    np.testing.assert_allclose(axes[3].images[0].get_array(), mean[0, ..., 0])
    np.testing.assert_allclose(axes[8].images[0].get_array(), std[2, ..., 0])
    assert [axes[row * 3].get_ylabel() for row in range(3)] == ["image", r"mean $\mu$", r"std $\sigma$"]


def test_exchanged_images():
    axes = drawn(plots.exchanged_images(IMAGES))
    assert len(axes) == 16
    # Content of image 1 with the moments of image 2, and itself on the diagonal.
    rebuilt = moment_exchange(IMAGES, np.array([0, 2, 2]))[1]
    np.testing.assert_allclose(axes[4 * 2 + 3].images[0].get_array(), np.clip(rebuilt, 0, 1), atol=1e-6)
    np.testing.assert_allclose(axes[4 * 2 + 2].images[0].get_array(), IMAGES[1], atol=1e-6)


def test_grey_images_have_no_pono_moments():
    grey = IMAGES[..., :1]
    assert len(drawn(plots.exchanged_images(grey, "in"))) == 16
    with pytest.raises(ValueError, match="too few"):
        plots.exchanged_images(grey)


def test_training_curves():
    curve = np.arange(4), np.arange(4.0)
    figure = plots.training_curves({"loss": {"off": [curve, curve], "MoEx": [curve]}, "error": {"off": [curve]}})
    left, right = drawn(figure)
    assert (len(left.lines), len(right.lines)) == (3, 1)
    assert left.lines[0].get_color() == left.lines[1].get_color() != left.lines[2].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["off", "MoEx"]
    assert not figure.legends[0].get_window_extent().overlaps(left.get_window_extent())


def test_a_curve_of_one_point_is_seen():
    (ax,) = drawn(plots.training_curves({"error": {"off": [(np.array([5]), np.array([0.1]))]}}))
    assert ax.lines[0].get_marker() == "o"


def test_mixing_grid():
    (ax,) = drawn(plots.mixing_grid({"error": np.array([[1.0, 2.0], [3.0, 4.0]])}, [0.5, 0.9], [0.25, 1.0]))
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3", "4"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0.5", "0.9"]


def test_bars():
    left, right = drawn(plots.bars({"error": {"off": [1.0, 3.0], "MoEx": 1.5}, "nll": {"MoEx": [0.1]}}))
    assert [patch.get_height() for patch in left.patches] == [2.0, 1.5]
    assert len(right.patches) == 1
    assert right.patches[0].get_facecolor() == left.patches[1].get_facecolor() != left.patches[0].get_facecolor()
