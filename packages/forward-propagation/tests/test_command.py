"""The program offprint-forward-propagation, through its function main."""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.forward_propagation import LIF, LayerParams, feedforward, predict_first_spike, spike_train
from offprint.forward_propagation._command import main
from offprint.forward_propagation._command_files import open_run, read_network

FIT = ["--hidden", "3", "--epochs", "3", "--batch-size", "8"]
NAMES = "dry", "wet"


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    y = np.arange(30) % 2
    return rng.normal(y[:, None] * np.array([2.0, -2.0]), 0.4), y


@pytest.fixture(scope="module")
def place(tmp_path_factory, points):
    """A folder with a table, a finished run, two networks and spikes."""
    folder = tmp_path_factory.mktemp("program")
    x, y = points
    write(folder / "soil.csv", ["a", "b", "kind"], [[*row, NAMES[label]] for row, label in zip(x, y)])
    fit = ["fit", "--data", str(folder / "soil.csv"), "--label", "kind", *FIT]
    assert main([*fit, "--out", str(folder / "run")]) == 0
    rng = np.random.default_rng(1)
    weights = {"weights0": rng.normal(2.5, 0.3, (2, 3)), "weights1": rng.normal(1.5, 0.3, (3, 2))}
    np.savez(folder / "net.npz", **weights, delays0=np.full((2, 3), 0.1), tau_mem=1.0, tau_syn=0.5, threshold1=0.9)
    arrays = {"w_in": weights["weights0"], "w_rec": rng.normal(0, 0.3, (3, 3)), "mask_rec": 1 - np.eye(3, dtype=int)}
    np.savez(folder / "rec.npz", **arrays, tau_mem=np.ones(3), tau_syn=0.5)
    np.savez(folder / "other.npz", z=np.ones(3))
    write(folder / "in.csv", ["time", "source"], [[0.8, 1], [0.1, 0], [0.9, 0], [0.4, 1]])
    write(folder / "far.csv", ["time", "source"], [[0.1, 2]])
    write(folder / "moved.csv", ["time", "layer", "neuron"], [[0.3, 0, 0]])
    return folder


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    """The same folder to work in, with its run left as it is."""
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def test_a_run_holds_the_network_its_history_and_predictions(here):
    assert {path.name for path in (here / "run").iterdir()} == {
        *("config.json", "history.csv", "network.npz", "predictions.csv", "results.npz")
    }
    config, settings, layers, results = open_run(here / "run")
    assert config["classes"] == ["dry", "wet"]
    assert settings.sizes == (5, 3, 2)  # each feature and its mirror, and the bias
    assert [layer.weights.shape for layer in layers] == [(5, 3), (3, 2)]
    rows = table(here / "run" / "predictions.csv")
    assert len(rows) == 6
    assert [row["predicted"] for row in rows] == [NAMES[label] for label in results["predicted"]]
    assert [row["label"] for row in rows] == [NAMES[label] for label in results["test_y"]]
    assert list(rows[0]) == ["sample", "label", "predicted", "t dry", "t wet"]
    assert len(results["history/loss"]) == len(results["history/test_loss"]) == 3
    assert not np.array_equal(results["before/weights0"], np.asarray(layers[0].weights, np.float32))


def test_the_same_command_finds_the_finished_run_and_another_one_is_refused(here, points, capsys):
    before = (here / "run" / "network.npz").read_bytes()
    command = ["fit", "--data", "soil.csv", "--label", "kind", "--out", "run"]
    assert main([*command, *FIT]) == 0
    assert "5-3-2" in capsys.readouterr().out
    assert (here / "run" / "network.npz").read_bytes() == before
    assert main([*command, *FIT, "--epochs", "4"]) == 2
    assert "the run in run has another recipe; choose another --out" in capsys.readouterr().err
    x, y = points
    np.savez("soil.npz", x=x, y=y)
    assert main(["fit", "--data", "soil.npz", *FIT, "--out", "run"]) == 2
    assert "the run in run has another data and another features" in capsys.readouterr().err


def test_predict_is_what_the_network_answers(here, points, capsys):
    assert main(["predict", "run", "--data", "soil.csv", "--out", "p.csv"]) == 0
    printed = capsys.readouterr().out
    config, settings, layers, _ = open_run(here / "run")
    x, y = points
    spikes = settings.encoding(x.astype(np.float32), np.array(config["low"]), np.array(config["high"]))
    layers = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), layers)

    def first(train):
        return feedforward(train, layers, t_max=settings.t_max, max_spikes=settings.max_spikes)[-1].times[:, 0]

    t = jax.jit(jax.vmap(first))(spikes)
    predicted = np.asarray(predict_first_spike(t))
    rows = table(here / "p.csv")
    assert [row["predicted"] for row in rows] == [NAMES[label] for label in predicted]
    fired = np.asarray(t)[:, 0] < settings.t_max
    np.testing.assert_allclose(
        [float(row["t dry"]) for row, there in zip(rows, fired) if there], t[fired, 0], rtol=1e-5
    )
    assert f"accuracy {100 * np.mean(predicted == y):.4g} %" in printed
    np.savez("new.npz", x=x[:3])
    assert main(["predict", "run", "--data", "new.npz"]) == 0
    assert "accuracy" not in capsys.readouterr().out


