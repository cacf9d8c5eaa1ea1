"""The program `offprint-sparsity`."""

import csv
import re

import numpy as np
import pytest

from offprint.sparsity._command import main
from offprint.sparsity._command_files import nested, read_checkpoint, write_checkpoint


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def net():
    rng = np.random.default_rng(0)
    return {
        "fc1/kernel": rng.normal(size=(8, 12)).astype(np.float32),
        "fc1/bias": np.zeros(12, np.float32),
        "fc2/kernel": rng.normal(size=(12, 4)).astype(np.float32),
    }


@pytest.mark.parametrize("name", ["net.npz", "net.safetensors", "net"])
@pytest.mark.parametrize("torch", [False, True])
def test_checkpoints_come_back(here, net, name, torch):
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    net = net | {"conv/weight": np.arange(24.0, dtype=np.float32).reshape(1, 3, 4, 2)}
    write_checkpoint(here / name, net, torch)
    again = read_checkpoint(here / name, torch)
    assert again.keys() == net.keys()
    for path, array in net.items():
        np.testing.assert_array_equal(again[path], array)
    if torch:
        assert read_checkpoint(here / name)["conv/weight"].shape == (2, 4, 1, 3)
        assert read_checkpoint(here / name)["fc1/kernel"].shape == (12, 8)


def test_prune_and_report(here, net, capsys):
    np.savez("net.npz", **net)
    assert main(["prune", "net.npz", "--out", "small.npz", "-s", "0.75", "--budget", "erk"]) == 0
    assert "small.masks.npz" in capsys.readouterr().out
    small, masks = np.load("small.npz"), np.load("small.masks.npz")
    np.testing.assert_array_equal(small["fc1/bias"], net["fc1/bias"])
    for name in masks.files:
        np.testing.assert_array_equal(small[name], np.where(masks[name], net[name], 0))
    kept = sum(int(masks[name].sum()) for name in masks.files)
    assert abs(kept - 36) <= 2  # a quarter of 144
    assert main(["report", "small.npz", "--out", "report.csv", "--plot", "density.png"]) == 0
    with open("report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["leaf"] for row in rows] == ["fc1/kernel", "fc2/kernel", "all"]
    assert int(rows[-1]["kept"]) == kept
    assert int(rows[-1]["dense"]) == 144 * 32
    assert int(rows[-1]["bitmap"]) == 144 + 32 * kept
    assert (here / "density.png").stat().st_size > 0


@pytest.mark.parametrize("method", ["magnitude", "magnitude-l2", "lamp", "random"])
def test_every_score_keeps_as_many_as_asked(net, method):
    np.savez("net.npz", **net)
    assert main(["prune", "net.npz", "--out", "small.npz", "-s", "0.5", "--method", method, "--scope", "global"]) == 0
    masks = np.load("small.masks.npz")
    assert sum(int(masks[name].sum()) for name in masks.files) == 72


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "obc"])
def test_calibration_by_inputs(net, method):
    np.savez("net.npz", **net)
    rng = np.random.default_rng(1)
    np.savez("calib.npz", **{"fc1/kernel": rng.normal(size=(40, 8)), "fc2/kernel": rng.normal(size=(40, 12))})
    options = ["--method", method, "--pattern", "2:4", "--calib", "calib.npz"]
    assert main(["prune", "net.npz", "--out", "small.npz", *options]) == 0
    for mask in np.load("small.masks.npz").values():
        assert (mask.reshape(-1, 4, mask.shape[1]).sum(1) == 2).all()


MODEL = """
import jax

def apply(params, x):
    return jax.nn.relu(x @ params["fc1"]["kernel"] + params["fc1"]["bias"]) @ params["fc2"]["kernel"]
"""


def test_a_model_of_ones_own(here, net, capsys):
    (here / "my_model.py").write_text(MODEL)
    np.savez("net.npz", **net)
    np.savez("calib.npz", x=np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32))
    options = ["--method", "wanda", "-s", "0.5", "--calib", "calib.npz", "--model", "my_model:apply"]
    assert main(["prune", "net.npz", "--out", "small.npz", *options]) == 0
    assert [int(mask.sum()) for mask in np.load("small.masks.npz").values()] == [48, 24]
    capsys.readouterr()
    assert main(["report", "small.npz", "--model", "my_model:apply", "--input", "2x8"]) == 0
    out = capsys.readouterr().out
    assert "288" in out  # multiplications of two examples: 2 (8 12 + 12 4)
    assert "144" in out
    assert float(re.search(r"effective sparsity (0\.\d+)", out)[1]) >= 0.5


