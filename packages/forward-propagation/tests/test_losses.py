"""Losses on spike times: golden values, gradients, silent neurons, distances, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._first_spike import first_spike, predict_first_spike, silent_fraction
from offprint.forward_propagation._losses import (
    first_spike_cross_entropy,
    max_voltage_cross_entropy,
    spike_count,
    spike_time_mse,
    van_rossum,
)
from offprint.forward_propagation._spikes import spike_train


def golden_loss(t, label, horizon, tau0, tau1, gamma, sign):
    train = spike_train(t[:, None])
    first = first_spike(train, horizon)
    return first_spike_cross_entropy(first, label, tau0, tau1, gamma, regulariser_sign=sign)


@pytest.mark.parametrize(("sign", "suffix"), [(1, ""), (-1, "_official_sign")])
def test_first_spike_loss_and_gradient_are_the_golden_ones(golden, sign, suffix):
    stored = golden("first_spike_loss")
    columns = [jnp.asarray(stored[name]) for name in ("t_first", "label", "T", "tau0", "tau1", "gamma")]
    loss, slope = jax.vmap(jax.value_and_grad(lambda *row: golden_loss(*row, sign)))(*columns)
    assert np.allclose(loss, stored[f"loss{suffix}"], rtol=1e-12, atol=1e-12)
    assert np.allclose(slope, stored[f"dloss_dt{suffix}"], rtol=1e-12, atol=1e-12)


def test_silent_neurons_enter_at_the_horizon_and_the_lowest_index_wins_ties():
    train = spike_train([[[1.5, 0.5], [np.inf, np.inf], [3.0, np.inf]], [[np.inf] * 2] * 3])
    first = first_spike(train, 2.0)
    assert first.tolist() == [[0.5, 2.0, 2.0], [2.0, 2.0, 2.0]]
    assert predict_first_spike(first).tolist() == [0, 0]
    assert predict_first_spike(jnp.array([0.7, 0.5, 0.5])) == 1
    assert np.isclose(silent_fraction(first, 2.0), 5 / 6)


def test_skipped_samples_have_no_loss_and_no_gradient():
    t = jnp.array([[0.5, 2.0, 1.0], [0.5, 2.0, 1.0]])
    y = jnp.array([1, 0])

    def loss(t, silent):
        return first_spike_cross_entropy(t, y, 0.2, 1.0, 0.01, silent=silent, t_max=2.0)

    assert loss(t, "skip")[0] == 0
    assert loss(t, "skip")[1] == loss(t, "horizon")[1]
    slope = jax.grad(lambda t: loss(t, "skip").sum())(t)
    assert not slope[0].any()
    assert slope[1].all() == (t[1] < 2).all()
    # a label neuron that is silent itself does not stop the paper's loss from pushing the others later
    assert (jax.grad(lambda t: loss(t, "horizon").sum())(t)[0][jnp.array([0, 2])] < 0).all()


def test_infinite_times_stay_out_of_the_softmax_without_nan():
    t = jnp.array([0.5, np.inf, 1.0])
    loss, slope = jax.value_and_grad(lambda t: first_spike_cross_entropy(t, jnp.array(0), 0.2))(t)
    assert np.isclose(loss, -np.log(1 / (1 + np.exp(-0.5 / 0.2))))
    assert np.isfinite(slope).all()
    assert slope[1] == 0


@settings(max_examples=25, deadline=None)
@given(
    t=st.lists(st.floats(0, 2), min_size=3, max_size=3),
    label=st.integers(0, 2),
    shift=st.floats(-1, 1),
    tau0=st.floats(0.05, 2),
)
def test_without_regulariser_only_time_differences_count(t, label, shift, tau0):
    t, y = np.array(t), jnp.array(label)
    here = first_spike_cross_entropy(t, y, tau0)
    there = first_spike_cross_entropy(t + shift, y, tau0)
    assert np.isclose(here, there, rtol=1e-9, atol=1e-9)
    assert here >= 0


def test_time_error_counts_wanted_spikes_only_and_puts_missing_ones_at_the_horizon():
    t = jnp.array([[0.5, np.inf, 1.0], [0.2, 0.4, np.inf]])
    target = jnp.array([[0.4, 1.0, np.inf], [0.2, np.inf, np.inf]])
    loss, slope = jax.value_and_grad(lambda t: spike_time_mse(t, target, t_max=2.0).sum())(t)
    assert np.isclose(loss, (0.1**2 + 1.0**2) / 2)
    assert np.allclose(slope, [[0.1, 0, 0], [0, 0, 0]])


@pytest.fixture(scope="module")
def trains():
    rng = np.random.default_rng(1)
    return spike_train(rng.uniform(0, 3, (4, 3))), spike_train(rng.uniform(0, 3, (4, 2)))


def test_van_rossum_distance_is_its_integral(trains):
    a, b = trains
    tau, grid = 0.3, np.linspace(0, 9, 900_001)

    def trace(times):
        return sum(np.where(grid >= t, np.exp(-np.maximum(grid - t, 0) / tau), 0) for t in np.asarray(times))

    for neuron in range(2):
        difference = (trace(a.times[neuron]) - trace(b.times[neuron])) ** 2
        integral = np.sum((difference[1:] + difference[:-1]) / 2) * (grid[1] - grid[0])
        assert np.isclose(van_rossum(a, b, tau)[neuron], integral / tau, atol=2e-4)


def test_van_rossum_distance_of_single_spikes():
    one, none, far = (spike_train([[t]]) for t in (1.0, np.inf, 100.0))
    assert van_rossum(one, one, 0.5).item() == 0
    assert np.isclose(van_rossum(one, none, 0.5).item(), 0.5)
    assert np.isclose(van_rossum(one, far, 0.5).item(), 1.0)


def test_gradients_are_those_of_finite_differences_and_never_nan(trains):
    a, b = trains
    padded = jnp.concatenate([a.times, jnp.full((4, 1), jnp.inf)], axis=-1)

    def distance(times):
        return van_rossum(a._replace(times=times), b, 0.3).sum()

    slope = jax.grad(distance)(padded)
    step = 1e-6
    for place in [(0, 0), (2, 1), (3, 2)]:
        ahead, behind = (distance(padded.at[place].add(s)) for s in (step, -step))
        assert np.isclose(slope[place], (ahead - behind) / (2 * step), atol=1e-7)
    assert np.isfinite(slope).all()
    assert not slope[:, -1].any()


def test_max_voltage_loss_is_a_softmax_of_potentials():
    v = jnp.array([[0.3, 0.8], [0.1, 0.0]])
    expected = -np.log(np.exp([0.8 / 0.5, 0.1 / 0.5]) / np.exp(np.asarray(v) / 0.5).sum(1))
    assert np.allclose(max_voltage_cross_entropy(v, jnp.array([1, 0]), 0.5), expected)


def test_spike_counts_are_reported_but_not_differentiated(trains):
    a, _ = trains
    assert spike_count(a).tolist() == [3.0] * 4
    assert jax.jit(spike_count)(a).tolist() == [3.0] * 4
    with pytest.raises(ValueError, match=r"counts are piecewise constant.*use a time or voltage loss"):
        jax.grad(lambda times: spike_count(a._replace(times=times)).sum())(a.times)
    stopped = jax.grad(lambda times: spike_count(a._replace(times=jax.lax.stop_gradient(times))).sum())(a.times)
    assert not stopped.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0, 3]), 0.2), "from 0 to 3"),
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0, 1, 2]), 0.2), r"batch axes \(2,\)"),
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0.0, 1.0]), 0.2), "labels must be integers"),
        (lambda: first_spike_cross_entropy(np.ones(3), np.array(0), 0.0), "tau0=0.0 must be positive"),
        (lambda: first_spike_cross_entropy(np.array([np.inf, 1.0]), np.array(0), 0.2), "1 label neurons are silent"),
        (lambda: first_spike_cross_entropy(np.array([np.nan, 1.0]), np.array(0), 0.2), "NaN"),
        (lambda: first_spike_cross_entropy(np.ones(3), np.array(0), 0.2, silent="skip"), "needs t_max"),
        (lambda: first_spike_cross_entropy(np.ones(3), np.array(0), 0.2, silent="late"), "'late' is unknown"),
        (lambda: first_spike_cross_entropy(np.ones(3), np.array(0), 0.2, regulariser_sign=0), "must be 1 or -1"),
        (lambda: spike_time_mse(np.ones(3), np.ones(2)), "the same shape"),
        (lambda: spike_time_mse(np.array([np.inf]), np.ones(1)), "1 wanted spikes are missing"),
        (lambda: van_rossum(spike_train([[1.0]]), spike_train([[1.0], [2.0]]), 1.0), "not of the same neurons"),
        (lambda: van_rossum(spike_train([[1.0]]), spike_train([[1.0]]), 0.0), "tau=0.0 must be positive"),
    ],
)
def test_what_makes_no_loss_is_refused_with_the_reason(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()
