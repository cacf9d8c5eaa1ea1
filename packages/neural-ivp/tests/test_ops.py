"""Derivatives of functions of one point against those worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp import ops

X = jnp.array([0.3, -0.7, 0.2])


def u(x):
    """Two components: a wave, and a polynomial of degree 4."""
    return jnp.stack([jnp.sin(x @ jnp.array([1.0, 2.0, -1.0], x.dtype)), x[0] ** 3 * x[1] + x[2] ** 2])


def test_grad_and_hessian_are_those_by_hand():
    s, c = np.sin(0.3 - 1.4 - 0.2), np.cos(0.3 - 1.4 - 0.2)
    k = np.array([1.0, 2.0, -1.0])
    np.testing.assert_allclose(ops.grad(u, X)[0], c * k, rtol=1e-14)
    np.testing.assert_allclose(ops.grad(u, X)[1], [3 * 0.09 * -0.7, 0.027, 0.4], rtol=1e-14)
    np.testing.assert_allclose(ops.hessian(u, X)[0], -s * np.outer(k, k), rtol=1e-14)
    np.testing.assert_allclose(
        ops.hessian(u, X)[1], [[6 * 0.3 * -0.7, 0.27, 0], [0.27, 0, 0], [0, 0, 2]], rtol=1e-14, atol=1e-16
    )


def test_laplacian_is_the_trace_of_the_hessian_compiled_or_not():
    trace = np.trace(np.asarray(ops.hessian(u, X)), axis1=1, axis2=2)
    np.testing.assert_allclose(ops.laplacian(u, X), trace, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda x: ops.laplacian(u, x))(X), trace, rtol=1e-14)


def test_a_laplacian_in_d_dimensions_costs_about_1_plus_2d_evaluations():
    d, width = 4, 64
    W = jax.random.normal(jax.random.key(0), (3, width, width))

    def net(x):
        z = jnp.tile(x, width // d)
        for i in range(3):
            z = jnp.tanh(z @ W[i])
        return z[:1]

    points = jnp.ones((64, d))
    flops = [
        jax.jit(jax.vmap(f)).lower(points).compile().cost_analysis()["flops"]
        for f in (net, lambda x: ops.laplacian(net, x))
    ]
    assert flops[1] < 1.3 * (1 + 2 * d) * flops[0]


def test_partial_derivatives_of_any_order_commute_and_count_axes_from_either_end():
    np.testing.assert_allclose(ops.partial(u, X), u(X))
    np.testing.assert_allclose(ops.partial(u, X, 0, 0, 1)[1], 6 * 0.3, rtol=1e-14)
    np.testing.assert_allclose(ops.partial(u, X, 1, 0, 0), ops.partial(u, X, 0, 1, 0), rtol=1e-13)
    np.testing.assert_allclose(ops.partial(u, X, -1, -1)[1], 2.0)
    np.testing.assert_allclose(ops.partial(u, X, 0, 0, 0, 0), [np.sin(0.3 - 1.4 - 0.2), 0], rtol=1e-13, atol=1e-15)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_directional_derivatives_are_products_with_the_gradient_and_the_hessian(x, v):
    x, v = jnp.array(x), np.array(v)
    first, second = directional_both(x, v)
    np.testing.assert_allclose(first, np.asarray(ops.grad(u, x)) @ v, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(second, np.einsum("kij,i,j", ops.hessian(u, x), v, v), rtol=1e-12, atol=1e-12)


@jax.jit
def directional_both(x, v):
    return ops.directional(u, x, v), ops.directional(u, x, v, order=2)


def test_divergence_of_one_field_and_of_one_for_each_component():
    def field(x):
        return jnp.stack([x[0] ** 2, x[0] * x[1], jnp.sin(x[2])])

    by_hand = 2 * 0.3 + 0.3 + np.cos(0.2)
    np.testing.assert_allclose(ops.div(field, X), by_hand, rtol=1e-14)
    np.testing.assert_allclose(
        ops.div(lambda x: jnp.stack([field(x), 2 * field(x)]), X), [by_hand, 2 * by_hand], rtol=1e-14
    )
    np.testing.assert_allclose(ops.div(lambda x: ops.grad(u, x), X), ops.laplacian(u, X), rtol=1e-14)


def test_float32_stays_float32():
    x = X.astype(jnp.float32)
    for result in (ops.grad(u, x), ops.laplacian(u, x), ops.partial(u, x, 0, 0), ops.directional(u, x, np.ones(3))):
        assert result.dtype == jnp.float32


def test_wrong_axes_orders_and_fields_are_told():
    with pytest.raises(ValueError, match="axes \\(0, 3\\) of an x with 3 coordinates"):
        ops.partial(u, X, 0, 3)
    with pytest.raises(ValueError, match="order=-1"):
        ops.directional(u, X, X, order=-1)
    with pytest.raises(ValueError, match="last axis has the 3 coordinates, got shape \\(2,\\)"):
        ops.div(u, X)
    with pytest.raises(ValueError, match="got shape \\(\\)"):
        ops.div(lambda x: x[0], X)
