"""The Bethe approximation and networks of many BSSs."""

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from offprint.federated_mlo._bethe import (
    as_edges,
    bethe_activity,
    bethe_messages,
    check_triangles,
    edges_from_adjacency,
    edges_from_pairs,
)
from offprint.federated_mlo._ctmn import ctmn_activity
from offprint.federated_mlo._dense import dense, edge_topology, sensing_range_m
from offprint.federated_mlo._radio import DEFAULT_RADIO
from offprint.federated_mlo._scenarios import scenario_topology
from offprint.federated_mlo._topology import named_graph


@pytest.fixture(scope="module")
def forest():
    """A star and a random tree of eight BSSs, on two links; one BSS is off on one of them."""
    rng = np.random.default_rng(3)
    tree = np.zeros((8, 8), bool)
    for node in range(1, 8):
        parent = rng.integers(node)
        tree[node, parent] = tree[parent, node] = True
    mask = np.ones((8, 2), bool)
    mask[2, 1] = False
    return np.stack([np.asarray(named_graph("star", 8)[0]), tree]), mask, rng.uniform(5, 90, (8, 2))


def test_exact_on_trees(forest):
    adj, mask, theta = forest
    y, residual = bethe_activity(edges_from_adjacency(adj), theta, mask)
    np.testing.assert_allclose(y, ctmn_activity(adj, mask, theta), atol=1e-10)
    assert residual < 1e-9


def test_every_form_of_edges_is_the_same(forest):
    adj, mask, theta = forest
    edges = edges_from_adjacency(adj)
    expected = bethe_activity(edges, theta, mask)[0]
    np.testing.assert_array_equal(bethe_activity((edges.senders, edges.receivers), theta, mask)[0], expected)
    rng = np.random.default_rng(0)
    graphs = []
    for link in adj:
        senders, receivers = rng.permutation(np.argwhere(link)).T
        graphs.append(jraph.GraphsTuple(None, None, receivers, senders, None, np.array([8]), np.array([len(senders)])))
    graphs[1] = jraph.pad_with_graphs(graphs[1], 10, 20)
    np.testing.assert_allclose(bethe_activity(graphs, theta, mask)[0], expected, atol=1e-13)
    np.testing.assert_array_equal(as_edges(graphs[0], 8).senders[0], edges.senders[0])


def test_each_edge_knows_its_other_direction():
    edges = edges_from_pairs([np.array([[0, 3], [1, 2], [3, 2]]), np.array([[2, 0]])], 4)
    assert edges.senders.shape == (2, 6)
    for senders, receivers, reverse in zip(*map(np.asarray, edges)):
        np.testing.assert_array_equal(senders[reverse], receivers)
        assert (np.diff(receivers) >= 0).all()
    assert (np.asarray(edges.senders[1]) == 4).sum() == 4


def test_silent_bss_are_not_there(forest):
    adj, mask, theta = forest
    mask = mask.copy()
    mask[0, 0] = False  # the centre of the star
    y, _ = bethe_activity(edges_from_adjacency(adj), theta, mask)
    np.testing.assert_allclose(y[1:, 0], theta[1:, 0] / (1 + theta[1:, 0]), rtol=1e-12)
    assert y[0, 0] == 0


def test_derivatives_are_those_of_the_exact_law_on_trees(forest):
    adj, mask, theta = forest
    edges = edges_from_adjacency(adj)
    slope = jax.jit(jax.grad(lambda t: bethe_activity(edges, t, mask)[0][1].sum()))(jnp.asarray(theta))
    exact = jax.jit(jax.grad(lambda t: ctmn_activity(adj, mask, t)[1].sum()))(jnp.asarray(theta))
    np.testing.assert_allclose(slope, exact, atol=1e-9)


def test_old_messages_are_a_start(forest):
    adj, mask, theta = forest
    edges = edges_from_adjacency(adj)
    y, messages, _ = bethe_messages(edges, theta, mask)
    again, _, residual = bethe_messages(edges, theta, mask, messages, iters=1)
    np.testing.assert_allclose(again, y, atol=1e-10)
    assert residual < 1e-9


def test_cycles_make_it_an_approximation():
    ring, mask, theta = named_graph("ring", 6), np.ones((6, 1)), np.full((6, 1), 3.0)
    y, residual = bethe_activity(edges_from_adjacency(ring), theta, mask)
    error = np.abs(y - ctmn_activity(ring, mask, theta)).max()
    assert residual < 1e-6
    assert 1e-6 < error < 0.02


def test_triangles_are_pointed_out():
    clique, ones = named_graph("clique", 3), np.ones((3, 1))
    pairs = tuple(edges_from_adjacency(clique)[:2])
    with pytest.warns(UserWarning, match="link 0 has triangles"):
        bethe_activity(pairs, ones, ones)
    check_triangles(edges_from_adjacency(named_graph("grid2d", 9)), 9)  # no warning, which would be an error here


@pytest.mark.parametrize(
    ("senders", "receivers", "message"),
    [
        ([0, 1], [1, 2], "in one direction only"),
        ([1, 0, 0], [0, 1, 1], "in one direction only, or an edge twice"),
        ([0, 1], [1, 0], "not sorted by receiver"),
        ([7, 0], [0, 7], r"edge 0 of link 0 joins 7 and 0 where BSSs are 0\.\.2"),
    ],
)
def test_refuses(senders, receivers, message):
    edges = np.array(senders, np.int32), np.array(receivers, np.int32)
    with pytest.raises(ValueError, match=message):
        bethe_activity(edges, np.ones((3, 1)), np.ones((3, 1)))


@pytest.fixture(scope="module")
def network():
    return dense(jax.random.key(0), 400, degree=5)


def test_dense_finds_every_pair_within_range(network):
    ap = np.asarray(network.ap)
    distance = np.linalg.norm(ap[:, None] - ap, axis=-1)
    for link, reach in enumerate((40, 30, 30)):  # where -82 dBm is passed, for a wall every 10 m
        assert sensing_range_m(DEFAULT_RADIO, link) == pytest.approx(reach)
        close = {tuple(pair) for pair in np.argwhere((distance < reach) & (distance > 0))}
        senders, receivers = np.asarray(network.senders[link]), np.asarray(network.receivers[link])
        assert {(s, r) for s, r in zip(senders, receivers) if s < 400} == close
    edge = np.asarray(network.senders[0]) < 400
    assert 4 < edge.sum() / 400 < 5  # the border has fewer


def test_dense_has_constant_density_and_usable_links(network):
    side = np.sqrt(400 * np.pi * 40**2 / 5)
    assert network.ap.max() <= side
    assert network.ap.max() > 0.95 * side
    assert (network.cap > 0).all()
    np.testing.assert_allclose(network.theta, network.t_s / 67.5)
    with pytest.raises(ValueError, match="degree=0"):
        dense(jax.random.key(0), 10, 0)


def test_dense_activities_in_float32(network):
    y, _ = bethe_activity(network.graphs, network.theta.astype(jnp.float32), np.ones((400, 3)), damping=0.8)
    assert y.dtype == jnp.float32
    assert (y > 0).all()
    assert (y < 1).all()


def test_the_same_topology_with_edges():
    topology = scenario_topology("chain3_l2")
    edges = edge_topology(topology)
    mask = np.array([[1, 1], [1, 0], [0, 1]])
    y, _ = bethe_activity(edges.graphs, edges.theta, mask)
    np.testing.assert_allclose(y, ctmn_activity(topology.adj, mask, topology.theta), atol=1e-9)
    np.testing.assert_array_equal(edges.cap, topology.cap)
