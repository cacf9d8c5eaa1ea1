"""Networks and data against arrays of the original code (PyTorch, float32)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.resnet_scaling import ResNetParams, evaluate_loss, resnet_apply
from offprint.resnet_scaling.data import normalise_rows, simulate_process

CASES = ("relu_multi_l15", "tanh_none_l12", "tanh_shared_l20")


@pytest.fixture(params=CASES, scope="module")
def case(request, golden):
    arrays = golden(f"network_{request.param}")
    network = {"activation": str(arrays["activation"]), "delta": str(arrays["delta_type"])}
    delta = arrays["delta"] if network["delta"] != "none" else arrays["delta"][:0]
    return arrays, ResNetParams(jnp.asarray(arrays["A"]), jnp.asarray(arrays["b"]), jnp.asarray(delta)), network


def assert_forward_and_gradients(arrays, params, options):
    def loss(params):
        output, hidden = resnet_apply(params, arrays["x"], **options, return_hidden=True)
        return jnp.mean((output - arrays["y"]) ** 2), (output, hidden)

    (value, (output, hidden)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, arrays["output"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(hidden, arrays["hidden"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(value, arrays["loss"], rtol=0, atol=1e-6)
    for ours, name in zip(gradient, ("A", "b", "delta")):
        np.testing.assert_allclose(ours, arrays[f"grad_{name}"][: len(ours)], rtol=0, atol=1e-6)


def test_forward_and_gradients(case):
    arrays, params, network = case
    assert_forward_and_gradients(arrays, params, network)


def test_parallel_forward_and_gradients(golden):
    arrays = golden("network_relu_multi_l15")
    params = ResNetParams(*(jnp.asarray(arrays[name]) for name in ("A", "b", "delta")))
    assert_forward_and_gradients(arrays, params, {"activation": "relu", "delta": "multi", "mode": "parallel"})


def test_three_adam_steps(case):
    arrays, params, network = case
    optimizer = optax.adam(float(arrays["adam_lr"]))
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        loss, gradient = jax.value_and_grad(lambda p: evaluate_loss(p, arrays["x"], arrays["y"], **network))(params)
        update, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, update), state, loss

    for expected in arrays["adam_losses"]:
        params, state, loss = step(params, state)
        np.testing.assert_allclose(loss, expected, rtol=0, atol=1e-5)
    for ours, name in zip(params, ("A", "b", "delta")):
        np.testing.assert_allclose(ours, arrays[f"{name}_after"][: len(ours)], rtol=0, atol=1e-5)


def test_synthetic_process(golden):
    arrays = golden("dataset_ode_d10")
    raw = simulate_process(jnp.asarray(arrays["x_raw"]), int(arrays["n_steps"]))
    np.testing.assert_allclose(raw, arrays["y_raw"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(normalise_rows(raw), arrays["y"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(normalise_rows(jnp.asarray(arrays["x_raw"])), arrays["x"], rtol=0, atol=2e-6)
