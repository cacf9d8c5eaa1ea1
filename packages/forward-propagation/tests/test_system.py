"""The matrices of forward propagation, the full Jacobian, and what theory says of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_networks import (
    FEEDFORWARD,
    RECURRENT,
    golden_train,
    in_golden_names,
    load_layers,
    load_recurrent,
    spike_count,
    worst_error,
)

from offprint.forward_propagation._jacobian import spike_time_jacobian, substitute
from offprint.forward_propagation._recurrent import RecurrentParams, recurrent
from offprint.forward_propagation._system import fp_system


@pytest.fixture(scope="module")
def networks():
    """By golden name: the stored arrays, input spikes, parameters and the Jacobian."""
    with_golden = {}

    def load(golden, name):
        if name not in with_golden:
            stored = golden(name)
            spikes_in, params = load_recurrent(stored) if name in RECURRENT else load_layers(stored)
            jacobian = spike_time_jacobian(spikes_in, params, t_max=float(stored["T"]), max_spikes=spike_count(stored))
            with_golden[name] = stored, spikes_in, params, jacobian
        return with_golden[name]

    return load


@pytest.mark.parametrize("name", RECURRENT + FEEDFORWARD)
def test_the_jacobian_is_the_golden_one(golden, networks, name):
    stored, _, _, jacobian = networks(golden, name)
    found = in_golden_names(jacobian, stored)
    assert len(found) == sum(key.startswith("dt_d") for key in stored)
    assert worst_error(found, stored) < (1e-8 if name == "ff_equal_tau" else 1e-9)


@pytest.mark.parametrize("name", RECURRENT + FEEDFORWARD)
def test_scaling_laws_and_time_shift(golden, networks, name):
    stored, spikes_in, params, jacobian = networks(golden, name)
    layers = [params] if name in RECURRENT else params

    def along(name, values):
        parts = jax.tree.leaves(jacobian[name])
        return sum(np.asarray(part * value).sum(axis=tuple(range(2, part.ndim))) for part, value in zip(parts, values))

    weights = params[:2] if name in RECURRENT else [layer.weights for layer in layers]
    delays = params[3:5] if name in RECURRENT else [layer.delays for layer in layers]
    by_weights = along("weights", weights)
    by_theta = along("threshold", [layer.neuron.threshold for layer in layers])
    inputs = jnp.where(jnp.isfinite(spikes_in.times), spikes_in.times, 0)
    by_tau = along("tau_mem", [layer.neuron.tau_mem for layer in layers])
    by_tau = by_tau + along("tau_syn", [layer.neuron.tau_syn for layer in layers])
    by_time = along("inputs", [inputs]) + along("delays", delays) + by_tau - by_weights
    times = np.asarray(golden_train(stored, by_time.shape[0]).times)
    real = np.isfinite(times)
    scale = 1 + np.abs(by_weights)
    assert (np.abs(by_weights + by_theta)[real] < 1e-10 * scale[real]).all()
    assert (np.abs(by_time - np.where(real, times, 0))[real] < 1e-10 * scale[real]).all()
    np.testing.assert_allclose(np.asarray(jacobian["inputs"]).sum(axis=(2, 3))[real], 1, rtol=0, atol=1e-10)


def test_the_matrix_is_lower_triangular_with_the_golden_slopes_on_its_diagonal(golden):
    for name in RECURRENT:
        stored = golden(name)
        spikes_in, params = load_recurrent(stored)
        system = fp_system(spikes_in, params, golden_train(stored, 5))
        matrix = np.asarray(system.A)
        assert not np.triu(matrix, 1).any()
        np.testing.assert_allclose(np.diag(matrix), stored["v_slope"], rtol=1e-10)
        np.testing.assert_array_equal(system.neurons, stored["spike_neurons"])
        np.testing.assert_array_equal(system.times, stored["spike_times"])


def test_under_jit_the_system_is_padded_with_rows_of_the_identity(golden):
    stored = golden("rec_delay_hetero")
    spikes_in, params = load_recurrent(stored)
    spikes = golden_train(stored, 5)
    plain = fp_system(spikes_in, params, spikes)
    padded = jax.jit(lambda spikes: fp_system(spikes_in, params, spikes))(spikes)
    k = len(stored["spike_times"])
    np.testing.assert_allclose(padded.A[:k, :k], plain.A, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(padded.A[k:], np.eye(spikes.times.size)[k:])
    assert not np.asarray(padded.B["weights"][1])[k:].any()
    np.testing.assert_allclose(padded.B["weights"][1][:k], plain.B["weights"][1], rtol=0, atol=1e-14)


def test_without_reset_coupling_the_derivatives_solve_the_system_that_lacks_it(golden):
    stored = golden("rec_small")
    spikes_in, params = load_recurrent(stored)
    spikes = golden_train(stored, 5)
    weight = jnp.where(jnp.isfinite(spikes.times), jnp.cos(jnp.arange(spikes.times.size)).reshape(5, -1), 0)

    def loss(w_in):
        options = params._asdict() | {"w_in": w_in, "delay_in": 0.0, "delay_rec": 0.0, "reset_coupling": False}
        times = recurrent(spikes_in, **options, t_max=4.0, max_spikes=weight.shape[1]).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0) * weight)

    gradient = jax.jit(jax.grad(loss))(params.w_in)
    by_row = {}
    for coupled in (True, False):
        system = fp_system(spikes_in, params, spikes, reset_coupling=coupled)
        rows = substitute(system, system.B["weights"][0])
        by_row[coupled] = jnp.tensordot(weight[system.neurons, system.numbers], rows, 1)
    np.testing.assert_allclose(gradient, by_row[False], rtol=0, atol=1e-11 * np.abs(gradient).max())
    assert np.abs(gradient - by_row[True]).max() > 1e-2 * np.abs(gradient).max()


def test_an_unknown_parameter_name_is_refused(golden):
    spikes_in, params = load_recurrent(golden("rec_small"))
    with pytest.raises(KeyError, match="no parameter 'tau'; there are weights, delays"):
        spike_time_jacobian(spikes_in, params, t_max=1.0, max_spikes=1, wrt=("tau",))


def test_parameters_and_spikes_of_different_networks_are_refused(golden, unchecked_types):
    stored = golden("rec_small")
    spikes_in, params = load_recurrent(stored)
    with pytest.raises(ValueError, match=r"spike times of the neurons have shape \(6, 17\); \(5, S\)"):
        fp_system(spikes_in, RecurrentParams(*params), golden_train(stored, 6))
