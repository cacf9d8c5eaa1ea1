"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json
import warnings

import jax
import numpy as np
import pytest

from offprint.core.experiments import Experiment, Run
from offprint.core.experiments._registry import find_method, load
from offprint.memory_capacity import (
    MeaningWarning,
    data,
    empirical_memory_curve,
    experiments,
    mask,
    memory_curve,
    reservoir,
    simulate,
)
from offprint.memory_capacity.experiments import figure1_floor

# Config, number of claims, figures. Sizes are shared, so that programs are compiled once.
SMALL = {
    "floor": (experiments.FloorConfig(neurons=5, sample_sizes=(100, 2000), replicates=20), 2, ["floor"]),
    "gramian-spectra": (experiments.GramianConfig(neurons=40), 6, ["gramian-spectra"]),
    "squeezing": (experiments.SqueezingConfig(neurons=40, laws=("normal", "cyclic")), 4, ["squeezing"]),
    "bands": (
        experiments.BandsConfig(
            neurons=20, masks=3, matrix_laws=("normal", "orthogonal", "cyclic"), mask_laws=("sparse", "ones")
        ),
        6,
        ["masks", "matrices"],
    ),
    "spectra": (experiments.SpectraConfig(neurons=40), 7, ["spectra"]),
    "gap": (
        experiments.GapConfig(
            neurons=20, seeds=1, sparse_seeds=3, sampled_neurons=5, samples=200, sampled_lags=15, replicates=10
        ),
        10,
        ["samples", "totals"],
    ),
    "neutrality": (experiments.NeutralityConfig(neurons=20, masks=3), 3, ["neutrality"]),
    "showcase": (experiments.ShowcaseConfig(neurons=20, masks=3), 4, ["showcase"]),
    "dependent": (
        experiments.DependentConfig(neurons=5, samples=4000, series=6, coefficients=(0.0, 0.6), lags=8, ahead=2),
        6,
        ["dependent"],
    ),
    "ipc": (
        experiments.IPCConfig(
            neurons=5, samples=1500, washout=50, degrees_delays=((1, 12), (2, 3), (3, 2)), gains=(0.01, 1.0)
        ),
        6,
        ["second-order", "stacks"],
    ),
    "nonlinear": (
        experiments.NonlinearConfig(
            neurons=5, samples=1500, scales=4, limit_networks=1, limit_neurons=5, limit_samples=1500
        ),
        7,
        ["input-scale"],
    ),
    "null": (experiments.NullConfig(neurons=5, samples=300, targets=300), 2, ["null"]),
}
# At a reduced size these have to hold all the same: identities, not statistics of large networks.
ALWAYS = {
    "floor": ["total over N with the fewest"],
    "bands": ["largest deviation of an OSM total", "largest error of naive and OSM"],
    "spectra": ["largest distance of an eigenvalue"],
    "gap": ["naive total, orthogonal"],
    "neutrality": ["spread of the exact curve", "largest deviation from the exact curve"],
    "showcase": ["naive total over N (orthogonal", "largest error of the exact curve", "lags that the delay line"],
    "dependent": ["memory and forecasting capacity together"],
    "ipc": ["rank of the states", "capacity of even degrees", "share of degree 1"],
    "gramian-spectra": ["eigenvalues below ε times the largest, normal", "log cond"],
    "squeezing": ["largest relative difference", "exact controllability rank"],
    "nonlinear": ["total at σ = 0.001 relative"],
    "null": ["mean in-sample capacity"],
}


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL) == set(ALWAYS)


@pytest.mark.parametrize("name", SMALL)
def test_experiment(name, tmp_path):
    config, count, figures = SMALL[name]
    run = Run(tmp_path)
    claims = list(by_name()[name](config, run))
    assert len(claims) == count
    assert len({claim.claim for claim in claims}) == count
    for beginning in ALWAYS[name]:
        matching = [claim for claim in claims if claim.claim.startswith(beginning)]
        assert matching, beginning
        assert all(claim.holds for claim in matching), [claim.as_dict() for claim in matching]
    assert sorted(path.stem for path in (tmp_path / "figures").glob("*.png")) == figures
    assert all((tmp_path / "figures" / f"{figure}.png").stat().st_size > 5000 for figure in figures)
    assert all(len(run.figures[figure]) > 20 for figure in figures)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows


def test_the_registry_reads_them_from_the_source():
    method = find_method("memory-capacity")
    assert not method.problem
    listed = {listing.name: listing for listing in method.experiments}
    assert set(listed) == set(SMALL)
    figures = {listing.reproduces for listing in listed.values() if listing.reproduces.startswith("Figure")}
    assert figures == {"Figure 1", "Figure 2", "Figure 3", "Figures 4-5", "Figure 6"}
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


def test_samples_set_to_zero_are_samples_that_are_not_there():
    """One compiled program serves every sample size of Figure 1."""
    N, T = 5, 150
    A, C = reservoir.orthogonal(jax.random.key(0), N), mask.normal(jax.random.key(1), N)
    z = data.gaussian(jax.random.key(2), 400)
    X = simulate(A, C, z, activation="identity", washout=0)
    both = figure1_floor._official(X, z, np.array([T, 400]), 5 * N)
    for size, values in zip((T, 400), both):
        with warnings.catch_warnings():  # of the floor, which is what the figure is about
            warnings.simplefilter("ignore", MeaningWarning)
            alone = empirical_memory_curve(X[:size], z[:size], 5 * N, estimator="official", null=None, check=False)
        np.testing.assert_allclose(values, alone.values, atol=1e-11)


def test_expectation_of_the_floor():
    exact = np.asarray(memory_curve(reservoir.cyclic(None, 4), n_lags=20).values)
    expected = figure1_floor.expected_curve(exact, 4, 100)
    np.testing.assert_allclose(expected[1], 0.99**2 * exact[1] + 0.04 * 0.99 * (1 - exact[1]), rtol=1e-12)
    np.testing.assert_allclose(figure1_floor.expected_curve(exact, 4, 10**9), exact, atol=1e-7)
