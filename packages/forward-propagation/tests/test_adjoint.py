"""The backward pass, the Hebbian terms and gradients for given spikes: all the golden Jacobian, contracted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_networks import FEEDFORWARD, RECURRENT, golden_train, load_layers, load_recurrent, places

from offprint.forward_propagation._adjoint import adjoint_gradient
from offprint.forward_propagation._embed import as_recurrent, recurrent_params
from offprint.forward_propagation._foreign import gradient_from_spikes
from offprint.forward_propagation._hebbian import hebbian_terms
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._recurrent import recurrent
from offprint.forward_propagation._spikes import SpikeTrain, spike_train
from offprint.forward_propagation._system import named

ALL = RECURRENT + FEEDFORWARD


def problem(stored, name):
    """Input spikes, parameters, the golden spikes and a weight for each of them."""
    spikes_in, params = load_recurrent(stored) if name in RECURRENT else load_layers(stored)
    n = np.shape(recurrent_params(params).w_rec)[0]
    spikes = golden_train(stored, n)
    weight = np.random.default_rng(0).normal(size=spikes.times.shape)
    return spikes_in, params, spikes, np.where(np.isfinite(spikes.times), weight, 7.0)


def assert_golden(gradient, weight, stored, tolerance):
    """Compare a `SpikeGradient` with the stored Jacobians times the weights of the spikes."""
    found = named(gradient.params, gradient.inputs)
    rows = weight[places(stored["spike_neurons"])]
    names = {"weights": "W", "delays": "delay", "threshold": "theta", "tau_syn": "alpha", "tau_mem": "beta"}
    compared = 1
    for name, golden_name in names.items():
        parts = found[name]
        endings = ("",) if not isinstance(parts, (tuple, list)) else ("_in", "_rec") if "W_rec" in stored else "0123"
        for part, ending in zip(jax.tree.leaves(parts), endings):
            jacobian = stored[f"dt_d{golden_name}{ending}"]
            if name.startswith("tau"):
                jacobian = jacobian * -(stored[golden_name + ending] ** 2)
            assert_close(part, np.tensordot(rows, jacobian, 1), tolerance)
            compared += 1
    inputs = np.asarray(gradient.inputs)[places(stored["input_channels"])]
    assert_close(inputs, np.tensordot(rows, stored["dt_dinput"], 1), tolerance)
    assert compared == sum(key.startswith("dt_d") for key in stored)


def assert_close(found, expected, tolerance):
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-3))


@pytest.mark.parametrize("name", ALL)
def test_for_golden_spikes_the_gradient_is_the_golden_one_without_a_simulation(golden, name):
    stored = golden(name)
    spikes_in, params, spikes, weight = problem(stored, name)
    gradient = gradient_from_spikes(spikes_in, spikes, params, None, weight)
    assert_golden(gradient, weight, stored, 1e-8 if name == "ff_equal_tau" else 1e-9)


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("coupled", [True, False])
def test_the_backward_pass_is_reverse_mode_through_the_simulation(golden, name, coupled):
    stored = golden(name)
    spikes_in, params, spikes, weight = problem(stored, name)
    options = {"t_max": 4.0, "max_spikes": spikes.times.shape[1], "reset_coupling": coupled}

    def loss(values, inputs):
        arrays = dict(zip(params._fields, (*values, params.mask_rec)))
        found = recurrent(spikes_in._replace(times=inputs), **arrays, **options).times
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0) * weight)

    by_params, by_inputs = jax.jit(jax.grad(loss, argnums=(0, 1)))(tuple(params[:5]), spikes_in.times)
    gradient = adjoint_gradient(spikes_in, params, spikes, weight, reset_coupling=coupled)
    assert gradient.params.mask_rec is None
    for found, expected in zip(jax.tree.leaves(gradient), jax.tree.leaves((by_params, by_inputs))):
        assert_close(found, np.asarray(expected), 1e-11)


@pytest.mark.parametrize("name", ["rec_delay_hetero", "ff_deep_hetero_delay"])
def test_hebbian_terms_rebuild_the_weight_gradient(golden, name):
    spikes_in, params, spikes, weight = problem(golden(name), name)
    recurrent_form = recurrent_params(params)
    c, y = hebbian_terms(spikes_in, params, spikes, weight)
    silent = ~np.isfinite(spikes.times)
    assert not np.asarray(c)[silent].any()
    assert not np.asarray(y)[:, silent].any()
    gradient = adjoint_gradient(spikes_in, recurrent_form, spikes, weight).params
    rebuilt = np.einsum("ns,jns->jn", c, y)
    n_in = len(spikes_in.times)
    assert_close(rebuilt[:n_in], np.asarray(gradient.w_in), 1e-12)
    assert_close(np.where(recurrent_form.mask_rec, rebuilt[n_in:], 0), np.asarray(gradient.w_rec), 1e-12)


def test_for_one_spike_the_hebbian_factor_is_minus_the_inverse_slope():
    spikes_in = spike_train([[0.2], [0.5]])
    layer = LayerParams(jnp.array([[3.0], [2.0]]), LIF(1.0, 0.7))
    spikes = recurrent(spikes_in, **as_recurrent([layer])._asdict(), t_max=1.2, max_spikes=1)
    c, y = hebbian_terms(spikes_in, layer, spikes, jnp.ones((1, 1)))
    current = np.sum(np.ravel(layer.weights) * np.exp((np.ravel(spikes_in.times) - spikes.times[0, 0]) / 0.7))
    np.testing.assert_allclose(c[0, 0], -1 / (current - 1), rtol=1e-12)
    assert (np.asarray(y[:2]) > 0).all()
    assert not np.asarray(y[2]).any()


def test_one_layer_takes_weights_neuron_and_delays(golden):
    stored = golden("ff_small")
    spikes_in, layers = load_layers(stored)
    whole = golden_train(stored, 7)
    hidden, output = (SpikeTrain(*(x[part] for x in whole)) for part in (slice(0, 5), slice(5, 7)))
    weight = np.random.default_rng(1).normal(size=output.times.shape)
    weights, neuron, delays = layers[1]
    alone = gradient_from_spikes(hidden, output, weights, neuron, weight, delays)
    assert isinstance(alone.params, LayerParams)
    both = gradient_from_spikes(
        spikes_in, [hidden, output], layers, None, np.concatenate([np.zeros(hidden.times.shape), weight])
    )
    assert_close(alone.params.weights, np.asarray(both.params[1].weights), 1e-12)


def test_foreign_spikes_of_another_model_are_refused(golden):
    stored = golden("rec_small")
    spikes_in, params, spikes, weight = problem(stored, "rec_small")
    late = spikes._replace(times=spikes.times.at[2, -1].set(np.inf).at[2, 3].add(0.01))
    with pytest.raises(ValueError, match=r"not spikes of this model: at the worst, of neuron \d at .*tolerance 0.001"):
        gradient_from_spikes(spikes_in, late, params, None, weight)
    grid = jnp.ceil(spikes.times * 1e5) / 1e5
    gradient = gradient_from_spikes(spikes_in, spikes._replace(times=grid), params, None, weight)
    exact = gradient_from_spikes(spikes_in, spikes, params, None, weight)
    assert_close(gradient.params.w_in, np.asarray(exact.params.w_in), 0.05)


def test_calls_that_do_not_fit_are_refused(golden, unchecked_types):
    stored = golden("rec_small")
    spikes_in, params, spikes, weight = problem(stored, "rec_small")
    with pytest.raises(ValueError, match="give neuron=None"):
        gradient_from_spikes(spikes_in, spikes, params, LIF(1.0, 1.0), weight)
    with pytest.raises(ValueError, match="give neuron=LIF"):
        gradient_from_spikes(spikes_in, spikes, params.w_in, None, weight)
    with pytest.raises(ValueError, match=r"dL_dt has shape \(2, 2\)"):
        adjoint_gradient(spikes_in, params, spikes, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at least one layer"):
        as_recurrent([])
