"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
import sys

import numpy as np
import pytest

from offprint.core.data.images import image_data
from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.sparsity import experiments
from offprint.sparsity.experiments._lenet import mnist
from offprint.sparsity.experiments._resnet50 import resnet50_shapes

# Config, number of claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "criteria": (
        experiments.CriteriaConfig(hidden=(6, 5), epochs=1, percents=(80,), gradients=20, seeds=1, quadratic=8),
        7,
        ["accuracy", "overlap", "scores"],
        ["Σ w dL/dw", "SynFlow's total", "sum of SNIP's scores", "OBS on a quadratic", "loss after OBD"],
    ),
    "l0": (
        experiments.L0Config(epochs=1, batch_size=20, train=60, hidden=(8, 6)),
        3,
        ["training", "units"],
        [],
    ),
    "lenet-table": (
        experiments.LenetTableConfig(
            train=200, test=40, hidden=(10, 8), epochs=2, fine_tuning=1, seeds=1, at_init=True, synflow_rounds=2
        ),
        5,
        ["table-98", "tickets-98"],
        [],
    ),
    "lottery": (
        experiments.LotteryConfig(epochs=1, batch_size=500, rounds=2, every=1, rate=0.5, seeds=1),
        4,
        ["hill"],
        [],
    ),
    "published": (
        experiments.PublishedConfig(),
        6,
        ["layers", "papers", "resnet50", "training-flops"],
        ["best magnitude run at", "best random run at", "best magnitude run minus", "best L0", "RigL"],
    ),
    "rn50-budgets": (
        experiments.Rn50BudgetsConfig(points=3),
        10,
        ["densities", "multiply-adds"],
        [
            "weights",
            "multiply-adds at",
            "megabytes as bitmap",
            "training FLOPs of RigL",
            "largest difference of a layer",
        ],
    ),
    "schedules": (
        experiments.SchedulesConfig(),
        4,
        ["schedules"],
        ["sparsity in force at the end", "share of the pruning", "RigL's drop fraction", "percent of LeNet"],
    ),
    "sparse-vd": (
        experiments.SparseVdConfig(epochs=1, batch_size=20, train=60, hidden=(8, 6)),
        2,
        ["layers", "training"],
        [],
    ),
    "storage": (
        experiments.StorageConfig(rows=64, columns=64, points=8),
        6,
        ["bits"],
        ["percent of storage"],
    ),
    "woodfisher-mnist": (
        experiments.WoodfisherMnistConfig(seeds=1, gradients=20, diagonal=40, steps=2, recomputed=1),
        12,
        ["accuracy"],
        ["megabytes that the inverse"],
    ),
}
NOT_QUICK = ("sparse-vd", "l0")


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.fixture
def stand_ins(monkeypatch):
    """Noise in place of MNIST and of the trained network."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (340, 28, 28), np.uint8)
    labels = np.arange(340) % 10
    images = image_data("mnist", pixels[:60], labels[:60], pixels[60:], labels[60:], classes=10)
    sizes = {"fc1": (784, 40), "fc2": (40, 20), "fc3": (20, 10)}
    network = {name: {"kernel": rng.normal(size=shape).astype(np.float32)} for name, shape in sizes.items()}
    from offprint.sparsity import data

    monkeypatch.setattr(data, "mnist", lambda: images)
    monkeypatch.setattr(data, "mlpnet", lambda: network)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
@pytest.mark.filterwarnings("ignore:nothing is kept of")
def test_experiment(name, tmp_path, stand_ins):
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
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NOT_QUICK)
def test_what_is_too_much_for_the_quick_profile_says_so(name, tmp_path):
    with pytest.raises(Unavailable, match="takes minutes: add --profile paper, or --epochs 30"):
        list(by_name()[name](by_name()[name].quick, Run(tmp_path)))


def test_what_cannot_be_had_is_unavailable(tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "mnist.npz").write_bytes(b"something else")
    (tmp_path / "woodfisher-mlpnet").mkdir()
    (tmp_path / "woodfisher-mlpnet" / "mlpnet_784_40_20_10.npz").write_bytes(b"something else")
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    with pytest.raises(Unavailable, match=r"MNIST cannot be had: .*is not the file that data set 'mnist' needs"):
        mnist()
    with pytest.raises(Unavailable, match=r"the network or MNIST cannot be had: .* does not hold the weights"):
        list(experiments.woodfisher_mnist(experiments.WoodfisherMnistConfig(), Run(tmp_path / "run")))


def test_claims_about_the_table():
    """With the accuracies given: when each of the orderings holds."""
    module = sys.modules["offprint.sparsity.experiments.lenet_table"]
    table = {name: [mean] for name, (mean, _) in module.REFERENCE[98].items()}

    def held(**changes):
        changed = table | {name.replace("_", " "): [value] for name, value in changes.items()}
        return [claim.holds for claim in module._order_claims(changed, 98)]

    assert held() == [True] * 5
    assert list(module._order_claims(table, 90)) == []
    assert held(GMP=96.0) == [False, True, True, True, True]
    anew = {"ticket, new values": [96.2]}
    assert [claim.holds for claim in module._order_claims(table | anew, 98)] == [True, False, False, True, True]
    assert held(SET=93.1) == [True, True, True, False, True]
    assert held(static_uniform=84.0) == [True, True, True, True, False]
    near = list(module._reference_claims(table, module.REFERENCE[98], 98))
    assert [claim.holds for claim in near] == [True] * 3
    assert sum(len(claim.here) for claim in near) == len(table) == 13
    assert list(module._reference_claims(table, {}, 98)) == []
    far = module._reference_claims(table | {"SET": [95.4]}, module.REFERENCE[98], 98)
    assert [claim.holds for claim in far] == [True, True, False]
    assert module._distance([96.0, 97.0], (96.5, 0.1)) == 0
    assert module._distance([95.0], (96.0, 0.1)) == pytest.approx(1 / 0.6)


def test_the_layers_of_resnet50():
    kernels, positions = resnet50_shapes()
    assert len(kernels) == len(positions) == 54
    assert kernels["layer2.0.downsample"]["kernel"].shape == (1, 1, 256, 512)
    assert (positions["conv1"], positions["layer2.0.conv1"], positions["layer2.0.conv2"]) == (112**2, 56**2, 28**2)


def test_shapes_of_resnet50_are_those_of_the_golden_file(golden):
    reference = golden("budgets")
    kernels, positions = resnet50_shapes()
    # The file has them in the order of another program.
    ours = [
        (*(1,) * (4 - len(leaf["kernel"].shape)), *leaf["kernel"].shape, positions[name])
        for name, leaf in kernels.items()
    ]
    theirs = np.column_stack([reference["rn50_shape"], reference["rn50_out_hw"].prod(1)])
    assert sorted(ours) == sorted(map(tuple, theirs.tolist()))


def test_the_registry_reads_them_from_the_source():
    method = find_method("sparsity")
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
