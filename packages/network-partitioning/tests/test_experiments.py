"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.stats import spearmanr

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.core.train import scan
from offprint.network_partitioning import data, experiments
from offprint.network_partitioning._hyper import split_hyper
from offprint.network_partitioning.experiments import _cifar, _images, _networks, _runs

CIFAR = {"data": "subset", "train": 60, "widths": (2, 2, 4), "epochs": 1, "batch_size": 20, "seeds": 1}
# Config, claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "toy-selection": (
        experiments.ToySelectionConfig(
            examples=60, test_examples=40, masks=(5, 15, 30), hidden=(4,), chunks=(0.5, 0.5), steps=3, seeds=2
        ),
        3,
        ["nll-matrix", "selection"],
        [],
    ),
    "toy-mask": (
        experiments.ToyMaskConfig(examples=60, hidden=(4,), chunks=(0.5, 0.5), steps=6, batch_size=20, seeds=2),
        2,
        ["keep-probabilities", "means"],
        [],
    ),
    "rings": (
        experiments.RingsConfig(
            examples=24, test_examples=20, hidden=(4,), chunks=(0.5, 0.5), steps=4, samples=2, seeds=2, failures=1
        ),
        7,
        ["accuracy", "planes", "ranges"],
        ["quadrants, a failure", "quadrants, how it is avoided"],  # four steps do not leave where they start
    ),
    "rotmnist": (
        experiments.RotmnistConfig(train=30, test=12, steps=3, batch_size=8, samples=2, seeds=1),
        4,
        ["accuracy", "nll-matrix", "ranges", "samples"],
        ["widest half-range"],
    ),
    "federated-rotmnist": (
        experiments.FederatedRotmnistConfig(
            train=60,
            test=12,
            clients=20,
            rounds=4,
            local_steps=1,
            hidden=(16,),
            samples=2,
            test_samples=2,
            ways=("FedAvg", "training loss", "partitioned"),
            evaluations=2,
        ),
        4,
        ["accuracy", "ranges"],
        ["uploaded numbers"],  # of 10 clients 7 send everything, 2 send 30 % and 1 sends 10 %
    ),
    "cifar10-affine": (
        experiments.Cifar10AffineConfig(**CIFAR, samples=2, burn_in=0, variants=("rotated",)),
        3,
        ["accuracy-rotated", "ranges-rotated", "samples-rotated"],
        [],
    ),
    "data-size": (
        experiments.DataSizeConfig(
            sizes=(30,),
            test=12,
            steps=2,
            batch_size=8,
            samples=2,
            test_samples=2,
            ways=("none", "partitioned"),
            seeds=1,
        ),
        2,
        ["accuracy", "rotation"],
        [],
    ),
    "validation-split": (
        experiments.ValidationSplitConfig(**CIFAR, splits=(0.8,), finetune=1, samples=2),
        1,
        ["accuracy"],
        [],
    ),
    "feature-extractor": (
        experiments.FeatureExtractorConfig(**CIFAR, depth=8, chunks=(0.4, 0.4, 0.2), split=(0.8, 0.2)),
        1,
        ["accuracy", "curves"],
        [],
    ),
}
NOT_QUICK = ("cifar10-affine", "data-size", "validation-split", "feature-extractor")


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Stand-ins for MNIST and CIFAR-10, where they are looked for."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar10-subset"
    folder.mkdir()
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    labels = np.arange(80) % 10
    pixels = rng.integers(0, 256, (80, 8, 8, 3), np.uint8)
    np.savez(
        folder / "cifar10_subset.npz",
        train_images=pixels[:60],
        train_labels=labels[:60],
        test_images=pixels[60:],
        test_labels=labels[60:],
    )
    np.savez(
        tmp_path / "digits.npz",
        x_train=pixels[:60, ..., 0],
        y_train=labels[:60],
        x_test=pixels[60:, ..., 0],
        y_test=labels[60:],
    )
    for name in ("rotmnist", "federated_rotmnist", "data_size"):  # in the package, these names are the experiments
        module = sys.modules[f"offprint.network_partitioning.experiments.{name}"]
        monkeypatch.setattr(module, "mnist", lambda: data.mnist(tmp_path / "digits.npz"))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
@pytest.mark.filterwarnings("ignore:the learned rotation range")
def test_experiment(name, tmp_path, images):
    config, count, figures, always = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    for beginning in always:
        assert [claim.holds for claim in claims if claim.claim.startswith(beginning)] == [True], beginning
    folder = tmp_path / "run" / "figures"
    assert sorted(path.stem for path in folder.glob("*.png")) == sorted(figures)
    assert all((folder / f"{figure}.png").stat().st_size > 3000 for figure in figures)
    assert all(len(run.figures[figure]) > 20 for figure in figures)
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", NOT_QUICK)
def test_what_is_too_much_for_the_quick_profile_says_so(name, tmp_path):
    with pytest.raises(Unavailable, match="add --profile paper, or --seeds 1"):
        list(by_name()[name](by_name()[name].quick, Run(tmp_path)))


def test_what_cannot_be_had_is_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    config = experiments.Cifar10AffineConfig(**CIFAR)
    with pytest.raises(Unavailable, match="set OFFPRINT_DATA to a folder with"):
        list(experiments.cifar10_affine(config, Run(tmp_path / "run")))


