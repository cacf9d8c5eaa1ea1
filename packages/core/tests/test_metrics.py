"""Metrics against scikit-learn and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.metrics import (
    accuracy,
    mean_interval,
    mean_squared_error,
    normalized_mean_squared_error,
    r2_score,
    roc_auc,
)

N = 40
RNG = np.random.default_rng(0)
PREDICTED, TARGET = RNG.normal(size=(2, N)).astype(np.float32)
LABELS = RNG.integers(0, 2, N)
WEIGHTS = RNG.uniform(0, 2, N).astype(np.float32) * (RNG.uniform(size=N) > 0.2)
WEIGHTINGS = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])


@WEIGHTINGS
def test_regression_metrics(weights: np.ndarray | None) -> None:
    arguments = jnp.asarray(PREDICTED), jnp.asarray(TARGET), None if weights is None else jnp.asarray(weights)
    pairs = [
        (mean_squared_error, sklearn.metrics.mean_squared_error),
        (r2_score, sklearn.metrics.r2_score),
    ]
    for ours, theirs in pairs:
        expected = theirs(TARGET, PREDICTED, sample_weight=weights)
        np.testing.assert_allclose(ours(*arguments), expected, rtol=1e-5)
        np.testing.assert_allclose(jax.jit(ours)(*arguments), expected, rtol=1e-5)
    np.testing.assert_allclose(normalized_mean_squared_error(*arguments), 1 - r2_score(*arguments), rtol=1e-6)


def test_mean_squared_error_of_several_outputs() -> None:
    predicted, target = PREDICTED.reshape(10, 2, 2), TARGET.reshape(10, 2, 2)
    expected = sklearn.metrics.mean_squared_error(
        target.reshape(10, 4), predicted.reshape(10, 4), sample_weight=WEIGHTS[:10]
    )
    ours = mean_squared_error(jnp.asarray(predicted), jnp.asarray(target), jnp.asarray(WEIGHTS[:10]))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_constant_targets_have_no_normalized_error() -> None:
    ones = jnp.ones(5)
    assert jnp.isnan(r2_score(ones, ones))
    assert normalized_mean_squared_error(ones + 1, ones) == jnp.inf


@WEIGHTINGS
def test_accuracy(weights: np.ndarray | None) -> None:
    predicted = RNG.integers(0, 2, N)
    expected = sklearn.metrics.accuracy_score(LABELS, predicted, sample_weight=weights)
    ours = accuracy(jnp.asarray(predicted), jnp.asarray(LABELS), None if weights is None else jnp.asarray(weights))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 30), st.booleans())
def test_roc_auc_with_ties_and_weights(seed: int, levels: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, N).astype(np.float32)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, N - 2)])
    weights = rng.uniform(0.1, 2, N).astype(np.float32) if weighted else None
    expected = sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights)
    ours = jax.jit(roc_auc)(jnp.asarray(scores), jnp.asarray(labels), weights)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_roc_auc_vmaps_and_ignores_weightless_examples() -> None:
    scores = jnp.asarray(RNG.normal(size=(3, N)), jnp.float32)
    labels = jnp.asarray(LABELS)
    np.testing.assert_allclose(
        jax.vmap(roc_auc, (0, None))(scores, labels), [roc_auc(one, labels) for one in scores], rtol=1e-6
    )
    padded = jnp.concatenate([scores[0], jnp.full(N, 99.0)])
    weights = jnp.concatenate([jnp.ones(N), jnp.zeros(N)])
    twice = jnp.concatenate([labels, labels])
    np.testing.assert_allclose(roc_auc(padded, twice, weights), roc_auc(scores[0], labels), rtol=1e-6)


def test_roc_auc_is_nan_where_it_is_not_defined() -> None:
    scores = jnp.arange(4.0)
    assert jnp.isnan(roc_auc(scores, jnp.ones(4, int)))
    assert jnp.isnan(roc_auc(scores.at[2].set(jnp.nan), jnp.array([0, 1, 0, 1])))


def test_mean_interval_is_student_s() -> None:
    values = RNG.normal(size=(7, 2)).astype(np.float32)
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    mean, low, high = jax.jit(mean_interval, static_argnums=1)(jnp.asarray(values), 0.9)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(low, expected.low, rtol=1e-4)
    np.testing.assert_allclose(high, expected.high, rtol=1e-4)


def test_mean_interval_rejects_what_has_none() -> None:
    with pytest.raises(ValueError, match="at least 2 repeats, got 1"):
        mean_interval(jnp.ones(1))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 95"):
        mean_interval(jnp.ones(3), 95.0)
