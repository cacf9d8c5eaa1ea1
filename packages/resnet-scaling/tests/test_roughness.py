"""Roughness of one sequence of layers."""

import jax
import numpy as np
import pytest

from offprint.resnet_scaling import (
    critical_p,
    hurst_exponent,
    increment_ratio,
    p_variation,
    roughness,
    spectrum,
    weights,
)

L, SHAPE = 1024, (4, 4)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def sequences():
    drawn = {
        "smooth": weights.smooth(KEY, L, SHAPE),
        "brownian": weights.brownian(KEY, L, SHAPE),
        **{hurst: weights.fbm_increments(KEY, L, SHAPE, hurst=hurst) for hurst in (0.2, 0.8)},
    }
    return {name: np.asarray(sequence) for name, sequence in drawn.items()}


@pytest.mark.parametrize(("name", "hurst"), [("smooth", 1.0), ("brownian", 0.5), (0.2, 0.2), (0.8, 0.8)])
def test_hurst_exponent_and_critical_p(name, hurst, sequences):
    np.testing.assert_allclose(hurst_exponent(sequences[name]).slope, hurst, atol=0.05)
    np.testing.assert_allclose(1 / critical_p(sequences[name]), hurst, atol=0.06)


def test_p_variation_by_definition():
    A = np.random.default_rng(0).normal(size=(10, 2))
    blocks = [A[0:3].sum(axis=0), A[3:6].sum(axis=0), A[6:9].sum(axis=0)]
    expected = sum(np.linalg.norm(block) ** 1.5 for block in blocks)
    np.testing.assert_allclose(p_variation(A, 1.5, blocks=3), expected)
    np.testing.assert_allclose(p_variation(A, 2), np.sum(A**2))


def test_quadratic_variation_of_brownian_weights_is_their_variance(sequences):
    for blocks in (64, 256, 1024):
        found = p_variation(sequences["brownian"], 2, blocks=blocks)
        np.testing.assert_allclose(found, 16, rtol=5 * np.sqrt(2 / (16 * blocks)))


def test_increment_ratio_of_known_sequences():
    alternating = np.resize([1.0, -1.0], (100, 1))
    np.testing.assert_allclose(increment_ratio(alternating), 2)
    line = np.arange(100.0)[:, None]
    np.testing.assert_allclose(increment_ratio(line), 6 / (100**2 - 1))


def test_power_adds_up_to_the_variance():
    A = np.random.default_rng(0).normal(size=(101, 3))
    frequencies, power = spectrum(A)
    np.testing.assert_allclose(frequencies, np.arange(1, 51) / 101)
    np.testing.assert_allclose(2 * power.sum(), np.sum((A - A.mean(axis=0)) ** 2) / 3, rtol=1e-10)


def test_smooth_power_is_at_the_low_end(sequences):
    shares = {name: np.asarray(spectrum(sequences[name])[1]) for name in ("smooth", "brownian")}
    assert shares["smooth"][:10].sum() > 0.95 * shares["smooth"].sum()
    np.testing.assert_allclose(shares["brownian"].reshape(4, -1).mean(axis=1), 1 / L, rtol=0.15)


def test_verdicts(sequences):
    assert roughness(sequences["smooth"]).verdict == "smooth"
    assert roughness(sequences["brownian"]).verdict == "rough"
    assert roughness(sequences[0.8]).verdict == "between"
    short = roughness(sequences["brownian"][:12])
    assert short.verdict == "rough"
    assert short.hurst is None
    assert np.isnan(short.critical_p)
    assert "unknown (fewer than 32 layers)" in str(short)


def test_multipliers_can_be_taken_out(sequences):
    scaled = sequences["smooth"] * np.random.default_rng(0).choice([0.1, 1, 10], (L, 1, 1))
    assert roughness(scaled).verdict != "smooth"
    assert roughness(scaled, normalise=True).verdict == "smooth"


def test_a_layer_that_dominates_is_seen():
    A = np.random.default_rng(0).normal(size=(40, 3, 3))
    A[7] *= 30
    report = roughness(A)
    assert report.largest_share > 0.9
    assert report.participation < 0.05
    np.testing.assert_allclose(report.largest_share, np.sum(A[7] ** 2) / np.sum(A**2))


def test_a_few_active_layers_have_no_critical_p():
    assert np.isnan(critical_p(weights.sparse(KEY, 512, (3, 3))))
