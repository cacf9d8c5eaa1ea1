"""The program offprint-moex, through its function main."""

import numpy as np
import pytest

from offprint.moex._command import main

QUICK = ["--train", "40", "--epochs", "2", "--batch-size", "20"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.arange(50) % 2
    images = (rng.integers(0, 100, (50, 8, 8, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    arrays = {"train_images": images[:40], "train_labels": labels[:40]}
    np.savez("mine.npz", **arrays, test_images=images[40:], test_labels=labels[40:])
    np.savez("other.npz", x=np.ones(3))
    return tmp_path


def test_train_on_ones_own_images(folder, capsys):
    command = ["train", "--data", "mine.npz", *QUICK, "--p", "0.5", "--cutmix", "1.0", "--checkpoint", "run"]
    assert main([*command, "--out", "history.csv", "--plot", "run.png"]) == 0
    printed = capsys.readouterr()
    assert "resnet8 on mine" in printed.out
    assert "donor's label" in printed.out
    assert printed.err == ""
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0] == "step,loss,train_error,error,nll"
    assert [line.split(",")[0] for line in lines[1:]] == ["2", "4"]
    assert (folder / "run.png").stat().st_size > 5000
    assert main(command) == 0  # goes on from the end of the run before
    assert "4" in capsys.readouterr().out


def test_compare(folder, capsys):
    assert main(["compare", *QUICK, "--seeds", "1", "--norm", "in", "--out", "table.csv", "--plot", "runs.png"]) == 0
    assert "resnet8 on digits" in capsys.readouterr().out
    rows = [line.split(",") for line in (folder / "table.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["way", "off", "MoEx", "label smoothing"]
    assert (folder / "runs.png").stat().st_size > 5000


def test_plot(folder):
    assert main(["plot", "--data", "mine.npz", "--count", "3", "--out", "images.png"]) == 0
    assert main(["plot", "--what", "maps", "--count", "2", "--out", "maps.png"]) == 0
    assert all((folder / f"{name}.png").stat().st_size > 5000 for name in ("images", "maps"))


BAD = {
    "no command": ([], "see offprint-moex --help"),
    "unknown flag": (["train", "--bogus", "1"], "bogus"),
    "unknown data": (["train", "--data", "cifar"], "--data 'cifar' is neither one of digits, cifar10, cifar100"),
    "no file": (["train", "--data", "none.npz"], "none.npz is not there"),
    "no images": (["train", "--data", "other.npz"], "other.npz has x; train_images, train_labels,"),
    "unknown network": (["train", "--arch", "vgg"], "network 'vgg' is unknown; there are resnet8,"),
    "unknown norm": (["train", "--norm", "pno"], "norm 'pno' is unknown"),
    "probability": (["train", "--p", "1.5"], "p=1.5"),
    "too many images": (["train", "--train", "99999"], "99999 training images of digits; there are 1000"),
    "epochs": (["train", "--epochs", "0"], "--epochs 0: at least 1 is needed"),
    "output format": (["train", "--out", "x.txt"], "x.txt has an unknown format; .csv is needed"),
    "grey images": (["plot"], "set ddof=0 or take another norm"),
    "too many to draw": (["plot", "--count", "0"], "--count 0: 1 to 797 images are needed"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, folder, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-moex: ")
    assert error.count("\n") == 1
