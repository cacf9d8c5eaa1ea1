"""Scores against the authors' code and scikit-learn, and counts of edges within classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from offprint.gaug._graph import Graph
from offprint.gaug._metrics import (
    EdgeCounts,
    edge_ap,
    edge_auc,
    homophily,
    homophily_report,
    intra_inter_counts,
    micro_f1,
    validation_pairs,
)

BEFORE = Graph.from_edges(np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), 5)
AFTER = Graph.from_edges(np.array([[0, 1], [2, 3], [0, 2], [3, 4]]), 5)
Y = np.array([0, 0, 1, 1, -1])


def test_micro_f1_is_that_of_the_authors_code(golden):
    arrays = golden("metrics")
    for prefix in ("", "ml_"):
        logits, labels = arrays[f"{prefix}logits"], arrays[f"{prefix}labels"]
        assert float(micro_f1(logits, labels)) == pytest.approx(float(arrays[f"{prefix}micro_f1"]), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5))
def test_scores_are_those_of_scikit_learn_with_ties(seed, levels):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, levels, 30) / levels, rng.integers(0, 2, 30)
    labels[:2] = 0, 1
    assert float(edge_auc(scores, labels)) == pytest.approx(roc_auc_score(labels, scores))
    assert float(edge_ap(scores, labels)) == pytest.approx(average_precision_score(labels, scores))
    many = rng.integers(0, 2, (30, 3))
    logits = rng.standard_normal((30, 3))
    wanted = f1_score(many, logits > 0, average="micro", zero_division=0)
    assert float(micro_f1(logits, many)) == pytest.approx(wanted)


def test_micro_f1_without_labels_and_predictions_is_zero():
    assert micro_f1(-jnp.ones((3, 2)), jnp.zeros((3, 2), jnp.int32)) == 0


def test_scores_run_under_jit_and_vmap():
    logits = jnp.asarray(np.random.default_rng(0).standard_normal((4, 20, 3)))
    labels = jnp.arange(20) % 3
    batch = jax.jit(jax.vmap(micro_f1, (0, None)))(logits, labels)
    assert batch[2] == micro_f1(logits[2], labels)
    ap = jax.jit(jax.vmap(edge_ap, (0, None)))(logits[:, :, 0], labels == 0)
    assert ap[1] == pytest.approx(float(edge_ap(logits[1, :, 0], labels == 0)))


def test_homophily_counts_edges_of_known_labels():
    assert homophily(BEFORE, Y) == 0.5
    assert jax.jit(homophily)(AFTER, Y) == pytest.approx(2 / 3)
    assert jnp.isnan(homophily(BEFORE, np.full(5, -1)))


def test_counts_tell_what_was_added_and_removed():
    assert intra_inter_counts(BEFORE, AFTER, Y) == EdgeCounts(2, 2, 2, 1, 0, 1, 0, 2)
    report = homophily_report(BEFORE, AFTER, Y).splitlines()
    assert report[0].split() == ["edges", "within", "between", "homophily"]
    assert [line.split() for line in report[1:]] == [
        ["before", "2", "2", "0.500"],
        ["after", "2", "1", "0.667"],
        ["added", "0", "1", "0.000"],
        ["removed", "0", "2", "0.000"],
    ]
    assert homophily_report(BEFORE, BEFORE, Y).splitlines()[3].split() == ["added", "0", "0", "-"]


def test_validation_pairs_are_edges_and_as_many_others():
    rng = np.random.default_rng(0)
    edges = np.array([(i, j) for i in range(60) for j in range(i + 1, 60) if rng.random() < 0.1])
    g = Graph.from_edges(edges, 60)
    pairs, labels = validation_pairs(g, seed=3)
    count = int(0.1 * (2 * len(edges) + 60) / 2)
    assert pairs.shape == (2 * count, 2)
    assert labels.tolist() == [True] * count + [False] * count
    known = set(map(tuple, edges.tolist()))
    assert [tuple(pair) in known for pair in pairs.tolist()] == labels.tolist()
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(set(map(tuple, pairs.tolist()))) == len(pairs)
    np.testing.assert_array_equal(validation_pairs(g, seed=3)[0], pairs)
    assert (validation_pairs(g, seed=4)[0] != pairs).any()
    dense = Graph.from_edges(np.array([(i, j) for i in range(6) for j in range(i + 1, 6)][:-1]), 6)
    assert not validation_pairs(dense, share=0.06)[1][1]  # the only pair that is left is found
