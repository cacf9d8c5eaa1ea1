"""Statistics of one sequence: against the definitions, layer by layer."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.resnet_scaling import scaling_statistics, weights
from offprint.resnet_scaling._statistics import STATISTICS


def detrended(A):
    """The definition, of O(L²)."""
    L = len(A)
    W = np.concatenate([np.zeros((1, *A.shape[1:])), np.cumsum(A, axis=0)])
    if L < 10:
        return max(np.linalg.norm(W[k] - k / L * W[L]) for k in range(1, L + 1))
    w = max(3, L // 10)

    def mean(k):
        if k < w:
            return W[: 2 * k].mean(axis=0)
        return W[k - w : k + w].mean(axis=0) if k < L - w else W[2 * k - L : L].mean(axis=0)

    return max(np.linalg.norm(W[k] - mean(k)) for k in range(1, L))


def by_definition(A, factor=0.0, norm=np.linalg.norm):
    L = len(A)
    norms = np.array([norm(layer) for layer in A])
    steps = np.array([norm(after - before) for before, after in pairwise(A)])
    return {
        "max_norm": norms.max(),
        "scaled_increment": L**factor * steps.max(),
        "root_sum_squares": np.sqrt(np.sum(norms**2)),
        "rms": np.sqrt(np.mean(norms**2)),
        "cumsum_norm": norm(A.sum(axis=0)),
        "sum_sq_increments": np.sum(steps**2),
        "sqrt_sobolev": np.sqrt(L * np.sum(steps**2)),
        "participation": np.sum(norms**2) ** 2 / (L * np.sum(norms**4)),
    }


@pytest.mark.parametrize("depth", [2, 9, 10, 31, 100])
def test_definitions(depth):
    A = np.random.default_rng(depth).normal(size=(depth, 3, 2)) + 1
    found = scaling_statistics(A, factor=0.4)
    assert set(found) == set(STATISTICS)
    for name, value in by_definition(A, 0.4).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(found["detrended_cumsum"], detrended(A), rtol=1e-12)


def test_norms_of_choice():
    A = np.random.default_rng(0).normal(size=(12, 3, 4))
    spectral = scaling_statistics(A, norm="spectral")
    for name, value in by_definition(A, norm=lambda layer: np.linalg.norm(layer, 2)).items():
        np.testing.assert_allclose(spectral[name], value, rtol=1e-12, err_msg=name)
    largest = scaling_statistics(A, norm=lambda layer: jnp.max(jnp.abs(layer)))
    np.testing.assert_allclose(largest["max_norm"], np.abs(A).max())


def test_multipliers_enter_by_their_size():
    rng = np.random.default_rng(0)
    A, delta = rng.normal(size=(12, 3, 4)), rng.normal(size=12)
    expected = scaling_statistics(np.abs(delta)[:, None, None] * A)
    for name, value in scaling_statistics(A, delta=delta).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12)


def test_jit_and_vmap_equal_plain():
    A = np.random.default_rng(0).normal(size=(4, 31, 3, 2))
    plain = [scaling_statistics(one) for one in A]
    for program in (jax.jit(jax.vmap(scaling_statistics)), lambda stack: jax.vmap(jax.jit(scaling_statistics))(stack)):
        for name, values in program(A).items():
            np.testing.assert_allclose(values, [one[name] for one in plain], rtol=1e-12)


def test_single_precision_keeps_its_digits():
    """At depth 3000 cumulated sums are thousands of times larger than what is left of them."""
    sequence = weights.smooth(jax.random.key(0), 3000, (2, 2)) + 3
    exact = scaling_statistics(sequence)
    single = scaling_statistics(sequence.astype(jnp.float32))
    for name in STATISTICS:
        assert single[name].dtype == jnp.float32
        # The increments of the rounded numbers are themselves off by 1e-7 / 1e-3.
        np.testing.assert_allclose(single[name], exact[name], rtol=2e-4, err_msg=name)


def test_one_layer_has_no_increments():
    with pytest.warns(UserWarning, match="a single layer has no increments: their statistics are NaN"):
        found = scaling_statistics(np.ones((1, 2, 2)))
    missing = {name for name, value in found.items() if np.isnan(value)}
    assert missing == {"scaled_increment", "sum_sq_increments", "sqrt_sobolev"}
    assert found["max_norm"] == 2


@settings(deadline=None, max_examples=10)
@given(st.floats(0.01, 100), st.integers(0, 2**16))
def test_homogeneity(scale, seed):
    A = np.random.default_rng(seed).normal(size=(12, 3, 4))
    before, after = scaling_statistics(A), scaling_statistics(scale * A)
    powers = {"sum_sq_increments": 2, "participation": 0}
    for name in STATISTICS:
        np.testing.assert_allclose(after[name], scale ** powers.get(name, 1) * before[name], rtol=1e-9)


def test_reversal_changes_no_norm():
    A = np.random.default_rng(1).normal(size=(31, 3, 2))
    before, after = scaling_statistics(A), scaling_statistics(A[::-1].copy())
    for name in set(STATISTICS) - {"detrended_cumsum"}:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-12)
