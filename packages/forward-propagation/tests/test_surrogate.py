"""The surrogate baseline: a discretisation of the exact neuron, with the derivative that is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import spike_train
from offprint.forward_propagation.surrogate import (
    SURROGATES,
    SurrogateNetwork,
    count_loss,
    decode,
    first_time,
    lif_scan,
    rate_loss,
    spike,
    to_grid,
)

NEURON = LIF(tau_mem=1.0, tau_syn=0.8, threshold=0.9)


@pytest.fixture(scope="module")
def grid_input():
    return jnp.asarray(np.random.default_rng(0).integers(0, 2, (40, 3)), float)


def test_one_neuron_follows_the_recursion_written_out(grid_input):
    weights, dt = jnp.array([[1.5], [0.8], [-0.3]]), 0.05
    trace = lif_scan(grid_input, weights, NEURON, dt)
    a, b = np.exp(-dt / 0.8), np.exp(-dt / 1.0)
    feed = (a - b) / (1 / 1.0 - 1 / 0.8)
    current = voltage = fired = 0.0
    for step, arriving in enumerate(np.asarray(grid_input @ weights)[:, 0]):
        current = a * current + arriving
        voltage = b * voltage + feed * current - 0.9 * fired
        fired = float(voltage > 0.9)
        assert np.isclose(trace.voltages[step, 0], voltage, atol=1e-13)
        assert trace.spikes[step, 0] == fired
    assert trace.spikes.sum() > 2


def test_first_spike_approaches_the_exact_one_in_proportion_to_the_step():
    alpha, beta, w, arrival = 1 / NEURON.tau_syn, 1 / NEURON.tau_mem, 4.0, 0.1
    s = np.linspace(0, 1, 2_000_001)
    v = w * (np.exp(-alpha * s) - np.exp(-beta * s)) / (beta - alpha)
    exact = arrival + s[np.argmax(v > NEURON.threshold)]
    errors = []
    for dt in (0.02, 0.01, 0.005):
        steps = round(2 / dt)
        x = to_grid(spike_train([[arrival + dt / 2]]), dt, steps)
        spikes = lif_scan(x, jnp.array([[w]]), NEURON, dt).spikes
        errors.append(abs(first_time(spikes, dt)[0] - exact))
    assert all(error <= 2 * dt for error, dt in zip(errors, (0.02, 0.01, 0.005), strict=True))


@pytest.mark.parametrize("name", SURROGATES)
def test_the_spike_is_a_step_with_the_named_derivative(name):
    v = jnp.array([-0.3, -1e-3, 0.0, 2e-3, 0.4])
    assert spike(v, name, 5.0).tolist() == [0, 0, 0, 1, 1]
    slope = jax.vmap(jax.grad(lambda v: spike(v, name, 5.0)))(v)
    assert np.allclose(slope, SURROGATES[name](v, 5.0))
    assert (slope >= 0).all()


def test_fast_sigmoid_and_sigmoid_have_their_published_values():
    assert np.isclose(SURROGATES["fast_sigmoid"](jnp.array(0.2), 25.0), 1 / 36)
    e = np.exp(-25 * 0.1)
    assert np.isclose(SURROGATES["sigmoid"](jnp.array(0.1), 25.0), 25 * e / (1 + e) ** 2)


def test_resets_differ_as_named(grid_input):
    weights = jnp.full((3, 1), 0.4)
    spikes = {
        reset: lif_scan(grid_input, weights, NEURON, 0.05, reset=reset).spikes.sum().item()
        for reset in ("subtract", "zero", "none")
    }
    assert spikes["none"] > spikes["subtract"] > spikes["zero"] > 0


def test_voltage_gradient_through_hidden_spikes_is_that_of_the_surrogate_chain():
    x = jnp.zeros((2, 1)).at[0, 0].set(1.0)
    dt, w = 0.5, jnp.array([[2.0]])
    slope = jax.grad(lambda w: lif_scan(x, w, NEURON, dt, slope=3.0).spikes[0, 0])(w)
    alpha, beta = 1 / NEURON.tau_syn, 1 / NEURON.tau_mem
    feed = (np.exp(-alpha * dt) - np.exp(-beta * dt)) / (beta - alpha)
    assert np.isclose(slope[0, 0], feed / (1 + 3 * abs(2 * feed - 0.9)) ** 2)


def test_spikes_are_counted_in_their_bins():
    train = spike_train([[0.05, 0.06, 0.3], [np.inf, 0.99, 1.7]])
    grid = to_grid(train, 0.1, 10)
    assert grid.shape == (10, 2)
    assert grid.sum(0).tolist() == [3.0, 1.0]
    assert grid[0, 0] == 2
    assert grid[9, 1] == 1
    batch = to_grid(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), train), 0.1, 10)
    assert np.array_equal(batch[1], grid)


def test_decodings_and_losses_on_spikes_written_down():
    spikes = jnp.array([[0, 0], [1, 0], [0, 1], [0, 1.0]])
    assert first_time(spikes, 0.1).tolist() == pytest.approx([0.2, 0.3])
    assert first_time(jnp.zeros((4, 2)), 0.1).tolist() == pytest.approx([0.4, 0.4])
    assert decode(spikes, "count", 0.1)[0].tolist() == [1, 2]
    assert decode(spikes, "count", 0.1)[1] == 1
    assert decode(spikes, "rate", 0.1)[0].tolist() == [0.25, 0.5]
    assert decode(spikes, "first", 0.1)[1] == 0
    assert np.isclose(count_loss(spikes, jnp.array(0)), np.log(1 + np.e))
    rows = [np.log(2), np.log(1 + np.exp(-1.0)), np.log(1 + np.e), np.log(1 + np.e)]
    assert np.isclose(rate_loss(spikes, jnp.array(0)), np.mean(rows))


def test_silent_neurons_keep_a_surrogate_gradient():
    slope = jax.grad(lambda s: first_time(s, 0.1).sum())(jnp.zeros((4, 1)))
    assert np.allclose(slope[:, 0], [-0.4, -0.3, -0.2, -0.1])


@pytest.fixture(scope="module")
def network():
    return SurrogateNetwork((3, 6, 2), NEURON, dt=0.05, steps=40, init=((2.0, 0.5), (2.0, 0.5)), rngs=nnx.Rngs(0))


def test_a_network_takes_batches_and_each_sample_is_independent(network):
    train = spike_train(np.random.default_rng(2).uniform(0, 1, (4, 3, 1)).astype(np.float32))
    spikes = network(train)
    assert spikes.shape == (4, 40, 2)
    assert spikes.dtype == jnp.float32
    one = network(jax.tree.map(lambda leaf: leaf[2], train))
    assert np.array_equal(one, spikes[2])
    assert one.sum() > 0


def test_a_network_has_finite_gradients_of_every_loss(network):
    train = spike_train(np.random.default_rng(2).uniform(0, 1, (4, 3, 1)).astype(np.float32))
    y = jnp.array([0, 1, 0, 1])
    for loss in (count_loss, rate_loss):
        slopes = nnx.grad(lambda model: loss(model(train), y).mean())(network)  # noqa: B023
        leaves = jax.tree.leaves(slopes)
        assert len(leaves) == 2
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in leaves)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: spike(jnp.zeros(1), "step"), KeyError, "'step' is unknown; one of fast_sigmoid"),
        (lambda: lif_scan(jnp.zeros((4, 3)), jnp.zeros((2, 3)), NEURON, 0.1), ValueError, r"got \(4, 3\) and \(2, 3\)"),
        (lambda: lif_scan(jnp.zeros((4, 3)), jnp.zeros((3, 2)), NEURON, 0.0), ValueError, "dt=0.0"),
        (lambda: lif_scan(jnp.zeros((4, 3)), jnp.zeros((3, 2)), NEURON, 0.1, reset="hard"), ValueError, "'hard'"),
        (lambda: decode(jnp.zeros((4, 2)), "latency", 0.1), ValueError, "'latency' is unknown"),
        (lambda: SurrogateNetwork((3, 2), NEURON, dt=0.1, steps=9, init=(), rngs=nnx.Rngs(0)), ValueError, "1 layers"),
    ],
)
def test_what_the_baseline_cannot_run_is_refused(unchecked_types, call, error, message):
    with pytest.raises(error, match=message):
        call()
