"""One layer of neurons: spikes, flags, derivatives where they are delicate, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.forward_propagation._kernel import kernel
from offprint.forward_propagation._layer import lif_layer, spike_slopes
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._spikes import SpikeTrain, events, from_events, spike_train

NEURON = LIF(1.0, 1.0 / 0.9)
T_MAX = 3.0


@pytest.fixture(scope="module")
def layer():
    """Four sources with two spikes each, one of them silent, and six neurons."""
    rng = np.random.default_rng(0)
    times = rng.uniform(0, 2, (4, 2))
    times[3] = np.inf
    return spike_train(times), jnp.asarray(rng.normal(2.0, 1.0, (4, 6)))


@jax.jit
def run(spikes_in, weights):
    return lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=12)


def potential(t, spikes_in, weights, spikes, neuron=NEURON):
    """V at times t (n_t,) of all neurons, (n_t, n), term by term."""
    since = t[:, None, None] - np.asarray(spikes_in.times)
    y = np.asarray(kernel(np.where(np.isfinite(since), since, -1), 1 / neuron.tau_syn, 1 / neuron.tau_mem)).sum(-1)
    own = t[:, None, None] - np.asarray(spikes.times)
    reset = np.where(own > 0, np.exp(-np.maximum(own, 0) / neuron.tau_mem), 0).sum(-1)
    return y @ np.asarray(weights) - neuron.threshold * reset


def test_potential_is_on_the_threshold_at_spikes_and_below_in_between(layer):
    spikes_in, weights = layer
    spikes = run(spikes_in, weights)
    assert int(spikes.count.sum()) > 15
    for neuron, row in enumerate(np.asarray(spikes.times)):
        at = row[np.isfinite(row)]
        np.testing.assert_allclose(potential(at, spikes_in, weights, spikes)[:, neuron], 1, atol=1e-12)
    grid = np.linspace(0, T_MAX, 20_001)
    assert np.all(potential(grid, spikes_in, weights, spikes) < 1 + 1e-12)


def test_count_overflow_and_padding_agree(layer):
    spikes_in, weights = layer
    full = run(spikes_in, weights)
    assert not np.any(full.overflow)
    short = lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=2)
    np.testing.assert_allclose(short.times, full.times[:, :2], rtol=1e-14)
    np.testing.assert_array_equal(short.overflow, full.count > 2)
    np.testing.assert_array_equal(short.count, np.minimum(full.count, 2))
    needed = int(full.count.max())
    with pytest.raises(ValueError, match=f"max_spikes=2 is too small.*max_spikes={needed} is needed"):
        lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=2, strict=True)
    lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=needed, strict=True)


def test_spikes_at_and_after_the_horizon_do_not_count(layer):
    spikes_in, weights = layer
    full = np.asarray(run(spikes_in, weights).times)
    horizon = np.sort(full[np.isfinite(full)])[10] - 1e-9
    cut = np.asarray(lif_layer(spikes_in, weights, NEURON, t_max=horizon, max_spikes=12).times)
    np.testing.assert_allclose(cut, np.where(full < horizon, full, np.inf), rtol=1e-14)


def test_a_batch_by_vmap_is_the_loop_and_jit_is_no_jit(layer):
    spikes_in, weights = layer
    batch = jax.vmap(spike_train)(jnp.stack([spikes_in.times + shift for shift in (0.0, 0.1, 0.4)]))
    together = jax.jit(jax.vmap(run, (0, None)))(batch, weights)
    for sample in range(3):
        alone = run(jax.tree.map(lambda leaf, k=sample: leaf[k], batch), weights)
        for got, want in zip(jax.tree.map(lambda leaf, k=sample: leaf[k], together), alone):
            np.testing.assert_allclose(got, want, rtol=1e-14)
    eager = lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=12)
    np.testing.assert_allclose(eager.times, run(spikes_in, weights).times, rtol=1e-14)


def test_delays_of_each_shape_say_the_same(layer):
    spikes_in, weights = layer
    delays = jnp.array([0.1, 0.3, 0.0, 0.2])
    by_source = lif_layer(spikes_in, weights, NEURON, delays=delays, t_max=T_MAX, max_spikes=12)
    by_synapse = lif_layer(
        spikes_in, weights, NEURON, delays=jnp.tile(delays[:, None], (1, 6)), t_max=T_MAX, max_spikes=12
    )
    moved = lif_layer(spike_train(spikes_in.times + delays[:, None]), weights, NEURON, t_max=T_MAX, max_spikes=12)
    np.testing.assert_allclose(by_source.times, moved.times, rtol=1e-14)
    np.testing.assert_allclose(by_synapse.times, moved.times, rtol=1e-13)


def test_an_arrival_at_the_very_spike_time_comes_after_it():
    one = spike_train([[0.0]])
    weight = jnp.array([[4.0]])
    first = float(lif_layer(one, weight, NEURON, t_max=T_MAX, max_spikes=1).times[0, 0])
    both = lif_layer(spike_train([[0.0], [first]]), jnp.array([[4.0], [-9.0]]), NEURON, t_max=T_MAX, max_spikes=3)
    assert float(both.times[0, 0]) == first
    assert int(both.count[0]) == 1


def first_times(weights, spikes_in):
    times = lif_layer(spikes_in, weights, NEURON, t_max=T_MAX, max_spikes=3).times
    return jnp.sum(jnp.where(jnp.isfinite(times), times, 0) * jnp.arange(1.0, 4.0))


def test_twin_neurons_have_equal_finite_gradients_and_equal_times(layer):
    spikes_in, weights = layer
    twins = jnp.repeat(weights[:, :1], 2, axis=1)
    gradient = jax.jit(jax.grad(first_times))(twins, spikes_in)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_allclose(gradient[:, 0], gradient[:, 1], rtol=1e-13)


@pytest.mark.parametrize(
    "times",
    [[[0.5], [0.5], [0.5], [0.5]], [[np.inf]] * 4, [[0.0], [0.5], [np.inf], [3.0]]],
    ids=["coincident", "silent", "at the ends"],
)
def test_derivatives_of_every_order_are_never_nan(times):
    weights = jnp.linspace(0.2, 4.0, 8).reshape(4, 2)

    def total(weights, times):
        return first_times(weights, SpikeTrain(times, jnp.ones(4, jnp.int32), jnp.zeros(4, bool)))

    for leaf in jax.tree.leaves(jax.jit(jax.hessian(total, (0, 1)))(weights, jnp.asarray(times, float))):
        assert np.all(np.isfinite(leaf))


def test_a_tangential_crossing_is_finite_and_the_slope_floor_bounds_it():
    neuron = LIF(1.0, 1.0)
    weight = jnp.full((1, 1), np.e * (1 + 1e-13))

    def time(weight, floor):
        return lif_layer(spike_train([[0.0]]), weight, neuron, t_max=4.0, max_spikes=1, slope_floor=floor).times[0, 0]

    steep = jax.grad(time)(weight, 0.0)
    gentle = jax.grad(time)(weight, 0.1)
    assert np.isfinite(steep)
    assert np.isfinite(gentle)
    assert abs(float(steep[0, 0])) > 1e4
    assert float(gentle[0, 0]) == pytest.approx(-np.exp(-1) / 0.1, rel=1e-5)


def test_slopes_are_those_of_the_potential_and_infinite_at_padding(layer):
    spikes_in, weights = layer
    spikes = run(spikes_in, weights)
    slopes = np.asarray(spike_slopes(spikes_in, spikes, weights, NEURON))
    times = np.asarray(spikes.times)
    assert np.all(np.isposinf(slopes[~np.isfinite(times)]))
    for neuron, slot in np.argwhere(np.isfinite(times)):
        at = times[neuron, slot] - np.array([2e-6, 1e-6])
        before, after = potential(at, spikes_in, weights, spikes)[:, neuron]
        assert slopes[neuron, slot] == pytest.approx((after - before) / 1e-6, rel=1e-4)


def test_events_and_trains_are_two_views_of_the_same():
    train = spike_train([[0.3, 0.1], [], [0.2]])
    when, who = events(train)
    np.testing.assert_array_equal(when[:3], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(who[:3], [0, 2, 0])
    back = from_events(when[:3], who[:3], 3)
    for got, want in zip(back, train):
        np.testing.assert_array_equal(got, want)
    short = from_events(when[:3], who[:3], 3, max_spikes=1)
    np.testing.assert_array_equal(short.overflow, [True, False, False])


BAD = [
    ({"weights": np.ones((6, 4))}, ValueError, r"\[pre, post\]: \(4, n_post\).*got \(6, 4\); transpose"),
    ({"weights": np.full((4, 6), np.nan)}, ValueError, "weights must be finite, but 24 are not"),
    ({"neuron": LIF(0.0, 1.0)}, ValueError, "tau_mem must be positive and finite, but is 0.0"),
    ({"neuron": LIF(1.0, -2.0)}, ValueError, "tau_syn must be positive"),
    ({"neuron": LIF(1.0, 1.0, np.zeros(6))}, ValueError, "threshold must be positive"),
    ({"neuron": LIF(np.ones(4), 1.0)}, ValueError, r"tau_mem has shape \(4,\)"),
    ({"delays": -0.1}, ValueError, "delays must be finite and not negative, but the least is -0.1"),
    ({"delays": np.ones(6)}, ValueError, r"delays have shape \(6,\)"),
    ({"t_max": -1.0}, ValueError, "t_max must be one positive, finite number"),
    ({"max_spikes": 0}, ValueError, "max_spikes must be at least 1"),
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_named(layer, change, error, message):
    spikes_in, weights = layer
    arguments = {"weights": weights, "neuron": NEURON, "t_max": T_MAX, "max_spikes": 3} | change
    with pytest.raises(error, match=message):
        lif_layer(spikes_in, **arguments)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_times_are_named():
    with pytest.raises(ValueError, match=r"but nan stands at \(0, 1\)"):
        spike_train(np.array([[0.1, np.nan]]))
    with pytest.raises(ValueError, match="but -inf stands"):
        spike_train(np.array([[-np.inf]]))
    with pytest.raises(TypeError, match="float32 or float64, got int"):
        spike_train(np.array([[1, 2]]))
    with pytest.raises(TypeError, match="got float16"):
        spike_train(np.array([[1, 2]], np.float16))
    with pytest.raises(ValueError, match=r"\(..., n, S\)"):
        spike_train(np.array([0.1]))
    with pytest.raises(ValueError, match="sources must be 0 to 1, but go from 0 to 2"):
        from_events(np.array([0.1, 0.2]), np.array([0, 2]), 2)
    with pytest.raises(ValueError, match=r"use jax\.vmap for"):
        lif_layer(spike_train(np.ones((2, 4, 1))), np.ones((4, 2)), NEURON, t_max=1.0, max_spikes=1)
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        spike_train([[0.1]], dtype=np.float64)


def test_units_that_can_hardly_be_meant_are_warned_of():
    milliseconds = spike_train(np.array([[100.0], [3200.0], [5300.0]]))
    with pytest.warns(UserWarning, match="same unit"):
        lif_layer(milliseconds, np.ones((3, 1)), LIF(0.02, 0.005), t_max=1e4, max_spikes=1)
