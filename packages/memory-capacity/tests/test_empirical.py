"""Memory from samples: estimators against each other, against the truth, and the calibration of the null."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

from offprint.memory_capacity import mask, reservoir
from offprint.memory_capacity._empirical import empirical_memory_curve, forecasting_capacity
from offprint.memory_capacity._hypotheses import check_hypotheses, echo_state_distances
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._null import beta_threshold
from offprint.memory_capacity._samples import lagged_products, lagged_variation, orthonormal_basis
from offprint.memory_capacity._simulate import simulate

KEY = jax.random.key(7)
N, T, LAGS = 6, 400, 25
A, C = reservoir.orthogonal(KEY, N), mask.normal(KEY, N)
inputs = jax.random.normal(jax.random.key(8), (T + 50,))
z = inputs[50:]
X = simulate(A, C, inputs, activation="identity", washout=50)


def capacities_by_regression(X, z, lags, first):
    """One least-squares fit a lag, as a peer would do it."""
    X, z, out = np.asarray(X), np.asarray(z), []
    for k in lags:
        window = slice(max(first, 0), len(z) + min(0, min(lags)))
        y = z[window.start - k : window.stop - k]
        M = np.c_[np.ones(len(y)), X[window]]
        residual = y - M @ np.linalg.lstsq(M, y, rcond=None)[0]
        out.append(1 - np.sum(residual**2) / np.sum((y - y.mean()) ** 2))
    return np.array(out)


@pytest.mark.parametrize("solver", ["svd", "qr", "cholesky", "pinv"])
def test_insample_is_one_regression_a_lag(solver):
    curve = empirical_memory_curve(X, z, LAGS, estimator="insample", solver=solver, min_lag=2)
    expected = capacities_by_regression(X, z, range(2, 2 + LAGS), LAGS + 1)
    np.testing.assert_allclose(curve.values, expected, atol=1e-12)
    np.testing.assert_array_equal(curve.lags, np.arange(2, 2 + LAGS))
    assert int(curve.rank) == N
    assert curve.n_samples == T - LAGS - 1
    np.testing.assert_allclose(curve.floor, N / (T - LAGS - 2))


def test_adjusted_is_the_adjusted_r_squared():
    raw = empirical_memory_curve(X, z, LAGS, estimator="insample").values
    samples = T - LAGS + 1
    adjusted = empirical_memory_curve(X, z, LAGS, washout=LAGS - 1)
    np.testing.assert_allclose(adjusted.values, 1 - (1 - raw) * (samples - 1) / (samples - N - 1), atol=1e-13)


def test_forecast_of_an_independent_input_is_insignificant():
    with pytest.warns(MeaningWarning, match="estimate dominated by finite-sample floor"):
        curve = forecasting_capacity(X, z, 4, estimator="insample")
    np.testing.assert_allclose(curve.values, capacities_by_regression(X, z, [-1, -2, -3, -4], 0), atol=1e-12)
    np.testing.assert_array_equal(curve.lags, [-1, -2, -3, -4])
    assert not curve.significant.any()
    assert curve.total == 0


def test_forecast_of_a_dependent_input():
    future = jnp.convolve(z, jnp.array([1.0, 0.9]), mode="same")
    curve = forecasting_capacity(X[1:-1], future[1:-1], 3)
    assert curve.significant.tolist() == [True, False, False]


@pytest.mark.parametrize("score", ["r2", "corr2"])
def test_heldout_is_a_fit_and_a_score(score):
    curve = empirical_memory_curve(X, z, 8, estimator="heldout", alpha=0.5, test_fraction=0.25, score=score)
    first, states, series = 7, np.asarray(X), np.asarray(z)
    train = round((T - 7) * 0.75)
    for k, value in enumerate(np.asarray(curve.values)):
        y, M = series[first - k : T - k], states[first:]
        mean, offset = M[:train].mean(axis=0), y[:train].mean()
        Mc, yc = M[:train] - mean, y[:train] - offset
        w = np.linalg.solve(Mc.T @ Mc + 0.5 * np.eye(N), Mc.T @ yc)
        guess, truth = (M[train:] - mean) @ w + offset, y[train:]
        r2 = 1 - np.mean((truth - guess) ** 2) / np.var(truth)
        expected = {"r2": r2, "corr2": np.corrcoef(truth, guess)[0, 1] ** 2}[score]
        np.testing.assert_allclose(value, expected, atol=1e-11)


def test_ridge_is_the_fit_with_a_penalty():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curve = empirical_memory_curve(X, z, 4, estimator="ridge", alpha=20.0, solver="qr")
    M = np.asarray(X[3:] - X[3:].mean(axis=0))
    for k, value in enumerate(np.asarray(curve.values)):
        y = np.asarray(z[3 - k : T - k])
        y = y - y.mean()
        w = np.linalg.solve(M.T @ M + 20 * np.eye(N), M.T @ y)
        np.testing.assert_allclose(value, 1 - np.sum((y - M @ w) ** 2) / np.sum(y**2), atol=1e-12)


def test_rank_deficient_states_are_cut():
    twice = jnp.concatenate([X, X @ jnp.ones((N, 2))], axis=1)
    curve = empirical_memory_curve(twice, z, LAGS)
    assert int(curve.rank) == N
    np.testing.assert_allclose(curve.values, empirical_memory_curve(X, z, LAGS).values, atol=1e-10)
    with pytest.raises(ValueError, match=r"solver='qr' found 6 independent columns in the states of 8 neurons"):
        empirical_memory_curve(twice, z, LAGS, solver="qr")


def test_vmap_jit_and_float32():
    pair = jnp.stack([X, X[:, ::-1] * 2])
    batch = jax.vmap(lambda states: empirical_memory_curve(states, z, LAGS))(pair)
    plain = empirical_memory_curve(X, z, LAGS)
    for values in batch.values:
        np.testing.assert_allclose(values, plain.values, atol=1e-12)
    np.testing.assert_allclose(batch.total, [plain.total] * 2)
    single = empirical_memory_curve(X.astype(jnp.float32), z.astype(jnp.float32), LAGS)
    assert single.values.dtype == jnp.float32
    np.testing.assert_allclose(single.values, plain.values, atol=1e-5)


def test_gradient_of_the_total_against_finite_differences():
    def total(gain):
        states = simulate(0.5 * A, gain * C, inputs, washout=50)
        return empirical_memory_curve(states, z, LAGS, null=None).total

    slope, step = jax.grad(total)(1.3), 1e-5
    np.testing.assert_allclose(slope, (total(1.3 + step) - total(1.3 - step)) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(("first", "min_lag", "n_lags"), [(0, 0, 30), (300, 1, 300), (0, -20, 20), (39, -10, 50)])
def test_lagged_products_are_sums(first, min_lag, n_lags):
    rng = np.random.default_rng(0)
    series, columns = rng.normal(size=3000), rng.normal(size=(3000 - first + min(0, min_lag), 2))
    lags = range(min_lag, min_lag + n_lags)
    padded = np.r_[np.zeros(600), series, np.zeros(600)]
    shifted = [padded[600 + first - k : 600 + first - k + len(columns)] for k in lags]
    expected = [y @ columns for y in shifted]
    np.testing.assert_allclose(
        lagged_products(jnp.asarray(columns), jnp.asarray(series), first, min_lag, n_lags), expected, atol=1e-10
    )
    if first >= min_lag + n_lags - 1:
        total, variation = lagged_variation(jnp.asarray(series), first, len(columns), min_lag, n_lags)
        np.testing.assert_allclose(total, [y.sum() for y in shifted], atol=1e-10)
        np.testing.assert_allclose(variation, [y.var() * len(y) for y in shifted], rtol=1e-11)


def test_null_is_calibrated():
    """2000 targets that are independent of the states: 1 % are above the 1 % threshold."""
    basis = orthonormal_basis(jax.random.normal(KEY, (2000, 20)))
    targets = jax.random.normal(jax.random.key(11), (2000, 2000))
    targets = targets - targets.mean(axis=0)
    capacity = jnp.sum((basis.columns.T @ targets) ** 2, axis=0) / jnp.sum(targets**2, axis=0)
    fraction = float(jnp.mean(capacity > beta_threshold(basis.rank, 2000, 0.01)))
    assert 0.006 <= fraction <= 0.015
    np.testing.assert_allclose(capacity.mean(), 20 / 1999, rtol=0.05)


def test_beta_threshold_is_the_quantile():
    for rank, samples, p in ((20, 2000, 0.01), (500, 100_000, 1e-4), (1, 50, 1e-4)):
        expected = st.beta(rank / 2, (samples - 1 - rank) / 2).isf(p)
        np.testing.assert_allclose(beta_threshold(jnp.asarray(rank), samples, p), expected, rtol=1e-6)


def test_surrogates_agree_with_the_beta_law():
    beta = empirical_memory_curve(X, z, LAGS, p=0.01)
    shuffled = empirical_memory_curve(X, z, LAGS, p=0.01, null="surrogate", n_surrogates=80, key=KEY)
    np.testing.assert_allclose(shuffled.threshold, beta.threshold, rtol=0.15)
    np.testing.assert_array_equal(shuffled.values, beta.values)


@pytest.fixture(scope="module")
def replicates():
    """N = 30 Gaussian, 600 samples, 150 lags: 40 runs (200 in the experiment)."""
    size, lags = 30, 150
    big, weights = reservoir.normal(KEY, size), mask.normal(KEY, size)
    series = jax.random.normal(jax.random.key(5), (40, 100 + lags - 1 + 600))
    states = jax.vmap(lambda u: simulate(big, weights, u, activation="identity", method="chunked"))(series)
    return states, series[:, 100:], lags


@pytest.mark.parametrize(
    ("estimator", "expected", "tolerance"), [("official", 33.3, 0.6), ("insample", 35.6, 0.6), ("adjusted", 29.6, 0.7)]
)
def test_floor_of_the_estimators(replicates, estimator, expected, tolerance):
    states, series, lags = replicates
    if estimator == "official":
        states, series = states[:, lags - 1 :], series[:, lags - 1 :]
    curves = jax.vmap(
        lambda X, z: empirical_memory_curve(
            X, z, lags, estimator=estimator, solver="svd", n_bootstrap=30 * (estimator == "adjusted"), key=KEY
        )
    )(states, series)
    totals = curves.values.sum(axis=1)
    assert abs(totals.mean() - expected) < tolerance
    if estimator == "adjusted":
        # The standard error of one run is what the runs scatter by.
        assert 0.6 < curves.se.mean() / curves.total.std(ddof=1) < 1.6
        assert abs(curves.total.mean() - 30) < 0.8


def test_hypotheses():
    good = check_hypotheses(X, z, warn=False)
    assert min(good.white_input, good.zero_mean, good.stationary) > 1e-3
    with pytest.warns(UserWarning, match="See dependent_memory"):
        check_hypotheses(X, jnp.convolve(z, jnp.array([1.0, 0.9]), mode="same"))
    with pytest.warns(UserWarning, match="the states drift"):
        check_hypotheses(X + jnp.linspace(0, 3, T)[:, None], z)
    assert check_hypotheses(X, z + 1, warn=False).zero_mean < 1e-6


def test_echo_states():
    distances = echo_state_distances(0.5 * A, C, z, key=KEY)
    assert distances.shape == (T,)
    assert distances[-1] < 1e-12
    lasting = echo_state_distances(reservoir.cyclic(None, N, rho=1.0), C, z, key=KEY, activation="identity")
    np.testing.assert_allclose(lasting, lasting[0], rtol=1e-9)