def test_figures_of_a_run(here):
    for what in ("curves", "first-spikes", "classes", "latency", "activity", "parameters"):
        assert main(["plot", "run", "--what", what]) == 0
        assert (here / "run" / f"{what}.png").stat().st_size > 5000


def test_simulate_writes_the_spikes_of_every_layer(here, capsys):
    command = ["simulate", "net.npz", "--spikes", "in.csv", "--t-max", "4", "--max-spikes", "8"]
    assert main([*command, "--out", "out.csv", "--plot", "activity.png"]) == 0
    assert "warning" not in capsys.readouterr().err
    given = np.load("net.npz")
    layers = [
        LayerParams(given["weights0"], LIF(1.0, 0.5), given["delays0"]),
        LayerParams(given["weights1"], LIF(1.0, 0.5, 0.9)),
    ]
    trains = feedforward(spike_train([[0.1, 0.9], [0.4, 0.8]]), layers, t_max=4.0, max_spikes=[8, 8])
    rows = table(here / "out.csv")
    assert [float(row["time"]) for row in rows] == sorted(float(row["time"]) for row in rows)
    for number, train in enumerate(trains):
        for neuron, times in enumerate(np.asarray(train.times)):
            mine = [float(row["time"]) for row in rows if (row["layer"], row["neuron"]) == (str(number), str(neuron))]
            np.testing.assert_allclose(mine, times[np.isfinite(times)], atol=1e-12)
    assert (here / "activity.png").stat().st_size > 5000
    assert main(["simulate", "net.npz", "--spikes", "in.csv", "--t-max", "4", "--max-spikes", "1"]) == 0
    assert "neurons of layer 0 would fire again before --t-max 4" in capsys.readouterr().err
    assert main(["simulate", "net.npz", "--spikes", "in.csv", "--t-max", "4", "--max-spikes", "1", "--strict"]) == 2
    assert "is needed" in capsys.readouterr().err


