"""Mistakes in graphs, features, labels, splits, classifiers and augmentations get one clear error."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.gaug._appnp import APPNP
from offprint.gaug._augment import add_edges, drop_edge, drop_nodes, mask_features
from offprint.gaug._cheb import ChebNet
from offprint.gaug._diffusion import gdc
from offprint.gaug._features import SparseFeatures, check_features
from offprint.gaug._gat import GAT
from offprint.gaug._gcn import GCN
from offprint.gaug._graph import Graph
from offprint.gaug._metrics import intra_inter_counts, validation_pairs
from offprint.gaug._normalize import aggregate, normalize, normalize_dense
from offprint.gaug.data import karate, load_npz, save_npz, sbm

pytestmark = pytest.mark.usefixtures("unchecked_types")

KEY = jax.random.key(0)
G = Graph.from_edges(np.array([[0, 1], [1, 2]]), 4)


def edges(*pairs, nodes=4, **settings):
    return lambda: Graph.from_edges(np.array(pairs), nodes, **settings)


def build(make, *sizes, **settings):
    return lambda: make(*(sizes or (3, 8, 2)), rngs=nnx.Rngs(0), **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (edges((0, 1), (1, 0), (2, 1), (0, 3)), "edge (2, 1) has no edge (1, 2), but other edges are given both ways"),
        (edges((0, 1), (1, 0), (2, 1)), "set symmetrize=True"),
        (
            edges((0, 1), (1, 0), weights=np.array([1.0, 2.0])),
            "edge (0, 1) and its reverse have two weights, 1.0 and 2",
        ),
        (edges((0, 1), (1, 4)), "node id 4 in row 1 of edges; ids must lie in 0..3 for num_nodes=4"),
        (edges((0, -1)), "node id -1 in row 0 of edges"),
        (edges((0.0, 1.0)), "edges have shape (1, 2) and dtype float64; integers of shape (E, 2) are needed"),
        (edges((0, 1, 2)), "edges have shape (1, 3) and dtype int64"),
        (edges((0, 1), nodes=0), "num_nodes=0; at least one node is needed"),
        (edges((0, 1), weights=np.ones(2)), "weights have shape (2,); one per edge, (1,), is needed"),
        (
            edges((0, 1), weights=np.array([np.nan])),
            "1 weights are not finite and positive, the first is nan of edge (0,",
        ),
        (edges((0, 1), (1, 2), weights=np.array([1.0, 0.0])), "the first is 0.0 of edge (1, 2); leave such edges out"),
        (edges((0, 1), (1, 2), pad_to=3), "pad_to=3 is below the 4 entries of 2 edges in both directions"),
        (lambda: Graph.from_dense(np.ones((2, 3))), "adjacency has shape (2, 3); a square matrix (N, N) is needed"),
        (
            lambda: Graph.from_dense(np.array([[0, 1], [0, 0]])),
            "adjacency is not symmetric: entry (0, 1) is 1 and (1, 0) is 0",
        ),
        (lambda: Graph.from_dense(np.array([[0, -1], [-1, 0]])), "weights are not finite and positive"),
        (lambda: normalize(G, "col"), "kind 'col' is unknown; one of sym, row, none is needed"),
        (lambda: normalize_dense(jnp.eye(2), "sum"), "kind 'sum' is unknown"),
        (lambda: aggregate(G, jnp.ones((4, 1)), "none"), "kind 'none' is unknown; one of sym, row, sum is needed"),
    ],
)
def test_graphs(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((3, 2)), "features have shape (3, 2); one row for each of the 4 nodes, (4, F), is needed"),
        (np.ones(4), "features have shape (4,)"),
        ([[1.0]] * 4, "features have shape None"),
        (np.diag([0, np.nan, np.inf, 0]), "2 features are NaN or infinite, the first at (node, feature) = (1, 1)"),
        (
            SparseFeatures.from_dense(np.diag([1, 1, np.nan, 0])),
            "1 features are NaN or infinite, the first at (node, feature) = (2, 2)",
        ),
    ],
)
def test_features(x, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_features(x, 4)


@pytest.fixture
def archive(tmp_path: Path):
    """Write the karate club with some arrays replaced."""
    save_npz(tmp_path / "club.npz", karate())
    arrays = dict(np.load(tmp_path / "club.npz"))

    def write(**changes):
        np.savez(tmp_path / "changed.npz", **{**arrays, **changes})
        return tmp_path / "changed.npz"

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.full(34, 0.5)}, "float64"),
        ({"labels": np.full(34, -1)}, "-1"),
        ({"labels": np.zeros(33, int)}, "33"),
        ({"train_idx": np.array([], int)}, "training"),
        ({"val_idx": np.array([34])}, "34"),
        ({"val_idx": np.array([0, 1, 4]), "test_idx": np.array([2])}, "0, 1"),
        ({"val_idx": np.arange(4, 14), "test_idx": np.arange(4, 20)}, "4, 5, 6, 7, 8"),
        ({"edges": np.array([[0, 34]])}, "node id 34 in row 0 of edges"),
        ({"features": np.ones((33, 2))}, "features have shape (33, 2); one row for each of the 34 nodes"),
        (
            {"features": np.full((34, 2), np.nan)},
            "68 features are NaN or infinite, the first at (node, feature) = (0, 0)",
        ),
    ],
)
def test_archives(archive, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load_npz(archive(**changes))


def test_a_class_without_training_node_is_warned_of(archive):
    with pytest.warns(UserWarning, match="1"):
        load_npz(archive(train_idx=np.array([0, 1])))


def test_sparse_arrays_that_do_not_fit_are_refused(tmp_path):
    rest = {"num_nodes": 2, "edges": [[0, 1]], "labels": [0, 1], "train_idx": [0], "val_idx": [1], "test_idx": [1]}
    parts = {"feat_indptr": [0, 1, 2], "feat_indices": [0, 5], "feat_data": [1, 1], "feat_shape": [2, 3]}
    np.savez(tmp_path / "wide.npz", **rest, **parts)
    with pytest.raises(ValueError, match="feat_indices reach from 0 to 5, F is 3"):
        load_npz(tmp_path / "wide.npz")
    np.savez(tmp_path / "short.npz", **rest, **{**parts, "feat_indptr": [0, 1]})
    with pytest.raises(ValueError, match="feat_indptr has 2 entries for 2 rows and ends with 1"):
        load_npz(tmp_path / "short.npz")
    with pytest.raises(ValueError, match="scale 'rows' is unknown; one of none, row, column is needed"):
        load_npz(_club(tmp_path), scale="rows")


def _club(folder):
    save_npz(folder / "club.npz", karate())
    return folder / "club.npz"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (build(GCN, 0, 8, 2), "in_dim=0; at least 1 is needed"),
        (build(GCN, 3, 8, 2, 0), "n_layers=0; at least 1 is needed"),
        (build(GCN, dropout=1.0), "dropout=1.0; a rate of at least 0 and below 1 is needed"),
        (build(GCN, compat="dgl"), "compat 'dgl' is unknown; None, 'gaug_joint' or 'gaug_dgl' is needed"),
        (build(GAT, heads=3), "heads=3 do not divide hidden=8"),
        (build(ChebNet, k=0), "k=0; at least 1 term is needed"),
        (build(APPNP, alpha=1.5), "alpha=1.5 and steps=10; alpha in [0, 1] and at least 1 step are needed"),
        (lambda: build(GAT)()(object(), jnp.ones((4, 3))), "attention cannot work on a object"),
    ],
)
def test_classifiers(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: drop_edge(KEY, G, 20), "rate=20; a share in [0, 1] is needed, so 20 % is 0.2"),
        (lambda: drop_nodes(KEY, G, -0.1), "rate=-0.1; a share in [0, 1] is needed"),
        (lambda: mask_features(KEY, jnp.ones((4, 2)), 1.1), "rate=1.1"),
        (lambda: add_edges(KEY, G, -1), "rate=-1; at least 0 is needed"),
        (lambda: gdc(G, top_k=2), "exactly one of alpha and t, and one of top_k and eps, is needed"),
        (lambda: gdc(G, alpha=0.1, t=3, eps=0.1), "alpha=0.1, t=3, top_k=None, eps=0.1; exactly one"),
        (lambda: gdc(G, alpha=0, top_k=2), "alpha=0; a value above 0 and up to 1 is needed"),
        (lambda: gdc(G, t=-1, top_k=2), "t=-1; a value above 0 is needed"),
        (lambda: gdc(G, alpha=0.1, top_k=0), "top_k=0; a value above 0 is needed"),
        (
            lambda: validation_pairs(G, share=1.0),
            "asks for 4 edges and as many pairs without one, but there are 2 edges",
        ),
        (lambda: validation_pairs(G, share=0.0), "share=0.0 asks for 0 edges"),
        (lambda: intra_inter_counts(G, G, np.zeros(3, int)), "the graphs have 4 and 4 nodes, the labels shape (3,)"),
        (lambda: sbm(p_in=5), "p_in=5 and p_out=0.01; probabilities in [0, 1] are needed"),
        (lambda: sbm(num_nodes=10), "10 nodes, 2 classes, 16 features and 5 labels per class"),
    ],
)
def test_augmentations_metrics_and_generators(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
