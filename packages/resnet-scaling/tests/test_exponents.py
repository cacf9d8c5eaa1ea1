"""Slopes and their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from offprint.resnet_scaling import fit_exponent

L = np.array([8, 16, 32, 64, 128, 256, 512, 1024])
NOISE = 0.1 * np.random.default_rng(0).normal(size=(8, 3))


@pytest.mark.parametrize("method", ["ols", "theil-sen", "huber"])
@settings(deadline=None, max_examples=10)
@given(slope=st.floats(-2, 2), factor=st.floats(1e-6, 1e6))
def test_power_laws_are_found_exactly(method, slope, factor):
    fit = fit_exponent(L, factor * L**slope, method=method, n_boot=20)
    np.testing.assert_allclose(fit.slope, slope, atol=1e-10)
    np.testing.assert_allclose(fit.intercept, np.log(factor), atol=1e-9)
    np.testing.assert_allclose(fit.local_slopes, slope, atol=1e-9)
    np.testing.assert_allclose(fit.ci, slope, atol=1e-9)
    np.testing.assert_allclose(fit.predict(L), fit.values, rtol=1e-9)


def test_least_squares_is_that_of_scipy():
    values = L**-0.7 * np.exp(NOISE[:, 0])
    fit, other = fit_exponent(L, values), stats.linregress(np.log(L), np.log(values))
    np.testing.assert_allclose([fit.slope, fit.intercept, fit.se], [other.slope, other.intercept, other.stderr])
    np.testing.assert_allclose(fit.p_value(0), other.pvalue)


def test_theil_sen_is_that_of_scipy():
    values = L**-0.7 * np.exp(NOISE[:, 0])
    fit, other = fit_exponent(L, values, method="theil-sen"), stats.theilslopes(np.log(values), np.log(L))
    np.testing.assert_allclose([fit.slope, fit.intercept], [other.slope, other.intercept])


def test_huber_solves_its_equations():
    values = L**-0.7 * np.exp(NOISE[:, 0])
    values[3] *= 5
    fit = fit_exponent(L, values, method="huber", n_boot=0)
    residual = np.log(values) - fit.intercept - fit.slope * np.log(L)
    scale = np.median(np.abs(residual)) / stats.norm.ppf(0.75)
    influence = np.clip(residual / scale, -1.345, 1.345)
    np.testing.assert_allclose([influence.sum(), influence @ np.log(L)], 0, atol=1e-6)


@pytest.mark.parametrize("method", ["theil-sen", "huber"])
def test_one_outlier_spoils_least_squares_alone(method):
    values = L**-0.5 * np.exp(0.1 * NOISE[:, 0])
    values[-1] *= 10
    assert abs(fit_exponent(L, values, n_boot=0).slope + 0.5) > 0.15
    assert abs(fit_exponent(L, values, method=method, n_boot=0).slope + 0.5) < 0.05


def test_line_through_medians_of_seeds():
    values = L[:, None] ** -0.5 * np.exp(NOISE)
    values[2, 1] = 1e6  # one network of three with a single outlying layer
    values[5, 0] = np.nan  # a seed that diverged; between two seeds the median is the geometric mean
    fit = fit_exponent(L, values)
    np.testing.assert_allclose(fit.values, np.exp(np.nanmedian(np.log(values), axis=1)))
    assert abs(fit.slope + 0.5) < 0.05


def test_interval_covers_the_slope():
    """A bootstrap of ten depths at 95 %: nominal coverage less what few depths cost."""
    depths = 2 ** np.arange(3, 13)
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(100):
        values = depths**-0.3 * np.exp(0.1 * rng.normal(size=10))
        low, high = fit_exponent(depths, values, n_boot=200, seed=seed).ci
        hits += low <= -0.3 <= high
    assert 80 <= hits <= 100


def test_offset_leaves_out_the_smallest_depths():
    values = np.where(L < 30, 1.0, L**-0.5)
    fit = fit_exponent(L, values, offset=2, n_boot=0)
    np.testing.assert_allclose(fit.slope, -0.5)
    assert fit.depths.tolist() == L[2:].tolist()
    assert np.isnan(fit.ci).all()


def test_the_same_seed_gives_the_same_interval():
    values = L**-0.7 * np.exp(NOISE[:, 0])
    assert fit_exponent(L, values, seed=3).ci == fit_exponent(L, values, seed=3).ci != fit_exponent(L, values).ci


def test_printed():
    assert str(fit_exponent(L, L**-0.5, n_boot=50)) == "-0.500 ± 0.000 [-0.500, -0.500]"
