"""The program offprint-resnet-scaling, through its function main."""

import csv

import numpy as np
import pytest

from offprint.resnet_scaling._command import main

SWEEP = ["sweep", "--min-depth", "2", "--max-depth", "16", "--seeds", "2", "--samples", "64", "--epochs", "1"]


def test_sweep(tmp_path, capsys):
    out, plot, folder = tmp_path / "slopes.csv", tmp_path / "a.png", tmp_path / "run"
    assert main([*SWEEP, "--folder", str(folder), "--out", str(out), "--plot", str(plot)]) == 0
    assert "Hypothesis" in capsys.readouterr().out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["statistic"] for row in rows][-1] == "delta"
    assert all(float(row["low"]) <= float(row["high"]) for row in rows)
    assert plot.stat().st_size > 1000
    assert any(folder.iterdir())


def test_analyze(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", **{f"layers.{k}.weight": rng.normal(size=(3, 3)) for k in range(12)}, b=np.ones(2))
    assert main(["analyze", str(tmp_path / "a.npz")]) == 0
    printed = capsys.readouterr()
    assert "layers.*.weight" in printed.out
    assert "rough" in printed.out
    assert printed.err == "warning: not analysed: b: shape (2,), in no sequence of 3 layers or more\n"


def test_analyze_several_depths(tmp_path, capsys):
    paths = []
    for L in (8, 16, 32, 64):
        paths.append(str(tmp_path / f"{L}.npz"))
        np.savez(paths[-1], A=L**-0.5 * (1 + np.arange(L)[:, None, None] / L) * np.ones((3, 3)))
    assert main(["analyze", *paths]) == 0
    assert "alpha 0.00, beta 0.4" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "rate"), [("ode", 1.0), ("sde", 0.5)])
def test_limit(kind, rate, tmp_path, capsys):
    plot = tmp_path / "errors.png"
    flags = ["--max-depth", "256", "--paths", "64", "--dim", "2", "--plot", str(plot)]
    assert main(["limit", kind, *flags]) == 0
    found = float(capsys.readouterr().out.rpartition("L^-")[2])
    assert abs(found - rate) < 0.25
    assert plot.stat().st_size > 1000


def test_phase(tmp_path, capsys):
    plot = tmp_path / "phase.png"
    flags = ["--depth", "50", "--width", "8", "--repeats", "2", "--hursts", "0.5", "--betas", "0,0.5,1"]
    assert main(["phase", *flags, "--plot", str(plot)]) == 0
    assert "critical" in capsys.readouterr().out
    assert plot.stat().st_size > 1000


BAD = {
    "no command": ([], "see offprint-resnet-scaling --help"),
    "unknown flag": (["sweep", "--bogus", "1"], "bogus"),
    "unknown activation": (["sweep", "--activation", "gelu"], "gelu"),
    "few depths": (["sweep", "--max-depth", "32"], "the depths are 8, 16, 32; at least 4 are needed to classify"),
    "base": (["sweep", "--base", "1"], "base=1.0; a number above 1 is needed"),
    "batch": (["sweep", "--samples", "16"], "batch_size=32 is more than the 16 training samples"),
    "output format": (["sweep", "--out", "x.txt"], "--out x.txt has an unknown format; .csv is needed"),
    "no checkpoint": (["analyze", "none.npz"], "none.npz is not there"),
    "no layers": (["analyze", "flat.npz"], "no sequence of at least 3 layers of one shape matches '*'; there are a"),
    "pickle": (["analyze", "pickle.npz"], "holds pickled objects"),
    "selection": (["analyze", "vectors.npz", "--select", "c*"], "matches 'c*'"),
    "relu limit": (["limit", "sde", "--activation", "relu"], "relu"),
    "shallow limit": (["limit", "ode", "--max-depth", "64"], "--max-depth 64: at least 128 is needed"),
    "numbers": (["phase", "--betas", "a,b"], "--betas 'a,b' is not a list of numbers separated by commas"),
    "hurst": (["phase", "--hursts", "1.5"], "Hurst exponents lie strictly between 0 and 1, got [1.5]"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    np.savez(folder / "flat.npz", a=np.ones((2, 3)))
    np.savez(folder / "pickle.npz", a=np.array([{}]))
    np.savez(folder / "vectors.npz", **{f"b.{k}": np.ones(3) for k in range(8)})
    return folder


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, bad_files, capsys, monkeypatch):
    monkeypatch.chdir(bad_files)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-resnet-scaling: ")
    assert error.count("\n") == 1


def test_missing_data_is_status_1(tmp_path, capsys, monkeypatch):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"not MNIST")
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    assert main(["sweep", "--data", "mnist"]) == 1
    assert "mnist" in capsys.readouterr().err
