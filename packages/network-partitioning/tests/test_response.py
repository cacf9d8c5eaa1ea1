"""How weights answer to hyperparameters: against differences, and against a fixed point that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.network_partitioning._objective import out_of_sample_loss, partition_loss
from offprint.network_partitioning._partition import Partition, pack
from offprint.network_partitioning._response import response_gradient
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import init_state, make_step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 6))
Y = X @ np.linspace(1, -1, 6) + 0.5 * RNG.normal(size=60)
SHARDS = np.repeat([0, 1, 2], 20)
PART = Partition({"w": jnp.asarray([0, 1, 2, 0, 1, 2], jnp.uint8)}, {"w": jnp.zeros(6)}, 3)
BATCHES = ShardedBatches((X, Y), SHARDS, None)
BATCH = BATCHES.batch_at(0, jax.random.key(0))
KEYS = (jax.random.key(1), jax.random.key(2))
PSI = jnp.asarray([-1.0, 0.3, -0.5])


def linear(params, psi, batch, key):
    x, y = batch
    return -0.5 * (y - x @ params["w"]) ** 2


def decay(weights, psi):
    """A weight decay exp(ψ) for each third of the inputs."""
    return 0.5 * jnp.sum(jnp.exp(jnp.repeat(psi, 2)) * weights["w"] ** 2)


def curved(params, psi, batch, key):
    x, y = batch
    return -0.5 * (y - jnp.tanh(x @ params["w"]) * jnp.exp(psi[0])) ** 2


def fixed_point(psi):
    """The weights at which every partition has minimised its own loss, one partition after the other."""
    w = np.zeros(6)
    strength = np.exp(np.repeat(np.asarray(psi), 2))
    for k in range(3):
        seen, own = k >= SHARDS, np.asarray(PART.ids["w"]) == k
        x, n = X[seen], seen.sum()
        rest = Y[seen] - x @ np.where(own, 0, w)
        w[own] = np.linalg.solve(x[:, own].T @ x[:, own] / n + np.diag(strength[own]), x[:, own].T @ rest / n)
    return w


def out_of_sample(w, psi, loglik=linear):
    return out_of_sample_loss(loglik, {"w": jnp.asarray(w)}, PART, psi, BATCH.oos, BATCHES.sizes, KEYS[1])[0]


@pytest.mark.parametrize("loglik", [linear, curved])
def test_one_step_against_differences(loglik):
    params, lr = {"w": jnp.linspace(-1, 1, 6)}, 0.1
    outer = jax.jit(jax.grad(lambda w, psi: out_of_sample(w["w"], psi, loglik)))(params, PSI)
    inner = jax.jit(
        jax.grad(lambda w, psi: partition_loss(loglik, w, PART, psi, BATCH.train, KEYS[0], regulariser=decay)[0])
    )
    here = response_gradient(
        loglik, params, PART, PSI, BATCH.train, BATCH.oos, BATCHES.sizes, KEYS, lr=lr, regulariser=decay
    )
    for i in range(3):
        e = 1e-5 * jnp.eye(3)[i]
        step = -lr * (inner(params, PSI + e)["w"] - inner(params, PSI - e)["w"]) / 2e-5
        np.testing.assert_allclose(here[i], step @ outer["w"], rtol=1e-7)


def test_the_series_reaches_the_answer_of_the_fixed_point():
    """Later partitions answer to what earlier ones do; the third has no part in what is out of sample."""
    params = {"w": jnp.asarray(fixed_point(PSI))}
    field = jax.grad(partition_loss, argnums=1, has_aux=True)(
        linear, params, PART, PSI, BATCH.train, KEYS[0], regulariser=decay
    )[0]
    np.testing.assert_allclose(field["w"], 0, atol=1e-12)
    args = (linear, params, PART, PSI, BATCH.train, BATCH.oos, BATCHES.sizes, KEYS)
    errors = []
    there = [
        (out_of_sample(fixed_point(PSI + e), PSI) - out_of_sample(fixed_point(PSI - e), PSI)) / 2e-5
        for e in 1e-5 * np.eye(3)
    ]
    for terms in (0, 20, 400):
        here = response_gradient(*args, lr=0.3, terms=terms, regulariser=decay)
        errors.append(float(np.abs(here - np.array(there)).max()))
    assert errors[2] < 1e-8 < errors[1] < errors[0]


@pytest.mark.parametrize("response", ["one_step", "neumann"])
def test_weight_decay_is_learned(response):
    tx, hyper_tx = optax.sgd(0.2), optax.adam(0.1)
    step = jax.jit(
        make_step(
            linear, PART, tx, hyper_tx, sizes=BATCHES.sizes, response=response, response_lr=0.2, regulariser=decay
        )
    )
    start = jnp.full(3, 1.0)  # far too strong: the best linear fit needs little of it
    state = init_state({"w": jnp.zeros(6)}, PART, start, tx, hyper_tx)
    for index in range(30):
        state, metrics = step(state, BATCH, jax.random.key(index))
        first = metrics["oos"] if index == 0 else first
    assert state.hyper[0] < start[0]
    assert metrics["oos"] < first
    direct = make_step(linear, PART, tx, hyper_tx, sizes=BATCHES.sizes, regulariser=decay)
    same, _ = jax.jit(direct)(init_state({"w": jnp.zeros(6)}, PART, start, tx, hyper_tx), BATCH, KEYS[0])
    np.testing.assert_array_equal(same.hyper, start)


def test_label_smoothing_trains_and_does_not_score():
    """What the weights ascend may differ from what is predicted."""

    def weighted(params, psi, batch, key):
        return jnp.exp(psi[0]) * linear(params, psi, batch, key)

    tx, hyper_tx = optax.sgd(0.1), optax.sgd(0.1)
    settings = {"sizes": BATCHES.sizes, "train_loglik": weighted, "response": "one_step", "response_lr": 0.1}
    state = init_state({"w": jnp.zeros(6)}, PART, PSI, tx, hyper_tx)
    new, metrics = jax.jit(make_step(linear, PART, tx, hyper_tx, **settings))(state, BATCH, KEYS[0])
    np.testing.assert_allclose(metrics["loss/1"], np.exp(-1.0) * 0.5 * np.mean(Y[:20] ** 2))
    np.testing.assert_allclose(metrics["oos"], out_of_sample(new.params["w"], PSI))
    assert new.hyper[0] > PSI[0]  # more weight, faster steps, better predictions
    assert [v.shape for v in pack(new.params, PART)] == [(2,)] * 3
