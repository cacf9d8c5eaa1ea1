"""The program offprint-memory-capacity, through its function main."""

import csv
import os

import numpy as np
import pytest

from offprint.memory_capacity._command import main


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """States and inputs of a small tanh network, as a file."""
    rng = np.random.default_rng(0)
    A, C, z = 0.9 * np.linalg.qr(rng.normal(size=(6, 6)))[0], 0.3 * rng.normal(size=6), rng.uniform(-1, 1, 3000)
    x, states = np.zeros(6), []
    for u in z:
        x = np.tanh(A @ x + C * u)
        states.append(x)
    path = tmp_path_factory.mktemp("measured") / "data.npz"
    np.savez(path, states=np.array(states)[100:], inputs=z[100:])
    return path


def columns(path):
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    return dict(zip(rows[0], np.array(rows[1:], float).T))


def test_curve_of_a_matrix_of_ones_own(tmp_path, capsys):
    ring = 0.8 * np.roll(np.eye(4), 1, axis=0)
    expected = (1 - 0.8**8) * 0.8 ** (8 * (np.arange(12) // 4))
    np.savetxt(tmp_path / "A.csv", ring, delimiter=",")
    np.savetxt(tmp_path / "C.csv", [1, 0, 0, 0], delimiter=",")
    np.save(tmp_path / "A.npy", ring)
    np.savez(tmp_path / "A.npz", ring)
    for name, out in (("A.csv", "curve.csv"), ("A.npy", "curve.npz"), ("A.npz", "curve.csv")):
        flags = ["--matrix", name, "--mask", "C.csv", "--lags", "12", "--out", out, "--plot", "curve.png"]
        with in_folder(tmp_path):
            assert main(["curve", *flags, "--methods", "exact,osm"]) == 0
        written = dict(np.load(tmp_path / out)) if out.endswith("npz") else columns(tmp_path / out)
        np.testing.assert_allclose(written["exact"], expected, atol=1e-12)
        assert list(written) == ["lag", "exact", "osm"]
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert "total" in capsys.readouterr().out


def test_curve_of_a_law(capsys):
    assert main(["curve", "--law", "orthogonal", "-N", "5", "--rho", "0.7", "--lags", "10"]) == 0
    printed = capsys.readouterr()
    assert "exact" in printed.out
    assert printed.err == ""


def test_compare_puts_the_estimators_beside_the_exact_one(tmp_path):
    out = tmp_path / "table.npz"
    assert main(["compare", "--neurons", "6", "--samples", "300", "--masks", "3", "--out", str(out)]) == 0
    table = dict(np.load(out))
    totals = dict(zip(table["estimator"].tolist(), table["total"]))
    assert table["largest error of a lag"][0] == 0
    assert totals["exact"] <= 6
    assert totals["Monte Carlo, insample"] > totals["Monte Carlo, adjusted"]


def test_empirical_measures_states(measured, tmp_path, capsys):
    out = tmp_path / "curve.csv"
    assert main(["empirical", str(measured), "--lags", "8", "--bootstrap", "10", "--out", str(out)]) == 0
    curve = columns(out)
    assert curve["adjusted"][0] > 0.85
    assert curve["significant"][0] == 1
    assert "standard error" in capsys.readouterr().out


def test_ipc_counts_targets(measured, tmp_path, capsys):
    out = tmp_path / "targets.csv"
    assert main(["ipc", str(measured), "--degrees", "1:10,2:4", "--out", str(out)]) == 0
    targets = columns(out)
    assert len(targets["capacity"]) == 11 + 15  # C(D + d, d)
    # tanh is odd, so that even degrees hold nothing
    assert targets["capacity"][targets["power_0"] + targets["power_1"] == 2].max() < 0.05
    assert "rank 6" in capsys.readouterr().out


class in_folder:
    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.before = os.getcwd()
        os.chdir(self.folder)

    def __exit__(self, *error):
        os.chdir(self.before)


BAD = {
    "no command": ([], "see offprint-memory-capacity --help"),
    "unknown flag": (["curve", "--bogus", "1"], "bogus"),
    "unknown law": (["curve", "--law", "gaussian"], "unknown law 'gaussian'; there are normal,"),
    "unknown method": (["curve", "--methods", "exact,omp"], "unknown method 'omp'; there are exact,"),
    "no method": (["curve", "--methods", ","], "no method is named"),
    "radius": (["curve", "--rho", "1.2", "-N", "5"], "spectral radius of A is 1.2"),
    "no matrix": (["curve", "--matrix", "none.npy"], "none.npy is not there"),
    "not square": (["curve", "--matrix", "flat.npy"], "flat.npy has shape (2, 3); a square matrix (N, N) is needed"),
    "pickle": (["curve", "--matrix", "pickle.npy"], "pickle.npy cannot be read"),
    "pickle in an archive": (["ipc", "pickle.npz"], "holds pickled objects"),
    "two arrays": (["curve", "--matrix", "two.npz"], "two.npz holds 2 arrays (a, b); one is needed"),
    "text": (["curve", "--matrix", "text.csv"], "text.csv cannot be read"),
    "format": (["curve", "--matrix", "A.mat"], "A.mat has an unknown format; .npy, .npz or .csv is needed"),
    "output format": (["curve", "-N", "5", "--out", "x.txt"], "x.txt has an unknown format; .csv or .npz is needed"),
    "no states": (["empirical", "two.npz"], "two.npz has no array states or inputs; it has a, b"),
    "transposed": (["empirical", "transposed.npz"], "the states seem to be transposed"),
    "degrees": (["ipc", "good.npz", "--degrees", "1-20"], "'1-20' is not a list of DEGREE:LARGEST_DELAY"),
    "too many lags": (["empirical", "good.npz", "--lags", "99"], "the largest lag is 98 and there are 50 samples"),
}


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    np.save(folder / "flat.npy", np.ones((2, 3)))
    np.save(folder / "pickle.npy", np.array([{}]), allow_pickle=True)
    np.savez(folder / "pickle.npz", states=np.array([{}]), inputs=np.ones(3))
    np.savez(folder / "two.npz", a=np.ones(2), b=np.ones(2))
    (folder / "text.csv").write_text("a,b\nc,d\n")
    rng = np.random.default_rng(0)
    np.savez(folder / "transposed.npz", states=rng.normal(size=(3, 50)), inputs=rng.normal(size=50))
    np.savez(folder / "good.npz", states=rng.normal(size=(50, 3)), inputs=rng.uniform(-1, 1, size=50))
    return folder


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, bad_files, capsys):
    with in_folder(bad_files):
        assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-memory-capacity: ")
    assert error.count("\n") == 1
