"""Help for silent neurons: who is woken, what the projection keeps, when there is a warning."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._silent import rate_projection, wake_silent, warn_if_silent
from offprint.forward_propagation._spikes import spike_train

NEURON = LIF(tau_mem=0.8, tau_syn=1.25, threshold=0.7)


def test_only_neurons_silent_in_the_whole_batch_are_woken():
    inf = np.inf
    train = spike_train(np.array([[[0.5], [inf], [inf]], [[0.7], [inf], [1.0]]]))
    weights = jnp.arange(6.0).reshape(2, 3)
    assert np.allclose(wake_silent(weights, train) - weights, [[0, 0.1, 0]] * 2, rtol=0, atol=1e-14)
    assert np.array_equal(jax.jit(wake_silent)(weights, train), wake_silent(weights, train))


def zeta(weights, rate_in, rate_out):
    drive = (weights * rate_in[:, None]).sum(0) * NEURON.tau_syn
    return (drive - rate_out * NEURON.threshold) * NEURON.tau_mem / NEURON.threshold


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_projection_raises_low_zeta_to_its_bound_by_the_shortest_way_and_leaves_the_rest(seed):
    rng = np.random.default_rng(seed)
    weights, rate_in, rate_out = (jnp.asarray(rng.uniform(lo, 3, size)) for lo, size in ((-9, (4, 3)), (0, 4), (0, 3)))
    projected = rate_projection(weights, rate_in, rate_out, NEURON, zeta0=-5.0)
    before, after = zeta(weights, rate_in, rate_out), zeta(projected, rate_in, rate_out)
    assert np.allclose(after, np.maximum(before, -5.0), atol=1e-9)
    moved = np.asarray(projected - weights)
    assert not moved[:, before >= -5].any()
    # the shortest way is along the rates
    assert np.allclose(moved, moved[:1] * np.asarray(rate_in)[:, None] / np.asarray(rate_in)[0], atol=1e-9)
    assert np.allclose(rate_projection(projected, rate_in, rate_out, NEURON, zeta0=-5.0), projected, atol=1e-9)


def test_projection_without_any_input_keeps_the_weights():
    weights = -jnp.ones((2, 2))
    assert np.array_equal(rate_projection(weights, jnp.zeros(2), jnp.full(2, 99.0), NEURON), weights)


def test_a_silent_batch_gives_a_warning_with_the_share_and_the_remedies():
    with pytest.warns(UserWarning, match=r"in 67% of the samples \(67% of all outputs are silent\).*wake_silent"):
        share = warn_if_silent(np.array([[2.0, 2.0], [np.inf, 2.0], [0.5, 1.0]]), 2.0)
    assert np.isclose(share, 4 / 6)


def test_no_warning_while_enough_samples_are_answered():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_if_silent(np.array([[2.0, 1.0], [2.0, 2.0]]), 2.0) == 0.75
        traced = jax.jit(lambda t: t * warn_if_silent(t, 2.0))(jnp.full(2, 2.0))
    assert np.isnan(traced).all()


def test_spikes_of_another_layer_are_refused():
    with pytest.raises(ValueError, match=r"lead to 3 neurons, but the spikes \(2, 1\) are of 2"):
        wake_silent(jnp.ones((4, 3)), spike_train([[1.0], [2.0]]))
