"""Windows as positions, and what is gathered from them."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.magnn._sequences import Sequences
from offprint.magnn._windows import gather, last_windows, windows

JITTED = jax.jit(gather)


def by_hand(rows, L, T, S):
    """User, history, window, targets of every window, from the definition."""
    found = []
    for user, row in enumerate(rows):
        padded = [-1] * max(0, L + T - len(row)) + list(row)
        for start in range(len(padded) - L - T, -1, -1) if row else []:
            before = ([-1] * S + padded[:start])[-S:] if S else []
            found.append((user, before, padded[start : start + L], padded[start + L : start + L + T]))
    return found


def everything(sequences, found):
    return jax.tree.map(np.asarray, JITTED(sequences, found, np.arange(len(found))))


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=11), max_size=5), st.sampled_from([(1, 1, 0), (2, 3, 4), (4, 2, 5)])
)
@settings(max_examples=30, deadline=None)
def test_windows_are_those_of_the_definition(rows, sizes):
    L, T, S = sizes
    rows = rows + [[]] * (5 - len(rows))
    rows.append([n % 10 for n in range(60 - sum(map(len, rows)))])  # as many users and items in every example
    sequences = Sequences.from_lists(rows, 10)
    found = windows(sequences, L, T, S)
    filled = dataclasses.replace(  # nor do the other shapes change: the last windows again and again
        found, users=np.resize(found.users, 64), ends=np.resize(found.ends, 64), num_padded=0
    )
    batch = jax.tree.map(np.asarray, JITTED(sequences, filled, np.arange(64)))
    expected = by_hand(rows, L, T, S)
    assert len(found) == len(expected)
    for row, (user, long, short, targets) in enumerate(expected):
        assert batch.users[row] == user
        assert batch.long[row].tolist() == long
        assert batch.short[row].tolist() == short
        assert batch.targets[row].tolist() == targets
    assert found.num_padded == sum(0 < len(items) < L + T for items in rows)


def test_counts_are_shown():
    sequences = Sequences.from_lists([range(9), range(4), []])
    assert repr(windows(sequences, 3, 2, 7)) == "Windows(6 windows, L=3, T=2, max_long=7, 1 padded)"


def test_a_history_of_any_length():
    sequences = Sequences.from_lists([range(9), range(4)])
    found = windows(sequences, 3, 2, max_long=None)
    batch = everything(sequences, found)
    assert found.max_long == 4
    assert batch.long[0].tolist() == [0, 1, 2, 3]
    assert last_windows(sequences, 3, max_long=None).max_long == 6
    assert windows(sequences, 5, 4, max_long=None).max_long == 1


def test_the_last_items_are_what_is_ranked_from():
    sequences = Sequences.from_lists([range(6), [7], []])
    batch = everything(sequences, last_windows(sequences, 3, 2))
    assert batch.users.tolist() == [0, 1, 2]
    assert batch.short.tolist() == [[3, 4, 5], [-1, -1, 7], [-1, -1, -1]]
    assert batch.long.tolist() == [[1, 2], [-1, -1], [-1, -1]]
    assert batch.targets.shape == (3, 0)
    assert last_windows(sequences, 10, 0).num_padded == 3


def test_the_latest_targets_of_training_come_after_what_the_ranking_sees_then():
    sequences = Sequences.from_lists([range(12)])
    trained = everything(sequences, windows(sequences, 4, 2, 3))
    before = sequences.slice(np.array([0]), np.array([10]))
    ranked = everything(before, last_windows(before, 4, 3))
    np.testing.assert_array_equal(trained.short[:1], ranked.short)
    np.testing.assert_array_equal(trained.long[:1], ranked.long)


def test_gathering_is_the_same_under_jit_vmap_and_on_the_device():
    rng = np.random.default_rng(0)
    sequences = Sequences.from_lists([rng.integers(0, 50, n) for n in (3, 20, 9, 14)])
    found = windows(sequences, 4, 2, 6)
    index = np.arange(len(found))
    plain = gather(sequences, found, index)
    jitted = JITTED(jax.device_put(sequences), jax.device_put(found), index)
    each = jax.jit(jax.vmap(lambda i: gather(sequences, found, i[None])))(index)
    for name in plain._fields:
        np.testing.assert_array_equal(getattr(plain, name), getattr(jitted, name))
        np.testing.assert_array_equal(getattr(plain, name), getattr(each, name)[:, 0])
        assert getattr(jitted, name).dtype == np.int32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: windows(s, L=0), "L=0; a window of at least 1 item"),
        (lambda s: windows(s, L=2, T=0), "T=0; at least 1 target"),
        (lambda s: windows(s, L=5), "L=5 is longer than the longest sequence, which has 4 items"),
        (lambda s: windows(s, L=2, max_long=-1), "max_long=-1"),
        (lambda s: last_windows(s, L=0), "L=0"),
        (lambda s: windows(Sequences.from_lists([[], []])), "2 users without any item"),
        (lambda s: last_windows(Sequences.from_lists([[]])), "1 users without any item"),
    ],
)
def test_wrong_sizes(make, message):
    with pytest.raises(ValueError, match=message):
        make(Sequences.from_lists([range(4), range(3)]))
