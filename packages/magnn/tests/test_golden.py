"""The published equations in double precision, and the public re-implementation: every number on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import MAGNN, Batch, ItemGraph, Sequences, bpr_loss, item_graph
from offprint.magnn._graph import propagate
from offprint.magnn._long_term import positions
from offprint.magnn._loss import batch_loss
from offprint.magnn._short_term import fuse_user, gnn

TOLERANCE = {"float64": 1e-9, "float32": 2e-5}


def assert_close(here, there, tolerance):
    """Equal up to a share of the largest entry."""
    assert here.shape == there.shape
    np.testing.assert_allclose(here, there, rtol=0, atol=tolerance * max(np.abs(there).max(), 1e-3))


def with_parameters(model, arrays, dtype):
    for name, value in arrays.items():
        getattr(model, name)[...] = jnp.asarray(value, dtype)
    return model


def padded(ids, mask):
    return jnp.asarray(np.where(mask > 0, ids, -1), jnp.int32)


@pytest.fixture(scope="module", params=["forward", "forward_masked"])
def arrays(request, golden):
    return golden(request.param)


@pytest.fixture(scope="module")
def graph(arrays) -> ItemGraph:
    items, indptr = (np.asarray(arrays[f"graph_{key}"], np.int32) for key in ("items", "indptr"))
    sequences = Sequences.from_csr(indptr, items, len(arrays["adj"]))
    return item_graph(sequences, lookahead=int(arrays["lookahead"]), directed=bool(arrays["directed"]))


@pytest.fixture(scope="module")
def batch(arrays) -> Batch:
    short, long = (padded(arrays[f"{name}_items"], arrays[f"{name}_mask"]) for name in ("short", "long"))
    return Batch(jnp.asarray(arrays["users"], jnp.int32), short, long, jnp.asarray(arrays["targets"], jnp.int32))


@pytest.fixture(scope="module", params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module")
def model(arrays, graph, dtype) -> MAGNN:
    (users, d), (items, _) = arrays["param_P"].shape, arrays["param_E"].shape
    h, m = arrays["param_Wa3"].shape[0], arrays["param_K"].shape[1]
    model = MAGNN(users, items, d, h, m, graph=graph, max_long=9, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    names = [key[6:] for key in arrays if key.startswith("param_") and key not in ("param_PE", "param_W2")]
    return with_parameters(model, {name: arrays[f"param_{name}"] for name in names}, dtype)


def test_the_item_graph_has_these_counts_and_weights(arrays, graph):
    counts = np.zeros_like(arrays["adj_counts"])
    counts[graph.rows, graph.cols] = graph.counts
    np.testing.assert_array_equal(counts, arrays["adj_counts"])
    np.testing.assert_array_equal(graph.to_dense(), arrays["adj"])


def test_positions(arrays):
    np.testing.assert_allclose(positions(*arrays["param_PE"].shape), arrays["param_PE"], rtol=0, atol=1e-15)


def test_everything_on_the_way_to_the_query(arrays, model, batch, dtype):
    parts = jax.jit(lambda model, batch: (p := model.parts(batch), p.query))(model, batch)
    parts, query = parts
    names = {"h_mean": "hbar", "attention": "attn", "Z": "Z", "z": "z", "memory": "s", "o": "o", "long_term": "pH"}
    names |= {"gate": "g", "interest": "pC"}
    for name, there in names.items():
        assert getattr(parts, name).dtype == dtype
        assert_close(getattr(parts, name), arrays[f"mid_{there}"], TOLERANCE[dtype])
    assert_close(query, arrays["mid_query"], TOLERANCE[dtype])


def test_hidden_vectors_and_the_fused_short_term_interest(arrays, model, batch, dtype):
    E = model.E[...]
    h = gnn(propagate(model.graph, E), E, model.W1[...])[batch.short] * (batch.short >= 0)[..., None]
    assert_close(h, arrays["mid_h"] * arrays["short_mask"][..., None], TOLERANCE[dtype])
    W2 = jnp.asarray(arrays["param_W2"], dtype)
    p_S = fuse_user(jnp.asarray(arrays["mid_hbar"], dtype), model.P[...][batch.users], W2)
    assert_close(p_S, arrays["mid_pS"], TOLERANCE[dtype])


def test_scores(arrays, model, batch, dtype):
    q = model.query(batch.users, batch.short, batch.long)
    assert_close(model.score_all(q), arrays["scores"], TOLERANCE[dtype])
    pos, neg = model.score(q, batch.targets), model.score(q, arrays["negatives"])
    assert_close(pos, arrays["pos_scores"], TOLERANCE[dtype])
    assert_close(neg, arrays["neg_scores"], TOLERANCE[dtype])
    assert_close(bpr_loss(pos, neg), arrays["bpr_loss"], TOLERANCE[dtype])


def test_masks_say_the_same_as_padding(arrays, model, batch):
    masked = model.query(
        arrays["users"], arrays["short_items"], arrays["long_items"], arrays["short_mask"] > 0, arrays["long_mask"] > 0
    )
    np.testing.assert_array_equal(masked, model.query(batch.users, batch.short, batch.long))


def test_loss_and_gradients_of_all_parameters(arrays, model, batch, dtype):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params, rest, batch, negatives):
        return batch_loss(nnx.merge(graphdef, params, rest, copy=True), batch, negatives)

    negatives = jnp.asarray(arrays["negatives"], jnp.int32)
    value, grads = jax.jit(jax.value_and_grad(loss))(params, rest, batch, negatives)
    assert_close(value, arrays["bpr_loss"], TOLERANCE[dtype])
    expected = {key[5:] for key in arrays if key.startswith("grad_")}
    assert set(grads.keys()) == expected  # all 14, and nothing else is trained
    for name in expected:
        assert_close(grads[name][...], arrays[f"grad_{name}"], TOLERANCE[dtype])


RENAMED = {  # theirs: ours, transposed where their rows are our columns
    "user_embeddings__weight": ("P", False),
    "item_embeddings__weight": ("E", False),
    "W2__weight": ("Q", False),
    "b2__weight": ("b", None),
    "gnn__W1": ("W1", True),
    "long_W1": ("Wa1", True),
    "long_W2": ("Wa2", True),
    "long_W3": ("Wa3", True),
    "memory_K": ("K", False),
    "memory_V": ("V", False),
    "fusion_W1": ("Wg1", True),
    "fusion_W2": ("Wg2", True),
    "fusion_W3": ("Wg3", True),
}


def test_the_public_reimplementation(golden):
    """Its graph is that of the window, in two steps; attention weights sum to 1 over h; there is no Wr and no mask."""
    arrays = golden("public_reimplementation")
    ours = {
        name: value[:, 0] if flip is None else value.T if flip else value
        for theirs, (name, flip) in RENAMED.items()
        for value in [arrays[f"param_{theirs}"]]
    }
    (users, d), (items, _) = ours["P"].shape, ours["E"].shape
    options = {"graph": "window", "gnn_steps": int(arrays["step"]), "attention_axis": "heads", "mask_history": False}
    options |= {"cooccurrence": "identity", "L": 6, "dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    model = with_parameters(MAGNN(users, items, d, *ours["Wa3"].shape[:1], ours["K"].shape[1], **options), ours, float)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    inputs = [jnp.asarray(arrays[key], jnp.int32) for key in ("users", "short_items", "long_items", "items_to_predict")]

    @jax.jit
    def loss(params, users, short, long, candidates):
        model = nnx.merge(graphdef, params, rest, copy=True)
        scores = model.score(model.query(users, short, long), candidates)
        pos, neg = jnp.split(scores, 2, axis=1)
        return -jnp.log(jax.nn.sigmoid(pos - neg) + 1e-8).sum(), scores  # their loss, which saturates

    (value, scores), grads = jax.value_and_grad(loss, has_aux=True)(params, *inputs)
    assert_close(scores, arrays["scores"], 1e-9)
    assert_close(value, arrays["loss"], 1e-9)
    full = model.score_all(model.query(inputs[0], inputs[1], arrays["long_items_test"]))
    assert_close(full, arrays["scores_full"], 1e-9)
    for theirs, (name, flip) in RENAMED.items():
        there = arrays[f"grad_{theirs}"]
        assert_close(grads[name][...], there[:, 0] if flip is None else there.T if flip else there, 1e-9)
