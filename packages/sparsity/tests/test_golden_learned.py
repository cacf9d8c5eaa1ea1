"""Golden arrays: hard-concrete gates, variational dropout, penalties and reparameterisations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._admm import admm_project
from offprint.sparsity._continuous import continuous_gate
from offprint.sparsity._hard_concrete import HardConcrete
from offprint.sparsity._penalties import group_lasso, hoyer_measure, hoyer_square
from offprint.sparsity._powerprop import powerprop, powerprop_init
from offprint.sparsity._prox import prox_group_lasso, prox_l0, prox_l1
from offprint.sparsity._slimming import polarisation
from offprint.sparsity._str import soft_threshold_reparam
from offprint.sparsity._variational import (
    kept_weights,
    kl_approx,
    kl_exact,
    local_reparameterisation,
    log_alpha_of,
    variational_kl,
)


def compare(found, expected, rtol):
    """All arrays at once, relative to the largest value of each."""
    for name, value in found.items():
        reference = np.asarray(expected[name], np.float64)
        scale = np.abs(reference).max()
        np.testing.assert_allclose(np.asarray(value), reference, rtol=0, atol=rtol * scale, err_msg=name)


def hard_concrete(log_alpha, u, gate):
    return {
        "p_zero": gate.p_zero(log_alpha),
        "p_nonzero": gate.p_nonzero(log_alpha),
        "p_one": gate.p_one(log_alpha),
        "mean": gate.mean(log_alpha),
        "var": gate.variance(log_alpha),
        "test_gate": gate.test_gate(log_alpha),
        "sample": gate.sample(log_alpha, u),
        "dpnz_dlogalpha": jax.grad(gate.penalty)(log_alpha),
    }


def variational(log_alpha, x, theta, log_sigma2, noise):
    mean, var = x @ theta, jnp.square(x) @ jnp.exp(log_sigma2)
    return {
        "kl_exact": kl_exact(log_alpha),
        "kl_approx": kl_approx(log_alpha),
        "lrt_sample": local_reparameterisation(mean, var, noise),
        "theta_log_alpha": log_alpha_of(theta, log_sigma2),
        "kept": kept_weights(theta, log_sigma2),
        "kl_sum": variational_kl(theta, log_sigma2),
    }


def regularizers(v, lam, s, gamma):
    params = {"kernel": v}
    str_w, pull = jax.vjp(soft_threshold_reparam, v, s)
    str_dw, str_ds_sum = pull(jnp.ones_like(v))
    power = {
        f"powerprop{alpha}{suffix}": value
        for alpha in (2, 3)
        for suffix, value in (
            ("", powerprop(v, alpha)),
            ("_d", jax.jvp(lambda theta, alpha=alpha: powerprop(theta, alpha), (v,), (jnp.ones_like(v),))[1]),
            ("_inv", powerprop_init(v, alpha)),
        )
    }
    return power | {
        "prox_l1": prox_l1(v, lam),
        "prox_group_col": prox_group_lasso(v, lam),
        "prox_l0": prox_l0(v, lam),
        "str_w": str_w,
        "str_dw": str_dw,
        "str_ds_sum": str_ds_sum,
        "hoyer_square": hoyer_square(params),
        "hoyer": hoyer_measure(v),
        "polar": polarisation({"scale": gamma}),
        "admm_z": admm_project(v, 0.7),
        "group_lasso": group_lasso(params),
        "cs_sigmoid": continuous_gate(v, 4.0),
    }


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 2e-5)])
def test_hard_concrete_golden(golden, dtype, rtol):
    g = golden("hard_concrete")
    gate = HardConcrete(*map(float, g["params"]))
    found = jax.jit(hard_concrete, static_argnums=2)(g["log_alpha"].astype(dtype), g["u"].astype(dtype), gate)
    assert all(value.dtype == dtype for value in found.values())
    compare(found, g, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 2e-5)])
def test_variational_golden(golden, dtype, rtol):
    g = golden("variational_dropout")
    names = ("log_alpha", "x", "theta", "log_sigma2", "noise")
    found = jax.jit(variational)(*(g[name].astype(dtype) for name in names))
    # Exactly; the other arrays to rounding.
    np.testing.assert_array_equal(found.pop("kept"), g["kept"].astype(bool))
    compare(found, g, rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-9), ("float32", 2e-5)])
def test_regularizers_golden(golden, dtype, rtol):
    g = golden("regularizers")
    found = jax.jit(regularizers)(*(g[name].astype(dtype) for name in ("v", "lam", "str_s", "polar_gamma")))
    np.testing.assert_array_equal(found["admm_z"] != 0, g["admm_z"] != 0)
    np.testing.assert_array_equal(found["prox_l0"] != 0, g["prox_l0"] != 0)
    compare(found, g, rtol)
