"""Memory of a tanh network against its input scale: the limits that the theory names."""

import jax
import numpy as np
import pytest

from offprint.memory_capacity import mask, reservoir
from offprint.memory_capacity._nonlinear import memory_vs_input_scale, script_input_scales

N = 10
KEY = jax.random.key(2)
A, C = reservoir.orthogonal(KEY, N, sigma_max=0.95), mask.normal(KEY, N)
signs = jax.random.rademacher(jax.random.key(3), (6000,), float)
sigmas = np.array([1e-3, 0.1, 1.0, 10.0, 1e3])


@pytest.fixture(scope="module")
def curves():
    return memory_vs_input_scale(A, C, sigmas, signs, washout=200, rank_tol=1e-10)


def test_a_small_input_sees_the_linear_network(curves):
    # Eigenvalues of modulus .95: |Blaschke product| gives MC = N less the tail beyond 2N lags.
    poles = np.linalg.eigvals(np.asarray(A))
    w = np.exp(2j * np.pi * np.arange(4096) / 4096)
    b = np.fft.fft(np.prod((w[:, None] - poles.conj()) / (1 - poles * w[:, None]), axis=1)) / 4096
    exact = 1 - np.cumsum(np.abs(b) ** 2)[: 2 * N]
    assert abs(curves.total[0] - exact.sum()) < 0.04 * exact.sum()


def test_memory_falls_to_one_as_the_input_saturates(curves):
    assert curves.values.shape == (5, 2 * N)
    assert int(curves.rank[-1]) == 1
    assert abs(curves.total[-1] - 1) <= 0.05
    assert curves.total[1] > curves.total[2] > curves.total[3] > curves.total[4]
    assert curves.total[1] > 0.8 * N
    assert curves.total[3] < 0.55 * N


def test_one_scale_is_one_of_many(curves):
    alone = memory_vs_input_scale(A, C, sigmas[2], signs, washout=200, rank_tol=1e-10)
    np.testing.assert_allclose(alone.values[0], curves.values[2], atol=1e-9)


def test_unit_normalisation_is_wrong_for_other_variances():
    small = 0.5 * signs[:1500]
    unit = memory_vs_input_scale(A, C, sigmas[1:2], small, washout=100, normalise="unit")
    right = memory_vs_input_scale(A, C, sigmas[1:2], small, washout=100)
    # The residual of a target of variance 1/4 is taken from 1.
    np.testing.assert_allclose(unit.values, 1 - (1 - right.values) / 4, atol=0.01)


def test_scales_of_the_script():
    scales = script_input_scales(A, C)
    weights = np.abs(np.asarray(C))
    assert scales.shape == (17,)
    np.testing.assert_allclose(scales[0], 0.4 * 0.05 / weights.max(), rtol=1e-9)
    np.testing.assert_allclose(scales[-1], (4 + N * np.abs(np.asarray(A)).max()) / weights.min(), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: memory_vs_input_scale(A, C, np.array([0.0]), signs), "vector of positive input scales"),
        (lambda: memory_vs_input_scale(A, C, sigmas, signs, normalise="other"), "normalise='other' is unknown"),
        (lambda: memory_vs_input_scale(A, C, sigmas, signs[:130], normalise="unit"), "more samples are needed"),
        (lambda: script_input_scales(2 * A, C), "A has largest singular value 1.9; below 1 is needed"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is checked below
        call()
    assert message in str(error.value)
