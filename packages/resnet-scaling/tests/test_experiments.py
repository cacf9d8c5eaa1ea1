"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from offprint.core.experiments import Experiment, Run
from offprint.core.experiments._registry import find_method, load
from offprint.resnet_scaling import data, experiments, train_sweep
from offprint.resnet_scaling._classification_study import COLUMNS
from offprint.resnet_scaling.experiments import _sweeps
from offprint.resnet_scaling.experiments.conv import CONV_STAGES, _network, _operator_norm

DEPTHS = (5, 6, 7, 8)
"""Networks of these depths are padded to 8 layers in this test, and share one program."""

# Config, number of claims, figures.
SWEEP_FIGURES = ["hidden-states", "losses", "norms"]
SMALL = {
    "tanh": (experiments.TanhConfig(DEPTHS, seeds=2, epochs=2), 5, SWEEP_FIGURES),
    "relu": (experiments.ReluConfig(DEPTHS, seeds=2, epochs=2), 4, ["delta", *SWEEP_FIGURES]),
    "mnist-tanh": (experiments.MnistConfig(DEPTHS, seeds=1, images=64, epochs=1), 2, SWEEP_FIGURES),
    "mnist-relu": (experiments.MnistConfig(DEPTHS, seeds=1, images=64, epochs=1), 1, SWEEP_FIGURES),
    "classification": (experiments.ClassificationConfig(draws=2, depths=(8, 16, 32, 64)), 6, ["classification"]),
    "denoised": (
        experiments.DenoisedConfig(DEPTHS, DEPTHS, seeds=2, epochs=2, n_times=4),
        2,
        ["losses-relu", "losses-tanh", "trend-relu", "trend-tanh"],
    ),
    "shuffle": (experiments.ShuffleConfig(depths=DEPTHS, seeds=2, epochs=2), 4, ["distinct"]),
    "limits": (
        experiments.LimitsConfig(
            ode_depths=(16, 32, 64),
            sde_depths=(16, 64, 1024),
            sde_steps=1024,
            rate_paths=10,
            paths=10,
            relu_depths=(16, 64),
        ),
        12,
        ["ode", "sde"],
    ),
    "phase": (experiments.PhaseConfig(betas=(0.0, 1.3), width=4, repeats=1, iid_repeats=4), 4, ["phase"]),
    "depth-mup": (experiments.DepthMuPConfig(depths=(2, 4), log2_rates=(-5, -3), steps=8), 3, ["transfer"]),
    "conv": (experiments.ConvConfig(depths=(5, 6, 7), width=2), 5, ["norms-conv1", "norms-conv2"]),
}
# At a reduced size these have to hold all the same.
ALWAYS = {
    "shuffle": ["distinct batches after"],
    "limits": ["rate of the ODE limit: tanh, α = 1", "rate of the ODE limit: ReLU"],
    "phase": ["share of β with the right sign"],
    "conv": ["relative error of the largest singular value"],
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


@pytest.fixture(autouse=True)
def small_data(tmp_path, monkeypatch):
    """Random images in place of MNIST and CIFAR-10, tiny stages, and padded sweeps."""
    rng = np.random.default_rng(0)
    digits = {"x_train": (64, 28, 28), "x_test": (2000, 28, 28)}
    arrays = {name: rng.integers(0, 256, shape, np.uint8) for name, shape in digits.items()}
    labels = {f"y_{split}": rng.integers(0, 10, len(arrays[f"x_{split}"]), np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **arrays, **labels)
    images = {f"{split}_images": rng.integers(0, 256, (8, 32, 32, 3), np.uint8) for split in ("train", "test")}
    classes = {f"{split}_labels": rng.integers(0, 10, 8, np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "cifar.npz", **images, **classes)
    monkeypatch.setattr(data, "mnist25", partial(data.mnist25, path=tmp_path / "mnist.npz"))
    monkeypatch.setattr(data, "cifar10", lambda path: _cifar10(tmp_path / "cifar.npz"))
    for name in ("trend and noise", "iid", "sparse"):  # every kind of sequence is a program for every depth
        monkeypatch.delitem(COLUMNS, name)
    for depth, stages in ((4, (1, 1, 1, 1)), (5, (2, 1, 1, 1)), (6, (2, 2, 1, 1)), (7, (2, 2, 2, 1))):
        monkeypatch.setitem(CONV_STAGES, depth, stages)
    monkeypatch.setattr(_sweeps, "train_sweep", _padded_sweep)


_cifar10 = data.cifar10


def _padded_sweep(config, *arguments, **options):
    return train_sweep(replace(config, padded=True), *arguments, **options)


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.mark.filterwarnings("ignore")  # of networks that are too small to be anything
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment_runs(name, tmp_path):
    config, count, figures = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    for beginning in ALWAYS.get(name, []):
        matching = [claim for claim in claims if claim.claim.startswith(beginning)]
        assert matching, beginning
        assert all(claim.holds for claim in matching), [claim.as_dict() for claim in matching]
    assert sorted(path.stem for path in (run.folder / "figures").glob("*.png")) == sorted(figures)
    assert all((run.folder / "figures" / f"{figure}.png").stat().st_size > 5000 for figure in figures)
    assert all(len(run.figures[figure]) > 20 for figure in figures)
    assert [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def test_the_registry_reads_them_from_the_source():
    method = find_method("resnet-scaling")
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


def test_paper_scale():
    """The largest depths are the paper's."""
    paper = {name: experiment.paper for name, experiment in by_name().items()}
    assert paper["tanh"].depths[-1] == 10_321
    assert paper["relu"].depths[-1] == 9100
    assert set(paper["conv"].depths) <= set(CONV_STAGES)


def test_a_sweep_is_trained_once(tmp_path):
    """Experiments of one process that look at the same networks share them."""
    settings = replace(_sweeps.PUBLISHED, num_epochs=2)
    first = _sweeps.sweep_of(Run(tmp_path / "a"), settings, _sweeps.synthetic, DEPTHS, 2)
    again = _sweeps.sweep_of(Run(tmp_path / "b"), settings, _sweeps.synthetic, DEPTHS, 2)
    assert again is first
    assert not (tmp_path / "b" / "checkpoints").exists()
    assert (tmp_path / "b" / "metrics.jsonl").exists()


def test_training_of_a_convolutional_network(tmp_path):
    """The path of the paper profile: a network is trained, logged, and taken from its checkpoint the second time."""
    config = experiments.ConvConfig(width=1, epochs=1, batch_size=4, learning_rate=0.01)
    drawn = _network(replace(config, epochs=0), 4, Run(tmp_path / "run"))
    trained = _network(config, 4, Run(tmp_path / "run"))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(row["history"]["loss"])
    assert 0 <= row["test_accuracy"] <= 1
    assert not np.array_equal(trained.stages[3].first_conv1[...], drawn.stages[3].first_conv1[...])
    assert any((tmp_path / "run" / "checkpoints" / "depth-4").iterdir())


def test_norm_of_a_convolution_against_its_matrix():
    """Power iteration finds the largest singular value of the dense matrix of the circular convolution."""
    kernel, grid = jax.random.normal(jax.random.key(0), (3, 2, 3, 3)), (4, 4)

    def forward(x):
        wrapped = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="wrap")
        return jax.lax.conv(wrapped, kernel, (1, 1), "VALID")

    columns = [np.asarray(forward(np.eye(32)[i].reshape(1, 2, *grid))).ravel() for i in range(32)]
    largest = np.linalg.svd(np.stack(columns), compute_uv=False)[0]
    np.testing.assert_allclose(_operator_norm(kernel, grid), largest, rtol=1e-4)
