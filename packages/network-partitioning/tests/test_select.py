"""Configurations trained in one program: each as if alone, ranked by what they predict out of sample."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.network_partitioning._objective import log_marginal
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._select import select
from offprint.network_partitioning._shards import assign_shards

KEY = jax.random.key(2)
RNG = np.random.default_rng(0)
Y = RNG.integers(2, size=120)
X = RNG.normal(size=(120, 6)) + (2.0 * Y[:, None] - 1) * (np.arange(6) < 3)
SHARDS = assign_shards(120, (0.5, 0.3, 0.2), key=KEY, stratify=Y)
MASKS = jnp.asarray([np.arange(6) >= 3, np.arange(6) < 3, np.arange(6) < 1], float)  # useless, all there is, a part


def init(key):
    a, b = jax.random.split(key)
    return {"a": 0.5 * jax.random.normal(a, (6, 8)), "b": 0.5 * jax.random.normal(b, (8, 2))}


def loglik(params, mask, batch, key):
    x, y = batch
    return jax.nn.log_softmax(jnp.tanh(x * mask @ params["a"]) @ params["b"])[jnp.arange(len(y)), y]


SETTINGS = {
    "proportions": (0.5, 0.3, 0.2),
    "steps": 60,
    "key": jax.random.key(7),
    "optimiser": optax.adam(0.03),
}


@pytest.fixture(scope="module")
def selection():
    return select(loglik, init, MASKS, (X, Y), SHARDS, seeds=2, **SETTINGS)


def test_the_ranking(selection):
    assert selection.order.tolist() == [1, 2, 0]
    assert selection.log_marginal.shape == (3, 2)
    assert selection.nll_matrix.shape == (3, 2, 4, 3)
    assert jnp.all(selection.log_marginal[1] > -0.35)  # nats; a coin has -0.69
    assert jnp.all(selection.log_marginal[0] < -0.69)


def test_each_configuration_is_trained_as_if_alone(selection):
    alone = select(loglik, init, MASKS[2:], (X, Y), SHARDS, seeds=2, **SETTINGS)
    np.testing.assert_allclose(alone.log_marginal, selection.log_marginal[2:], rtol=1e-9)
    np.testing.assert_allclose(alone.params["a"][0], selection.params["a"][2], rtol=1e-7, atol=1e-10)


def test_the_score_is_the_log_marginal_likelihood(selection):
    for seed, key in enumerate(jax.random.split(SETTINGS["key"], 2)):
        for_weights, for_partition, _, for_scores = jax.random.split(key, 4)
        part = partition(init(for_weights), SETTINGS["proportions"], key=for_partition)
        params = jax.tree.map(lambda w, seed=seed: w[1, seed], selection.params)
        there = log_marginal(loglik, params, part, MASKS[1], (X, Y), SHARDS, for_scores, per_example=True)
        np.testing.assert_allclose(selection.log_marginal[1, seed], there, rtol=1e-9)
    errors = -loglik(params, MASKS[1], (X, Y), KEY).mean()
    np.testing.assert_allclose(selection.train_nll[1, 1], errors, rtol=1e-9)


@pytest.mark.parametrize(
    ("configs", "changes", "message"),
    [
        ((MASKS, MASKS[:2]), {}, "one leading axis of configurations"),
        (jnp.zeros((0, 6)), {}, "one leading axis of configurations"),
        (MASKS, {"seeds": 0}, "at least one seed and one step"),
        (MASKS, {"steps": 0}, "at least one seed and one step"),
        (MASKS, {"proportions": (0.5, 0.5)}, "there are 3 shards, but proportions has 2 entries"),
    ],
)
def test_bad_input(configs, changes, message):
    with pytest.raises(ValueError, match=message):
        select(loglik, init, configs, (X, Y), SHARDS, **(SETTINGS | changes))
