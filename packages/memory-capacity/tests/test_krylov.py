"""Krylov bases and Gramians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity._gramian import gramian
from offprint.memory_capacity._krylov import arnoldi, krylov_distances, krylov_matrix


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((12, 12))
    return A * 0.9 / np.abs(np.linalg.eigvals(A)).max(), rng.standard_normal(12)


def test_krylov_matrix(network):
    A, C = network
    expected = np.stack([np.linalg.matrix_power(A, j) @ C for j in range(5)], axis=1)
    np.testing.assert_allclose(krylov_matrix(A, C, 5), expected, rtol=0, atol=1e-13)
    assert krylov_matrix(A, C, 0).shape == (12, 0)


def test_arnoldi_relation(network):
    A, C = network
    Q, H, rank = arnoldi(A, C)
    np.testing.assert_allclose(Q.T @ Q, np.eye(12), rtol=0, atol=1e-14)
    np.testing.assert_allclose(A @ Q, Q @ H, rtol=0, atol=1e-13)
    np.testing.assert_allclose(Q[:, 0], C / np.linalg.norm(C), rtol=0, atol=1e-15)
    assert np.all(np.tril(H, -2) == 0)
    assert rank == 12
    part = arnoldi(A, C, 5)
    np.testing.assert_allclose(part.H, H[:5, :5], rtol=0, atol=1e-13)


def test_arnoldi_beyond_n_and_at_breakdown(network):
    A, C = network
    longer = arnoldi(A, C, 20)
    np.testing.assert_array_equal(longer.Q[:, 12:], 0)
    assert longer.rank == 12
    broken = arnoldi(0.5 * np.eye(12), C)
    assert broken.rank == 1
    assert np.isfinite(broken.Q).all()
    assert np.isfinite(broken.H).all()
    nothing = arnoldi(A, np.zeros(12))
    assert nothing.rank == 0
    assert not np.any(nothing.Q)


def test_arnoldi_without_reorthogonalisation_is_modified_gram_schmidt(network):
    A, C = network
    plain = arnoldi(A, C, reorthogonalise=False)
    full = arnoldi(A, C)
    np.testing.assert_allclose(plain.Q, full.Q, rtol=0, atol=1e-8)


def test_arnoldi_derivative_at_breakdown_is_finite():
    gradient = jax.grad(lambda A: jnp.sum(arnoldi(A, jnp.ones(4)).H))(0.5 * jnp.eye(4))
    assert np.isfinite(gradient).all()


def test_distances_are_least_squares_residuals(network):
    A, C = network
    K = np.asarray(krylov_matrix(A, C, 8))
    residuals = [np.linalg.norm(C)]
    for j in range(1, 8):
        residuals.append(np.linalg.norm(K[:, j] - K[:, :j] @ np.linalg.lstsq(K[:, :j], K[:, j])[0]))
    distances = krylov_distances(A, C, 8)
    np.testing.assert_allclose(distances.arnoldi, residuals, rtol=1e-9)
    np.testing.assert_allclose(distances.svd, residuals, rtol=1e-9)
    sizes = np.sort(np.abs(np.linalg.eigvals(A)))[::-1]
    products = np.linalg.norm(C) * np.cumprod(np.concatenate([[1], sizes[:7]]))
    np.testing.assert_allclose(distances.eigenvalues, products, rtol=1e-12)


def test_gramian_solves_its_equation(network):
    A, C = network
    for method in ("doubling", "lyapunov"):
        gamma = gramian(A, C, method)
        np.testing.assert_allclose(A @ gamma @ A.T + np.outer(C, C), gamma, rtol=0, atol=1e-12)
    np.testing.assert_allclose(jax.jit(gramian)(A, C), gamma, rtol=1e-11, atol=0)


def test_gramian_derivative(network):
    A, C = network
    rng = np.random.default_rng(1)
    direction, weight = rng.standard_normal((2, 12, 12))

    def total(A):
        return jnp.sum(weight * gramian(A, C))

    step = 1e-6
    expected = (total(A + step * direction) - total(A - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.sum(jax.grad(total)(jnp.asarray(A)) * direction), expected, rtol=1e-6)
