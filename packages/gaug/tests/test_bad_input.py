"""Every mistake with a graph problem gets one error, or a warning, that says what was given and what to do."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.gaug import (
    APPNP,
    GAT,
    GCN,
    GIN,
    ChebNet,
    EdgePredictor,
    GAugMConfig,
    GAugOConfig,
    Graph,
    GraphSAGE,
    JKNet,
    edge_loss,
    fit_edge_predictor,
    fit_gaug_m,
    fit_gaug_o,
    fit_node_classifier,
    homophily,
    modify_graph,
    sample_adjacency,
    sample_graph,
    top_pairs,
)
from offprint.gaug.data import sbm

pytestmark = pytest.mark.usefixtures("unchecked_types")

KEY = jax.random.key(0)
PATH = Graph.from_edges(np.array([[0, 1], [1, 2], [2, 3]]), 6)  # nodes 4 and 5 have no edge
Z = np.random.default_rng(0).normal(size=(6, 3))


def refuses(call, *parts, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.fixture(scope="module")
def data():
    return sbm(1, num_nodes=40, p_in=0.3, p_out=0.05, num_features=4, signal=1.0)


def fits(data, **changes):
    """Every way of training, on the data with some parts replaced."""
    given = [changes.get(name, getattr(data, name)) for name in ("graph", "x", "y", "split")]

    def gcn():
        return GCN(4, 8, data.num_classes, rngs=nnx.Rngs(0))

    joint = GAugOConfig(pretrain_edge=1, pretrain_nodes=1, epochs=2)
    return (
        lambda: fit_node_classifier(gcn(), *given, epochs=2, key=KEY),
        lambda: fit_gaug_m(gcn(), None, *given, GAugMConfig(edge_epochs=1), key=KEY),
        lambda: fit_gaug_o(gcn(), EdgePredictor(4, rngs=nnx.Rngs(0)), *given, joint, key=KEY),
    )


# Graphs


def test_a_directed_graph_is_refused_with_its_first_unmatched_edge_or_made_symmetric():
    directed = np.array([[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [4, 3]])
    refuses(lambda: Graph.from_edges(directed, 5), "edge (2, 3) has no edge (3, 2)", "set symmetrize=True")
    assert Graph.from_edges(directed, 5, symmetrize=True).edges().tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]


def test_loops_and_repetitions_are_dropped_and_counted():
    with pytest.warns(UserWarning, match="2 self-loops and 1 repeated edges were dropped"):
        graph = Graph.from_edges(np.array([[0, 0], [1, 1], [0, 1], [0, 1], [1, 2]]), 3)
    assert graph.edges().tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("wrong", [6, -1])
def test_a_node_that_is_not_there_is_named(wrong):
    refuses(lambda: Graph.from_edges(np.array([[0, 1], [2, wrong]]), 6), f"node id {wrong} in row 1", "0..5")


# Features, labels, parts


@pytest.mark.parametrize(
    ("x", "parts"),
    [
        (np.ones((39, 4)), ("features have shape (39, 4)", "each of the 40 nodes, (40, F)")),
        (np.where(np.eye(40, 4) > 0, np.nan, 1), ("4 features are NaN or infinite", "= (0, 0)")),
        (np.where(np.arange(40)[:, None] == 7, np.inf, np.ones((40, 4))), ("4 features", "= (7, 0)")),
    ],
)
def test_features(data, x, parts):
    for fit in fits(data, x=x):
        refuses(fit, *parts)
    refuses(lambda: fit_edge_predictor(data.graph, x, key=KEY), *parts)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda y: y + 0.0, ("classes must be whole numbers 0 ... C-1", "float64")),
        (lambda y: y + 1, ("the model's logits have the shape (40, 2)", "these labels need (40, 3)")),
        (lambda y: y - 1, ("of the split has the label -1", "only nodes outside the split")),
        (lambda y: y[:-1], ("the labels have the shape (39,)", "(40,), or (40, C)")),
        (lambda y: np.stack([y, 2 * y], axis=1), ("several labels per node, (N, C), must be zeros and ones",)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_labels(data, change, parts):
    for fit in fits(data, y=change(data.y)):
        refuses(fit, *parts)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s: (s.train, s.val[:0], s.test), ("the validation nodes must be a list of node numbers that is not",)),
        (
            lambda s: (s.train, s.val, np.append(s.test, s.val)),
            ("the validation and the test nodes share 10 of them: ", ", ...; a score on nodes that were"),
        ),
        (lambda s: (s.train, s.val, np.array([40])), ("the test nodes hold 40, but the graph has the nodes 0 ... 39",)),
        (lambda s: (s.train, s.val), ("three parts",)),
        (lambda s: (np.zeros(40, bool), s.val, s.test), ("the training nodes must be a list of node numbers", "bool")),
    ],
)
def test_parts(data, change, parts):
    for fit in fits(data, split=change(data.split)):
        refuses(fit, *parts)


def test_an_overlap_lists_five_nodes(data):
    train, val, test = data.split
    message = rf"the training and the test nodes share 7 of them: {', '.join(map(str, np.sort(train)[:5]))}, \.\.\."
    with pytest.raises(ValueError, match=message):
        fits(data, split=(train, val, np.append(test, train[:7])))[0]()


def test_a_class_without_training_nodes_is_warned_of(data):
    train, val, test = data.split
    with pytest.warns(UserWarning, match=r"no training node has the classes \[1\]: they cannot be learnt"):
        fits(data, split=(train[data.y[train] == 0], val, test))[0]()


def test_a_graph_that_joins_unlike_nodes_is_warned_of(data):
    unlike = Graph.from_edges(np.argwhere(np.triu(data.y[:, None] != data.y)), 40)
    assert float(homophily(unlike, data.y)) == 0
    split = (np.arange(0, 40, 2), np.arange(1, 40, 4), np.arange(3, 40, 4))
    with pytest.warns(UserWarning, match="only 0.00 of the edges between training nodes join nodes of one class"):
        fits(data, graph=unlike, split=split)[0]()


# Changing and sampling graphs


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"add": 57}, ("add=57; fractions in [0, 1] are needed (0.57 for 57 %)", "units='count'")),
        ({"remove": 2}, ("remove=2; fractions in [0, 1] are needed",)),
        ({"remove": -0.1}, ("remove=-0.1",)),
        ({"add": 0.5, "remove": 0, "units": "count"}, ("add=0.5 with units='count'; a whole number of edges",)),
        ({"add": 13, "remove": 1, "units": "count"}, ("1 edges to remove and 13 to add", "3 edges and 12 pairs")),
        ({"add": 0, "remove": 4, "units": "count"}, ("4 edges to remove and 0 to add", "3 edges and 12 pairs")),
        ({"score": "dot"}, ("score 'dot' is unknown; one of inner, cosine, sigmoid",)),
    ],
)
def test_amounts_of_a_change(settings, parts):
    refuses(lambda: modify_graph(PATH, Z, **settings), *parts)
    if settings.keys() <= {"add", "remove"}:
        refuses(lambda: GAugMConfig(**settings), next(iter(settings)), "in [0, 1]")


def test_whole_numbers_are_counts_where_units_says_so():
    _, report = modify_graph(PATH, Z, 2, 12, units="count")
    assert (len(report.removed), len(report.added)) == (2, 12)


@pytest.mark.parametrize(
    ("scores", "parts"),
    [
        (np.arange(36.0).reshape(6, 6), ("the scores are not symmetric: (0, 1) has 1.0 and (1, 0) has 6.0",)),
        (np.ones((5, 5)), ("z_or_scores has shape (5, 5), but the graph has 6 nodes",)),
        (np.ones(6), ("z_or_scores has shape (6,)", "(6, z) or scores (6, 6)")),
        (np.full((6, 6), np.nan), ("36 entries that are NaN or infinite",)),
        (np.full((6, 3), np.inf), ("18 entries that are NaN or infinite",)),
    ],
)
def test_scores(scores, parts):
    refuses(lambda: modify_graph(PATH, scores, 0.5, 0.5), *parts)


def test_more_pairs_than_there_are():
    refuses(lambda: top_pairs(Z, 13, exclude=PATH), "k=13 pairs are asked for, but 6 nodes have 12 pairs")


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"alpha": -0.1}, "alpha=-0.1"),
        ({"alpha": 1.1}, "must lie in [0, 1]"),
        ({"temperature": 0}, "temperature=0 must be above 0"),
        ({"temperature": -1.0}, "temperature=-1.0"),
    ],
)
def test_alpha_and_temperature(settings, part):
    z = jnp.asarray(Z)
    refuses(lambda: sample_adjacency(KEY, z, PATH, **settings), part)
    refuses(lambda: sample_graph(KEY, z, PATH, capacity=20, **settings), part)
    name = next(iter(settings))
    refuses(lambda: GAugOConfig(**settings), f"{name} must be ", f"but is {settings[name]}")


def test_beta():
    refuses(lambda: GAugOConfig(beta=-1), "beta must be at least 0, but is -1")


def test_a_graph_too_large_for_dense_training_is_refused_with_an_estimate(data, monkeypatch):
    from offprint.gaug import _backends

    monkeypatch.setattr(_backends, "device_bytes", lambda: 2**10)
    node, edge = GCN(4, 8, 2, rngs=nnx.Rngs(0)), EdgePredictor(4, rngs=nnx.Rngs(0))
    problem = (data.graph, data.x, data.y, data.split)
    cfg = GAugOConfig(backend="dense", epochs=1)
    refuses(
        lambda: fit_gaug_o(node, edge, *problem, cfg, key=KEY),
        *("backend='dense' needs about", "40 nodes", "GiB", "use backend='blockwise'"),
    )


def test_edges_without_room_are_reported_with_the_capacity_that_is_needed():
    z = jnp.ones((6, 3))  # every pair has the probability 1

    def sample(z, capacity):
        return sample_graph(KEY, z, PATH, alpha=1.0, capacity=capacity)

    parts = ("15 edges were drawn, but there is room for 4", "capacity=15 or more")
    refuses(lambda: sample(z, 4), *parts, error=RuntimeError)
    under_jit = jax.jit(sample, static_argnums=1)(z, 4)  # nothing can be raised there: it is asked afterwards
    refuses(under_jit.check, *parts, error=RuntimeError)
    assert len(sample(z, 15).edges()) == 15
    refuses(lambda: sample(z, 0), "must be at least 1, but is 0")


def test_an_edge_predictor_whose_relus_died_is_warned_of_and_stays_finite():
    with pytest.warns(UserWarning, match="all logits are 0"):
        sample_adjacency(KEY, jnp.zeros((6, 3)), PATH)

    def loss(z):
        sample = sample_adjacency(KEY, z, PATH, alpha=0.5)
        return (sample @ z).sum() + edge_loss(z, PATH)

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros((6, 3)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("make", [GCN, GraphSAGE, GAT, JKNet, ChebNet, APPNP, GIN])
def test_nodes_without_an_edge_are_fine(make):
    model = make(3, 8, 2, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, graph):
        logits = nnx.merge(graphdef, params, rest, copy=True)(graph, jnp.asarray(Z), deterministic=True)
        return (logits**2).sum(), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, PATH)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_graph_without_edges_can_be_learnt_on(data):
    empty = Graph.from_edges(np.zeros((0, 2), int), 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fits(data, graph=empty)[0]()
    assert np.isfinite(result.logits).all()


def test_models_that_are_none(data):
    for fit in (fit_node_classifier, lambda *a, **k: fit_gaug_m(a[0], None, *a[1:], GAugMConfig(edge_epochs=1), **k)):
        with pytest.raises(TypeError, match=re.escape("a flax.nnx Module with the call (graph, x)")):
            fit(lambda graph, x: x, data.graph, data.x, data.y, data.split, key=KEY)
