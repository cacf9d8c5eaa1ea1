"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_mimic import EVENTS, write_episode, write_list

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.mgrn import data, experiments
from offprint.mgrn.experiments import _classify, _clinical, _forecast, _members, _published_table

table1_module = sys.modules["offprint.mgrn.experiments.table1"]

NAMES = {"generator", "japanese-vowels", "mimic", "pendigits", "table1"}


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled():
    """The programs here are many and run for a moment: what they are tested for does not need them optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def run(name, config, folder):
    """Claims by their text, figures and rows of one run; every claim has its own text."""
    made = Run(folder)
    claims = list(by_name()[name](config, made))
    assert len({claim.claim for claim in claims}) == len(claims)
    assert all((folder / "figures" / f"{figure}.png").stat().st_size > 5000 for figure in made.figures)
    assert all(len(caption) > 20 for caption in made.figures.values())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {claim.claim: claim for claim in claims}, sorted(made.figures), rows


def test_the_registry_reads_them_from_the_source():
    method = find_method("mgrn")
    assert not method.problem
    listed = {listing.name: listing for listing in method.experiments}
    assert set(listed) == set(by_name()) == NAMES
    for name, experiment in load(method).items():
        assert experiment.summary == listed[name].summary
        assert experiment.summary.endswith(".")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_profiles_and_documented_fields(name):
    experiment = by_name()[name]
    assert type(experiment.paper) is type(experiment.quick)
    body = ast.parse(inspect.getsource(type(experiment.quick))).body[0].body
    fields = [at for at, entry in enumerate(body) if isinstance(entry, ast.AnnAssign)]
    plain = [body[at].target.id for at in fields if at + 1 == len(body) or not isinstance(body[at + 1], ast.Expr)]
    assert set(plain) <= {"epochs", "batch_size", "tasks"}


def test_generator(tmp_path):
    claims, figures, rows = run("generator", experiments.GeneratorConfig(pairs=(2,), shown=50), tmp_path)
    assert len(claims) == 2
    assert all(claim.holds for claim in claims.values())
    assert figures == ["series"]
    assert [row["pair"] for row in rows] == [2]
    with pytest.raises(ValueError, match="pairs must hold a number from 1 to 10"):
        list(experiments.generator(experiments.GeneratorConfig(pairs=()), Run(tmp_path)))


SMALL = {"rows": 700, "epochs": 2, "batch_size": 64}


@pytest.fixture
def untrained(monkeypatch):
    """Outcomes without training: every model as published on the first two data sets, a little worse at lower rates."""

    def train(model, loaded, own, keys, training):
        published = np.array(_published_table.TEST_MSE[model.label])[np.asarray(own.pair)]
        rate, ones = np.asarray(own.learning_rate), np.ones(len(keys))
        test = published + (1e-3 - rate)
        curves = np.stack([test + 1, test], axis=1)
        # The rate that is best on validation is the lowest, which is not the best on test.
        return _forecast.Outcome(curves, curves - 17, 2 * ones, test + 2e3 * rate, test, (test - 17.9) / 2)

    monkeypatch.setattr(table1_module, "train", train)


@pytest.mark.usefixtures("untrained")
def test_table1_claims_of_the_quick_profile(tmp_path):
    claims, figures, rows = run("table1", experiments.Table1Config(**SMALL), tmp_path)
    assert len(claims) == 6
    assert figures == ["figure2", "learning-curves"]
    assert len(rows) == 6
    *others, minimum = claims.values()
    assert all(claim.holds for claim in others[:4]), [claim.as_dict() for claim in others]
    assert list(minimum.here) == ["minimum", "mGRN two (6,4)", "GRU (17)", "mGRN split (2,8)"]


def test_table1_goes_on_where_it_was_cut_short(tmp_path, untrained, monkeypatch):
    """What was saved is not trained again; the model that is missing is."""
    config = experiments.Table1Config(**SMALL)
    claims = run("table1", config, tmp_path)[0]
    saved = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert saved == ["GRU_(17).npz", "mGRN_split_(2,8).npz", "mGRN_two_(6,4).npz"]
    (tmp_path / "checkpoints" / "GRU_(17).npz").unlink()
    trained, train = [], table1_module.train
    monkeypatch.setattr(table1_module, "train", lambda model, *rest: trained.append(model.label) or train(model, *rest))
    again = list(experiments.table1(config, Run(tmp_path)))
    assert trained == ["GRU (17)"]
    assert [claim.here for claim in again] == [claim.here for claim in claims.values()]


@pytest.mark.usefixtures("untrained")
def test_table1_claims_of_the_paper_profile(tmp_path):
    """All 18 models, two data sets, two learning rates: what is chosen by validation, and the order of the families."""
    models = tuple(_published_table.TEST_MSE)
    config = experiments.Table1Config(
        pairs=(1, 2), models=models, learning_rates=(1e-3, 5e-4), seeds=1, patience=10, restore_best=False, **SMALL
    )
    claims, figures, rows = run("table1", config, tmp_path)
    assert len(claims) == 18 + 2
    assert figures == ["figure2", "learning-curves"]
    assert len(rows) == 18 * 2 * 2
    means = [
        claim for text, claim in claims.items() if "learning rate chosen by validation" in text and "size" not in text
    ]
    published = [np.mean(row[:2]) for row in _published_table.TEST_MSE.values()]
    np.testing.assert_allclose([claim.paper for claim in means], published, atol=1e-3)
    np.testing.assert_allclose([claim.here for claim in means], np.array(published) + 5e-4, rtol=1e-6)
    assert all(claim.holds for claim in means)
    (order,) = (claim for text, claim in claims.items() if text.startswith("order of"))
    assert order.here["GRU"] > order.here["CW_two"] > order.here["CW_split"] > order.here["mGRN_split"]


def test_table1_refuses(tmp_path):
    with pytest.raises(ValueError, match="unknown model 'mGRN'; the models are LSTM"):
        list(experiments.table1(experiments.Table1Config(models=("mGRN",)), Run(tmp_path)))
    with pytest.raises(ValueError, match="pairs must be numbers from 1 to 10"):
        list(experiments.table1(experiments.Table1Config(pairs=(0,)), Run(tmp_path)))


def test_published_table():
    """18 models on 10 data sets; the means of the sheets, and the table's own, which choose the size by validation."""
    table = _published_table.TEST_MSE
    assert len(table) == 18
    assert all(len(row) == 10 for row in table.values())
    printed = [22.264, 22.205, 22.122, 22.134, 22.176, 22.217, 21.934, 21.957, 21.983]
    printed += [21.971, 21.954, 21.929, 21.953, 21.937, 21.903, 21.859, 21.876, 21.900]
    np.testing.assert_allclose([np.mean(row) for row in table.values()], printed, atol=6e-4)
    minima = np.array(data.PUBLISHED_MINIMUM)[:, 1]
    assert all((np.array(row) > minima).all() for row in table.values())


