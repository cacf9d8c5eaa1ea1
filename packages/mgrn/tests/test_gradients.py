"""Derivatives of every way to run the layer, against finite differences and against each other."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_vjp

from offprint.mgrn._init import init
from offprint.mgrn._layer import apply
from offprint.mgrn._params import MGRNCarry

LENGTHS = jnp.array([4, 1, 3])
PATHS = {
    "scan": {"vjp": "autodiff", "unroll": 1},
    "unrolled": {"vjp": "autodiff", "unroll": 4},
    "custom": {"vjp": "custom", "unroll": 1},
    "custom, unrolled": {"vjp": "custom", "unroll": 4},
    "custom, partly unrolled": {"vjp": "custom", "unroll": 2},
    "masked": {"vjp": "autodiff", "unroll": 1, "lengths": LENGTHS},
    "custom, masked": {"vjp": "custom", "unroll": 1, "lengths": LENGTHS},
    "custom, checkpointed": {"vjp": "custom", "unroll": 1, "remat": True},
    "custom, checkpointed, masked": {"vjp": "custom", "unroll": 1, "remat": 3, "lengths": LENGTHS},
    "kernel": {"kernel": "interpret", "unroll": 1},
    "kernel, masked": {"kernel": "interpret", "unroll": 1, "lengths": LENGTHS},
}


@pytest.fixture(scope="module")
def arguments():
    keys = jax.random.split(jax.random.key(0), 4)
    make = partial(init, groups=[[0, 2], [1], [3, 4, 5]], hidden=3, size_of=1.5, out=2, dtype=jnp.float64)
    h, g = (jax.random.uniform(key, shape, jnp.float64, -1, 1) for key, shape in zip(keys[1:], ((3, 3, 3), (3, 4))))
    return jax.jit(make)(keys[0]), jax.random.normal(keys[3], (3, 4, 6), jnp.float64), MGRNCarry(h, g)


def close(a, b, atol=1e-13):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=atol), a, b)


def compiled(options, states=False) -> Callable:
    """Value and gradients of a scalar of the output, and of all states, by weights, input and carry."""

    def value(params, x, carry):
        outputs = apply(params, x, carry=carry, return_states=states, **options)
        return sum(jnp.sum(jnp.sin((k + 1) * leaf)) for k, leaf in enumerate(jax.tree.leaves(outputs)))

    return jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))


def check_finite_differences(function, arguments):
    """`check_grads` of order 1 for a function that was compiled with its gradients."""

    def vjp(*arguments):
        value, gradients = function(*arguments)
        return value, lambda cotangent: jax.tree.map(lambda leaf: cotangent * leaf, gradients)

    check_vjp(lambda *arguments: function(*arguments)[0], vjp, arguments, eps=1e-6, rtol=1e-5, atol=1e-8)


@pytest.fixture(scope="module")
def expected(arguments):
    """Gradients by JAX's own derivative of the scan, without and with lengths."""
    plain = {"vjp": "autodiff", "unroll": 1}
    masked = plain | {"lengths": LENGTHS}
    return {False: compiled(plain)(*arguments), True: compiled(masked)(*arguments)}


@pytest.mark.parametrize("name", PATHS)
def test_finite_differences_and_autodiff(name, arguments, expected):
    options = PATHS[name]
    function = compiled(options)
    check_finite_differences(function, arguments)
    close(function(*arguments), expected["lengths" in options])


def test_forward_mode_of_autodiff(arguments, expected):
    """The automatic derivative works forwards too, for what the custom one has no rule for."""
    tangents = jax.tree.map(jnp.cos, arguments)

    def value(params, x, carry):
        return jnp.sum(jnp.sin(apply(params, x, carry=carry, vjp="autodiff", unroll=1)))

    _, along = jax.jit(lambda *arguments: jax.jvp(value, arguments, tangents))(*arguments)
    pairs = zip(jax.tree.leaves(expected[False][1]), jax.tree.leaves(tangents), strict=True)
    close(along, sum(jnp.vdot(a, b) for a, b in pairs), atol=1e-12)


@pytest.fixture(scope="module")
def expected_of_states(arguments):
    return compiled({"vjp": "autodiff", "unroll": 1, "lengths": LENGTHS}, states=True)(*arguments)


@pytest.mark.parametrize("kernel", ["scan", "interpret"])
def test_gradients_of_all_states(kernel, arguments, expected_of_states):
    """Cotangents of every state, candidate and gate, by the hand-derived recurrences and by autodiff."""
    function = compiled({"kernel": kernel, "unroll": 1, "lengths": LENGTHS}, states=True)
    close(function(*arguments), expected_of_states, atol=1e-12)
    check_finite_differences(function, arguments)


def test_vmap_over_weights_of_the_custom_derivative(arguments):
    params, x, carry = arguments
    many = jax.tree.map(lambda leaf: np.stack([leaf, 0.5 * leaf]), params)
    function = compiled({"unroll": 1})
    vmapped = jax.vmap(function, in_axes=(0, None, None))(many, x, carry)
    for k in range(2):
        one = function(jax.tree.map(lambda leaf: leaf[k], many), x, carry)  # noqa: B023
        close(jax.tree.map(lambda leaf: leaf[k], vmapped), one)  # noqa: B023
