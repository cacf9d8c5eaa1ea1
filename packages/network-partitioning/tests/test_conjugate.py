"""The marginal likelihood where it is known: Bayesian linear regression with known noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.network_partitioning._objective import log_marginal
from offprint.network_partitioning._partition import Partition

N, D, SIGMA = 24, 3, 0.7
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Y = X @ RNG.normal(size=D) + SIGMA * RNG.normal(size=N)
PRIOR = np.diag([1.0, 2.0, 0.5])
KEY = jax.random.key(0)


def evidence(x, y):
    """log N(y; 0, σ² I + X Σ₀ Xᵀ)."""
    covariance = SIGMA**2 * np.eye(len(y)) + x @ PRIOR @ x.T
    return -0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + y @ np.linalg.solve(covariance, y))


def posterior(seen):
    """Mean and covariance of the weights given the examples with weight 1 in `seen`."""
    x = jnp.asarray(X) * seen[:, None]
    covariance = jnp.linalg.inv(jnp.linalg.inv(jnp.asarray(PRIOR)) + x.T @ x / SIGMA**2)
    return covariance @ x.T @ jnp.asarray(Y) / SIGMA**2, covariance


def log_normal(y, mean, variance):
    return -0.5 * ((y - mean) ** 2 / variance + jnp.log(2 * jnp.pi * variance))


def shards_of(num, seed):
    return np.random.default_rng(seed).permutation(np.arange(N) % num)


def flags(num):
    """Weights that are 1 in active partitions and 0 else: their sum tells which subnetwork is asked."""
    return jnp.ones(num), Partition(jnp.arange(num, dtype=jnp.uint8), jnp.zeros(num), num)


@pytest.mark.parametrize(("num", "seed"), [(2, 0), (3, 1), (6, 2)])
def test_exact_predictives_give_the_evidence_for_any_sharding(num, seed):
    shards = jnp.asarray(shards_of(num, seed))

    def predictive(active, hyper, batch, key):
        """log p(y_n | earlier shards, and the examples before n in its own): the chain rule within a shard."""
        k = active.sum()

        def one(n):
            seen = (shards < k) | ((shards == shards[n]) & (jnp.arange(N) < n))
            mean, covariance = posterior(seen.astype(float))
            x = jnp.asarray(X)[n]
            return log_normal(batch[1][n], x @ mean, SIGMA**2 + x @ covariance @ x)

        return jax.vmap(one)(jnp.arange(N))

    params, part = flags(num)
    args = (predictive, params, part, None, (jnp.asarray(X), jnp.asarray(Y)), shards, KEY)
    whole = evidence(X, Y)
    np.testing.assert_allclose(log_marginal(*args, include_prior_term=True), whole, rtol=0, atol=1e-9)
    first = np.asarray(shards) == 0
    np.testing.assert_allclose(log_marginal(*args), whole - evidence(X[first], Y[first]), rtol=0, atol=1e-9)


def test_expected_log_likelihoods_are_a_lower_bound():
    """Jensen: with q the exact posterior of the earlier shards, sum_k E_q[log p(D_k | w)] <= log p(D)."""

    def expected(active, shards, batch, key):
        mean, covariance = posterior((shards < active.sum()).astype(float))
        x, y = batch
        return log_normal(y, x @ mean, SIGMA**2) - jnp.einsum("ni,ij,nj->n", x, covariance, x) / (2 * SIGMA**2)

    gaps = []
    for num in (2, 3, 6, N):
        params, part = flags(num)
        shards = jnp.asarray(shards_of(num, 3))
        data = (jnp.asarray(X), jnp.asarray(Y))
        bound = log_marginal(expected, params, part, shards, data, shards, KEY, include_prior_term=True)
        gaps.append(evidence(X, Y) - float(bound))
    assert min(gaps) > 0
    assert gaps == sorted(gaps, reverse=True)  # the finer the shards, the more of each is predicted
