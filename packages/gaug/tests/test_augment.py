"""Augmentations: exact counts, fixed shapes, both directions together, and diffusion."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.gaug._augment import add_edges, compose, drop_edge, drop_nodes, mask_features
from offprint.gaug._diffusion import gdc
from offprint.gaug._features import SparseFeatures
from offprint.gaug._graph import Graph

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    edges = np.array([(i, j) for i in range(40) for j in range(i + 1, 40) if rng.random() < 0.2])
    return Graph.from_edges(edges, 40, rng.uniform(0.5, 2, len(edges)), pad_to=2 * len(edges) + 4)


def pairs(g):
    return set(map(tuple, g.edges().tolist()))


def is_undirected(g):
    """Symmetric in places, weights and mask, sorted, without loops among its edges."""
    dense, mask = np.asarray(g.to_dense()), np.asarray(g.edge_mask)
    present = np.zeros(dense.shape, bool)
    present[g.receivers[mask], g.senders[mask]] = True
    places = list(zip(g.receivers.tolist(), g.senders.tolist()))
    return (
        (dense == dense.T).all()
        and (present == present.T).all()
        and not present.diagonal().any()
        and (present == (dense > 0)).all()
        and places == sorted(places)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.integers(0, 2**31 - 1))
def test_drop_edge_keeps_exactly_the_share_it_should(percent, seed):
    rng = np.random.default_rng(1)
    edges = np.array([(i, j) for i in range(25) for j in range(i + 1, 25) if rng.random() < 0.3])
    g = Graph.from_edges(edges, 25)
    dropped = drop_edge(jax.random.key(seed), g, percent / 100)
    assert dropped.num_edges == (100 - percent) * len(edges) // 100
    assert pairs(dropped) <= pairs(g)
    assert is_undirected(dropped)
    assert dropped.senders.shape == g.senders.shape


def test_drop_edge_is_the_same_compiled_and_keeps_weights(graph):
    compiled = jax.jit(partial(drop_edge, rate=0.3))(KEY, graph)
    plain = drop_edge(KEY, graph, 0.3)
    for one, other in zip(jax.tree.leaves(compiled), jax.tree.leaves(plain)):
        np.testing.assert_array_equal(one, other)
    kept = np.asarray(plain.edge_mask)
    np.testing.assert_array_equal(plain.weights[kept], graph.weights[kept])
    assert not plain.weights[~kept].any()


def test_dropping_from_a_dropped_graph_counts_what_is_left(graph):
    left = drop_edge(KEY, graph, 0.5)
    again = drop_edge(jax.random.key(1), left, 0.5)
    assert left.num_edges == graph.num_edges // 2
    assert again.num_edges == left.num_edges // 2
    assert pairs(again) <= pairs(left)


def test_every_edge_is_dropped_equally_often(graph):
    masks = jax.jit(jax.vmap(lambda key: drop_edge(key, graph, 0.4).edge_mask))(jax.random.split(KEY, 2000))
    share = masks.mean(0)[graph.edge_mask]
    assert jnp.abs(share - 0.6).max() < 5 * np.sqrt(0.24 / 2000)


@pytest.mark.parametrize("rate", [0, 0.1, 0.5, 2])
def test_add_edges_adds_exactly_the_share_and_keeps_the_old(graph, rate):
    added = jax.jit(partial(add_edges, rate=rate))(KEY, graph)
    assert added.num_edges == graph.num_edges + int(rate * graph.num_edges)
    assert pairs(added) >= pairs(graph)
    assert is_undirected(added)
    new = pairs(added) - pairs(graph)
    assert all(added.to_dense()[i, j] == 1 for i, j in list(new)[:5])


def test_add_edges_finds_pairs_in_a_large_graph_and_stops_when_all_are_joined():
    ring = np.stack([np.arange(3000), (np.arange(3000) + 1) % 3000], axis=1)
    added = add_edges(KEY, Graph.from_edges(ring, 3000), 0.5)
    assert added.num_edges == 4500
    assert is_undirected(added) if len(added.senders) < 1000 else pairs(added) >= pairs(Graph.from_edges(ring, 3000))
    full = add_edges(KEY, Graph.from_edges(np.array([[0, 1], [1, 2]]), 4), 10)
    assert full.num_edges == 6
    assert is_undirected(full)


def test_drop_nodes_takes_all_edges_of_exactly_the_share(graph):
    dropped = jax.jit(partial(drop_nodes, rate=0.25))(KEY, graph)
    assert is_undirected(dropped)
    alive = np.unique(dropped.edges())
    assert len(alive) <= 30
    inside = {(i, j) for i, j in pairs(graph) if i in alive and j in alive}
    assert pairs(dropped) == inside


def test_mask_features_zeros_the_same_columns_of_dense_and_sparse():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((6, 10)))
    masked = mask_features(KEY, x, 0.35)
    kept = (np.asarray(masked) != 0).all(0)
    assert kept.sum() == 6
    np.testing.assert_array_equal(masked, np.where(kept, x, 0))
    np.testing.assert_array_equal(mask_features(KEY, SparseFeatures.from_dense(x), 0.35).to_dense(), masked)


def test_compose_gives_each_step_its_own_key(graph):
    x = jnp.ones((40, 8))
    augment = jax.jit(
        compose(
            partial(drop_edge, rate=0.5), partial(drop_edge, rate=0.5), on_features=[partial(mask_features, rate=0.5)]
        )
    )
    g, masked = augment(KEY, graph, x)
    assert g.num_edges == graph.num_edges // 2 // 2
    assert masked[0].sum() == 4
    same_graph, same_x = compose()(KEY, graph, x)
    assert same_graph is graph
    assert same_x is x


def test_diffusion_is_its_series_made_sparse(graph):
    a = np.asarray(graph.to_dense()) + np.eye(40)
    d = a.sum(1)
    t = a / np.sqrt(np.outer(d, d))
    power, rank, heat = np.eye(40), 0.2 * np.eye(40), np.exp(-3) * np.eye(40)
    for k in range(1, 80):
        power = power @ t
        rank = rank + 0.2 * 0.8**k * power
        heat = heat + np.exp(-3 + k * np.log(3) - np.log(np.arange(1, k + 1)).sum()) * power
    for diffused, settings_ in ((rank, {"alpha": 0.2}), (heat, {"t": 3})):
        scale = np.sqrt(np.diagonal(diffused))
        unit = diffused / np.outer(scale, scale)
        np.fill_diagonal(diffused, 0)
        by_size = gdc(graph, **settings_, eps=0.01).to_dense()
        np.testing.assert_allclose(by_size, np.where(diffused >= 0.01, unit - np.diag(np.diag(unit)), 0), atol=1e-7)
        by_rank = np.asarray(gdc(graph, **settings_, top_k=4).to_dense()) > 0
        largest = diffused >= np.sort(diffused, axis=1)[:, -4:-3]
        np.testing.assert_array_equal(by_rank, largest | largest.T)


def test_diffusion_joins_no_components():
    two = Graph.from_edges(np.array([[0, 1], [2, 3]]), 5)
    assert pairs(gdc(two, alpha=0.1, top_k=4)) == {(0, 1), (2, 3)}


def test_augmentations_work_in_float32(graph):
    g = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == float else a, graph)
    for change in (drop_edge, add_edges, drop_nodes):
        assert change(KEY, g, 0.2).weights.dtype == jnp.float32
