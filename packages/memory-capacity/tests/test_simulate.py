"""States: the recursion, its parallel forms, leak, bias, start, transformations, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity import mask, reservoir
from offprint.memory_capacity._kernel_rank import generalization_rank, kernel_rank
from offprint.memory_capacity._simulate import simulate

N, T = 6, 130
KEY = jax.random.key(1)
A, C = reservoir.normal(KEY, N), mask.normal(KEY, N)
z = jax.random.normal(jax.random.key(2), (T,))
linear = {"activation": "identity", "leak": 0.7, "bias": np.arange(N) / 10, "x0": np.ones(N)}


def by_hand(A, C, z, f, leak=1.0, bias=0.0, x0=0.0):
    A, C, x = np.asarray(A), np.asarray(C).reshape(N, -1), np.zeros(N) + x0
    states = []
    for u in np.asarray(z).reshape(len(z), -1):
        x = (1 - leak) * x + leak * f(A @ x + C @ u + bias)
        states.append(x)
    return np.array(states)


def test_tanh_states_follow_the_recursion():
    expected = by_hand(A, C, z, np.tanh, 0.7, np.arange(N) / 10, 1.0)
    states = simulate(A, C, z, leak=0.7, bias=np.arange(N) / 10, x0=np.ones(N), washout=30)
    assert states.shape == (T - 30, N)
    np.testing.assert_allclose(states, expected[30:], atol=1e-14)


def test_own_activation():
    np.testing.assert_allclose(simulate(A, C, z, activation=jnp.sin, washout=0), by_hand(A, C, z, np.sin), atol=1e-13)


@pytest.mark.parametrize("method", ["scan", "associative", "eig", "chunked"])
def test_linear_methods_agree(method):
    expected = by_hand(A, C, z, lambda v: v, 0.7, np.arange(N) / 10, 1.0)
    states = simulate(A, C, z, method=method, washout=0, **linear)
    np.testing.assert_allclose(states, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["scan", "chunked", "associative"])
def test_lengths_that_fill_no_chunk_and_several_channels(method):
    wide = mask.normal(KEY, N, channels=2)
    for length in (1, 7):
        u = jax.random.normal(KEY, (length, 2))
        states = simulate(A, wide, u, method=method, activation="identity", washout=0)
        np.testing.assert_allclose(states, by_hand(A, wide, u, lambda v: v), atol=1e-13)


def test_defective_matrix_warns_in_the_eigenbasis():
    J = reservoir.jordan(None, N, rho=0.5)
    with pytest.warns(UserWarning, match="use method='chunked'"):
        simulate(J, C, z, activation="identity", method="eig")


@pytest.mark.parametrize("method", ["scan", "chunked"])
def test_vmap_equals_loop_and_float32_stays(method):
    matrices = jnp.stack([A, 0.5 * A])
    batch = jax.vmap(lambda M: simulate(M, C, z, activation="identity", method=method))(matrices)
    for M, states in zip(matrices, batch):
        np.testing.assert_allclose(states, simulate(M, C, z, activation="identity", method=method), atol=1e-13)
    single = [np.asarray(v, np.float32) for v in (A, C, z)]
    states = simulate(*single, activation="identity", method=method)
    assert states.dtype == jnp.float32
    np.testing.assert_allclose(states, batch[0], atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "method"), [("tanh", "scan"), ("identity", "chunked"), ("identity", "associative")]
)
def test_gradient_against_finite_differences(activation, method):
    def loss(M):
        return jnp.sum(simulate(M, C, z[:20], activation=activation, method=method, washout=5) ** 2)

    direction = jax.random.normal(KEY, (N, N))
    slope = jnp.vdot(jax.grad(loss)(A), direction)
    step = 1e-6
    difference = (loss(A + step * direction) - loss(A - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


def test_kernel_rank_counts_directions_that_inputs_reach():
    streams = jax.random.normal(KEY, (9, 40))
    assert int(kernel_rank(A, C, streams)) == N
    # A linear ring with a constant mask moves along one direction only.
    ring, ones = reservoir.cyclic(None, N), mask.ones(None, N)
    assert int(kernel_rank(ring, ones, streams, activation="identity")) == 1
    assert int(generalization_rank(A, C, streams[0], key=KEY, noise=1e-6)) == 1
    assert int(generalization_rank(A, C, streams[0], key=KEY, noise=1e-6, rank_tol=None)) == N
