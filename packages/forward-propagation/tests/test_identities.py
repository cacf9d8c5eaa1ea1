"""Laws that spike times obey whatever the numbers: scaling, shifting, permuting, splitting; and learning by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import spike_train

SPIKES = 6


def times_of(times, weights, delays, alpha, beta, theta, t_max):
    train = lif_layer(
        spike_train(times), weights, LIF(1 / beta, 1 / alpha, theta), delays=delays, t_max=t_max, max_spikes=SPIKES
    )
    return train.times


run = jax.jit(times_of)
NAMES = ("inputs", "weights", "delays", "alpha", "beta", "theta")


@pytest.fixture(scope="module")
def point():
    """Inputs, weights, delays, α, β, θ of a layer of four neurons with parameters of their own, and T."""
    rng = np.random.default_rng(3)
    arrays = (
        rng.uniform(0, 2, (3, 2)),
        rng.normal(2.5, 1.0, (3, 4)),
        rng.uniform(0, 0.5, (3, 4)),
        rng.uniform(0.7, 1.3, 4),
        rng.uniform(0.7, 1.3, 4),
        rng.uniform(0.8, 1.2, 4),
    )
    return (*map(jnp.asarray, arrays), 4.0)


@pytest.fixture(scope="module")
def jacobian(point):
    """dt/dp of every spike by every argument."""
    return dict(zip(NAMES, jax.jit(jax.jacrev(times_of, tuple(range(6))))(*point)))


def contraction(jacobian, point, name):
    value, derivative = point[NAMES.index(name)], jacobian[name]
    return np.tensordot(np.asarray(derivative), np.asarray(value), np.ndim(value))


def test_there_are_spikes_to_speak_of(point):
    assert np.isfinite(np.asarray(run(*point))).sum() > 10


@settings(max_examples=20, deadline=None)
@given(c=st.floats(0.2, 5))
def test_a_change_of_the_unit_of_time_changes_every_spike_time_by_the_same_factor(point, c):
    times, weights, delays, alpha, beta, theta, t_max = point
    scaled = run(c * times, weights / c, c * delays, alpha / c, beta / c, theta, c * t_max)
    np.testing.assert_allclose(scaled, c * np.asarray(run(*point)), rtol=1e-11)


@settings(max_examples=20, deadline=None)
@given(c=st.floats(0.2, 5))
def test_weights_and_threshold_have_a_common_scale(point, c):
    times, weights, delays, alpha, beta, theta, t_max = point
    scaled = run(times, c * weights, delays, alpha, beta, c * theta, t_max)
    np.testing.assert_allclose(scaled, run(*point), rtol=1e-11)


def test_the_derivatives_obey_the_euler_identity_of_weights_and_threshold(jacobian, point):
    total = contraction(jacobian, point, "weights") + contraction(jacobian, point, "theta")
    np.testing.assert_allclose(total, 0, atol=1e-10)


def test_the_derivatives_obey_the_scaling_of_time(jacobian, point):
    signs = {"inputs": 1, "delays": 1, "alpha": -1, "beta": -1, "weights": -1}
    total = sum(sign * contraction(jacobian, point, name) for name, sign in signs.items())
    times = np.asarray(run(*point))
    np.testing.assert_allclose(total, np.where(np.isfinite(times), times, 0), atol=1e-10)


def test_a_shift_of_all_inputs_shifts_all_spikes(jacobian, point):
    times = np.asarray(run(*point))
    np.testing.assert_allclose(np.asarray(jacobian["inputs"]).sum((2, 3)), np.isfinite(times), atol=1e-10)


def test_jvp_and_vjp_are_adjoint(point):
    keys = iter(jax.random.split(jax.random.key(0), 8))
    finite = np.isfinite(np.asarray(run(*point)))
    moves = tuple(jax.random.normal(next(keys), np.shape(value)) for value in point[:6])
    _, moved = jax.jit(lambda p, v: jax.jvp(lambda *p: times_of(*p, point[6]), p, v))(point[:6], moves)
    cotangent = jax.random.normal(next(keys), finite.shape) * finite
    back = jax.jit(lambda p, u: jax.vjp(lambda *p: times_of(*p, point[6]), *p)[1](u))(point[:6], cotangent)
    forward = float(jnp.sum(cotangent * moved))
    assert forward == pytest.approx(sum(float(jnp.sum(u * v)) for u, v in zip(back, moves)), rel=1e-12)


def test_the_order_of_sources_and_neurons_and_of_input_events_does_not_matter(point):
    times, weights, delays, alpha, beta, theta, t_max = point
    want = np.asarray(run(*point))
    sources, neurons = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
    by_source = run(times[sources], weights[sources], delays[sources], alpha, beta, theta, t_max)
    np.testing.assert_allclose(by_source, want, atol=1e-13)
    mixed = [x[..., neurons] for x in (weights, delays, alpha, beta, theta)]
    np.testing.assert_allclose(run(times, *mixed, t_max), want[neurons], atol=1e-13)
    np.testing.assert_allclose(run(times[:, ::-1], *point[1:]), want, atol=1e-13)


def test_an_input_spike_may_be_split_into_two_of_half_the_weight(point):
    times, weights, delays, *rest = point
    again = [jnp.concatenate([x, x[:1]]) for x in (times, weights.at[0].divide(2), delays)]
    np.testing.assert_allclose(run(*again, *rest), run(*point), atol=1e-13)


@pytest.mark.parametrize("name", ["delays", "theta", "alpha", "beta", "inputs"])
def test_gradient_descent_on_one_parameter_moves_a_spike_to_its_target(name):
    start = {
        "inputs": jnp.array([[0.2]]),
        "weights": jnp.array([[4.0]]),
        "delays": jnp.array([[0.3]]),
        "alpha": jnp.array([1.0]),
        "beta": jnp.array([0.9]),
        "theta": jnp.array([1.0]),
    }

    def error(value, target):
        return (run(*(start | {name: value}).values(), 5.0)[0, 0] - target) ** 2

    value = start[name]
    target = run(*start.values(), 5.0)[0, 0] + (0.02 if name != "delays" else -0.1)
    descend = jax.jit(jax.value_and_grad(error))
    for _ in range(60):
        squared, gradient = descend(value, target)
        # a Gauss-Newton step: the slope of the error is 2 (t - target) dt/dp
        value -= 2 * squared * gradient / jnp.maximum(gradient**2, 1e-30)
    assert float(jnp.sqrt(error(value, target))) < 1e-6
