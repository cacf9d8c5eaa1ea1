"""Graphs: what they hold, how they are built, and that they behave as pytrees."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.gaug._graph import Graph, reverse_entries

EDGES = np.array([[0, 1], [3, 1], [2, 0]])


@st.composite
def edge_lists(draw):
    nodes = draw(st.integers(2, 9))
    every = [(i, j) for i in range(nodes) for j in range(i + 1, nodes)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True))
    return np.array(chosen, np.int32).reshape(-1, 2), nodes


def test_both_directions_are_sorted_by_receiver_and_sender():
    g = Graph.from_edges(EDGES, 5)
    assert list(zip(g.receivers.tolist(), g.senders.tolist())) == [(0, 1), (0, 2), (1, 0), (1, 3), (2, 0), (3, 1)]
    assert g.senders.dtype == g.receivers.dtype == jnp.int32
    assert g.weights.tolist() == [1] * 6
    assert g.edge_mask.all()
    assert (g.num_nodes, g.num_edges) == (5, 3)
    assert g.degrees().tolist() == [2, 2, 1, 1, 0]
    assert g.edges().tolist() == [[0, 1], [0, 2], [1, 3]]


@settings(max_examples=25, deadline=None)
@given(edge_lists(), st.integers(0, 2**31), st.booleans(), st.integers(0, 3))
def test_any_way_of_giving_the_edges_gives_the_same_graph(graph, seed, both, padding):
    edges, nodes = graph
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, len(edges))
    turned = np.where(rng.integers(0, 2, (len(edges), 1)), edges, edges[:, ::-1])
    if both:
        turned, weights = np.concatenate([turned, turned[:, ::-1]]), np.concatenate([weights, weights])
    order = rng.permutation(len(turned))
    g = Graph.from_edges(turned[order], nodes, weights[order], pad_to=2 * len(edges) + padding)
    dense = np.zeros((nodes, nodes))
    dense[turned[:, 0], turned[:, 1]] = dense[turned[:, 1], turned[:, 0]] = weights
    np.testing.assert_array_equal(g.to_dense(), dense)
    np.testing.assert_array_equal(g.edges(), np.argwhere(np.triu(dense) > 0))
    np.testing.assert_allclose(g.degrees(), dense.sum(1), rtol=1e-12)
    assert len(g.senders) == 2 * len(edges) + padding
    assert (np.diff(g.receivers) >= 0).all()
    back = Graph.from_dense(dense)
    np.testing.assert_array_equal(back.to_dense(), dense)
    reverse = reverse_entries(g)
    np.testing.assert_array_equal(g.senders[reverse], g.receivers)
    np.testing.assert_array_equal(g.receivers[reverse], g.senders)


def test_padding_points_to_the_last_node_and_counts_for_nothing():
    g = Graph.from_edges(EDGES, 5, pad_to=9)
    assert g.senders[6:].tolist() == g.receivers[6:].tolist() == [4, 4, 4]
    assert g.weights[6:].tolist() == [0, 0, 0]
    assert g.edge_mask.sum() == 6
    assert g.num_edges == 3
    assert g.degrees().tolist() == Graph.from_edges(EDGES, 5).degrees().tolist()


def test_a_graph_without_edges_is_a_graph():
    g = Graph.from_edges(np.empty((0, 2), int), 3)
    assert (g.num_edges, g.edges().shape) == (0, (0, 2))
    assert not g.to_dense().any()


def test_symmetrize_takes_every_link_both_ways_with_the_mean_weight():
    g = Graph.from_edges(np.array([[0, 1], [1, 0], [1, 2]]), 3, np.array([1.0, 3.0, 5.0]), symmetrize=True)
    np.testing.assert_array_equal(g.to_dense(), [[0, 2, 0], [2, 0, 5], [0, 5, 0]])


def test_loops_and_repeated_edges_are_dropped_with_their_counts():
    with pytest.warns(UserWarning, match="2 self-loops and 1 repeated edges were dropped"):
        g = Graph.from_edges(np.array([[0, 0], [0, 1], [2, 2], [0, 1]]), 3)
    assert g.edges().tolist() == [[0, 1]]
    with pytest.warns(UserWarning, match="3 self-loops on the diagonal were dropped"):
        assert Graph.from_dense(np.eye(3)).num_edges == 0


def test_a_graph_passes_through_jit_vmap_and_grad():
    g = Graph.from_edges(EDGES, 5, pad_to=8)
    doubled = jax.jit(lambda g: replace(g, weights=2 * g.weights))(g)
    np.testing.assert_array_equal(doubled.to_dense(), 2 * g.to_dense())
    assert doubled.num_nodes == 5
    batch = jax.tree.map(lambda *a: jnp.stack(a), g, doubled)
    np.testing.assert_array_equal(jax.vmap(Graph.degrees)(batch), np.stack([g.degrees(), doubled.degrees()]))
    gradient = jax.grad(lambda w: (replace(g, weights=w).to_dense()[0] ** 2).sum())(g.weights)
    assert gradient.tolist() == [2, 2, 0, 0, 0, 0, 0, 0]
    leaves, structure = jax.tree.flatten(g)
    assert jax.tree.unflatten(structure, [None] * len(leaves)).senders is None


def test_jraph_gets_the_edges_without_padding():
    g = Graph.from_edges(EDGES, 5, np.array([1.0, 2.0, 3.0]), pad_to=10)
    x = jnp.arange(10.0).reshape(5, 2)
    graph = g.to_jraph(x)
    assert graph.edges.shape == (6, 1)
    assert (graph.n_node.tolist(), graph.n_edge.tolist()) == ([5], [6])
    messages = graph.edges * x[graph.senders]
    np.testing.assert_allclose(jraph.segment_sum(messages, graph.receivers, 5), g.to_dense() @ x)
