"""Blocks, candidates and subgraphs: the same as dense training, or an approximation that learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.gaug import _backends
from offprint.gaug._appnp import APPNP
from offprint.gaug._candidates import Candidates, find_candidates
from offprint.gaug._config import GAugOConfig
from offprint.gaug._edge_loss import edge_loss
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._features import SparseFeatures
from offprint.gaug._fit import scores
from offprint.gaug._gat import GAT
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._gcn import GCN
from offprint.gaug._graph import Graph
from offprint.gaug._joint import gaug_o_loss
from offprint.gaug._network import Network
from offprint.gaug._problem import check_problem
from offprint.gaug._sample import sample_adjacency
from offprint.gaug._subgraph import induced, neighbourhood, subset_edge_loss
from offprint.gaug.data import sbm

KEY = jax.random.key(0)
CFG = GAugOConfig(0.4, 0.5, 0.8, 20, 10, 0, epochs=20, patience=20, backend="dense")


@pytest.fixture(scope="module")
def data():
    return sbm(1, num_nodes=80, p_in=0.2, p_out=0.03, num_features=8, signal=1.0)


@pytest.fixture(scope="module")
def problem(data):
    return data.graph, data.x, data.y, data.split


@pytest.fixture(scope="module")
def dense(problem):
    return fit_gaug_o(gcn(), predictor(), *problem, CFG, key=KEY)


def gcn(dropout=0.5):
    return GCN(8, 16, 2, dropout=dropout, rngs=nnx.Rngs(0))


def predictor():
    return EdgePredictor(8, 16, 8, param_dtype=jnp.float64, rngs=nnx.Rngs(1))


def test_blockwise_training_is_dense_training(problem, dense):
    cfg = replace(CFG, backend="blockwise", block_size=13)
    blockwise = fit_gaug_o(gcn(), predictor(), *problem, cfg, key=KEY)
    for name in ("loss", "edge_loss", "sampled_edges", "sampled_homophily", "val", "test"):
        np.testing.assert_allclose(blockwise.history[name], dense.history[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(blockwise.logits, dense.logits, rtol=1e-6, atol=1e-8)


def test_room_for_sampled_edges_grows_without_changing_the_run(problem, dense, monkeypatch):
    from offprint.gaug import _gaug_o

    sizes = []

    def scarce(count):
        sizes.append(count)
        return 64 if len(sizes) == 1 else 1024

    monkeypatch.setattr(_gaug_o, "_roomy", scarce)
    found = fit_gaug_o(gcn(), predictor(), *problem, replace(CFG, backend="blockwise", block_size=13), key=KEY)
    assert len(sizes) == 2
    assert sizes[1] > 64  # the number that there was no room for
    np.testing.assert_allclose(found.history["loss"], dense.history["loss"], rtol=1e-6)


def test_a_capacity_that_was_given_is_not_exceeded_silently(problem):
    cfg = replace(CFG, backend="blockwise", block_size=13, capacity=64)
    with pytest.raises(RuntimeError, match=r"epoch 0 has \d+ edges, but capacity=64; set capacity="):
        fit_gaug_o(gcn(), predictor(), *problem, cfg, key=KEY)


def every_pair(g):
    n = g.num_nodes
    pairs = np.stack(np.triu_indices(n, 1), axis=1)
    complete = Graph.from_edges(pairs, n)
    given = np.asarray(g.to_dense())[np.asarray(complete.receivers), np.asarray(complete.senders)] > 0
    return Candidates(complete, jnp.asarray(given))


def test_with_every_pair_as_a_candidate_sample_and_gradient_are_the_dense_ones(data):
    z = jax.nn.relu(jax.random.normal(jax.random.key(2), (80, 4)))
    direction = jax.random.normal(jax.random.key(3), (80, 80))
    symmetric = direction + direction.T

    def dense(z):
        return sample_adjacency(KEY, z, data.graph, alpha=0.4, temperature=0.8)

    candidates = every_pair(data.graph)

    def sparse(z):
        return candidates.sample(KEY, z, alpha=0.4, temperature=0.8).to_dense() + jnp.eye(80)

    (one, of_one), (other, of_other) = (
        jax.jit(lambda z, f=f: (f(z), jax.grad(lambda z: (symmetric * f(z)).sum())(z)))(z) for f in (dense, sparse)
    )
    assert (one == other).all()
    np.testing.assert_allclose(of_one, of_other, rtol=1e-9, atol=1e-9)


def test_candidates_are_the_edges_the_likely_pairs_and_random_ones(data):
    z = np.random.default_rng(0).random((80, 4))
    found = find_candidates(data.graph, z, 2, np.random.default_rng(1))
    pairs = {tuple(pair) for pair in found.graph.edges().tolist()}
    scores = np.where(np.asarray(data.graph.to_dense()) > 0, -np.inf, z @ z.T)
    i, j = np.triu_indices(80, 1)
    best = np.argsort(-scores[i, j])[:160]
    assert {tuple(edge) for edge in data.graph.edges().tolist()} <= pairs
    assert {(int(a), int(b)) for a, b in zip(i[best], j[best], strict=True)} <= pairs
    assert int(found.given.sum()) == 2 * data.graph.num_edges
    assert len(found.graph.senders) == 2 * (data.graph.num_edges + 320)


def test_candidate_training_learns(problem):
    cfg = replace(CFG, backend="candidate", candidates_per_node=3, refresh=8)
    result = fit_gaug_o(gcn(), predictor(), *problem, cfg, key=KEY)
    assert len(result.history["loss"]) == 20
    assert result.test_at_best > 0.8
    assert (result.history["sampled_edges"] > 0).all()


def test_subgraph_training_learns(problem):
    cfg = replace(CFG, backend="subgraph", lr=0.05, batch_nodes=50, seeds_per_batch=5, patience=40)
    result = fit_gaug_o(gcn(), predictor(), *problem, cfg, key=KEY)
    assert len(result.history["loss"]) == 40  # ten training nodes in two batches an epoch
    assert result.test_at_best > 0.8


def test_subgraphs_need_features_whose_rows_can_be_taken(problem):
    g, x, y, split = problem
    cfg = replace(CFG, backend="subgraph")
    with pytest.raises(ValueError, match=r"x.to_dense\(\)"):
        fit_gaug_o(gcn(), predictor(), g, SparseFeatures.from_dense(x), y, split, cfg, key=KEY)


def test_a_neighbourhood_has_the_seeds_first_then_the_nearest(data):
    distance = np.full(80, 3)
    adjacency = np.asarray(data.graph.to_dense()) > 0
    seeds = np.array([7, 3])
    distance[adjacency[seeds].any(0) | adjacency[adjacency[seeds].any(0)].any(0)] = 2
    distance[adjacency[seeds].any(0)] = 1
    distance[seeds] = 0
    for size in (20, 80):
        nodes, used = jax.jit(neighbourhood, static_argnums=3)(KEY, data.graph, jnp.asarray(seeds), size)
        assert nodes[:2].tolist() == [7, 3]
        assert len(set(nodes.tolist())) == size
        assert (np.diff(distance[nodes]) >= 0).all()
        assert (np.asarray(used) == (distance[nodes] < 3)).all()


def test_the_induced_graph_is_a_submatrix_and_its_loss_on_all_nodes_the_whole_one(data):
    nodes = jnp.array([5, 2, 70, 33])
    used = jnp.array([True, True, True, False])
    adjacency = np.asarray(data.graph.to_dense())[np.ix_(nodes, nodes)]
    adjacency[3] = adjacency[:, 3] = 0
    assert (np.asarray(induced(data.graph, nodes, used)) == adjacency).all()
    z = jax.random.normal(KEY, (80, 4))
    everyone, order = jnp.ones(80, bool), jnp.arange(80)
    loss = subset_edge_loss(z, induced(data.graph, order, everyone), everyone, data.graph)
    np.testing.assert_allclose(loss, edge_loss(z, data.graph), rtol=1e-12)


def test_the_backend_is_chosen_by_classifier_device_and_memory(data, monkeypatch):
    prepared = check_problem(data.graph, data.x, data.y, data.split)
    auto = replace(CFG, backend="auto")

    def chosen(model, cfg):
        return _backends.chosen_backend(cfg, Network.of(model), prepared)

    gat = GAT(8, 16, 2, heads=2, rngs=nnx.Rngs(0))
    on_cpu = jax.default_backend() == "cpu"
    assert chosen(gcn(), auto) == ("blockwise" if on_cpu else "dense")
    assert chosen(APPNP(8, 16, 2, rngs=nnx.Rngs(0)), replace(CFG, backend="blockwise")) == "blockwise"
    assert chosen(gat, auto) == "dense"
    assert chosen(gcn(), replace(auto, estimator="soft")) == "dense"
    assert chosen(gat, replace(CFG, backend="candidate")) == "candidate"
    with pytest.raises(ValueError, match="the classifier does not work on the sparse samples"):
        chosen(gat, replace(CFG, backend="blockwise"))
    monkeypatch.setattr(_backends, "device_bytes", lambda: 10_000)
    assert chosen(gcn(), auto) == "blockwise"
    with pytest.raises(ValueError, match=r"backend='dense' needs about .* GiB for 80 nodes .*use backend='blockwise'"):
        chosen(gcn(), CFG)
    with pytest.raises(ValueError, match="use another classifier, or backend='candidate'"):
        chosen(gat, auto)


def test_attention_gets_a_gradient_through_dense_samples_and_candidates(data):
    cfg, y, train = replace(CFG, beta=0.0), jnp.asarray(data.y), jnp.asarray(data.split.train)
    found = []
    for candidates in (None, every_pair(data.graph)):

        @nnx.jit
        @nnx.grad(argnums=1)
        def gradient(node, edge, candidates):
            return gaug_o_loss(node, edge, data.graph, data.x, y, train, KEY, cfg, candidates=candidates)[0]

        node = GAT(8, 16, 2, dropout=0.0, heads=2, rngs=nnx.Rngs(0))
        found.append(np.asarray(gradient(node, predictor(), candidates)["mean"][...]))
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9)


def test_scores_do_not_depend_on_dropout(data):
    prepared = check_problem(data.graph, data.x, data.y, data.split)
    network = Network.of(gcn(dropout=0.9))
    assert (scores(network, prepared)[0] == scores(network, prepared)[0]).all()
