"""The program offprint-mgrn, through its function main."""

import csv
import json

import jax
import numpy as np
import pytest

from offprint.mgrn._budget import count_parameters
from offprint.mgrn._command import main

N, T, F = 30, 3, 3


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Programs of a few numbers run for milliseconds and are compiled for seconds."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small data sets in every format, and one network that was fitted by the program."""
    folder = tmp_path_factory.mktemp("command")
    rng = np.random.default_rng(0)
    side = np.arange(N) % 2
    X = rng.normal(size=(N, T, F)) + 4.0 * side[:, None, None] - 2
    names, lengths = np.where(side, "up", "down"), np.resize([3, 2], N)
    np.savez(folder / "one.npz", X=X, y=names, lengths=lengths)
    np.savez(folder / "two.npz", X_train=X[:20], y_train=side[:20], X_test=X[20:], y_test=side[20:])
    np.savez(folder / "new.npz", X=X[:4])
    np.savez(folder / "numbers.npz", X=X, y=X[:, -1, 0])
    np.savez(folder / "holes.npz", X=np.where(X > 2, np.nan, X), y=side)
    for part, rows in (("TRAIN", slice(0, 20)), ("TEST", slice(20, 30))):
        cases = [
            ":".join(",".join(f"{value:.3f}" for value in column) for column in x.T) + f":{name}"
            for x, name in zip(X[rows], names[rows])
        ]
        header = ["@problemName Sides", "@equalLength true", "@classLabel true down up", "@data"]
        (folder / f"Sides_{part}.ts").write_text("\n".join([*header, *cases]) + "\n")
    (folder / "groups.txt").write_text("0 2\n1\n")
    (folder / "groups.json").write_text("[1, 2]")
    (folder / "words.txt").write_text("first, second\n")
    return folder


QUICK = ["--hidden", "3", "--epochs", "15", "--batch-size", "8", "--learning-rate", "0.05"]


@pytest.fixture(scope="module")
def network(folder):
    """A network in a folder, and figures beside it."""
    flags = ["--groups", "groups.txt", "--size-of", "2", "--out", "network", "--plots", "figures"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", "one.npz", *flags, *QUICK]) == 0
    return folder / "network"


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


def columns(path):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return {name: list(column) for name, column in zip(rows[0], zip(*rows[1:]))}


def test_fit_saves_the_network_and_draws_figures(network, folder):
    assert network.is_dir()
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "confusion_matrix.png",
        "learning_curves.png",
    ]


def test_predict_writes_predictions_and_probabilities(network, folder, capsys):
    assert main(["predict", "network", "one.npz", "--out", "predictions.csv"]) == 0
    table = columns(folder / "predictions.csv")
    assert list(table) == ["prediction", "p(down)", "p(up)"]
    probabilities = np.array([table["p(down)"], table["p(up)"]], float)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-6)
    assert (np.array(table["prediction"]) == np.resize(["down", "up"], N)).mean() > 0.9
    assert "accuracy" in capsys.readouterr().out
    assert main(["predict", "network", "new.npz", "--out", "predictions.npz"]) == 0
    assert len(np.load("predictions.npz")["prediction"]) == 4
    assert "accuracy" not in capsys.readouterr().out
    assert main(["predict", "network", "Sides_TEST.ts", "--part", "test"]) == 0


def test_gates_of_every_group(network, folder, capsys):
    assert main(["gates", "network", "one.npz", "--plot", "gates.png", "--out", "gates.csv"]) == 0
    table = columns(folder / "gates.csv")
    assert list(table) == ["step", "group 1", "group 2", "joint"]
    assert table["step"] == ["1", "2", "3"]
    assert (folder / "gates.png").stat().st_size > 1000
    assert "0, 2" in capsys.readouterr().out


def test_compare_stays_within_the_parameters_of_the_mgrn(folder):
    flags = ["--groups", "1,2", "--models", "mgrn,gru", "--seeds", "2", "--plot", "bars.png", "--out", "table.npz"]
    assert main(["compare", "two.npz", *flags, *QUICK]) == 0
    table = dict(np.load(folder / "table.npz"))
    assert table["model"].tolist() == ["mgrn", "gru"]
    assert table["parameters"][0] == count_parameters("mgrn", (1, 2), 3)
    assert table["parameters"][1] <= table["parameters"][0]
    assert (table["test accuracy"] > 0.8).all()
    assert (table["s/epoch"] > 0).all()
    assert (folder / "bars.png").stat().st_size > 1000


