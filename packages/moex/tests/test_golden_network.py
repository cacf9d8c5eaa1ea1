"""A training step of a tiny PyramidNet against the official PyTorch code: logits, loss, gradients, running averages."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.moex import MixPlan, MoEx, mix_targets, soft_cross_entropy
from offprint.moex.models import PyramidNet


@pytest.fixture(scope="module")
def tiny(golden):
    return golden("pyramidnet_tiny")


def path_of(name):
    """Where the network has what PyTorch calls `name`."""
    parts = re.sub(r"layer(\d)\.0", lambda m: f"blocks.{int(m[1]) - 1}", name).split(".")
    leaf = {"running_mean": "mean", "running_var": "var"}.get(parts[-1], parts[-1])
    if leaf == "weight":
        leaf = "scale" if parts[-2].startswith("bn") else "kernel"
    return [*parts[:-1], leaf]


def from_torch(name, array):
    if name.endswith("weight") and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def find(tree, path):
    for part in path:
        tree = tree[int(part)] if part.isdigit() else getattr(tree, part)
    return tree


def network(tiny, *, double):
    model = PyramidNet(11, 6, 10, moex=MoEx("pono"), double_bn_update=double, rngs=nnx.Rngs(0))
    for key, array in tiny.items():
        if key.startswith("w/"):
            variable = find(model, path_of(key[2:]))
            assert variable[...].shape == from_torch(key[2:], array).shape, key
            variable[...] = jnp.asarray(from_torch(key[2:], array))
    return model


@pytest.fixture(scope="module")
def step(tiny):
    """Logits, loss, gradients and the network after one training step, compiled."""
    x = jnp.asarray(tiny["x"].transpose(0, 2, 3, 1))
    labels = jnp.asarray(tiny["labels"])

    @jax.jit
    def run(model, plan, x, labels):
        def loss(params):
            copy = nnx.merge(graphdef, params, rest, copy=True)
            logits = copy(x, plan)
            after = nnx.state(copy, nnx.BatchStat)
            return soft_cross_entropy(logits, mix_targets(labels, plan, 10).astype(jnp.float32)), (logits, after)

        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        (value, (logits, after)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, logits, grads, after

    return lambda model, plan: run(model, plan, x, labels)


@pytest.fixture(scope="module")
def exchanged(tiny, step):
    plan = MixPlan(jnp.asarray(True), jnp.asarray(tiny["swap_index"]), jnp.asarray(tiny["lam"], jnp.float32))
    return step(network(tiny, double=True), plan)


def close(here, expected, tolerance):
    np.testing.assert_allclose(here, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_logits_and_loss_with_exchange(tiny, exchanged):
    loss, logits, _, _ = exchanged
    close(logits, tiny["logits_moex_train"], 2e-6)
    close(loss, tiny["loss_moex_train"], 2e-6)


def test_every_gradient(tiny, exchanged):
    grads = exchanged[2]
    names = [key[2:] for key in tiny if key.startswith("g/")]
    assert len(names) == len(jax.tree.leaves(grads))
    for name in names:
        tree = grads
        for part in path_of(name):
            tree = tree[int(part) if part.isdigit() else part]
        expected = from_torch(name, tiny[f"g/{name}"])
        if re.fullmatch(r"layer\d\.0\.bn[14]\.bias", name) and np.abs(expected).max() < 1e-7:
            # A later normalisation takes this constant out: the gradient is 0, and rounding alone is left.
            assert np.abs(tree[...]).max() < 1e-7
        else:
            close(tree[...], expected, 5e-6)


def test_running_averages_after_the_double_update(tiny, exchanged):
    after = exchanged[3]
    close(after["bn1"]["mean"][...], tiny["bn1_running_mean_after"], 2e-6)
    close(after["bn1"]["var"][...], tiny["bn1_running_var_after"], 2e-6)


def test_plain_training(tiny, step):
    off = MixPlan(jnp.asarray(False), jnp.arange(4, dtype=jnp.int32), jnp.ones((), jnp.float32))
    _, logits, _, after = step(network(tiny, double=True), off)
    close(logits, tiny["logits_plain_train"], 2e-6)
    close(after["bn1"]["mean"][...], tiny["bn1_running_mean_after_plain"], 2e-6)


def test_evaluation(tiny):
    model = network(tiny, double=False)
    model.eval()
    logits = nnx.jit(lambda model, x: model(x))(model, jnp.asarray(tiny["x"].transpose(0, 2, 3, 1)))
    close(logits, tiny["logits_plain_eval"], 2e-6)


def test_the_running_averages_move_once_by_default(tiny):
    model = network(tiny, double=False)
    plan = MixPlan(jnp.asarray(True), jnp.asarray(tiny["swap_index"]), jnp.asarray(tiny["lam"], jnp.float32))
    model.stem(jnp.asarray(tiny["x"].transpose(0, 2, 3, 1)), plan)
    close(model.bn1.mean[...], tiny["bn1_running_mean_after_plain"], 2e-6)
