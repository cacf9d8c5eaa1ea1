"""The golden arrays of the objective and of training: losses, gradients, marginal likelihood, trajectories."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.network_partitioning._objective import log_marginal, nll_matrix, partition_loss
from offprint.network_partitioning._partition import Partition, subnetwork
from offprint.network_partitioning._train import init_state, make_step

FILES = ("core_mlp_k2", "core_mlp_k3")
SCHEMES = ("random_weight", "weight", "node")
AGGREGATES = ("mean_logits", "mean_logprob", "mean_prob")
KEY = jax.random.key(0)


class Batch(NamedTuple):
    train: tuple
    oos: tuple


class Problem:
    """One golden file under one partition scheme."""

    def __init__(self, arrays, scheme, dtype=jnp.float64):
        self.arrays, self.tau, self.num = arrays, float(arrays["tau"]), int(arrays["K"])
        names = range(2 * len(arrays["sizes"]) - 2)
        self.params = [jnp.asarray(arrays[f"param_{i}"], dtype) for i in names]
        default = [jnp.asarray(arrays[f"default_{i}"], dtype) * (scheme != "node") for i in names]
        ids = [jnp.asarray(arrays[f"{scheme}/pid_{i}"], jnp.uint8) for i in names]
        self.part = Partition(ids, default, self.num)
        self.phi = jnp.asarray(arrays["phi"], dtype)
        self.x, self.y = jnp.asarray(arrays["x"], dtype), jnp.asarray(arrays["y"])
        self.u = jnp.asarray(arrays["u"], dtype)
        self.shard = arrays["shard"]
        self.sizes = np.bincount(self.shard)

    def rows(self, chosen, u):
        return self.x[chosen], self.y[chosen], u

    def up_to(self, u):
        """The K full batches of the training losses."""
        return tuple(self.rows(self.shard < k, u) for k in range(1, self.num + 1))

    def beyond(self, u):
        """The K-1 full batches out of sample."""
        return tuple(self.rows(self.shard == k, u) for k in range(1, self.num))

    def loglik(self, aggregate):
        """Log-densities of a batch (x, y, u), with the uniforms u of the mask in the batch."""

        def loglik(params, phi, batch, key):
            x, y, u = batch
            z = jax.nn.sigmoid((phi + jnp.log(u) - jnp.log1p(-u)) / self.tau)
            outputs = logits(params, x * z[:, None])
            if aggregate == "mean_logits":
                logprob = jax.nn.log_softmax(outputs.mean(0))
            elif aggregate == "mean_logprob":
                logprob = jax.nn.log_softmax(outputs).mean(0)
            else:
                logprob = jax.nn.logsumexp(jax.nn.log_softmax(outputs), axis=0) - np.log(len(u))
            return logprob[jnp.arange(len(y)), y]

        return loglik


def logits(params, x):
    layers = list(zip(params[::2], params[1::2], strict=True))
    for kernel, bias in layers[:-1]:
        x = jnp.tanh(x @ kernel + bias)
    return x @ layers[-1][0] + layers[-1][1]


def close(here, there, dtype):
    rtol, atol = (0, 1e-10) if dtype == jnp.float64 else (2e-5, 2e-6)
    np.testing.assert_allclose(here, there, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("file", FILES)
def test_subnetworks_and_nll_matrix(golden, file, dtype):
    arrays = golden(file)

    def raw(params, hyper, batch, key):
        return jax.nn.log_softmax(logits(params, batch[0]))[jnp.arange(len(batch[1])), batch[1]]

    for scheme in SCHEMES:
        problem = Problem(arrays, scheme, dtype)
        for k in range(problem.num + 1):
            here = logits(subnetwork(problem.params, problem.part, k), problem.x)
            close(here, arrays[f"{scheme}/logits"][k], dtype)
        matrix = nll_matrix(raw, problem.params, problem.part, None, (problem.x, problem.y), problem.shard, KEY)
        close(matrix, arrays[f"{scheme}/nll"], dtype)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("file", FILES)
def test_losses_and_gradients(golden, file, dtype):
    arrays = golden(file)

    @jax.jit
    def compute(params, phi, ids, default, batches, data, shard):
        part = Partition(ids, default, int(arrays["K"]))
        found = {}
        for aggregate in AGGREGATES:
            loglik = Problem(arrays, "weight", dtype).loglik(aggregate)

            def loss(params, loglik=loglik):
                return partition_loss(loglik, params, part, phi, batches, KEY)

            def marginal(phi, prior, loglik=loglik):
                return log_marginal(loglik, params, part, phi, data, shard, KEY, include_prior_term=prior)

            found[aggregate] = (
                jax.grad(loss, has_aux=True)(params),
                jax.value_and_grad(marginal)(phi, False),
                jax.value_and_grad(marginal)(phi, True),
            )
        return found

    for scheme in SCHEMES:
        p = Problem(arrays, scheme, dtype)
        data = (p.x, p.y, p.u)
        found = compute(p.params, p.phi, p.part.ids, p.part.default, p.up_to(p.u), data, p.shard)
        for aggregate, ((grads, losses), plain, with_first) in found.items():
            there = {name: arrays[f"{scheme}/{aggregate}/{name}"] for name in ("train_loss", "log_ml", "phigrad")}
            close(losses, there["train_loss"], dtype)
            for i, grad in enumerate(grads):
                close(grad, arrays[f"{scheme}/{aggregate}/wgrad_{i}"], dtype)
            close(plain[0], there["log_ml"], dtype)
            close(plain[1], there["phigrad"], dtype)
            close(with_first[0], arrays[f"{scheme}/{aggregate}/log_ml_with_first"], dtype)
            close(with_first[1], arrays[f"{scheme}/{aggregate}/phigrad_with_first"], dtype)
            per_shard = arrays[f"{scheme}/{aggregate}/per_shard_mean"]
            close(plain[0], per_shard[1:] @ p.sizes[1:], dtype)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize(("prefix", "schedule"), [("traj", "round_robin"), ("traj_joint", "joint")])
@pytest.mark.parametrize("file", FILES)
def test_trajectories(golden, file, prefix, schedule, optimiser):
    arrays = golden(file)
    p = Problem(arrays, "random_weight")
    noise = jnp.asarray(arrays["traj/u"])
    make = {"sgd": optax.sgd, "adam": optax.adam}[optimiser]
    tx, hyper_tx = make(float(arrays[f"traj/lr_{optimiser}"])), make(float(arrays["traj/lr_hyper"]))
    step = jax.jit(make_step(p.loglik("mean_logits"), p.part, tx, hyper_tx, sizes=p.sizes, schedule=schedule))
    state = init_state(p.params, p.part, p.phi, tx, hyper_tx)
    phi, oos, losses = [], [], []
    for u in noise:
        state, metrics = step(state, Batch(p.up_to(u[0]), p.beyond(u[1])), KEY)
        phi.append(state.hyper)
        oos.append(metrics["oos"])
        losses.append([metrics[f"loss/{k}"] for k in range(1, p.num + 1)])
    for here, name in ((phi, "phi"), (oos, "oos_nll"), (losses, "train_loss")):
        if (prefix, name) == ("traj_joint", "train_loss"):
            continue  # not in the file
        np.testing.assert_allclose(here, arrays[f"{prefix}/{optimiser}/{name}"], rtol=0, atol=1e-10)
    for i, here in enumerate(state.params):
        np.testing.assert_allclose(here, arrays[f"{prefix}/{optimiser}/param_{i}"], rtol=0, atol=1e-10)
    assert state.step == len(noise)