def test_budget_finds_the_published_sizes(capsys):
    assert main(["budget", "--parameters", "1736", "--groups", "8,8", "--size-of", "2"]) == 0
    rows = [line.split("│")[1:4] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    found = {name.strip(): (hidden.strip(), count.strip()) for name, hidden, count in rows}
    # The paper's Table 1 has these four with 1736, 1734, 1616 and 1632 parameters.
    assert found == {"lstm": ("14", "1736"), "gru": ("17", "1734"), "mgrn": ("8", "1616"), "channelwise": ("4", "1632")}
    assert main(["budget", "--parameters", "30", "--features", "4"]) == 0
    assert "none is that small" in capsys.readouterr().out


def test_regression_from_a_file_with_groups_in_json(capsys):
    assert main(["fit", "numbers.npz", "--groups", "groups.json", "--model", "gru", *QUICK]) == 0
    assert "R2" in capsys.readouterr().out


BAD = {
    "no command": ([], 2, "see offprint-mgrn --help"),
    "unknown flag": (["fit", "one.npz", "--bogus", "1"], 2, "bogus"),
    "no data": (["fit", "none.npz"], 2, "none.npz is not there"),
    "format": (["fit", "data.mat"], 2, "data.mat has an unknown format; .npz, .ts or a folder"),
    "no targets": (["fit", "new.npz"], 2, "new.npz has no targets y"),
    "holdout": (["fit", "one.npz", "--holdout", "0.001"], 2, "leaves the training or the test part empty"),
    "NaN": (["fit", "holes.npz"], 2, 'nan_policy="zero"'),
    "groups": (["fit", "one.npz", "--groups", "2,2"], 2, "sum to 4, but the input has F=3 columns"),
    "groups file": (["fit", "one.npz", "--groups", "pairs"], 2, "neither auto, nor sizes such as 8,8, nor a file"),
    "words": (["fit", "one.npz", "--groups", "words.txt"], 2, "words.txt holds no groups"),
    "existing": (["fit", "one.npz", "--out", "network"], 2, "network is there already; choose another folder"),
    "no network": (["predict", "nothing", "one.npz"], 2, "nothing is not there"),
    "columns": (["predict", "network", "narrow.npz"], 2, "X has F=1 features, but the estimator was fitted to F=3"),
    "output": (["predict", "network", "one.npz", "--out", "x.txt"], 2, "x.txt has an unknown format; .csv or .npz"),
    "output folder": (["gates", "network", "one.npz", "--plot", "no/x.png"], 2, "the folder of no/x.png is not there"),
    "model": (["compare", "one.npz", "--models", "mgrn,rnn"], 2, "got 'rnn'"),
    "seeds": (["compare", "one.npz", "--seeds", "0"], 2, "--seeds must be at least 1, got 0"),
    "features": (["budget", "--parameters", "100"], 2, "--groups auto needs --features"),
    "diverges": (
        ["fit", "numbers.npz", "--optimizer", "sgd", "--model", "gru", "--learning-rate", "1e38", "--hidden", "3"],
        1,
        "A smaller learning rate",
    ),
}


@pytest.mark.parametrize(("arguments", "status", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_a_status(arguments, status, message, network, folder, capsys):
    np.savez(folder / "narrow.npz", X=np.ones((2, 3, 1)))
    capsys.readouterr()
    assert main(arguments) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-mgrn: ")
    assert error.count("\n") == 1


def test_groups_in_json_are_read_as_lists(folder):
    from offprint.mgrn._command_files import read_groups

    assert read_groups("auto") == "auto"
    assert read_groups("8,8") == (8, 8)
    assert read_groups("groups.txt") == [[0, 2], [1]]
    assert read_groups("groups.json") == json.loads((folder / "groups.json").read_text())
