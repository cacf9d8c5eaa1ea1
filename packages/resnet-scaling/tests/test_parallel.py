"""All layers at once: the states of the scan where Newton converges, and the scan itself where it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling import ResNetParams, init_params, parallel_apply, resnet_apply
from offprint.resnet_scaling import _parallel as parallel

DEPTH, DIM = 12, 3
X = jax.random.normal(jax.random.key(1), (5, DIM))


def smooth(depth=DEPTH):
    return init_params(jax.random.key(0), depth, DIM, initial_sd=DIM)


def expanding(depth=DEPTH):
    """Layers that grow the state e^10 times and flip its signs: no start is near enough for Newton."""
    A = 30 * jax.random.normal(jax.random.key(3), (depth, DIM, DIM))
    return ResNetParams(A, jnp.ones((depth, DIM)), jnp.ones((1,)))


def value_info_gradient(params, x, max_iterations=10):
    def loss(params, x):
        output, info = parallel_apply(params, x, activation=jnp.sin, max_iterations=max_iterations)
        return jnp.sum(output**2), (output, info)

    (_, (output, info)), gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)
    return output, info, gradient


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(value_info_gradient)


@pytest.fixture(scope="module")
def sequential():
    def run(params, x):
        def loss(params, x):
            output = resnet_apply(params, x, activation=jnp.sin)
            return jnp.sum(output**2), output

        (_, output), gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)
        return output, gradient

    return jax.jit(run)


def assert_close(ours, expected, tolerance=1e-11):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


def test_smooth_layers_converge_in_a_few_iterations(compiled, sequential):
    output, info, gradient = compiled(smooth(), X)
    assert bool(info.converged)
    assert 2 <= int(info.iterations) <= 6
    assert float(info.residual) < 1e-13
    assert_close((output, gradient), sequential(smooth(), X))


def test_expanding_layers_fall_back_inside_jit(compiled, sequential):
    output, info, gradient = compiled(expanding(), X)
    assert not bool(info.converged)
    assert int(info.iterations) == 10
    assert_close((output, gradient), sequential(expanding(), X))


def test_states_that_are_not_finite_fall_back(compiled, sequential):
    params = smooth()._replace(delta=jnp.array([jnp.inf]))
    output, info, _ = compiled(params, X)
    assert not bool(info.converged)
    np.testing.assert_array_equal(output, sequential(params, X)[0])


def test_vmap_mixes_nets_that_converge_and_that_do_not(sequential):
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), smooth(), expanding())
    output, info, gradient = jax.jit(jax.vmap(value_info_gradient, in_axes=(0, None)))(both, X)
    assert info.converged.tolist() == [True, False]
    for i, params in enumerate((smooth(), expanding())):
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], (output, gradient)), sequential(params, X))


def test_the_batch_is_split_where_jacobians_would_not_fit(monkeypatch, sequential):
    monkeypatch.setattr(parallel, "JACOBIAN_BYTES", 2 * DEPTH * DIM**2 * 8)
    output, info, gradient = jax.jit(lambda p, x: value_info_gradient(p, x))(smooth(), X)  # parts of 2, 2 and 1
    assert bool(info.converged)
    assert_close((output, gradient), sequential(smooth(), X))


def test_wide_networks_are_run_by_the_scan():
    params = init_params(jax.random.key(0), 2, 65, initial_sd=65)
    x = jnp.ones((1, 65))
    output, info = parallel_apply(params, x)
    assert not bool(info.converged)
    assert int(info.iterations) == 0
    np.testing.assert_array_equal(output, resnet_apply(params, x))


def test_single_precision():
    params, x = jax.tree.map(lambda leaf: leaf.astype(np.float32), (smooth(), X))
    output, info = jax.jit(parallel_apply)(params, x)
    assert output.dtype == np.float32
    assert bool(info.converged)
    np.testing.assert_allclose(output, resnet_apply(smooth(), X), rtol=0, atol=1e-5)
