"""The one look of every figure."""

import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from offprint.core.plots import COLORS, new_figure, plot_band


def test_one_panel_is_an_axes_and_more_are_an_array() -> None:
    figure, ax = new_figure()
    assert isinstance(figure, Figure)
    assert isinstance(ax, Axes)
    assert new_figure(2, 3)[1].shape == (2, 3)
    assert new_figure(1, 3)[1].shape == (3,)
    with pytest.raises(ValueError, match="rows=0, cols=2"):
        new_figure(0, 2)


def test_curves_take_the_colours_in_order_and_settings_stay_alone() -> None:
    before = dict(matplotlib.rcParams)
    _, ax = new_figure()
    lines = [ax.plot([0, 1])[0] for _ in COLORS]
    assert [line.get_color() for line in lines] == list(COLORS)
    assert dict(matplotlib.rcParams) == before


def test_colours_differ_in_lightness_or_hue_for_the_colour_blind() -> None:
    # Viénot, Brettel and Mollon (1999): what a dichromat sees, as a projection of linear RGB.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    linear = np.array([to_rgb(color) for color in COLORS]) ** 2.2
    for seen in (linear, linear @ protan.T, linear @ deutan.T):
        shown = np.clip(seen, 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(shown[:, None] - shown[None], axis=-1)
        assert distances[np.triu_indices(len(COLORS), 1)].min() > 0.12


def test_band_is_drawn_in_the_curve_s_colour() -> None:
    _, ax = new_figure()
    x = np.arange(4.0)
    plot_band(ax, x, x - 1, x, x + 1, label="mean", color=COLORS[2])
    (curve,), (band,) = ax.lines, ax.collections
    np.testing.assert_array_equal(curve.get_ydata(), x)
    np.testing.assert_allclose(band.get_facecolor()[0][:3], to_rgb(COLORS[2]))
    edges = band.get_paths()[0].vertices
    assert (edges[:, 1].min(), edges[:, 1].max()) == (-1, 4)


def test_threads_draw_at_once() -> None:
    def draw(number: int) -> bytes:
        figure, ax = new_figure(size=(2, 2))
        ax.plot([0, number])
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return file.getvalue()

    alone = [draw(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(4))) == alone
    assert all(image.startswith(b"\x89PNG") for image in alone)
