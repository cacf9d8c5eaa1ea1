"""Normalised adjacency matrices, and that sparse and dense graphs collect alike."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from offprint.gaug._graph import Graph
from offprint.gaug._normalize import aggregate, normalize, normalize_dense, propagate

KINDS = ["sym", "row", "sum"]


@pytest.fixture(scope="module")
def case():
    """A graph with weights, an isolated node and padding; its dense matrix; features."""
    rng = np.random.default_rng(0)
    edges = np.array([(i, j) for i in range(7) for j in range(i + 1, 7) if rng.random() < 0.5])
    g = Graph.from_edges(edges, 8, rng.uniform(0.5, 2, len(edges)), pad_to=2 * len(edges) + 3)
    return g, g.to_dense() + jnp.eye(8), jnp.asarray(rng.standard_normal((8, 3)))


def expected(matrix, kind):
    d = np.asarray(matrix).sum(1)
    inverse = np.divide(1, d, where=d > 0, out=np.zeros_like(d))
    return {
        "sym": np.sqrt(inverse)[:, None] * matrix * np.sqrt(inverse),
        "row": inverse[:, None] * matrix,
        "none": matrix,
        "sum": matrix,
    }[kind]


def test_golden_normalisers(golden):
    arrays = golden("gnn_forward")
    g, loops = Graph.from_dense(arrays["adj"]), jnp.asarray(arrays["adj"]) + jnp.eye(24)
    for kind, name in (("sym", "adj_gcn"), ("row", "adj_sage")):
        np.testing.assert_allclose(normalize(g, kind).to_dense(), arrays[name], atol=1e-14)
        np.testing.assert_allclose(normalize_dense(loops, kind), arrays[name], atol=1e-14)


@pytest.mark.parametrize("kind", ["sym", "row", "none"])
@pytest.mark.parametrize("self_loops", [True, False])
def test_sparse_and_dense_normalisers_are_the_textbook_matrix(case, kind, self_loops):
    g, loops, x = case
    matrix = loops if self_loops else g.to_dense()
    normal = jax.jit(normalize, static_argnums=(1, 2))(g, kind, self_loops)
    np.testing.assert_allclose(normal.to_dense(), expected(matrix, kind), atol=1e-14)
    np.testing.assert_allclose(normalize_dense(matrix, kind), expected(matrix, kind), atol=1e-14)
    np.testing.assert_allclose(propagate(normal, x), expected(matrix, kind) @ x, atol=1e-13)
    np.testing.assert_allclose(propagate(normalize_dense(matrix, kind), x), propagate(normal, x), atol=1e-13)
    places = list(zip(normal.receivers.tolist(), normal.senders.tolist()))
    assert places == sorted(places)


@pytest.mark.parametrize("kind", KINDS)
def test_aggregate_is_the_product_with_the_normalised_matrix_with_loops(case, kind):
    g, loops, x = case
    np.testing.assert_allclose(aggregate(g, x, kind), expected(loops, kind) @ x, atol=1e-13)
    np.testing.assert_allclose(aggregate(loops, x, kind), expected(loops, kind) @ x, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_sparse_and_dense_aggregation_agree(case, kind):
    g, loops, x = case
    cotangent = jnp.cos(jnp.arange(24.0)).reshape(8, 3)
    sparse = jax.grad(lambda w: (aggregate(replace(g, weights=w), x, kind) * cotangent).sum())(g.weights)
    dense = jax.grad(lambda a: (aggregate(a, x, kind) * cotangent).sum())(loops)
    kept = np.asarray(g.edge_mask)
    np.testing.assert_allclose(sparse[kept], dense[g.receivers, g.senders][kept], atol=1e-12)
    check_grads(lambda a: aggregate(a, x, kind), (loops,), order=1, modes=["rev"], rtol=1e-6)


def test_an_object_with_a_method_aggregate_is_asked():
    class Sampled:
        def aggregate(self, h, kind):
            return 3 * h if kind == "row" else h

    x = jnp.ones((2, 1))
    assert aggregate(Sampled(), x, "row").tolist() == [[3], [3]]
    with pytest.raises(ValueError, match="compat_l1_gradient=True needs a dense adjacency matrix, but the graph is"):
        aggregate(Sampled(), x, "row", compat_l1_gradient=True)


def test_compat_gradient_leaves_absent_edges_out_of_the_degree():
    a = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    true = jax.grad(lambda a: normalize_dense(a, "row")[0, 0])(a)
    compat = jax.grad(lambda a: normalize_dense(a, "row", compat_l1_gradient=True)[0, 0])(a)
    np.testing.assert_array_equal(true, [[0, -1], [0, 0]])
    np.testing.assert_array_equal(compat, np.zeros((2, 2)))


def test_isolated_nodes_never_give_nan():
    g = Graph.from_edges(np.array([[0, 1]]), 3)
    x = jnp.ones((3, 2))
    for kind in ("sym", "row"):
        assert aggregate(g, x, kind)[2].tolist() == [1, 1]
        alone = normalize(g, kind, self_loops=False)
        assert propagate(alone, x)[2].tolist() == [0, 0]
        gradient = jax.grad(lambda w, k=kind: normalize(replace(g, weights=w), k, False).weights.sum())(g.weights)
        assert jnp.isfinite(gradient).all()
        gradient = jax.grad(lambda a, k=kind: normalize_dense(a, k).sum())(g.to_dense())
        assert jnp.isfinite(gradient).all()


def test_float32_stays_float32(case):
    g, loops, x = jax.tree.map(lambda a: a.astype(jnp.float32) if a.dtype == float else a, case)
    for graph in (g, loops):
        assert aggregate(graph, x).dtype == jnp.float32
    np.testing.assert_allclose(aggregate(g, x), aggregate(case[0], case[2]), rtol=2e-5, atol=1e-6)
