"""The graph that is drawn block by block against the dense matrix: edges, values, gradients; and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.gaug import _collect
from offprint.gaug._blockwise import SampledGraph, expected_edges, sample_graph
from offprint.gaug._graph import Graph
from offprint.gaug._normalize import aggregate
from offprint.gaug._sample import sample_adjacency

N = 37
RNG = np.random.default_rng(0)
GRAPH = Graph.from_edges(np.argwhere(np.triu(RNG.random((N, N)) < 0.1, 1)), N, pad_to=200)
Z = jnp.asarray(np.maximum(RNG.normal(size=(N, 5)), 0))
UNIFORMS = jnp.asarray(RNG.random((N, N)))
X = jnp.asarray(RNG.normal(size=(N, 6)))
WEIGHTS = (jnp.asarray(RNG.normal(size=(6, 8))), jnp.asarray(RNG.normal(size=(8, 3))))


def network(graph, weights, kind):
    """Two layers, so that gradients of two aggregations meet in one pass."""
    hidden = jnp.tanh(aggregate(graph, X.astype(weights[0].dtype) @ weights[0], kind))
    return jnp.sin(aggregate(graph, hidden @ weights[1], kind)).sum()


def dense(z, weights, kind, **settings):
    return network(sample_adjacency(UNIFORMS, z, GRAPH, **settings), weights, kind)


def dense_gradients(kind, **settings):
    return jax.jit(lambda z, w: jax.value_and_grad(dense, (0, 1))(z, w, kind, **settings))(Z, WEIGHTS)


def sparse(z, weights, kind, block_size, **settings):
    graph = sample_graph(UNIFORMS, z, GRAPH, capacity=600, block_size=block_size, **settings)
    return graph.apply(lambda graph, weights: network(graph, weights, kind), weights)


def assert_equal(ours, expected, rtol=1e-10, atol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, expected)


@pytest.mark.parametrize("alpha", [1.0, 0.43])
def test_every_block_size_gives_the_dense_value_and_gradient(alpha):
    settings = {"alpha": alpha, "temperature": 1.2}
    expected = dense_gradients("sym", **settings)
    for block_size in (1, 7, N, 2 * N):
        ours = jax.jit(jax.value_and_grad(sparse, (0, 1)), static_argnames=("kind", "block_size"))(
            Z, WEIGHTS, kind="sym", block_size=block_size, **settings
        )
        assert_equal(ours, expected)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("row", {"alpha": 0.43, "temperature": 0.7}),
        ("sum", {"alpha": 1.0, "temperature": 0.3}),
        ("sym", {"alpha": 0.43, "temperature": 0.7, "score_map": "sigmoid"}),
        ("row", {"alpha": 0.8, "temperature": 1.0, "estimator": "gumbel_paper"}),
    ],
)
def test_every_kind_estimator_and_score_map_gives_the_dense_value_and_gradient(kind, settings):
    ours = jax.jit(lambda z, w: jax.value_and_grad(sparse, (0, 1))(z, w, kind, 16, **settings))(Z, WEIGHTS)
    assert_equal(ours, dense_gradients(kind, **settings))


def test_aggregating_layer_by_layer_has_the_gradient_of_all_at_once():
    def loss(z, weights):
        graph = sample_graph(UNIFORMS, z, GRAPH, alpha=0.43, temperature=1.2, capacity=600, block_size=16)
        return network(graph, weights, "sym")

    ours = jax.jit(jax.value_and_grad(loss, (0, 1)))(Z, WEIGHTS)
    assert_equal(ours, dense_gradients("sym", alpha=0.43, temperature=1.2))


def test_float32_is_within_its_rounding():
    settings = {"alpha": 0.43, "temperature": 1.2}
    expected = dense_gradients("sym", **settings)
    narrow = jax.tree.map(lambda a: a.astype(jnp.float32), (Z, WEIGHTS))
    ours = jax.jit(lambda z, w: jax.value_and_grad(sparse, (0, 1))(z, w, "sym", 16, **settings))(*narrow)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(ours))
    assert_equal(ours, expected, rtol=2e-5, atol=1e-5)


def test_a_key_draws_the_same_edges_in_blocks_and_in_a_matrix():
    key = jax.random.key(4)
    matrix = sample_adjacency(key, Z, GRAPH, alpha=0.6)
    for block_size in (5, 16, N):
        settings = {"alpha": 0.6, "capacity": 600, "block_size": block_size}
        graph = jax.jit(lambda key, settings=settings: sample_graph(key, Z, GRAPH, **settings))(key)
        np.testing.assert_array_equal(graph.edges(), np.argwhere(np.triu(matrix, 1)))


@pytest.mark.parametrize("at_once", [4, 40, 2**22])
def test_a_sum_by_portions_is_the_sum_at_once(monkeypatch, at_once):
    monkeypatch.setattr(_collect, "AT_ONCE", at_once)
    rng = np.random.default_rng(2)
    senders, receivers = (jnp.asarray(rng.integers(0, N, 101)) for _ in range(2))
    weights, h, cotangent = (jnp.asarray(rng.normal(size=shape)) for shape in (101, (N, 4), (N, 4)))

    def at_once_(weights, h):
        return (cotangent * jnp.zeros((N, 4)).at[receivers].add(weights[:, None] * h[senders])).sum()

    def by_portions(weights, h):
        return (cotangent * _collect.weighted_sum(senders, receivers, weights, h)).sum()

    expected = jax.jit(jax.value_and_grad(at_once_, (0, 1)))(weights, h)
    assert_equal(jax.jit(jax.value_and_grad(by_portions, (0, 1)))(weights, h), expected)


def test_blocks_full_of_edges_lose_none():
    # More drawn pairs in one block than are written down at a time.
    n = 90
    everyone = Graph.from_edges(np.argwhere(np.triu(np.ones((n, n)), 1)), n)
    graph = sample_graph(jax.random.key(0), jnp.ones((n, 2)), everyone, alpha=0, capacity=n * (n - 1) // 2)
    np.testing.assert_array_equal(graph.edges(), everyone.edges())


def test_an_embedding_without_a_loss_on_the_graph_gets_no_gradient():
    def loss(z):
        graph = sample_graph(UNIFORMS, z, GRAPH, alpha=0, capacity=600, block_size=16)
        return network(graph, WEIGHTS, "sym") + graph.apply(lambda graph, x: x.sum(), X)

    assert not jax.jit(jax.grad(loss))(Z).any()


def test_many_keys_at_once_are_each_alone():
    def gradient(key):
        def loss(z):
            graph = sample_graph(key, z, GRAPH, alpha=0.5, capacity=600, block_size=16)
            return graph.apply(lambda graph, weights: network(graph, weights, "row"), WEIGHTS)

        return jax.grad(loss)(Z)

    keys = jax.random.split(jax.random.key(0), 3)
    one = jax.jit(gradient)
    alone = jnp.stack([one(key) for key in keys])
    np.testing.assert_allclose(jax.vmap(gradient)(keys), alone, rtol=1e-9, atol=1e-12)


def test_the_expected_number_of_edges_is_the_mean_of_what_is_drawn():
    probabilities = np.triu(0.43 * np.asarray(Z @ Z.T) / float((Z * Z).sum(1).max()), 1)
    probabilities += 0.57 * np.triu(np.asarray(GRAPH.to_dense()), 1)
    expected = float(expected_edges(Z, GRAPH, alpha=0.43))
    assert expected == pytest.approx(probabilities.sum(), rel=1e-12)

    def drawn(key):
        return sample_graph(key, Z, GRAPH, alpha=0.43, capacity=600).num_drawn

    counts = np.asarray(jax.vmap(drawn)(jax.random.split(jax.random.key(1), 200)))
    spread = np.sqrt((probabilities * (1 - probabilities)).sum() / len(counts))
    assert abs(counts.mean() - expected) < 4 * spread


def test_a_graph_with_more_edges_than_places_is_not_passed_off_as_whole():
    needed = int(sample_graph(UNIFORMS, Z, GRAPH, alpha=0.43, capacity=600).num_drawn)
    with pytest.raises(RuntimeError, match=f"{needed} edges were drawn, but there is room for 20: .*{needed} or more"):
        sample_graph(UNIFORMS, Z, GRAPH, alpha=0.43, capacity=20)
    graph = jax.jit(lambda z: sample_graph(UNIFORMS, z, GRAPH, alpha=0.43, capacity=20))(Z)
    assert isinstance(graph, SampledGraph)
    assert int(graph.num_drawn) == needed
    assert np.isnan(graph.aggregate(X)).any()
    with pytest.raises(RuntimeError, match=f"capacity={needed} or more"):
        graph.check()
    exact = sample_graph(UNIFORMS, Z, GRAPH, alpha=0.43, capacity=needed)
    assert len(exact.edges()) == needed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -0.1}, r"alpha=-0.1, .* must lie in \[0, 1\]"),
        ({"temperature": -1}, "temperature=-1 must be above 0"),
        ({"capacity": 0}, "capacity, the number of edges that there is room for, must be at least 1, but is 0"),
        ({"block_size": 0}, "block_size must be at least 1, but is 0"),
        ({"estimator": "edge"}, "estimator 'edge' needs the dense matrix: use sample_adjacency"),
    ],
)
def test_settings_out_of_range_are_refused(unchecked_types, settings, message):
    with pytest.raises(ValueError, match=message):
        sample_graph(UNIFORMS, Z, GRAPH, **{"capacity": 600, **settings})


def test_shapes_and_kinds_that_do_not_fit_are_refused(unchecked_types):
    with pytest.raises(ValueError, match=r"z has shape \(36, 5\), but the graph has 37 nodes: \(37, z\) is needed"):
        sample_graph(UNIFORMS, Z[1:], GRAPH, capacity=600)
    with pytest.raises(ValueError, match=r"uniforms have shape \(36, 37\); \(37, 37\) is needed"):
        sample_graph(UNIFORMS[1:], Z, GRAPH, capacity=600)
    graph = sample_graph(UNIFORMS, Z, GRAPH, capacity=600)
    with pytest.raises(ValueError, match="kind 'mean' is unknown; one of sym, row, sum is needed"):
        graph.aggregate(X, "mean")
