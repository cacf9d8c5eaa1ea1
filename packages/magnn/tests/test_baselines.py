"""The models to compare with compute what their papers say, and padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn._recommend import Recommender, recommend
from offprint.magnn._sequences import Sequences
from offprint.magnn._windows import Batch
from offprint.magnn.baselines import BPRMF, HGN, GRU4Rec, Popularity, SASRec

USERS, ITEMS, D = 6, 30, 8
KINDS = {"BPRMF": BPRMF, "HGN": HGN, "GRU4Rec": GRU4Rec, "SASRec": SASRec}
MORE = {"HGN": {"L": 4}, "GRU4Rec": {"L": 4, "max_long": 3}, "SASRec": {"L": 4, "max_long": 3, "heads": 2}}


def made(name, seed=0):
    model = KINDS[name](USERS, ITEMS, D, dtype=jnp.float64, rngs=nnx.Rngs(seed), **MORE.get(name, {}))
    model.eval()
    return model


@pytest.fixture(scope="module")
def models():
    return {name: made(name) for name in KINDS}


def batch_of(users, short, long=None):
    long = np.full((len(users), 3), -1) if long is None else long
    as_ids = [jnp.asarray(x, jnp.int32) for x in (users, short, long, np.zeros((len(users), 0)))]
    return Batch(*as_ids)


BATCH = batch_of([0, 3], [[4, 5, 5, 9], [1, 2, 3, 4]], [[7, 8, 9], [9, 8, 7]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_all_are_recommenders(models):
    for model in [*models.values(), Popularity(Sequences.from_lists([[1]] * USERS, ITEMS))]:
        assert isinstance(model, Recommender)


def test_popularity_ranks_by_counts():
    sequences = Sequences.from_lists([[1, 2], [2, 3], [2, 1], [4]], 6)
    found = recommend(Popularity(sequences), sequences, 3, exclude_seen=False)
    assert found.items.tolist() == [[2, 1, 3]] * 4
    assert found.scores[0].tolist() == [3, 2, 1]


def test_matrix_factorisation_scores_by_inner_products(models):
    model = models["BPRMF"]
    q, (Q, b) = model.queries(BATCH), model.item_table()
    np.testing.assert_allclose((q @ Q.T + b)[1, 7], model.P[...][3] @ model.Q[...][7] + model.b[...][7], atol=1e-14)


@pytest.mark.parametrize("pooling", ["weighted", "mean"])
def test_gates_follow_their_equations(pooling):
    model = HGN(USERS, ITEMS, D, L=4, pooling=pooling, dtype=jnp.float64, rngs=nnx.Rngs(1))
    model.c[...] = jnp.linspace(-1, 1, D)
    P, E, Wf, Wu, c, w, U = (np.asarray(getattr(model, n)[...]) for n in ("P", "E", "Wf", "Wu", "c", "w", "U"))
    p = P[0]
    gated, weights = [], []
    for place, item in enumerate([4, 5, 5, 9]):
        gated.append(E[item] * sigmoid(Wf @ E[item] + Wu @ p + c))
        weights.append(sigmoid(w[0] @ gated[-1] + U[place] @ p))
    pooled = sum(a * e for a, e in zip(weights, gated)) / (sum(weights) if pooling == "weighted" else 4)
    expected = p + pooled + E[[4, 5, 5, 9]].sum(0)  # the item-item term is a sum
    np.testing.assert_allclose(model.queries(BATCH)[0], expected, rtol=0, atol=1e-12)


def test_the_recurrent_state_is_that_of_a_plain_loop(models):
    model = models["GRU4Rec"]
    E, cell = np.asarray(model.E[...]), model.cell
    Wi, bi, Wh = (np.asarray(x) for x in (cell.dense_i.kernel[...], cell.dense_i.bias[...], cell.dense_h.kernel[...]))
    state = np.zeros(D)
    for item in [7, 8, 9, 4, 5, 5, 9]:
        xr, xz, xn = np.split(E[item] @ Wi + bi, 3)
        hr, hz, hn = np.split(state @ Wh, 3)
        z = sigmoid(xz + hz)
        state = (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * state
    np.testing.assert_allclose(model.queries(BATCH)[0], state, rtol=0, atol=1e-12)


def test_attention_looks_at_the_order(models):
    swapped = batch_of([0, 3], [[4, 5, 5, 9], [2, 1, 3, 4]], [[7, 8, 9], [9, 8, 7]])
    before, after = models["SASRec"].queries(BATCH), models["SASRec"].queries(swapped)
    np.testing.assert_allclose(before[0], after[0], atol=1e-12)
    assert np.abs(before[1] - after[1]).max() > 1e-6


def test_dropout_is_off_in_evaluation_and_on_in_training():
    model = SASRec(USERS, ITEMS, D, L=4, max_long=3, dropout=0.5, rngs=nnx.Rngs(0))
    assert np.abs(model.queries(BATCH) - model.queries(BATCH)).max() > 0
    model.eval()
    np.testing.assert_array_equal(model.queries(BATCH), model.queries(BATCH))


@pytest.mark.parametrize("name", ["HGN", "GRU4Rec", "SASRec"])
def test_what_is_padding_has_no_influence(models, name):
    """A gradient reaches exactly the vectors of the items that are there."""
    short = batch_of([1], [[-1, -1, 6, 8]])
    graphdef, params, rest = nnx.split(models[name], nnx.Param, ...)

    def summed(params):
        q = nnx.merge(graphdef, params, rest).queries(short)
        return (q * jnp.arange(1.0, D + 1)).sum()

    reached = np.flatnonzero(np.abs(jax.grad(summed)(params)["E"][...]).sum(1))
    assert reached.tolist() == [6, 8]


@pytest.mark.parametrize("name", list(KINDS))
def test_an_empty_history_and_an_unknown_user_give_finite_queries_and_gradients(models, name):
    empty = batch_of([-1], np.full((1, 4), -1))
    graphdef, params, rest = nnx.split(models[name], nnx.Param, ...)
    value, grads = jax.value_and_grad(lambda p: nnx.merge(graphdef, p, rest).queries(empty).sum())(params)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", list(KINDS))
def test_gradients_agree_with_central_differences(models, name):
    graphdef, params, rest = nnx.split(models[name], nnx.Param, ...)
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    direction = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]

    @jax.jit
    def value(t):
        moved = jax.tree.unflatten(treedef, [leaf + t * d for leaf, d in zip(leaves, direction)])
        model = nnx.merge(graphdef, moved, rest)
        Q, b = model.item_table()
        return jnp.tanh(model.queries(BATCH) @ Q.T + b).sum()

    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(value)(0.0), numeric, rtol=1e-6)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_row_does_not_depend_on_the_others_of_its_batch(models, name):
    alone = jax.tree.map(lambda x: x[1:], BATCH)
    np.testing.assert_allclose(models[name].queries(BATCH)[1:], models[name].queries(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rngs: BPRMF(0, 3, rngs=rngs), "num_users must be at least 1, but is 0"),
        (lambda rngs: GRU4Rec(2, 3, max_long=-1, rngs=rngs), "max_long must be at least 0, but is -1"),
        (lambda rngs: SASRec(2, 3, d=50, heads=3, rngs=rngs), "heads=3 must divide d=50"),
        (lambda rngs: SASRec(2, 3, dropout=1.0, rngs=rngs), "dropout=1.0; a rate"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))


def test_another_pooling_is_refused(unchecked_types):
    with pytest.raises(ValueError, match="pooling must be 'weighted' or 'mean', but is 'max'"):
        HGN(2, 3, pooling="max", rngs=nnx.Rngs(0))
