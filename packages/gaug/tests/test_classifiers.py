"""The classifiers: the authors' numbers, sparse equal dense, gradients, dropout, symmetry."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from offprint.gaug._appnp import APPNP
from offprint.gaug._cheb import ChebLayer, ChebNet
from offprint.gaug._features import SparseFeatures
from offprint.gaug._gat import GAT, GATLayer
from offprint.gaug._gcn import GCN
from offprint.gaug._gin import GIN
from offprint.gaug._graph import Graph
from offprint.gaug._jknet import JKNet
from offprint.gaug._sage import GraphSAGE

CLASSIFIERS = [GCN, GraphSAGE, GAT, JKNet, ChebNet, APPNP, GIN]


@pytest.fixture(scope="module")
def case():
    """A weighted graph with an isolated node, its matrix with loops, features with zeros."""
    rng = np.random.default_rng(1)
    edges = np.array([(i, j) for i in range(9) for j in range(i + 1, 9) if rng.random() < 0.4])
    g = Graph.from_edges(edges, 10, rng.uniform(0.5, 2, len(edges)), pad_to=2 * len(edges) + 2)
    x = rng.standard_normal((10, 5)) * (rng.random((10, 5)) < 0.5)
    return g, g.to_dense() + jnp.eye(10), jnp.asarray(x)


@nnx.jit
def run(model, graph, x):
    """Compiled once for each kind of model and graph."""
    return model(graph, x)


def small(make, **settings):
    model = make(5, 8, 3, rngs=nnx.Rngs(params=0, dropout=1), **settings)
    model.eval()
    return model


def load_golden(model, arrays, name):
    """Put the parameters `name__...` of a golden archive into a classifier of the same sizes."""
    for number, layer in enumerate(model.layers):
        prefix = f"{name}__layers__{number}__"
        values = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
        layer.kernel[...] = values["W"] if "W" in values else values["linear_neigh__weight"].T
        if "b" in values:
            layer.bias[...] = values["b"]
        if "attn_l__weight" in values:
            layer.receive[...], layer.send[...] = values["attn_l__weight"], values["attn_r__weight"]
    if isinstance(model, JKNet):
        model.kernel[...] = arrays[f"{name}__layer_output__weight"].T
        model.bias[...] = arrays[f"{name}__layer_output__bias"]
    model.eval()
    return model


@pytest.mark.parametrize(
    ("name", "make", "layers"),
    [("gcn", GCN, 1), ("gcn2", GCN, 2), ("gsage", GraphSAGE, 1), ("gat", GAT, 1), ("jknet", JKNet, 3)],
)
def test_logits_are_those_of_the_authors_code(golden, name, make, layers):
    arrays = golden("gnn_forward")
    model = load_golden(make(9, 32, 4, layers, compat="gaug_joint", rngs=nnx.Rngs(0)), arrays, name)
    graph, x = Graph.from_dense(arrays["adj"]), jnp.asarray(arrays["features"])
    for form in (graph, jnp.asarray(arrays["adj"]) + jnp.eye(24)):
        np.testing.assert_allclose(run(model, form, x), arrays[f"{name}__logits"], atol=1e-9)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_every_form_of_graph_and_features_gives_the_same(case, make):
    g, loops, x = case
    model = small(make)
    plain = run(model, g, x)
    assert plain.shape == (10, 3)
    np.testing.assert_allclose(run(model, loops, x), plain, atol=1e-12)
    np.testing.assert_allclose(run(model, g, SparseFeatures.from_dense(x)), plain, atol=1e-12)


def test_plain_and_compiled_give_the_same(case):
    g, _, x = case
    model = small(GCN)
    np.testing.assert_allclose(model(g, x), run(model, g, x), atol=1e-12)
    np.testing.assert_allclose(model(g, np.asarray(x)), run(model, g, x), atol=1e-12)


@pytest.mark.parametrize("make", [GraphSAGE, GAT])
def test_presets_of_the_baselines_agree_on_sparse_and_dense(case, make):
    g, loops, x = case
    model = small(make, compat="gaug_dgl")
    np.testing.assert_allclose(run(model, loops, x), run(model, g, x), atol=1e-12)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_renaming_the_nodes_renames_the_logits(case, make):
    g, _, x = case
    new_name = np.random.default_rng(2).permutation(10)
    once = np.asarray(g.edge_mask & (g.senders < g.receivers))
    edges = new_name[np.stack([g.senders[once], g.receivers[once]], axis=1)]
    renamed = Graph.from_edges(edges, 10, np.asarray(g.weights[once]), pad_to=len(g.senders))
    model = small(make)
    np.testing.assert_allclose(run(model, renamed, x[np.argsort(new_name)])[new_name], run(model, g, x), atol=1e-12)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_gradients_of_parameters_and_matrix_are_those_of_differences(case, make):
    _, loops, x = case
    graphdef, params, rest = nnx.split(small(make), nnx.Param, ...)
    start, unravel = ravel_pytree((params, loops + 0.1))
    rng = np.random.default_rng(3)
    point = start + 0.01 * rng.random(len(start))  # away from zeros, where the ReLU has no derivative

    @jax.jit
    @jax.value_and_grad
    def smooth(point):
        params, adjacency = unravel(point)
        return jnp.tanh(nnx.merge(graphdef, params, rest)(adjacency, x)).sum()

    for _ in range(3):
        step = 1e-6 * rng.standard_normal(len(point))
        difference = smooth(point + step)[0] - smooth(point - step)[0]
        np.testing.assert_allclose(2 * smooth(point)[1] @ step, difference, rtol=1e-4)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_dropout_acts_in_training_alone_and_follows_the_key(case, make):
    g, loops, x = case
    model = small(make)
    draw = nnx.jit(lambda model, form, key: model(form, x, deterministic=False, rngs=nnx.Rngs(dropout=key)))
    for form in (g, loops) if make is GAT else (g,):
        one, same, other = (draw(model, form, jax.random.key(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        assert (one != run(model, form, x)).any()


def test_the_models_own_stream_of_dropout_moves_on(case):
    g, _, x = case
    model = small(GCN)
    model.train()
    assert (run(model, g, x) != run(model, g, x)).any()
    model.eval()
    np.testing.assert_array_equal(run(model, g, x), run(model, g, x))


def test_dropped_out_attention_has_the_mean_of_the_whole(case):
    g, loops, x = case
    layer = GATLayer(5, 2, 2, 0.5, compat=None, mask_gradient=True, rngs=nnx.Rngs(0))
    layer.eval()
    for form in (g, loops):
        draw = jax.jit(lambda key, form: layer(form, x, deterministic=False, rngs=nnx.Rngs(dropout=key)))
        outputs = jax.vmap(draw, (0, None))(jax.random.split(jax.random.key(3), 1000), form)
        error = outputs.std(0) / np.sqrt(len(outputs))
        assert (jnp.abs(outputs.mean(0) - layer(form, x)) < 5 * error + 1e-12).all()


def test_attention_gives_absent_edges_a_gradient_unless_told_not_to(case):
    _, loops, x = case

    def gradient(mask_gradient):
        model = small(GAT, gat_mask_gradient=mask_gradient)
        return jax.jit(jax.grad(lambda a: jnp.square(model(a, x)).sum()))(loops)

    absent = np.asarray(loops) == 0
    assert (gradient(True)[absent] != 0).mean() > 0.9
    assert not gradient(False).any()


def test_attention_is_stable_for_huge_scores(case):
    g, loops, x = case
    model = small(GAT)

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1), allow_int=True)
    def total(form, x):
        return model(form, x).sum()

    for form in (g, loops):
        for values in jax.tree.leaves(total(form, 1e4 * x)):
            assert values.dtype != float or jnp.isfinite(values).all()


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_a_masked_edge_of_weight_zero_is_no_edge(case, make):
    g, _, x = case
    once = np.flatnonzero(g.edge_mask & (g.senders < g.receivers))
    edges = np.stack([g.senders[once], g.receivers[once]], axis=1)
    without = Graph.from_edges(edges[1:], 10, np.asarray(g.weights)[once][1:], pad_to=len(g.senders))
    i, j = edges[0]
    gone = ((g.senders == i) & (g.receivers == j)) | ((g.senders == j) & (g.receivers == i))
    masked = Graph(g.senders, g.receivers, jnp.where(gone, 0, g.weights), g.edge_mask & ~gone, 10)
    model = small(make)
    np.testing.assert_allclose(run(model, masked, x), run(model, without, x), atol=1e-12)


def test_chebyshev_layer_is_its_polynomial(case):
    g, _, x = case
    layer = ChebLayer(5, 4, 4, rngs=nnx.Rngs(0))
    a = np.asarray(g.to_dense())
    d = a.sum(1)
    scale = np.divide(1, np.sqrt(d), where=d > 0, out=np.zeros_like(d))
    laplacian = -scale[:, None] * a * scale
    powers = [np.eye(10), laplacian]
    for _ in range(2):
        powers.append(2 * laplacian @ powers[-1] - powers[-2])
    wanted = sum(t @ np.asarray(x) @ np.asarray(kernel[...]) for t, kernel in zip(powers, layer.kernels))
    np.testing.assert_allclose(layer(g, x), wanted, atol=1e-12)
    one = ChebLayer(5, 4, 1, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(one(g, x), x @ one.kernels[0][...], atol=1e-12)


def test_appnp_with_many_steps_is_personalised_pagerank(case):
    g, loops, x = case
    model = small(APPNP, alpha=0.3, steps=60)
    d = np.asarray(loops).sum(1)
    normal = loops / np.sqrt(np.outer(d, d))
    alone = small(APPNP, alpha=1.0, steps=1)(g, x)  # the perceptron: all weight returns to the node
    np.testing.assert_allclose(run(model, g, x), 0.3 * np.linalg.solve(np.eye(10) - 0.7 * normal, alone), atol=1e-10)


def test_presets_start_as_the_authors_code_does():
    uniform = GCN(50, 64, 4, compat="gaug_dgl", rngs=nnx.Rngs(0)).layers[0]
    assert 0.115 < jnp.abs(uniform.kernel[...]).max() <= 0.125  # 1/√64
    assert jnp.abs(uniform.bias[...]).max() > 0.1
    glorot = GCN(50, 64, 4, rngs=nnx.Rngs(0)).layers[0]
    assert not glorot.bias[...].any()
    twice = GraphSAGE(4, 8, 2, compat="gaug_dgl", rngs=nnx.Rngs(0)).layers[0]
    g, x = Graph.from_edges(np.array([[0, 1]]), 2), jnp.array([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    np.testing.assert_allclose(
        twice(g, x), np.array([[2, 1, 0, 0], [1, 2, 0, 0]]) / 3 @ twice.kernel[...] + twice.bias[...], atol=1e-12
    )


def test_several_sets_of_parameters_run_under_vmap(case):
    g, _, x = case

    @jax.vmap
    def run(key):
        model = GCN(5, 8, 3, rngs=nnx.Rngs(key))
        model.eval()
        return model(g, x)

    keys = jax.random.split(jax.random.key(0), 3)
    batch = run(keys)
    one = GCN(5, 8, 3, rngs=nnx.Rngs(keys[1]))
    one.eval()
    np.testing.assert_allclose(batch[1], one(g, x), atol=1e-12)
