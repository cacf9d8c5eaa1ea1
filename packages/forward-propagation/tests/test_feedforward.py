"""Feed-forward networks: what truncation changes, second derivatives, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.forward_propagation._feedforward import feedforward, truncation_is_exact
from offprint.forward_propagation._neuron import LIF, LayerParams
from offprint.forward_propagation._spikes import spike_train

NEURON = LIF(1.0, 1.0 / 0.9)
T_MAX = 2.0


@pytest.fixture(scope="module")
def network():
    """Eight samples of four sources, and weights under which all outputs and most hidden neurons fire."""
    rng = np.random.default_rng(1)
    times = jnp.asarray(rng.uniform(0.1, 1.2, (8, 4, 1)))
    return times, [jnp.asarray(rng.normal(2.0, 1.0, (4, 7))), jnp.asarray(rng.normal(1.5, 0.3, (7, 2)))]


def trains_of(weights, times, max_spikes):
    layers = [LayerParams(w, NEURON) for w in weights]
    return feedforward(spike_train(times), layers, t_max=T_MAX, max_spikes=max_spikes)


def first_spike_loss(weights, times, spikes):
    trains = trains_of(weights, times, [spikes, 1])
    first = jnp.minimum(trains[-1].times[:, 0], T_MAX)
    return -jax.nn.log_softmax(-first / 0.2)[0], trains


@pytest.fixture(scope="module")
def by_spikes(network):
    """Gradients of the loss and the flag of each sample, by the number of hidden spikes that are kept."""
    times, weights = network

    def run(spikes):
        gradient = jax.grad(first_spike_loss, has_aux=True)
        per_sample = jax.jit(jax.vmap(lambda sample: gradient(weights, sample, spikes)))
        gradients, trains = per_sample(times)
        return gradients, truncation_is_exact(trains)

    return {spikes: run(spikes) for spikes in (1, 2, 20)}


def test_where_truncation_is_said_to_be_exact_the_gradient_is_that_of_all_spikes(by_spikes):
    full, flag = by_spikes[20]
    assert np.all(flag)
    exact_somewhere = 0
    for spikes in (1, 2):
        gradients, exact = by_spikes[spikes]
        exact_somewhere += int(np.sum(exact))
        for got, want in zip(gradients, full):
            np.testing.assert_allclose(np.asarray(got)[exact], np.asarray(want)[exact], rtol=1e-9, atol=1e-13)
    assert exact_somewhere > 0


def test_where_truncation_changed_the_gradient_the_flag_says_so(by_spikes):
    full, _ = by_spikes[20]
    gradients, exact = by_spikes[1]
    changed = np.array(
        [any(not np.allclose(got[k], want[k], rtol=1e-9) for got, want in zip(gradients, full)) for k in range(8)]
    )
    assert np.any(changed)
    assert not np.any(np.asarray(exact) & changed)


def test_a_silent_output_needs_all_hidden_spikes(network):
    times, weights = network
    quiet = [weights[0], weights[1].at[:, 1].set(-1.0)]
    trains = trains_of(quiet, times[0], [1, 1])
    assert np.any(trains[0].overflow)
    assert not truncation_is_exact(trains)
    assert truncation_is_exact(trains, used_until=float(trains[0].times.min()) / 2)


def test_the_hessian_is_symmetric_and_agrees_with_differences(golden):
    stored = golden("ff_small")
    shapes = [stored[f"W{layer}"].shape for layer in (0, 1)]
    times = jnp.full((3, 1), jnp.inf).at[stored["input_channels"], 0].set(stored["input_times"])
    neurons = [LIF(*(jnp.asarray(x) for x in (1 / stored[f"beta{k}"], 1 / stored[f"alpha{k}"]))) for k in (0, 1)]
    thresholds = [jnp.asarray(stored[f"theta{k}"]) for k in (0, 1)]

    def loss(flat):
        cut = int(np.prod(shapes[0]))
        weights = [flat[:cut].reshape(shapes[0]), flat[cut:].reshape(shapes[1])]
        layers = [
            LayerParams(w, neuron._replace(threshold=theta), jnp.asarray(stored[f"delay{k}"]))
            for k, (w, neuron, theta) in enumerate(zip(weights, neurons, thresholds))
        ]
        trains = feedforward(spike_train(times), layers, t_max=float(stored["T"]), max_spikes=[10, 1])
        return -jax.nn.log_softmax(-trains[-1].times[:, 0] / 0.2)[0]

    point = jnp.concatenate([jnp.ravel(jnp.asarray(stored[f"W{layer}"])) for layer in (0, 1)])
    hessian = np.asarray(jax.jit(jax.hessian(loss))(point))
    scale = np.max(np.abs(hessian))
    assert np.max(np.abs(hessian - hessian.T)) < 1e-9 * scale
    gradient = jax.jit(jax.grad(loss))
    step = 1e-5
    for k in range(0, len(point), 4):
        move = jnp.zeros_like(point).at[k].set(step)
        difference = (gradient(point + move) - gradient(point - move)) / (2 * step)
        np.testing.assert_allclose(hessian[k], difference, atol=1e-5 * scale)


def test_bad_input_names_the_layer(network):
    times, weights = network
    with pytest.raises(ValueError, match="2 layers and 1 numbers of max_spikes"):
        trains_of(weights, times[0], [1])
    with pytest.raises(ValueError, match=r"layer 1: weights are \[pre, post\].*transpose"):
        trains_of([weights[0], weights[1].T], times[0], [1, 1])
    with pytest.raises(ValueError, match="layer 0: max_spikes=1 is too small"):
        feedforward(
            spike_train(times[0]),
            [LayerParams(w, NEURON) for w in weights],
            t_max=T_MAX,
            max_spikes=[1, 1],
            strict=True,
        )
    with pytest.raises(ValueError, match="no spike trains"):
        truncation_is_exact([])
