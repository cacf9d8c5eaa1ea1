"""Trend and noise, and networks of the trend alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import ResNetParams, decompose_trend_noise, denoised_params, resnet_apply

DEPTHS = (25, 32, 40, 50, 64, 80, 101, 128)
RNG = np.random.default_rng(0)


def smooth(L, beta=0.3):
    """L^-β Ā(k/L), with the increments of the exact integral, so that Ī is that of every depth."""
    t = np.arange(L + 1) / L
    return L**-beta * L * np.diff(np.stack([t**2, np.sin(2 * t)], axis=1), axis=0)


def test_trend_and_noise_add_up():
    sequences = {L: RNG.normal(size=(L, 3)) for L in DEPTHS}
    parts = decompose_trend_noise(sequences, 0.2, 20)
    for L, sequence in sequences.items():
        np.testing.assert_allclose(parts.trend[L] + parts.noise[L], sequence, rtol=1e-12)


def test_integral_of_a_trend_is_found():
    # Each of these depths is a multiple of n: ⌊Lj/n⌋ is exact, and so is the integral.
    parts = decompose_trend_noise({L: smooth(L) for L in (40, 80, 120, 160)}, 0.3, 20, slice(None))
    t = np.arange(21) / 20
    np.testing.assert_allclose(parts.integral, np.stack([t**2, np.sin(2 * t)], axis=1), atol=1e-12)
    assert np.abs(parts.noise[160]).max() < 0.05 * np.abs(parts.trend[160]).max()


def test_slice_selects_the_depths():
    sequences = {L: RNG.normal(size=(L, 3)) for L in DEPTHS}
    default = decompose_trend_noise(sequences, 0.2, 20).integral
    first_four = decompose_trend_noise({L: sequences[L] for L in DEPTHS[:4]}, 0.2, 20, slice(None)).integral
    np.testing.assert_allclose(default, first_four)


def test_seeds_are_decomposed_each_by_itself():
    sequences = {L: RNG.normal(size=(2, L, 3)) for L in DEPTHS}
    parts = decompose_trend_noise(sequences, 0.2, 20)
    alone = decompose_trend_noise({L: one[1] for L, one in sequences.items()}, 0.2, 20)
    np.testing.assert_allclose(parts.trend[101][1], alone.trend[101])
    np.testing.assert_allclose(parts.integral[1], alone.integral)


def test_multipliers_enter_by_their_size():
    sequences = [RNG.normal(size=(L, 3)) for L in DEPTHS]
    delta = [RNG.normal(size=L) for L in DEPTHS]
    expected = decompose_trend_noise([abs(d)[:, None] * A for d, A in zip(delta, sequences)], 0.2, 20)
    np.testing.assert_allclose(decompose_trend_noise(sequences, 0.2, 20, delta=delta).integral, expected.integral)


def params_of(L, delta):
    A = np.stack([np.stack([smooth(L)] * 2, axis=-1)] * 2)  # (2 seeds, L, 2, 2)
    return ResNetParams(jnp.asarray(A), jnp.asarray(A[..., 0]), jnp.asarray(delta))


def test_smooth_networks_are_their_trend():
    params = {L: params_of(L, np.full((2, 1), 1 / L)) for L in DEPTHS}
    trend = denoised_params(params, 0.3, n_times=20)
    x = jnp.ones((1, 2)) / 2
    apply = jax.jit(jax.vmap(lambda params: resnet_apply(params, x)))
    before, after = apply(params[128]), apply(trend[128])
    assert jnp.abs(after - before).max() < 0.1 * jnp.abs(before - x).max()
    np.testing.assert_array_equal(trend[128].delta, params[128].delta)


def test_relu_networks_keep_the_sign_of_their_multipliers():
    signs = {L: RNG.choice([-1.0, 1.0], (2, L)) for L in DEPTHS}
    params = {L: params_of(L, 0.3 * signs[L]) for L in DEPTHS}
    trend = denoised_params(params, 0.3, delta="multi", activation="relu", n_times=20)
    plain = denoised_params(params, 0.3, delta="multi", activation="tanh", n_times=20)
    np.testing.assert_array_equal(trend[64].delta, signs[64])
    np.testing.assert_array_equal(plain[64].delta, params[64].delta)
    np.testing.assert_allclose(trend[64].A, 0.3 * plain[64].A)  # |δ| goes through the ReLU


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_types(dtype):
    parts = decompose_trend_noise({L: smooth(L).astype(dtype) for L in DEPTHS}, 0.3, 20)
    assert parts.trend[64].dtype == parts.noise[64].dtype == dtype
