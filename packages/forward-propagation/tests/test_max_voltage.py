"""The largest potential of readout neurons against a dense grid, its derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.forward_propagation._kernel import kernel
from offprint.forward_propagation._max_voltage import max_voltage
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import spike_train

NEURON = LIF(tau_mem=np.array([0.8, 1.0, 1.3, 0.7]), tau_syn=np.array([0.5, 1.0, 1.3, 1.1]))
T_MAX = 3.0


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(4)
    times = rng.uniform(0, 2.5, (6, 5, 2))
    times[:, 0, 1] = np.inf
    times[0, 1] = np.inf
    weights = jnp.asarray(rng.normal(0.2, 1.5, (5, 4)))
    delays = jnp.asarray(rng.uniform(0, 0.6, (5, 4)))
    return spike_train(times), weights, delays


def potentials(train, weights, delays, grid):
    """V on a grid by the sum over all spikes."""
    alpha, beta = 1 / NEURON.tau_syn, 1 / NEURON.tau_mem
    since = grid[:, None, None, None] - train.times[:, :, None] - delays[:, None, :]
    return jnp.einsum("tjsi,ji->ti", kernel(since, alpha, beta), weights)


def largest(train, weights, delays):
    return max_voltage(train, weights, NEURON, t_max=T_MAX, delays=delays)


def test_it_is_the_maximum_over_a_dense_grid(problem):
    trains, weights, delays = problem
    found = jax.vmap(largest, in_axes=(0, None, None))(trains, weights, delays)
    grid = jnp.linspace(0, T_MAX, 20_001)
    dense = jax.vmap(lambda train: potentials(train, weights, delays, grid).max(0))(trains)
    assert (found >= dense - 1e-12).all()
    assert np.allclose(found, dense, atol=3e-4)
    assert np.isclose(found, 0).any()
    assert (found > 0.1).sum() > 10


def test_derivatives_are_those_of_finite_differences_also_on_arrivals_and_at_the_horizon(problem):
    trains, weights, delays = problem

    @jax.jit
    def total(times, weights, delays, c):
        return (jax.vmap(largest, in_axes=(0, None, None))(trains._replace(times=times), weights, delays) * c).sum()

    c = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)))
    arguments = (trains.times, weights, delays)
    slopes = jax.grad(total, argnums=(0, 1, 2))(*arguments, c)
    rng = np.random.default_rng(5)
    for _ in range(6):
        direction = [jnp.asarray(rng.normal(size=a.shape)) for a in arguments]
        step = 1e-6
        ahead, behind = (
            total(*(a + s * d for a, d in zip(arguments, direction, strict=True)), c) for s in (step, -step)
        )
        expected = sum(jnp.vdot(g, d) for g, d in zip(slopes, direction, strict=True))
        assert np.isclose((ahead - behind) / (2 * step), expected, rtol=1e-6, atol=1e-7)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_second_derivative_notices_that_the_peak_moves(problem):
    trains, weights, delays = problem
    train = jax.tree.map(lambda leaf: leaf[2], trains)
    slope = jax.jit(jax.grad(lambda w: (largest(train, w, delays) ** 2).sum()))
    hessian = jax.jacfwd(slope)(weights)
    direction = jnp.asarray(np.random.default_rng(6).normal(size=weights.shape))
    step = 1e-6
    expected = (slope(weights + step * direction) - slope(weights - step * direction)) / (2 * step)
    assert np.allclose(jnp.einsum("ijkl,kl->ij", hessian, direction), expected, rtol=1e-6, atol=1e-7)


def test_a_neuron_that_is_only_inhibited_stays_at_rest():
    train = spike_train([[0.5, 1.0]])
    value, slope = jax.value_and_grad(lambda w: max_voltage(train, w, LIF(1.0, 1.0), t_max=2.0).sum())(
        -jnp.ones((1, 3))
    )
    assert value == 0
    assert not slope.any()


def test_batches_and_transposed_weights_are_refused(problem):
    trains, weights, _ = problem
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        max_voltage(trains, weights, NEURON, t_max=T_MAX)
    with pytest.raises(ValueError, match=r"\[pre, post\]"):
        max_voltage(spike_train([[1.0]] * 5), weights.T, NEURON, t_max=T_MAX)
