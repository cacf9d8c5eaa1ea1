"""Sequences of known law: their covariances, their scaling, and that a key means the same at every depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import weights
from offprint.resnet_scaling.weights import autocovariance

KEY = jax.random.key(0)
DRAWS = 4000


def covariance(sequences):
    """(L, L) over the entries of one layer, which are independent copies."""
    flat = np.asarray(sequences).reshape(len(sequences), -1)
    return flat @ flat.T / flat.shape[1]


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.8])
def test_fractional_noise_has_its_covariance(hurst):
    L = 8
    found = L ** (2 * hurst) * covariance(weights.fbm_increments(KEY, L, (DRAWS,), hurst=hurst))
    lag = np.abs(np.subtract.outer(np.arange(L), np.arange(L)))
    expected = (np.abs(lag - 1.0) ** (2 * hurst) - 2 * lag ** (2 * hurst) + (lag + 1.0) ** (2 * hurst)) / 2
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(2 / DRAWS))


@pytest.mark.parametrize("hurst", [0.3, 0.9])
def test_cumulated_fractional_noise_ends_with_unit_variance(hurst):
    end = weights.fbm_increments(KEY, 64, (DRAWS,), hurst=hurst).sum(axis=0)
    np.testing.assert_allclose(np.mean(end**2), 1, atol=5 * np.sqrt(2 / DRAWS))


def test_autocovariance_keeps_its_digits_in_single_precision():
    exact = autocovariance(5000, jnp.asarray(0.9))
    single = autocovariance(5000, jnp.asarray(0.9, jnp.float32))
    np.testing.assert_allclose(single, exact, rtol=1e-4)
    k = 4000.0  # far out it is H(2H-1) k^(2H-2)
    np.testing.assert_allclose(exact[4000], 0.9 * 0.8 * k**-0.2, rtol=1e-6)


def test_embedding_is_non_negative():
    for hurst in (0.05, 0.5, 0.97):
        gamma = np.asarray(autocovariance(200, jnp.asarray(hurst)))
        assert np.fft.rfft(np.concatenate([gamma, gamma[-2:0:-1]])).real.min() > -1e-10


def test_rbf_increments_have_the_covariance_of_the_kernel():
    L, scale = 8, 0.1
    found = covariance(weights.rbf(KEY, L, (DRAWS,), length_scale=scale))
    t = np.arange(L + 1) / L
    kernel = np.exp(-((t[:, None] - t) ** 2) / (2 * scale**2))
    increments = kernel[1:, 1:] - kernel[1:, :-1] - kernel[:-1, 1:] + kernel[:-1, :-1]
    np.testing.assert_allclose(found, increments / increments[0, 0], atol=5 * np.sqrt(2 / DRAWS))


def test_rbf_increments_are_smooth_in_single_precision_too():
    steps = jnp.diff(weights.rbf(KEY, 3000, (4,), dtype=jnp.float32), axis=0)
    assert jnp.abs(steps).max() < 5 * np.sqrt(3) / (0.1 * 3000)


def test_smooth_process_has_unit_variance_and_one_trend_for_all_depths():
    coarse, fine = weights.smooth(KEY, 8, (DRAWS,), beta=0.3), weights.smooth(KEY, 64, (DRAWS,), beta=0.3)
    np.testing.assert_allclose(8**0.3 * coarse, 64**0.3 * fine[::8], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.mean((8**0.3 * coarse) ** 2, axis=1), 1, atol=5 * np.sqrt(2 / DRAWS))


def test_smooth_follows_a_trend_of_ones_own():
    A = weights.smooth(KEY, 10, (2,), beta=0.5, trend=lambda t: jnp.stack([t, 1 - t]))
    t = np.arange(10) / 10
    np.testing.assert_allclose(A, 10**-0.5 * np.stack([t, 1 - t], axis=1))


def test_independent_layers():
    for sequence, deviation in (
        (weights.iid(KEY, 4, (DRAWS,), beta=0.7), 4**-0.7),
        (weights.brownian(KEY, 4, (DRAWS,)), 0.5),
    ):
        expected = deviation**2 * np.eye(4)
        np.testing.assert_allclose(covariance(sequence), expected, atol=5 * deviation**2 * np.sqrt(2 / DRAWS))


def test_sparse_layers_are_the_same_at_every_depth():
    for depth in (5, 50):
        A = np.asarray(weights.sparse(KEY, depth, (3, 3)))
        active = np.flatnonzero(np.abs(A).sum(axis=(1, 2)))
        assert active.tolist() == [(2 * i + 1) * depth // 10 for i in range(5)]
        np.testing.assert_array_equal(A[active], weights.sparse(KEY, 10, (3, 3))[1::2])


@pytest.mark.parametrize("draw", [weights.smooth, weights.fbm_increments, weights.iid, weights.rbf, weights.sparse])
def test_jit_vmap_and_types(draw):
    def small(key):
        return draw(key, 6, (2, 3), dtype=jnp.float32)

    keys = jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(small))(keys)
    assert many.shape == (3, 6, 2, 3)
    assert many.dtype == jnp.float32
    np.testing.assert_allclose(many[1], small(keys[1]), rtol=1e-4, atol=1e-5)


def test_exponents_can_be_mapped_over():
    hursts = jnp.array([0.3, 0.6])
    many = jax.vmap(lambda h: weights.fbm_increments(KEY, 6, (2,), hurst=h))(hursts)
    np.testing.assert_allclose(many[1], weights.fbm_increments(KEY, 6, (2,), hurst=0.6), rtol=1e-9)
