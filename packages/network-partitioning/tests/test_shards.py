"""Shards and their batches: exact counts, and partitions that never see what comes later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.network_partitioning._proportions import partition_counts
from offprint.network_partitioning._shards import ShardedBatches, assign_shards, check_shards

KEY = jax.random.key(0)
draw = jax.jit(lambda batches, step: batches.batch_at(step, KEY))


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 60), st.integers(1, 5), st.integers(0, 100))
def test_counts_are_exact_and_classes_are_spread(n, classes, seed):
    shares = (0.5, 0.3, 0.2)
    labels = np.random.default_rng(seed).integers(0, classes, n)
    shards = np.asarray(assign_shards(n, shares, key=jax.random.key(seed), stratify=labels))
    np.testing.assert_array_equal(np.bincount(shards, minlength=3), partition_counts(n, shares))
    assert set(labels[shards == 0]) == set(labels)
    for c in np.unique(labels):
        of_class = np.bincount(shards[labels == c], minlength=3)
        assert np.all(np.abs(of_class - np.asarray(shares) * (labels == c).sum()) <= 3)


def test_assignment_is_a_function_of_the_key_and_may_be_vmapped():
    keys = jax.random.split(KEY, 3)
    stacked = jax.jit(jax.vmap(lambda key: assign_shards(50, (0.8, 0.2), key=key)))(keys)
    for key, shards in zip(keys, stacked):
        np.testing.assert_array_equal(assign_shards(50, (0.8, 0.2), key=key), shards)
    assert not bool((stacked[0] == stacked[1]).all())
    assert stacked.dtype == jnp.int32


def test_groups_stay_whole():
    groups = np.repeat(np.arange(30), np.random.default_rng(0).integers(1, 8, 30))
    labels = np.random.default_rng(1).integers(0, 3, len(groups))
    shards = np.asarray(assign_shards(len(groups), (0.6, 0.4), key=KEY, groups=groups, stratify=labels))
    assert all(len(set(shards[groups == group])) == 1 for group in range(30))
    assert abs(np.mean(shards == 0) - 0.6) < 0.05
    names = np.asarray([f"patient {group}" for group in groups])
    again = assign_shards(len(groups), (0.6, 0.4), key=KEY, groups=names)
    assert all(len(set(np.asarray(again)[groups == group])) == 1 for group in range(30))


@pytest.fixture(scope="module")
def batches():
    shards = assign_shards(60, (0.5, 0.3, 0.2), key=KEY)
    return ShardedBatches((jnp.arange(60), 10 * jnp.arange(60)), shards, 16), np.asarray(shards)


def test_batches_come_from_their_shards(batches):
    batches, shards = batches
    assert batches.sizes == (30, 18, 12)
    for step in range(4):
        batch = draw(batches, step)
        for k, (rows, labels) in enumerate(batch.train):
            assert np.all(shards[rows] <= k)
            assert len(set(rows.tolist())) == 16
            np.testing.assert_array_equal(labels, 10 * rows)
        assert [len(rows) for rows, _ in batch.oos] == [10, 6]
        for k, (rows, _) in enumerate(batch.oos, start=1):
            assert np.all(shards[rows] == k)


def test_an_epoch_takes_every_row_at_most_once(batches):
    batches, _ = batches
    for k, size in enumerate((30, 48, 60)):
        epoch = [draw(batches, step).train[k][0] for step in range(size // 16)]
        assert len(np.unique(np.concatenate(epoch))) == 16 * (size // 16)


def test_rows_of_a_partition_do_not_depend_on_later_shards():
    shards = np.asarray(assign_shards(60, (0.5, 0.3, 0.2), key=KEY))
    moved = np.where(shards == 2, np.where(np.arange(60) % 2, 2, 3), shards)  # shard 3 falls apart into two
    kept = np.flatnonzero(shards < 2)  # and here it never was
    one = ShardedBatches(jnp.arange(60), shards, 16)
    two = ShardedBatches(jnp.arange(60), moved, 16)
    three = ShardedBatches(jnp.asarray(kept), shards[kept], 16)
    for step in (0, 1, 7):
        drawn = [draw(batches, step) for batches in (one, two, three)]
        for k in (0, 1):
            np.testing.assert_array_equal(drawn[0].train[k], drawn[1].train[k])
            np.testing.assert_array_equal(drawn[0].train[k], drawn[2].train[k])


def test_full_batches_are_whole_shards_in_one_order():
    shards = np.asarray([1, 0, 2, 0, 1, 2])
    full = ShardedBatches(jnp.arange(6), shards, None).batch_at(5, KEY)
    assert [batch.tolist() for batch in full.train] == [[1, 3], [1, 3, 0, 4], [1, 3, 0, 4, 2, 5]]
    assert [batch.tolist() for batch in full.oos] == [[0, 4], [2, 5]]
    small = ShardedBatches(jnp.arange(6), shards, 3, oos_batch_size=2).batch_at(0, KEY)
    assert [len(batch) for batch in small.train] == [2, 3, 3]
    assert [len(batch) for batch in small.oos] == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, (1.0,)), "K >= 2 data shards are needed: with one chunk nothing is out of sample"),
        ((4, (0.9, 0.05, 0.05)), r"shard 2 of 3 would be empty: 4 examples in proportions \(0.9, 0.05, 0.05\)"),
    ],
)
def test_bad_proportions(arguments, message):
    with pytest.raises(ValueError, match=message):
        assign_shards(*arguments, key=KEY)


def test_bad_labels_and_groups():
    with pytest.raises(ValueError, match=r"groups needs one entry for each of the 10 examples, but has shape \(3,\)"):
        assign_shards(10, (0.8, 0.2), key=KEY, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="shard 1 of 2 cannot hold every class: it has 2 of 20 examples"):
        assign_shards(20, (0.1, 0.9), key=KEY, stratify=np.arange(20) % 5)
    labels = np.asarray([0] * 8 + [1] * 2)
    with pytest.raises(ValueError, match="holds no example of class 1, which later shards contain"):
        check_shards(np.asarray([0] * 8 + [1] * 2), 10, labels=labels)
    with pytest.raises(ValueError, match="shard 2 of 2 is empty"):
        assign_shards(10, (0.8, 0.2), key=KEY, groups=np.zeros(10, int))


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (np.zeros(5, int), r"shards needs one entry for each of the 6 examples, but has shape \(5,\)"),
        (np.zeros(6), "shards must be integers, 0..K-1, but has dtype float64"),
        (np.asarray([0, 0, 1, 1, -1, 0]), "shards must be in 0..1, but has values from -1 to 1"),
        (np.asarray([0, 0, 2, 2, 0, 0]), r"shard 2 of 3 is empty: of 6 examples the shards have \[4, 0, 2\]"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_shards(shards, message):
    with pytest.raises(ValueError, match=message):
        ShardedBatches(jnp.arange(6), shards, 2)


def test_bad_batch_sizes():
    shards = np.asarray([0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="batch_size must be at least 1, but is 0"):
        ShardedBatches(jnp.arange(6), shards, 0)
    with pytest.raises(ValueError, match="an out-of-sample batch of 1 is smaller than the number of shards"):
        ShardedBatches(jnp.arange(6), shards, 1)
    with pytest.raises(ValueError, match=r"shards must be in 0..2, but has values from 0 to 3"):
        check_shards(np.asarray([0, 1, 3]), 3, num=3)
