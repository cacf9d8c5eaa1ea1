"""Sparse variational dropout: the exact divergence, its gradient, the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from offprint.sparsity._variational import (
    kept_weights,
    kl_approx,
    kl_exact,
    kl_ramp,
    local_reparameterisation,
    log_alpha_of,
    variational_kl,
    variational_loss,
)

# The hand-over of the two series lies at -4.28 in float64, at -3.47 in float32.
LA = np.array([-30.0, -10.0, -6.0, -4.3, -4.25, -3.5, -3.4, -1.0, 0.0, 2.0, 9.0, 30.0])


@pytest.fixture(scope="module")
def exact():
    both = jax.jit(lambda la: (kl_exact(la), jax.vmap(jax.grad(kl_exact))(la), kl_approx(la)))
    return {dtype: [np.asarray(out) for out in both(LA.astype(dtype))] for dtype in ("float64", "float32")}


def test_exact_kl_is_the_integral_of_dawsons_function(exact):
    """KL = 2 ∫ D from 0 to 1/√(2α), by adaptive quadrature (in log s beyond 1, where D ~ 1/2s)."""
    for la, found in list(zip(LA, exact["float64"][0]))[1:-1]:
        end = np.exp(-la / 2) / np.sqrt(2)
        near = integrate.quad(special.dawsn, 0, min(end, 1.0), epsabs=0, epsrel=1e-13)[0]
        far = integrate.quad(lambda t: np.exp(t) * special.dawsn(np.exp(t)), 0, np.log(max(end, 1)), epsrel=1e-13)[0]
        np.testing.assert_allclose(found, 2 * (near + far), rtol=1e-12)


def test_its_derivative_is_dawsons_function(exact):
    mu = np.exp(-LA / 2)
    slope = -mu * special.dawsn(mu / np.sqrt(2)) / np.sqrt(2)
    np.testing.assert_allclose(exact["float64"][1], slope, rtol=1e-12)
    np.testing.assert_allclose(exact["float32"][1], slope, rtol=2e-6)


def test_in_float32(exact):
    np.testing.assert_allclose(exact["float32"][0], exact["float64"][0], rtol=2e-6)


def test_the_fit_is_within_its_error(exact):
    found, _, fit = exact["float64"]
    assert np.abs(found - fit)[1:].max() < 0.0094
    np.testing.assert_allclose([found[-1], fit[-1]], 0, atol=1e-12)


def test_float16_does_not_overflow():
    np.testing.assert_allclose(
        np.asarray(kl_exact(np.float16([-7.0, 7.0])), float), [4.13472, np.exp(-7) / 2], rtol=1e-3
    )


def test_a_weight_of_zero_is_noise_and_has_finite_gradients():
    theta, log_sigma2 = np.array([0.0, 1e-30, 0.5], np.float32), np.float32([-9.0, -9.0, -9.0])
    loss = jax.jit(jax.value_and_grad(lambda t, s: variational_kl(t, s, exact=True), (0, 1)))
    value, grads = loss(theta, log_sigma2)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)
    np.testing.assert_array_equal(kept_weights(theta, log_sigma2), [False, False, True])
    np.testing.assert_allclose(log_alpha_of(theta, log_sigma2)[:2], 8.0)


def test_local_reparameterisation_has_the_moments_of_sampled_weights():
    """Exactly: over the four signs of a two-point weight noise, not by sampling."""
    rng = np.random.default_rng(0)
    x, theta, sigma = rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.uniform(0.1, 1, (2, 4))
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)])
    outputs = np.stack([x @ (theta + sigma * s[:, None]) for s in signs])
    up, down = (
        np.asarray(local_reparameterisation(x @ theta, x**2 @ sigma**2, noise * np.ones((3, 4)))) for noise in (1, -1)
    )
    np.testing.assert_allclose((up + down) / 2, outputs.mean(0))
    np.testing.assert_allclose(((up - down) / 2) ** 2, outputs.var(0) + 1e-8)


def test_gradient_is_finite_without_any_input():
    slope = jax.grad(lambda v: local_reparameterisation(0.0 * v, v, jnp.ones_like(v)).sum())(np.zeros(2, np.float32))
    assert np.isfinite(slope).all()


def test_loss_and_ramp():
    np.testing.assert_allclose(variational_loss(0.5, 200.0, 100, kl_weight=0.25), 1.0)
    ramp = jax.jit(lambda step: kl_ramp(step, 10, 20))
    np.testing.assert_allclose([ramp(step) for step in (0, 10, 15, 20, 99)], [0, 0, 0.5, 1, 1])


def test_a_kl_without_scale_warns():
    with pytest.warns(UserWarning, match="number of training examples"):
        np.testing.assert_allclose(variational_loss(0.5, 2.0), 2.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variational_loss(0.5, 1.0, 0), "num_data=0"),
        (lambda: kl_ramp(3, 20, 10), "after it begins"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
