"""Compressed sequences, their ids, and their splits."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.data import DataError
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import split_leave_last, split_ratio

LISTS = [[3, 1, 4], [], [1, 5, 2, 6]]


@pytest.fixture(scope="module")
def named():
    plain = Sequences.from_lists(LISTS, 8)
    return Sequences(
        plain.indptr, plain.items, 8, user_ids=np.array(["zoe", "bob", "ann"]), item_ids=np.arange(8) * 10 + 5
    )


def test_rows_are_the_lists():
    sequences = Sequences.from_lists(LISTS)
    assert [sequences.of(user).tolist() for user in range(3)] == LISTS
    assert (sequences.num_users, sequences.num_items, len(sequences)) == (3, 7, 7)
    assert sequences.lengths.tolist() == [3, 0, 4]
    assert (sequences.indptr.dtype, sequences.items.dtype) == (np.int32, np.int32)
    assert repr(sequences) == "Sequences(3 users, 7 items, 7 interactions)"


def test_no_users_and_no_items_are_possible():
    assert repr(Sequences.from_lists([])) == "Sequences(0 users, 0 items, 0 interactions)"
    assert repr(Sequences.from_lists([[], []])) == "Sequences(2 users, 0 items, 0 interactions)"


def test_ids_of_the_log_and_back(named):
    assert named.user_index("ann") == 2
    assert named.user_indices(["bob", "zoe"]).tolist() == [1, 0]
    np.testing.assert_array_equal(named.item_index([[75, 5], [15, 25]]), [[7, 0], [1, 2]])
    np.testing.assert_array_equal(named.external_items(named.of(0)), [35, 15, 45])
    np.testing.assert_array_equal(named.external_users(np.array([2, 0])), ["ann", "zoe"])


def test_without_ids_the_numbers_are_the_ids():
    sequences = Sequences.from_lists(LISTS)
    assert sequences.user_index(np.int64(2)) == 2
    assert sequences.item_index([6, 0]).tolist() == [6, 0]
    np.testing.assert_array_equal(sequences.external_items(np.array([3])), [3])


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: s.user_index("eve"), "no user has the id 'eve'; for somebody new, user=None ranks for an unknown"),
        (lambda s: s.user_indices(["ann", "eve", "joe"]), r"no user has the id 'eve' \(and 1 more\)"),
        (lambda s: s.user_index(1), "no user has the id 1; ids of the log are texts"),
        (lambda s: s.item_index([5, 6]), "no item has the id 6"),
        (lambda s: s.item_index(["5"]), r"no item has the id .{1,2}5.{1,2}; ids of the log are whole numbers"),
        (lambda s: s.item_index([5.0]), "no item has the id 5.0; ids of the log are whole numbers"),
    ],
)
def test_unknown_ids(named, ask, message):
    with pytest.raises(KeyError, match=message):
        ask(named)


def test_a_user_that_is_not_there():
    with pytest.raises(IndexError, match="user 3 of 3: a number from 0 to 2 is needed"):
        Sequences.from_lists(LISTS).of(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequences.from_lists([[0.5]]), "items must be whole numbers, got float64"),
        (lambda: Sequences.from_lists([["a"]]), "items must be whole numbers, got <U1"),
        (lambda: Sequences.from_lists([[1, -1]]), "item -1 is not in 0 ... 1, the numbers of the 2 items"),
        (lambda: Sequences.from_lists([[1, 7]], 7), "item 7 is not in 0 ... 6"),
        (lambda: Sequences.from_lists([[2**31]]), "at most 2147483647 can be held"),
        (lambda: Sequences.from_csr(np.array([0, 2, 1, 3]), np.arange(3)), "indptr must start at 0, never fall"),
        (lambda: Sequences.from_csr(np.array([0, 2]), np.arange(3)), "end at 3, the number of interactions"),
        (lambda: Sequences.from_csr(np.array([1, 3]), np.arange(3)), "must start at 0"),
        (lambda: Sequences(np.array([0, 1], np.int32), np.array([0], np.int32), -1), "num_items=-1"),
        (
            lambda: Sequences(np.array([0, 1], np.int32), np.array([0], np.int32), 1, user_ids=np.arange(2)),
            r"user_ids must be 1 whole numbers or texts, got int64 of shape \(2,\)",
        ),
        (
            lambda: Sequences(np.array([0, 1], np.int32), np.array([0], np.int32), 2, item_ids=np.array([4, 4])),
            "item_ids has the same id twice",
        ),
    ],
)
def test_wrong_sequences(make, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        make()


def test_saved_and_loaded(named, tmp_path):
    named.save(tmp_path / "log.npz")
    loaded = Sequences.load(tmp_path / "log.npz")
    for name in ("indptr", "items", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(named, name))
    assert (loaded.num_items, loaded.report) == (8, None)
    np.savez(tmp_path / "other.npz", items=np.arange(3))
    with pytest.raises(ValueError, match="no array indptr, num_items"):
        Sequences.load(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("nothing of the kind")
    with pytest.raises(DataError):
        Sequences.load(tmp_path / "text.npz")


def test_a_pytree_that_keeps_its_ids(named):
    on_device = jax.device_put(named)
    assert isinstance(on_device.items, jax.Array)
    assert on_device.user_index("ann") == 2
    assert on_device.of(2).tolist() == LISTS[2]
    traces = []

    @jax.jit
    def total(sequences):
        traces.append(1)
        return sequences.items.sum() + sequences.num_items

    assert total(on_device) == total(named) == sum(map(sum, LISTS)) + 8
    copy = Sequences(named.indptr, named.items, 8, named.user_ids.copy(), named.item_ids.copy())
    other = Sequences(named.indptr, named.items, 8, named.user_ids[::-1].copy(), named.item_ids)
    total(copy)
    assert len(traces) == 1
    total(other)
    assert len(traces) == 2


def test_split_by_shares():
    sequences = Sequences.from_lists([range(10), range(1), range(2), range(3), []])
    split = split_ratio(sequences)
    assert split.test.lengths.tolist() == [2, 1, 1, 1, 0]
    assert split.val.lengths.tolist() == [1, 0, 1, 1, 0]
    assert split.train.lengths.tolist() == [7, 0, 0, 1, 0]
    assert split.train_val.of(0).tolist() == list(range(8))
    assert split_ratio(sequences, test=0.25, val=0.25, rounding="floor").test.lengths.tolist() == [2, 0, 0, 0, 0]
    assert split_ratio(sequences, test=0.25, val=0, rounding="round").train.lengths.tolist() == [8, 1, 2, 2, 0]
    assert split_ratio(sequences, test=0, val=0).test.lengths.tolist() == [0] * 5


def test_shares_that_floating_point_makes_too_large():
    assert 0.07 * 100 > 7
    assert 0.29 * 100 < 29
    hundred = Sequences.from_lists([range(100)])
    assert split_ratio(hundred, test=0.07, val=0).test.lengths.tolist() == [7]
    assert split_ratio(hundred, test=0.29, val=0, rounding="floor").test.lengths.tolist() == [29]


def test_split_by_the_last_items():
    sequences = Sequences.from_lists([range(5), range(2), range(3)])
    split = split_leave_last(sequences)
    assert split.test.of(0).tolist() == [4]
    assert split.val.of(0).tolist() == [3]
    assert split.train.lengths.tolist() == [3, 2, 1]
    assert split_leave_last(sequences, 2).train.lengths.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: split_ratio(s, test=1.0), "test=1.0; a share from 0 to below 1"),
        (lambda s: split_ratio(s, val=-0.1), "val=-0.1"),
        (lambda s: split_ratio(s, rounding="up"), "rounding='up'; one of 'ceil', 'floor', 'round'"),
        (lambda s: split_leave_last(s, 0), "n=0"),
        (lambda s: split_leave_last(s, 2), "no user has the 5 items that n=2 needs; the longest sequence has 4"),
        (lambda s: s.slice(np.array([0, 0, 2]), np.array([3, 0, 1])), "needed for every user"),
    ],
)
def test_wrong_splits(make, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        make(Sequences.from_lists(LISTS))


lists = st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=6)


@given(lists, st.floats(0, 0.99), st.floats(0, 0.99), st.sampled_from(["ceil", "floor", "round"]))
@settings(max_examples=30, deadline=None)
def test_parts_in_order_make_the_whole(rows, test, val, rounding):
    sequences = Sequences.from_lists(rows, 21)
    split = split_ratio(sequences, test=test, val=val, rounding=rounding)
    for user, row in enumerate(rows):
        parts = [part.of(user).tolist() for part in (split.train, split.val, split.test)]
        assert [*parts[0], *parts[1], *parts[2]] == row
        assert parts[0] + parts[1] == split.train_val.of(user).tolist()
    assert all(part.num_items == 21 for part in split)
