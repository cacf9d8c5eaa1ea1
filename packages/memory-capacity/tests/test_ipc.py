"""Information processing capacity: targets, identities, batching, binary inputs."""

from itertools import combinations, combinations_with_replacement

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.memory_capacity import mask, reservoir
from offprint.memory_capacity import polynomials as polynomials
from offprint.memory_capacity._empirical import empirical_memory_curve
from offprint.memory_capacity._ipc import information_processing_capacity
from offprint.memory_capacity._simulate import simulate
from offprint.memory_capacity._targets import count_targets, factors, stretches, target_delays

KEY = jax.random.key(4)
N, T = 5, 2000
A, C = reservoir.orthogonal(KEY, N, rho=0.6), mask.normal(KEY, N)
z = jax.random.uniform(jax.random.key(9), (T + 100,), minval=-1, maxval=1)
X = simulate(A, C, z, washout=100)
z = z[100:]
PAIRS = [(1, 20), (2, 5), (3, 3)]


@pytest.fixture(scope="module")
def plain():
    return information_processing_capacity(X, z, PAIRS, washout=20)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_targets_are_the_multisets_in_colexicographic_order(degree):
    expected = sorted(combinations_with_replacement(range(6), degree), key=lambda delays: delays[::-1])
    assert count_targets(degree, 5) == len(expected)
    np.testing.assert_array_equal(target_delays(degree, 5, 0, len(expected)), expected)
    np.testing.assert_array_equal(target_delays(degree, 5, 3, 5), expected[3:5])
    distinct = sorted(combinations(range(6), degree), key=lambda delays: delays[::-1])
    assert count_targets(degree, 5, 1) == len(distinct)
    np.testing.assert_array_equal(target_delays(degree, 5, 0, len(distinct), 1), distinct)


def test_powers_are_multiplicities():
    delays = np.array([[0, 0, 3], [1, 2, 2], [4, 4, 4], [0, 1, 2]])
    np.testing.assert_array_equal(factors(delays), [[2, 0, 1], [1, 2, 0], [3, 0, 0], [1, 1, 1]])
    capped = np.concatenate([powers for powers, _ in stretches(3, 4, 7, 2)])
    assert capped.max() == 2
    assert len(capped) == count_targets(3, 4) - 5  # less the five cubes


def test_the_peers_largest_example_is_counted():
    pairs = [(1, 2000), (2, 300), (3, 50), (4, 30), (5, 15)]
    assert sum(count_targets(d, D) for d, D in pairs) == 132_758


def test_capacities_are_regressions(plain):
    table = np.asarray(polynomials.legendre().table(z, 3))
    states = np.asarray(X[20:] - X[20:].mean(axis=0))
    for i in (0, 13, 22, 30, 45, 60):
        y = np.ones(T - 20)
        for power, delay in zip(plain.powers[i], plain.delays[i]):
            y = y * table[power, 20 - delay : T - delay]
        residual = y - states @ np.linalg.lstsq(states, y, rcond=None)[0]
        np.testing.assert_allclose(plain.values[i], 1 - np.sum(residual**2) / np.sum(y**2), atol=1e-12)


def test_sums(plain):
    counted = np.where(plain.significant, plain.values, 0)
    np.testing.assert_allclose(plain.total, counted.sum())
    np.testing.assert_allclose(plain.by_degree.sum(), plain.total)
    np.testing.assert_allclose(plain.by_delay.sum(), plain.total)
    np.testing.assert_allclose(plain.second_order.sum(), plain.by_degree[1])
    np.testing.assert_array_equal(np.tril(plain.second_order, -1), 0)
    # An odd network has no even capacity, and no network has more than its rank.
    assert plain.by_degree[1] == 0
    assert 0.9 * N < plain.total <= N
    assert int(plain.rank) == N


def test_degree_one_is_the_memory_curve(plain):
    memory = empirical_memory_curve(X, z, 21, estimator="insample", washout=20)
    np.testing.assert_allclose(plain.values[:21], memory.values, rtol=2e-3)


def test_tiles_and_chunks_change_nothing(plain):
    small = information_processing_capacity(X, z, PAIRS, washout=20, batch=7, time_chunk=300)
    np.testing.assert_allclose(small.values, plain.values, atol=1e-13)
    np.testing.assert_array_equal(small.delays, plain.delays)
    single = information_processing_capacity(
        X.astype(jnp.float32), z.astype(jnp.float32), PAIRS, washout=20, time_chunk=300
    )
    assert single.values.dtype == jnp.float32
    np.testing.assert_allclose(single.values, plain.values, atol=2e-5)


def test_jit_and_vmap(plain):
    def capacities(states):
        result = information_processing_capacity(states, z, PAIRS, washout=20)
        return result.values, result.total

    values, totals = jax.jit(jax.vmap(capacities))(jnp.stack([X, X * 3]))
    np.testing.assert_allclose(values, jnp.stack([plain.values] * 2), atol=1e-12)
    np.testing.assert_allclose(totals, [plain.total] * 2)


def test_surrogate_thresholds_are_near_the_beta_law(plain):
    beta = information_processing_capacity(X, z, PAIRS, washout=20, p=0.02)
    shuffled = information_processing_capacity(
        X, z, PAIRS, washout=20, p=0.02, null="surrogate", n_surrogates=40, key=KEY
    )
    np.testing.assert_allclose(shuffled.threshold, beta.threshold, rtol=0.3)


def test_binary_inputs_have_square_free_targets():
    signs = jax.random.rademacher(KEY, (T,), float)
    # States that are one product of inputs, and the input itself.
    product = signs * jnp.roll(signs, 2)
    states = jnp.stack([signs, product], axis=1)
    for basis in ("binary", "empirical"):
        result = information_processing_capacity(states, signs, [(1, 4), (2, 4)], basis=basis)
        assert len(result.values) == 5 + 10
        assert result.powers.max() == 1
        np.testing.assert_allclose(result.by_degree, [1, 1], atol=0.02)
        np.testing.assert_allclose(result.second_order[0, 2], 1, atol=0.01)


def test_square_of_an_input_is_one_second_order_capacity():
    states = jnp.stack([jnp.roll(z, 3) ** 2, z], axis=1)
    result = information_processing_capacity(states[10:], z[10:], [(1, 6), (2, 6)])
    np.testing.assert_allclose(result.second_order[3, 3], 1, atol=0.01)
    np.testing.assert_allclose(result.by_degree, [1, 1], atol=0.02)


def test_gaussian_inputs_on_uniform_polynomials_warn():
    normal = jax.random.normal(KEY, (T,))
    with pytest.warns(UserWarning, match="legendre polynomials are not orthonormal on these inputs"):
        information_processing_capacity(simulate(A, C, normal, washout=0), normal, [(1, 9), (2, 3)])
