"""Membrane potentials with total derivatives, causality graphs, and feed-forward networks seen as recurrent ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_networks import FEEDFORWARD, golden_times, golden_train, load_layers, load_recurrent, spike_count

from offprint.forward_propagation._causality import ancestors, causality_graph
from offprint.forward_propagation._embed import as_recurrent, joined
from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._potential import membrane_potential
from offprint.forward_propagation._recurrent import recurrent
from offprint.forward_propagation._spikes import spike_train


@pytest.mark.parametrize("undelayed", [False, True])
def test_the_potential_and_its_total_derivatives_are_the_golden_ones(golden, undelayed):
    stored, observed = golden("rec_small"), golden("rec_small_voltage")
    spikes_in, params = load_recurrent(stored)
    if undelayed:
        params = params._replace(delay_in=0.0, delay_rec=0.0)

    def potential(w_in, w_rec):
        changed = params._replace(w_in=w_in, w_rec=w_rec)
        spikes = recurrent(spikes_in, **changed._asdict(), t_max=4.0, max_spikes=spike_count(stored))
        return membrane_potential(observed["t_obs"], spikes_in, spikes, changed)

    v = jax.jit(potential)(params.w_in, params.w_rec)
    np.testing.assert_allclose(v, observed["V"], rtol=0, atol=1e-11)
    by_weights = jax.jit(jax.jacrev(potential, argnums=(0, 1)))(params.w_in, params.w_rec)
    for found, name in zip(by_weights, ("dV_dW_in", "dV_dW_rec")):
        scale = np.abs(observed[name]).max()
        np.testing.assert_allclose(found, observed[name], rtol=0, atol=1e-9 * scale)


def test_the_potential_of_one_layer_is_the_solution_of_its_equation():
    spikes_in, neuron = spike_train([[0.1, 0.7], [0.4, np.inf]]), LIF(1.3, 0.6)
    weights, delays = jnp.array([[1.5], [-0.4]]), jnp.array([0.2, 0.0])
    silent = spike_train([[np.inf]])
    dt = 1e-4
    grid = np.arange(0, 2, dt)
    v = np.asarray(membrane_potential(grid, spikes_in, silent, weights, neuron, delays))[:, 0]
    assert not v[grid <= 0.3].any()
    current = sum(
        w * np.where(grid > t, np.exp(-(grid - t) / 0.6), 0) for w, t in ((1.5, 0.3), (1.5, 0.9), (-0.4, 0.4))
    )
    slope = (v[2:] - v[:-2]) / (2 * dt)
    smooth = np.abs(slope - (current - v / 1.3)[1:-1]) < 1e-6
    assert smooth.sum() >= smooth.size - 9  # not where an arrival bends V


def layered(spikes_in, layers, stored):
    trains, current = [], spikes_in
    for layer in layers:
        weights, neuron, delays = layer
        options = {"t_max": float(stored["T"]), "max_spikes": spike_count(stored)}
        current = lif_layer(current, weights, neuron, delays=delays, **options)
        trains.append(current)
    return joined(trains)


@pytest.mark.parametrize("name", FEEDFORWARD)
def test_layers_are_a_recurrent_network(golden, name):
    stored = golden(name)
    spikes_in, layers = load_layers(stored)
    by_layers = layered(spikes_in, layers, stored)
    params = as_recurrent(layers)
    as_one = recurrent(spikes_in, **params._asdict(), t_max=float(stored["T"]), max_spikes=spike_count(stored))
    np.testing.assert_array_equal(as_one.count, by_layers.count)
    np.testing.assert_allclose(as_one.times, by_layers.times, rtol=0, atol=1e-12)
    np.testing.assert_allclose(as_one.times, golden_times(stored, len(params.w_rec)), rtol=0, atol=1e-11)


def test_delays_of_layers_become_those_of_the_network():
    layers = [LayerParams(np.ones((n_pre, n_post)), LIF(1.0, 0.5)) for n_pre, n_post in ((2, 3), (3, 2), (2, 1))]
    assert as_recurrent(layers).delay_rec == 0.0
    layers[1] = layers[1]._replace(delays=0.5)
    layers[2] = layers[2]._replace(delays=np.array([0.1, 0.2]))
    np.testing.assert_allclose(as_recurrent(layers).delay_rec, [0.5, 0.5, 0.5, 0.1, 0.2, 0.0])
    layers[1] = layers[1]._replace(delays=np.full((3, 2), 0.3))
    full = np.asarray(as_recurrent(layers).delay_rec)
    assert (full[:3, 3:5] == 0.3).all()
    np.testing.assert_allclose(full[3:5, 5], [0.1, 0.2])
    assert as_recurrent(layers).mask_rec.sum() == 8


def test_every_edge_of_the_causality_graph_goes_forward_in_time(golden):
    stored = golden("rec_delay_hetero")
    spikes_in, params = load_recurrent(stored)
    graph = causality_graph(spikes_in, params, golden_train(stored, 5))
    assert graph.n_node[0] == 6 + 29
    times = graph.nodes["times"]
    assert (times[graph.senders] < times[graph.receivers]).all()
    assert not graph.nodes["is_input"][graph.receivers].any()
    assert graph.edges.all()
    assert len(graph.edges) == graph.n_edge[0]


def test_only_ancestors_move_a_spike(golden):
    stored = golden("rec_delay_hetero")
    spikes_in, params = load_recurrent(stored)
    graph = causality_graph(spikes_in, params, golden_train(stored, 5))
    for row in (3, 12, 28):
        reached = ancestors(graph, np.array([6 + row]))
        assert reached[6 + row]
        assert not reached[7 + row :].any()
        moves = np.abs(stored["dt_dinput"][row]) > 1e-12
        assert not (moves & ~reached[:6]).any()
    # what spikes that nothing leads to cannot do
    first = ancestors(graph, graph.nodes["is_input"])
    np.testing.assert_array_equal(first, graph.nodes["is_input"])