def test_early_stopping_of_the_study():
    """At 11 losses the last 10 are compared with the first; one that is lower by 5e-5 of it lets the training go on."""
    flat = np.full((1, 11), 2.0)
    assert _forecast.stops(flat, 10) == [True]
    assert not _forecast.stops(flat[:, 1:], 10).any()
    assert not _forecast.stops(flat, 0).any()
    barely, enough = flat.copy(), flat.copy()
    barely[0, 7], enough[0, 7] = 2.0 * (1 - 4e-5), 2.0 * (1 - 6e-5)
    np.testing.assert_array_equal(_forecast.stops(np.concatenate([barely, enough]), 10), [True, False])
    later = np.concatenate([enough, np.full((1, 8), 2.0)], axis=1)
    assert _forecast.stops(later, 10) == [True]  # the low one is now the reference


def test_rmsprop_is_pytorchs():
    """avg <- .99 avg + .01 g², p <- p - lr g / (sqrt(avg) + eps)."""
    state, average, p = _forecast.RMSPROP.init(jnp.zeros(3)), np.zeros(3), np.zeros(3)
    for step in range(4):
        g = np.array([0.5, -2.0, 1e-9]) * (step + 1)
        update, state = _forecast.RMSPROP.update(jnp.asarray(g), state)
        average = 0.99 * average + 0.01 * g**2
        p = p - g / (np.sqrt(average) + 1e-8)
        np.testing.assert_allclose(update, g / (np.sqrt(average) + 1e-8), rtol=1e-6)


def test_a_member_that_stopped_stays_as_it_is():
    """Learning rate 0 for one of two members: its validation error never changes, the other's does."""
    pair = data.simulate(jax.random.key(0), 1, 300)
    loaded = _forecast.load_pairs([pair], "corrected")
    own = _forecast.Own(jnp.zeros(2, int), jnp.array([0.0, 1e-3], jnp.float32))
    keys = jax.random.split(jax.random.key(1), 2)
    training = _forecast.Training(3, 64, patience=0)
    outcome = _forecast.train(_published_table.variant("GRU (17)"), loaded, own, keys, training)
    np.testing.assert_array_equal(outcome.validation_mse[0], outcome.validation_mse[0, 0])
    assert len(set(outcome.validation_mse[1])) == 3
    assert outcome.epochs.tolist() == [3, 3]
    assert (outcome.test_excess > 0).all()


