"""The closed form of the derivative against finite differences and against JAX's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from offprint.moex import moment_exchange
from offprint.moex._exchange import _Settings, exchange_reference
from offprint.moex._norms import layout, parse_norm

NORMS = ("pono", "in", "ln", "gn2", "gpono2")
X = 0.3 + jax.random.normal(jax.random.key(1), (5, 2, 3, 8))
COTANGENT = jax.random.normal(jax.random.key(2), X.shape)
PERMUTATION, REPEATED = np.array([1, 2, 0, 4, 3]), np.array([1, 1, 2, 0, 1])
OPTIONS = [{}, {"ddof": 0}, {"positive_only": True}, {"detach_moments": True}, {"eps": 0.5}]


@pytest.mark.parametrize("positive_only", [False, True])
def test_finite_differences(positive_only):
    @jax.jit
    def every_norm(x, swap_index):
        return jnp.stack([moment_exchange(x, swap_index, norm, positive_only=positive_only) for norm in NORMS])

    for swap_index in (PERMUTATION, REPEATED):
        check_grads(
            functools.partial(every_norm, swap_index=swap_index), (X,), order=1, modes=["rev"], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_closed_form_equals_autodiff(options):
    def reference(x, swap_index, norm):
        where = layout(parse_norm(norm), x.shape, -1)
        chosen = {"eps": 1e-5, "ddof": 1, "positive_only": False, "detach_moments": False, "axis_name": None, **options}
        return exchange_reference(x, swap_index, _Settings(where, **chosen))

    @jax.jit
    def gap(swap_index):
        gaps = []
        for norm in NORMS if options in ({}, {"positive_only": True}) else ("gpono2",):
            ours = jax.vjp(lambda x, norm=norm: moment_exchange(x, swap_index, norm, **options), X)
            theirs = jax.vjp(lambda x, norm=norm: reference(x, swap_index, norm), X)
            gaps += [jnp.abs(ours[0] - theirs[0]).max(), jnp.abs(ours[1](COTANGENT)[0] - theirs[1](COTANGENT)[0]).max()]
        return jnp.stack(gaps)

    for swap_index in (PERMUTATION, REPEATED):
        np.testing.assert_allclose(gap(swap_index), 0, atol=1e-10)


def test_identity_permutation_passes_the_cotangent_through():
    x, g = X.astype(jnp.float32), COTANGENT.astype(jnp.float32)
    dx = jax.vjp(lambda x: moment_exchange(x, np.arange(5)), x)[1](g)[0]
    np.testing.assert_array_equal(dx, g)


def test_constant_features_have_finite_gradients():
    x = X.at[0].set(2.0)
    _, pull = jax.vjp(lambda x: moment_exchange(x, PERMUTATION), x)
    assert np.isfinite(pull(COTANGENT)[0]).all()


def test_second_derivative():
    def energy(x):
        return jnp.sum(moment_exchange(x, REPEATED) ** 3)

    check_grads(jax.jit(jax.grad(energy)), (X,), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)


def test_low_precision_and_vmap():
    def gradient(x):
        return jax.vjp(lambda x: moment_exchange(x, PERMUTATION, "in"), x)[1](COTANGENT.astype(x.dtype))[0]

    half = gradient(X.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    exact = gradient(X.astype(jnp.bfloat16).astype(jnp.float64))
    np.testing.assert_allclose(half.astype(float), exact, atol=0.02 * np.abs(exact).max())
    both = jax.vmap(gradient)(jnp.stack([X, 2 * X]))
    np.testing.assert_allclose(both[1], gradient(2 * X), rtol=0, atol=1e-12)
