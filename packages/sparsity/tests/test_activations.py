"""Sparse activations and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.sparsity._activations import activation_sparsity, fatrelu, kwta, meprop
from offprint.sparsity.nnx._kwta import KWTA, FATReLU


def reference(x, k):
    order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    kept = np.zeros_like(x)
    np.put_along_axis(kept, order, np.take_along_axis(x, order, -1), -1)
    return kept


three_of = jax.jit(lambda x: kwta(x, 3))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=24, max_size=24))
def test_k_survive_and_ties_keep_the_lower_index(numbers):
    x = np.array(numbers, float).reshape(4, 6)
    np.testing.assert_array_equal(three_of(x), reference(x, 3))


def test_axes_that_compete():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    np.testing.assert_array_equal(
        kwta(jnp.asarray(x), 2, axis=(1, 2, 3)), reference(x.reshape(2, -1), 2).reshape(x.shape)
    )
    np.testing.assert_array_equal(
        kwta(jnp.asarray(x), 2, axis=1), np.moveaxis(reference(np.moveaxis(x, 1, -1), 2), -1, 1)
    )
    np.testing.assert_array_equal(KWTA(0.4)(jnp.asarray(x)), reference(x, 2))
    np.testing.assert_array_equal(KWTA(2, axis=(1, 2, 3))(jnp.asarray(x)), kwta(jnp.asarray(x), 2, axis=(1, 2, 3)))


def test_gradient_passes_the_winners_only():
    x = jnp.array([[3.0, 1.0, 2.0, -1.0]])
    np.testing.assert_array_equal(jax.grad(lambda x: kwta(x, 2).sum())(x), [[1.0, 0.0, 1.0, 0.0]])


def test_fatrelu():
    x = jnp.array([-1.0, 0.2, 0.5, 2.0])
    np.testing.assert_array_equal(fatrelu(x, 0.5), [0.0, 0.0, 0.5, 2.0])
    np.testing.assert_array_equal(FATReLU()(x), jax.nn.relu(x))
    np.testing.assert_array_equal(jax.grad(lambda x: fatrelu(x, 0.5).sum())(x), [0.0, 0.0, 1.0, 1.0])


def test_meprop_cuts_the_error_and_nothing_else():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)))
    w = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6)))
    y, error = jax.jit(jax.value_and_grad(lambda x: jnp.sum(w * meprop(x, 2))))(x)
    np.testing.assert_allclose(y, np.sum(w * x))
    np.testing.assert_array_equal(np.asarray(error), np.where(reference(np.abs(w), 2) != 0, w, 0))
    np.testing.assert_array_equal(jax.vmap(lambda x: meprop(x, 2))(x), x)


def test_activation_sparsity():
    assert activation_sparsity({"a": jnp.array([[0.0, 1.0], [0.0, 0.0]])}) == {"a": 0.75}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: kwta(x, 7), "k must be between 1 and the 6 activations that compete; got 7"),
        (lambda x: meprop(x, 0), "k must be between 1 and the 6 features; got 0"),
        (lambda x: KWTA(1.5), "a whole number of at least 1 or a share"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 6)))
