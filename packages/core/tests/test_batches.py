import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.train import FullBatch, Minibatches
from offprint.core.train._shuffle import shuffled


@settings(max_examples=12, deadline=None)
@given(n=st.integers(1, 400), seed=st.integers(0, 2**31 - 1))
def test_shuffled_is_a_permutation_for_every_length(n, seed):
    with jax.disable_jit():
        order = shuffled(jax.random.key(seed), jnp.arange(n), n)
    assert sorted(order.tolist()) == list(range(n))


def test_shuffled_large_lengths_stay_inside_and_distinct():
    n = 2**31 - 1
    positions = jnp.concatenate([jnp.arange(2000), n - 1 - jnp.arange(2000)])
    order = np.asarray(shuffled(jax.random.key(0), positions, n))
    assert order.min() >= 0
    assert order.max() < n
    assert len(np.unique(order)) == len(order)


@pytest.mark.parametrize("n", [3, 4, 5, 8])
def test_shuffled_is_close_to_uniform(n):
    """Every element lands on every position equally often (chi-square at 1e-4 over 4000 keys)."""
    from scipy.stats import chi2

    keys = jax.random.split(jax.random.key(1), 4000)
    orders = jax.jit(jax.vmap(lambda key: shuffled(key, jnp.arange(n), n)))(keys)
    counts = np.stack([np.bincount(np.asarray(orders[:, position]), minlength=n) for position in range(n)])
    statistic = ((counts - 4000 / n) ** 2 / (4000 / n)).sum()
    assert statistic < chi2.ppf(1 - 1e-4, (n - 1) ** 2)


def test_every_epoch_shows_every_example_once_in_a_new_order():
    batches = Minibatches({"row": jnp.arange(12)}, 4)
    key = jax.random.key(0)
    epochs = [[batches.batch_at(3 * epoch + i, key)["row"] for i in range(3)] for epoch in range(3)]
    flat = [np.concatenate(epoch).tolist() for epoch in epochs]
    assert [sorted(order) for order in flat] == [list(range(12))] * 3
    assert len({tuple(order) for order in flat}) == 3


def test_batches_depend_on_key_and_step_only():
    batches = Minibatches(jnp.arange(50), 8)
    one, other = jax.random.key(1), jax.random.key(2)
    at = jax.jit(lambda step, key: batches.batch_at(step, key))
    assert at(1000, one).tolist() == batches.batch_at(1000, one).tolist()
    assert at(1000, one).tolist() != at(1000, other).tolist()


@pytest.mark.parametrize(("remainder", "steps", "seen"), [("drop", 2, 8), ("wrap", 3, 10)])
def test_what_becomes_of_the_remainder(remainder, steps, seen):
    batches = Minibatches(jnp.arange(10), 4, remainder=remainder)
    assert batches.steps_per_epoch == steps
    rows = np.concatenate([batches.batch_at(i, jax.random.key(0)) for i in range(steps)])
    assert len(set(rows.tolist())) == seen


def test_without_shuffling_the_order_is_kept_and_nothing_is_left_out():
    batches = Minibatches(jnp.arange(10), 4, shuffle=False)
    rows = [batches.batch_at(i, jax.random.key(0)).tolist() for i in range(4)]
    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [0, 1, 2, 3]]


def test_batches_pass_through_jit_as_arguments():
    batches = Minibatches((jnp.arange(6.0), jnp.arange(6)), 2, shuffle=False)
    x, y = jax.jit(lambda batches, step: batches.batch_at(step, jax.random.key(0)))(batches, 1)
    assert x.tolist() == [2.0, 3.0]
    assert y.tolist() == [2, 3]
    assert len(jax.tree.leaves(batches)) == 2


def test_full_batch_is_the_same_in_every_step():
    graph = {"nodes": jnp.eye(3), "label": jnp.arange(3)}
    assert FullBatch(graph).batch_at(jnp.int32(5), jax.random.key(0)) is graph


@pytest.mark.parametrize(
    ("arrays", "batch_size", "options", "message"),
    [
        (
            jnp.zeros((5, 2)),
            6,
            {},
            "a batch of 6 cannot be drawn from 5 examples without replacement; use batch_size=5",
        ),
        (jnp.zeros((5, 2)), 0, {}, "batch_size must be at least 1, but is 0"),
        ({"x": jnp.zeros((5, 2)), "y": jnp.zeros(4)}, 2, {}, r"differ: \['x'\]: \(5, 2\), \['y'\]: \(4,\)"),
        ({}, 2, {}, "the data hold no array"),
        (jnp.zeros((0, 3)), 1, {}, r"the data hold no examples: the array: \(0, 3\)"),
        ([[1.0, 2.0], [3.0]], 1, {}, "needs a first axis of examples"),
        (np.array(["a", "b"]), 1, {}, "must be numeric arrays"),
        (jnp.array([[1.0], [jnp.nan], [jnp.inf]]), 1, {"check_finite": True}, "2 of 3 examples .* the first is row 1"),
        (jnp.zeros(5), 2, {"remainder": "keep"}, "remainder must be 'drop' or 'wrap', but is 'keep'"),
    ],
)
def test_bad_data_is_refused_with_what_to_do(arrays, batch_size, options, message):
    with pytest.raises(ValueError, match=message):
        Minibatches(arrays, batch_size, **options)


def test_nan_is_let_through_unless_asked():
    assert Minibatches(jnp.array([1.0, jnp.nan]), 1).size == 2
