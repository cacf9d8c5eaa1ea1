"""The plots: how many panels, what they show."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Wedge

from offprint.core.plots import COLORS
from offprint.federated_mlo import plots

RNG = np.random.default_rng(0)


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_throughput_cdf_pools_and_reaches_one():
    values = {"rl": np.array([[3.0, 1.0], [2.0, 4.0]]), "frl_minrate": np.array([5.0])}
    left, right = drawn(plots.throughput_cdf({"chain": values, "star": {"rl": values["rl"]}}))
    assert (len(left.lines), len(right.lines)) == (2, 1)
    np.testing.assert_allclose(left.lines[0].get_xdata(), [1, 1, 2, 3, 4])
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0, 0.25, 0.5, 0.75, 1])
    assert left.lines[0].get_color() == right.lines[0].get_color() != left.lines[1].get_color()


def test_fairness_bars_stand_by_scenario_with_whiskers():
    scenarios = {"chain": {"rl": [0.2, 0.4], "mine": 0.9}, "star": {"mine": [0.5, 0.7]}}
    figure = plots.fairness_bars({"ratio": scenarios, "Jain": scenarios}, lines={"ratio": 1})
    top, bottom = drawn(figure)
    np.testing.assert_allclose([bar.get_height() for bar in top.patches], [0.3, 0.9, 0.6])
    assert [label.get_text() for label in top.get_xticklabels()] == ["chain", "star"]
    ours = [bar.get_x() + bar.get_width() / 2 for bar in top.patches][1:]
    np.testing.assert_allclose(ours[1] - ours[0], 1)  # the same place in each group
    reach = top.collections[0].get_segments()[0][:, 1]
    np.testing.assert_allclose(reach, [0.2, 0.4])
    dashed = [line for line in top.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [1]
    assert not [line for line in bottom.lines if line.get_linestyle() == "--"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rl", "mine"]


def test_learning_curves_have_bands_and_the_optimum():
    steps, values = np.arange(5), RNG.uniform(size=(30, 5))
    figure = plots.learning_curves(
        {"chain": {"rl": (steps, values)}, "star": {"rl": (steps, values[0])}}, optimum={"chain": 2}
    )
    left, right = drawn(figure)
    np.testing.assert_allclose(left.lines[0].get_ydata(), values.mean(axis=0))
    np.testing.assert_allclose(left.lines[1].get_ydata(), 2)
    band = left.collections[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose(band.max(), np.quantile(values, 0.9, axis=0).max())
    np.testing.assert_allclose(right.lines[0].get_ydata(), values[0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rl", "optimum"]


def test_action_heat_map_shows_shares_and_names_of_links():
    assert plots.action_names(3) == ["0", "1", "0+1", "2", "0+2", "1+2", "0+1+2"]
    ax, bar = drawn(plots.action_heat_map({"rl": np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])}, 2))
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0]])
    assert [text.get_text() for text in ax.texts] == ["75", "25"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "0+1"]
    assert "share" in bar.get_ylabel()


def test_topology_map_colours_the_links_in_use():
    adj = np.zeros((2, 3, 3), bool)
    adj[:, 0, 1] = adj[:, 1, 0] = True
    mask = np.array([[1, 1], [1, 0], [0, 1]], bool)
    where = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 5.0]])
    rates = {"learned": np.array([10.0, 20.0, 30.4])}
    (ax,) = drawn(plots.topology_map(adj, {"learned": mask}, ap=where, sta=where + 1, throughput=rates))
    sectors = [patch for patch in ax.patches if isinstance(patch, Wedge)]
    white = (1.0, 1.0, 1.0, 1.0)
    assert [sector.get_facecolor() != white for sector in sectors] == mask.ravel().tolist()
    edges = {line.get_color() for line in ax.lines if line.get_linestyle() == "-"}
    assert edges == {COLORS[0], "0.85"}  # both use link 0, one of them link 1
    assert [text.get_text() for text in ax.texts] == ["0: 10", "1: 20", "2: 30"]
    assert len(drawn(plots.topology_map(adj, {"all": mask | True, "one": mask}))) == 2


def test_rate_vs_size():
    (ax,) = drawn(plots.rate_vs_size([10, 100], {"rl": np.array([[1.0, 3.0], [4.0, 4.0]])}, logarithmic=True))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2, 4])
    assert ax.get_xscale() == "log"


def test_agreement_draws_the_diagonal():
    pairs = {"mine": (np.array([1.0, 2.0]), np.array([1.0, 3.0])), "other": (np.array([[4.0]]), np.array([[5.0]]))}
    figure = plots.agreement({"rates": pairs, "same": pairs}, xlabel="published", ylabel="here", log=True)
    left, _ = drawn(figure)
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, 1], [5, 5]])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [1, 3])
    assert left.get_yscale() == "log"
    assert len(figure.legends) == 1


def test_colours_are_the_same_everywhere_and_differ():
    colors = plots._colors([{"mine": 0, "rl": 0}, {"other": 0, "frl_minrate": 0}])
    assert len(set(colors.values())) == 4
    assert colors["rl"] == plots._colors([{"rl": 0}])["rl"]
