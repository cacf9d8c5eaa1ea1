"""Figures show the numbers that they are given."""

import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import (
    DepthRecord,
    PhaseDiagram,
    ResNetParams,
    Study,
    SweepConfig,
    SweepResult,
    classify_statistics,
    plots,
)
from offprint.resnet_scaling._statistics import STATISTICS

DEPTHS = (8, 16, 32, 64)


@pytest.fixture(scope="module")
def report():
    slopes = {"scaled_increment": -1.2, "max_norm": -0.2, "rms": -0.2, "root_sum_squares": 0.3}
    table = {name: (np.array(DEPTHS, float) ** slopes.get(name, 0))[:, None] for name in STATISTICS}
    return classify_statistics(DEPTHS, table, delta=np.array(DEPTHS, float)[:, None] ** -0.7, n_boot=50)


@pytest.fixture(scope="module")
def sweep():
    rng = np.random.default_rng(0)
    records = [
        DepthRecord(
            L,
            ResNetParams(jnp.zeros((2, L, 2, 2)), jnp.zeros((2, L, 2)), jnp.ones((2, 1))),
            losses=np.array([[0.1, 1e-3 / L, np.nan], [0.2, 2e-3 / L, np.nan]]),
            epochs=np.array([2, 2]),
            test_losses=np.ones((2, 2)),
            hidden_norms=rng.uniform(1, 2, (2, 2, L + 1, 10)),
            hidden_increments=rng.uniform(1, 2, (2, 2, L, 10)),
            converged=np.array([True, True]),
            diverged=np.array([False, False]),
            seconds=1.0,
            compile_seconds=1.0,
        )
        for L in DEPTHS
    ]
    return SweepResult(SweepConfig(), (0, 1), tuple(records))


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def drawn(figure):
    figure.canvas.draw()
    return figure.axes


def test_scaling(report):
    figure = plots.scaling(report)
    left, right = drawn(figure)
    assert left.get_xscale() == left.get_yscale() == "log"
    np.testing.assert_allclose(left.lines[0].get_ydata(), np.array(DEPTHS) ** -0.2)
    np.testing.assert_allclose(left.lines[1].get_ydata(), np.array(DEPTHS) ** -0.2)
    assert right.get_title() == "hypotheses: smooth"
    assert [label.split("slope ")[1] for label in labels(figure)] == ["-0.20", "-0.20", "-0.70", "-1.00", "+0.30"]


def test_slope_table(report):
    (ax,) = drawn(plots.slope_table(report))
    assert [label.get_text() for label in ax.get_yticklabels()] == list(report.slopes)[::-1]
    assert len(ax.lines) == 2 * len(report.slopes) + 1


def test_regime_map(report):
    figure = plots.regime_map({"tanh": report})
    (ax,) = drawn(figure)
    np.testing.assert_allclose(ax.lines[-1].get_xydata(), [[0.7, 0.2]])
    assert labels(figure)[-1] == "tanh: smooth"


def test_multipliers_trend_and_noise():
    (ax,) = drawn(plots.layer_multipliers(np.array([0.1, -0.2, 0.3])))
    assert ax.lines[1].get_ydata().tolist() == [0.1, -0.2, 0.3]
    left, right = drawn(plots.trend_and_noise(np.arange(4.0), np.ones(4)))
    np.testing.assert_allclose(left.lines[0].get_xydata()[:, 0], [0, 0.25, 0.5, 0.75])
    assert right.get_title() == "noise"


def test_losses(sweep):
    (ax,) = drawn(plots.losses(sweep))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [1e-3 / 8, 2e-3 / 8])  # the last that is a number
    assert ax.lines[-1].get_ydata()[0] == 1e-3


def test_denoised_losses():
    figure = plots.denoised_losses({8: [1.0, 2.0, 3.0], 16: [2.0]}, {8: [4.0], 16: [4.0]})
    (ax,) = drawn(figure)
    assert ax.lines[0].get_ydata().tolist() == [2.0, 2.0]
    assert labels(figure) == ["trained", "denoised"]


def test_hidden_states(sweep):
    figure = plots.hidden_states(sweep, 16)
    panels = drawn(figure)
    np.testing.assert_allclose(panels[1].lines[3].get_ydata(), sweep.records[1].hidden_norms[0, 1, :, 3])
    np.testing.assert_allclose(panels[2].lines[0].get_ydata(), sweep.records[1].hidden_increments[0, 0, :, 0])
    assert labels(figure) == ["training input", "new input"]
    with pytest.raises(ValueError, match="depth=17 is not in the sweep; it has 8, 16, 32, 64"):
        plots.hidden_states(sweep, 17)


def test_conv_norms():
    (ax,) = drawn(plots.conv_norms({8: [1.0, 3.0], 14: [2.0, 2.5]}))
    assert ax.lines[-1].get_ydata().tolist() == [3.0, 2.5]


def test_limit_errors():
    figure = plots.limit_errors({"a": ([8, 16], [1.0, 0.5])})
    (ax,) = drawn(figure)
    np.testing.assert_allclose(ax.lines[-1].get_ydata(), [1.0, 0.5])  # slope -1
    assert labels(figure) == ["a", "$L^{-0.5}$", "$L^{-1}$"]


def test_phase_diagram():
    diagram = PhaseDiagram(np.array([0.2, 0.8]), np.array([0.0, 0.5, 1.0]), np.ones((2, 3, 1)) * [[[1], [0.1], [-1]]])
    ax = drawn(plots.phase_diagram(diagram))[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), diagram.critical_betas)
    assert ax.lines[1].get_ydata()[0] == 0.5


def test_classification(report):
    figure = plots.classification({"smooth": Study("smooth", np.array([0.2]), (report,))})
    (ax,) = drawn(figure)
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[-0.2, -1.0]])
    assert labels(figure) == ["smooth: 100% found smooth"]


def test_learning_rate_transfer():
    figure = plots.learning_rate_transfer([0.1, 0.2], {"a": {8: [1.0, np.nan]}, "b": {8: [1.0, 2.0]}})
    left, right = drawn(figure)
    assert left.lines[0].get_xdata().tolist() == [0.1]
    assert right.lines[0].get_ydata().tolist() == [1.0, 2.0]
