"""The plots: how many panels, what they show."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx
from matplotlib.figure import Figure

from offprint.forward_propagation import LIF, RecurrentParams, plots, recipe, recurrent, spike_train


def drawn(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_convergence_histograms_count_runs_and_leave_out_those_that_did_not_converge():
    epochs = {"exact": [3.0, 3.0, 7.0, np.inf], "other": np.array([1.0, np.inf])}
    left, right = drawn(plots.convergence_histogram(epochs))
    assert left.get_title() == "exact: 3 of 4 converge"
    assert sum(patch.get_height() for patch in left.patches) == 3
    assert max(patch.get_height() for patch in left.patches) == 2
    assert left.get_ylim() == right.get_ylim()
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["mean 4.3"]


def test_a_histogram_of_runs_that_all_failed_is_empty():
    (ax,) = drawn(plots.convergence_histogram({"exact": [np.inf, np.inf]}))
    assert ax.get_title() == "exact: 0 of 2 converge"


def test_first_spike_histograms_have_a_panel_for_each_class_and_count_the_silent():
    t = np.array([[0.1, 0.9], [0.2, 2.0], [0.8, 0.3], [0.7, 0.2]])
    axes = drawn(plots.first_spike_histograms(t, np.array([0, 0, 1, 1]), 2.0, classes=("yin", "yang"), bins=5))
    assert [ax.get_title() for ax in axes] == ["yin", "yang"]
    labels = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in axes]
    assert labels == [["neuron 0", "neuron 1 (1 silent)"], ["neuron 0", "neuron 1"]]
    assert max(patch.get_xy()[:, 1].max() for patch in axes[0].patches) == 2  # both spikes of neuron 0 in one bin


def test_training_curves_average_over_seeds_and_the_last_steps():
    panels = {"loss": {"exact": np.array([4.0, 2.0, 0.0]), "two": np.array([[1.0, 1.0], [3.0, 3.0]])}}
    figure = plots.training_curves(panels, window=2, steps_per_epoch=2)
    (ax,) = drawn(figure)
    smooth = [line for line in ax.lines if line.get_alpha() is None]
    np.testing.assert_allclose(smooth[0].get_ydata(), [4, 3, 1])
    np.testing.assert_allclose(smooth[1].get_ydata(), [2, 2])
    np.testing.assert_allclose(smooth[0].get_xdata(), [0.5, 1, 1.5])
    assert len(ax.lines) == 1 + 1 + 2 + 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["exact", "two"]
    assert ax.get_xlabel() == "epoch"


def test_predicted_classes_ring_what_is_wrong():
    x, y = np.random.default_rng(0).random((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    left, right = drawn(plots.predicted_classes(x, y, np.array([0, 1, 2, 0, 1, 0])))
    assert right.get_title() == "predicted, 83.3 % right"
    ringed = right.collections[-1].get_offsets()
    np.testing.assert_allclose(ringed, x[5:, :2])
    assert len(left.collections) == 3


def test_latency_maps_share_their_colours_and_mark_silent_samples():
    x = np.random.default_rng(0).random((4, 2))
    t = np.array([[0.5, 2.0], [1.0, np.inf], [0.7, 1.5], [0.6, 0.9]])
    *panels, bar = drawn(plots.latency_map(x, t, 2.0))
    assert [ax.get_title() for ax in panels] == ["neuron 0", "neuron 1, silent in 50 %"]
    dots, crosses = panels[1].collections
    np.testing.assert_allclose(crosses.get_offsets(), x[:2])
    np.testing.assert_allclose(dots.get_array(), [1.5, 0.9])
    assert dots.get_clim() == panels[0].collections[0].get_clim() == (0.5, 1.5)
    assert bar.get_ylabel() == "first spike time"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activity_shows_potentials_that_reach_the_threshold_at_spikes(dtype):
    settings = recipe("xor")
    model = settings.model(nnx.Rngs(0), dtype)
    spikes = spike_train(np.array([[0.0], [1.0]], dtype))
    trains = nnx.jit(lambda model, spikes: model.activity(spikes))(model, spikes)
    assert int(trains[0].count.max()) > 1
    raster, hidden, out = drawn(plots.activity(spikes, trains, [layer.layer for layer in model.layers], 2.0, traced=2))
    assert [tick.get_text() for tick in raster.get_yticklabels()] == ["input", "layer 1", "layer 2"]
    assert (hidden.get_ylabel(), out.get_ylabel()) == ("V, layer 1", "V, layer 2")
    potentials = [np.asarray(ax.lines[0].get_ydata()) for ax in (hidden, out)]
    assert potentials[0].max() == pytest.approx(1, abs=1e-4)  # of a neuron that fires, and never above
    assert np.isfinite(potentials[0]).all()
    assert np.nanmax(potentials[1]) == pytest.approx(1, abs=1e-4)
    assert np.isnan(potentials[1][-1])  # it would fire again, but one spike alone is kept
    assert len(hidden.lines) == 4


def test_activity_of_a_recurrent_network_is_one_layer():
    params = RecurrentParams(np.full((2, 3), 2.0), np.full((3, 3), 0.3), LIF(1.0, 0.8, np.array([1.0, 1.2, 1.4])))
    spikes = spike_train([[0.1], [0.4]], dtype=np.float64)
    run = jax.jit(partial(recurrent, t_max=3.0, max_spikes=4))
    train = run(spikes, params.w_in, params.w_rec, params.neuron)
    raster, potentials = drawn(plots.activity(spikes, [train], params, 3.0))
    assert len(raster.collections) == 2 + 3
    thresholds = [line.get_ydata()[0] for line in potentials.lines if line.get_linestyle() == ":"]
    assert thresholds == [1.0, 1.2, 1.4]


def test_parameters_that_had_one_value_are_a_line():
    left, right = drawn(
        plots.parameter_histograms({"delay": 0.0, "tau_mem": np.ones(4)}, {"delay": np.arange(4.0), "tau_mem": [1, 2]})
    )
    assert (left.get_xlabel(), right.get_xlabel()) == ("delay", "tau_mem")
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["before: 0", "after"]


def test_update_similarity_has_a_panel_for_each_layer():
    found = {"Hebbian rule": np.array([[0.5, 1.0], [-0.4, 1.0]]), "ste": np.array([[0.2, 0.9], [0.1, 0.8]])}
    left, right = drawn(plots.update_similarity(found, [0, 1]))
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.5, -0.4])
    assert left.get_ylim()[0] < -0.4
    assert [ax.get_title() for ax in (left, right)] == ["weights into layer 1", "weights into layer 2"]


def test_gradient_differences_with_their_medians():
    (ax,) = drawn(plots.gradient_difference(np.array([1, 1, 2, 2]), np.array([0.0, 0.0, 8.0, 6.0])))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, 0, 8, 6])
    np.testing.assert_allclose([lines.get_segments()[0][0, 1] for lines in ax.collections], [0, 7])


def test_derivatives_against_differences():
    differences = np.array([1.0, -2.0])
    left, right = drawn(plots.against_differences(differences, {"exact": differences, "other": differences + 0.1}))
    assert len(left.lines) == 3
    np.testing.assert_allclose(right.lines[1].get_xdata(), [0.1, 0.1])


def test_bars_show_means_and_seeds_in_the_same_colours():
    left, right = drawn(plots.bars({"test": {"exact": [1.0, 3.0], "ste": 8.0}, "stored": {"ste": 5.0}}))
    assert [patch.get_height() for patch in left.patches] == [2.0, 8.0]
    assert left.patches[1].get_facecolor() == right.patches[0].get_facecolor() != left.patches[0].get_facecolor()
