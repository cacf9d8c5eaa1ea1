"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json

import numpy as np
import pytest

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.moex import experiments

TINY = {"train": 40, "widths": (4, 4, 4), "epochs": 2, "batch_size": 20, "seeds": 1}
# Config, number of claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "reduced": (
        experiments.ReducedConfig(**TINY, test=20, data="images.npz"),
        4,
        ["curves", "exchanged"],
        [],
    ),
    "digits": (
        experiments.DigitsConfig(**TINY, lams=(0.5,), ps=(1.0,)),
        3,
        ["curves", "grid"],
        ["largest difference of logits"],
    ),
    "norms": (experiments.NormsConfig(**TINY, norms=("pono", "ln")), 3, ["norms"], []),
    "cutmix": (
        experiments.CutMixConfig(**TINY, batches=20),
        3,
        ["curves"],
        ["largest difference from the three-term loss", "cases met"],
    ),
    "pointcloud": (
        experiments.PointCloudConfig(
            train=32, test=12, points=16, width=1 / 32, neighbours=4, epochs=2, learning_rate=1e-3
        ),
        2,
        ["curves"],
        [],
    ),
    "table1": (experiments.Table1Config(networks=("wrn-28-10",)), 1, [], ["parameters of wrn-28-10"]),
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """A stand-in for CIFAR-10 in the working directory."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    pixels = rng.integers(0, 256, (60, 8, 8, 3), np.uint8)
    monkeypatch.chdir(tmp_path)
    np.savez(
        "images.npz",
        train_images=pixels[:40],
        train_labels=labels[:40],
        test_images=pixels[40:],
        test_labels=labels[40:],
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path, images):
    config, count, figures, always = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    for beginning in always:
        assert [claim.holds for claim in claims if claim.claim.startswith(beginning)] == [True], beginning
    folder = tmp_path / "run" / "figures"
    assert sorted(path.stem for path in folder.glob("*.png")) == figures
    assert all((folder / f"{figure}.png").stat().st_size > 3000 for figure in figures)
    assert all(len(run.figures[figure]) > 20 for figure in figures)
    if name != "table1":
        rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert rows


def test_what_cannot_be_fetched_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match="offprint data fetch cifar10"):
        list(experiments.reduced(experiments.ReducedConfig(), Run(tmp_path / "reduced")))
    with pytest.raises(Unavailable, match="ModelNet may not be handed on; 'ModelNet40' is not there"):
        list(experiments.pointcloud(experiments.pointcloud.paper, Run(tmp_path / "pointcloud")))


def test_the_registry_reads_them_from_the_source():
    method = find_method("moex")
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
