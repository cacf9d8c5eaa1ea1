"""The synthetic inputs: their moments and autocovariances, and that the key decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity import data

KEY = jax.random.key(1)
T = 20_000
WHITE = {
    "gaussian": (lambda key: data.gaussian(key, T, variance=2.0), 2.0, 3 * 2.0**2),
    "rademacher": (lambda key: data.rademacher(key, T), 1.0, 1.0),
    "uniform": (lambda key: data.uniform(key, T, half_width=1.5), 1.5**2 / 3, 1.5**4 / 5),
}


def sample_autocovariance(z, lags):
    """Of series of mean zero, averaged over the rows of z."""
    z = np.atleast_2d(z)
    return np.array([np.mean(z[:, k:] * z[:, : z.shape[1] - k]) for k in range(lags)])


@pytest.mark.parametrize("name", WHITE)
def test_white_inputs_have_the_moments_of_their_law(name):
    draw, variance, fourth = WHITE[name]
    z = np.asarray(draw(KEY))
    assert z.shape == (T,)
    standard_error = np.sqrt(variance / T)
    assert abs(z.mean()) < 4 * standard_error
    assert np.mean(z**2) == pytest.approx(variance, abs=4 * np.sqrt(max(fourth - variance**2, 1e-8) / T))
    theory = data.white_autocovariance(variance)(jnp.arange(8))
    np.testing.assert_array_equal(theory, [variance, *[0.0] * 7])
    np.testing.assert_allclose(sample_autocovariance(z, 8)[1:], 0, atol=4.5 * variance / np.sqrt(T))


def test_values_of_the_laws():
    assert set(np.unique(data.rademacher(KEY, 100))) == {-1.0, 1.0}
    assert np.abs(np.asarray(data.uniform(KEY, T, half_width=1.5))).max() <= 1.5


@pytest.mark.parametrize("phi", [-0.7, 0.6])
def test_ar1_is_the_recursion_from_the_stationary_law(phi):
    z = np.asarray(jax.vmap(lambda key: data.ar1(key, 50, phi, noise=0.5))(jax.random.split(KEY, 4000)))
    # The first sample has the stationary variance already, and so has every later one.
    variance = 0.25 / (1 - phi**2)
    np.testing.assert_allclose(z.var(axis=0), variance, rtol=5 * np.sqrt(2 / 4000))
    theory = np.asarray(data.ar1_autocovariance(phi, noise=0.5)(jnp.arange(6)))
    np.testing.assert_allclose(theory, variance * phi ** np.arange(6), rtol=1e-13)
    np.testing.assert_allclose(sample_autocovariance(z, 6), theory, atol=0.02 * variance)
    # What is left of it after the recursion is white noise.
    shocks = z[:, 1:] - phi * z[:, :-1]
    np.testing.assert_allclose(sample_autocovariance(shocks, 3), [0.25, 0, 0], atol=0.003)


def test_an_uncorrelated_ar1_is_white():
    np.testing.assert_allclose(sample_autocovariance(data.ar1(KEY, T, 0.0), 3), [1, 0, 0], atol=0.04)
    np.testing.assert_array_equal(data.ar1_autocovariance(0.0)(jnp.arange(4)), [1, 0, 0, 0])


@pytest.mark.parametrize(
    "draw",
    [
        lambda key, **of: data.gaussian(key, 16, **of),
        lambda key, **of: data.rademacher(key, 16, **of),
        lambda key, **of: data.uniform(key, 16, **of),
        lambda key, **of: data.ar1(key, 16, 0.5, **of),
    ],
)
def test_the_key_decides(draw):
    np.testing.assert_array_equal(draw(KEY), draw(KEY))
    assert not np.array_equal(draw(KEY), draw(jax.random.key(2)))
    np.testing.assert_allclose(jax.jit(draw)(KEY), draw(KEY), rtol=1e-14)
    assert draw(KEY).dtype == jnp.float64
    assert draw(KEY, dtype=jnp.float32).dtype == jnp.float32


def test_the_coefficient_may_be_traced():
    series = jax.vmap(lambda phi: data.ar1(KEY, 16, phi))(jnp.array([0.2, -0.5]))
    np.testing.assert_allclose(series[1], data.ar1(KEY, 16, -0.5), rtol=1e-13)
    gradient = jax.grad(lambda phi: data.ar1_autocovariance(phi)(jnp.array(2)))(0.5)
    np.testing.assert_allclose(gradient, (2 * 0.5 - 0) / (1 - 0.25) + 0.25 * 2 * 0.5 / (1 - 0.25) ** 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.ar1(KEY, 10, 1.0), r"phi=1.0; an autoregressive input is stationary only for \|phi\| < 1"),
        (lambda: data.ar1_autocovariance(-1.5), r"phi=-1.5; an autoregressive input"),
        (lambda: data.ar1(KEY, 10, 0.5, noise=0.0), "noise=0.0; a positive number is needed"),
        (lambda: data.gaussian(KEY, 10, variance=-1.0), "variance=-1.0; a positive number is needed"),
        (lambda: data.uniform(KEY, 10, half_width=0), "half_width=0; a positive number is needed"),
        (lambda: data.rademacher(KEY, 0), "T must be an integer of at least 1, got 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
