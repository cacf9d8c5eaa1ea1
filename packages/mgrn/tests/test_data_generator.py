"""The published data sets, regenerated: every stage against stored numbers of the study (golden/README.md)."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.mgrn import data
from offprint.mgrn.data import MatlabStream
from offprint.mgrn.data._published import draw_pairs


@pytest.fixture(scope="module")
def stored(golden):
    return golden("simulation_generator")


@pytest.fixture(scope="module")
def pairs():
    return list(data.matlab_pairs())


def test_words(stored):
    stream = MatlabStream(1)
    np.testing.assert_array_equal(stream.words(64), stored["mt_words_seed1"])
    assert stream.words_used == 64


def test_rand(stored):
    np.testing.assert_array_equal(MatlabStream(1).rand(16), stored["rand_seed1"])


def test_ziggurat_edges(stored):
    np.testing.assert_allclose(data.ziggurat_edges(), stored["ziggurat_x"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", [1, 5489])
def test_randn(stored, seed):
    np.testing.assert_allclose(MatlabStream(seed).randn(5000), stored[f"randn_seed{seed}"], rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_randn_in_pieces_is_randn_at_once(seed, sizes):
    stream, whole = MatlabStream(seed), MatlabStream(seed)
    np.testing.assert_array_equal(np.concatenate([stream.randn(size) for size in sizes]), whole.randn(sum(sizes)))
    # The next words agree: pieces leave nothing behind and take nothing ahead.
    assert stream.words_used == whole.words_used
    np.testing.assert_array_equal(stream.words(10), whole.words(10))


def test_randn_is_standard_normal():
    """4e6 draws across several blocks: tails, wedges and the strips between them."""
    x = MatlabStream(3).randn(4_000_000)
    assert abs(x.mean()) < 4 / 2000
    assert abs(x.var() - 1) < 4 * (2 / 4e6) ** 0.5
    for edge, share in ((1.0, 0.15865525), (2.0, 0.02275013), (3.654152885361009, 0.00012902)):
        for side in (x > edge, x < -edge):
            assert abs(side.mean() - share) < 4 * (share / 4e6) ** 0.5


def test_pairs_and_the_words_they_take(stored):
    stream = MatlabStream(1)
    drawn = draw_pairs(stream)
    np.testing.assert_array_equal(drawn, stored["pair_index"])
    assert stream.words_used == stored["mt_words_used_before_first_pair"] == 90
    assert tuple(map(tuple, drawn + 1)) == data.PAIRS


def test_words_used_after_every_pair(stored):
    stream = MatlabStream(1)
    stream.words(90)
    used = []
    for _ in range(10):
        for _ in range(17):
            stream.randn(100_100)
        used.append(stream.words_used)
    np.testing.assert_array_equal(used, stored["mt_words_used_after_pair"])


def test_rows(pairs, stored):
    assert len(pairs) == 10
    for pair, first, last in zip(pairs, stored["rows_first6"], stored["rows_last3"], strict=True):
        assert pair.series.shape == (100_000, 16)
        assert pair.series.dtype == np.float64
        np.testing.assert_allclose(pair.series[:6], first, rtol=1e-11)
        np.testing.assert_allclose(pair.series[-3:], last, rtol=1e-11)


def test_moments_of_the_training_rows(pairs, stored):
    for pair, mean, std in zip(pairs, stored["train_mean"], stored["train_std"], strict=True):
        fitted = data.Standardizer.fit(pair.series[:70_000])
        np.testing.assert_allclose(fitted.mean, mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fitted.std, std, rtol=1e-9)


def test_all_twenty_published_minima(pairs, stored):
    split = data.published_split()
    found = [[data.theoretical_mse(pair, 5, part) for part in (split.validation, split.test)] for pair in pairs]
    np.testing.assert_allclose(found, stored["official_theoretical_min_mse"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(data.PUBLISHED_MINIMUM, found, atol=6e-5)


def test_one_published_pair(pairs):
    np.testing.assert_array_equal(data.published_pair(2).series, pairs[1].series)
    assert pairs[0].columns == data.COLUMNS
    np.testing.assert_allclose(pairs[0].target, 100 * pairs[0].series[:, 0] * pairs[0].series[:, 1], rtol=1e-15)


def test_moments_in_closed_form(stored):
    for phi, q, v1, v1_quadrature, v2, v2_quadrature in stored["moment_check"]:
        np.testing.assert_allclose(data.first_moment(phi, q), [v1, v1_quadrature], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(data.second_moment(phi, q), [v2, v2_quadrature], rtol=1e-9)


@pytest.mark.parametrize(("phi", "q"), list(itertools.product([-0.4, 0.0, 1.2], [0.01, 0.3])))
def test_moments_against_quadrature(phi, q):
    """E over log u at given w is exp(phi w + q w²/2); what is left is a Gaussian integral over w."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    inner = weights / weights.sum() * np.exp(phi * nodes + q * nodes**2 / 2)
    np.testing.assert_allclose(data.first_moment(phi, q), inner @ nodes, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data.second_moment(phi, q), inner @ nodes**2, rtol=1e-9)
