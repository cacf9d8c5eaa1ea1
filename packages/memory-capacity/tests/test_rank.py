"""The dimension of the reachable space, exactly and numerically."""

from fractions import Fraction

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.memory_capacity._rank import pbh_margin, reachability, reachable_rank


def rational_rank(A, C):
    """Rank of [C, ..., A^{N-1}C] by elimination over the rationals."""
    neurons = len(C)
    A = [[Fraction(float(x)) for x in row] for row in A]
    columns, x = [], [Fraction(float(c)) for c in C]
    for _ in range(neurons):
        columns.append(x)
        x = [sum(a * b for a, b in zip(row, x)) for row in A]
    rank = 0
    for i in range(neurons):
        pivot = next((k for k in range(rank, len(columns)) if columns[k][i]), None)
        if pivot is None:
            continue
        columns[rank], columns[pivot] = columns[pivot], columns[rank]
        for k in range(rank + 1, len(columns)):
            factor = columns[k][i] / columns[rank][i]
            columns[k] = [a - factor * b for a, b in zip(columns[k], columns[rank])]
        rank += 1
    return rank


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.6), st.integers(1, 7))
def test_exact_rank_equals_elimination_over_the_rationals(seed, density, neurons):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((neurons, neurons)) * (rng.random((neurons, neurons)) < density)
    C = rng.standard_normal(neurons) * (rng.random(neurons) < 0.7)
    assert reachable_rank(A, C, "exact") == rational_rank(A, C)


def test_exact_rank_of_extreme_floats():
    tiny = np.array([[2.0**-1060, 0.0], [0.0, -(2.0**-1061)]])  # subnormal squares underflow in floating point
    assert reachable_rank(tiny, np.ones(2)) == 2
    assert reachable_rank(tiny, np.array([1.0, 0.0])) == 1
    assert reachable_rank(np.array([[1e300, 1.0], [0.0, -3e-300]]), np.array([0.0, 1.0])) == 2


def test_exact_rank_of_a_large_structured_network():
    # Two copies of one block: half the neurons, however large; and period 4 on a cycle of 256.
    rng = np.random.default_rng(0)
    block, C = rng.standard_normal((60, 60)), rng.standard_normal(60)
    assert reachable_rank(np.kron(np.eye(2), block), np.tile(C, 2)) == 60
    cycle = 0.9 * np.roll(np.eye(256), 1, axis=0)
    assert reachable_rank(cycle, np.tile(rng.standard_normal(4), 64)) == 4


def test_what_the_three_methods_count():
    # Rotated Jordan block: of full rank, and numerically not.
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((20, 20)))[0]
    A = Q @ (0.4 * np.eye(20) + 0.5 * np.eye(20, k=1)) @ Q.T
    C = Q @ np.eye(20)[-1]
    assert reachable_rank(A, C, "exact") == 20
    # Structural dependence, found by all.
    A = np.diag([0.5, 0.5, 0.3, 0.1])
    for method in ("exact", "numerical", "svd"):
        assert reachable_rank(A, np.ones(4), method) == 3
        assert reachable_rank(A, np.zeros(4), method) == 0
    # Krylov squeezing: singular values give up long before N.
    A = np.diag(np.linspace(-0.9, 0.9, 40))
    assert reachable_rank(A, np.ones(40), "exact") == 40
    assert reachable_rank(A, np.ones(40), "numerical") == 40
    assert reachable_rank(A, np.ones(40), "svd") < 35


def test_sparse_reservoirs_are_often_deficient():
    rng = np.random.default_rng(2)
    ranks = []
    for _ in range(20):
        A = rng.standard_normal((20, 20)) * (rng.random((20, 20)) < 0.1)
        ranks.append(reachable_rank(A, rng.standard_normal(20)))
    assert np.mean(np.asarray(ranks) < 20) > 0.5


def test_numerical_rank_inside_jit():
    A = np.diag([0.5, 0.5, 0.3, 0.1])
    assert jax.jit(lambda A: reachable_rank(A, np.ones(4), "numerical"))(A) == 3
    assert jax.jit(lambda A: reachable_rank(A, np.ones(4), "svd"))(A) == 3


def test_pbh_margin():
    A = np.diag([0.5, 0.3])
    assert pbh_margin(A, np.array([1.0, 0.0])) == pytest.approx(0, abs=1e-15)
    # For λ = 0.3 the smallest singular value is that of [[0.2, 1], [0, ε]]: 0.2 ε / sqrt(1 + 0.2²).
    assert pbh_margin(A, np.array([1.0, 1e-6])) == pytest.approx(0.2e-6 / np.sqrt(1.04), rel=1e-6)
    assert pbh_margin(np.zeros((1, 1)), np.array([0.25])) == pytest.approx(0.25)


def test_reachability_tells_a_network_that_only_rounding_made_full_from_a_healthy_one():
    healthy = reachability(np.diag([0.9, 0.5, -0.3]), np.ones(3))
    assert (healthy.exact_rank, healthy.numerical_rank) == (3, 3)
    assert healthy.pbh_margin > 0.1
    assert healthy.min_subdiagonal > 0.1
    assert healthy.krylov_condition < 100

    deficient = np.diag([0.9, 0.5, 0.5])  # a repeated eigenvalue: one input reaches two directions
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    exact = reachability(deficient, np.ones(3))
    assert (exact.exact_rank, exact.numerical_rank, exact.pbh_margin) == (2, 2, pytest.approx(0, abs=1e-15))
    rounded = reachability(rotation @ deficient @ rotation.T, rotation @ np.ones(3))
    assert (rounded.exact_rank, rounded.numerical_rank) == (3, 2)
    assert rounded.pbh_margin < 1e-14
    assert rounded.min_subdiagonal < 1e-14
    assert rounded.krylov_condition > 1e12


def test_reachability_of_the_smallest_networks():
    assert reachability(np.eye(1) / 2, np.ones(1)).min_subdiagonal == np.inf
    silent = reachability(np.diag([0.5, 0.2]), np.zeros(2))
    assert (silent.exact_rank, silent.krylov_condition) == (0, np.inf)