@pytest.fixture
def classified(monkeypatch):
    """Accuracies without training: they rise epoch by epoch, more with masks; the parts that were asked for."""
    asked = []

    def train(make, parts, keys, training):
        asked.append((make, parts))
        rise = np.linspace(0.9, 0.97 if parts.train.lengths is None else 0.98, training.epochs)
        curves = np.tile(rise, (len(keys), 1))
        predicted = {name: np.tile(part.y, (len(keys), 1)) for name, part in parts.measured.items()}
        return _classify.Accuracies(dict.fromkeys(parts.measured, curves), predicted)

    for name in ("japanese_vowels", "pendigits"):
        monkeypatch.setattr(sys.modules[f"offprint.mgrn.experiments.{name}"], "train", train)
    return asked


def test_japanese_vowels(tmp_path, classified):
    claims, figures, rows = run("japanese-vowels", experiments.VowelsConfig(seeds=2, epochs=5), tmp_path)
    assert len(claims) == 2
    assert all(claim.holds for claim in claims.values())
    assert figures == ["accuracy", "confusion"]
    assert [(row["reads"], row["seed"]) for row in rows] == [
        (reads, seed) for reads in ("with masks", "padding read") for seed in (0, 1)
    ]
    (make, masked), (_, padded) = classified
    assert masked.train.lengths is not None
    assert padded.train.lengths is None
    np.testing.assert_array_equal(masked.train.x, padded.train.x)
    model = make(nnx.Rngs(0))
    assert (model.layer.features, model.layer.units) == (12, 32)


def test_pendigits(tmp_path, classified):
    config = experiments.PenDigitsConfig(epochs=6, clean_epochs=4, first_epoch=2, seeds=2)
    claims, figures, rows = run("pendigits", config, tmp_path)
    assert len(claims) == 2
    assert figures == ["accuracy", "confusion"]
    assert [row["protocol"] for row in rows] == ["published", "clean"] * 2
    assert [row["epoch"] for row in rows[1::2]] == [4, 4]
    published, clean = claims.values()
    assert "selects the epoch on test" in published.claim
    assert not published.holds  # .97 in the end
    assert clean.holds
    (_, full), (_, rest) = classified
    assert len(full.train.y) == len(rest.train.y) + len(rest.measured["held out"].y) == 7494
    assert len(rest.measured["held out"].y) == 1499
    assert set(full.measured) == {"test"}
    with pytest.raises(ValueError, match="first_epoch"):
        list(experiments.pendigits(experiments.PenDigitsConfig(epochs=3, first_epoch=4), Run(tmp_path)))


def test_classifiers_are_trained():
    """Two seeds learn which half of the features is larger; the steps behind the lengths hold noise."""
    rng = np.random.default_rng(0)
    y, lengths = rng.integers(0, 2, 96), rng.integers(1, 4, 96)
    x = rng.normal(size=(96, 3, 2)) * 20
    for row, length in enumerate(lengths):
        x[row, :length] = rng.normal(size=(length, 2)) / 4 + np.array([1, -1]) * (2 * y[row] - 1)
    labelled = _classify.Labelled(jnp.asarray(x, jnp.float32), jnp.asarray(lengths), jnp.asarray(y))
    make = _members.maker("gru", (1, 1), 3, 1, 2)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    found = _classify.train(
        make, _classify.Parts(labelled, {"train": labelled}), keys, _classify.Training(12, 16, 0.01)
    )
    assert found.accuracy["train"].shape == (2, 12)
    assert (found.accuracy["train"][:, -1] > 0.95).all()
    np.testing.assert_allclose((found.predicted["train"] == y).mean(axis=1), found.accuracy["train"][:, -1])
    assert not np.array_equal(found.accuracy["train"][0], found.accuracy["train"][1])


def test_mimic_needs_the_users_own_copy(tmp_path):
    with pytest.raises(Unavailable, match="offprint run mgrn/mimic --folder PATH"):
        list(experiments.mimic(experiments.MimicConfig(), Run(tmp_path)))


