"""Feed-forward networks against high-precision arithmetic: spike times and all Jacobians, both modes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.forward_propagation._feedforward import feedforward
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._spikes import from_events, spike_train

NETWORKS = {"ff_small": 1e-9, "ff_deep_hetero_delay": 1e-9, "ff_equal_tau": 1e-8, "ff_near_simultaneous": 1e-9}
NAMES = ("W", "delay", "alpha", "beta", "theta")


class Network:
    """A golden network, its spikes as a function of its inputs, and where the k-th golden spike is among them."""

    def __init__(self, golden, name, dtype=np.float64):
        self.arrays = golden(name)
        sizes = self.arrays["sizes"]
        self.layers = range(len(sizes) - 1)
        self.spikes = int(np.bincount(self.arrays["spike_neurons"]).max())
        self.inputs = from_events(
            self.arrays["input_times"].astype(dtype), self.arrays["input_channels"], int(sizes[0])
        )
        self.parameters = [
            {key: jnp.asarray(self.arrays[f"{key}{layer}"], dtype) for key in NAMES} for layer in self.layers
        ]
        self.rows = _places(self.arrays["spike_neurons"])
        self.columns = _places(self.arrays["input_channels"])

    def times(self, inputs, parameters):
        layers = [LayerParams(p["W"], LIF(1 / p["beta"], 1 / p["alpha"], p["theta"]), p["delay"]) for p in parameters]
        trains = feedforward(
            spike_train(inputs), layers, t_max=float(self.arrays["T"]), max_spikes=[self.spikes] * len(layers)
        )
        return jnp.concatenate([train.times for train in trains])


def _places(sources):
    """(source, how many of its events came before) of each event in order of time."""
    before = [int(np.sum(sources[:k] == source)) for k, source in enumerate(sources)]
    return np.asarray(sources), np.asarray(before)


@pytest.fixture(scope="module", params=NETWORKS)
def solved(request):
    """Network, spike times, and its Jacobians by both modes."""
    from pathlib import Path

    def golden(name):
        with np.load(Path(__file__).parent / "golden" / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    network = Network(golden, request.param)
    times = jax.jit(network.times)(network.inputs.times, network.parameters)
    arguments = (network.inputs.times, network.parameters)
    modes = {"vjp": jax.jacrev, "jvp": jax.jacfwd}
    jacobians = {mode: jax.jit(take(network.times, (0, 1)))(*arguments) for mode, take in modes.items()}
    return network, NETWORKS[request.param], np.asarray(times), jacobians


def test_every_spike_is_there_at_its_time(solved):
    network, _, times, _ = solved
    np.testing.assert_array_equal(
        np.isfinite(times).sum(1), np.bincount(network.arrays["spike_neurons"], minlength=len(times))
    )
    np.testing.assert_allclose(times[network.rows], network.arrays["spike_times"], atol=1e-11, rtol=0)


@pytest.mark.parametrize("mode", ["jvp", "vjp"])
def test_all_jacobians_are_exact(solved, mode):
    network, tolerance, _, jacobians = solved
    by_input, by_parameters = jacobians[mode]
    for layer in network.layers:
        for name in NAMES:
            got = np.asarray(by_parameters[layer][name])[network.rows]
            close_by_row(got, network.arrays[f"dt_d{name}{layer}"], tolerance)
    got = np.asarray(by_input)[network.rows][:, network.columns[0], network.columns[1]]
    close_by_row(got, network.arrays["dt_dinput"], tolerance)


def test_padding_has_no_derivative(solved):
    _, _, times, jacobians = solved
    for leaf in jax.tree.leaves(jacobians["vjp"]):
        assert np.all(np.isfinite(leaf))
        assert not np.any(np.asarray(leaf)[~np.isfinite(times)])


def close_by_row(got, want, tolerance):
    largest = np.abs(want).reshape(len(want), -1).max(1)
    error = np.abs(got - want).reshape(len(want), -1).max(1)
    assert np.max(error / np.where(largest > 0, largest, 1)) < tolerance


def test_float32_keeps_its_digits(golden):
    network = Network(golden, "ff_small", np.float32)
    arguments = (network.inputs.times, network.parameters)
    times = jax.jit(network.times)(*arguments)
    assert times.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(times)[network.rows], network.arrays["spike_times"], atol=3e-5, rtol=0)
    _, by_parameters = jax.jit(jax.jacrev(network.times, (0, 1)))(*arguments)
    for layer in network.layers:
        for name in NAMES:
            got = np.asarray(by_parameters[layer][name])[network.rows]
            close_by_row(got, network.arrays[f"dt_d{name}{layer}"], 1e-3)


@functools.partial(jax.jit, static_argnames=("reset_coupling", "sign", "t_max"))
def official_gradient(weights, times, label, settings, reset_coupling, sign, t_max):
    """Loss of the authors' Yin-Yang script and its gradient, one sample."""

    def loss(weights):
        neuron = LIF(1 / settings["beta"], 1 / settings["alpha"], settings["theta"])
        trains = feedforward(
            spike_train(times[:, None]),
            [LayerParams(w, neuron) for w in weights],
            t_max=t_max,
            max_spikes=[16, 1],
            reset_coupling=reset_coupling,
        )
        first = jnp.where(trains[-1].count > 0, trains[-1].times[:, 0], t_max)
        late = settings["gamma"] * (jnp.exp(first[label] / settings["tau1"]) - 1)
        return -jax.nn.log_softmax(-first / settings["tau0"])[label] + sign * late

    return jax.value_and_grad(loss)(weights)


@pytest.mark.parametrize("name", ["official_yinyang_small", "official_multispike"])
@pytest.mark.parametrize("encoding", ["official", "append"])
def test_the_public_code_is_reproduced_and_the_exact_gradient_where_it_is_wrong(golden, name, encoding):
    arrays = golden(name)
    weights = [jnp.asarray(arrays[f"W{layer}_official"].T) for layer in (0, 1)]
    settings = {key: jnp.asarray(arrays[key]) for key in ("alpha", "beta", "theta", "tau0", "tau1", "gamma")}
    t_max = float(arrays["T"])
    for sample, label in enumerate(arrays["label"]):
        times = jnp.asarray(arrays[f"{encoding}_input_times"][sample])
        loss, public = official_gradient(weights, times, label, settings, False, -1, t_max)
        _, exact = official_gradient(weights, times, label, settings, True, -1, t_max)
        np.testing.assert_allclose(loss, arrays[f"{encoding}_loss_official_code"][sample], atol=1e-6)
        for layer in (0, 1):
            for got, kind, tolerance in ((public, "official_code", 5e-8), (exact, "exact", 1e-9)):
                want = arrays[f"{encoding}_gradW{layer}_{kind}"][sample]
                assert np.max(np.abs(got[layer].T - want)) < tolerance * np.max(np.abs(want))
