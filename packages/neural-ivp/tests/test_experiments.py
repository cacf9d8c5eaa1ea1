"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json

import jax
import numpy as np
import pytest
from flax import nnx

from offprint.core.experiments import Experiment, Run
from offprint.core.experiments._registry import find_method, load
from offprint.neural_ivp import experiments
from offprint.neural_ivp.experiments.embedding import PlainMLP, plain_width
from offprint.neural_ivp.experiments.restarts import RestartsConfig

TINY = {"sigma": 0.5, "width": 3, "n_freq": 1, "points": 128, "fit_steps": 2, "mu": 1e-3, "rtol": 0.3}
SHORT = {**TINY, "times": (0.0, 0.01)}

# Config, number of claims, figures.
SMALL = {
    "advection": (
        experiments.AdvectionConfig(**SHORT),
        3,
        ["errors", "history", "slices"],
    ),
    "heat": (experiments.SolveConfig(**SHORT), 1, ["errors", "history", "slices"]),
    "wave2d": (experiments.SolveConfig(**SHORT), 2, ["energy", "errors", "history", "slices"]),
    "wave3d": (experiments.SolveConfig(**SHORT), 2, ["energy", "errors", "history", "slices"]),
    # a network too small even to begin: the run ends at once, and has no history
    "vlasov": (experiments.SolveConfig(**SHORT), 2, ["errors", "slices"]),
    "fokker-planck": (experiments.SolveConfig(**SHORT), 4, ["history", "marginals", "means", "slices"]),
    "wave-maps": (experiments.WaveMapsConfig(**SHORT, intervals=8), 1, ["errors", "history", "slices"]),
    "embedding": (experiments.EmbeddingConfig(widths=(3, 4), fit_steps=2), 2, ["fits"]),
    "restarts": (
        RestartsConfig(**{**TINY, "times": (0.0, 0.01, 0.02)}, restarts=(0.01,), spectrum_points=100),
        5,
        ["errors", "history", "residuals", "spectra"],
    ),
    "ednn": (
        experiments.BaselinesConfig(**SHORT, ednn_width=3, galerkin_width=3, sparse=10, step=0.01, baselines=("ednn",)),
        3,
        ["errors", "history", "residuals"],
    ),
    "scaling": (
        experiments.ScalingConfig((4, 8), 50, 10, 2, (40, 80), 1, 3),
        6,
        ["iterations", "memory", "time"],
    ),
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path):
    config, count, figures = SMALL[name]
    run = Run(tmp_path / "run")
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    folder = tmp_path / "run" / "figures"
    assert sorted(path.stem for path in folder.glob("*.png")) == figures
    assert all((folder / f"{figure}.png").stat().st_size > 3000 for figure in figures)
    assert all(len(run.figures[figure]) > 2 for figure in figures)
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_the_registry_reads_them_from_the_source():
    method = find_method("neural-ivp")
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
    assert experiment.x64
    (node,) = ast.parse(inspect.getsource(type(experiment.quick))).body
    kinds = [type(entry) for entry in node.body[1:]]
    assert kinds == [ast.AnnAssign, ast.Expr] * (len(kinds) // 2)


def test_the_plain_network_has_at_least_as_many_weights():
    for weights in (100, 769, 3000):
        sizes = []
        for width in (plain_width(weights, 2) - 1, plain_width(weights, 2)):
            leaves = jax.tree.leaves(nnx.state(PlainMLP(2, width, rngs=nnx.Rngs(0))))
            sizes.append(sum(np.size(leaf) for leaf in leaves))
        assert sizes[0] < weights <= sizes[1]
