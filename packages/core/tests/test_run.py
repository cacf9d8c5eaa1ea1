"""One run and the folder that it leaves."""

import json
import math
import sys
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from offprint.core.experiments import (
    Claim,
    Method,
    Run,
    UsageError,
    at_least,
    exit_status,
    experiment,
    read_results,
    run_experiment,
)

METHOD = Method("toy", "toy.experiments", "offprint-toy", "0.1.0", ())


@dataclass(frozen=True)
class Config:
    size: int = 3
    seed: int = 5
    data_seed: int = 6
    fail: bool = False


@experiment("toy", reproduces="Figure 3")
def toy(config: Config, run: Run):
    """Draws a line."""
    run.log(step=0, loss=jnp.float32(0.5), norm=math.inf, label="a")
    figure = Figure()
    figure.subplots().plot([1, 2])
    run.figure("line", figure, caption="A line")
    yield Claim("size", paper=3, here=np.int64(config.size), rule=at_least(3))
    if config.fail:
        (run.checkpoints / "step").write_text("1")
        raise ArithmeticError("it diverged")
    yield Claim("not a number", paper=0, here=math.nan, rule=at_least(0))


def read(path):
    return json.loads(path.read_text())


def test_the_folder_holds_everything(tmp_path):
    result = run_experiment(METHOD, toy, Config(), tmp_path, profile="quick")
    folder = tmp_path / "toy" / "toy"
    assert result.folder == folder
    assert {path.name for path in folder.iterdir()} == {
        "claims.json",
        "config.json",
        "environment.json",
        "figures",
        "metrics.jsonl",
        "run.json",
    }
    assert read(folder / "config.json") == {"size": 3, "seed": 5, "data_seed": 6, "fail": False}
    assert read(folder / "claims.json") == [
        {"claim": "size", "paper": 3, "here": 3, "rule": "at least 3", "holds": True},
        {"claim": "not a number", "paper": 0, "here": "nan", "rule": "at least 0", "holds": False},
    ]
    assert read(folder / "metrics.jsonl") == {"step": 0, "loss": 0.5, "norm": "inf", "label": "a"}
    assert (folder / "figures" / "line.png").read_bytes().startswith(b"\x89PNG")
    record = read(folder / "run.json")
    assert record["status"] == "finished"
    assert (record["profile"], record["package"], record["version"]) == ("quick", "offprint-toy", "0.1.0")
    assert (record["reproduces"], record["summary"]) == ("Figure 3", "Draws a line.")
    assert record["figures"] == {"line": "A line"}
    assert record["seconds"] >= 0
    found = read(folder / "environment.json")
    assert found["seeds"] == {"seed": 5, "data_seed": 6}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"offprint-core", "jax", "numpy"} <= found["packages"].keys()
    assert found["devices"][0].startswith("cpu")
    assert exit_status([result]) == 3


def test_an_exception_is_recorded_with_what_was_claimed_before(tmp_path):
    result = run_experiment(METHOD, toy, Config(fail=True), tmp_path)
    assert result.error == "ArithmeticError: it diverged"
    assert "raise ArithmeticError" in result.run["traceback"]
    assert [claim["claim"] for claim in result.claims] == ["size"]
    assert exit_status([result]) == 1
    assert read_results(tmp_path) == [result]


def test_checkpoints_outlive_an_unfinished_run_of_the_same_config_alone(tmp_path):
    saved = tmp_path / "toy" / "toy" / "checkpoints" / "step"
    rows = tmp_path / "toy" / "toy" / "metrics.jsonl"
    run_experiment(METHOD, toy, Config(fail=True), tmp_path)
    saved.write_text("kept")

    @experiment("toy", reproduces="Figure 3")
    def looks(config: Config, run: Run):
        found = (run.checkpoints / "step").exists()
        yield Claim("found", paper=1, here=int(found), rule=at_least(1))
        if config.fail:
            raise ArithmeticError

    assert run_experiment(METHOD, looks, Config(fail=True), tmp_path).claims[0]["holds"]
    assert len(rows.read_text().splitlines()) == 1
    assert not run_experiment(METHOD, looks, Config(fail=True), tmp_path, anew=True).claims[0]["holds"]
    assert not rows.exists()
    saved.write_text("of another config")
    assert not run_experiment(METHOD, looks, Config(), tmp_path).claims[0]["holds"]
    saved.write_text("of a finished run")
    assert not run_experiment(METHOD, looks, Config(), tmp_path).claims[0]["holds"]


def test_ctrl_c_is_recorded_and_passed_on(tmp_path):
    @experiment("toy", reproduces="Figure 3")
    def stopped(config: Config, run: Run):
        yield Claim("size", paper=3, here=3, rule=at_least(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(METHOD, stopped, Config(), tmp_path)
    (result,) = read_results(tmp_path)
    assert (result.run["status"], result.error) == ("interrupted", "interrupted")
    assert exit_status([result]) == 1


def test_figures_are_freed_and_their_names_are_checked(tmp_path):
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    run = Run(tmp_path)
    run.figure("a", figure)
    assert not plt.get_fignums()
    assert not figure.axes
    with pytest.raises(ValueError, match="a figure's name is made of letters"):
        run.figure("../a", Figure())
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["a.png"]


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write results into .*file.toy.toy: Not a directory"):
        run_experiment(METHOD, toy, Config(), tmp_path / "file")


def test_a_damaged_or_empty_results_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="there are no results in"):
        read_results(tmp_path)
    (tmp_path / "toy" / "toy").mkdir(parents=True)
    (tmp_path / "toy" / "toy" / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run.json is not valid JSON"):
        read_results(tmp_path)
