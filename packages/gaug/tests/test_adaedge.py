"""AdaEdge: which pairs a change takes, and the rounds."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.gaug._adaedge import AdaEdgeConfig, adaedge, adjusted_edges
from offprint.gaug._config import NodeConfig
from offprint.gaug._gcn import GCN
from offprint.gaug.data import sbm


def by_brute_force(edges, logits, cfg, add, remove):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    label, sure = p.argmax(1), p.max(1)
    edges = [tuple(e) for e in edges.tolist()]
    kept = set(edges)
    if remove:
        wrong = [e for e in edges if label[e[0]] != label[e[1]] and min(sure[list(e)]) > cfg.conf_remove]
        kept -= set(sorted(wrong, key=lambda e: -min(sure[list(e)]))[: cfg.n_remove])
    new = []
    if add:
        n = len(logits)
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n) if (i, j) not in edges]
        new = [e for e in pairs if label[e[0]] == label[e[1]] and min(sure[list(e)]) > cfg.conf_add]
        new = sorted(new, key=lambda e: -min(sure[list(e)]))[: cfg.n_add]
    return sorted(kept), new, lambda e: min(sure[list(e)])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(0, 12))
def test_a_change_takes_the_most_confident_pairs(seed, n_add, n_remove):
    rng = np.random.default_rng(seed)
    pairs = np.stack(np.triu_indices(12, 1), axis=1)
    edges = pairs[np.sort(rng.choice(len(pairs), 20, replace=False))].astype(np.int32)
    logits = rng.normal(0, 2, (12, 3))
    cfg = AdaEdgeConfig(0.5, 0.6, n_add, n_remove)
    found = [tuple(e) for e in adjusted_edges(edges, logits, cfg).tolist()]
    kept, new, confidence = by_brute_force(edges, logits, cfg, True, True)
    assert found == sorted(set(found))
    assert set(kept) <= set(found)
    # Among pairs of one confidence (they share their less confident node) any may be taken.
    added = sorted((confidence(e) for e in set(found) - set(kept)), reverse=True)
    np.testing.assert_allclose(added, [confidence(e) for e in new], rtol=1e-12)


def test_nothing_changes_when_nobody_is_confident():
    edges = np.array([[0, 1], [1, 2]], np.int32)
    assert (adjusted_edges(edges, np.zeros((3, 2)), AdaEdgeConfig()) == edges).all()


@pytest.fixture(scope="module")
def data():
    return sbm(1, num_nodes=80, p_in=0.2, p_out=0.06, num_features=8, signal=1.0)


@pytest.mark.parametrize("add_first", [True, False])
def test_rounds_go_on_while_validation_improves(data, add_first):
    cfg = AdaEdgeConfig(0.6, 0.6, 40, 40, add_first, 3, NodeConfig(epochs=40))
    makes = []

    def make(rngs):
        makes.append(1)
        return GCN(8, 16, 2, rngs=rngs)

    result = adaedge(make, data.graph, data.x, data.y, data.split, cfg, key=jax.random.key(0))
    assert 2 <= len(makes) <= 4
    np.testing.assert_allclose(result.model(result.graph, data.x), result.logits, rtol=1e-10)
    assert result.test_at_best > 0.7


def test_several_labels_per_node_are_refused(data):
    y = np.stack([data.y, data.y], axis=1)
    with pytest.raises(ValueError, match="AdaEdge needs one class per node"):
        adaedge(lambda rngs: None, data.graph, data.x, y, data.split, key=jax.random.key(0))
