"""Conjugate gradients: right, stopped in time, each system for itself, differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp._pcg import pcg

SIZE = 12


def matrix(seed, spread=3.0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    return jnp.asarray(Q * np.logspace(-spread, 0, SIZE) @ Q.T)


@jax.jit
def solved(A, b, tol, x0):
    return pcg(lambda x: (A @ x[..., None])[..., 0], b, lambda z: z / jnp.diagonal(A, axis1=-2, axis2=-1), tol, 60, x0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-10, -2))
def test_it_solves_to_its_tolerance(seed, digits):
    A, b = matrix(seed), jnp.asarray(np.random.default_rng(seed + 1).normal(size=SIZE))
    result = solved(A, b, 10.0**digits, jnp.zeros(SIZE))
    assert result.converged
    assert jnp.linalg.norm(A @ result.x - b) <= 1.01 * 10.0**digits * jnp.linalg.norm(b) + 1e-12
    history = result.residuals[: result.iters]
    assert history[-1] == result.residual <= 10.0**digits
    assert (history[:-1] > 10.0**digits).all()
    assert jnp.isnan(result.residuals[result.iters :]).all()


def test_systems_of_a_batch_stop_one_by_one():
    A = jnp.stack([matrix(0), matrix(1, 1.0), matrix(2)])
    b = jnp.asarray(np.random.default_rng(0).normal(size=(3, SIZE))).at[2].set(0.0)
    together = solved(A, b, 1e-8, jnp.zeros((3, SIZE)))
    for i in range(3):
        alone = solved(A[i], b[i], 1e-8, jnp.zeros(SIZE))
        np.testing.assert_allclose(together.x[i], alone.x, rtol=1e-9, atol=1e-12)
        assert together.iters[i] == alone.iters
        np.testing.assert_allclose(together.residuals[:, i], alone.residuals, rtol=1e-4)
    assert together.iters[1] < together.iters[0]
    assert together.iters[2] == 0
    assert (together.x[2] == 0).all()
    assert together.converged.all()


def test_a_good_guess_saves_iterations_whatever_the_length_of_b():
    A, b = matrix(3), 1e6 * jnp.asarray(np.random.default_rng(3).normal(size=SIZE))
    exact = jnp.linalg.solve(A, b)
    assert solved(A, b, 1e-6, exact).iters == 0
    near = solved(A, b, 1e-6, exact * (1 + 1e-4))
    assert 0 < near.iters < solved(A, b, 1e-6, jnp.zeros(SIZE)).iters


def test_too_few_iterations_are_told():
    A, b = matrix(4), jnp.ones(SIZE)
    result = pcg(lambda x: A @ x, b, tol=1e-12, maxiter=3)
    assert not result.converged
    assert result.iters == 3
    assert result.residuals.shape == (3,)


def test_an_indefinite_matrix_is_given_up():
    A = jnp.diag(jnp.asarray([1.0, 2.0, -1.0]))
    result = pcg(lambda x: A @ x, jnp.asarray([0.0, 1.0, 2.0]), tol=1e-10, maxiter=50)
    assert not result.converged
    assert jnp.isfinite(result.x).all()


def test_not_a_number_ends_the_iteration():
    result = pcg(lambda x: x * jnp.nan, jnp.ones(3), maxiter=50)
    assert result.iters == 0
    assert not result.converged


def test_gradients_are_those_of_the_solution():
    A, b = matrix(5, 1.0), jnp.asarray(np.random.default_rng(5).normal(size=SIZE))
    D = matrix(6)

    def by_pcg(s, b):
        return jnp.sum(pcg(lambda x: (A + s * D) @ x, b, tol=1e-13, maxiter=100).x ** 3)

    def by_factor(s, b):
        return jnp.sum(jnp.linalg.solve(A + s * D, b) ** 3)

    for found, wanted in zip(jax.grad(by_pcg, (0, 1))(0.3, b), jax.grad(by_factor, (0, 1))(0.3, b)):
        np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_vmapped_is_one_by_one():
    A, b = jnp.stack([matrix(0), matrix(1)]), jnp.ones((2, SIZE))
    together = jax.vmap(lambda A, b: solved(A, b, 1e-8, jnp.zeros(SIZE)))(A, b)
    for i in range(2):
        np.testing.assert_allclose(together.x[i], solved(A[i], b[i], 1e-8, jnp.zeros(SIZE)).x, rtol=1e-8)


def test_no_iteration_at_all_is_refused():
    with pytest.raises(ValueError, match="maxiter=0"):
        pcg(lambda x: x, jnp.ones(3), maxiter=0)
