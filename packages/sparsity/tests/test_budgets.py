"""Layer budgets meet their total; schedules and scans do what they say."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import offprint.sparsity._schedule as schedules
from offprint.sparsity._budget import density_map, flop_aware
from offprint.sparsity._counts import keep_counts
from offprint.sparsity._sensitivity import sensitivity_scan
from offprint.sparsity.scores import magnitude

SHAPES = {"conv_0": (3, 3, 4, 32), "conv_1": (3, 3, 32, 32), "conv_10": (1, 1, 32, 64), "dense_11": (64, 10)}
NET = {name: {"kernel": jax.ShapeDtypeStruct(shape, np.float32), "bias": jax.ShapeDtypeStruct(shape[-1:], np.float32)}
       for name, shape in SHAPES.items()}  # fmt: skip
SIZES = {name: int(np.prod(shape)) for name, shape in SHAPES.items()}


def densities(*args, **kwargs) -> dict[str, float]:
    tree = density_map(NET, *args, **kwargs)
    assert all(layer["bias"] is None for layer in tree.values())
    return {name: layer["kernel"] for name, layer in tree.items()}


@pytest.mark.parametrize("dist", ["er", "erk", lambda path, shape: 1.0 / shape[-1]])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.8, 0.95])
def test_the_total_is_met(dist, sparsity):
    found = densities(sparsity, dist)
    kept = sum(found[name] * size for name, size in SIZES.items())
    assert abs(kept - (1 - sparsity) * sum(SIZES.values())) <= len(SIZES)
    assert all(0 < density <= 1 for density in found.values())


def test_erk_is_in_proportion_below_one():
    found = densities(0.8, "erk")
    ratio = {name: found[name] / (sum(shape) / np.prod(shape)) for name, shape in SHAPES.items() if found[name] < 1}
    assert len(ratio) >= 2
    assert np.allclose(list(ratio.values()), next(iter(ratio.values())))
    # By the formula of one budget: the densities above 1 are fixed, the others share what is left.
    whole = [name for name in SHAPES if found[name] == 1]
    left = sum(
        (size - np.floor(0.8 * size)) if name not in whole else -np.floor(0.8 * size) for name, size in SIZES.items()
    )
    assert np.isclose(sum(found[name] * SIZES[name] for name in ratio), left, rtol=1e-12)


def test_dense_leaves():
    plain, forced = densities(0.8, "erk"), densities(0.8, "erk", dense="conv_10/*")
    assert forced["conv_10"] == 1.0
    assert forced["conv_1"] < plain["conv_1"]
    assert abs(sum(forced[name] * size for name, size in SIZES.items()) - 0.2 * sum(SIZES.values())) <= len(SIZES)
    assert densities(0.8, dense=("conv_0/*", "dense_11/*")) == {
        "conv_0": 1.0, "conv_1": pytest.approx(0.2), "conv_10": pytest.approx(0.2), "dense_11": 1.0
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:'uniform_plus' keeps")
def test_uniform_plus_finds_first_and_last_by_number():
    found = densities(0.9, "uniform_plus", last=0.2)
    assert found == {"conv_0": 1.0, "conv_1": pytest.approx(0.1), "conv_10": pytest.approx(0.1), "dense_11": 0.2}
    numbered = {f"l{i}": {"kernel": np.zeros((2, 2))} for i in (10, 9, 1, 2)}
    found = density_map(numbered, 0.9, "uniform_plus", last=0.5)
    assert [name for name, layer in found.items() if layer["kernel"] == 1.0] == ["l1"]
    assert found["l10"]["kernel"] == 0.5


def test_uniform_plus_is_told_which_layer_is_first():
    shapes = {"stem": (7, 7, 3, 8), "block1": (3, 3, 8, 64), "head": (64, 10)}
    net = {name: {"kernel": jax.ShapeDtypeStruct(shape, np.float32)} for name, shape in shapes.items()}
    with pytest.warns(UserWarning, match="'uniform_plus' keeps 'block1/kernel' dense, .* 4608 of 6424") as told:
        chosen = density_map(net, 0.9, "uniform_plus")
    assert told[0].filename == __file__
    assert chosen["block1"]["kernel"] == 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = density_map(net, 0.9, "uniform_plus", first="stem/*")
        both = density_map(net, 0.9, "uniform_plus", first="stem/kernel", dense="head/*")
        density_map({**net, "much": {"kernel": jax.ShapeDtypeStruct((10**4, 100), np.float32)}}, 0.9, "uniform_plus")
    share = {"kernel": pytest.approx(0.1)}
    assert named == {"stem": {"kernel": 1.0}, "block1": share, "head": share}
    assert both == {"stem": {"kernel": 1.0}, "block1": share, "head": {"kernel": 1.0}}


def test_numbers_among_the_arrays_are_not_pruned():
    net = {"a": {"kernel": jnp.ones((2, 3)), "step": 0.5, "w": 3}, "rate": 1e-3}
    assert density_map(net, 0.5) == {"a": {"kernel": 0.5, "step": None, "w": None}, "rate": None}
    assert magnitude(net)["a"]["w"] is None
    with pytest.raises(ValueError, match="chooses no leaf to prune"):
        density_map({"w": 1.0}, 0.5)


def test_explicit_densities():
    given = {"conv_0/kernel": 1.0, "dense_11/*": 0.5}
    assert densities(None, given) == {"conv_0": 1.0, "conv_1": 1.0, "conv_10": 1.0, "dense_11": 0.5}
    found = densities(0.8, given)
    assert found["conv_1"] == found["conv_10"]
    assert np.isclose(sum(found[name] * size for name, size in SIZES.items()), 0.2 * sum(SIZES.values()))


def test_counts_of_a_budget():
    budget = density_map(NET, 0.8, "erk")
    counts = keep_counts(NET, budget=budget, rounding="floor")
    for name, size in SIZES.items():
        assert counts[name]["kernel"] == size - int(np.floor((1 - budget[name]["kernel"]) * size))
    assert abs(sum(layer["kernel"] for layer in counts.values()) - 0.2 * sum(SIZES.values())) <= 2 * len(SIZES)


def test_cost_of_a_weight():
    scores = {"a": np.ones((2, 3)), "b": np.ones(5), "c": None}
    found = flop_aware(scores, {"a": 60.0, "b": 500.0}, power=0.5)
    assert np.allclose(found["a"], 1 / np.sqrt(10))
    assert np.allclose(found["b"], 0.1)
    assert found["c"] is None
    assert np.array_equal(flop_aware(scores, {"a": 60, "b": 500}, power=0)["a"], scores["a"])


def test_sensitivity_is_the_loss_of_one_pruned_leaf():
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=12), "b": rng.normal(size=8), "c": rng.normal(size=3)}
    scores = {"a": np.abs(params["a"]), "b": np.abs(params["b"]), "c": None}
    scan = sensitivity_scan(lambda p: sum(jnp.sum(leaf**2) for leaf in p.values()), params, scores, [0.0, 0.5, 0.75])
    whole = sum((leaf**2).sum() for leaf in params.values())
    assert np.isclose(scan.dense, whole)
    for name, sizes in {"a": (12, 6, 3), "b": (8, 4, 2)}.items():
        squares = np.sort(params[name] ** 2)[::-1]
        want = [whole - squares.sum() + squares[:kept].sum() for kept in sizes]
        assert np.allclose(scan.losses[name], want)
    assert set(scan.losses) == {"a", "b"}


def test_the_target_is_reached_whatever_the_interval():
    for every in (7, 100, 1000):
        schedule = schedules.held(schedules.cubic_schedule(0.9, 10, 200), 10, 200, every)
        assert schedule(200) == 0.9
        assert schedule(10**6) == 0.9
        assert schedules.update_steps(10, 200, every)[-1] == 200


def test_schedules_between_their_ends():
    exponential = schedules.exponential_schedule(0.99, 0, 100)
    assert np.allclose(1 - exponential(np.arange(0, 101, 50)), [1, 0.1, 0.01])
    assert np.array_equal(schedules.constant_schedule(0.5)(np.arange(3)), [0.5, 0.5, 0.5])
    assert np.array_equal(schedules.one_shot_schedule(0.5, 2)(np.arange(4)), [0, 0, 0.5, 0.5])
    cyclic = schedules.cyclic_schedule(0.875, 10, 40, 3)
    t = np.array([0, 9, 10, 19, 20, 29, 30, 39, 40, 99])
    want = [0, 0, 0.5, 0.5, 0.75, 0.75, 0.875, 0.875, 0.875, 0.875]
    assert np.allclose(cyclic(t), want)
    assert np.allclose(jax.jit(cyclic)(t), want)
    rate = schedules.restarted(lambda step: 1.0 / (1 + step), 10, 20)
    assert np.allclose(rate(np.array([0, 9, 10, 29, 30])), [1, 0.1, 1, 0.05, 1])


def test_a_schedule_that_outlasts_the_training():
    with pytest.warns(UserWarning, match="the target sparsity is never reached: the schedule ends at step 100 of 100"):
        schedules.update_steps(0, 100, 10, total=100)
