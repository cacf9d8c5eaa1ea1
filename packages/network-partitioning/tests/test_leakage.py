"""Partition k never learns of the shards after k: to the bit, for every schedule, and whatever the optimiser does."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.network_partitioning._objective import Stateful
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import SCHEDULES, init_state, make_step

NUM, FEATURES, CLASSES, STEPS = 3, 5, 3, 7
KEY = jax.random.key(5)
SHARDS = np.random.default_rng(0).permutation(np.repeat(np.arange(NUM), (14, 10, 8)))
X = np.random.default_rng(1).normal(size=(len(SHARDS), FEATURES))
Y = np.random.default_rng(2).integers(CLASSES, size=len(SHARDS))
OPTIMISERS = {
    "clipped adamw": optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.05, weight_decay=0.1)),
    "muon": optax.contrib.muon(0.05, weight_decay=0.1),
}


def parameters():
    a, b = jax.random.split(KEY)
    return {
        "first": {"w": jax.random.normal(a, (FEATURES, 8)), "b": jnp.full(8, 0.1)},
        "last": {"w": jax.random.normal(b, (8, CLASSES)), "b": jnp.full(CLASSES, -0.1)},
    }


PART = partition(parameters(), (0.5, 0.3, 0.2), key=jax.random.key(6))


def outputs(params, hyper, x, key, normalise):
    u = jax.random.uniform(key, x.shape, minval=0.02, maxval=0.98)
    x = x * jax.nn.sigmoid((hyper + jnp.log(u) - jnp.log1p(-u)) / 0.5)
    h = jnp.tanh(normalise(x @ params["first"]["w"] + params["first"]["b"]))
    return jax.nn.log_softmax(h @ params["last"]["w"] + params["last"]["b"])


def plain(params, hyper, batch, key):
    x, y = batch
    return outputs(params, hyper, x, key, lambda h: h)[jnp.arange(len(y)), y]


def normalised(params, hyper, rest, batch, key, train):
    x, y = batch
    new = dict(rest)

    def normalise(h):
        mean, var = (h.mean(0), h.var(0)) if train else (rest["mean"], rest["var"])
        new.update({name: 0.8 * rest[name] + 0.2 * v for name, v in (("mean", mean), ("var", var))})
        return (h - mean) / jnp.sqrt(var + 1e-3)

    return outputs(params, hyper, x, key, normalise)[jnp.arange(len(y)), y], new


@lru_cache
def runner(schedule, statistics, name, learn_hyper=False):
    """The states after every step, as a function of the batches; compiled once for data of the same sizes."""
    tx = OPTIMISERS[name]
    hyper_tx = optax.adam(0.05) if learn_hyper else optax.set_to_zero()
    rest = {"mean": jnp.zeros(8), "var": jnp.ones(8)} if statistics else None
    loglik = Stateful(normalised) if statistics else plain
    start = init_state(parameters(), PART, jnp.zeros(FEATURES), tx, hyper_tx, rest=rest)

    @jax.jit
    def run(batches):
        step = make_step(loglik, PART, tx, hyper_tx, sizes=batches.sizes, schedule=schedule)

        def body(state, index):
            data_key, step_key = jax.random.fold_in(KEY, index), jax.random.fold_in(jax.random.key(1), index)
            state, _ = step(state, batches.batch_at(index, data_key), step_key)
            return state, state

        return jax.lax.scan(body, start, jnp.arange(STEPS))[1]

    return run


def changed(x, y, after):
    """The data with everything replaced in the shards after the first `after`."""
    later = np.asarray(after <= SHARDS)
    other = np.random.default_rng(9).normal(size=x.shape) * 3
    return np.where(later[:, None], other, x), np.where(later, (y + 1) % CLASSES, y)


def assert_same_up_to(k, here, there):
    """The first k partitions, their optimiser state and their statistics are the same bits in both trajectories."""
    for ids, a, b in zip(*map(jax.tree.leaves, (PART.ids, here.params, there.params)), strict=True):
        chosen = np.asarray(ids) < k
        np.testing.assert_array_equal(np.asarray(a)[:, chosen], np.asarray(b)[:, chosen])
    shapes = {leaf.shape: np.asarray(leaf) for leaf in jax.tree.leaves(PART.ids)}
    assert len(shapes) == len(jax.tree.leaves(PART.ids))  # so that a shape names its parameter
    compared = 0
    for a, b in zip(jax.tree.leaves(here.opt), jax.tree.leaves(there.opt), strict=True):
        chosen = shapes[a.shape[1:]] < k if a.shape[1:] in shapes else np.arange(NUM) < k
        np.testing.assert_array_equal(np.asarray(a)[:, chosen], np.asarray(b)[:, chosen])
        compared += 1
    assert compared >= 4
    if here.rest is not None:
        for a, b in zip(jax.tree.leaves(here.rest), jax.tree.leaves(there.rest), strict=True):
            np.testing.assert_array_equal(a[:, : k + 1], b[:, : k + 1])


def differs(k, here, there):
    """Whether partition k ends at other weights."""
    leaves = zip(*map(jax.tree.leaves, (PART.ids, here.params, there.params)), strict=True)
    return any((np.asarray(a)[-1] != np.asarray(b)[-1])[np.asarray(ids) == k - 1].any() for ids, a, b in leaves)


CASES = [
    *[(schedule, statistics, "clipped adamw") for schedule in SCHEDULES for statistics in (False, True)],
    ("joint", False, "muon"),
]


@pytest.mark.parametrize(("schedule", "statistics", "optimiser"), CASES)
def test_later_shards_leave_earlier_partitions_alone(schedule, statistics, optimiser):
    run = runner(schedule, statistics, optimiser)
    here = run(ShardedBatches((X, Y), SHARDS, 8))
    for k in range(1, NUM):
        there = run(ShardedBatches(changed(X, Y, k), SHARDS, 8))
        assert_same_up_to(k, here, there)
        assert differs(k + 1, here, there)  # shard k+1 is what partition k+1 learns from
    assert any(differs(k, jax.tree.map(lambda x: x[:1], here), here) for k in (1, 2, 3))


def test_an_example_that_changes_its_shard_is_news_to_later_partitions_only():
    run = runner("joint", False, "clipped adamw")
    here = run(ShardedBatches((X, Y), SHARDS, 8))
    second, third = (int(np.flatnonzero(shard == SHARDS)[0]) for shard in (1, 2))
    for moves in ({third: 1}, {second: 2, third: 1}):  # one example, and two that change places
        shards = SHARDS.copy()
        shards[list(moves)] = list(moves.values())
        there = run(ShardedBatches((X, Y), shards, 8))
        assert_same_up_to(1, here, there)
        assert differs(2, here, there)


def test_only_the_hyperparameters_carry_news_of_later_shards():
    """Learned ψ does depend on them, and so then do all weights: the reason why the above holds ψ."""
    run = runner("joint", False, "clipped adamw", learn_hyper=True)
    here, there = (run(ShardedBatches(data, SHARDS, 8)) for data in ((X, Y), changed(X, Y, 2)))
    assert jnp.any(here.hyper[0] != there.hyper[0])
    assert differs(1, here, there)


def test_an_optimiser_that_sees_all_partitions_at_once_would_leak():
    """The control: global-norm clipping of the summed gradient tells partition 1 about shard 3."""
    tx = OPTIMISERS["clipped adamw"]
    params = parameters()
    grads = jax.tree.map(jnp.ones_like, params)
    later = jax.tree.map(lambda ids, g: jnp.where(ids == 2, 2 * g, g), PART.ids, grads)
    here, there = (tx.update(g, tx.init(params), params)[1][0:] for g in (grads, later))
    moments = zip(*map(jax.tree.leaves, (here, there)), strict=True)
    assert any(a.shape == (8,) and jnp.any((a != b)[PART.ids["first"]["b"] == 0]) for a, b in moments)