def test_claims_about_cifar(tmp_path, images, monkeypatch):
    """With the numbers of the trainings given: when each of the claims holds."""
    module = sys.modules["offprint.network_partitioning.experiments.cifar10_affine"]
    accuracy = {"none": 60.0, "Augerino": 75.0, "partitioned": 76.0}
    rotation = {"plain": 0.3, "rotated": 2.9}

    def trained(config, way, images, variant, seed, run):
        ranges = np.eye(6)[2] * rotation[variant]
        return module.Outcome(accuracy[way] + seed, ranges, np.arange(2), np.stack([ranges] * 2), None, None)

    def held():
        config = experiments.Cifar10AffineConfig(data="subset", train=60, seeds=2)
        return [claim.holds for claim in experiments.cifar10_affine(config, Run(tmp_path / "run"))]

    monkeypatch.setattr(module, "_train", trained)
    assert held() == [True] * 5
    accuracy["partitioned"] = 74.8
    assert held() == [False, True, True, False, True]
    rotation |= {"plain": 1.2, "rotated": 2.4}
    assert held() == [False, False, True, False, False]


def test_the_registry_reads_them_from_the_source():
    method = find_method("network-partitioning")
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


def test_a_trace_looks_at_the_start_and_after_equal_parts():
    def step(state, batch, key):
        return state + jax.random.uniform(key), {}

    key = jax.random.key(0)
    last, seen = _runs.trace(step, jnp.zeros(()), None, 12, key, lambda state: 2 * state, points=4)
    undisturbed, _ = scan(step, jnp.zeros(()), None, 12, key)
    assert last == undisturbed
    assert _runs.watched_steps(12, 4).tolist() == [0, 3, 6, 9, 12]
    assert seen[0] == 0
    assert seen[2] == 2 * scan(step, jnp.zeros(()), None, 6, key)[0]
    assert seen[-1] == 2 * last
    assert _runs.part_length(7, 5) == 1


def test_rank_correlation_is_spearmans():
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    np.testing.assert_allclose(_runs.rank_correlation(a, b), spearmanr(a, b).statistic)
    assert _runs.rank_correlation([1, 2, 3], [10, 20, 90]) == pytest.approx(1)


@pytest.mark.parametrize("depth", [8, 14])
def test_the_residual_network_begins_without_its_second_convolutions(depth):
    init, apply = _networks.functional(lambda rngs: _networks.FixupResNet(depth, 10, widths=(2, 3, 4), rngs=rngs))
    params = init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    np.testing.assert_array_equal(apply(params, x), 0)
    convolutions = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 4]
    assert len(convolutions) == depth - 1
    assert sum(not leaf.any() for leaf in convolutions) == (depth - 2) // 2
    with pytest.raises(ValueError, match="depth must be 6 n \\+ 2 with n of at least 1, but is 10"):
        _networks.FixupResNet(10, 10, rngs=nnx.Rngs(0))


def test_the_extractor_holds_thirteen_of_nineteen_convolutions():
    network = nnx.eval_shape(lambda: _networks.FixupResNet(20, 10, widths=(2, 2, 2), rngs=nnx.Rngs(0)))
    module = sys.modules["offprint.network_partitioning.experiments.feature_extractor"]
    _, params, hyper, _ = split_hyper(network, module._is_extractor)
    counts = [sum(leaf.ndim == 4 for leaf in jax.tree.leaves(part)) for part in (hyper, params)]
    assert counts == [13, 6]


def test_the_scalars_of_fixup_learn_at_a_tenth():
    init, _ = _networks.functional(lambda rngs: _networks.FixupResNet(8, 10, widths=(2, 2, 2), rngs=rngs))
    params = init(jax.random.key(0))
    tx = _cifar.sgd(0.1, 100)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["stem"]["kernel"][...], -0.1)
    np.testing.assert_allclose(updates["out"]["bias"][...], -0.1)
    np.testing.assert_allclose(updates["biases"][...], -0.01)
    np.testing.assert_allclose(updates["stages"][0][0]["scale"][...], -0.01)


def test_a_training_that_was_finished_is_not_repeated(tmp_path):
    rng = np.random.default_rng(0)
    pixels, labels = rng.normal(size=(24, 8, 8, 1)).astype(np.float32), np.arange(24, dtype=np.int32) % 3
    images = data.ImageData("noise", pixels, labels, pixels, labels, 3)
    recipe = _images.Recipe(
        steps=8, batch_size=6, tx=optax.adam(0.1), hyper_tx=optax.adam(0.1), samples=2, test_samples=2, looks=4
    )
    network = _networks.functional(lambda rngs: _networks.MLP((64, 4, 3), nnx.relu, rngs=rngs))
    first, again = (
        _images.train("partitioned", *network, images, recipe, jax.random.key(0), checkpoint=tmp_path / "run")
        for _ in range(2)
    )
    assert first.steps.tolist() == [0, 2, 4, 6, 8]
    assert np.abs(first.half_ranges - first.ranges[0]).min() > 1e-3
    assert again.steps.tolist() == [0, 8]
    np.testing.assert_array_equal(again.half_ranges, first.half_ranges)
    np.testing.assert_array_equal(again.matrix, first.matrix)
    assert again.accuracy == first.accuracy
