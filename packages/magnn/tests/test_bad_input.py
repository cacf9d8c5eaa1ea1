"""Every mistake gets one error that says what was given, what is needed and what to do."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.magnn import (
    MAGNN,
    InteractionLog,
    ItemGraph,
    Sequences,
    Split,
    TrainConfig,
    bpr_loss,
    check_graph,
    evaluate,
    fit,
    item_graph,
    last_windows,
    prepare,
    recommend,
    recommend_history,
    seen_items,
    split_ratio,
    windows,
)
from offprint.magnn._loss import batch_loss
from offprint.magnn._windows import Batch
from offprint.magnn.baselines import BPRMF, HGN, GRU4Rec, Popularity, SASRec

pytestmark = pytest.mark.usefixtures("unchecked_types")

LISTS = [[0, 1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6, 7, 8, 9, 0], [1, 3, 5]]
PLAIN = Sequences.from_lists(LISTS, 12)
NAMED = Sequences(PLAIN.indptr, PLAIN.items, 12, np.array([17, 23, 42]), np.arange(100, 112))
SPLIT = split_ratio(PLAIN)
SIZES = {"num_users": 3, "num_items": 12, "d": 4, "h": 2, "m": 2}
ROWS = np.array([[1, 5, 4, 5], [1, 6, 1, 5], [1, 5, 3, 4], [1, 7, 2, 5], [2, 5, 1, 3], [2, 6, 2, 5]])
LOG = InteractionLog(*ROWS.T)


@pytest.fixture(scope="module")
def model():
    return MAGNN(**SIZES, graph=item_graph(SPLIT.train), L=3, max_long=2, rngs=nnx.Rngs(0))


def raises(call, error, *parts):
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


# Ids


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (([0], [[1, 2, 12]], [[3, 4]]), ("short hold the id 12", "ids are 0 to 11, or -1 for padding")),
        (([0], [[1, 2, 3]], [[-2, 4]]), ("long hold the id -2", "ids are 0 to 11, or -1 for padding")),
        (([3], [[1, 2, 3]], [[3, 4]]), ("users hold the id 3", "ids are 0 to 2, or -1 for an unknown user")),
        (([-2], [[1, 2, 3]], [[3, 4]]), ("users hold the id -2",)),
    ],
)
def test_ids_outside_of_the_model_are_named(model, arguments, parts):
    arrays = [np.array(argument, np.int32) for argument in arguments]
    raises(lambda: model.query(*arrays), ValueError, *parts)
    raises(lambda: model.explain(*arrays), ValueError, *parts)


def test_item_0_is_an_item_like_all_others(model):
    q = model.query(np.array([0]), np.array([[-1, 0, 0]]), np.array([[-1, 0]]))
    assert np.isfinite(np.asarray(q)).all()


def test_memory_of_an_item_that_is_not_there(model):
    raises(lambda: model.memory_weights(np.array([-1])), ValueError, "items hold the id -1, but ids are 0 to 11")
    without = MAGNN(**SIZES, long_term="attention", rngs=nnx.Rngs(0))
    raises(
        lambda: without.memory_weights(np.array([0])), ValueError, "a model with long_term='attention' has no memory"
    )


# Logs


def test_logs_without_order():
    sequences = prepare(InteractionLog([1, 1, 1], [5, 6, 7], time=[3, 1, 2]))
    assert sequences.item_ids[sequences.of(0)].tolist() == [6, 7, 5]  # sorted by time
    with pytest.warns(UserWarning, match="no times: each user's items keep the order of the rows"):
        kept = prepare(InteractionLog([1, 1, 1], [5, 6, 7]))
    assert kept.item_ids[kept.of(0)].tolist() == [5, 6, 7]
    raises(
        lambda: InteractionLog([1, 1], [5, 6], time=[1.0, np.nan]),
        ValueError, "1 of 2 values of time are missing or infinite, the first in row 1", "drop these rows or",
    )  # fmt: skip


def test_ids_ratings_and_duplicates():
    for name in ("user", "item"):
        raises(
            lambda name=name: InteractionLog(**{"user": [1, 2], "item": [3, 4], name: [1.0, 2.0]}),
            ValueError, f"{name} ids are float64; whole numbers or texts are needed",
        )  # fmt: skip
    raises(
        lambda: prepare(LOG, rating_scale=(1, 4)), ValueError, "4 ratings lie outside 1 ... 4, the first is 5 in row 0"
    )
    raises(lambda: prepare(InteractionLog([1], [2], time=[0]), min_rating=4), ValueError, "the log has no ratings")
    with pytest.warns(UserWarning, match="1 interactions repeat an item of the same user: the last stays"):
        sequences = prepare(LOG, dedup="last", min_length=2)
    assert sequences.item_ids[sequences.of(0)].tolist() == [6, 7, 5]
    raises(lambda: prepare(LOG, dedup="all"), ValueError, "dedup='all'; one of 'first', 'last', 'none' is needed")


@pytest.mark.filterwarnings("ignore:1 interactions repeat")
def test_users_with_too_few_items_are_dropped_or_refused():
    with pytest.warns(UserWarning, match="1 users with fewer than 3 items are dropped"):
        assert prepare(LOG).num_users == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raises(lambda: prepare(LOG, strict=True), ValueError, "1 users have fewer than 3 items", "strict=False")


def test_short_users_stay_and_are_counted():
    found = windows(PLAIN, L=3, T=2)
    assert found.num_padded == 1
    assert (found.users == 2).sum() == 1


# Sizes


@pytest.mark.parametrize("name", ["num_users", "num_items", "d", "h", "m", "L", "gnn_steps"])
def test_sizes_below_one(name):
    raises(lambda: MAGNN(**SIZES | {name: 0}, rngs=nnx.Rngs(0)), ValueError, f"{name} must be at least 1, but is 0")


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: windows(PLAIN, L=0), "L=0; a window of at least 1 item is needed"),
        (lambda: windows(PLAIN, T=0), "T=0; at least 1 target is needed"),
        (lambda: windows(PLAIN, L=9), "L=9 is longer than the longest sequence, which has 8 items; choose a smaller L"),
        (lambda: last_windows(PLAIN, L=0), "L=0; a window of at least 1 item is needed"),
        (lambda: windows(PLAIN, max_long=-1), "max_long=-1; give 0 or more items of history, or None for all"),
        (lambda: TrainConfig(T=0), "T must be at least 1, but is 0"),
        (lambda: TrainConfig(lr=0), "lr must be above 0, but is 0"),
        (lambda: TrainConfig(weight_decay=-1), "weight_decay must be 0 or more, but is -1"),
        (lambda: TrainConfig(loss="hinge"), "loss must be one of 'bpr', 'bce', 'sampled_softmax', 'softmax'"),
        (lambda: TrainConfig(select="auc"), "select must be a metric at a K such as 'ndcg@10'"),
        (lambda: TrainConfig(patience=2, select=None), "patience needs a metric to watch; set select"),
        (lambda: TrainConfig(train_on="train_val"), "needs validation items, which train_on='train_val' trains on"),
        (lambda: MAGNN(**SIZES, fusion="sum", rngs=nnx.Rngs(0)), "fusion must be one of 'gate', 'concat', 'gru'"),
        (lambda: MAGNN(**SIZES, max_long=-1, rngs=nnx.Rngs(0)), "max_long must be at least 0, but is -1"),
        (lambda: BPRMF(3, 12, 0, rngs=nnx.Rngs(0)), "d must be at least 1, but is 0"),
        (lambda: HGN(3, 12, 4, L=0, rngs=nnx.Rngs(0)), "L must be at least 1, but is 0"),
        (lambda: GRU4Rec(3, 0, 4, rngs=nnx.Rngs(0)), "num_items must be at least 1, but is 0"),
        (lambda: SASRec(3, 12, 4, heads=3, rngs=nnx.Rngs(0)), "heads=3 must divide d=4"),
    ],
)  # fmt: skip
def test_settings_out_of_range(call, part):
    raises(call, ValueError, part)


# Losses and negatives


def test_as_many_negatives_as_targets(model):
    raises(
        lambda: bpr_loss(jnp.zeros((4, 3)), jnp.zeros((4, 2))),
        ValueError, "needs a negative for each target, but pos is (4, 3) and neg is (4, 2)",
    )  # fmt: skip
    batch = Batch(jnp.zeros(2, int), jnp.zeros((2, 3), int), jnp.zeros((2, 2), int), jnp.zeros((2, 3), int))
    raises(
        lambda: batch_loss(model, batch, jnp.zeros((2, 2), int)),
        ValueError, "one negative for each target, but the targets are (2, 3) and the negatives (2, 2)",
    )  # fmt: skip
    raises(
        lambda: batch_loss(model, batch), ValueError, "the loss 'bpr' needs negatives: draw them by sample_negatives"
    )


def test_a_user_without_unseen_items():
    everything = Sequences.from_lists([[0, 1], [0, 1, 2]], 3)
    raises(lambda: seen_items(everything), ValueError, "user 1 has seen all 3 items", "leave such users out")


# Graphs


@pytest.mark.parametrize(
    ("edges", "part"),
    [
        (([0], [12], [1.0]), "a column of the graph is 12, but its 12 items are 0 to 11"),
        (([-1], [1], [1.0]), "a row of the graph is -1, but its 12 items are 0 to 11"),
        (([0, 0], [1, 2], [-0.5, 1.5]), "the weights of a graph must not be negative, but one is -0.5"),
        (([0, 0], [1, 2], [0.5, np.nan]), "1 of the graph's weights are NaN or infinite"),
        (([0, 0], [1, 2], [0.5, 0.4]), "must sum to 1, but those of item 0 sum to 0.9 (1 rows are off)"),
        (([0, 0], [1, 1], [0.5, 0.5]), "the edge from item 0 to item 1 is there twice: add up its weights first"),
        (([0, 0], [1], [1.0]), "as many rows as columns, but (2,) and (1,) were given"),
        (([0, 0], [1, 2], [1.0]), "a graph of 2 edges needs as many weights, but their shape is (1,)"),
        (([0], [1], None), "a graph needs weights (rows that sum to 1) or counts"),
    ],
)
def test_graphs_that_are_none(edges, part):
    rows, cols, weights = (None if part is None else np.array(part) for part in edges)
    raises(lambda: ItemGraph.from_coo(rows, cols, weights, num_items=12), ValueError, part)


def test_graphs_of_something_else(model):
    other = item_graph(Sequences.from_lists([[0, 1, 2]], 4))
    raises(
        lambda: MAGNN(**SIZES, graph=other, rngs=nnx.Rngs(0)), ValueError, "the graph has 4 items, but the model has"
    )
    raises(
        lambda: MAGNN(**SIZES, graph="item", rngs=nnx.Rngs(0)), ValueError, "graph must be an ItemGraph, 'window' or"
    )
    raises(lambda: check_graph(other, PLAIN), ValueError, "the graph has 4 items, but the training sequences have 12")
    window = MAGNN(**SIZES, graph="window", rngs=nnx.Rngs(0))
    raises(lambda: window.set_graph(model.graph), ValueError, "made with graph='window'")
    bare = MAGNN(**SIZES, rngs=nnx.Rngs(0))
    raises(
        lambda: bare.query(np.array([0]), np.array([[1, 2]]), np.array([[3]])), ValueError,
        "this model has no item graph yet", "model.set_graph(item_graph(sequences))",
    )  # fmt: skip
    raises(lambda: item_graph(PLAIN, lookahead=0), ValueError, "lookahead must be at least 1, but is 0")
    raises(lambda: item_graph(PLAIN, max_degree=0), ValueError, "max_degree must be at least 1")


def test_a_graph_of_test_items_does_not_reach_training():
    leaking = MAGNN(**SIZES, graph=item_graph(PLAIN), L=3, max_long=2, rngs=nnx.Rngs(0))
    raises(
        lambda: fit(leaking, SPLIT, TrainConfig(epochs=1, select=None)), ValueError,
        "are counted more often than in the training log", "build it from the training sequences",
    )  # fmt: skip


# Training


def test_models_and_splits_that_do_not_fit(model):
    other = split_ratio(Sequences.from_lists(LISTS, 13))
    raises(lambda: fit(model, other), ValueError, "the model is for num_items=12, but the sequences have 13")
    raises(lambda: fit(Popularity(PLAIN), SPLIT), ValueError, "Popularity has no parameters to train")
    without = Split(PLAIN, PLAIN.slice(PLAIN.lengths, PLAIN.lengths), SPLIT.test, PLAIN)
    bprmf = BPRMF(3, 12, 4, rngs=nnx.Rngs(0))
    raises(lambda: fit(bprmf, without), ValueError, "select='ndcg@10' needs validation items, but the split has none")
    raises(lambda: fit(bprmf, SPLIT), ValueError, "k=10, but only", "choose a smaller k")
    mesh = jax.make_mesh((8,), ("batch",))
    few = split_ratio(Sequences.from_lists([[0, 1, 2], [3, 4, 5], [6, 7, 8]], 12))
    raises(
        lambda: fit(bprmf, few, TrainConfig(epochs=1, T=1, select=None), mesh=mesh), ValueError,
        "windows cannot be divided over 8 devices; use a smaller mesh",
    )  # fmt: skip


# Ranking and metrics


def test_lists_that_are_too_long():
    popular = Popularity(NAMED)
    raises(
        lambda: recommend(popular, NAMED, 5), ValueError,
        "k=5, but only 4 of 12 items can be recommended to user 17; choose a smaller k",
    )  # fmt: skip
    raises(lambda: recommend(popular, NAMED, 0), ValueError, "k must be at least 1, but is 0")


def test_users_who_are_not_in_the_log():
    popular = Popularity(NAMED)
    raises(lambda: recommend(popular, NAMED, 2, users=[17, 99]), KeyError, "no user has the id 99", "user=None")
    raises(lambda: NAMED.user_index("Ann"), KeyError, "no user has the id 'Ann'", "ids of the log are whole numbers")
    raises(lambda: NAMED.item_index([100, 5]), KeyError, "no item has the id 5")
    raises(lambda: recommend_history(popular, [5], sequences=NAMED), KeyError, "no item has the id 5")
    raises(lambda: recommend_history(popular, []), ValueError, "the history is empty; at least 1 item is needed")
    assert recommend_history(popular, [100, 101], sequences=NAMED, k=2).users.tolist() == [-1]  # user=None ranks


def test_users_without_test_items_are_skipped_and_counted():
    lists = np.array([[8, 9], [1, 2], [0, 2]])
    nothing = SPLIT.test.slice(np.where(np.arange(3) == 2, SPLIT.test.lengths, 0), SPLIT.test.lengths)
    found = evaluate(lists, nothing, ks=(2,))
    assert found.num_skipped == 1
    assert found.users.tolist() == [0, 1]
    empty = SPLIT.test.slice(SPLIT.test.lengths, SPLIT.test.lengths)
    raises(lambda: evaluate(lists, empty, ks=(2,)), ValueError, "none of the 3 users has a test item")
    raises(lambda: evaluate(lists, SPLIT.test, ks=(3,)), ValueError, "ks=(3,); lists of 2 items allow K from 1 to 2")


def test_every_message_says_what_to_do_in_one_line():
    with pytest.raises(ValueError, match=re.escape("item 12 is not in 0 ... 11")) as caught:
        Sequences.from_lists([[12]], 12)
    assert "`prepare` numbers ids of any kind" in str(caught.value)
    assert "\n" not in str(caught.value)
