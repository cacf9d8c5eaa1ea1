"""Negatives are unseen and uniform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from offprint.magnn import Sequences, sample_negatives, seen_items

N = 12


@jax.jit
def everything(seen):
    """For every user and number n: the n-th unseen item, whether item n is seen, and how many are not."""
    users, numbers = jnp.broadcast_arrays(jnp.arange(3)[:, None], jnp.arange(N))
    return seen.nth_unseen(users, numbers), seen.contains(users, numbers), seen.num_unseen(jnp.arange(3))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, N - 1), max_size=6), min_size=3, max_size=3))
def test_the_nth_unseen_item_is_that_of_the_sorted_list(lists):
    nth, has, num_unseen = everything(seen_items(Sequences.from_lists(lists, N)))
    for user, items in enumerate(lists):
        unseen = np.setdiff1d(np.arange(N), items)
        assert num_unseen[user] == len(unseen)
        np.testing.assert_array_equal(nth[user, : len(unseen)], unseen)
        np.testing.assert_array_equal(has[user], np.isin(np.arange(N), items))


def test_draws_are_uniform_over_what_each_user_has_not_seen():
    lists = [[0, 5, 5, 11], [], list(range(10)), [3]]
    seen = seen_items(Sequences.from_lists(lists, N))
    draws = jax.jit(sample_negatives, static_argnums=3)(jax.random.key(0), jnp.arange(4), seen, (60, 100))
    assert draws.shape == (4, 60, 100)
    assert draws.dtype == jnp.int32
    for items, drawn in zip(lists, np.asarray(draws)):
        counts = np.bincount(drawn.ravel(), minlength=N)
        unseen = np.setdiff1d(np.arange(N), items)
        assert counts[np.unique(items).astype(int)].sum() == 0
        assert chisquare(counts[unseen]).pvalue > 1e-3


def test_draws_of_one_batch_are_independent():
    seen = seen_items(Sequences.from_lists([[0], [1, 2]], N))
    draws = np.asarray(sample_negatives(jax.random.key(1), jnp.zeros(4000, jnp.int32), seen, 2))
    pairs = np.bincount((draws[:, 0] - 1) * (N - 1) + draws[:, 1] - 1, minlength=(N - 1) ** 2)
    assert chisquare(pairs).pvalue > 1e-3


def test_to_an_unknown_user_everything_is_new():
    seen = seen_items(Sequences.from_lists([list(range(N - 1))], N))
    draws = sample_negatives(jax.random.key(0), jnp.array([-1]), seen, 500)
    np.testing.assert_array_equal(np.unique(draws), np.arange(N))
    np.testing.assert_array_equal(seen.num_unseen(jnp.array([-1, 0])), [N, 1])
    assert not seen.contains(jnp.array([-1]), jnp.array([0])).any()


def test_a_key_names_its_draws():
    seen = seen_items(Sequences.from_lists([[0], [1, 2]], N))
    users = jnp.array([0, 1, 1])
    first, again, other = (sample_negatives(jax.random.key(k), users, seen, (3, 4)) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_nobody_has_seen_anything():
    seen = seen_items(Sequences.from_lists([[], []], N))
    assert (sample_negatives(jax.random.key(0), jnp.array([0, 1]), seen, 50) < N).all()


def test_a_user_who_has_seen_everything_is_named():
    with pytest.raises(ValueError, match="user 1 has seen all 3 items"):
        seen_items(Sequences.from_lists([[0], [2, 1, 0, 1]], 3))
