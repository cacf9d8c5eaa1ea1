"""Convergence studies: rates of theory, and the networks in them against networks applied by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import resnet_apply
from offprint.resnet_scaling._forward import sigma_of
from offprint.resnet_scaling._network import ResNetParams
from offprint.resnet_scaling.limits import Increments, convergence_rate, neural_ode, sde, strong_convergence_rate
from offprint.resnet_scaling.limits._rates import on_one_path
from offprint.resnet_scaling.limits._sde import equation_of, noise_of

X0 = np.array([0.7, -0.4])
SCALES = {"scale_A": 0.6, "scale_b": 0.4}


def A_bar(t):
    return jnp.array([[-0.5, -jnp.cos(2 * t)], [jnp.cos(2 * t), -0.5 * jnp.sin(3 * t)]])


def b_bar(t):
    return jnp.array([jnp.sin(2 * t), 0.5])


@pytest.mark.parametrize(("activation", "alpha", "beta"), [("tanh", 1.0, 0.0), ("tanh", 0.5, 0.5), ("relu", 0.5, 0.5)])
def test_rate_one(activation, alpha, beta):
    rate = convergence_rate(A_bar, b_bar, X0, [64, 128, 256, 512], alpha=alpha, beta=beta, activation=activation)
    assert abs(rate.rate - 1) < 0.05
    np.testing.assert_allclose(rate.local, 1, atol=0.05)


def test_slower_rates_of_the_linear_ode():
    """σ''(0) ≠ 0 leaves L^-β; β < ½ leaves L^-2β, approached from above."""
    depths = [2**k for k in (10, 11, 12, 13)]
    curved = convergence_rate(A_bar, b_bar, X0, depths, alpha=0.5, beta=0.5, activation=jnp.expm1)
    assert abs(curved.local[-1] - 0.5) < 0.05
    cubic = convergence_rate(A_bar, b_bar, X0, depths, alpha=0.7, beta=0.3)
    assert 0.6 < cubic.local[-1] < cubic.local[0] < 0.85


def test_errors_are_distances_from_the_limit():
    """The networks of the study are those of `resnet_apply`, over a batch."""
    batch = np.stack([X0, -X0, 2 * X0])
    found = convergence_rate(A_bar, b_bar, batch, [8, 16, 32], alpha=1.0, beta=0.0)
    t = jnp.arange(16) / 16
    params = ResNetParams(jax.vmap(A_bar)(t), jax.vmap(b_bar)(t), jnp.zeros(0))
    difference = resnet_apply(params, batch, delta=1 / 16) - neural_ode(A_bar, b_bar, batch)
    np.testing.assert_allclose(found.errors[1], np.sqrt(np.mean(np.sum(difference**2, axis=-1))), rtol=1e-9)


def test_networks_on_golden_noise(golden):
    """All depths at once, in one loop over the fine steps, give the golden networks."""
    arrays = golden("sde_expm1")
    dW = Increments(np.swapaxes(arrays["dW_A"], -1, -2).astype(float), arrays["dW_b"].astype(float))
    settings = {"scale_A": float(arrays["q_A"]), "scale_b": float(arrays["q_b"]), "activation": jnp.expm1}
    x0 = np.broadcast_to(arrays["x0"], (3, 2))
    rate = strong_convergence_rate(A_bar, b_bar, x0, arrays["depths"], dW=dW, **settings)
    distances = np.linalg.norm(arrays["network_output"] - arrays["sde_euler_maruyama"], axis=-1)
    np.testing.assert_allclose(rate.errors, np.sqrt(np.mean(distances**2, axis=-1)), rtol=1e-9)


@pytest.fixture(scope="module")
def strong():
    """Rates of expm1 networks with and without the Itô term, on the same noise."""
    x0 = np.broadcast_to(X0, (200, 2))
    settings = {"activation": jnp.expm1, "key": jax.random.key(0), "n_steps": 4096, **SCALES}
    depths = [64, 256, 1024]
    return [strong_convergence_rate(A_bar, b_bar, x0, depths, ito=ito, **settings) for ito in (True, False)]


def test_strong_rate_is_one_half(strong):
    assert abs(strong[0].rate - 0.5) < 0.12  # 0.5 ± 0.07 with more depths and finer steps, in the experiment
    assert strong[0].errors[-1] <= 0.05


def test_without_the_ito_term_a_constant_is_left(strong):
    assert abs(strong[1].rate) < 0.1
    assert strong[1].errors[-1] >= 0.35


def test_the_limit_of_the_study_is_sde():
    """With as many layers as steps and no curvature, network and limit differ by the cubic term of tanh alone."""
    x0 = np.broadcast_to(X0, (50, 2))
    settings = {"key": jax.random.key(2), "n_steps": 512, **SCALES}
    equation, h0 = equation_of(A_bar, b_bar, x0, "identity", *SCALES.values(), None, True)
    noise = noise_of(None, settings["key"], 512, h0)
    outputs, limit = on_one_path(equation, sigma_of("identity"), h0, jnp.array([128, 512]), noise)
    assert np.abs(outputs[1] - limit).max() < 1e-12  # for σ = identity 512 layers take the Euler steps themselves
    assert np.abs(outputs[0] - limit).max() > 1e-3
    path = sde(A_bar, b_bar, x0, return_path=True, activation="identity", **settings)
    assert np.all(np.isfinite(path))
