"""The decision procedure on sequences of known regime."""

import re

import jax
import numpy as np
import pytest

from offprint.resnet_scaling import (
    DepthRecord,
    ResNetParams,
    SweepConfig,
    SweepResult,
    classification_study,
    classify_scaling,
    scaling_statistics,
)
from offprint.resnet_scaling._classify import classify_statistics
from offprint.resnet_scaling._statistics import STATISTICS

DEPTHS = (8, 16, 32, 64)


@pytest.fixture(scope="module")
def studies():
    """Each column of the table of statistics, 20 draws; the experiment `classification` has 50, at twice the depths."""
    key = jax.random.key(0, impl="rbg")  # compiles in half the time
    return classification_study(key, 20, depths=(32, 128, 512, 2048))


def test_regimes_are_found(studies):
    assert len(studies) == 6
    for name, study in studies.items():
        assert len(study.reports) == 20
        assert study.accuracy >= 0.95, name


def test_exponents_are_recovered(studies):
    def rms_error(name):
        return np.abs(np.array([report.hurst for report in studies[name].reports]) - studies[name].exponents)

    assert rms_error("smooth").max() < 0.01
    assert rms_error("fractional").max() < 0.05
    assert rms_error("iid").max() < 0.05
    brownian = np.array([report.hurst for report in studies["brownian"].reports])
    assert np.abs(brownian - 0.5).max() < 0.04  # 0.02 with the eight depths of the experiment
    # The largest of L normal norms grows with the root of log L, which biases its exponent.
    largest = np.array([report.beta for report in studies["brownian"].reports])
    assert 0.36 < largest.mean() < 0.47


def test_smooth_weights_of_exponent_half_are_not_diffusive(studies):
    flat = np.argmin(np.abs(studies["smooth"].exponents - 0.5))
    report = studies["smooth"].reports[flat]
    assert abs(report.slopes["root_sum_squares"].slope) < 0.05
    assert report.regime == "smooth"
    assert report.hypothesis == "1"


def smooth_weights(L):
    """L^-0.3 (1 + amplitude · sin) for three seeds."""
    amplitude = np.random.default_rng(0).uniform(0.1, 0.3, (3, 1, 3, 3))
    return L**-0.3 * (1 + amplitude * np.sin(5 * np.arange(L) / L)[:, None, None])


@pytest.fixture(scope="module")
def smooth():
    return {L: smooth_weights(L) for L in DEPTHS}


def test_report(smooth):
    report = classify_scaling(smooth, {L: np.array([L**-0.7]) for L in DEPTHS}, n_boot=100)
    assert report.regime == "smooth"
    assert report.depths == DEPTHS
    assert report.seeds == 3
    np.testing.assert_allclose(report.alpha, 0.7, atol=1e-9)
    np.testing.assert_allclose(report.beta, 0.3, atol=0.02)
    assert report.limit.startswith("linear ODE")
    (evidence,) = report.evidence
    assert evidence.yes
    np.testing.assert_allclose(evidence.margin, -0.4 - evidence.value)
    assert set(report.slopes) == {*STATISTICS, "delta"}
    low, high = report.slopes["rms"].ci
    assert low <= report.slopes["rms"].slope <= high
    assert re.search(r"^smooth: increments fall relative to the norm, slope -\d", str(report))
    assert "hypothesis 1; limit: linear ODE" in str(report)
    assert "max_norm " in str(report)


def test_sequence_mapping_and_seed_axis_agree(smooth):
    stacks = [smooth[L][0] for L in DEPTHS]
    by_list = classify_scaling(stacks, n_boot=0)
    by_seed = classify_scaling([stack[None] for stack in stacks], n_boot=0)
    by_depth = classify_scaling(dict(zip(DEPTHS, stacks)), n_boot=0)
    for name in STATISTICS:
        assert by_list.slopes[name].slope == by_seed.slopes[name].slope == by_depth.slopes[name].slope


