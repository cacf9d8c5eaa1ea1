"""Scores of pairs, and the search for the best ones against sorting them all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.gaug._graph import Graph
from offprint.gaug._scores import edge_scores, top_pairs


def random_graph(rng, n, share):
    return Graph.from_edges(np.argwhere(np.triu(rng.random((n, n)) < share, 1)), n)


def by_sorting(z, k, graph, score):
    z = np.asarray(z, np.float64)
    if score == "cosine":
        length = np.sqrt((z * z).sum(1, keepdims=True))
        z = z / np.where(length > 0, length, 1)
    free = np.triu(np.ones((len(z), len(z)), bool), 1)
    free[tuple(graph.edges().T)] = False
    i, j = np.nonzero(free)
    values = (z[i] * z[j]).sum(1)
    best = np.lexsort((j, i, -values))[:k]
    return np.stack([i[best], j[best]], axis=1), values[best]


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(2, 120),
    seed=st.integers(0, 2**16),
    block_size=st.integers(1, 150),
    share=st.floats(0, 1),
    levels=st.integers(1, 4),
)
def test_the_best_pairs_are_those_of_sorting_all_with_ties(n, seed, block_size, share, levels):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, levels, (n, 3)).astype(np.float32)  # few levels: many equal scores
    graph = random_graph(rng, n, 0.1)
    k = int(share * (n * (n - 1) // 2 - graph.num_edges))
    pairs, scores = top_pairs(z, k, exclude=graph, block_size=max(block_size, n // 8))
    expected, values = by_sorting(z, k, graph, "inner")
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_array_equal(scores, values)


@pytest.mark.parametrize("score", ["inner", "cosine", "sigmoid"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_real_embeddings_give_the_same_pairs_for_every_block_size(score, dtype):
    rng = np.random.default_rng(0)
    z, graph = np.maximum(rng.normal(size=(300, 8)), 0).astype(dtype), random_graph(rng, 300, 0.05)
    z[7] = 0  # no direction
    z[11] = z[12]
    expected, values = by_sorting(z, 2000, graph, score)
    for block_size in (17, 300, 1024):
        pairs, scores = top_pairs(z, 2000, exclude=graph, score=score, block_size=block_size)
        np.testing.assert_array_equal(pairs, expected)
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-values)) if score == "sigmoid" else values, rtol=1e-12)
    np.testing.assert_allclose(edge_scores(z, pairs, score), scores, rtol=1e-5)


def test_no_pair_is_an_edge_a_loop_or_a_repetition():
    rng = np.random.default_rng(3)
    graph = random_graph(rng, 200, 0.3)
    pairs, _ = top_pairs(rng.normal(size=(200, 4)), 5000, exclude=graph, block_size=64)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    keys = pairs @ [200, 1]
    assert len(np.unique(keys)) == 5000
    assert not np.isin(keys, graph.edges() @ [200, 1]).any()


def test_all_free_pairs_can_be_asked_for_and_none():
    z = np.arange(12.0).reshape(4, 3)
    graph = Graph.from_edges(np.array([[0, 1], [2, 3]]), 4)
    pairs, _ = top_pairs(z, 4, exclude=graph)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert top_pairs(z, 0)[0].shape == (0, 2)


def test_scores_have_gradients_where_a_vector_is_zero():
    z = jnp.zeros((3, 2)).at[1].set(1.0)
    pairs = np.array([[0, 1], [1, 2], [0, 2]])
    for score in ("inner", "cosine", "sigmoid"):
        assert np.isfinite(jax.grad(lambda z, score=score: edge_scores(z, pairs, score).sum())(z)).all()
    np.testing.assert_array_equal(edge_scores(z, pairs, "cosine"), 0)


def test_what_cannot_be_ranked_is_refused(unchecked_types):
    z = np.ones((5, 2))
    with pytest.raises(ValueError, match="k=11 pairs are asked for, but 5 nodes have 10 pairs"):
        top_pairs(z, 11)
    with pytest.raises(ValueError, match="k=-1"):
        top_pairs(z, -1)
    with pytest.raises(ValueError, match="score 'dot' is unknown; one of inner, cosine, sigmoid is needed"):
        top_pairs(z, 1, score="dot")
    with pytest.raises(ValueError, match="z has 5 rows, but the graph has 6 nodes"):
        top_pairs(z, 1, exclude=Graph.from_edges(np.array([[0, 1]]), 6))
    with pytest.raises(ValueError, match="z has 1 entries that are NaN or infinite"):
        top_pairs(np.where(np.arange(10).reshape(5, 2) == 3, np.nan, z), 1)
    with pytest.raises(ValueError, match=r"pairs have shape \(3,\); \(P, 2\) is needed"):
        edge_scores(z, np.arange(3))
