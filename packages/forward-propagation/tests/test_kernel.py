"""The feeding kernel: values and derivatives of every order, for all pairs of rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._kernel import (
    decay,
    kernel,
    kernel_and_decay,
    kernel_dalpha,
    kernel_dbeta,
    kernel_ds,
)

DERIVATIVES = {"dh_ds": kernel_ds, "dh_dalpha": kernel_dalpha, "dh_dbeta": kernel_dbeta}


@pytest.fixture(scope="module")
def table():
    from pathlib import Path

    with np.load(Path(__file__).parent / "golden" / "kernel.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def relative(got, want):
    return np.max(np.abs(np.asarray(got) - want) / np.maximum(np.abs(want), 1e-300))


@pytest.mark.parametrize(("name", "function"), [("h", kernel), *DERIVATIVES.items()])
def test_values_agree_with_high_precision_also_where_the_rates_are_equal_or_nearly(table, name, function):
    assert relative(function(table["s"], table["alpha"], table["beta"]), table[name]) < 1e-12


@pytest.mark.parametrize(("argument", "name"), list(enumerate(DERIVATIVES)))
def test_automatic_derivatives_are_the_closed_forms(table, argument, name):
    arguments = [jnp.asarray(table[key]) for key in ("s", "alpha", "beta")]
    assert relative(jax.vmap(jax.grad(kernel, argument))(*arguments), table[name]) < 1e-12


@pytest.mark.parametrize("rates", [(1.0, 1.0), (1.0, 1.0 + 1e-13), (1.0, 0.7), (0.3, 2.0)])
def test_second_derivatives_agree_with_differences_of_the_first(rates):
    point = jnp.array([0.8, *rates])
    step = 1e-5
    gradient = jax.grad(lambda p: kernel(*p))
    hessian = jax.hessian(lambda p: kernel(*p))(point)
    for k in range(3):
        move = jnp.zeros(3).at[k].set(step)
        difference = (gradient(point + move) - gradient(point - move)) / (2 * step)
        np.testing.assert_allclose(hessian[k], difference, atol=2e-9)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-14)


@pytest.mark.parametrize("function", [kernel, kernel_ds, lambda *p: kernel_and_decay(*p)[1]])
@pytest.mark.parametrize("s", [np.inf, -1.0, -np.inf])
def test_where_there_is_no_spike_value_and_all_derivatives_are_zero_not_nan(function, s):
    point = jnp.array([s, 1.0, 1.0])
    assert function(*point) == 0
    assert not np.any(jax.grad(lambda p: function(*p))(point))
    assert not np.any(jax.hessian(lambda p: function(*p))(point))
    assert decay(s, 1.0) == 0
    assert jax.grad(decay)(jnp.asarray(s), 1.0) == 0


def test_at_zero_derivatives_are_those_from_the_right():
    assert kernel(0.0, 2.0, 3.0) == 0
    assert jax.grad(kernel)(0.0, 2.0, 3.0) == 1
    assert jax.grad(jax.grad(kernel))(0.0, 2.0, 3.0) == pytest.approx(-5.0)


def test_kernel_and_decay_are_the_two_together_with_the_same_derivatives(table):
    arguments = [jnp.asarray(table[key]) for key in ("s", "alpha", "beta")]
    moves = [jnp.ones_like(a) for a in arguments]
    (h, fall), (h_dot, fall_dot) = jax.jvp(kernel_and_decay, arguments, moves)
    want_h, want_h_dot = jax.jvp(kernel, arguments, moves)
    want_fall, want_fall_dot = jax.jvp(decay, arguments[:2], moves[:2])
    np.testing.assert_allclose(h, want_h, rtol=1e-14)
    np.testing.assert_allclose(fall, want_fall, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(h_dot, want_h_dot, rtol=1e-13)
    np.testing.assert_allclose(fall_dot, want_fall_dot, rtol=1e-10, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(s=st.floats(0, 100), alpha=st.floats(1e-2, 1e2), ratio=st.floats(1e-2, 1e2))
def test_the_kernel_is_symmetric_positive_and_below_its_tangent_at_zero(s, alpha, ratio):
    beta = alpha * ratio
    assert kernel(s, alpha, beta) == pytest.approx(float(kernel(s, beta, alpha)), rel=1e-12)
    assert 0 <= kernel(s, alpha, beta) <= s


def test_float32_stays_float32_and_accurate(table):
    arguments = [table[key].astype(np.float32) for key in ("s", "alpha", "beta")]
    exact = kernel(*(a.astype(np.float64) for a in arguments))
    h = kernel(*arguments)
    assert h.dtype == jnp.float32
    np.testing.assert_allclose(h, exact, rtol=3e-5, atol=1e-30)


def test_numbers_give_floating_results():
    assert kernel(1, 1, 1) == pytest.approx(np.exp(-1))
