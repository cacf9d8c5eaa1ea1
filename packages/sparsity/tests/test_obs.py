"""The optimal brain surgeon on quadratic losses: predictions that are exact, a first choice that is the best."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity._obs import joint_removal, obd_prune, obs_prune, obs_saliency, wood_taylor

N = 10


def quadratic(seed):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(N, N))
    return root @ root.T / N + 0.1 * np.eye(N), generator.normal(size=N)


def loss(H, weights, w):
    return np.einsum("ki,ij,kj->k", weights - w, H, weights - w) / 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_step_costs_what_it_says(seed):
    H, w = quadratic(seed)
    removal = obs_prune(w, np.linalg.inv(H), N)
    np.testing.assert_allclose(np.cumsum(removal.dloss), loss(H, removal.weights, w), rtol=1e-8, atol=1e-10)
    assert sorted(removal.order.tolist()) == list(range(N))
    # A removed weight stays exactly zero, and what is left is the best there is on its support.
    for k, q in enumerate(removal.order):
        assert np.all(np.asarray(removal.weights)[k:, q] == 0)
    kept = np.setdiff1d(np.arange(N), removal.order[:4])
    best = np.linalg.solve(H[np.ix_(kept, kept)], H[kept] @ w)
    np.testing.assert_allclose(np.asarray(removal.weights)[3, kept], best, rtol=1e-7, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_first_removal_is_the_best_of_all(seed):
    H, w = quadratic(seed)
    costs = []
    for q in range(N):
        kept = np.delete(np.arange(N), q)
        trial = np.zeros(N)
        trial[kept] = np.linalg.solve(H[np.ix_(kept, kept)], H[kept] @ w)
        costs.append(loss(H, trial[None], w)[0])
    removal = obs_prune(w, np.linalg.inv(H), N)
    assert removal.order[0] == np.argmin(costs)
    np.testing.assert_allclose(obs_saliency(w, np.linalg.inv(H)), costs, rtol=1e-8, atol=1e-10)


def test_obs_loses_less_than_obd(golden):
    arrays = golden("obs_quadratic")
    surgeon = np.cumsum(obs_prune(arrays["w"], arrays["Hinv"], 7).dloss)
    damage = np.cumsum(obd_prune(arrays["w"], arrays["H"], 7).dloss)
    assert np.all(surgeon < damage)


def test_joint_removal_is_the_constrained_minimum():
    H, w = quadratic(3)
    remove = np.isin(np.arange(N), (1, 4, 5, 9))
    cost, delta = joint_removal(w, np.linalg.inv(H), remove)
    kept = np.flatnonzero(~remove)
    expected = np.where(remove, -w, 0.0)
    expected[kept] = np.linalg.solve(H[np.ix_(kept, kept)], H[kept] @ w) - w[kept]
    np.testing.assert_allclose(delta, expected, atol=1e-10)
    np.testing.assert_allclose(cost, expected @ H @ expected / 2, rtol=1e-10)
    assert np.all(np.asarray(delta)[remove] == -w[remove])
    both = jax.vmap(joint_removal, in_axes=(None, None, 0))(w, np.linalg.inv(H), np.stack([remove, ~remove]))
    np.testing.assert_allclose(both[1][0], delta, atol=1e-12)


def test_wood_taylor_minimises_the_whole_expansion():
    H, w = quadratic(4)
    g = np.random.default_rng(5).normal(size=N)
    found = wood_taylor(w, g, np.linalg.inv(H))
    for q in range(N):
        delta = np.asarray(found.delta[q])
        assert abs(delta[q] + w[q]) < 1e-12
        np.testing.assert_allclose(found.dloss[q], g @ delta + delta @ H @ delta / 2, rtol=1e-9)
        # Stationary but for the constrained weight.
        assert np.abs(np.delete(g + H @ delta, q)).max() < 1e-10
    assert np.all(found.statistic >= 0)
    at_minimum = wood_taylor(w, np.zeros(N), np.linalg.inv(H))
    np.testing.assert_allclose(at_minimum.statistic, obs_saliency(w, np.linalg.inv(H)), rtol=1e-12)


def test_float32_and_nothing_to_prune():
    H, w = quadratic(6)
    single = obs_prune(w.astype(np.float32), np.linalg.inv(H).astype(np.float32), 0)
    assert single.weights.shape == (0, N)
    assert single.weights.dtype == np.float32


@pytest.mark.parametrize(
    ("message", "matrix", "n_prune"),
    [("need a matrix of shape", np.eye(3), 1), ("between 0 and", np.eye(N), N + 1), ("between 0 and", np.eye(N), -1)],
)
def test_bad_input(unchecked_types, message, matrix, n_prune):
    for method in (obs_prune, obd_prune):
        with pytest.raises(ValueError, match=message):
            method(np.ones(N), matrix, n_prune)
