"""What the equations say about the model without any number from elsewhere."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.magnn import MAGNN, Batch, Sequences, item_graph
from offprint.magnn._fusion import gated
from offprint.magnn._long_term import attention, history

USERS, ITEMS, D, H, M, L, S = 6, 15, 4, 3, 5, 3, 6


@pytest.fixture(scope="module")
def graph():
    rng = np.random.default_rng(0)
    return item_graph(Sequences.from_lists([rng.integers(0, ITEMS - 1, 9) for _ in range(USERS)], ITEMS))


@pytest.fixture(scope="module")
def batch() -> Batch:
    rng = np.random.default_rng(1)
    short, long, targets = (rng.integers(0, ITEMS, (4, n)).astype(np.int32) for n in (L, S, 2))
    short[1, :1], long[1, :4], long[2], long[3, 0] = -1, -1, -1, -1  # a short window, short histories, none at all
    return Batch(*map(jnp.asarray, (np.array([0, 5, 2, -1], np.int32), short, long, targets)))


def make(graph, **options):
    sizes = {"num_users": USERS, "num_items": ITEMS, "d": D, "h": H, "m": M, "L": L, "max_long": S}
    model = MAGNN(**sizes | {"dtype": jnp.float64, "rngs": nnx.Rngs(3), "graph": graph} | options)
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        noise = jax.random.normal(jax.random.key(len(str(path))), leaf[...].shape, leaf[...].dtype)
        leaf[...] = leaf[...] + 0.3 * noise  # far from the tiny initial values, where everything is nearly linear
    return model


@pytest.fixture(scope="module")
def model(graph):
    return make(graph)


@pytest.fixture(scope="module")
def parts(model, batch):
    return jax.jit(lambda model, batch: model.parts(batch))(model, batch)


def test_a_score_is_the_sum_of_its_terms(model, batch):
    explained = model.explain(*batch[:3])
    E, P, Q, b, Wr = (np.asarray(getattr(model, name)[...]) for name in ("E", "P", "Q", "b", "Wr"))
    scores = model.score_all(model.query(*batch[:3]))
    np.testing.assert_allclose(explained.score, scores, rtol=1e-12, atol=1e-12)
    for row, (user, short) in enumerate(zip(np.asarray(batch.users), np.asarray(batch.short))):
        p = P[user] if user >= 0 else P.mean(axis=0)
        real = E[short[short >= 0]]
        for j in range(ITEMS):
            bilinear = np.mean([e @ Wr @ Q[j] for e in real])
            np.testing.assert_allclose(explained.user[row, j], p @ Q[j], atol=1e-12)
            np.testing.assert_allclose(explained.cooccurrence[row, j], bilinear, atol=1e-12)
            np.testing.assert_allclose(explained.bias[row, j], b[j], atol=0)
    np.testing.assert_allclose(
        model.score(model.query(*batch[:3]), batch.targets), scores[jnp.arange(4)[:, None], batch.targets]
    )


def test_attention_sums_to_one_over_the_real_items(parts, batch):
    S_, real = np.asarray(parts.attention), np.asarray(batch.long >= 0)
    np.testing.assert_allclose(S_.sum(axis=1), np.broadcast_to(real.any(axis=1)[:, None], (4, H)), atol=1e-12)
    assert (S_[~real] == 0).all()
    assert (S_[real] > 0).all()


def test_over_heads_attention_sums_to_one_for_each_real_item(graph, batch):
    S_ = make(graph, attention_axis="heads").parts(batch).attention
    np.testing.assert_allclose(S_.sum(axis=2), batch.long >= 0, atol=1e-12)


def test_memory_weights_sum_to_one_and_the_gate_lies_between_0_and_1(parts, model):
    np.testing.assert_allclose(parts.memory.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(model.memory_weights(np.arange(ITEMS)).sum(axis=1), 1, atol=1e-12)
    assert (parts.gate > 0).all()
    assert (parts.gate < 1).all()


def test_without_history_the_memory_answers_with_its_mean(parts, model):
    np.testing.assert_array_equal(parts.z[2], 0)
    np.testing.assert_allclose(parts.long_term[2], model.V[...].mean(axis=1), atol=1e-12)


def test_one_attention_dimension_is_ordinary_attention(graph, batch):
    model = make(graph, h=1)
    parts = model.parts(batch)
    Wa1, Wa2, w = (np.asarray(getattr(model, name)[...]) for name in ("Wa1", "Wa2", "Wa3"))
    vectors = np.asarray(history(batch.long, model.E[...], model.Wa1[...])[0])[0]  # the first row has no padding
    logits = np.tanh(vectors @ Wa1.T + Wa2 @ np.asarray(parts.user[0])) @ w[0]
    weights = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(parts.z[0], np.tanh(weights @ vectors), atol=1e-12)


def test_the_order_of_the_memory_units_does_not_matter(graph, batch, model):
    permuted, order = make(graph), jnp.array([3, 0, 4, 2, 1])
    permuted.K[...], permuted.V[...] = permuted.K[...][:, order], permuted.V[...][:, order]
    np.testing.assert_allclose(permuted.queries(batch), model.queries(batch), atol=1e-12)


def test_with_an_empty_memory_long_term_interest_is_z(graph, batch):
    model, plain = make(graph), make(graph, long_term="attention")
    model.V[...] = jnp.zeros_like(model.V[...])
    parts = model.parts(batch)
    np.testing.assert_array_equal(parts.long_term, parts.z)
    assert plain.K is None
    assert plain.parts(batch).memory is None


@pytest.mark.parametrize("options", [{"position": "from_end"}, {"position": "from_end", "attention_axis": "heads"}])
def test_more_padding_changes_nothing_when_positions_count_from_the_end(graph, batch, options):
    model = make(graph, **options)
    short, long = (jnp.pad(ids, ((0, 0), (4, 0)), constant_values=-1) for ids in (batch.short, batch.long))
    np.testing.assert_allclose(model.query(batch.users, short, long), model.queries(batch), atol=1e-12)


def test_more_padding_only_moves_the_positions_when_they_are_slots(model, graph, batch):
    long = jnp.pad(batch.long, ((0, 0), (4, 0)), constant_values=-1)
    moved = model.query(batch.users, batch.short, long)
    np.testing.assert_allclose(moved[2], model.queries(batch)[2], atol=1e-12)  # no history: no positions
    assert (np.abs(moved[0] - model.queries(batch)[0]) > 1e-6).any()


def test_histories_may_have_length_zero(model, batch):
    empty = model.query(batch.users, batch.short, jnp.zeros((4, 0), jnp.int32))
    np.testing.assert_allclose(empty, model.query(batch.users, batch.short, jnp.full((4, S), -1)), atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)))
def test_rows_of_a_batch_do_not_see_one_another(model, batch, order):
    mixed = Batch(*(a[jnp.array(order)] for a in batch))
    np.testing.assert_allclose(model.queries(mixed), model.queries(batch)[jnp.array(order)], atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"gnn_steps": 2}, {"graph": "window"}])
def test_a_product_for_each_item_is_a_product_for_each_slot(graph, batch, options):
    """Few rows take the one way, many the other: the same numbers."""
    model = make(**{"graph": graph} | options)
    many = Batch(*(jnp.tile(a, (40,) + (1,) * (a.ndim - 1)) for a in batch))
    np.testing.assert_allclose(model.queries(many)[:4], model.queries(batch), atol=1e-12)
    one = Batch(*(a[:1] for a in batch))
    np.testing.assert_allclose(model.queries(one), model.queries(batch)[:1], atol=1e-12)


def test_vmap_over_users_equals_the_batch(model, batch):
    each = jax.vmap(
        lambda users, short, long: model.queries(Batch(users[None], short[None], long[None], short[None]))[0]
    )
    np.testing.assert_allclose(each(*batch[:3]), model.queries(batch), atol=1e-12)


def test_the_gate_mixes_both_interests():
    short, long = jnp.array([[1.0, 2.0]]), jnp.array([[3.0, 6.0]])
    np.testing.assert_array_equal(gated(jnp.array([[1.0, 0.0]]), short, long), [[1.0, 6.0]])


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"short_term": "none"}, {"W1", "W2", "Wg1", "Wc", "gru"}),
        ({"long_term": "none"}, {"Wa1", "Wa2", "Wa3", "K", "V", "Wg1", "Wc", "gru"}),
        ({"short_term": "none", "long_term": "none", "cooccurrence": "none"}, {"W1", "Wa1", "K", "Wg1", "Wr"}),
        ({"short_term": "user_fused"}, {"Wc", "gru"}),
        ({"fusion": "concat"}, {"Wg1", "Wg2", "Wg3", "gru", "W2"}),
        ({"fusion": "gru"}, {"Wg1", "Wg2", "Wg3", "Wc", "W2"}),
        ({"cooccurrence": "identity"}, {"Wr"}),
        ({"cooccurrence": "sum"}, {"Wr"}),
        ({"output_bias": False}, {"b"}),
    ],
)
def test_every_variant_has_only_parameters_that_it_trains(graph, batch, options, absent):
    model = make(graph, **options)
    assert all(getattr(model, name) is None for name in absent)
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        q = nnx.merge(graphdef, params, rest, copy=True)
        return (q.score_all(q.queries(batch)) ** 2).sum()

    for path, grad in nnx.to_flat_state(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(grad[...]).all(), path
        unused = path == ("E",) and options.get("cooccurrence") == "none"  # the one that every model keeps
        assert unused or (np.abs(grad[...]) > 0).any(), path


def test_the_matrix_factorisation_that_is_left_when_everything_is_left_out(batch):
    model = make(None, short_term="none", long_term="none", cooccurrence="none")  # and no graph is needed
    np.testing.assert_array_equal(model.queries(batch)[:3], model.P[...][batch.users[:3]])


def test_the_sum_is_l_times_the_mean(graph, batch):
    mean, total = (make(graph, cooccurrence=kind).parts(batch).cooccurrence for kind in ("identity", "sum"))
    np.testing.assert_allclose(total, mean * (batch.short >= 0).sum(axis=1, keepdims=True), atol=1e-12)


def test_initial_parameters_have_the_published_scales(graph):
    model = MAGNN(400, 300, 50, rngs=nnx.Rngs(0))
    for table in (model.P, model.E, model.Q):
        np.testing.assert_allclose(table[...].std(), 1 / 50, rtol=0.03)
        assert table[...].dtype == jnp.float32
    np.testing.assert_array_equal(model.b[...], 0)
    bound = np.sqrt(6 / 150)
    assert 0.98 * bound < np.abs(model.W1[...]).max() <= bound


@pytest.mark.parametrize("axis", ["items", "heads"])
def test_huge_logits_neither_overflow_nor_poison_the_gradient(axis):
    mask = jnp.array([[False, True, True], [False, False, False]])
    hidden, H_ = jnp.full((2, 3, 4), 30.0), jnp.ones((2, 3, 4))

    def z(hidden, H_, Wa3):
        return attention(hidden, H_, mask, Wa3, axis)[2].sum()

    values = jax.jit(jax.value_and_grad(z, argnums=(0, 1, 2)))(hidden, H_, jnp.full((2, 4), 1e4))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(np.isfinite(leaf), True), values)


def test_padding_is_a_zero_vector_when_the_history_is_not_masked(graph, batch):
    S_ = make(graph, mask_history=False).parts(batch).attention
    np.testing.assert_allclose(S_.sum(axis=1), 1, atol=1e-12)
    assert (S_ > 0).all()


def test_float32_stays_float32(graph, batch):
    model = make(graph, dtype=jnp.float32)
    assert jax.tree.leaves(jax.eval_shape(partial(MAGNN.parts), model, batch))[0].dtype == jnp.float32
    assert all(
        leaf.dtype == jnp.float32 for leaf in jax.eval_shape(lambda m: m.parts(batch), model) if leaf is not None
    )
