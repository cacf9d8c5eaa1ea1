"""Correlated input: memory and forecasting capacity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity._curve import memory_curve
from offprint.memory_capacity._dependent import dependent_memory

PHI = 0.6


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 6))
    return A * 0.8 / np.abs(np.linalg.eigvals(A)).max(), rng.standard_normal(6)


def ar1(k):
    return PHI ** jnp.asarray(k)


def ar1_density(omega):
    return (1 - PHI**2) / (2 * jnp.pi) / jnp.abs(1 - PHI * jnp.exp(-1j * omega)) ** 2


@pytest.fixture(scope="module")
def driven(network):
    return dependent_memory(*network, ar1, 80, 20)


def test_white_input_has_the_plain_curve_and_no_forecast(network):
    A, C = network
    white = dependent_memory(A, C, np.array([2.5]), 40, 5)
    np.testing.assert_allclose(white.memory, memory_curve(A, C, 40).values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(white.forecast, 0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(white.bound, 6, rtol=1e-12)


def test_density_and_autocovariance_agree(network, driven):
    other = dependent_memory(*network, n_lags=80, n_ahead=20, spectral_density=ar1_density)
    for ours, theirs in zip(driven, other):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_bound_of_an_ar1_input(driven):
    np.testing.assert_allclose(driven.bound, 6 * (1 + PHI) / (1 - PHI), rtol=1e-9)
    assert 6 < driven.memory.sum() + driven.forecast.sum() <= driven.bound


def test_forecast_of_an_ar1_input_fades_as_its_correlation(driven):
    # The best forecast h steps ahead is φ^{h-1} times the one a step ahead, for a Markov input.
    ratios = driven.forecast[1:] / driven.forecast[:-1]
    np.testing.assert_allclose(ratios[:10], PHI**2, rtol=1e-6)


def test_within_the_error_of_a_simulation(network, driven):
    A, C = network
    rng = np.random.default_rng(1)
    steps, washout = 200_000, 200
    noise = rng.standard_normal(steps)
    z, x = np.empty(steps), np.empty((steps, 6))
    last, state = 0.0, np.zeros(6)
    for t in range(steps):
        last = PHI * last + noise[t]
        state = A @ state + C * last
        z[t], x[t] = last, state
    first, end = washout, steps - washout
    basis, _ = np.linalg.qr(x[first:end] - x[first:end].mean(axis=0))
    expectations = {0: driven.memory[0], 5: driven.memory[5], 9: driven.memory[9], -1: driven.forecast[0]}
    for lag, expected in expectations.items():
        target = z[first - lag : end - lag]
        target = target - target.mean()
        parts = np.sum((basis.T @ target) ** 2) / np.sum(target**2)
        # R² has standard error of at most 2 sqrt(R² (1 - R²)² / T), widened for the input's correlation time.
        effective = (end - first) * (1 - PHI) / (1 + PHI)
        error = 2 * np.sqrt(max(expected, 1e-3)) * (1 - expected) / np.sqrt(effective)
        assert abs(parts - expected) < 3 * error + 6 / (end - first)


def test_inside_jit(network, driven):
    A, C = network
    traced = jax.jit(lambda A, C: dependent_memory(A, C, ar1, 80, 20))(A, C)
    np.testing.assert_allclose(traced.memory, driven.memory, rtol=0, atol=1e-10)
    np.testing.assert_allclose(traced.forecast, driven.forecast, rtol=0, atol=1e-10)


def test_unreached_states_do_not_count(network, driven):
    A, C = network
    larger = np.zeros((8, 8))
    larger[:6, :6], larger[6:, 6:] = A, np.diag([0.4, 0.3])
    padded = np.append(C, [0, 0])
    for ours in (
        dependent_memory(larger, padded, ar1, 80, 20),
        jax.jit(lambda A: dependent_memory(A, padded, ar1, 80, 20))(larger),
    ):
        np.testing.assert_allclose(ours.memory, driven.memory, rtol=0, atol=1e-9)
        np.testing.assert_allclose(ours.bound, driven.bound, rtol=1e-9)
    silent = dependent_memory(np.diag([0.5, 0.2]), None, np.ones(1), 3, rank=2)
    assert silent.memory.shape == (3,)


def test_a_derivative_in_the_matrix_is_refused_rather_than_wrong():
    A, C = jnp.array([[0.5, 0.1], [0.0, 0.3]]), jnp.ones(2)

    def total(A, phi):
        return dependent_memory(A, C, lambda k: phi**k / (1 - phi**2), 6).memory.sum()

    with pytest.raises(TypeError, match="but not in A"):
        jax.grad(total)(A, 0.4)
    with pytest.raises(TypeError, match="but not in A"):
        jax.jit(jax.grad(total))(A, 0.4)
    step = 1e-5
    slope = (total(A, 0.4 + step) - total(A, 0.4 - step)) / (2 * step)
    assert jax.grad(total, 1)(A, 0.4) == pytest.approx(float(slope), rel=1e-6)
