"""Echo state network: parameters, ridge readout, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.memory_capacity import mask, reservoir
from offprint.memory_capacity._esn import ESN, Fixed, ridge_readout

KEY = jax.random.key(0)
N, T = 10, 200
z = jax.random.uniform(KEY, (T,), minval=-1, maxval=1)


@pytest.fixture
def network():
    return ESN(reservoir.orthogonal(KEY, N), mask.normal(KEY, N), activation="identity", washout=20)


def test_only_the_readout_is_a_parameter(network):
    trained = nnx.to_flat_state(nnx.state(network, nnx.Param))
    assert sorted(path[0] for path, _ in trained) == ["offset", "weights"]
    fixed = nnx.to_flat_state(nnx.state(network, Fixed))
    assert sorted(path[0] for path, _ in fixed) == ["A", "C", "bias", "leak"]


def test_a_linear_network_recalls_recent_inputs(network):
    target = jnp.roll(z, 2)
    assert network.fit(z, target, alpha=1e-10) is network
    output = network(z)[:, 0]
    # Recall of lag 2 by a linear network of N neurons and rho 0.9 leaves about 1 - MC_2 of the variance.
    assert jnp.mean((output - target[20:]) ** 2) < 0.2 * jnp.var(target)
    assert jnp.mean((output - jnp.roll(z, 40)[20:]) ** 2) > 0.5 * jnp.var(target)


@pytest.mark.parametrize("solver", ["svd", "qr", "cholesky"])
def test_ridge_solvers_meet_the_normal_equations(network, solver):
    X, Y = network.states(z), jnp.stack([z[20:], jnp.roll(z, 3)[20:] + 1], axis=1)
    W, offset = ridge_readout(X, Y, 0.3, solver)
    Xc = X - X.mean(axis=0)
    np.testing.assert_allclose(Xc.T @ (Y - X @ W - offset), 0.3 * W, atol=1e-10)
    np.testing.assert_allclose((Y - X @ W - offset).mean(axis=0), 0, atol=1e-12)


def test_rank_deficient_states_get_the_least_norm_readout():
    X = jnp.stack([z, 2 * z], axis=1)
    W, _ = ridge_readout(X, z, 0.0)
    np.testing.assert_allclose(W[:, 0], [0.2, 0.4], atol=1e-12)


def test_gradient_flows_to_the_readout_and_the_network_jits(network):
    @nnx.jit
    def slope(model):
        return nnx.grad(lambda model: jnp.sum(model(z) ** 2))(model)

    network.fit(z, z)
    gradient = slope(network)
    assert gradient["weights"][...].shape == (N, 1)
    expected = 2 * network.states(z).T @ network(z)
    np.testing.assert_allclose(gradient["weights"][...], expected, rtol=1e-8)


def test_bad_targets(network):
    with pytest.raises(ValueError, match="Y has 199 rows and X has 200"):
        network.fit(z, z[1:])
    with pytest.raises(ValueError, match="make it with n_outputs=2"):
        network.fit(z, jnp.stack([z, z], axis=1))
    with pytest.raises(ValueError, match="solver='lu' is unknown; one of 'svd', 'qr', 'cholesky'"):
        network.fit(z, z, solver="lu")
    with pytest.raises(ValueError, match=r"alpha=-1.0; a penalty that is not negative"):
        network.fit(z, z, alpha=-1.0)
