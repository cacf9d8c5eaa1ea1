"""The item graph: its counts, its weights, its products, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.magnn import ItemGraph, Sequences, check_graph, item_graph, propagate

LISTS = st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=5)


def counted(lists, num_items, lookahead, directed):
    C = np.zeros((num_items, num_items), int)
    for items in lists:
        for i, a in enumerate(items):
            for b in items[i + 1 : i + 1 + lookahead]:
                if a != b:
                    C[a, b] += 1
                    if not directed:
                        C[b, a] += 1
    return C


@settings(max_examples=30, deadline=None)
@given(LISTS, st.integers(1, 4), st.booleans())
def test_counts_are_those_of_the_loop_over_pairs(lists, lookahead, directed):
    graph = item_graph(Sequences.from_lists(lists, 8), lookahead=lookahead, directed=directed)
    C = counted(lists, 8, lookahead, directed)
    np.testing.assert_array_equal(np.stack([graph.rows, graph.cols]), np.nonzero(C))  # sorted by row, then column
    np.testing.assert_array_equal(graph.counts, C[C > 0])
    total = C.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(graph.to_dense(), C / np.maximum(total, 1), rtol=1e-15)
    check_graph(graph, Sequences.from_lists(lists, 8))


@settings(max_examples=20, deadline=None)
@given(LISTS, st.integers(1, 3))
def test_max_degree_keeps_the_most_frequent_neighbours(lists, most):
    sequences = Sequences.from_lists(lists, 8)
    full, capped = item_graph(sequences), item_graph(sequences, max_degree=most)
    C = np.zeros((8, 8), int)
    C[full.rows, full.cols] = full.counts
    for row in range(8):
        kept = np.asarray(capped.cols)[np.asarray(capped.rows) == row]
        best = sorted(np.nonzero(C[row])[0], key=lambda col: (-C[row, col], col))[:most]
        assert list(kept) == sorted(best)
    sums = np.bincount(capped.rows, capped.weights, minlength=8)
    np.testing.assert_allclose(sums[sums > 0], 1)
    check_graph(capped, sequences)


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    return item_graph(Sequences.from_lists([rng.integers(0, 19, 12) for _ in range(6)], 20), directed=True)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("dense", [True, False])
def test_propagate_is_the_product_with_a_and_its_gradient_that_with_its_transpose(graph, dense, dtype):
    assert graph.dense is not None  # a fifth of the matrix is filled
    way = graph if dense else replace(graph, dense=None, dense_t=None)
    E, G = (jax.random.normal(jax.random.key(k), (20, 3), dtype) for k in range(2))
    out, pull = jax.jit(lambda graph, E, G: (propagate(graph, E), jax.vjp(lambda E: propagate(graph, E), E)[1](G)[0]))(
        way, E, G
    )
    A = np.asarray(graph.to_dense())
    assert out.dtype == pull.dtype == dtype
    tolerance = {"rtol": 0, "atol": 1e-14 if dtype == jnp.float64 else 1e-6}
    np.testing.assert_allclose(out, A @ E, **tolerance)
    np.testing.assert_allclose(pull, A.T @ G, **tolerance)
    np.testing.assert_array_equal(out[19], 0)  # nobody had it


def test_propagate_of_many_tables_at_once(graph):
    way = replace(graph, dense=None, dense_t=None)
    E = jax.random.normal(jax.random.key(0), (4, 20, 3))
    np.testing.assert_allclose(jax.vmap(lambda E: propagate(way, E))(E), graph.to_dense() @ E, atol=1e-14)


def test_large_and_empty_graphs_have_no_dense_matrix():
    sparse = item_graph(Sequences.from_lists([[0, 1, 2, 3]], 40))
    assert sparse.dense is None
    large = ItemGraph.from_coo(np.array([0]), np.array([1]), np.array([1.0]), num_items=5000)
    assert large.dense is None
    empty = item_graph(Sequences.from_lists([[2]], 3))
    assert empty.num_edges == 0
    np.testing.assert_array_equal(propagate(empty, jnp.ones((3, 2))), 0)


def test_a_graph_of_ones_own_in_any_order():
    rows, cols, weights = np.array([2, 0, 0]), np.array([0, 2, 1]), np.array([1.0, 0.25, 0.75])
    graph = ItemGraph.from_coo(rows, cols, weights, num_items=3)
    np.testing.assert_array_equal(graph.to_dense(), [[0, 0.75, 0.25], [0, 0, 0], [1, 0, 0]])
    assert graph.counts is None
    check_graph(graph, Sequences.from_lists([[0, 1]], 3))  # no counts to hold against the log


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rows": [0, 3]}, "a row of the graph is 3, but its 3 items are 0 to 2"),
        ({"cols": [-1, 1]}, "a column of the graph is -1"),
        ({"weights": [0.5, np.nan]}, "1 of the graph's weights are NaN or infinite"),
        ({"weights": [1.5, -0.5]}, "must not be negative, but one is -0.5"),
        ({"weights": [0.5, 0.4]}, "must sum to 1, but those of item 0 sum to 0.9"),
        ({"weights": [1.0]}, "a graph of 2 edges needs as many weights"),
        ({"cols": [1, 1]}, "the edge from item 0 to item 1 is there twice"),
        ({"rows": [0]}, "as many rows as columns"),
        ({"weights": None}, "needs weights .* or counts"),
        ({"counts": [0, 1]}, "must be at least 1, but one is 0"),
    ],
)
def test_what_is_no_graph_is_refused(changed, message, unchecked_types):
    given = {"rows": [0, 0], "cols": [1, 2], "weights": [0.5, 0.5]} | changed
    arrays = {name: None if value is None else np.asarray(value) for name, value in given.items()}
    with pytest.raises(ValueError, match=message):
        ItemGraph.from_coo(**arrays, num_items=3)


def test_a_graph_that_knows_more_than_the_training_log_is_refused():
    train, everything = Sequences.from_lists([[0, 1], [3, 2]], 5), Sequences.from_lists([[0, 1, 4], [3, 2]], 5)
    with pytest.raises(ValueError, match=r"4 of the graph's 8 edges .* first from item 0 to item 4 \(1 times, 0 in"):
        check_graph(item_graph(everything), train)
    with pytest.raises(ValueError, match="has 6 items, but the training sequences have 5"):
        check_graph(item_graph(Sequences.from_lists([[0, 1]], 6)), train)
    check_graph(item_graph(train), everything)


@pytest.mark.parametrize("option", ["lookahead", "max_degree"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 1"):
        item_graph(Sequences.from_lists([[0, 1]]), **{option: 0})
