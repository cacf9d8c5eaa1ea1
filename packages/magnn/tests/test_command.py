"""The program offprint-magnn, through its function main: from a log to lists and vectors."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from offprint.magnn import Sequences, Vectors, load_model, recommend
from offprint.magnn._command import main

SMALL = ["--L", "3", "--T", "2", "--d", "8", "--h", "4", "--m", "3", "--max-long", "4"]
QUICK = [*SMALL, "--epochs", "2", "--eval-every", "1", "--lr", "0.01", "--batch-size", "64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a log, its sequences, and the run of a model."""
    folder = tmp_path_factory.mktemp("program")
    rng = np.random.default_rng(0)
    with (folder / "log.csv").open("w", encoding="utf-8") as file:
        file.write("who,what,time,rating\n")
        for user in range(40):
            at = rng.integers(30)
            for time in range(rng.integers(8, 13)):
                at = (at + rng.integers(1, 3)) % 30
                file.write(f"{user + 100},film {at},{time},{rng.integers(3, 6)}\n")
    columns = ["--user", "who", "--item", "what"]
    keep = ["--min-rating", "4", "--min-user", "4", "--min-item", "2", "--iterative"]
    assert main(["prepare", str(folder / "log.csv"), *columns, *keep, "--out", str(folder / "data.npz")]) == 0
    assert main(["train", str(folder / "data.npz"), *QUICK, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    """The same folder to work in, with its run left as it is."""
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_prepare_says_what_it_removed(here, capsys):
    arguments = ["--user", "who", "--item", "what", "--min-rating", "4", "--min-user", "4", "--min-item", "2"]
    assert main(["prepare", "log.csv", *arguments, "--iterative", "--out", "again.npz"]) == 0
    printed = capsys.readouterr()
    sequences = Sequences.load(here / "again.npz")
    assert "rating >= 4" in printed.out
    assert str(len(sequences)) in printed.out
    assert "interactions repeat" in printed.err or printed.err == ""
    assert sequences.report is not None
    assert sequences.item_ids is not None
    assert sequences.item_ids[0].startswith("film ")


def test_a_run_holds_all_that_the_library_needs(here):
    assert {path.name for path in (here / "run").iterdir()} == {
        *("checkpoints", "config.json", "history.csv", "model.npz", "sequences.npz")
    }
    assert [row["epoch"] for row in table(here / "run" / "history.csv")] == ["1", "2"]
    assert json.loads((here / "run" / "config.json").read_text())["epoch"] in (1, 2)
    model, sequences = load_model(here / "run" / "model.npz"), Sequences.load(here / "run" / "sequences.npz")
    assert recommend(model, sequences, 3).items.shape == (sequences.num_users, 3)


def test_the_same_command_goes_on_and_another_one_is_refused(here, capsys):
    longer = ["3" if part == "2" and QUICK[i - 1] == "--epochs" else part for i, part in enumerate(QUICK)]
    assert main(["train", "data.npz", *longer, "--out", "run", "--plot", "history.png"]) == 0
    assert [row["epoch"] for row in table(here / "run" / "history.csv")] == ["1", "2", "3"]
    assert (here / "history.png").stat().st_size > 5000
    capsys.readouterr()
    assert main(["train", "data.npz", *QUICK, "--seed", "1", "--out", "run"]) == 2
    assert "the run in run has --seed 0, not 1; only --epochs and --patience may change" in capsys.readouterr().err
    assert main(["train", "markov", *QUICK, "--out", "run"]) == 2
    assert "is one on other data; choose another --out" in capsys.readouterr().err


def test_evaluate_stands_beside_popularity(here, capsys):
    assert main(["evaluate", "run", "--ks", "5,10", "--out", "metrics.csv", "--per-user", "users.csv"]) == 0
    assert "test part, 40 users, all unseen items ranked" in capsys.readouterr().out
    rows = table(here / "metrics.csv")
    assert [(row["model"], row["K"]) for row in rows] == [
        *(("MA-GNN", "5"), ("MA-GNN", "10"), ("popularity", "5"), ("popularity", "10"))
    ]
    users = table(here / "users.csv")
    assert np.isclose(np.mean([float(user["recall@10"]) for user in users]), float(rows[1]["recall"]))
    assert users[0]["user"] == "100"
    assert main(["evaluate", "run", "--part", "val", "--ks", "5"]) == 0
    assert "val part" in capsys.readouterr().out


def test_lists_of_some_of_everybody_and_of_somebody_new(here, capsys):
    assert main(["recommend", "run", "--user", "117", "103", "-k", "3", "--out", "some.csv"]) == 0
    some = table(here / "some.csv")
    assert [row["user"] for row in some] == ["117"] * 3 + ["103"] * 3
    assert main(["recommend", "run", "-k", "3", "--out", "all.csv"]) == 0
    everybody = table(here / "all.csv")
    assert len(everybody) == 120
    assert [row["item"] for row in everybody if row["user"] == "117"] == [row["item"] for row in some[:3]]
    capsys.readouterr()
    assert main(["recommend", "run", "--history", "film 3, film 5", "-k", "2"]) == 0
    printed = capsys.readouterr().out
    assert "2 items for somebody new" in printed
    assert len(re.findall(r"film \d+", printed)) == 2


def test_explain_adds_up(here, capsys):
    assert main(["explain", "run", "--user", "117", "-k", "4", "--out", "terms.csv", "--plot", "memory.png"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "a score is the sum of its terms",
        "of the interest is short-term",
        "attention to earlier items",
        "unit",
    ):
        assert part in printed
    assert main(["recommend", "run", "--user", "117", "-k", "4", "--out", "top.csv"]) == 0
    for terms, listed in zip(table(here / "terms.csv"), table(here / "top.csv"), strict=True):
        assert terms["item"] == listed["item"]
        total = sum(float(terms[name]) for name in ("user", "interest", "cooccurrence", "bias"))
        np.testing.assert_allclose([total, float(terms["score"])], float(listed["score"]), rtol=1e-5, atol=1e-6)
    assert (here / "memory.png").stat().st_size > 5000
    assert main(["explain", "run", "--history", "film 3,film 5"]) == 0
    assert "no earlier items" in capsys.readouterr().out


def test_exported_vectors_are_those_of_the_run(here, capsys):
    assert main(["export", "run", "--out", "vectors.npz"]) == 0
    assert "scores are users @ items.T + bias" in capsys.readouterr().out
    assert Vectors.load(here / "vectors.npz").users.shape == (40, 8)


def test_compare_trains_every_model_on_one_split(here, capsys):
    models = ["--models", "pop,magnn", "--seeds", "2"]
    assert main(["compare", "data.npz", *QUICK, *models, "--ks", "5,10", "--out", "table.csv", "--plot", "k.png"]) == 0
    assert "test part, 40 users, all unseen items ranked; protocol select" in capsys.readouterr().out
    rows = table(here / "table.csv")
    assert [(row["model"], row["seed"]) for row in rows] == [("popularity", "0"), ("MA-GNN", "0"), ("MA-GNN", "1")]
    assert main(["evaluate", "run", "--ks", "5,10", "--out", "metrics.csv"]) == 0  # the same training
    assert [row["ndcg@10"] for row in rows[1::-1]] == [row["ndcg"] for row in table(here / "metrics.csv")[1::2]]
    assert (here / "k.png").stat().st_size > 5000


def test_a_refit_uses_both_parts_for_as_many_epochs(here, capsys):
    arguments = ["--model", "bprmf", "--protocol", "refit", "--out", "final"]
    assert main(["train", "data.npz", *QUICK, *arguments]) == 0
    epoch = json.loads((here / "final" / "config.json").read_text())["epoch"]
    assert (here / "final" / f"checkpoints-refit-{epoch}" / "run").is_dir()
    assert main(["train", "data.npz", "--model", "pop", "--leave-last", "1", "--out", "counts"]) == 0
    assert main(["evaluate", "counts", "--ks", "5"]) == 0
    assert main(["evaluate", "final", "--part", "val"]) == 2
    assert "was trained on the validation part too; evaluate it on the test part" in capsys.readouterr().err


BAD = {
    "no command": ([], "see offprint-magnn --help"),
    "unknown flag": (["train", "data.npz", "--out", "x", "--bogus", "1"], "bogus"),
    "no log": (["prepare", "none.csv", "--out", "x.npz"], "none.csv is not there"),
    "format of the log": (["prepare", "run/config.json", "--out", "x.npz"], "config.json has an unknown format; .csv"),
    "no column": (["prepare", "log.csv", "--out", "x.npz"], "no column user, item; there are who, what, time, rating"),
    "format of the output": (["prepare", "log.csv", "--out", "x.csv"], "x.csv has an unknown format; .npz is needed"),
    "unknown data": (["train", "movies", "--out", "x"], "'movies' is neither one of movielens-1m, movielens-100k,"),
    "no data": (["train", "none.npz", "--out", "x"], "none.npz is not there"),
    "other data": (["train", "run/model.npz", "--out", "x"], "run/model.npz has no array indptr, items, num_items"),
    "L": (["train", "data.npz", "--L", "0", "--out", "x"], "L=0; a window of at least 1 item is needed"),
    "T": (["train", "data.npz", "--T", "0", "--out", "x"], "T must be at least 1, but is 0"),
    "d": (["train", "data.npz", "--L", "3", "--d", "0", "--out", "x"], "d must be at least 1, but is 0"),
    "long L": (["train", "data.npz", "--L", "99", "--out", "x"], "L=99 is longer than the longest sequence"),
    "split": (["train", "data.npz", "--test", "1.5", "--out", "x"], "test=1.5; a share from 0 to below 1 is needed"),
    "metric": (["train", "data.npz", "--select", "auc", "--out", "x"], "select must be a metric at a K such as"),
    "folder of something else": (["train", "data.npz", "--out", "."], ". is there and holds no run; choose another"),
    "no run": (["evaluate", "log.csv"], "log.csv holds no run; train --out log.csv makes one"),
    "unfinished run": (["evaluate", "half"], "the run in half is not finished; start its train command again"),
    "damaged run": (["evaluate", "damaged"], "config.json is not that of a run in format 1"),
    "ks": (["evaluate", "run", "--ks", "0"], "--ks 0: whole numbers from 1 on are needed, such as 5,10,20"),
    "long lists": (["evaluate", "run", "--ks", "30"], "items can be recommended to user 100; choose a smaller k"),
    "nobody": (["recommend", "run"], "whose list? Give --user ID, --history 3,5,9, or --out top.csv for all users"),
    "two ways": (["recommend", "run", "--user", "100", "--history", "film 1"], "give one of them"),
    "unknown user": (["recommend", "run", "--user", "7"], "no user has the id 7; for somebody new, give --history"),
    "user's kind": (["recommend", "run", "--user", "Ann"], "--user Ann: the log's ids are whole numbers"),
    "unknown item": (["recommend", "run", "--history", "film 99"], "no item has the id 'film 99'"),
    "models": (["compare", "data.npz", "--models", "pop,magnet"], "'magnet' is unknown; there are magnn, pop,"),
    "seeds": (["compare", "data.npz", "--seeds", "0"], "--seeds 0: at least 1 is needed"),
    "explain nobody": (["explain", "run"], "whose list? Give either --user ID or --history 3,5,9"),
    "explain a baseline": (["explain", "popular", "--user", "100"], "is popularity; only MA-GNN has these parts"),
    "image": (["explain", "run", "--user", "100", "--plot", "x.gif"], "x.gif has an unknown format; .png or .pdf"),
    "no folder": (["export", "run", "--out", "none/x.npz"], "the folder of none/x.npz is not there"),
}


@pytest.fixture(scope="module")
def with_broken_runs(place):
    for name in ("half", "damaged"):
        (place / name).mkdir()
    shutil.copy(place / "run" / "config.json", place / "half")
    (place / "damaged" / "config.json").write_text("{}")
    assert main(["train", str(place / "data.npz"), "--model", "pop", "--out", str(place / "popular")]) == 0
    return place


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, with_broken_runs, capsys, monkeypatch, unchecked_types):
    monkeypatch.chdir(with_broken_runs)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-magnn: ")
    assert error.count("\n") == 1
    shutil.rmtree(with_broken_runs / "x", ignore_errors=True)


def test_a_run_that_never_began_may_be_another_one(here, capsys):
    assert main(["train", "data.npz", "--model", "bprmf", "--d", "0", "--out", "again"]) == 2
    assert main(["train", "data.npz", "--model", "pop", "--out", "again"]) == 0
    assert "40 users" in capsys.readouterr().out


def test_a_training_that_is_stopped_says_how_to_go_on(here, capsys, monkeypatch):
    from offprint.core.train import Interrupted
    from offprint.magnn import _command_training

    def stop(*arguments, **options):
        raise Interrupted("SIGINT received: stopped after step 1 of 2; start the same command again to go on")

    monkeypatch.setattr(_command_training, "fit", stop)
    assert main(["train", "data.npz", *QUICK, "--out", "stopped"]) == 1
    assert "start the same command again to go on" in capsys.readouterr().err
    assert main(["recommend", "stopped", "--user", "100"]) == 2
    assert "the run in stopped is not finished" in capsys.readouterr().err
