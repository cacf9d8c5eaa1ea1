"""The reconstruction loss: its definition, blocks, samples and limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from offprint.gaug._edge_loss import edge_loss, kl_term, loss_weights
from offprint.gaug._graph import Graph

N = 37


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    return Graph.from_edges(np.argwhere(np.triu(rng.random((N, N)) < 0.15, 1)), N, pad_to=260)


@pytest.fixture(scope="module")
def z():
    return jnp.asarray(np.random.default_rng(1).normal(size=(N, 5)))


def by_definition(z, g, target):
    norm_w, pos_weight = loss_weights(g)
    logits = z @ z.T
    on, off = jax.nn.softplus(-logits), jax.nn.softplus(logits)
    return norm_w * (pos_weight * target * on + (1 - target) * off).mean()


def test_the_loss_is_the_weighted_cross_entropy_of_all_pairs(graph, z):
    target = graph.to_dense() + jnp.eye(N)
    expected, slope = jax.value_and_grad(by_definition)(z, graph, target)
    value, gradient = jax.value_and_grad(edge_loss)(z, graph)
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-12)


def test_the_upper_target_counts_each_edge_once(graph, z):
    target = jnp.triu(graph.to_dense()) + jnp.eye(N)
    value = edge_loss(z, graph, compat_upper_target=True)
    assert float(value) == pytest.approx(float(by_definition(z, graph, target)), rel=1e-12)


@pytest.mark.parametrize("block_size", [1, 7, N, 2 * N])
def test_blocks_change_neither_value_nor_gradient(graph, z, block_size):
    expected = jax.value_and_grad(edge_loss)(z, graph)
    blockwise = jax.value_and_grad(lambda z: edge_loss(z, graph, mode="blockwise", block_size=block_size))(z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), blockwise, expected)


def test_the_gradient_by_blocks_is_that_of_finite_differences(graph, z):
    def loss(z):
        return edge_loss(z, graph, mode="blockwise", block_size=16)

    check_grads(loss, (z,), order=1, modes=["rev"], rtol=1e-6, atol=1e-8)


def test_the_sampled_loss_has_the_same_mean_and_gradient(graph, z):
    def loss(z, key):
        return edge_loss(z, graph, mode="sampled", num_negatives=20, key=key)

    values, gradients = jax.vmap(jax.value_and_grad(loss), (None, 0))(z, jax.random.split(jax.random.key(0), 400))
    expected, slope = jax.value_and_grad(edge_loss)(z, graph)
    error = values.std() / np.sqrt(len(values))
    assert abs(float(values.mean() - expected)) < 4 * float(error)
    deviations = (gradients.mean(0) - slope) / (gradients.std(0) / np.sqrt(len(values)))
    assert float(jnp.abs(deviations).max()) < 5  # of 185 numbers
    assert float((deviations**2).mean()) < 1.5


def test_padding_and_jit_and_float32_change_nothing(graph, z):
    expected = edge_loss(z, graph)
    unpadded = Graph.from_edges(graph.edges(), N)
    assert float(edge_loss(z, unpadded)) == pytest.approx(float(expected), rel=1e-13)
    for mode in ("dense", "blockwise"):
        narrow = jax.jit(edge_loss, static_argnames="mode")(z.astype(jnp.float32), graph, mode=mode)
        assert narrow.dtype == jnp.float32
        assert float(narrow) == pytest.approx(float(expected), rel=1e-5)


def test_many_embeddings_at_once_are_each_alone(graph, z):
    stacked = jnp.stack([z, 2 * z, -z + 1])
    together = jax.vmap(lambda z: edge_loss(z, graph, mode="blockwise", block_size=16))(stacked)
    np.testing.assert_allclose(together, [edge_loss(one, graph) for one in stacked], rtol=1e-12)


def test_large_logits_and_complete_graphs_stay_finite(z):
    everyone = Graph.from_edges(np.argwhere(np.triu(np.ones((N, N)), 1)), N)
    value, gradient = jax.value_and_grad(edge_loss)(100 * z, everyone)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_the_kl_term_is_minus_the_divergence_and_at_most_zero(z):
    log_std = jnp.asarray(np.random.default_rng(2).normal(size=z.shape)) / 3
    sigma = np.exp(np.asarray(log_std))
    divergence = 0.5 * (np.asarray(z) ** 2 + sigma**2 - 1 - 2 * np.log(sigma)).sum(1)
    assert float(kl_term(z, log_std)) == pytest.approx(-divergence.mean() / N, rel=1e-12)
    assert float(kl_term(jnp.zeros((N, 3)), jnp.zeros((N, 3)))) == 0


def test_wrong_use_is_refused(unchecked_types, graph, z):
    with pytest.raises(ValueError, match="mode 'all' is unknown; one of dense, blockwise, sampled is needed"):
        edge_loss(z, graph, mode="all")
    with pytest.raises(ValueError, match="z has 36 rows, but the graph has 37 nodes"):
        edge_loss(z[1:], graph)
    with pytest.raises(ValueError, match=r"needs key=jax\.random\.key"):
        edge_loss(z, graph, mode="sampled")
    with pytest.raises(ValueError, match="block_size must be at least 1, but is 0"):
        edge_loss(z, graph, mode="blockwise", block_size=0)