def test_gradcheck_bears_out_the_exact_gradient_and_not_the_official_one(here, capsys):
    network = ["net.npz", "--spikes", "in.csv", "--t-max", "4", "--max-spikes", "8", "--directions", "2"]
    assert main(["gradcheck", *network, "--out", "gradient.npz"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("weights", "delays", "tau_mem", "tau_syn", "threshold", "inputs"))
    stored = np.load("gradient.npz")
    assert stored["weights1"].shape == (3, 2)
    assert stored["delays0"].shape == (2, 3)
    assert main(["gradcheck", *network, "--gradient", "official"]) == 1
    assert "is off by" in capsys.readouterr().err
    assert main(["simulate", *network[:-2], "--out", "fired.csv"]) == 0
    assert main(["gradcheck", *network, "--fired", "fired.csv", "--out", "same.npz"]) == 0
    for name, array in np.load("same.npz").items():
        np.testing.assert_allclose(array, stored[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert main(["gradcheck", *network, "--fired", "moved.csv"]) == 2
    assert "moved.csv: neuron 0 of layer 0 has 1 spikes, but" in capsys.readouterr().err


def test_gradcheck_of_a_recurrent_network_with_a_loss_of_ones_own(here):
    network = ["rec.npz", "--spikes", "in.csv", "--t-max", "3", "--max-spikes", "5"]
    assert main(["simulate", *network, "--out", "rec.csv"]) == 0
    rows = [(row["time"], row["neuron"], 0.5) for row in table(here / "rec.csv")]
    write(here / "weighed.csv", ["time", "neuron", "dL_dt"], rows[::-1])
    checked = ["--directions", "1", "--fired", "weighed.csv", "--out", "gradient.npz"]
    assert main(["gradcheck", *network, *checked]) == 0
    stored = np.load("gradient.npz")
    assert stored["w_rec"].shape == (3, 3)
    assert not np.diag(stored["w_rec"]).any()  # the mask has no self loops
    assert read_network(here / "rec.npz").mask_rec.dtype == bool


def test_compare_trains_every_rule_on_the_same_seeds(here, capsys):
    command = ["compare", "--data", "soil.csv", "--label", "kind", *FIT, "--seeds", "2", "--steps", "10"]
    files = ["--out", "table.csv", "--plot", "curves.png", "--similarity", "cosines.png"]
    assert main([*command, "--methods", "exact,ste", *files]) == 0
    assert "cosine with the exact gradient" in capsys.readouterr().out
    rows = table(here / "table.csv")
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("exact", "0"),
        ("exact", "1"),
        ("ste", "0"),
        ("ste", "1"),
    ]
    assert (here / "curves.png").stat().st_size > 5000
    assert (here / "cosines.png").stat().st_size > 5000


SIMULATE = ["simulate", "net.npz", "--t-max", "4"]
BAD = {
    "no command": ([], "see offprint-forward-propagation --help"),
    "unknown flag": (["fit", "--bogus", "1"], "bogus"),
    "unknown data": (["fit", "--data", "wine", "--out", "x"], "--data wine: neither one of iris, yin-yang, xor, mnist"),
    "no file": (["fit", "--data", "none.csv", "--out", "x"], "none.csv is not there"),
    "no label": (
        ["fit", "--data", "soil.csv", "--out", "x"],
        "soil.csv: no column 'label' for the label; name it with",
    ),
    "text": (["fit", "--data", "soil.csv", "--label", "a", "--out", "x"], "the column kind is no column of numbers"),
    "arrays": (
        ["fit", "--data", "other.npz", "--out", "x"],
        "train_x, train_y, test_x, test_y, or x and y, are needed",
    ),
    "recipe": (
        ["fit", "--data", "iris", "--recipe", "moons", "--out", "x"],
        "--recipe moons: one of xor, iris, iris-t",
    ),
    "hidden": (
        ["fit", "--data", "iris", "--hidden", "4;3", "--out", "x"],
        "--hidden 4;3: numbers of neurons, separated",
    ),
    "range": (["fit", "--data", "iris", "--recipe", "yin-yang", "--out", "x"], "from 0.1 to 7.9: add --span train"),
    "epochs": (["fit", "--data", "iris", "--epochs", "0", "--out", "x"], "--epochs 0: at least 1 is needed"),
    "tau": (["fit", "--data", "iris", "--tau-mem", "-1", "--out", "x"], "--tau-mem -1.0: a positive number is needed"),
    "share": (
        ["fit", "--data", "iris", "--test", "1.5", "--out", "x"],
        "--test 1.5: a share between 0 and 1 is needed",
    ),
    "learn": (["fit", "--data", "iris", "--learn", "bias", "--out", "x"], "learn='bias': a sequence of names among"),
    "folder": (["fit", "--data", "iris", "--out", "."], "is there and holds no run; choose another --out"),
    "no run": (
        ["predict", "nothing", "--data", "soil.csv"],
        "nothing holds no finished run; fit --out nothing makes one",
    ),
    "no features": (["predict", "run", "--data", "in.csv"], "in.csv has no column a, b; it has time, source"),
    "few features": (
        ["predict", "run", "--data", "few.npz"],
        "few.npz: (4, 1) features; (N, 2) is needed for this run",
    ),
    "image": (["plot", "run", "--out", "x.txt"], "x.txt has an unknown format; .png or .pdf or .svg is needed"),
    "sample": (["plot", "run", "--what", "activity", "--sample", "9"], "--sample 9: 0 to 5 are the test samples"),
    "methods": (["compare", "--data", "iris", "--methods", "exact,best"], "nothing is known of best; exact, official,"),
    "no network": (["simulate", "other.npz", "--spikes", "in.csv", "--t-max", "4"], "other.npz has no array weights0"),
    "source": ([*SIMULATE, "--spikes", "far.csv"], "far.csv: the column source: numbers must be 0 to 1, but go from 2"),
    "columns": ([*SIMULATE, "--spikes", "soil.csv"], "soil.csv has no column time, source; it has a, b, kind"),
    "horizon": (
        ["simulate", "net.npz", "--spikes", "in.csv", "--t-max", "0"],
        "t_max must be one positive, finite number",
    ),
    "array": (["simulate", "odd.npz", "--spikes", "in.csv", "--t-max", "1"], "nothing is known of an array tau_m"),
    "directions": (
        ["gradcheck", "net.npz", "--spikes", "in.csv", "--t-max", "4", "--directions", "0"],
        "--directions 0: a positive number is needed",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, here, capsys):
    np.savez("few.npz", x=np.ones((4, 1)))
    np.savez("odd.npz", **np.load("net.npz"), tau_m=1.0)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-forward-propagation: ")
    assert error.count("\n") == 1


def test_a_run_of_another_format_is_refused(here, capsys):
    config = json.loads((here / "run" / "config.json").read_text()) | {"format": 99}
    (here / "run" / "config.json").write_text(json.dumps(config))
    assert main(["plot", "run"]) == 2
    assert "is not that of a run in format 1, which this version reads" in capsys.readouterr().err
