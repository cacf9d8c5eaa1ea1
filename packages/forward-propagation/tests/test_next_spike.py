"""The next spike without further input: the root, its derivatives, and that none is missed or invented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._kernel import kernel
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._next_spike import next_spike_time

NAMES = ("V0", "I0", "alpha", "beta", "theta")


def spike(v0, i0, alpha, beta, theta):
    return next_spike_time(v0, i0, LIF(1 / beta, 1 / alpha, theta))


def potential(s, v0, i0, alpha, beta):
    return v0 * np.exp(-beta * s) + i0 * np.asarray(kernel(s, alpha, beta))


@pytest.fixture
def table(golden):
    return golden("next_spike")


def test_no_spike_is_missed_or_invented_and_times_are_exact(table):
    s = np.asarray(spike(*(table[name] for name in NAMES)))
    found = np.isfinite(table["s"])
    np.testing.assert_array_equal(np.isfinite(s), found)
    slope = np.minimum(1, table["slope"] / (table["beta"] * table["theta"]))[found]
    want = table["s"][found]
    # rates pass through time constants and back, which costs a rounding of each
    assert np.max(np.abs(s[found] - want) * slope**2 / np.maximum(1, want)) < 1e-14


def test_derivatives_are_exact_and_zero_where_there_is_no_spike(table):
    arguments = [jnp.asarray(table[name]) for name in NAMES]
    gradients = jax.vmap(jax.grad(spike, tuple(range(5))))(*arguments)
    found = np.isfinite(table["s"])
    slope = np.minimum(1, table["slope"] / (table["beta"] * table["theta"]))[found]
    for name, gradient in zip(NAMES, gradients):
        want = table[f"ds_d{name}"][found]
        assert not np.any(np.asarray(gradient)[~found])
        error = np.abs(np.asarray(gradient)[found] - want) / np.maximum(np.abs(want), 1e-300)
        assert np.max(error * slope**3) < 1e-12


@pytest.mark.parametrize("alpha", [1.0, 0.7])
def test_second_derivatives_agree_with_differences_of_the_first(alpha):
    point = jnp.array([0.2, 5.0, alpha, 1.0, 1.0])
    gradient = jax.jit(jax.grad(lambda p: spike(*p)))
    hessian = jax.jit(jax.hessian(lambda p: spike(*p)))(point)
    for k in range(5):
        move = jnp.zeros(5).at[k].set(1e-5)
        np.testing.assert_allclose(hessian[k], (gradient(point + move) - gradient(point - move)) / 2e-5, atol=1e-8)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-14)


@pytest.fixture(scope="module")
def many():
    """Random neurons: slow and fast, α = β among them, close to the threshold and far below it."""
    rng = np.random.default_rng(0)
    n = 20_000
    alpha = np.exp(rng.uniform(-2, 3, n))
    beta = np.where(rng.random(n) < 0.3, alpha * (1 + 1e-9 * rng.normal(size=n)), np.exp(rng.uniform(-2, 3, n)))
    theta = np.exp(rng.uniform(-1, 1, n))
    v0 = theta * np.where(rng.random(n) < 0.5, rng.uniform(-5, 0.99, n), 1 - 10 ** rng.uniform(-9, 0, n))
    i0 = beta * theta * (1 + 10 ** rng.uniform(-4, 3, n)) * rng.choice([1, -1], n, p=[0.9, 0.1])
    return v0, i0, alpha, beta, theta


def test_every_found_spike_is_on_the_threshold_and_the_first_to_reach_it(many):
    v0, i0, alpha, beta, theta = many
    s = np.asarray(spike(*many))
    found = np.isfinite(s)
    scale = np.maximum(np.abs(v0) + np.abs(i0) / (alpha + beta), theta)
    at = np.where(found, s, 0)
    assert np.max(np.where(found, np.abs(potential(at, v0, i0, alpha, beta) - theta) / scale, 0)) < 1e-14
    for share in np.linspace(0, 0.999, 40):
        assert not np.any(found & (potential(share * at, v0, i0, alpha, beta) > theta + 1e-13 * scale))


def test_neurons_without_a_spike_stay_below_the_threshold(many):
    v0, i0, alpha, beta, theta = many
    silent = ~np.isfinite(np.asarray(spike(*many)))
    for s in np.geomspace(1e-4, 50, 300):
        assert not np.any(silent & (potential(s, v0, i0, alpha, beta) > theta * (1 + 1e-12)))


def test_a_tangential_crossing_has_finite_derivatives():
    # τ's equal, V0 = 0: the peak I0/(e β) touches θ
    i0 = np.nextafter(np.e, 10)
    gradients = jax.grad(spike, tuple(range(5)))(0.0, i0, 1.0, 1.0, 1.0)
    assert np.all(np.isfinite(gradients))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.1, 10), gain=st.floats(0.1, 10))
def test_time_and_voltage_units_do_not_matter(scale, gain):
    s = spike(0.3, 4.0, 1.3, 0.8, 1.0)
    other = spike(0.3 * gain, 4.0 * gain / scale, 1.3 / scale, 0.8 / scale, gain)
    assert other == pytest.approx(scale * float(s), rel=1e-12)


def test_float32_stays_float32():
    s = spike(*(np.float32(x) for x in (0.3, 4.0, 1.3, 0.8, 1.0)))
    assert s.dtype == jnp.float32
    assert s == pytest.approx(float(spike(0.3, 4.0, 1.3, 0.8, 1.0)), rel=1e-6)


@pytest.mark.usefixtures("unchecked_types")
def test_half_precision_is_refused():
    with pytest.raises(TypeError, match="float32 or float64, got float16"):
        next_spike_time(np.float16(0.1), np.float16(3.0), LIF(1.0, 1.0))
