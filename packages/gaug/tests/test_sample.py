"""Drawn dense graphs against the original implementation, their distribution and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from offprint.gaug._draw import keep, relaxed, slope
from offprint.gaug._graph import Graph
from offprint.gaug._normalize import normalize_dense
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._uniforms import pair_uniforms

N = 24
KINDS = {"gcn": "sym", "gsage": "row", "gat": "none"}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("gaugo_sample")


@pytest.fixture(scope="module")
def setting():
    """A graph, an embedding without negative entries, uniforms and a cotangent."""
    rng = np.random.default_rng(0)
    graph = Graph.from_edges(np.argwhere(np.triu(rng.random((N, N)) < 0.2, 1)), N)
    z = jnp.asarray(np.maximum(rng.normal(size=(N, 5)), 0))
    return graph, z, jnp.asarray(rng.random((N, N))), jnp.asarray(rng.normal(size=(N, N)))


@pytest.mark.parametrize("case", range(6))
def test_samples_and_gradients_are_those_of_the_original(arrays, case):
    name = str(arrays["cfg_sample_type"][case])
    kind = KINDS[str(arrays["cfg_norm"][case])]
    settings = {
        "alpha": float(arrays["cfg_alpha"][case]),
        "temperature": float(arrays["cfg_temperature"][case]),
        "estimator": {"add_sample": "binary_concrete"}.get(name, name),
    }

    def loss(logits):
        sample = sample_adjacency(jnp.asarray(arrays["uniforms"]), logits, arrays["adj_orig"], **settings)
        normalized = normalize_dense(sample, kind, compat_l1_gradient=kind == "row")
        return (arrays["cotangent"] * normalized).sum(), (sample, normalized)

    gradient, (sample, normalized) = jax.grad(loss, has_aux=True)(jnp.asarray(arrays["logits"]))
    apart = ~np.eye(N, dtype=bool)  # the original sets the diagonal only when it normalises
    np.testing.assert_array_equal(np.asarray(sample)[apart], arrays[f"sampled_{case}"][apart])
    np.testing.assert_allclose(normalized, arrays[f"normalized_{case}"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradient, arrays[f"grad_logits_{case}"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("estimator", ["binary_concrete", "gumbel_paper", "add_round", "rand", "edge", "soft"])
def test_every_estimator_gives_a_symmetric_matrix_with_ones_on_the_diagonal(setting, estimator):
    graph, z, uniforms, _ = setting
    sample = np.asarray(sample_adjacency(uniforms, z, graph, alpha=0.6, temperature=0.7, estimator=estimator))
    np.testing.assert_array_equal(sample, sample.T)
    np.testing.assert_array_equal(np.diagonal(sample), 1)
    if estimator == "soft":
        assert ((sample > 0) & (sample <= 1)).all()
    else:
        assert set(np.unique(sample)) == {0, 1}


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
def test_pairs_are_drawn_as_often_as_their_probability_says(p):
    draws = 200_000
    u = pair_uniforms(jax.random.key(3), jnp.arange(200), jnp.arange(1000))
    for estimator, chance in (("binary_concrete", p), ("gumbel_paper", 1 - np.exp(-p))):
        drawn = np.asarray(keep(jnp.full(u.shape, p, u.dtype), u, estimator))
        assert abs(drawn.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / draws)
        for temperature in (0.1, 1.0, 5.0):
            soft = relaxed(jnp.full(u.shape, p, u.dtype), u, temperature, estimator)
            assert np.mean(np.asarray(soft > 0.5) != drawn) < 1e-5  # those that rounding puts on the line


def test_uniform_numbers_are_uniform_and_independent_of_their_neighbours():
    ids = jnp.arange(1000)
    u = np.asarray(pair_uniforms(jax.random.key(0), ids, ids), np.float64)
    other = np.asarray(pair_uniforms(jax.random.key(1), ids, ids), np.float64)
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    cells = np.bincount((u.ravel() * 4096).astype(int), minlength=4096)
    assert stats.chisquare(cells).pvalue > 1e-3
    low_bits = np.bincount((u.ravel() * 2**24).astype(int) % 256, minlength=256)
    assert stats.chisquare(low_bits).pvalue > 1e-3
    v = u - 0.5
    neighbours = {"row": v[1:] * v[:-1], "column": v[:, 1:] * v[:, :-1], "key": v * (other - 0.5)}
    neighbours["mirror"] = (v * v.T)[np.triu_indices(1000, 1)]
    for name, products in neighbours.items():
        assert abs(products.sum()) < 4.5 * np.sqrt(products.size) / 12, name
    # Few drawn pairs, as in a graph: the number in a row is binomial.
    counts = (u < 0.005).sum(1)
    assert counts.var() == pytest.approx(1000 * 0.005 * 0.995, rel=4 * np.sqrt(2 / 1000))


def test_alpha_zero_gives_the_original_graph_and_no_gradient(setting):
    graph, z, _, cotangent = setting
    for temperature in (0.1, 1.0, 5.0):
        value, gradient = jax.value_and_grad(
            lambda z, tau=temperature: (
                cotangent * sample_adjacency(jax.random.key(0), z, graph, alpha=0, temperature=tau)
            ).sum()
        )(z)
        expected = (cotangent * (graph.to_dense() + jnp.eye(N))).sum()
        assert float(value) == pytest.approx(float(expected), rel=1e-12)
        assert not gradient.any()


def test_the_largest_logit_is_the_largest_squared_length(setting):
    _, z, _, _ = setting
    assert float((z @ z.T).max()) == pytest.approx(float((z * z).sum(1).max()), rel=1e-15)


def test_an_embedding_and_its_logits_give_the_same_sample_and_gradient(setting):
    graph, z, uniforms, cotangent = setting

    def loss(z, as_logits):
        given = z @ z.T if as_logits else z
        return (cotangent * sample_adjacency(uniforms, given, graph, alpha=0.7, temperature=0.9)).sum()

    for of_z, of_logits in zip(jax.value_and_grad(loss)(z, False), jax.value_and_grad(loss)(z, True)):
        np.testing.assert_allclose(of_z, of_logits, rtol=1e-10, atol=1e-12)


def test_permuting_the_nodes_permutes_the_sample_and_the_gradient(setting):
    graph, z, uniforms, cotangent = setting
    order = np.random.default_rng(5).permutation(N)
    upper = jnp.triu(uniforms, 1)
    symmetric, weights = upper + upper.T, cotangent + cotangent.T

    def loss(z, u, adj, w):
        sample = sample_adjacency(u, z, adj, alpha=0.7, temperature=0.9)
        return (w * normalize_dense(sample)).sum(), sample

    def moved(matrix):
        return matrix[order][:, order]

    dense = graph.to_dense()
    run = jax.jit(jax.grad(loss, has_aux=True))
    gradient, sample = run(z, symmetric, dense, weights)
    gradient_moved, sample_moved = run(z[order], moved(symmetric), moved(dense), moved(weights))
    np.testing.assert_array_equal(sample_moved, moved(sample))
    np.testing.assert_allclose(gradient_moved, gradient[order], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score_map", ["max", "sigmoid"])
def test_the_soft_gradient_is_that_of_finite_differences(setting, score_map):
    graph, _, uniforms, cotangent = setting
    z = jnp.asarray(np.random.default_rng(6).uniform(0.2, 1.0, (N, 5)))  # far from the clips

    def loss(z):
        settings = {"alpha": 0.6, "temperature": 1.3, "score_map": score_map, "estimator": "soft"}
        return (cotangent * sample_adjacency(uniforms, z, graph, **settings)).sum()

    check_grads(loss, (z,), order=1, modes=["rev"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("estimator", ["binary_concrete", "gumbel_paper"])
def test_the_slope_is_the_derivative_of_the_relaxed_sample(estimator):
    p, u = (jnp.asarray(np.random.default_rng(s).uniform(0.01, 0.99, 200)) for s in (1, 2))
    for temperature in (0.1, 1.0, 5.0):
        expected = jax.vmap(jax.grad(lambda p, u, t=temperature: relaxed(p, u, t, estimator)))(p, u)
        np.testing.assert_allclose(slope(p, u, temperature, estimator), expected, rtol=1e-5, atol=1e-12)
    ends = slope(jnp.array([0.0, 1.0, -1.0, 2.0]), jnp.full(4, 0.5), 1.0, estimator)
    np.testing.assert_array_equal(ends, 0)


def test_the_hard_gradient_is_the_soft_one(setting):
    graph, z, uniforms, cotangent = setting

    def gradient(estimator):
        settings = {"alpha": 0.6, "temperature": 1.3, "estimator": estimator}
        return jax.grad(lambda z: (cotangent * sample_adjacency(uniforms, z, graph, **settings)).sum())(z)

    np.testing.assert_allclose(gradient("binary_concrete"), gradient("soft"), rtol=1e-9, atol=1e-12)


def test_samples_by_jit_and_vmap_are_the_plain_ones(setting):
    graph, z, _, _ = setting
    keys = jax.random.split(jax.random.key(0), 3)

    def draw(key, alpha):
        return sample_adjacency(key, z.astype(jnp.float32), graph, alpha=alpha, temperature=1.2)

    together = jax.jit(jax.vmap(draw, (0, None)))(keys, 0.6)
    assert together.dtype == jnp.float32
    for key, sample in zip(keys, together):
        np.testing.assert_array_equal(draw(key, 0.6), sample)
    assert not np.array_equal(together[0], together[1])


def test_a_dead_embedding_warns_and_stays_finite(setting):
    graph, z, uniforms, cotangent = setting

    def loss(z, alpha):
        return (cotangent * sample_adjacency(uniforms, z, graph, alpha=alpha, temperature=0.5)).sum()

    with pytest.warns(UserWarning, match="all logits are 0: the ReLU of the edge predictor is dead"):
        sample_adjacency(uniforms, jnp.zeros_like(z), graph)
    for alpha in (1.0, 0.4):
        value, gradient = jax.value_and_grad(loss)(jnp.zeros_like(z), alpha)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_negative_logits_are_clipped_not_passed_on(setting):
    graph, _, uniforms, cotangent = setting
    z = jnp.asarray(np.random.default_rng(8).normal(size=(N, 5)))
    value, gradient = jax.value_and_grad(
        lambda z: (cotangent * sample_adjacency(uniforms, z, graph, temperature=0.1)).sum()
    )(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"alpha=1.5, .* must lie in \[0, 1\]"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"temperature": 0}, "temperature=0 must be above 0"),
        ({"estimator": "hard"}, "estimator 'hard' is unknown; one of binary_concrete, gumbel_paper"),
        ({"score_map": "tanh"}, "score_map 'tanh' is unknown; one of max, sigmoid is needed"),
    ],
)
def test_settings_out_of_range_are_refused(unchecked_types, setting, settings, message):
    graph, z, uniforms, _ = setting
    with pytest.raises(ValueError, match=message):
        sample_adjacency(uniforms, z, graph, **settings)


def test_shapes_that_do_not_fit_are_refused(unchecked_types, setting):
    graph, z, uniforms, _ = setting
    with pytest.raises(ValueError, match=r"uniforms have shape \(23, 24\); \(24, 24\) is needed"):
        sample_adjacency(uniforms[1:], z, graph)
    with pytest.raises(ValueError, match=r"adj has shape \(24, 24\), but there are 23 nodes"):
        sample_adjacency(uniforms, z[1:], graph)
