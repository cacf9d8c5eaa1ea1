"""The estimator: what it learns, what it keeps, and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

from offprint.mgrn import MGRNEstimator
from offprint.mgrn._budget import count_parameters
from offprint.mgrn._config import DropoutRates
from offprint.mgrn._network import make_network
from offprint.mgrn._tasks import make_task, score_of_means, task_from_json

N, T, F = 48, 3, 3
SMALL = {"groups": [[1], [0, 2]], "hidden": 3, "epochs": 20, "batch_size": 16, "learning_rate": 0.05}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Programs of a few numbers run for milliseconds and are compiled for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def sequences():
    """Noise, in which the mean of the first column tells the class."""
    rng = np.random.default_rng(0)
    side = np.arange(N) % 2
    X = rng.normal(size=(N, T, F)).astype(np.float32)
    X[:, :, 0] += 4.0 * side[:, None] - 2.0
    return X, side


@pytest.fixture(scope="module")
def fitted(sequences):
    X, side = sequences
    names = np.where(side, "up", "down")
    return MGRNEstimator(size_of=1.5, **SMALL).fit(X, names, X_val=X[:8], y_val=names[:8])


def test_it_learns_classes(fitted, sequences):
    X, side = sequences
    assert fitted.task_ == "classification"
    assert fitted.classes_.tolist() == ["down", "up"]
    assert fitted.score(X, np.where(side, "up", "down")) == 1.0
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(X))
    assert fitted.groups_ == ((1,), (0, 2))


def test_the_history_has_a_row_for_each_epoch_and_the_best_is_kept(fitted, sequences):
    X, side = sequences
    assert [row["epoch"] for row in fitted.history_] == list(range(1, 21))
    losses = [row["val_loss"] for row in fitted.history_]
    assert fitted.best_epoch_ == 1 + int(np.argmin(losses))
    assert losses[-1] < losses[0]
    chosen = fitted.predict_proba(X[:8])[np.arange(8), side[:8]]
    np.testing.assert_allclose(-np.log(chosen).mean(), min(losses), rtol=1e-3, atol=1e-7)


def test_the_same_seed_gives_the_same_weights(fitted, sequences):
    X, side = sequences
    names = np.where(side, "up", "down")
    again = clone(fitted).fit(X, names, X_val=X[:8], y_val=names[:8])
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_saved_and_loaded_it_predicts_the_same_to_the_last_bit(fitted, sequences, tmp_path):
    X, _ = sequences
    fitted.save(tmp_path / "model")
    loaded = MGRNEstimator.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.history_ == json.loads(json.dumps(fitted.history_))
    assert loaded.num_parameters_ == fitted.num_parameters_
    with pytest.raises(FileExistsError, match="exists; choose another folder, or pass overwrite=True"):
        fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_without_an_estimator(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        MGRNEstimator.load(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no saved estimator"):
        MGRNEstimator.load(tmp_path)


def test_gates_lie_between_0_and_1(fitted, sequences):
    gates = fitted.update_gates(sequences[0], lengths=np.full(N, T - 1))
    assert gates.marginal.shape == (2, T)
    assert gates.joint.shape == (T,)
    known = np.vstack([gates.marginal, gates.joint])[:, :-1]
    assert ((known > 0) & (known < 1)).all()
    assert np.isnan(gates.joint[-1])


def test_a_baseline_learns_too(sequences):
    X, side = sequences
    estimator = MGRNEstimator(model="gru", input_dropout=0.1, output_dropout=0.1, **SMALL).fit(X, side)
    assert estimator.score(X, side) == 1.0
    assert estimator.best_epoch_ == 20
    with pytest.raises(ValueError, match="model='gru' has no gates"):
        estimator.update_gates(X)


@pytest.mark.parametrize(("model", "units"), [("mgrn", 6), ("lstm", 4), ("gru", 4), ("channelwise", 6)])
def test_every_model_has_the_parameters_that_are_counted(model, units):
    network = nnx.eval_shape(
        lambda: make_network(
            model=model,
            groups=((1,), (0, 2)),
            hidden=4,
            size_of=1.5,
            num_outputs=2,
            rates=DropoutRates(0.1, 0.0, 0.1),
            init="torch",
            rngs=nnx.Rngs(0),
        )
    )
    assert (network.layer.features, network.layer.units) == (3, units)
    assert network.layer.num_parameters == count_parameters(model, [[1], [0, 2]], 4, 1.5, biases=2)


def test_sequences_of_unequal_length_are_those_of_a_padded_array(sequences):
    X, side = sequences
    lengths = np.resize([2, 3, 1], N)
    ragged = [row[:length] for row, length in zip(X, lengths)]
    garbage = np.where(np.arange(T)[None, :, None] < lengths[:, None, None], X, np.nan)
    estimator = MGRNEstimator(**{**SMALL, "epochs": 3}).fit(ragged, side)
    from_list = estimator.predict_proba(ragged)
    np.testing.assert_array_equal(from_list, estimator.predict_proba(garbage, lengths=lengths))
    same = clone(estimator).fit(garbage, side, lengths=lengths)
    np.testing.assert_array_equal(same.predict_proba(ragged), from_list)
    alone = estimator.predict_proba(ragged[0][None])
    np.testing.assert_allclose(alone[0], from_list[0], rtol=1e-5)


def test_regression_in_the_units_of_the_targets(sequences):
    X, _ = sequences
    y = np.stack([1000 + 50 * X[:, :, 0].mean(axis=1), np.full(N, 7.0)], axis=1)
    estimator = MGRNEstimator(validation_fraction=0.25, **SMALL).fit(X, y)
    assert estimator.task_ == "regression"
    predicted = estimator.predict(X)
    assert predicted.shape == (N, 2)
    assert np.corrcoef(predicted[:, 0], y[:, 0])[0, 1] > 0.95
    np.testing.assert_allclose(predicted[:, 1], 7, atol=1)
    assert estimator.history_[-1]["val_score"] > 0.8
    with pytest.raises(AttributeError, match="this is a regression"):
        estimator.predict_proba(X)
    with pytest.raises(AttributeError, match="has no classes_"):
        _ = estimator.classes_


def test_one_number_for_each_sequence():
    y = np.array([10.0, 20.0, 30.0])
    task = make_task("auto", y)
    encoded = task.encode(y)
    np.testing.assert_allclose(encoded[:, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)
    np.testing.assert_allclose(task.predictions(encoded), y, rtol=1e-6)
    assert task_from_json(task.to_json()).flat
    plain = make_task("auto", y, standardize=False)
    np.testing.assert_array_equal(plain.encode(y)[:, 0], y)
    assert score_of_means([-1.0, -2.0], np.array([[1.0, 1.0], [3.0, 5.0]])) == 0.25  # R² 0 and 1/2


def test_multilabel(sequences):
    X, side = sequences
    y = np.stack([side, X[:, :, 1].mean(axis=1) > 0, 1 - side], axis=1).astype(int)
    estimator = MGRNEstimator(**SMALL).fit(X, y)
    assert estimator.task_ == "multilabel"
    assert (estimator.predict(X)[:, [0, 2]] == y[:, [0, 2]]).mean() > 0.95
    assert estimator.predict_proba(X).shape == (N, 3)
    assert estimator.score(X, y) == (estimator.predict(X) == y).all(axis=1).mean()
    outputs = np.array([[1.0, -1.0, 2.0]])
    again = task_from_json({"task": "multilabel", "outputs": 3})
    np.testing.assert_array_equal(again.predictions(outputs), [[1, 0, 1]])
    np.testing.assert_array_equal(again.scores(jnp.array(outputs), jnp.array([[1.0, 0.0, 1.0]])), [1.0])


def test_early_stopping_ends_the_training(sequences):
    X, side = sequences
    noise = np.random.default_rng(1).permutation(side)
    validation = {"X_val": X[:8], "y_val": 1 - noise[:8]}  # what is learned makes this worse
    estimator = MGRNEstimator(early_stopping=3, size_of=1.5, **SMALL).fit(X, noise, **validation)
    assert len(estimator.history_) == estimator.best_epoch_ + 3 < 20
    last = MGRNEstimator(restore_best=False, size_of=1.5, **SMALL).fit(X, noise, **validation)
    assert last.best_epoch_ == 20
    assert last.history_[2]["val_loss"] == estimator.history_[2]["val_loss"]


def test_scikit_learn_habits(sequences):
    X, side = sequences
    estimator = MGRNEstimator(**{**SMALL, "epochs": 2}, task="classification")
    assert estimator.set_params(epochs=1) is estimator
    assert clone(estimator).get_params() == estimator.get_params()
    assert is_classifier(estimator)
    assert is_regressor(clone(estimator).set_params(task="regression"))
    assert cross_val_score(estimator, X, side, cv=2).shape == (2,)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        estimator.predict(X)


def test_missing_values_count_as_zero_when_asked_for(sequences):
    X, side = sequences
    holes, zeros = X.copy(), X.copy()
    holes[::5, 2, 1], zeros[::5, 2, 1] = np.nan, 0
    settings = {**SMALL, "epochs": 2}
    estimator = MGRNEstimator(nan_policy="zero", **settings).fit(holes, side)
    same = MGRNEstimator(**settings).fit(zeros, side)
    np.testing.assert_array_equal(estimator.predict_proba(holes), same.predict_proba(zeros))


def test_a_constant_column_warns(sequences):
    X, side = sequences
    X = X.copy()
    X[:, :, 2] = 5
    with pytest.warns(UserWarning, match="1 constant feature"):
        MGRNEstimator(**{**SMALL, "epochs": 1}).fit(X, side)


def holed(X):
    X = X.copy()
    X[3, 1, 2] = X[4, 0, 0] = np.nan
    return X


BAD_FITS = {
    "NaN": (lambda X, y: ({}, holed(X), y, {}), r"X has 2 NaN or infinite values, the first at index \(3, 1, 2\)"),
    "NaN target": (lambda X, y: ({}, X, np.where(y, np.nan, 1.0), {}), r"y has 24 NaN .* first at index \(1,\)"),
    "rank": (lambda X, y: ({}, X[:, :, 0], y, {}), r"\(sequences, time steps, features\).* give X\[:, :, None\]"),
    "ragged columns": (lambda X, y: ({}, [X[0], X[1, :, :2]], y[:2], {}), r"X\[1\] has F=2 features, X\[0\] has F=3"),
    "lengths of a list": (lambda X, y: ({}, list(X), y, {"lengths": y + 1}), "a list X has its own lengths"),
    "lengths": (lambda X, y: ({}, X, y, {"lengths": y}), r"lengths must lie in \[1, T\] = \[1, 3\], got 0"),
    "count": (lambda X, y: ({}, X, y[1:], {}), "X holds 48 sequences, but y 47 targets"),
    "one class": (lambda X, y: ({}, X, 0 * y, {}), "needs at least 2 classes, but y holds only"),
    "fractions": (lambda X, y: ({"task": "classification"}, X, y + 0.5, {}), "class labels must be integers or text"),
    "not binary": (
        lambda X, y: ({}, X, np.stack([y, 3 * y], 1), {}),
        r"must hold zeros and ones, got .*3.* at index \(1, 1\)",
    ),
    "new label": (
        lambda X, y: ({}, X, y, {"X_val": X, "y_val": y + 1}),
        r"y_val has a label .* not among the 2 classes .*: .*2.* at index 1; the classes are 0, 1",
    ),
    "half a validation": (lambda X, y: ({}, X, y, {"X_val": X}), "need both X_val and y_val"),
    "validation columns": (
        lambda X, y: ({}, X, y, {"X_val": X[:, :, :2], "y_val": y}),
        "X_val has F=2 features, .* F=3",
    ),
    "groups": (lambda X, y: ({"groups": (2, 2)}, X, y, {}), r"sizes \(2, 2\) sum to 4, but the input has F=3"),
    "groups by name": (
        lambda X, y: ({"groups": "pairs"}, X, y, {}),
        'groups must be "auto", sizes or lists of columns',
    ),
    "hidden": (lambda X, y: ({"hidden": 0}, X, y, {}), "hidden must be at least 1, got 0"),
    "joint": (lambda X, y: ({"size_of": 0.1}, X, y, {}), r"int\(0.1 \* 3\) = 0"),
    "model": (lambda X, y: ({"model": "rnn"}, X, y, {}), "model must be one of 'mgrn', 'lstm', 'gru', 'channelwise'"),
    "task": (lambda X, y: ({"task": "ranking"}, X, y, {}), "task must be .* got 'ranking'"),
    "optimizer": (lambda X, y: ({"optimizer": "lion"}, X, y, {}), "optimizer must be one of .* got 'lion'"),
    "learning rate": (lambda X, y: ({"learning_rate": 0.0}, X, y, {}), "learning_rate must be positive"),
    "dropout": (lambda X, y: ({"input_dropout": 1.0}, X, y, {}), r"input dropout rate must lie in \[0, 1\), got 1.0"),
    "epochs": (lambda X, y: ({"epochs": 0}, X, y, {}), "epochs must be at least 1, got 0"),
    "monitor": (lambda X, y: ({"monitor": "auc"}, X, y, {}), "monitor must be"),
    "patience": (lambda X, y: ({"early_stopping": 3}, X, y, {}), "early_stopping needs validation data"),
    "fraction": (lambda X, y: ({"validation_fraction": 0.001}, X, y, {}), "leaves a part empty"),
    "baseline": (lambda X, y: ({"model": "gru", "recurrent_dropout": 0.1}, X, y, {}), "are for model='mgrn'"),
}


@pytest.mark.parametrize(("case", "message"), BAD_FITS.values(), ids=BAD_FITS.keys())
def test_bad_input(case, message, sequences, unchecked_types):
    settings, X, y, rest = case(*sequences)
    with pytest.raises(ValueError, match=message):
        MGRNEstimator(**{**SMALL, "epochs": 1, **settings}).fit(X, y, **rest)


def test_bad_input_to_predict(fitted, sequences):
    X, _ = sequences
    with pytest.raises(ValueError, match="X has F=2 features, but the estimator was fitted to F=3"):
        fitted.predict(X[:, :, :2])
    with pytest.raises(ValueError, match="holds no sequences"):
        fitted.predict([])
    np.testing.assert_array_equal(fitted.predict(jnp.asarray(X)), fitted.predict(X))
