"""Fits on small graphs: they learn, stop, resume, and report the test score of the best validation epoch."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import Checkpoint
from offprint.gaug._augment import compose
from offprint.gaug._config import GAugMConfig, GAugOConfig, NodeConfig
from offprint.gaug._edge_predictor import EdgePredictor
from offprint.gaug._fit import fit_node_classifier
from offprint.gaug._gaug_m import fit_gaug_m
from offprint.gaug._gaug_o import fit_gaug_o
from offprint.gaug._gcn import GCN
from offprint.gaug._graph import Graph
from offprint.gaug._metrics import homophily, micro_f1
from offprint.gaug._tune import tune
from offprint.gaug.data import sbm

KEY = jax.random.key(0)
CFG = GAugOConfig(0.3, 0.5, 1.0, 20, 10, 2, epochs=20, patience=20, backend="dense")


@pytest.fixture(scope="module")
def data():
    return sbm(1, num_nodes=80, p_in=0.2, p_out=0.03, num_features=8, signal=1.0)


@pytest.fixture(scope="module")
def problem(data):
    return data.graph, data.x, data.y, data.split


def gcn(seed=0, outputs=2, dropout=0.5):
    return GCN(8, 16, outputs, dropout=dropout, rngs=nnx.Rngs(seed))


def predictor(variational=False):
    return EdgePredictor(8, 16, 8, variational=variational, rngs=nnx.Rngs(1))


def test_a_classifier_learns_and_is_given_at_its_best_validation_score(data, problem):
    result = fit_node_classifier(gcn(), *problem, epochs=40, key=KEY)
    assert result.history["loss"][-1] < 0.5 * result.history["loss"][0]
    best = int(np.argmax(result.history["val"]))  # the first of equal ones
    assert result.best_epoch == best
    assert result.val == result.history["val"][best]
    assert result.test_at_best == result.history["test"][best]
    logits = result.model(data.graph, data.x)
    np.testing.assert_allclose(logits, result.logits, rtol=1e-12)
    assert float(micro_f1(logits[data.split.test], data.y[data.split.test])) == result.test_at_best
    assert result.test_at_best > 0.8


def test_the_model_that_was_given_is_not_changed(problem):
    model = gcn()
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    fit_node_classifier(model, *problem, epochs=40, key=KEY)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), before, nnx.state(model, nnx.Param)))


def test_training_is_a_function_of_model_and_key(problem):
    runs = [fit_node_classifier(gcn(), *problem, epochs=20, drop_edge=0.3, key=jax.random.key(k)) for k in (3, 3, 4)]
    assert (runs[0].history["loss"] == runs[1].history["loss"]).all()
    assert (runs[0].history["loss"] != runs[2].history["loss"]).any()


def test_weight_decay_is_added_to_the_gradient_before_adam(problem):
    # With no gradient but the penalty's, the first step of Adam has the size of the learning rate whatever the decay.
    g, x, y, split = problem
    model = gcn(dropout=0.0)
    result = fit_node_classifier(model, g, jnp.zeros_like(x), y, split, epochs=1, lr=0.01, weight_decay=1e-3, key=KEY)
    before, after = model.layers[0].kernel[...], result.model.layers[0].kernel[...]
    np.testing.assert_allclose(before - after, 0.01 * np.sign(before), rtol=1e-2)  # Adam's epsilon


def test_an_early_stop_ends_the_history_where_patience_ran_out(problem):
    result = fit_node_classifier(gcn(), *problem, epochs=200, patience=7, key=KEY)
    assert len(result.history["val"]) == result.best_epoch + 1 + 7 < 200
    assert result.stopped == "no better validation score for 7 epochs"
    assert result.val == result.history["val"].max()


def test_an_augmentation_sees_graph_and_features(problem):
    augment = compose(on_features=[lambda key, x: 0 * x])
    result = fit_node_classifier(gcn(dropout=0.0), *problem, epochs=2, augment=augment, key=KEY)
    assert abs(result.history["loss"][0] - np.log(2)) < 1e-6  # nothing but zeros in training


def test_several_labels_per_node_are_trained_with_the_binary_loss(data):
    y = np.stack([data.y, 1 - data.y, data.y], axis=1)
    result = fit_node_classifier(gcn(outputs=3), data.graph, data.x, y, data.split, epochs=40, key=KEY)
    assert result.logits.shape == (80, 3)
    assert result.test_at_best > 0.8


def test_gaug_o_learns_and_infers_on_the_given_graph(data, problem):
    result = fit_gaug_o(gcn(), predictor(), *problem, CFG, key=KEY)
    np.testing.assert_allclose(result.model(data.graph, data.x), result.logits, rtol=1e-10)
    assert result.graph is data.graph
    assert result.val == result.history["val"].max()
    assert result.test_at_best > 0.8
    assert result.history["edge_auc"][-1] > 0.6
    assert (result.history["sampled_edges"] > 0).all()
    assert (result.history["sampled_homophily"] <= 1).all()
    assert result.edge_model is not None
    assert set(result.history) >= {"loss", "node_loss", "edge_loss", "val", "test"}


def test_with_alpha_zero_gaug_o_samples_the_given_graph(data, problem):
    result = fit_gaug_o(gcn(), predictor(), *problem, replace(CFG, alpha=0.0, pretrain_edge=0), key=KEY)
    assert (result.history["sampled_edges"] == data.graph.num_edges).all()
    share = float(homophily(data.graph, data.y))
    np.testing.assert_allclose(result.history["sampled_homophily"], share, rtol=1e-6)


def test_a_variational_edge_predictor_is_trained_with_noise(problem):
    cfg = replace(CFG, warmup=0)
    result = fit_gaug_o(gcn(), predictor(variational=True), *problem, cfg, key=KEY)
    assert np.isfinite(result.history["loss"]).all()


class Interrupt(Exception):
    pass


def test_an_interrupted_run_ends_as_an_undisturbed_one(problem, tmp_path, monkeypatch):
    from offprint.gaug import _gaug_o

    arguments = (gcn(), predictor(), *problem, CFG)
    undisturbed = fit_gaug_o(*arguments, key=KEY)

    # The program dies between the stages: after pretraining, before joint training.
    with monkeypatch.context() as patch:
        patch.setattr(_gaug_o, "JointStep", lambda *_: (_ for _ in ()).throw(Interrupt))
        with pytest.raises(Interrupt):
            fit_gaug_o(*arguments, key=KEY, checkpoint=Checkpoint(tmp_path, every=10))
    assert (tmp_path / "edge predictor" / "20").exists()
    # Then it is run again to its end, and once more, which only reads what is there.
    for _ in range(2):
        resumed = fit_gaug_o(*arguments, key=KEY, checkpoint=Checkpoint(tmp_path, every=10))
        assert (resumed.history["loss"] == undisturbed.history["loss"]).all()
        assert (resumed.logits == undisturbed.logits).all()
    assert (tmp_path / "joint" / "20").exists()


def test_gaug_m_changes_the_graph_once_and_infers_on_it(data, problem):
    cfg = GAugMConfig(0.1, 0.2, variational=False, edge_epochs=100, node=NodeConfig(epochs=40))
    result = fit_gaug_m(gcn(), None, *problem, cfg, key=KEY)
    edges = data.graph.num_edges
    assert result.graph.num_edges == edges - int(0.1 * edges) + int(0.2 * edges)
    np.testing.assert_allclose(result.model(result.graph, data.x), result.logits, rtol=1e-10)
    assert result.report.intra_class(data.y)["removed"] < float(homophily(data.graph, data.y))
    same = fit_gaug_m(gcn(), None, *problem, replace(cfg, remove=0.0, add=0.0), key=KEY)
    assert (same.graph.edges() == data.graph.edges()).all()


def test_draws_of_a_variational_predictor_give_other_graphs(problem):
    cfg = GAugMConfig(0.2, 0.0, edge_epochs=5, node=NodeConfig(epochs=40))
    found = [fit_gaug_m(gcn(), None, *problem, replace(cfg, draw=draw), key=KEY).graph.edges() for draw in (0, 0, 1)]
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_tuning_chooses_by_validation(problem):
    def make_models(rngs):
        return GCN(8, 16, 2, rngs=rngs), None

    cfg = GAugMConfig(0.0, 0.0, variational=False, edge_epochs=5, node=NodeConfig(epochs=40))
    told = []
    space = {"remove": (0.0, 0.2, 0.5, 0.8)}
    found = tune(
        make_models, *problem, cfg, key=KEY, trials=3, space=space, report=lambda k, trial: told.append((k, trial))
    )
    assert [trial for _, trial in told] == list(found.trials)
    assert found.trials[0].cfg == cfg
    assert max(trial.val for trial in found.trials) == next(t.val for t in found.trials if t.cfg == found.best)
    with pytest.raises(ValueError, match="GAugMConfig has no gamma; it has add, "):
        tune(make_models, *problem, cfg, key=KEY, space={"gamma": (1,)})
    with pytest.raises(ValueError, match="at least one trial"):
        tune(make_models, *problem, cfg, key=KEY, trials=0)


def broken(problem, **changes):
    names = ("graph", "x", "y", "split")
    return tuple(changes.get(name, part) for name, part in zip(names, problem, strict=True))


def with_value(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


BAD = {
    "features of another number of nodes": (lambda p: {"x": p[1][:-1]}, "80"),
    "features that are NaN": (lambda p: {"x": with_value(p[1], (3, 2), np.nan)}, "1 features are NaN or infinite"),
    "labels of another number": (lambda p: {"y": p[2][:-1]}, "the labels have the shape"),
    "labels that are no classes": (lambda p: {"y": p[2] + 0.5}, "whole numbers"),
    "an unknown label in the split": (
        lambda p: {"y": with_value(p[2], p[3].train[0], -1)},
        "of the split has the label -1",
    ),
    "a part that is empty": (lambda p: {"split": (p[3].train, p[3].val[:0], p[3].test)}, "validation nodes must be"),
    "parts that overlap": (
        lambda p: {"split": (p[3].train, np.append(p[3].val, p[3].train), p[3].test)},
        "training and the validation nodes share 10 of them: .*, ...;",
    ),
    "nodes that there are not": (lambda p: {"split": (p[3].train, p[3].val, np.array([80]))}, "hold 80, but"),
    "repeated nodes": (lambda p: {"split": (p[3].train, p[3].val[[0, 0]], p[3].test)}, "hold 1 repetitions"),
    "two parts": (lambda p: {"split": p[3][:2]}, "three parts"),
    "labels beyond the classes": (lambda p: {"y": p[2] + 5}, r"these labels need \(80, 7\)"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(problem, case, unchecked_types):
    change, message = BAD[case]
    arguments = broken(problem, **change(problem))
    with pytest.raises(ValueError, match=message):
        fit_node_classifier(gcn(), *arguments, key=KEY)
    with pytest.raises(ValueError, match=message):
        fit_gaug_o(gcn(), predictor(), *arguments, CFG, key=KEY)


def test_unknown_labels_outside_the_split_are_fine(problem):
    g, x, y, split = problem
    few = (split.train, split.val, split.test[:5])
    result = fit_node_classifier(gcn(), g, x, with_value(y, split.test[5:], -1), few, epochs=2, key=KEY)
    assert 0 <= result.test_at_best <= 1


def test_what_is_no_module_and_unknown_settings_are_refused(problem, unchecked_types):
    with pytest.raises(TypeError, match=r"flax.nnx Module .*, but a function was given"):
        fit_node_classifier(lambda g, x: x, *problem, key=KEY)
    with pytest.raises(TypeError, match="drop_edges"):
        fit_node_classifier(gcn(), *problem, drop_edges=0.1, key=KEY)


def test_a_class_without_training_nodes_and_a_heterophilic_graph_are_warned_of(problem):
    g, x, y, split = problem
    one = (split.train[y[split.train] == 0], split.val, split.test)
    with pytest.warns(UserWarning, match=r"no training node has the classes \[1\]"):
        fit_node_classifier(gcn(), g, x, y, one, epochs=2, key=KEY)
    pairs = np.stack(np.nonzero(np.triu(y[:, None] != y)), axis=1)[::7]
    everyone = np.arange(80)
    mixed, split = Graph.from_edges(pairs, 80), (everyone[::2], everyone[1::4], everyone[3::4])
    with pytest.warns(UserWarning, match=r"only 0.00 of the edges between training nodes"):
        fit_node_classifier(gcn(), mixed, x, y, split, epochs=2, key=KEY)
