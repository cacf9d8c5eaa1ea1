"""Several input channels."""

import numpy as np
import pytest

from offprint.memory_capacity._curve import memory_curve
from offprint.memory_capacity._multi_input import multi_input_memory_curve


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 6))
    return A * 0.8 / np.abs(np.linalg.eigvals(A)).max(), rng.standard_normal((6, 2))


def test_equals_the_definition(network):
    A, C = network
    krylov = np.stack([np.linalg.matrix_power(A, j) @ C for j in range(300)])  # (lag, N, channel)
    gamma = np.einsum("tic,tjc->ij", krylov, krylov)
    direct = np.einsum("tic,ij,tjc->ct", krylov[:30], np.linalg.inv(gamma), krylov[:30])
    np.testing.assert_allclose(multi_input_memory_curve(A, C, 30), direct, rtol=0, atol=1e-10)


def test_total_is_the_rank(network):
    A, C = network
    np.testing.assert_allclose(multi_input_memory_curve(A, C, 300).sum(), 6, rtol=0, atol=1e-11)
    A, C = np.diag([0.5, 0.5, 0.5, 0.2]), np.array([[1.0, 0], [0, 1], [1, 1], [1, 2]])
    np.testing.assert_allclose(multi_input_memory_curve(A, C, 100).sum(), 3, rtol=0, atol=1e-11)


def test_one_channel_equals_the_single_input_curve(network):
    A, C = network
    curve = memory_curve(A, C[:, 0], 30).values
    np.testing.assert_allclose(multi_input_memory_curve(A, C[:, :1], 30)[0], curve, rtol=0, atol=1e-12)


def test_mixing_channels_by_a_rotation_keeps_each_lag(network):
    A, C = network
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    before, after = multi_input_memory_curve(A, C, 30), multi_input_memory_curve(A, C @ turn, 30)
    np.testing.assert_allclose(after.sum(axis=0), before.sum(axis=0), rtol=0, atol=1e-12)
    assert np.abs(after - before).max() > 0.01  # while the channels themselves do change


def test_neutrality_fails_with_two_channels(network):
    A, C = network
    other = np.random.default_rng(1).standard_normal((6, 2))
    difference = multi_input_memory_curve(A, C, 30).sum(axis=0) - multi_input_memory_curve(A, other, 30).sum(axis=0)
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_a_larger_network(seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((70, 70))
    A *= 0.9 / np.abs(np.linalg.eigvals(A)).max()
    curves = multi_input_memory_curve(A, rng.standard_normal((70, 2)), 500)
    np.testing.assert_allclose(curves.sum(), 70, rtol=0, atol=1e-10)
    assert np.all((curves > -1e-12) & (curves < 1 + 1e-12))


def test_edge_cases():
    curve = multi_input_memory_curve(np.array([[0.5]]), np.array([[1.0, 0.0]]), 3)
    np.testing.assert_allclose(curve, [[0.75, 0.1875, 0.046875], [0, 0, 0]], rtol=0, atol=1e-15)
    assert multi_input_memory_curve(np.array([[0.5]]), np.array([[1.0, 0.0]]), 0).shape == (2, 0)
