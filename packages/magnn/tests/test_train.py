"""Training learns, is exact about resuming, and looks at nothing that it must not see."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import Event
from offprint.magnn._config import TrainConfig
from offprint.magnn._graph import item_graph
from offprint.magnn._metrics import evaluate
from offprint.magnn._model import MAGNN
from offprint.magnn._recommend import recommend
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import split_leave_last, split_ratio
from offprint.magnn._train import fit
from offprint.magnn.baselines import BPRMF, HGN, Popularity, SASRec
from offprint.magnn.data import markov_sessions

SHORT = TrainConfig(epochs=2, batch_size=200, eval_every=1, T=2)


@pytest.fixture(scope="module")
def split():
    return split_ratio(markov_sessions(num_users=60, num_items=40, length=(10, 16)))


def small(split, kind=HGN, seed=0, **options):
    sizes = {"L": 3} if kind is not BPRMF else {}
    if kind in (MAGNN, SASRec):
        sizes |= {"max_long": 4}
    if kind is MAGNN:
        sizes |= {"h": 2, "m": 3}
    if kind is SASRec:
        sizes |= {"blocks": 1}
    return kind(split.train.num_users, split.train.num_items, 8, rngs=nnx.Rngs(seed), **(sizes | options))


def parameters(fitted):
    return jax.tree.leaves(nnx.state(fitted.model, nnx.Param))


def assert_same(fitted, other):
    for a, b in zip(parameters(fitted), parameters(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_order_is_learned_far_better_than_popularity():
    split = split_ratio(markov_sessions(num_users=200, num_items=100, length=(15, 25)))
    model = MAGNN(200, 100, 16, 4, 4, L=3, max_long=5, rngs=nnx.Rngs(0))
    config = TrainConfig(lr=1e-2, weight_decay=1e-4, batch_size=256, epochs=10, eval_every=5)
    found = fit(model, split, config)

    def recall(model):
        return evaluate(recommend(model, split.train_val).items, split.test, (10,)).recall[10]

    assert recall(found.model) > 2.5 * recall(Popularity(split.train_val))
    assert found.history[-1]["loss"] < 0.5 * found.history[0]["loss"]


def test_the_history_has_a_row_for_each_epoch(split):
    found = fit(small(split), split, dataclasses.replace(SHORT, epochs=3, eval_every=2))
    assert [row["epoch"] for row in found.history] == [1, 2, 3]
    assert ["val_ndcg@10" in row for row in found.history] == [False, True, True]
    assert {"step", "loss", "val_recall@10"} <= found.history[1].keys()
    assert found.history[0]["loss"] == pytest.approx(np.log(2), rel=0.1)  # a mean over targets


def test_the_model_that_was_given_stays_as_it_is(split):
    model = small(split, MAGNN)
    before = [np.array(x) for x in jax.tree.leaves(nnx.state(model))]
    fit(model, split, SHORT)
    assert model.graph is None
    for a, b in zip(before, jax.tree.leaves(nnx.state(model)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_epoch_on_the_validation_part_is_kept(split):
    config = dataclasses.replace(SHORT, epochs=6, lr=0.05, select="recall@5")
    found = fit(small(split), split, config)
    scores = [row["val_recall@5"] for row in found.history]
    assert found.best_epoch == 1 + int(np.argmax(scores))
    lists = recommend(found.model, split.train, 5)
    assert evaluate(lists.items, split.val, (5,)).recall[5] == pytest.approx(max(scores), abs=1e-12)


def test_without_selection_the_last_parameters_are_kept(split):
    found = fit(small(split), split, dataclasses.replace(SHORT, select=None))
    assert found.best_epoch == 2
    np.testing.assert_array_equal(found.model.Q[...], found.result.state.model.Q[...])


def test_patience_ends_a_run_that_gets_no_better(split):
    found = fit(small(split), split, dataclasses.replace(SHORT, epochs=30, lr=1e-9, patience=2))
    assert found.result.stopped == "val_ndcg@10 has not improved for 2 evaluations"
    assert found.history[-1]["epoch"] < 30


@pytest.mark.parametrize(("select", "kind"), [("ndcg@10", HGN), (None, SASRec)])  # dropout's keys are carried on too
def test_a_run_that_was_broken_off_ends_in_the_same_parameters(tmp_path, split, select, kind):
    config = dataclasses.replace(SHORT, epochs=4, select=select)
    model = small(split, kind)

    def break_off(event: Event) -> None:
        if event.row["step"] == 3 * event.num_steps // 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, split, config, checkpoint=tmp_path, callbacks=[break_off])
    resumed, undisturbed = fit(model, split, config, checkpoint=tmp_path), fit(model, split, config)
    assert_same(resumed, undisturbed)
    assert resumed.best_epoch == undisturbed.best_epoch
    assert resumed.history == undisturbed.history


def test_the_length_of_chunks_changes_nothing(monkeypatch, split):
    whole = fit(small(split), split, SHORT)
    monkeypatch.setattr("offprint.magnn._train.LONGEST_CHUNK", 1)
    monkeypatch.setattr("offprint.magnn._train.steps_in_epoch", lambda windows, size: -(-windows // size))
    assert_same(fit(small(split), split, SHORT), whole)


def test_keys_decide(split):
    first = fit(small(split), split, SHORT, jax.random.key(1))
    assert_same(fit(small(split), split, SHORT, jax.random.key(1)), first)
    other = fit(small(split), split, SHORT, jax.random.key(2))
    assert not np.array_equal(other.model.Q[...], first.model.Q[...])


@pytest.mark.parametrize(
    ("loss", "negatives"),
    [
        ("bpr", "per_window"),
        ("bpr", "per_user_epoch"),
        ("bce", "per_window"),
        ("sampled_softmax", "per_window"),
        ("softmax", "per_window"),
    ],
)
def test_every_loss_falls(split, loss, negatives):
    config = dataclasses.replace(SHORT, loss=loss, negatives=negatives, epochs=3, lr=1e-2, num_sampled=5, select=None)
    losses = [row["loss"] for row in fit(small(split), split, config).history]
    assert losses[-1] < losses[0]


def test_every_regularizer_shrinks_the_parameters(split):
    norms = {}
    for name, decay in {"none": 0, "coupled": 50.0, "decoupled": 5.0, "batch_l2": 50.0}.items():
        config = dataclasses.replace(
            SHORT, lr=1e-2, weight_decay=decay, select=None, regularizer="coupled" if name == "none" else name
        )
        norms[name] = sum(float((x**2).sum()) for x in parameters(fit(small(split), split, config)))
    assert all(norms[name] < norms["none"] for name in ("coupled", "decoupled", "batch_l2"))


def test_an_item_graph_is_made_of_the_training_part_alone(split):
    graph = fit(small(split, MAGNN), split, dataclasses.replace(SHORT, epochs=1)).model.graph
    np.testing.assert_array_equal(graph.counts, item_graph(split.train).counts)
    both = fit(small(split, MAGNN), split, SHORT.refit(1)).model.graph
    np.testing.assert_array_equal(both.counts, item_graph(split.train_val).counts)


def test_a_graph_that_knows_test_items_is_refused(split):
    everything = markov_sessions(num_users=60, num_items=40, length=(10, 16))
    leaking = small(split, MAGNN, graph=item_graph(everything))
    with pytest.raises(ValueError, match="counted more often than in the training log"):
        fit(leaking, split, SHORT)
    fine = small(split, MAGNN, graph=item_graph(split.train))
    assert fit(fine, split, dataclasses.replace(SHORT, epochs=1)).best_epoch == 1


def test_a_refit_trains_on_both_parts_and_measures_nothing(split):
    found = fit(small(split), split, SHORT.refit(3))
    assert [row["epoch"] for row in found.history] == [1, 2, 3]
    assert not any(name.startswith("val_") for name in found.history[-1])
    assert found.best_epoch == 3


def test_runs_that_cannot_be_are_refused(split):
    with pytest.raises(ValueError, match="Popularity has no parameters to train"):
        fit(Popularity(split.train), split, SHORT)
    with pytest.raises(ValueError, match="num_users=5, but the sequences have 60"):
        fit(BPRMF(5, 40, rngs=nnx.Rngs(0)), split, SHORT)
    nothing = split_ratio(markov_sessions(num_users=60, num_items=40, length=(10, 16)), val=0)
    with pytest.raises(ValueError, match="the split has none; make a split with a validation part, or set select=None"):
        fit(small(split), nothing, SHORT)
    with pytest.raises(ValueError, match="L=90 is longer than the longest sequence"):
        fit(small(split, L=90), split, SHORT)
    tight = split_leave_last(Sequences.from_lists([[0, 1, 2, 3, 4, 5]] * 60, 40))
    narrow = Sequences.from_lists([list(range(38))] + [[0, 1, 2]] * 59, 40)
    with pytest.raises(ValueError, match="k=10, but only 2 of 40 items can be recommended to user 0"):
        fit(small(split), tight._replace(train=narrow), SHORT)
