"""Metrics: golden rows, conventions, and curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.federated_mlo import _metrics as metrics


def test_golden(golden):
    arrays = golden("metrics")
    x, demand = arrays["x"], arrays["demand"]
    found = {
        "jain": metrics.jain(x),
        "pf": metrics.proportional_fairness(x),
        "geo_mean": metrics.geometric_mean(x),
        "satisfaction": metrics.satisfaction(x, demand),
        "sat_frac": metrics.satisfied_fraction(x, demand),
        "quant_v": metrics.quantiles(x[:20], arrays["quant_q"]),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, arrays[name], rtol=1e-12, err_msg=name)
    ordered, share = metrics.cdf(x[:20])
    np.testing.assert_allclose(ordered, arrays["cdf_x"], rtol=1e-12)
    np.testing.assert_allclose(share, arrays["cdf_F"], rtol=1e-12)


def test_jain_of_tiny_rates_in_float32():
    x = jnp.array([1e-25, 1e-25, 2e-25], jnp.float32)
    assert float(metrics.jain(x)) == pytest.approx(16 / 18, rel=1e-6)
    assert float(metrics.jain(jnp.zeros(4))) == 1


def test_nothing_demanded_is_always_satisfied():
    np.testing.assert_array_equal(metrics.satisfaction(jnp.zeros(2), jnp.array([0.0, 5.0])), [1, 0])


def test_convergence_step():
    """A step from 0 to 1 at entry 50: the mean of 10 entries is 0.9 when 9 of them are in."""
    curve = jnp.concatenate([jnp.zeros(50), jnp.ones(100)])
    assert int(metrics.convergence_step(curve, window=10)) == 58
    assert int(metrics.convergence_step(jnp.ones(30), window=10)) == 0
    batch = jnp.stack([curve, curve[::-1] + 0.0])
    assert jax.jit(metrics.convergence_step, static_argnums=1)(batch, 10).shape == (2,)


def test_moving_mean():
    np.testing.assert_allclose(metrics.moving_mean(jnp.array([2.0, 4, 6, 8]), 2), [2, 3, 5, 7])


def test_ratio_and_switch_rate():
    assert float(metrics.ratio_to(jnp.array([4.0, 2.0]), 8)) == 0.25
    assert float(metrics.switch_rate(jnp.array([[0, 1], [0, 2], [1, 2]]))) == 0.5
