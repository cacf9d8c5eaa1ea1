"""Ranking metrics: by hand, at their bounds, against a plain loop."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.magnn._metrics import METRICS, evaluate
from offprint.magnn._sequences import Sequences

N = 60


@pytest.fixture(scope="module")
def lists():
    """A ranking of 20 items and the test items of 30 users; user 4 has none."""
    rng = np.random.default_rng(0)
    ranked = np.stack([rng.permutation(N)[:20] for _ in range(30)])
    relevant = [rng.permutation(N)[: rng.integers(1, 25)] for _ in range(30)]
    relevant[4] = np.empty(0, int)
    return ranked, Sequences.from_lists(relevant, N)


def test_two_users_by_hand():
    test = Sequences.from_lists([[1, 2], [3, 4, 5]], 50)
    metrics = evaluate(np.array([[10, 20, 1, 30, 40], [10, 3, 20, 4, 5]]), test, ks=(1, 5))
    ideal = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(
        metrics.per_user["ndcg"][5],
        [0.5 / ideal, (1 / math.log2(3) + 1 / math.log2(5) + 1 / math.log2(6)) / (ideal + 0.5)],
    )
    np.testing.assert_allclose(metrics.per_user["ndcg"][5], [0.3066, 0.6797], atol=5e-5)
    np.testing.assert_allclose(metrics.per_user["recall"][5], [1 / 2, 1])
    np.testing.assert_allclose(metrics.per_user["precision"][5], [1 / 5, 3 / 5])
    np.testing.assert_allclose(metrics.per_user["map"][5], [1 / 3 / 2, (1 / 2 + 2 / 4 + 3 / 5) / 3])
    np.testing.assert_allclose(metrics.per_user["mrr"][5], [1 / 3, 1 / 2])
    assert metrics.hit == {1: 0.0, 5: 1.0}
    assert metrics.mrr[5] == pytest.approx(5 / 12)


def test_flat_names():
    metrics = evaluate(np.array([[1, 0]]), Sequences.from_lists([[1]]), ks=(1, 2))
    flat = metrics.as_dict("val_")
    assert list(flat) == [f"val_{name}@{k}" for name in METRICS for k in (1, 2)]
    assert flat["val_recall@1"] == 1


@given(st.integers(1, 12), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_a_perfect_ranking_reaches_the_best_values(relevant, k):
    test = Sequences.from_lists([range(relevant)], 40)
    others = np.setdiff1d(np.arange(40), np.arange(relevant))
    metrics = evaluate(np.concatenate([np.arange(relevant), others])[None, :20], test, ks=(k,))
    assert metrics.recall[k] == pytest.approx(min(1, k / relevant))
    assert metrics.precision[k] == pytest.approx(min(1, relevant / k))
    for name in ("map", "ndcg", "hit", "mrr"):
        assert getattr(metrics, name)[k] == pytest.approx(1)
    worst = evaluate(others[None, :20], test, ks=(k,))
    assert set(worst.as_dict().values()) == {0.0}


def test_the_same_as_a_loop_over_users(lists):
    ranked, test = lists
    metrics = evaluate(ranked, test, ks=(5, 10, 20))
    for row, user in enumerate(metrics.users):
        relevant = set(test.of(user).tolist())
        for k in (5, 10, 20):
            hits = [rank for rank, item in enumerate(ranked[user][:k], 1) if item in relevant]
            best = min(k, len(relevant))
            expected = {
                "precision": len(hits) / k,
                "recall": len(hits) / len(relevant),
                "map": sum((i + 1) / rank for i, rank in enumerate(hits)) / best,
                "ndcg": sum(1 / math.log2(r + 1) for r in hits) / sum(1 / math.log2(r + 1) for r in range(1, best + 1)),
                "hit": float(bool(hits)),
                "mrr": 1 / hits[0] if hits else 0.0,
            }
            for name, value in expected.items():
                assert metrics.per_user[name][k][row] == pytest.approx(value, abs=1e-12), (name, k)


def test_users_without_test_items_are_skipped_and_counted(lists):
    ranked, test = lists
    metrics = evaluate(ranked, test)
    assert metrics.num_skipped == 1
    assert 4 not in metrics.users
    assert len(metrics.per_user["recall"][10]) == len(metrics.users) == 29


def test_blocks_of_users_give_exactly_the_numbers_of_all(lists):
    ranked, test = lists
    whole = evaluate(ranked, test)
    order = np.random.default_rng(1).permutation(30)
    parts = [evaluate(ranked[rows], test, users=rows) for rows in np.array_split(order, 4)]
    back = np.argsort(np.concatenate([part.users for part in parts]))
    for name in METRICS:
        for k in (5, 10, 15, 20):
            joined = np.concatenate([part.per_user[name][k] for part in parts])[back]
            np.testing.assert_array_equal(joined, whole.per_user[name][k])


def test_places_without_an_item_are_no_hits_and_a_repeated_test_item_counts_once():
    test = Sequences.from_lists([[0, 0, 1], [7]], 8)
    metrics = evaluate(jnp.array([[0, -1, -1], [-1, -1, 7]]), test, ks=(3,))
    np.testing.assert_allclose(metrics.per_user["recall"][3], [1 / 2, 1])
    np.testing.assert_allclose(metrics.per_user["mrr"][3], [1, 1 / 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recommended": np.zeros((3, 2), int)}, r"shape \(3, 2\), but the test set has 2 users"),
        ({"recommended": np.array([[0, 1]]), "users": np.array([0, 1])}, "but 2 users were given"),
        ({"ks": (3,)}, r"ks=\(3,\); lists of 2 items allow K from 1 to 2"),
        ({"ks": (0, 1)}, "allow K from 1"),
        ({"ks": ()}, "allow K from 1"),
        ({"users": np.array([0, 2])}, "users reach from 0 to 2, the test set has 0 ... 1"),
        ({"users": np.array([1, 1])}, "a user occurs twice"),
        ({"recommended": np.array([[0, 1], [2, 9]])}, "items reach from 0 to 9; the catalogue has 0 ... 4"),
        ({"recommended": np.array([[0, 1], [2, 2]])}, "the list of user 1 has an item twice"),
        ({"test": Sequences.from_lists([[], []], 5)}, "none of the 2 users has a test item"),
    ],
)
def test_what_cannot_be_evaluated(arguments, message, unchecked_types):
    given = {"recommended": np.array([[0, 1], [2, 3]]), "test": Sequences.from_lists([[0], [4]], 5), "ks": (1,)}
    with pytest.raises(ValueError, match=message):
        evaluate(**given | arguments)
