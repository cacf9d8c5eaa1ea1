"""GAug-M's change of the graph against the original implementation, and its edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.gaug._graph import Graph
from offprint.gaug._modify import modify_graph


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("gaugm_edges")


@pytest.fixture(scope="module")
def graph(arrays):
    return Graph.from_dense(arrays["adj"])


@pytest.mark.parametrize("case", range(5))
def test_the_edges_are_those_of_the_original(arrays, graph, case):
    remove, add = (float(percent) / 100 for percent in arrays["pcts"][case])
    changed, report = modify_graph(graph, arrays["scores"], remove, add)
    np.testing.assert_array_equal(changed.edges(), arrays[f"edges_{case}"])
    assert len(report.removed) == int(graph.num_edges * arrays["pcts"][case][0] / 100)
    assert len(report.added) == int(graph.num_edges * arrays["pcts"][case][1] / 100)


def test_no_change_asked_for_is_no_change(arrays, graph):
    changed, report = modify_graph(graph, arrays["scores"], 0, 0)
    np.testing.assert_array_equal(changed.edges(), graph.edges())
    assert len(report.removed) == len(report.added) == 0
    assert np.isnan(report.intra_class(np.zeros(30, int))["added"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), remove=st.floats(0, 1), add=st.floats(0, 1), levels=st.integers(1, 5))
def test_what_goes_scores_below_what_stays_and_what_comes_above_what_does_not(seed, remove, add, levels):
    rng = np.random.default_rng(seed)
    n = 24
    graph = Graph.from_edges(np.argwhere(np.triu(rng.random((n, n)) < 0.2, 1)), n)
    z = rng.integers(0, levels, (n, 3)).astype(float)
    by_z = modify_graph(graph, z, remove, add, block_size=7)
    by_matrix = modify_graph(graph, z @ z.T, remove, add)
    np.testing.assert_array_equal(by_z[0].edges(), by_matrix[0].edges())
    np.testing.assert_array_equal(by_z[1].removed, by_matrix[1].removed)
    np.testing.assert_array_equal(by_z[1].added, by_matrix[1].added)
    report, scores = by_matrix[1], z @ z.T
    ranked = sorted((scores[i, j], i, j) for i, j in graph.edges().tolist())
    assert [tuple(pair) for pair in report.removed.tolist()] == [(i, j) for _, i, j in ranked[: len(report.removed)]]
    old, new = ({tuple(pair) for pair in g.edges().tolist()} for g in (graph, by_z[0]))
    assert old - new == {tuple(pair) for pair in report.removed.tolist()}
    assert new - old == {tuple(pair) for pair in report.added.tolist()}


def test_fractions_are_of_the_decimal_numbers_that_were_written():
    # 0.57 · 100 is a little below 57 in binary.
    path = Graph.from_edges(np.stack([np.arange(100), np.arange(1, 101)], axis=1), 101)
    _, report = modify_graph(path, np.random.default_rng(0).normal(size=(101, 4)), 0.29, 0.57)
    assert (len(report.removed), len(report.added)) == (29, 57)


def test_all_edges_may_go_and_counts_may_be_given(graph, arrays):
    changed, report = modify_graph(graph, arrays["scores"], 1.0, 0)
    assert changed.num_edges == 0
    changed, report = modify_graph(graph, arrays["scores"], 3, 100, units="count")
    assert (len(report.removed), len(report.added)) == (3, 100)
    assert changed.num_edges == graph.num_edges + 97


def test_weights_stay_with_their_edges():
    graph = Graph.from_edges(np.array([[2, 3], [0, 1], [1, 2]]), 4, np.array([3.0, 1.0, 2.0]))
    z = np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 1.0], [0.0, 2.0]])  # 1 - 2 scores lowest, 1 - 3 comes
    changed, report = modify_graph(graph, z, 1, 1, units="count")
    assert report.removed.tolist() == [[1, 2]]
    assert report.added.tolist() == [[1, 3]]
    dense = np.asarray(changed.to_dense())
    assert (dense[0, 1], dense[2, 3], dense[1, 3], dense[1, 2]) == (1, 3, 1, 0)


def test_added_edges_follow_the_classes_when_the_embedding_does():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    z = np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3))
    graph = Graph.from_edges(np.argwhere(np.triu(rng.random((60, 60)) < 0.1, 1)), 60)
    changed, report = modify_graph(graph, z, 0.3, 0.5, score="cosine")
    shares = report.intra_class(labels)
    assert shares["added"] == 1
    assert shares["removed"] == 0
    assert changed.num_edges == graph.num_edges - len(report.removed) + len(report.added)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((0.02, 57), {}, r"add=57; fractions in \[0, 1\] are needed \(0.57 for 57 %\), or .*units='count'"),
        ((-0.1, 0), {}, "remove=-0.1; fractions"),
        ((0.5, 0), {"units": "count"}, "remove=0.5 with units='count'; a whole number of edges"),
        ((57, 0), {"units": "count"}, "57 edges to remove and 0 to add, but there are 56 edges and 379 pairs"),
        ((0, 380), {"units": "count"}, "0 edges to remove and 380 to add, but there are 56 edges and 379 pairs"),
        ((0, 0), {"units": "percent"}, "units 'percent' is unknown; one of fraction, count is needed"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(unchecked_types, arrays, graph, arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        modify_graph(graph, arrays["scores"], *arguments, **settings)


def test_scores_that_fit_no_graph_are_refused(unchecked_types, arrays, graph):
    scores = arrays["scores"].copy()
    scores[3, 4] += 1
    with pytest.raises(ValueError, match=r"the scores are not symmetric: \(3, 4\)"):
        modify_graph(graph, scores)
    with pytest.raises(ValueError, match=r"z_or_scores has shape \(29, 30\), but the graph has 30 nodes"):
        modify_graph(graph, scores[1:])
    scores[3, 4] = scores[4, 3] = np.nan
    with pytest.raises(ValueError, match="2 entries that are NaN or infinite"):
        modify_graph(graph, scores)
