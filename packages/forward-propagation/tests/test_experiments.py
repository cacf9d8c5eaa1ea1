"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json

import numpy as np
import pytest

from offprint.core.data import DataError
from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.forward_propagation import experiments, recipe
from offprint.forward_propagation.data import classification_data
from offprint.forward_propagation.experiments import mnist as mnist_experiment
from offprint.forward_propagation.experiments._runs import keys, near_step
from offprint.forward_propagation.experiments.mnist import _settings
from offprint.forward_propagation.experiments.yin_yang import _evaluations

# Config, number of claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "xor": (experiments.XorConfig(seeds=3, epochs=2), 2, ["activity", "convergence", "loss"], []),
    "iris": (
        experiments.IrisConfig(seeds=2, official_epochs=1, tuned_epochs=1),
        3,
        ["accuracy", "first-spikes-iris", "first-spikes-iris-tuned", "loss"],
        [],
    ),
    "yin-yang": (
        experiments.YinYangConfig(train=150, tuned_seeds=1, tuned_epochs=1, official_epochs=1),
        2,
        ["activity", "classes", "curves", "curves-official", "first-spikes", "latency"],
        [],
    ),
    "gradient": (
        experiments.GradientConfig(networks=8, directions=1, batch=5, repeats=1),
        4,
        ["central-differences", "difference"],
        ["exact gradient of", "hidden neurons fire once"],
    ),
    "surrogates": (
        experiments.SurrogatesConfig(
            train=150, epochs=1, hidden=6, grid=10, official=("ste count", "ste rate"), matched=("ste",), points=1
        ),
        4,
        ["accuracy-matched", "accuracy-official", "curves-matched", "curves-official", "similarity"],
        [],
    ),
    "mnist": (
        experiments.MnistConfig(train=128, test=20, epochs=1, hidden=4, seeds=1),
        1,
        ["curves", "first-spikes"],
        [],
    ),
    "recurrent": (
        experiments.RecurrentConfig(neurons=6, directions=1),
        5,
        ["activity", "central-differences"],
        ["spikes of", "largest |V", "gradient by", "linear-time", "gradient against"],
    ),
    "parameters": (
        experiments.ParametersConfig(seeds=2, epochs=1),
        6,
        ["distributions", "loss-fixed-weights"],
        ["one neuron"],
    ),
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


@pytest.fixture
def digits(monkeypatch):
    """Stand-in for MNIST."""
    rng = np.random.default_rng(0)
    train, test = ((rng.random((n, 784)), rng.integers(0, 10, n)) for n in (128, 20))
    data = classification_data("mnist", train, test, classes=10)
    monkeypatch.setattr(inspect.getmodule(mnist_experiment.function), "images", lambda: data)


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.mark.filterwarnings("ignore:in most of the samples")
@pytest.mark.filterwarnings("ignore:no output neuron fires")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path, digits):
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
    def missing():
        raise DataError("mnist.npz is nowhere")

    monkeypatch.setattr(inspect.getmodule(mnist_experiment.function), "images", missing)
    with pytest.raises(Unavailable, match=r"mnist\.npz is nowhere"):
        list(experiments.mnist(experiments.mnist.paper, Run(tmp_path / "mnist")))


def test_mnist_is_left_out_of_the_quick_profile(tmp_path):
    with pytest.raises(Unavailable, match="--profile paper"):
        list(experiments.mnist(experiments.mnist.quick, Run(tmp_path / "mnist")))


def test_the_registry_reads_them_from_the_source():
    method = find_method("forward-propagation")
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


def test_seeds_do_not_depend_on_how_many_there_are():
    assert (keys(5)[1:3] == keys(2, offset=1)).all()


def test_the_loss_around_a_step_is_the_mean_of_an_epoch():
    assert near_step(np.arange(20.0)[None], 10, 5) == [10.0]
    assert near_step(np.arange(20.0)[None], 1, 6) == [2.5]


def test_evaluations_divide_the_epochs():
    for epochs, number in ((40, 10), (30, 10), (300, 10), (7, 7), (13, 1)):
        assert _evaluations(recipe("yin-yang", epochs=epochs)) == number


def test_a_smaller_network_for_mnist_gets_as_much_input():
    paper = _settings(experiments.mnist.paper)
    small = _settings(experiments.MnistConfig(hidden=35))
    assert paper.init == recipe("mnist").init
    assert np.isclose(35 * small.init[1][0], 350 * paper.init[1][0])
    assert np.isclose(35 * small.init[1][1] ** 2, 350 * paper.init[1][1] ** 2)
