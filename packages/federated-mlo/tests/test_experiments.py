"""Every experiment, at a much reduced size: it runs, yields its claims and writes its figures."""

import ast
import inspect
import json

import jax
import numpy as np
import pytest
from scipy.stats import spearmanr

from offprint.core.experiments import Experiment, Run, Unavailable
from offprint.core.experiments._registry import find_method, load
from offprint.federated_mlo import experiments
from offprint.federated_mlo._make import make_scenario
from offprint.federated_mlo.experiments import _compare
from offprint.federated_mlo.experiments._exact import exact_law
from offprint.federated_mlo.experiments.event_level import rank_correlation
from offprint.federated_mlo.experiments.price_of_fairness import pareto

# Config, claims, figures, beginnings of the claims that hold at any size.
SMALL = {
    "ordering": (
        experiments.OrderingConfig(
            scenarios=("chain3_l2",), methods=("frl_minrate", "frl_fedavg", "rl"), steps=40, seeds=2
        ),
        5,
        ["fairness", "learning", "throughput", "actions", "links"],
        [],
    ),
    "random5": (
        experiments.Random5Config(deployments=2, steps=20, seeds=2),
        3,
        ["deployments", "throughput"],
        [],
    ),
    "averaging": (
        experiments.AveragingConfig(weights=(0.1, 1.0), local_steps=5, steps=40, seeds=2),
        4,
        ["weight", "links"],
        [],
    ),
    "price-of-fairness": (
        experiments.PriceConfig(scenarios=("chain3_l2",), steps=40, seeds=2),
        3,
        ["trade-off"],
        ["chain3_l2: the same of the best possible totals"],
    ),
    "validation": (
        experiments.ValidationConfig(
            replicas=8, busy_periods=50, stations=(2,), exact_stations=(2,), graph_seconds=0.1, graph_runs=2
        ),
        7,
        ["published", "networks"],
        ["ns-3's reference throughputs", "Komondor's validation"],
    ),
    "event-level": (
        experiments.EventLevelConfig(
            seeds=1, windows=4, window_s=0.02, random_windows=0, scoring_s=0.1, scoring_seeds=1
        ),
        3,
        ["payoffs", "learning"],
        [],
    ),
    "dense": (
        experiments.DenseConfig(sizes=(12, 20), methods=("frl_neigh", "rl", "fixed:all"), steps=4),
        1,
        ["size", "throughput"],
        [],
    ),
}
NOT_QUICK = ("dense",)


def by_name():
    return {value.name: value for value in vars(experiments).values() if isinstance(value, Experiment)}


def test_every_experiment_is_tried_here():
    assert set(by_name()) == set(SMALL)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if by_name()[name].long else pytest.mark.in_quick) for name in SMALL]
)
def test_experiment(name, tmp_path):
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
    with pytest.raises(Unavailable, match="add --profile paper, or --"):
        list(by_name()[name](by_name()[name].quick, Run(tmp_path)))


def test_claims_about_the_ordering(tmp_path, monkeypatch):
    """With the throughputs of the learners given: when each of the claims holds."""
    module = inspect.getmodule(experiments.ordering.function)
    rates = {"frl_minrate": [985.0, 980, 990], "frl_fedavg": [100.0, 1500, 900], "rl": [30.0, 1900, 1900]}

    def given(name, scenarios, steps, seeds, key):
        return dict.fromkeys(scenarios, rates[name])

    def reached(x):
        return _compare.Outcome(np.array([min(x)]), np.array([x]))

    monkeypatch.setattr(module, "learned_on_scenarios", given)
    monkeypatch.setattr(module, "outcome", reached)
    monkeypatch.setattr(module, "_figures", lambda *args: None)

    def held():
        config = experiments.OrderingConfig(scenarios=("chain3_l2",), methods=tuple(rates))
        return [claim.holds for claim in experiments.ordering(config, Run(tmp_path / "run"))]

    assert held() == [True] * 5
    rates |= {"frl_fedavg": [500.0, 500, 500], "rl": [100.0, 100, 100]}
    assert held() == [True, False, False, True, True]
    rates |= {"frl_minrate": [400.0, 900, 1400]}
    assert held() == [False, False, False, False, False]


def test_the_registry_reads_them_from_the_source():
    method = find_method("federated-mlo")
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


def test_networks_that_are_filled_up_play_the_same_game():
    """BSSs that are not there change neither throughputs nor rewards of the others."""
    own, small = make_scenario("chain3_l2", reward="min")
    shared = make_scenario("ring5_l2", reward="min")[0]
    params = _compare.filled_up(small, 3, 5)
    actions = np.array([0, 1, 2, 0, 0], np.int32)
    _, _, reward, _, info = own.step(jax.random.key(0), own.reset(jax.random.key(0), small)[1], actions[:3], small)
    state = shared.reset(jax.random.key(0), params)[1]
    _, _, filled, _, behind = shared.step(jax.random.key(0), state, actions, params)
    np.testing.assert_allclose(behind["throughput"], [*info["throughput"], 0, 0], rtol=1e-12)
    np.testing.assert_allclose(filled, [*reward, 0, 0], rtol=1e-12)


def test_what_needs_no_learning_comes_from_the_table():
    env, params = make_scenario("chain3_l2")
    every = _compare.unlearned("fixed:all", env, params)
    np.testing.assert_allclose(every.throughput[0], env.throughput(params, np.ones((3, 2), bool))[0], rtol=1e-9)
    np.testing.assert_allclose(every.least / _compare.optimum(params), 0.02368, rtol=1e-3)
    np.testing.assert_allclose(_compare.unlearned("random", env, params).least, 409.3, rtol=1e-3)
    np.testing.assert_allclose(every.jain, 0.6747, rtol=1e-3)


@pytest.mark.parametrize("case", range(6))
def test_the_exact_law_is_the_golden_one(golden, case):
    data = golden("dcf_joint_exact")
    n, W, m, freeze = (int(data[name][case]) for name in ("n", "W", "m", "freeze"))
    law = exact_law(n, W, m, "freeze" if freeze else "bianchi")
    np.testing.assert_allclose(law, [data[name][case] for name in ("pe", "ps", "tau", "p")], atol=1e-9, rtol=0)


def test_rank_correlation_is_spearmans():
    a, b = np.random.default_rng(0).normal(size=(2, 9)).round(1)
    np.testing.assert_allclose(rank_correlation(a, b), spearmanr(a, b).statistic)


def test_the_pareto_front_drops_what_is_beaten():
    front = pareto(np.array([1.0, 2.0, 2.0, 0.5, 3.0]), np.array([9.0, 8.0, 7.0, 9.0, 1.0]))
    np.testing.assert_array_equal(front, [[1, 9], [2, 8], [3, 1]])