def test_sweep(here, capsys):
    x = np.random.default_rng(0).normal(size=(60, 5))
    np.savez("data.npz", x=x, y=(x[:, 0] > 0).astype(np.int32))
    (here / "sweep.toml").write_text(
        'methods = ["static", {method = "gmp", scope = "global", name = "gradual"}]\n'
        "sparsities = [0.5]\nsteps = 20\nseeds = 2\nhidden = [8]\n"
        'data = "data.npz"\nout = "runs.csv"\nplot = "runs.png"\n'
    )
    assert main(["sweep", "sweep.toml"]) == 0
    with open("runs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["dense", "static", "gradual"]
    assert [float(row["density"]) for row in rows] == [1.0, pytest.approx(0.5, abs=0.02), pytest.approx(0.5, abs=0.02)]
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx((float(row["seed 0"]) + float(row["seed 1"])) / 2)
    assert (here / "runs.png").stat().st_size > 0
    assert "gradual" in capsys.readouterr().out


def test_bench(here, capsys):
    options = ["--shape", "32x16", "--batch", "4", "--patterns", "block8,2:4,unstructured", "--sparsities", "0.5"]
    assert main(["bench", *options, "--repeats", "1", "--out", "times.csv", "--plot", "times.png"]) == 0
    with open("times.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["pattern"], float(row["sparsity"])) for row in rows] == [
        ("block8", 0.5),
        ("2:4", 0.5),
        ("unstructured", 0.5),
    ]
    assert "batch 4:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune", "no.npz", "--out", "x.npz"], "no.npz is not there"),
        (["prune", "net.txt", "--out", "x.npz"], "net.txt has an unknown format"),
        (["prune", "net.npz", "--out", "x.pt"], "x.pt has an unknown format"),
        (["prune", "net.npz", "--out", "no/x.npz"], "the folder of no/x.npz is not there"),
        (["prune", "net.npz", "--out", "x.npz"], "give --sparsity, the share of the weights to remove"),
        (["prune", "net.npz", "--out", "x.npz", "-s", "90"], "sparsity must be in [0, 1); got 90"),
        (["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--pattern", "2:4"], "says how much it keeps"),
        (["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--pattern", "odd"], "unknown pattern 'odd'"),
        (["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--only", "no*"], "the filter chooses no leaf to prune"),
        (["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--method", "wanda"], "needs calibration data"),
        (
            ["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--method", "wanda", "--calib", "net.npz"],
            "must have the inputs of kernels under their paths (fc1/kernel, fc2/kernel)",
        ),
        (
            ["prune", "net.npz", "--out", "x.npz", "-s", "0.5", "--budget", "erk", "--scope", "global"],
            "a budget is for local scope",
        ),
        (["report", "net.npz", "--model", "m:f"], "--model and --input are given together"),
        (["report", "net.npz", "--model", "no_such:f", "--input", "1x8"], "no_such:f can't be imported"),
        (["report", "net.npz", "--model", "math:sin", "--input", "1 x 8"], "--input is a shape such as 1x784"),
        (["sweep", "odd.toml"], "unknown setting 'step'"),
        (["sweep", "empty.json"], "needs a list `methods`"),
        (["sweep", "--steps", "1"], "at least 1 seed and 10 steps are needed"),
        (["bench", "--shape", "12"], "--shape is in x out"),
        (["bench", "--batch", "a"], "--batch is a list of numbers of rows"),
        (["bench", "--patterns", "channel"], "there is no sparse product for channel"),
    ],
)
def test_bad_input_is_one_line_and_status_2(here, net, capsys, arguments, message):
    np.savez("net.npz", **net)
    (here / "net.txt").write_text("")
    (here / "odd.toml").write_text('methods = ["rigl"]\nstep = 3\n')
    (here / "empty.json").write_text("{}")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (here / "x.npz").exists()


def test_nested():
    tree = nested({"a/b": np.ones(1), "a/c": np.zeros(1), "d": np.ones(2)})
    assert tree.keys() == {"a", "d"}
    assert tree["a"].keys() == {"b", "c"}
