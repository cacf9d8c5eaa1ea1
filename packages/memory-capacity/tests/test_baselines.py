"""The estimators of the literature: what they are, where they are right, and how they fail."""

import warnings

import jax
import numpy as np
import pytest

from offprint.memory_capacity._curve import memory_curve
from offprint.memory_capacity._network import MeaningWarning
from offprint.memory_capacity._rank import reachable_rank


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((5, 5))
    return A * 0.8 / np.abs(np.linalg.eigvals(A)).max(), rng.standard_normal(5)


@pytest.mark.parametrize("method", ["naive", "gramian", "osm"])
def test_right_on_a_small_well_conditioned_network(small, method):
    A, C = small
    curve = memory_curve(A, C, 25, method=method, horizon=200)
    np.testing.assert_allclose(curve.values, memory_curve(A, C, 25).values, rtol=0, atol=1e-7)
    np.testing.assert_allclose(curve.total, 5, rtol=0, atol=1e-7)
    assert curve.rank == 5


def test_pseudoinverse_tolerance_is_matlabs(small):
    A, C = small
    # The cut stands at max(size) times the gap above the norm.
    X = np.stack([np.linalg.matrix_power(A, j) @ C for j in range(25)], axis=1)
    singular = np.linalg.svd(X, compute_uv=False)
    cut = 25 * np.spacing(singular[0])
    assert memory_curve(A, C, 25, method="naive").rank == np.sum(singular > cut)
    # A mask whose last direction is pushed below the cut loses exactly that direction.
    A = np.diag([0.5, 0.25])
    C = np.array([1.0, 1e-16])
    assert memory_curve(A, C, 10, method="naive").rank == 1
    assert memory_curve(A, C, 10, rank="exact").rank == 2


def test_arnoldi_gives_ones(small):
    A, C = small
    curve = memory_curve(A, C, 25, method="arnoldi")
    np.testing.assert_allclose(curve.values[:5], 1, rtol=0, atol=1e-12)
    assert not curve.values[5:].any()


def test_osm_counts_every_neuron_of_a_deficient_network():
    A, C = np.diag([0.5, 0.5, 0.3]), np.ones(3)
    with pytest.warns(MeaningWarning, match=r"numerical rank 2 < N = 3: the osm curve"):
        osm = memory_curve(A, C, 15, method="osm")
    np.testing.assert_allclose(osm.total, 3, rtol=0, atol=1e-12)
    assert memory_curve(A, C, 15).total == 2


def test_osm_total_on_sparse_reservoirs():
    rng = np.random.default_rng(1)
    deficient = 0
    for _ in range(10):
        A = rng.standard_normal((20, 20)) * (rng.random((20, 20)) < 0.1)
        A = 0.9 * A / max(np.abs(np.linalg.eigvals(A)).max(), 0.9)
        C = rng.standard_normal(20)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            osm = memory_curve(A, C, 0, method="osm")
        np.testing.assert_allclose(osm.total, 20, rtol=0, atol=1e-9)
        deficient += reachable_rank(A, C) < 20
    assert deficient > 5


def test_osm_plus_averages_over_masks(small):
    A, _ = small
    key = jax.random.key(0)
    averaged = memory_curve(A, None, 25, method="osm_plus", key=key, n_masks=5)
    curves = []
    for each in jax.random.split(key, 5):
        mask = jax.random.normal(each, (5,))
        curves.append(memory_curve(A, mask / np.linalg.norm(mask), 25, method="osm").values)
    np.testing.assert_allclose(averaged.values, np.mean(curves, axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(averaged.total, 5, rtol=0, atol=1e-12)


def test_baselines_under_jit_and_vmap(small):
    A, _ = small
    masks = np.random.default_rng(2).standard_normal((3, 5))
    for method in ("naive", "gramian"):
        together = jax.jit(jax.vmap(lambda c, method=method: memory_curve(A, c, 25, method=method)))(masks)
        alone = memory_curve(A, masks[1], 25, method=method)
        np.testing.assert_allclose(together.values[1], alone.values, rtol=0, atol=1e-8)


def test_lags_from_one(small):
    A, C = small
    whole = memory_curve(A, C, 25, method="naive")
    later = memory_curve(A, C, 24, method="naive", min_lag=1)
    np.testing.assert_allclose(later.values, whole.values[1:], rtol=0, atol=1e-14)
    np.testing.assert_allclose(later.total, whole.total - whole.values[0], rtol=1e-12)
