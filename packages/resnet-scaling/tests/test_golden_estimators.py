"""Statistics, slopes, singular values and the decomposition against arrays of the original code (float32)."""

import jax
import numpy as np
import pytest

from offprint.resnet_scaling import (
    conv_singular_values,
    decompose_trend_noise,
    fit_exponent,
    scaling_statistics,
)

CASES = ("brownian", "fgn_h07", "iid_b02", "smooth_b03", "sparse", "trend_noise_b1")
NAMES = (
    "max_norm",
    "scaled_increment",
    "root_sum_squares",
    "cumsum_norm",
    "sum_sq_increments",
    "sqrt_sobolev",
    "detrended_cumsum",
)


def by_depth(arrays, name):
    parts = np.split(arrays[name], np.cumsum(arrays["depths"])[:-1])
    return dict(zip(arrays["depths"].tolist(), parts))


@pytest.fixture(scope="module")
def program():
    """One program for the sequences of all cases, so that each depth is compiled once."""
    return jax.jit(scaling_statistics)


@pytest.mark.parametrize("case", CASES)
def test_statistics_and_slopes(case, golden, program):
    arrays = golden(f"estimators_{case}")
    depths = arrays["depths"]
    found = [program(stack, factor=float(arrays["factor"])) for stack in by_depth(arrays, "weights").values()]
    for name in NAMES:
        ours = np.array([float(one[name]) for one in found])
        np.testing.assert_allclose(ours, arrays[f"stat_{name}"], rtol=2e-5, err_msg=name)
        fit = fit_exponent(depths, ours, n_boot=0, name=name)
        np.testing.assert_allclose(fit.slope, arrays[f"slope_{name}"], rtol=0, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(fit.intercept, arrays[f"intercept_{name}"], rtol=0, atol=1e-4, err_msg=name)
    # The original "L2" is not divided by √L; its "Spectral" is a Frobenius norm.
    rms = np.array([float(one["rms"]) for one in found])
    np.testing.assert_allclose(rms * np.sqrt(depths), arrays["stat_official_L2"], rtol=2e-5)
    largest = np.array([float(one["max_norm"]) for one in found])
    np.testing.assert_allclose(largest, arrays["stat_official_Spectral"], rtol=2e-5)


@pytest.mark.parametrize("number", range(3))
def test_singular_values_of_convolutions(number, golden):
    arrays = golden("conv_spectrum_a")
    grid = tuple(arrays[f"input_shape_{number}"].tolist())
    ours = conv_singular_values(arrays[f"kernel_{number}"], grid)
    np.testing.assert_allclose(ours[::-1], arrays[f"top10_{number}"], rtol=1e-5)


def test_decomposition(golden):
    arrays = golden("decomposition_b_shared")
    sequences = by_depth(arrays, "weights")
    parts = decompose_trend_noise(sequences, float(arrays["beta"]), int(arrays["n_times"]))
    np.testing.assert_allclose(parts.integral, arrays["trend_integral"], rtol=0, atol=1e-6)
    for depth, trend in by_depth(arrays, "trend_weights").items():
        np.testing.assert_allclose(parts.trend[depth], trend, rtol=0, atol=1e-6)
        np.testing.assert_allclose(parts.noise[depth], sequences[depth] - trend, rtol=0, atol=1e-6)
