"""The baselines: each learns from what it says, and only from that."""

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.network_partitioning._baselines import (
    init_baseline_state,
    make_baseline_step,
    optuna_objective,
    softplus_widths,
    width_penalty,
)
from offprint.network_partitioning._objective import Stateful
from offprint.network_partitioning._shards import ShardedBatch

KEY = jax.random.key(0)
TX, HYPER_TX = optax.sgd(0.1), optax.sgd(0.2)


def loglik(params, hyper, batch, key):
    """A linear model of inputs scaled by ψ."""
    x, y = batch
    return -0.5 * ((x * hyper["scale"]) @ params["w"] - y) ** 2


def numbers(seed, rows):
    x, y = jax.random.normal(jax.random.key(seed), (rows, 3)), jax.random.normal(jax.random.key(seed + 100), (rows,))
    return x, y


TRAIN, ALL, HELD_OUT = numbers(1, 4), numbers(2, 6), numbers(3, 2)
BATCH = ShardedBatch((TRAIN, ALL), (HELD_OUT,))
PARAMS, HYPER = {"w": jnp.array([1.0, -0.5, 0.2])}, {"scale": jnp.array([0.5, 1.0, 1.5])}


def mean_loss(params, hyper, batch):
    return -loglik(params, hyper, batch, None).mean()


def advanced(method, **options):
    step = make_baseline_step(loglik, TX, HYPER_TX, method=method, **options)
    return jax.jit(step)(init_baseline_state(PARAMS, HYPER, TX, HYPER_TX), BATCH, KEY)


def descend(values, grads, rate):
    return jax.tree.map(lambda a, g: a - rate * g, values, grads)


def assert_equal(here, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), here, expected)


def test_fixed_trains_the_weights_on_all_shards():
    state, metrics = advanced("fixed")
    assert_equal(state.params, descend(PARAMS, jax.grad(mean_loss)(PARAMS, HYPER, ALL), 0.1))
    assert_equal(state.hyper, HYPER)
    assert_equal(metrics, {"loss": mean_loss(PARAMS, HYPER, ALL)})
    assert state.step == 1


@pytest.mark.parametrize("method", ["training", "augerino"])
def test_training_moves_both_by_gradients_at_one_point(method):
    state, metrics = advanced(method)

    def objective(params, hyper):
        reward = 0.01 * jnp.linalg.norm(jax.nn.softplus(hyper["scale"])) if method == "augerino" else 0
        return mean_loss(params, hyper, ALL) - reward

    grads, hyper_grads = jax.grad(objective, argnums=(0, 1))(PARAMS, HYPER)
    assert_equal((state.params, state.hyper), (descend(PARAMS, grads, 0.1), descend(HYPER, hyper_grads, 0.2)))
    assert_equal(metrics, {"loss": mean_loss(PARAMS, HYPER, ALL)})


def test_validation_moves_the_hyperparameters_by_the_held_out_loss_alone():
    state, metrics = advanced("validation")
    params = descend(PARAMS, jax.grad(mean_loss)(PARAMS, HYPER, TRAIN), 0.1)
    assert_equal(state.params, params)
    assert_equal(state.hyper, descend(HYPER, jax.grad(mean_loss, argnums=1)(params, HYPER, HELD_OUT), 0.2))
    assert_equal(metrics, {"loss": mean_loss(PARAMS, HYPER, TRAIN), "oos": mean_loss(params, HYPER, HELD_OUT)})


def test_fine_tuning_goes_on_from_the_same_state():
    state, _ = advanced("validation")
    finetune = make_baseline_step(loglik, TX, HYPER_TX, method="fixed")
    after, _ = finetune(state, BATCH, KEY)
    assert_equal(after.params, descend(state.params, jax.grad(mean_loss)(state.params, state.hyper, ALL), 0.1))
    assert_equal(after.hyper, state.hyper)


def test_none_needs_no_hyperparameters():
    step = make_baseline_step(
        lambda params, hyper, batch, key: loglik(params, HYPER, batch, key), TX, HYPER_TX, method="none"
    )
    state, _ = step(init_baseline_state(PARAMS, None, TX, HYPER_TX), BATCH, KEY)
    assert_equal(state.params, advanced("fixed")[0].params)


def test_statistics_change_in_training_only():
    seen = []

    def function(params, hyper, rest, batch, key, train):
        seen.append(train)
        return loglik(params, hyper, batch, key), rest + 1

    step = make_baseline_step(Stateful(function), TX, HYPER_TX, method="validation")
    state, _ = step(init_baseline_state(PARAMS, HYPER, TX, HYPER_TX, rest=jnp.zeros(())), BATCH, KEY)
    assert state.rest == 1
    assert seen == [True, False]


def test_width_penalty_rewards_wide_ranges_and_is_flat_at_zero():
    hyper = {"a": jnp.array([0.3, -1.0]), "b": jnp.array(2.0)}
    widths = jax.nn.softplus(jnp.array([0.3, -1.0, 2.0]))
    np.testing.assert_allclose(softplus_widths(hyper), widths, rtol=1e-12)
    np.testing.assert_allclose(width_penalty(0.1)(hyper), -0.1 * jnp.linalg.norm(widths), rtol=1e-12)
    assert (jax.grad(width_penalty(0.1, lambda hyper: hyper))(jnp.zeros(3)) == 0).all()


class Trial:
    """As much of an Optuna trial as the objective needs."""

    def __init__(self, prune_at=None):
        self.reported, self.prune_at = [], prune_at

    def report(self, value, step):
        self.reported.append((step, value))

    def should_prune(self):
        return len(self.reported) == self.prune_at


def test_the_objective_reports_and_returns_the_negative_marginal_likelihood(monkeypatch):
    objective = optuna_objective(lambda trial: 2.0, lambda config: (jnp.array(config * v) for v in (-3, -2, -1)))
    trial = Trial()
    assert objective(trial) == 2.0
    assert trial.reported == [(0, 6.0), (1, 4.0), (2, 2.0)]

    class Pruned(Exception):
        pass

    monkeypatch.setitem(sys.modules, "optuna", SimpleNamespace(TrialPruned=Pruned))
    trial = Trial(prune_at=2)
    with pytest.raises(Pruned, match="-L_ML is 4 after 2 reports"):
        objective(trial)
    assert len(trial.reported) == 2


def test_in_a_study_of_optuna():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=optuna.pruners.NopPruner())
    study.optimize(
        optuna_objective(lambda trial: trial.suggest_float("x", -1, 1), lambda x: [-((x - 0.3) ** 2)]), n_trials=30
    )
    assert abs(study.best_params["x"] - 0.3) < 0.1


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_baseline_step(loglik, TX, HYPER_TX, method="grid"), r"method='grid' is unknown"),
        (lambda: advanced("fixed", penalty=width_penalty()), r"a penalty is for .* not for 'fixed'"),
        (lambda: advanced("none"), r"method='none' has no hyperparameters, but the state holds 1 arrays"),
        (lambda: width_penalty(-1), r"strength=-1 must not be negative"),
        (lambda: optuna_objective(lambda trial: 0, lambda config: [])(Trial()), r"yielded no value"),
        (
            lambda: make_baseline_step(loglik, TX, HYPER_TX, method="validation")(
                init_baseline_state(PARAMS, HYPER, TX, HYPER_TX), ShardedBatch((ALL,), ()), KEY
            ),
            r"there is only one shard",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
