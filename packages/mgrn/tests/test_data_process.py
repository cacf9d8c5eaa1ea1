"""The process drawn by JAX: its laws, its conditional mean by Monte Carlo, and its behaviour under transformations."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from offprint.mgrn import data
from offprint.mgrn.data import _process as process

LENGTH = 200_000


@pytest.fixture(scope="module")
def long():
    return data.simulate(jax.random.key(0), 1, LENGTH)


def autocovariance(lags):
    """Of the AR process, at lags 0, 1, ...: from the state space form of five past values."""
    companion = np.eye(5, k=-1)
    companion[0] = process.AR_COEFFICIENTS
    noise = np.zeros((5, 5))
    noise[0, 0] = process.NOISE_VARIANCE
    state = solve_discrete_lyapunov(companion, noise)
    covariances = []
    for _ in range(lags):
        covariances.append(state[0, 0])
        state = companion @ state
    return np.array(covariances)


def logs(series):
    parameters = np.asarray(series)[:, 2:].reshape(-1, 2, 7)
    return np.concatenate([parameters[..., :1], np.log(parameters[..., 1:])], axis=-1).reshape(-1, 14)


def test_stationary_law_of_the_parameters(long):
    """Mean and variance of every AR process within 4 standard errors, which account for the serial dependence."""
    covariances = autocovariance(400)
    variance = covariances[0]
    spread = np.concatenate([covariances[:0:-1], covariances])
    error_of_mean = (spread.sum() / LENGTH) ** 0.5
    error_of_variance = (2 * (spread**2).sum() / LENGTH) ** 0.5
    expected = process.log_levels(data.pair_constants(1)).ravel()
    found = logs(long.series)
    assert (abs(found.mean(axis=0) - expected) < 4 * error_of_mean).all()
    assert (abs(found.var(axis=0) - variance) < 4 * error_of_variance).all()


def test_one_step_predictions_are_best_linear(long):
    """What is left of a parameter after its prediction is the shock: uncorrelated with the past, variance 0.01."""
    found = logs(long.series)
    lagged = np.stack([found[5 - lag : -lag] for lag in range(1, 6)])
    mean = process.log_levels(data.pair_constants(1)).ravel()
    shocks = found[5:] - mean - np.tensordot(process.AR_COEFFICIENTS, lagged - mean, 1)
    np.testing.assert_allclose(shocks.var(axis=0), 0.01, rtol=4 * (2 / LENGTH) ** 0.5)
    for past in lagged:
        correlation = np.array([np.corrcoef(shock, column)[0, 1] for shock, column in zip(shocks.T, past.T)])
        assert abs(correlation).max() < 4.5 / LENGTH**0.5


def draw_target(rng, predicted, draws):
    """100 y1 y2 one step ahead, given the predictions of the parameters, from the definition of the process."""
    drawn = predicted[..., None] + 0.1 * rng.standard_normal((2, 7, draws))
    w_market, w1, w2 = rng.standard_normal((3, draws))
    alpha = drawn[:, 0]
    beta, uM, vM, gamma, u, v = np.moveaxis(np.exp(drawn[:, 1:]), 1, 0)

    def g(w, u, v):
        return w * (u**w / 4 + v ** (-w) / 4 + 1)

    y = alpha + beta * g(w_market, uM, vM) + gamma * g(np.stack([w1, w2]), u, v)
    return 100 * y[0] * y[1]


@pytest.mark.parametrize("pair", [1, 6])
def test_conditional_mean_against_monte_carlo(pair):
    """At three states of the process, within 3 standard errors of a million draws."""
    mean = process.log_levels(data.pair_constants(pair))
    rng = np.random.default_rng(pair)
    for _ in range(3):
        predicted = mean + rng.normal(0, 0.15, (2, 7))
        drawn = draw_target(rng, predicted, 1_000_000)
        closed = data.conditional_mean(predicted, process.NOISE_VARIANCE, process.TAIL)
        assert abs(drawn.mean() - closed) < 3 * drawn.std() / 1000


def test_empirical_mse_of_the_conditional_mean(long):
    """The forecast errors have mean 0 and are uncorrelated with the forecast, and no rescaling of it is better."""
    forecast = np.asarray(long.conditional_mean[:-1])
    error = np.asarray(long.target[1:]) - forecast
    for weight in (np.ones_like(forecast), forecast - forecast.mean()):
        products = error * weight
        assert abs(products.mean()) < 4 * products.std() / len(products) ** 0.5
    floor = float(data.theoretical_mse(long, window=1))
    np.testing.assert_allclose(floor, (error**2).mean(), rtol=1e-12)
    for scale in (0.8, 1.2):
        assert ((np.asarray(long.target[1:]) - scale * forecast) ** 2).mean() > floor


def test_series_from_its_parts():
    """One step written out by hand, and the first prediction from the presample values."""
    mean = process.log_levels(data.pair_constants(3))
    deviations = np.random.default_rng(0).normal(0, 0.1, (6, 2, 7))
    w = np.random.default_rng(1).normal(size=(6, 3))
    made = process.assemble(deviations, mean, w[:, 0], w[:, 1:], 0)
    (a, b, uM, vM, c, u, v) = made.series[4, 9:]
    g = [w[4, 0] * (uM ** w[4, 0] / 4 + vM ** -w[4, 0] / 4 + 1), w[4, 2] * (u ** w[4, 2] / 4 + v ** -w[4, 2] / 4 + 1)]
    np.testing.assert_allclose(made.series[4, 1], a + b * g[0] + c * g[1], rtol=1e-12)
    first = data.conditional_mean(mean + 0.9 * deviations[0], 0.01, 4.0)
    np.testing.assert_allclose(made.conditional_mean[0], first, rtol=1e-12)
    ahead = 0.9 * deviations[5] - 0.8 * deviations[4] + 0.7 * deviations[3] - 0.6 * deviations[2] + 0.5 * deviations[1]
    np.testing.assert_allclose(made.conditional_mean[5], data.conditional_mean(mean + ahead, 0.01, 4.0), rtol=1e-12)
    jaxed = process.assemble(*map(jnp.asarray, (deviations, mean, w[:, 0], w[:, 1:])), 2)
    np.testing.assert_allclose(jaxed.series, made.series[2:], rtol=1e-12)
    np.testing.assert_allclose(jaxed.conditional_mean, made.conditional_mean[2:], rtol=1e-12)


def test_transformations():
    keys = jax.random.split(jax.random.key(4), 2)
    levels = jnp.stack([data.pair_constants(1), data.constants(3, 2)])
    both = jax.vmap(lambda key, pair: data.simulate(key, pair, 30, 7))(keys, levels)
    assert both.series.shape == (2, 30, 16)
    assert both.target.shape == (2, 30)
    for index in range(2):
        alone = data.simulate(keys[index], levels[index], 30, 7)
        np.testing.assert_allclose(both.series[index], alone.series, rtol=1e-10)
        np.testing.assert_allclose(both.conditional_mean[index], alone.conditional_mean, rtol=1e-10)
    single = data.simulate(keys[0], 1, 30, dtype=jnp.float32)
    assert single.series.dtype == single.conditional_mean.dtype == jnp.float32
    assert single.columns == data.COLUMNS
    assert not np.allclose(both.series[0][:, 0], both.series[1][:, 0])


def test_gradient_of_the_conditional_mean():
    predicted = process.log_levels(data.pair_constants(2))

    def f(p):
        return data.conditional_mean(p, 0.01, 4.0)

    jax.test_util.check_grads(f, (jnp.asarray(predicted),), order=1, modes=["rev"], eps=1e-6, rtol=1e-5)


def test_constants_of_the_study():
    levels = data.constants(7, 11)
    np.testing.assert_allclose(levels[0], [0.0686, 0.0433, 1.0, 1.9335, 0.05216, 2.0673, 1.8113])
    np.testing.assert_allclose(levels, data.pair_constants(1))
    assert data.constants(1, 15).shape == (2, 7)
