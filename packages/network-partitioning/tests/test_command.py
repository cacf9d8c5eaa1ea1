"""The program offprint-network-partitioning, through its function main."""

import csv
import json
import shutil

import numpy as np
import pytest

from offprint.core.train import Interrupted
from offprint.network_partitioning import _command_actions
from offprint.network_partitioning import _command_training as training
from offprint.network_partitioning._command import main
from offprint.network_partitioning._command_training import Stopped

QUICK = ["--steps", "6", "--batch-size", "16", "--hidden", "8", "--samples", "2", "--test-samples", "2"]


def write_table(path, rows, *, target="label", classes=True, **columns):
    rng = np.random.default_rng(len(rows))
    y = rng.integers(2, size=len(rows))
    texts = np.array(["no", "yes"])[y] if classes else 3 * y + rng.normal(size=len(rows))
    x = rng.normal(size=(len(rows), 3)) + 4 * y[:, None]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", *columns, target])
        writer.writerows([*x[i], *(values[i] for values in columns.values()), texts[i]] for i in range(len(rows)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_table(folder / "table.csv", range(40), patient=np.arange(40) // 2)
    write_table(folder / "new.csv", range(9), extra=["?"] * 9)
    write_table(folder / "values.csv", range(40), target="price", classes=False)
    (folder / "holes.csv").write_text("a,label\n1,no\n,yes\n", encoding="utf-8")
    (folder / "one.csv").write_text("a,label\n1,no\n2,no\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = (rng.integers(0, 90, (40, 8, 8)) + 100 * y[:, None, None]).astype(np.uint8)
    np.savez(folder / "images.npz", x=images[:30], y=y[:30], test_x=images[30:], test_y=y[30:])
    np.savez(folder / "other.npz", x=np.ones((4, 2)))
    np.savez(folder / "strange.npz", x=np.ones(4), y=np.arange(4))
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    for path in files.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIT = ["fit", "--data", "table.csv", "--groups", "patient", *QUICK, "--out", "run"]


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_from_training_to_predictions(here, capsys):
    assert main(FIT) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "partitioned on table.csv: 40 examples, 3 columns, 2 classes" in printed.out
    assert "log marginal likelihood per out-of-sample example" in printed.out
    assert [row["hyperparameter"] for row in rows(here / "run/hyper.csv")] == ["keep a", "keep b", "keep c"]
    history = rows(here / "run/history.csv")
    assert [row["step"] for row in history] == ["1", "2", "3", "4", "5", "6"]
    assert {"loss", "loss/1", "loss/2", "oos", "keep a"} <= history[0].keys()
    assert not (here / "run/checkpoints").exists()

    assert main(FIT) == 0  # finished: told again
    again = capsys.readouterr().out
    assert again == printed.out

    assert main(["predict", "run", "--data", "new.csv", "--out", "new_predictions.csv"]) == 0
    assert "accuracy" in capsys.readouterr().out
    predicted = rows(here / "new_predictions.csv")
    assert list(predicted[0]) == ["row", "predicted", "p no", "p yes"]
    assert len(predicted) == 9
    for row in predicted:
        assert float(row["p no"]) + float(row["p yes"]) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == ("yes" if float(row["p yes"]) > 0.5 else "no")

    assert main(["predict", "run", "--data", "one.csv", "--out", "p.csv"]) == 2
    assert "one.csv has no column b, which the network has learned from" in capsys.readouterr().err
    (here / "strange.csv").write_text("a,b,c,label\n1,2,3,maybe\n", encoding="utf-8")
    assert main(["predict", "run", "--data", "strange.csv", "--out", "p.csv"]) == 2
    assert "strange.csv: class maybe is not one of those in training, no, yes" in capsys.readouterr().err

    for what in ("hyper", "loss", "nll"):
        assert main(["plot", "run", "--what", what]) == 0
        assert (here / f"run/{what}.png").stat().st_size > 5000
    assert main(["plot", "run", "--what", "images"]) == 2
    assert "--what images is for runs with learned augmentation" in capsys.readouterr().err

    assert main([*FIT, "--seed", "1"]) == 2
    assert "the run in run has seed 0, not 1; choose another --out" in capsys.readouterr().err
    shutil.copy("values.csv", "table.csv")
    assert main([*FIT[:3], *FIT[5:], "--target", "price"]) == 2
    assert "the run in run is one on other data, table.csv" in capsys.readouterr().err


def test_a_run_that_broke_off_at_once_may_change(here, monkeypatch, capsys):
    original = _command_actions.train

    def interrupted(*args, **kwargs):
        raise Stopped("asked to end")

    monkeypatch.setattr(_command_actions, "train", interrupted)
    assert main(FIT) == 1
    assert "asked to end" in capsys.readouterr().err
    assert main(["plot", "run"]) == 2
    assert "the run in run is not finished; start its fit command again" in capsys.readouterr().err
    monkeypatch.setattr(_command_actions, "train", original)
    assert main([*FIT, "--seed", "3"]) == 0  # nothing was there to lose
    assert (here / "run/weights.npz").is_file()


def test_a_stopped_run_goes_on_to_the_same_end(here, monkeypatch):
    """The first fit of the two is stopped after its fourth step, when it has saved."""
    assert main([*FIT[:-1], "whole"]) == 0
    original = training.fit

    def stopped(*args, steps, **kwargs):
        original(*args, steps=4, **kwargs)
        raise Interrupted("asked to end")

    monkeypatch.setattr(training, "fit", stopped)
    assert main(FIT) == 1
    assert main([*FIT, "--seed", "1"]) == 2
    monkeypatch.setattr(training, "fit", original)
    assert main(FIT) == 0
    one, other = (np.load(here / name / "weights.npz") for name in ("whole", "run"))
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_values_have_their_own_units(here, capsys):
    task = ["--data", "values.csv", "--target", "price"]
    assert (
        main(["fit", *task, "--hyper", "dropout", *QUICK, "--method", "validation", "--finetune", "3", "--out", "run"])
        == 0
    )
    names = [row["hyperparameter"] for row in rows(here / "run/hyper.csv")]
    assert sorted(names) == ["dropout 1", "sigma"]
    assert main(["predict", "run", "--data", "values.csv", "--out", "p.csv"]) == 0
    assert "RMSE" in capsys.readouterr().out
    assert list(rows(here / "p.csv")[0]) == ["row", "predicted"]
    assert main(["plot", "run", "--what", "nll"]) == 2
    assert "for runs of --method partitioned, not of validation" in capsys.readouterr().err


IMAGES = ["--data", "images.npz", "--generators", "rotate", "shear", *QUICK[:4], *QUICK[6:]]


def test_images_with_learned_ranges(here, capsys):
    assert main(["fit", *IMAGES, "--hidden", "8", "--schedule", "round_robin", "--out", "run"]) == 0
    assert "on test_x" in capsys.readouterr().out
    assert [row["hyperparameter"] for row in rows(here / "run/hyper.csv")] == ["range rotate", "range shear"]
    config = json.loads((here / "run/config.json").read_text())
    assert config["plan"]["hyper"] == "affine"
    assert main(["plot", "run", "--what", "images", "--out", "images.pdf"]) == 0
    assert (here / "images.pdf").stat().st_size > 5000


def test_convolutions_and_the_reward_for_wide_ranges(here, capsys):
    flags = ["--hidden", "4", "8", "--hyper-lr", "0.1", "--penalty", "100"]
    assert main(["fit", *IMAGES, *flags, "--method", "augerino", "--out", "run"]) == 0
    widths = [float(row["value"]) for row in rows(here / "run/hyper.csv")]
    assert min(widths) > np.logaddexp(0, -3.0) * 1.3
    assert main(["plot", "run"]) == 0
    assert (here / "run/hyper.png").stat().st_size > 5000


def test_compare(here, capsys):
    flags = ["--data", "table.csv", "--groups", "patient", "--seeds", "1", "--test", "0.3", "--out", "table-out.csv"]
    assert main(["compare", *flags, *QUICK, "--plot", "scores.png"]) == 0
    assert "1 seed, mean" in capsys.readouterr().out
    found = rows(here / "table-out.csv")
    assert [row["method"] for row in found] == ["none", "training", "validation", "partitioned"]
    assert found[0]["keep a"] == ""
    assert found[1]["keep a"] != ""
    assert (here / "scores.png").stat().st_size > 5000


def bad(*flags, data="table.csv"):
    return ["fit", "--data", data, "--out", "run", "--groups", "patient", *flags] if data == "table.csv" else [
        "fit", "--data", data, "--out", "run", *flags
    ]  # fmt: skip


BAD = {
    "no command": ([], "see offprint-network-partitioning --help"),
    "unknown flag": (bad("--bogus", "1"), "bogus"),
    "unknown data": (bad(data="mnist"), "--data mnist: a .csv or an .npz file, or toy, is needed"),
    "no file": (bad(data="none.csv"), "none.csv: the file is not there"),
    "no target": (bad("--target", "y"), "--target y: table.csv has the columns a, b, c, patient, label"),
    "holes": (bad(data="holes.csv"), "holes.csv, line 3: a is '', but a finite number is needed"),
    "one class": (bad(data="one.csv"), "one.csv: all examples are of class no; at least two classes"),
    "text as values": (bad("--task", "values"), "has targets that are no finite numbers, such as"),
    "no y": (bad(data="other.npz"), "other.npz has the arrays x, but x and y are needed"),
    "shape": (bad(data="strange.npz"), "strange.npz: x is float64 (4,); numbers (n, features), (n, height, width)"),
    "mask of images": (bad("--hyper", "mask", data="images.npz"), "--hyper mask is for a table; images.npz has"),
    "affine table": (bad("--hyper", "affine"), "--hyper affine is for images; table.csv has examples of shape (3,)"),
    "generators": (bad("--generators", "rotate"), "--generators rotate is a setting of --hyper affine, not of mask"),
    "unknown generator": (bad("--generators", "zoom", data="images.npz"), "--generators zoom: there are translate_x,"),
    "method": (bad("--method", "augerino"), "--method augerino does not go with --hyper mask; none, training,"),
    "nothing to learn": (bad("--hyper", "none", "--method", "training"), "does not go with --hyper none"),
    "steps": (bad("--steps", "0"), "--steps 0: a positive number is needed"),
    "hidden": (bad("--hidden", "4", "4", "4", "4", "4", data="images.npz"), "each halve images of 8x8"),
    "chunks": (bad("--chunks", "0.5", "0.4"), "sum to 1"),
    "one chunk": (bad("--chunks", "1"), "K >= 2 data shards are needed: with one chunk nothing is out of sample"),
    "foreign folder": ([*bad(), "--out", "."], ". is there and holds no run; choose another --out"),
    "no run": (
        ["predict", "nothing", "--data", "new.csv", "--out", "p.csv"],
        "nothing holds no run; fit --out nothing",
    ),
    "output format": (["predict", "run", "--data", "new.csv", "--out", "p.txt"], "p.txt has an unknown format; .csv"),
    "seeds": (["compare", "--data", "table.csv", "--seeds", "0"], "--seeds 0: at least 1 is needed"),
    "share": (["compare", "--data", "table.csv", "--test", "1"], "--test 1.0: a share between 0 and 1 is needed"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, here, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-network-partitioning: ")
    assert error.count("\n") == 1
