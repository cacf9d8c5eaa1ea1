"""The program offprint-gaug, through its function main: from tables to predictions and cleaned graphs."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest

from offprint.gaug import GAugMConfig, GAugOConfig, NodeConfig, fit_edge_predictor, load_npz, modify_graph
from offprint.gaug._command import main
from offprint.gaug._command_training import flags_of
from offprint.gaug.data import sbm

NODE = ["--hidden", "8", "--epochs", "6"]
JOINT = [*NODE, "--pretrain-edge", "2", "--pretrain-nodes", "2", "--backend", "dense"]
M = [*NODE, "--edge-epochs", "4", "--autoencoder", "gae"]


def write(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data():
    return sbm(1, num_nodes=60, p_in=0.25, p_out=0.03, num_features=8, signal=1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory, data):
    """A folder with the tables of a graph, its archive, and a run of GAug-M."""
    folder = tmp_path_factory.mktemp("program")
    write(folder / "edges.csv", ["source", "target"], data.graph.edges().tolist())
    np.save(folder / "x.npy", np.asarray(data.x))
    parts = {int(node): name for name, part in data.split._asdict().items() for node in part}
    write(
        folder / "y.csv", ["label", "split"], [[("left", "right")[label], parts[n]] for n, label in enumerate(data.y)]
    )
    arrays = ["--features", str(folder / "x.npy"), "--labels", str(folder / "y.csv")]
    assert main(["convert", str(folder / "edges.csv"), *arrays, "--out", str(folder / "g.npz")]) == 0
    command = ["fit", "--data", str(folder / "g.npz"), "--method", "m", *M, "--remove", "0.1", "--add", "0.2"]
    assert main([*command, "--seeds", "2", "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    """The same folder to work in, with its run left as it is."""
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def test_arrays_become_the_archive_that_the_library_reads(here, data):
    found = load_npz("g.npz")
    np.testing.assert_array_equal(found.graph.edges(), data.graph.edges())
    np.testing.assert_array_equal(found.y, data.y)
    np.testing.assert_allclose(found.x, data.x)
    for part, given in zip(found.split, data.split, strict=True):
        np.testing.assert_array_equal(part, given)


def test_tables_with_names_become_one_too(here, data, capsys):
    write(here / "links.csv", ["source", "target"], [[f"n{i}", f"n{j}"] for i, j in data.graph.edges()])
    rows = [[f"n{n}", label, *row] for n, (label, row) in enumerate(zip(data.y, np.asarray(data.x)))]
    write(here / "nodes.csv", ["id", "label", *"abcdefgh"], rows)
    assert main(["convert", "links.csv", "--nodes", "nodes.csv", "--out", "named.npz"]) == 0
    printed = capsys.readouterr().out
    assert f"nodes: 60 nodes, {data.graph.num_edges} edges, 8 features, 2 classes, homophily" in printed
    assert "6 training, 12 validation and 42 test nodes" in printed
    np.testing.assert_array_equal(load_npz("named.npz").graph.edges(), data.graph.edges())


def test_labels_that_are_not_known_are_in_no_part_of_a_random_split(here, data):
    write(here / "some.csv", ["label"], [[10 * label if n % 2 else " "] for n, label in enumerate(data.y)])
    assert main(["convert", "edges.csv", "--features", "x.npy", "--labels", "some.csv", "--out", "some.npz"]) == 0
    found = load_npz("some.npz")
    assert sorted(np.concatenate(found.split)) == list(range(1, 60, 2))
    np.testing.assert_array_equal(found.y[1::2], data.y[1::2])
    assert (found.y[::2] == -1).all()


def test_a_run_holds_scores_predictions_and_everything_of_each_seed(here, data):
    assert {path.name for path in (here / "run").iterdir()} == {
        *("config.json", "predictions.csv", "results.csv", "seed-0.npz", "seed-1.npz")
    }
    assert [row["seed"] for row in table(here / "run" / "results.csv")] == ["0", "1"]
    predictions = table(here / "run" / "predictions.csv")
    assert len(predictions) == 60
    seeds = [np.load(here / "run" / f"seed-{seed}.npz") for seed in (0, 1)]
    mean = sum(np.asarray(jax.nn.softmax(arrays["logits"], axis=1)) for arrays in seeds)
    assert [int(row["predicted"]) for row in predictions] == mean.argmax(axis=1).tolist()
    test = data.split.test
    hits = np.mean(seeds[0]["logits"][test].argmax(axis=1) == data.y[test])
    assert float(table(here / "run" / "results.csv")[0]["test"]) == pytest.approx(hits)
    assert {row["part"] for row in predictions} == {"train", "val", "test"}


def test_the_same_command_adds_seeds_and_another_one_is_refused(here, capsys):
    before = (here / "run" / "seed-0.npz").read_bytes()
    command = ["fit", "--data", "g.npz", "--method", "m", *M, "--remove", "0.1", "--out", "run"]
    assert main([*command, "--add", "0.2", "--seeds", "3"]) == 0
    printed = capsys.readouterr().out
    assert "GAug-M, GCN on g: 60 nodes" in printed
    assert "3 seeds: test " in printed
    assert "homophily" in printed.splitlines()[-5]  # the report of what changed
    assert (here / "run" / "seed-0.npz").read_bytes() == before
    assert main([*command, "--add", "0.3"]) == 2
    assert "the run in run has add 0.2, not 0.3; only the seeds may change" in capsys.readouterr().err
    assert main([*command[:2], "karate", *command[3:], "--add", "0.2"]) == 2
    assert "the run in run is one on other data, g; choose another --out" in capsys.readouterr().err


def test_modify_makes_the_graph_of_a_run_with_the_same_seed(here, data, capsys):
    amounts = ["--remove", "0.1", "--add", "0.2", "--edge-epochs", "4"]
    assert main(["modify", "--data", "g.npz", *amounts, "--out", "g2.npz", "--edges", "edges-now.csv"]) == 0
    printed = capsys.readouterr().out
    assert "ROC-AUC" in printed
    assert "homophily" in printed
    changed = load_npz("g2.npz")
    edges = data.graph.num_edges
    assert changed.graph.num_edges == edges - int(0.1 * edges) + int(0.2 * edges)
    np.testing.assert_array_equal(changed.graph.edges(), np.load(here / "run" / "seed-0.npz")["edges"])
    rows = table(here / "edges-now.csv")
    now = sorted((int(row["source"]), int(row["target"])) for row in rows if row["change"] != "removed")
    assert now == [tuple(pair) for pair in changed.graph.edges().tolist()]
    assert sum(row["change"] == "removed" for row in rows) == int(0.1 * edges)
    kept = [float(row["score"]) for row in rows if row["change"] == "kept"]
    assert max(float(row["score"]) for row in rows if row["change"] == "removed") <= min(kept)
    assert {row["same_class"] for row in rows} == {"0", "1"}


def test_an_embedding_of_its_own_is_that_of_gaug_m(here, data):
    given = load_npz("g.npz")
    cfg = GAugMConfig(variational=False, edge_epochs=4)
    z = fit_edge_predictor(given.graph, given.x, cfg, key=jax.random.key(0)).z
    assert z.shape == (60, 16)
    changed, _ = modify_graph(given.graph, np.asarray(z), 0.1, 0.2)
    np.testing.assert_array_equal(changed.edges(), np.load(here / "run" / "seed-0.npz")["edges"])


def test_compare_trains_all_methods_on_the_same_seeds(here, capsys):
    methods = ["--methods", "original,dropedge,gdc,adaedge,m,o", "--seeds", "1", "--gdc-top-k", "5"]
    flags = [*JOINT, "--edge-epochs", "4", "--autoencoder", "gae", "--remove", "0.1", "--add", "0.2"]
    assert main(["compare", "--data", "g.npz", *methods, *flags, "--out", "all.csv", "--plot", "all.png"]) == 0
    assert "GCN on g: 60 nodes" in capsys.readouterr().out
    rows = table(here / "all.csv")
    assert [row["method"] for row in rows] == ["original", "DropEdge", "GDC", "AdaEdge", "GAug-M", "GAug-O"]
    assert float(rows[4]["test"]) == float(table(here / "run" / "results.csv")[0]["test"])  # the same training
    assert (here / "all.png").stat().st_size > 5000


def test_figures_of_a_run(here, capsys):
    for what in ("curves", "degrees", "scores"):
        assert main(["plot", "run", "--what", what]) == 0
        assert (here / "run" / f"{what}.png").stat().st_size > 5000
    shutil.move("g.npz", "moved.npz")
    assert main(["plot", "run", "--what", "degrees", "--data", "moved.npz", "--out", "d.pdf"]) == 0
    assert (here / "d.pdf").stat().st_size > 5000
    capsys.readouterr()
    assert main(["plot", "run", "--what", "degrees", "--data", "karate"]) == 2
    assert "--data karate is not what the run in run was made with" in capsys.readouterr().err


def test_a_search_prints_flags_that_fit_takes(here, capsys):
    assert main(["tune", "--data", "g.npz", "--method", "m", *M, "--trials", "2", "--out", "trials.csv"]) == 0
    best = capsys.readouterr().out.splitlines()[-1]
    assert best.startswith("fit --method m ")
    rows = table(here / "trials.csv")
    assert [row["trial"] for row in rows] == ["0", "1"]
    assert (rows[0]["remove"], rows[0]["add"]) == ("0.02", "0.57")
    assert main(["fit", "--data", "g.npz", "--out", "best", "--hidden", "8", *best.split()[1:]]) == 0
    config = json.loads((here / "best" / "config.json").read_text())["plan"]["config"]
    assert config["edge_epochs"] == 4
    assert config["node"]["epochs"] == 6


def test_flags_lead_to_the_settings_they_are_of():
    assert flags_of(GAugOConfig(0.2, warmup=3)) == "--alpha 0.2 --warmup 3"
    cfg = GAugMConfig(0.1, variational=False, node=NodeConfig(lr=0.005))
    assert flags_of(cfg) == "--remove 0.1 --autoencoder gae --lr 0.005"


def test_published_settings_bring_the_classifier_of_the_authors(here):
    command = ["fit", "--data", "g.npz", "--paper-config", "air-usa", "--gnn", "gsage", "--epochs", "2"]
    assert main([*command, "--method", "original", "--hidden", "8", "--out", "paper"]) == 0
    plan = json.loads((here / "paper" / "config.json").read_text())["plan"]
    assert plan["classifier"] == {"hidden": 8, "compat": "gaug_dgl"}
    assert (plan["config"]["epochs"], plan["config"]["lr"]) == (2, 0.01)


def test_several_labels_per_node(here, data, capsys):
    np.save("many.npy", np.stack([data.y, 1 - data.y, data.y], axis=1))
    assert main(["convert", "edges.csv", "--features", "x.npy", "--labels", "many.npy", "--out", "many.npz"]) == 0
    flags = ["--method", "original", "--out", "many", "--hidden", "8", "--epochs", "20"]
    assert main(["fit", "--data", "many.npz", *flags, "--gnn", "cheb", "--layers", "1"]) == 0
    assert "8 features, 3 labels" in capsys.readouterr().out
    assert {row["predicted"] for row in table(here / "many" / "predictions.csv")} >= {"1", "0 2"}


def test_a_training_that_is_stopped_says_how_to_go_on(here, capsys, monkeypatch):
    from offprint.core.train import Interrupted
    from offprint.gaug import _command_training

    def stop(*arguments, **options):
        raise Interrupted("SIGINT received: stopped after step 1 of 2; start the same command again to go on")

    monkeypatch.setattr(_command_training, "fit_method", stop)
    assert main(["fit", "--data", "g.npz", "--method", "original", "--out", "stopped"]) == 1
    assert "start the same command again to go on" in capsys.readouterr().err
    assert main(["plot", "stopped"]) == 2
    assert "no seed of the run in stopped is finished" in capsys.readouterr().err


BAD = {
    "no command": ([], "see offprint-gaug --help"),
    "unknown flag": (["fit", "--data", "g.npz", "--out", "x", "--bogus", "1"], "bogus"),
    "unknown data": (["fit", "--data", "pubmed", "--out", "x"], "--data pubmed: neither one of cora, citeseer,"),
    "no data": (["fit", "--data", "none.npz", "--out", "x"], "--data none.npz: the file is not there"),
    "other data": (["fit", "--data", "other.npz", "--out", "x"], "other.npz has no array num_nodes, edges,"),
    "scale of a known set": (["fit", "--data", "karate", "--scale", "row", "--out", "x"], "--scale row is for files"),
    "alpha": (["fit", "--data", "g.npz", "--out", "x", "--alpha", "1.5"], "alpha must be at least 0 and at most 1"),
    "another method's flag": (
        ["fit", "--data", "g.npz", "--out", "x", "--method", "m", "--alpha", "0.5"],
        "--alpha 0.5 is a setting of o, not of m",
    ),
    "percent": (["fit", "--data", "g.npz", "--out", "x", "--method", "m", "--add", "57"], "but is 57.0 (0.57, not 57)"),
    "epochs": (["fit", "--data", "g.npz", "--out", "x", "--epochs", "0"], "epochs must be a whole number of at least"),
    "seeds": (["fit", "--data", "g.npz", "--out", "x", "--seeds", "0"], "--seeds 0: at least 1 is needed"),
    "hidden": (["fit", "--data", "g.npz", "--out", "x", "--hidden", "0"], "hidden=0; at least 1 is needed"),
    "paper": (["fit", "--data", "g.npz", "--out", "x", "--paper-config", "pubmed"], "there are cora, citeseer,"),
    "paper's classifiers": (
        ["fit", "--data", "g.npz", "--out", "x", "--paper-config", "cora", "--gnn", "gin"],
        "no gnn 'gin' in the published settings",
    ),
    "not published": (
        ["fit", "--data", "g.npz", "--out", "x", "--paper-config", "citeseer", "--gnn", "gat", "--method", "m"],
        "were not published; tune them",
    ),
    "compat": (
        ["fit", "--data", "g.npz", "--out", "x", "--gnn", "gin", "--compat", "gaug_dgl"],
        "--compat gaug_dgl: the authors' code has gcn, gsage, gat, jknet only",
    ),
    "folder of something else": (["fit", "--data", "g.npz", "--out", "."], ". is there and holds no run; choose"),
    "amount": (["modify", "--data", "g.npz", "--add", "50", "--out", "x.npz"], "add=50.0; fractions in [0, 1]"),
    "too many": (
        ["modify", "--data", "g.npz", "--add", "1770", "--units", "count", "--out", "x.npz"],
        "pairs without one: choose fewer",
    ),
    "format": (["modify", "--data", "g.npz", "--out", "x.csv"], "x.csv has an unknown format; .npz is needed"),
    "no folder": (["modify", "--data", "g.npz", "--out", "none/x.npz"], "the folder of none/x.npz is not there"),
    "methods": (["compare", "--data", "g.npz", "--methods", "m,n"], "'n' is unknown; there are original, dropedge,"),
    "flag of none": (
        ["compare", "--data", "g.npz", "--methods", "original,m", "--beta", "1"],
        "--beta 1.0 is a setting of o, not of original, m",
    ),
    "image": (["compare", "--data", "g.npz", "--plot", "x.gif"], "x.gif has an unknown format; .png or .pdf"),
    "trials": (["tune", "--data", "g.npz", "--trials", "0"], "at least one trial and one seed are needed"),
    "no run": (["plot", "nothing"], "nothing holds no run; fit --out nothing makes one"),
    "damaged run": (["plot", "damaged"], "config.json is not that of a run in format 1"),
    "no nodes": (["convert", "edges.csv", "--out", "x.npz"], "give either --nodes nodes.csv, or --features and"),
    "no edges": (["convert", "none.csv", "--nodes", "y.csv", "--out", "x.npz"], "none.csv is not there"),
    "columns": (
        ["convert", "y.csv", "--features", "x.npy", "--labels", "y.csv", "--out", "x.npz"],
        "y.csv has no column source, target; it has label, split",
    ),
    "rows": (
        ["convert", "edges.csv", "--features", "x.npy", "--labels", "short.csv", "--out", "x.npz"],
        "short.csv has 2 labels, x.npy 60 rows; each node needs one",
    ),
    "parts": (
        ["convert", "edges.csv", "--features", "x.npy", "--labels", "parts.csv", "--out", "x.npz"],
        "'valid' is no part of the split; train, val, test or nothing is needed",
    ),
    "decimal labels": (
        ["convert", "edges.csv", "--features", "x.npy", "--labels", "decimal.csv", "--out", "x.npz"],
        "labels must be whole numbers or texts",
    ),
    "pickles": (
        ["convert", "edges.csv", "--features", "objects.npy", "--labels", "y.csv", "--out", "x.npz"],
        "objects.npy is not a plain .npy array",
    ),
}


@pytest.fixture(scope="module")
def with_mistakes(place):
    np.savez(place / "other.npz", x=np.ones(3))
    np.save(place / "objects.npy", np.array([None]), allow_pickle=True)
    (place / "damaged").mkdir()
    (place / "damaged" / "config.json").write_text("{}")
    write(place / "short.csv", ["label"], [[0], [1]])
    write(place / "parts.csv", ["label", "split"], [[n % 2, "valid"] for n in range(60)])
    write(place / "decimal.csv", ["label"], [[0.5]] * 60)
    return place


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, with_mistakes, capsys, monkeypatch, unchecked_types):
    monkeypatch.chdir(with_mistakes)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-gaug: ")
    assert error.count("\n") == 1
    shutil.rmtree("x", ignore_errors=True)
