"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
from dataclasses import replace

import numpy as np
import pytest

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.gaug import Graph, experiments, homophily
from offprint.gaug.data import sbm
from offprint.gaug.experiments import _runs
from offprint.gaug.experiments._grid import changed, random_scores
from offprint.gaug.experiments._table import REPORTED, reported_mean
from offprint.gaug.experiments.sbm import ideal
from offprint.gaug.experiments.table import _claims

# Config, number of claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "sampling": (
        experiments.SamplingConfig(num_nodes=60, blocks=(16,)),
        7,
        ["frequencies"],
        ["samples that are symmetric", "pairs in which", "relative difference", "largest difference of the"],
    ),
    "sbm": (
        experiments.SBMConfig(graphs=1, adds=(0.0, 0.5), removes=(0.0,), edge_epochs=2, epochs=2, draws=2, seeds=1),
        6,
        ["f1", "karate"],
        ["ideal graph: largest distance", "ideal graph: share"],
    ),
    "original": (experiments.OriginalConfig(epochs=2, seeds=1), 2, ["f1"], []),
    "gaug-o": (
        experiments.JointConfig(epochs=2, original_epochs=2, pretraining=0.02, seeds=1),
        2,
        ["curves-cora-gcn", "f1-cora"],
        [],
    ),
    "gaug-m": (
        experiments.ModifiedConfig(seeds=1, edge_epochs=2, epochs=2, adds=(0.1,), removes=(0.1,)),
        5,
        ["air-usa", "air-usa-degrees", "air-usa-map", "cora", "cora-map", "cora-scores"],
        [],
    ),
    "table": (experiments.TableConfig(datasets=("cora",), methods=("original",), seeds=1), 1, ["f1-cora"], []),
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


@pytest.fixture(scope="module")
def small_data():
    """Stand-ins for the published data sets."""
    data = sbm(0, num_nodes=40, p_in=0.3, p_out=0.05, num_features=8, signal=1.0)
    return {name: replace(data, name=name) for name in ("cora", "air-usa")}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path, small_data, monkeypatch):
    for dataset, data in small_data.items():
        monkeypatch.setitem(_runs._LOADERS, dataset, lambda data=data: data)
    config, count, figures, always = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    for beginning in always:
        verdicts = [claim.holds for claim in claims if claim.claim.startswith(beginning)]
        assert verdicts, beginning
        assert all(verdicts), beginning
    folder = tmp_path / "run" / "figures"
    assert sorted(path.stem for path in folder.glob("*.png")) == figures
    assert all((folder / f"{figure}.png").stat().st_size > 3000 for figure in figures)
    assert all(len(run.figures[figure]) > 5 for figure in figures)
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_data_that_are_not_there_are_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    for experiment in (experiments.original, experiments.gaug_o, experiments.gaug_m):
        with pytest.raises(Unavailable, match=r"put .*\.npz into the folder that OFFPRINT_DATA names"):
            list(experiment(experiment.quick, Run(tmp_path / experiment.name)))


def test_the_registry_reads_them_from_the_source():
    method = find_method("gaug")
    assert not method.problem
    listed = {listing.name: listing for listing in method.experiments}
    assert set(listed) == set(SMALL)
    for name, experiment in load(method).items():
        assert experiment.summary == listed[name].summary
        assert experiment.summary.endswith(".")


@pytest.mark.parametrize("name", SMALL)
def test_profiles_and_documented_fields(name):
    experiment = by_name()[name]
    assert type(experiment.paper) is type(experiment.quick)
    (node,) = ast.parse(inspect.getsource(type(experiment.quick))).body
    kinds = [type(entry) for entry in node.body[1:]]
    assert kinds == [ast.AnnAssign, ast.Expr] * (len(kinds) // 2)


def test_a_changed_graph_is_padded_without_other_edges(small_data):
    data = small_data["cora"]
    scores = random_scores(40, 0)
    np.testing.assert_array_equal(scores, scores.T)
    plain, padded = (changed(data, scores, 0.2, 0.4, most=most).graph for most in (None, 2))
    np.testing.assert_array_equal(plain.edges(), padded.edges())
    assert len(padded.senders) == 4 * data.graph.num_edges
    assert plain.num_edges == data.graph.num_edges + int(0.4 * data.graph.num_edges) - int(0.2 * data.graph.num_edges)


def test_the_ideal_graph_joins_the_nodes_of_one_class_alone(small_data):
    data = small_data["cora"]
    graph = ideal(data)
    assert isinstance(graph, Graph)
    assert graph.num_edges == 2 * (20 * 19 // 2)
    assert float(homophily(graph, data.y)) == 1


def test_the_reported_table_has_every_cell():
    assert len(REPORTED) == 5 * 4 * 4
    assert reported_mean("air-usa", "jknet", "o") == 60.4
    assert all(30 < reported_mean(*cell) < 90 for cell in REPORTED)


def test_the_claims_of_the_table():
    found = {"original": [61.0], "dropedge": [61.2], "m": [67.0], "o": [62.0]}
    claims = list(_claims("flickr", "gcn", found))
    assert [claim.holds for claim in claims] == [True] * 5
    assert (claims[3].paper, claims[3].here) == (7.0, 6.0)  # the gain of GAug-M, whose score itself is not claimed
    worse = list(_claims("flickr", "gcn", found | {"m": [65.0], "o": [61.1]}))
    assert [claim.holds for claim in worse] == [True, True, True, False, False]
    assert len(list(_claims("flickr", "gat", found))) == 3
