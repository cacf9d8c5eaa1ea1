"""The program `offprint-federated-mlo`, through its function main."""

import csv
import json
import logging
import stat
import tomllib

import numpy as np
import pytest

from offprint.federated_mlo import _command_validate as validation
from offprint.federated_mlo._command import main
from offprint.federated_mlo._command_actions import Failed

SITE = """ap_id,x,y,sta_x,sta_y
lobby,0,0,2,1
office,18,3,20,4
lab,35,0,36,2
"""
TINY = ["--steps", "40", "--seeds", "2"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.csv").write_text(SITE, encoding="utf-8")
    (tmp_path / "far.csv").write_text(SITE.replace("20,4", "900,4"), encoding="utf-8")
    (tmp_path / "hole.csv").write_text(SITE.replace("18,3", "18,"), encoding="utf-8")
    (tmp_path / "noise.txt").write_text("", encoding="utf-8")
    heard = np.full((2, 3, 3), np.nan)
    heard[:, [0, 1, 1, 2], [1, 0, 2, 1]] = -60.0
    np.savez(tmp_path / "rssi.npz", rssi=heard, station_rssi=np.full((3, 2), -50.0))
    return tmp_path


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_from_learning_to_figures(here, capsys):
    arguments = ["run", "--method", "frl_mix", "fixed:all", "oracle_maxmin", *TINY, "--out", "found"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "chain3_l2: 3 BSSs, 2 links; 40 steps, 2 seeds" in printed.out
    assert "largest smallest throughput of any allocation: 988.0 Mb/s" in printed.out

    summary = {row["method"]: row for row in rows(here / "found/summary.csv")}
    assert list(summary) == ["frl_mix", "fixed:all", "oracle_maxmin"]
    assert float(summary["fixed:all"]["inst_min"]) == pytest.approx(23.4, abs=0.05)
    assert float(summary["oracle_maxmin"]["mean_min"]) == pytest.approx(988.0, abs=0.05)
    each = rows(here / "found/runs.csv")
    assert len(each) == 6
    assert each[2]["links of BSS 1"] == "0+1"
    assert float(each[0]["bytes_up"]) > 40 * 4 * 3  # the objective, and two rounds of tables
    with np.load(here / "found/results.npz", allow_pickle=False) as arrays:
        assert arrays["frl_mix/throughput"].shape == (2, 3)
        np.testing.assert_allclose(arrays["network/cap"], 1000.0)

    assert main(arguments) == 0  # finished: told again
    assert capsys.readouterr().out == printed.out
    for what in ("curves", "cdf", "fairness", "actions", "map"):
        assert main(["plot", "found", "--what", what]) == 0
        assert (here / f"found/{what}.png").stat().st_size > 5000

    assert main([*arguments, "--seed", "1"]) == 2
    assert "the run in found has seed 0, not 1; choose another --out" in capsys.readouterr().err
    assert main([*arguments[:1], "--scenario", "clique3_l2", *arguments[1:]]) == 2
    assert "the run in found has scenario chain3_l2, not clique3_l2" in capsys.readouterr().err


def test_an_unfinished_run_starts_again(here, capsys):
    (here / "found").mkdir()
    (here / "found/config.json").write_text('{"format": 1, "run": {"seed": 3}, "network": {}}', encoding="utf-8")
    assert main(["plot", "found"]) == 2
    assert "the run in found is not finished; start its run command again" in capsys.readouterr().err
    assert main(["run", "--methods", "random", *TINY, "--out", "found"]) == 0
    assert json.loads((here / "found/config.json").read_text(encoding="utf-8"))["run"]["seed"] == 0
    (here / "found/config.json").write_text("[]", encoding="utf-8")
    assert main(["plot", "found"]) == 2
    assert "config.json is not that of a run in format 1" in capsys.readouterr().err


def test_averaging_stateless_tables_is_warned_of_once(here, capsys):
    assert main(["run", "--methods", "frl_fedavg", *TINY, "--out", "found"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: mu = 1 with stateless tables")
    assert error.count("\n") == 1


def test_the_best_links_of_a_site(here, capsys):
    """The middle of three access points in a row starves with all links on, and is cured by leaving some off."""
    assert main(["oracle", "--positions", "site.csv", "--out", "best.csv", "--plot", "map.png"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found = {row["BSS"]: row for row in rows(here / "best.csv")}
    assert list(found) == ["lobby", "office", "lab"]
    assert found["office"]["all on: links"] == "0 1 2"
    before = min(float(row["all on: Mb/s"]) for row in found.values())
    after = min(float(row["best: Mb/s"]) for row in found.values())
    assert after > 3 * before
    assert (here / "map.png").stat().st_size > 5000

    assert main(["run", "--positions", "site.csv", "--methods", "rl", *TINY, "--out", "found"]) == 0
    assert "Mb/s of office" in rows(here / "found/summary.csv")[0]
    (here / "site.csv").write_text(SITE.replace("35,0,36,2", "35,1,36,2"), encoding="utf-8")
    assert main(["run", "--positions", "site.csv", "--methods", "rl", *TINY, "--out", "found"]) == 2
    assert "the run in found has checksum" in capsys.readouterr().err


def test_the_best_links_by_measured_powers(here, capsys):
    arguments = ["oracle", "--rssi", "rssi.npz", "--bands", "5.23:80", "6.295:80", "--search", "local_search"]
    assert main([*arguments, "--objective", "pf", "--out", "best.npz"]) == 0
    assert "best known" in capsys.readouterr().out
    with np.load(here / "best.npz", allow_pickle=False) as arrays:
        ends, middle = arrays["mask/best known"][[0, 2]], arrays["mask/best known"][1]
        assert not (ends & middle).any()  # whoever hears another is elsewhere


def test_validation_holds(here, monkeypatch, capsys):
    monkeypatch.setattr(validation, "REPLICAS", 60)
    monkeypatch.setattr(validation, "STATIONS", (5,))
    assert main(["validate", "--events", "600", "--out", "checks.csv"]) == 0
    found = rows(here / "checks.csv")
    assert len(found) == 6
    assert {row["holds"] for row in found} == {"yes"}
    assert "the table of ns-3" in capsys.readouterr().out


def test_a_validation_that_fails_is_status_1(here, monkeypatch, capsys):
    wrong = validation.Check("a wrong number", 1, 0.2, 0.1)
    monkeypatch.setattr("offprint.federated_mlo._command_actions.checks", lambda events, key: iter([wrong]))
    assert main(["validate"]) == 1
    assert "1 of 1 comparisons fail: a wrong number" in capsys.readouterr().err
    assert issubclass(Failed, Exception)


@pytest.fixture
def flower():
    pytest.importorskip("flwr.app")
    logging.getLogger("flwr").setLevel(logging.ERROR)


@pytest.mark.usefixtures("flower")
def test_a_flower_app_and_its_rehearsal(here, capsys):
    assert main(["flower-app", "--method", "frl_mix", "--steps", "21", "--out", "app"]) == 0
    assert "app is an app for 3 nodes" in capsys.readouterr().out
    project = tomllib.loads((here / "app/pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "links.server:app",
        "clientapp": "links.client:app",
    }
    for part in ("server", "client"):
        path = here / f"app/links/{part}.py"
        built: dict = {"__file__": str(path)}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), built)
        assert type(built["app"]).__name__ == {"server": "ServerApp", "client": "ClientApp"}[part]

    assert main(["flower-local", "app", "--out", "steps.npz"]) == 0
    assert "after 21 steps" in capsys.readouterr().out
    with np.load(here / "steps.npz", allow_pickle=False) as arrays:
        assert arrays["actions"].shape == (21, 3)
        assert (arrays["throughput"] > 0).all()

    assert main(["flower-app", "--out", "app"]) == 2
    assert "app is there already; choose another --out" in capsys.readouterr().err


@pytest.mark.usefixtures("flower")
def test_nodes_that_measure(here, capsys):
    """The program of a node gets the links to use and prints Mb/s; a failing one has told nothing."""
    program = here / "radio"
    program.write_text("#!/bin/sh\n[ $# -eq 2 ] && exit 3\necho 10$1\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert main(["flower-app", "--measured", "--method", "rl", "--steps", "6", "--out", "measured"]) == 0
    assert 'radio="PATH"' in capsys.readouterr().out
    assert main(["flower-local", "measured"]) == 2
    assert "the nodes of this app measure: name their program by --radio PATH" in capsys.readouterr().err
    assert main(["flower-local", "measured", "--radio", str(program), "--out", "steps.npz"]) == 0
    with np.load(here / "steps.npz", allow_pickle=False) as arrays:
        action, x = arrays["actions"], arrays["throughput"]
    np.testing.assert_array_equal(x, np.select([action == 0, action == 1], [100.0, 101.0], np.nan))
    assert len(np.unique(action)) > 1


BAD = {
    "no command": ([], "see offprint-federated-mlo --help"),
    "unknown flag": (["run", "--out", "found", "--bogus", "1"], "bogus"),
    "scenario": (["run", "--out", "found", "--scenario", "chain"], "--scenario='chain' is unknown; use one of"),
    "method": (["run", "--out", "found", "--methods", "frl"], "method 'frl' is unknown; there are frl_minrate"),
    "mask": (["run", "--out", "found", "--methods", "fixed:4"], "fixed:4: give a bitmask of 1 to 3"),
    "oracle name": (["run", "--out", "found", "--methods", "oracle"], "method 'oracle' is unknown"),
    "steps": (["run", "--out", "found", "--steps", "0"], "--steps 0 --seeds 64: at least 1 of each is needed"),
    "window": (["run", "--out", "found", "--window", "0"], "--window 0.0: a positive number of seconds is needed"),
    "foreign folder": (["run", "--out", "."], ". is there and holds no run; choose another --out"),
    "one domain": (["run", "--out", "found", "--model", "bianchi"], "BSSs 0 and 2 do not hear each other on link 0"),
    "no run": (["plot", "nothing"], "nothing holds no run; run --out nothing makes one"),
    "image": (["plot", "nothing", "--out", "map.txt"], "map.txt has an unknown format; .png or .pdf or .svg is needed"),
    "two sites": (["oracle", "--positions", "site.csv", "--rssi", "rssi.npz"], "--positions and --rssi: one of them"),
    "no file": (["oracle", "--positions", "none.csv"], "--positions none.csv: the file is not there"),
    "no table": (["oracle", "--positions", "noise.txt"], "--positions noise.txt: .csv is needed"),
    "hole": (["oracle", "--positions", "hole.csv"], "hole.csv, line 3: y is '', which is no number"),
    "far": (["oracle", "--positions", "far.csv"], "BSSs [1] have no usable link: their stations are out of range"),
    "band": (["oracle", "--positions", "site.csv", "--bands", "5.23"], "--bands 5.23: GHz:MHz is needed, such as"),
    "width": (["oracle", "--positions", "site.csv", "--bands", "5.23:320"], "320 MHz is for 6 GHz only"),
    "bands": (["oracle", "--rssi", "rssi.npz"], "where the radio has 3 bands"),
    "path loss": (["oracle", "--positions", "site.csv", "--path-loss", "okumura"], "--path-loss='okumura' is unknown"),
    "simulation": (["oracle", "--model", "dcf"], "--model dcf: a simulation over time cannot be searched"),
    "folder": (["oracle", "--out", "none/best.csv"], "the folder of none/best.csv is not there"),
    "format": (["oracle", "--out", "best.txt"], "best.txt has an unknown format; .csv or .npz is needed"),
    "events": (["validate", "--events", "0"], "--events 0: at least 1 is needed"),
    "app": (["flower-local", "nothing"], "nothing holds no app; flower-app --out nothing writes one"),
    "app name": (["flower-app", "--out", "my_app"], "--out my_app: Flower takes names of letters, digits and hyphens"),
    "nothing to learn": (["flower-app", "--out", "app", "--method", "random"], "--method random learns nothing"),
    "blind": (
        ["flower-app", "--out", "app", "--method", "frl_fedavg_occ", "--measured"],
        "--method frl_fedavg_occ needs to know how busy links are, which --measured does not tell",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, here, capsys):
    if arguments[:1] in (["flower-app"], ["flower-local"]):
        pytest.importorskip("flwr.app")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-federated-mlo: ")
    assert error.count("\n") == 1
    assert not (here / "found").exists()
    assert not (here / "app").exists()