def write_task(folder, task):
    """A synthetic copy of one task: six stays in each part."""
    for part in ("train", "val", "test"):
        rows = []
        for stay in range(6):
            name = f"{part}{stay}.csv"
            write_episode(folder / task / ("test" if part == "test" else "train") / name, EVENTS)
            labels = {
                "in-hospital-mortality": [stay % 2],
                "decompensation": [5.0, stay % 2],
                "length-of-stay": [5.0, 30.0 * stay],
                "phenotyping": [5.0, *[stay % 2, 1 - stay % 2] * 12, stay % 2],
            }
            rows.append((name, *labels[task]))
        write_list(folder / task / f"{part}_listfile.csv", rows)


def tiny(task):
    return replace(_clinical.TASKS[task], hidden=2, size_of=1, steps=4, batch_size=4)


@pytest.mark.filterwarnings("ignore:.*constant feature")
@pytest.mark.parametrize("task", list(_clinical.TASKS))
def test_mimic(tmp_path, task, monkeypatch):
    """On a synthetic copy, without training: the better of two trials is tested, and every metric is a claim."""
    write_task(tmp_path / "data", task)

    def train_trial(settings, loaded, key, epochs):
        seed = int(jax.random.key_data(key)[-1])
        probabilities = np.random.default_rng(seed).dirichlet(np.ones(settings.outputs), len(loaded.test.y))
        history = [{"epoch": 1 + at, "loss": 1.0 / (1 + at), "val_loss": 1.1 / (1 + at)} for at in range(epochs)]
        return _clinical.Trial(history, float(seed), probabilities)

    monkeypatch.setattr(sys.modules["offprint.mgrn.experiments.mimic"], "train_trial", train_trial)
    config = experiments.MimicConfig(str(tmp_path / "data"), (task,), trials=2, epochs=3, resamples=20)
    claims, figures, rows = run("mimic", config, tmp_path / "out")
    assert len(claims) == 2
    assert figures == [f"{task}-learning-curves"]
    assert [row["metric"] for row in rows if "metric" in row] == [
        text.split(": ")[1].split(" on")[0] for text in claims
    ]
    assert all(claim.here["low"] <= claim.here["mean"] <= claim.here["high"] for claim in claims.values())


@pytest.mark.filterwarnings("ignore:.*constant feature")
def test_training_of_a_clinical_task(tmp_path):
    """Keeps what is said of the test set at the epoch of the least validation loss."""
    write_task(tmp_path, "phenotyping")
    settings = replace(tiny("phenotyping"), slower_below=10.0)
    loaded = data.load_mimic(tmp_path, "phenotyping", settings.steps)
    trial = _clinical.train_trial(settings, loaded, jax.random.key(0), 2)
    assert [row["epoch"] for row in trial.history] == [1, 2]
    assert trial.score == -min(row["val_loss"] for row in trial.history)
    assert trial.test_probabilities.shape == (6, 25)
    assert ((trial.test_probabilities > 0) & (trial.test_probabilities < 1)).all()
    assert set(trial.history[0]) == {"epoch", "loss", "val_loss", "macro AUC", "micro AUC"}


def test_clinical_metrics():
    y = np.array([0, 1, 0, 1])
    right = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    assert _clinical.measured("binary", right, y, y) == {"AUC-ROC": 1.0, "AUC-PR": 1.0}
    assert _clinical.measured("binary", right[:, ::-1], y, y)["AUC-ROC"] == 0.0
    both = _clinical.measured("multilabel", right, np.stack([1 - y, y], axis=1), y)
    assert both == {"macro AUC": 1.0, "micro AUC": 1.0}
    means = np.array(data.LENGTH_OF_STAY_MEANS)
    exact = _clinical.measured("length of stay", np.eye(10), np.arange(10), means)
    assert exact == {"kappa": 1.0, "MAD": 0.0}
    off = _clinical.measured("length of stay", np.roll(np.eye(10), 1, axis=1), np.arange(10), means + 1)
    assert off["kappa"] < 1
    np.testing.assert_allclose(off["MAD"], abs(means + 1 - np.roll(means, -1)).mean())


def test_bootstrap():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = _clinical.bootstrap(lambda rows: {"mean": values[rows].mean()}, 400, 500, np.random.default_rng(1))
    mean, low, high = found["mean"]
    assert low < mean < high
    np.testing.assert_allclose(mean, values.mean(), atol=0.03)
    np.testing.assert_allclose(high - low, 2 * 1.96 * values.std() / 20, rtol=0.15)
