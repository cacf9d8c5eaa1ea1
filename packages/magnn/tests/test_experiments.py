"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json

import jax
import numpy as np
import pytest
from flax import nnx

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.magnn import TrainConfig, baselines, experiments, fit, split_ratio
from offprint.magnn.data import markov_sessions, markov_transition
from offprint.magnn.experiments._compare import TestCurve, ranked
from offprint.magnn.experiments.ablation import VARIANTS
from offprint.magnn.experiments.learnability import chain_known
from offprint.magnn.experiments.movielens import FILMS, memory_cosines

TINY = {"epochs": 1, "batch_size": 4096, "seeds": 1}
# Config, number of claims, figures, rows that are logged.
SMALL = {
    "learnability": (experiments.LearnabilityConfig(**TINY, users=40, items=80, d=4), 2, ["curves", "metrics"], 6),
    "movielens": (
        experiments.MovieLensConfig(**TINY, d=4, h=2, m=3, max_long=6),
        2,
        ["curves", "gate", "history", "memory", "metrics"],
        5,
    ),
    "ablation": (
        experiments.AblationConfig(**TINY, variants=("P", "P+S+H, concatenated", "MA-GNN"), d=4),
        2,
        ["bars", "curves"],
        7,
    ),
    "sensitivity": (experiments.SensitivityConfig(**TINY, h=(2, 3), m=(3,), d=(4,)), 1, ["sizes"], 3),
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.fixture
def films(tmp_path, monkeypatch):
    """A stand-in for MovieLens-1M in a folder of the user's own."""
    sequences = markov_sessions(0, 40, 80)
    ids = np.concatenate([list(FILMS.values()), np.arange(2000, 2076)])
    folder = tmp_path / "data" / "movielens-1m"
    folder.mkdir(parents=True)
    np.savez(
        folder / "movielens-1m.npz",
        indptr=sequences.indptr,
        items=sequences.items,
        item_original_id=ids,
        user_original_id=np.arange(1, 41),
    )
    monkeypatch.setenv("OFFPRINT_DATA", str(folder.parent))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path, films):
    config, count, figures, logged = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    folder = tmp_path / "run" / "figures"
    assert sorted(path.stem for path in folder.glob("*.png")) == figures
    assert all((folder / f"{figure}.png").stat().st_size > 3000 for figure in figures)
    assert all(len(run.figures[figure]) > 15 for figure in figures)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == logged


def test_claims_about_a_trained_model_are_made_at_the_full_length_only(films, tmp_path):
    config = experiments.MovieLensConfig(epochs=20, batch_size=4096, d=4, h=2, m=3, max_long=6, test_every=20)
    claims = {claim.claim: claim for claim in experiments.movielens(config, Run(tmp_path / "run"))}
    assert len(claims) == 6
    (cosines,) = (claim for text, claim in claims.items() if "Three Colors" in text)
    assert cosines.holds == (cosines.here["trilogy"] > cosines.here["Die Hard"])


def test_the_cosines_of_memory_patterns():
    weights = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    among, to_last = memory_cosines(weights)
    assert among == pytest.approx(1 / 3)
    assert to_last == pytest.approx(1 / 3)


def test_who_knows_the_chain_ranks_best():
    split = split_ratio(markov_sessions(0, 200, 100, noise=0.0, branching=1))
    without_noise = chain_known(split, markov_transition(0, 100, noise=0.0, branching=1))
    assert without_noise.recall[10] > 0.99
    split = split_ratio(markov_sessions(0, 200, 100))
    limit = chain_known(split, markov_transition(0, 100))
    assert limit.recall[10] > 3 * ranked(baselines.Popularity(split.train_val), split).recall[10]


def test_test_metrics_on_the_way_survive_an_interruption(tmp_path):
    split = split_ratio(markov_sessions(0, 40, 80))
    config = TrainConfig(epochs=2, batch_size=4096, eval_every=1, train_on="train_val", select=None)

    class PowerCutError(Exception):
        pass

    def cut(event):
        if event.step == 2:
            raise PowerCutError

    def train(checkpoint, *callbacks):
        curve = TestCurve(split, config.epochs, 1)
        model = baselines.BPRMF(40, 80, 4, rngs=nnx.Rngs(0))
        key = jax.random.key(0)
        fit(model, split, config, key, checkpoint=checkpoint, progress=False, callbacks=[curve, *callbacks])
        return curve.rows

    with pytest.raises(PowerCutError):
        train(tmp_path / "cut", cut)
    whole = train(None)
    assert list(whole) == ["1", "2"]
    assert train(tmp_path / "cut") == whole


def test_settings_that_the_claims_cannot_do_without(films, tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(ValueError, match="models must have BPR-MF"):
        list(experiments.movielens(experiments.MovieLensConfig(models=("MA-GNN",)), run))
    with pytest.raises(ValueError, match="models Caser are unknown; there are BPR-MF, HGN"):
        list(experiments.movielens(experiments.MovieLensConfig(models=("BPR-MF", "MA-GNN", "Caser")), run))
    with pytest.raises(ValueError, match="variants must have MA-GNN"):
        list(experiments.ablation(experiments.AblationConfig(variants=("P",)), run))
    with pytest.raises(ValueError, match="variants must have no long-term, no memory"):
        list(experiments.ablation(experiments.AblationConfig("movielens", ("P", "MA-GNN")), run))
    with pytest.raises(ValueError, match=r"variants X are unknown; there are P, P\+S"):
        list(experiments.ablation(experiments.AblationConfig(variants=("X",)), run))


def test_the_paper_profiles_have_everything():
    assert set(experiments.ablation.paper.variants) == set(VARIANTS)
    assert len(experiments.movielens.paper.models) == 6


def test_films_that_are_not_here_are_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match="`offprint data fetch movielens-1m` shows GroupLens' terms"):
        list(experiments.movielens(experiments.MovieLensConfig(), Run(tmp_path / "movielens")))
    folder = tmp_path / "movielens-1m"
    folder.mkdir()
    (folder / "movielens-1m.npz").write_bytes(b"nothing")
    with pytest.raises(Unavailable, match="MovieLens-1M cannot be read"):
        list(experiments.ablation(experiments.ablation.paper, Run(tmp_path / "ablation")))


def test_the_registry_reads_them_from_the_source():
    method = find_method("magnn")
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