def test_increments_are_scaled_by_the_exponent_found(smooth):
    stacks = [smooth[L][0] for L in DEPTHS]
    report = classify_scaling(stacks, n_boot=0)
    values = [float(scaling_statistics(stack, factor=report.beta)["scaled_increment"]) for stack in stacks]
    slope = np.polyfit(np.log(DEPTHS), np.log(values), 1)[0]
    np.testing.assert_allclose(report.slopes["scaled_increment"].slope, slope, atol=1e-9)


def test_multipliers_of_each_layer_belong_to_the_weights():
    A = {L: np.random.default_rng(L).normal(size=(L, 3, 3)) / np.sqrt(L) for L in DEPTHS}
    delta = {L: np.random.default_rng(L).choice([-0.5, 0.5], L) for L in DEPTHS}
    report = classify_scaling(A, delta, n_boot=0)
    expected = classify_scaling({L: 0.5 * stack for L, stack in A.items()}, n_boot=0)
    assert report.alpha == 0
    assert report.regime == expected.regime
    np.testing.assert_allclose(report.hurst, expected.hurst)


def sweep(diverged_at=()):
    records = []
    for L in DEPTHS:
        A = smooth_weights(L)
        diverged = np.array([L in diverged_at, False, False])
        A[diverged] = np.nan
        params = ResNetParams(*map(jax.numpy.asarray, (A, np.zeros((3, L, 3)), np.full((3, 1), L**-0.7))))
        shapes = ((3, 1), (3,), (3, 2), (3, 2, L + 1, 10), (3, 2, L, 10))
        records.append(DepthRecord(L, params, *map(np.ones, shapes), ~diverged, diverged, 0.0, 0.0))
    return SweepResult(SweepConfig(delta="shared"), (0, 1, 2), tuple(records))


def test_sweep_brings_its_multipliers(smooth):
    report = classify_scaling(sweep(), n_boot=0)
    np.testing.assert_allclose(report.alpha, 0.7, atol=1e-6)
    assert report.seeds == 3
    expected = classify_scaling(smooth, n_boot=0)
    np.testing.assert_allclose(report.hurst, expected.hurst)


def test_networks_that_diverged_are_left_out():
    with pytest.warns(UserWarning, match="networks that diverged are left out: 1 at depth 16"):
        report = classify_scaling(sweep(diverged_at=(16,)), n_boot=0)
    assert report.regime == "smooth"
    assert report.seeds == 3


def statistics_of(slopes):
    L = np.array(DEPTHS, float)
    return {name: (L ** slopes.get(name, 0.0))[:, None] for name in STATISTICS}


@pytest.mark.parametrize(
    ("slopes", "regime", "hypothesis"),
    [
        ({"scaled_increment": -1.2, "max_norm": -0.2}, "smooth", "1"),
        ({"participation": -1.0}, "sparse", "neither"),
        ({"participation": -1.0, "max_norm": -0.3, "scaled_increment": -0.3, "rms": -0.5}, "diffusive", "2"),
        ({"rms": -0.45}, "diffusive", "2"),
        ({"rms": -0.7}, "rough", "neither"),
    ],
)
def test_order_of_the_questions(slopes, regime, hypothesis):
    report = classify_statistics(DEPTHS, statistics_of(slopes), n_boot=0)
    assert (report.regime, report.hypothesis) == (regime, hypothesis)


@pytest.mark.parametrize(
    ("alpha", "slopes", "limit"),
    [
        (1.0, {"scaled_increment": -1.0}, "neural ODE"),
        (0.5, {"scaled_increment": -1.5, "max_norm": -0.5}, "linear ODE"),
        (1.0, {"scaled_increment": -1.5, "max_norm": -0.5}, "the identity"),
        (0.2, {"scaled_increment": -1.0}, "none: alpha + beta < 1"),
        (0.0, {"rms": -0.5}, "SDE"),
        (0.5, {"rms": -0.5}, "the identity"),
        (0.0, {"rms": -0.2}, "none that is known"),
    ],
)
def test_limits(alpha, slopes, limit):
    report = classify_statistics(DEPTHS, statistics_of(slopes), alpha=alpha, n_boot=0)
    assert report.limit.startswith(limit)
