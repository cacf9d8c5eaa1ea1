"""Layers as modules: the same spikes as the functions, what is learnt and how, batches, transforms, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.core.train import TrainState
from offprint.forward_propagation._layer import lif_layer
from offprint.forward_propagation._modules import LIFDense, LIFRecurrent, Sequential, _not_negative
from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._recurrent import recurrent
from offprint.forward_propagation._spikes import spike_train

ALL = ("kernel", "delay", "threshold", "tau_mem", "tau_syn")
SETTINGS = {"tau_mem": 0.9, "tau_syn": 1.1, "threshold": 0.8, "t_max": 2.0, "max_spikes": 3, "dtype": np.float64}


def dense(learn=("kernel",), n_in=3, n_out=4, **changes):
    settings = {**SETTINGS, "w_mean": 2.0, "w_std": 0.5, "rngs": nnx.Rngs(0), **changes}
    return LIFDense(n_in, n_out, learn=learn, **settings)


@nnx.jit
def forward(model, train):
    return model(train)


@pytest.fixture(scope="module")
def batch():
    return spike_train(np.random.default_rng(0).uniform(0, 1, (2, 3, 3, 1)))


@pytest.fixture(scope="module")
def layer():
    return dense(ALL, delay=0.1)


def test_a_layer_gives_the_spikes_of_the_function_whatever_the_batch_axes(batch, layer):
    def function(train):
        neuron = LIF(*(np.full(4, value) for value in (0.9, 1.1, 0.8)))
        return lif_layer(train, layer.kernel[...], neuron, delays=jnp.full((3, 4), 0.1), t_max=2.0, max_spikes=3)

    flat = jax.tree.map(lambda leaf: leaf.reshape(6, *leaf.shape[2:]), batch)
    out, expected = forward(layer, batch), jax.jit(jax.vmap(function))(flat)
    assert out.times.shape == (2, 3, 4, 3)
    assert out.count.shape == (2, 3, 4)
    assert out.times.dtype == np.float64
    assert np.allclose(out.times.reshape(6, 4, 3), expected.times, atol=1e-13)
    assert (expected.count > 0).any()


@pytest.mark.parametrize("learn", [(), ("kernel",), ("delay", "tau_mem"), ALL])
def test_only_what_is_learnt_is_a_parameter_and_belongs_to_each_neuron_or_synapse(learn):
    params = nnx.state(dense(learn), nnx.Param)
    attributes = {"kernel": (3, 4), "delay": (3, 4)}
    expected = {name if name in attributes else f"log_{name}": attributes.get(name, (4,)) for name in learn}
    assert {path[0]: leaf[...].shape for path, leaf in nnx.to_flat_state(params)} == expected


def test_gradient_descent_moves_a_spike_to_its_target_by_each_parameter_alone():
    train = spike_train([[0.2]])
    layer = dense(("delay", "threshold", "tau_mem", "tau_syn"), n_in=1, n_out=1, w_mean=3.0, w_std=0.0, delay=0.05)
    tx = optax.adam(optax.exponential_decay(0.02, 40, 0.5))
    state = TrainState.create(layer, tx)
    paths = [path[0] for path, _ in nnx.to_flat_state(state.params)]
    start = layer(train).times[0, 0]
    target = start + 0.02

    def fitted(chosen):
        def time(params):
            return nnx.merge(state.graphdef, params, state.rest, copy=True)(train).times[0, 0]

        def step(state, _):
            slopes = jax.grad(lambda params: (time(params) - target) ** 2)(state.params)
            leaves, tree = jax.tree.flatten(slopes)
            masked = [leaf * mask for leaf, mask in zip(leaves, chosen, strict=True)]
            return state.apply_gradients(jax.tree.unflatten(tree, masked)), None

        return time(jax.lax.scan(step, state, None, length=1200)[0].params)

    times = jax.jit(jax.vmap(fitted))(jnp.eye(4))
    assert np.allclose(times, target, rtol=0, atol=1e-6), dict(zip(paths, times - target, strict=True))


def test_delays_below_zero_count_as_zero_and_keep_their_gradient():
    slope = jax.grad(lambda delay: (2 * _not_negative(delay)).sum())(jnp.array([-0.3, 0.0, 0.4]))
    assert _not_negative(jnp.array([-0.3, 0.0, 0.4])).tolist() == [0, 0, 0.4]
    assert slope.tolist() == [2, 2, 2]


def test_twin_neurons_get_equal_finite_gradients(batch):
    layer = dense(("kernel",), n_out=2, w_std=0.0)
    slope = nnx.jit(nnx.grad(lambda layer: jnp.where(jnp.isinf(t := layer(batch).times), 0, t).sum()))(layer)
    (kernel,) = jax.tree.leaves(slope)
    assert np.isfinite(kernel).all()
    assert np.array_equal(kernel[:, 0], kernel[:, 1])
    assert kernel.any()


def test_a_recurrent_layer_gives_the_spikes_of_the_function_with_gradients_of_all_it_learns(batch):
    mask = ~np.eye(4, dtype=bool)
    settings = {**SETTINGS, "max_events": 40, "w_mean": 1.5, "w_std": 0.5, "rec_mean": -0.2, "rec_std": 0.3}
    layer = LIFRecurrent(3, 4, delay_rec=0.1, mask_rec=mask, learn=(*ALL, "recurrent"), rngs=nnx.Rngs(1), **settings)
    p = layer.params

    def function(train):
        limits = {"t_max": 2.0, "max_events": 40, "max_spikes": 3}
        return recurrent(train, p.w_in, p.w_rec, p.neuron, delay_rec=jnp.full((4, 4), 0.1), mask_rec=mask, **limits)

    one = jax.tree.map(lambda leaf: leaf[:, 0], batch)
    out, expected = forward(layer, one), jax.jit(jax.vmap(function))(one)
    assert np.allclose(out.times, expected.times, atol=1e-12)
    assert out.count.sum() > 4
    slope = nnx.jit(nnx.grad(lambda layer: jnp.where(jnp.isinf(t := layer(one).times), 0, t).sum()))(layer)
    leaves = {path[0]: leaf[...] for path, leaf in nnx.to_flat_state(slope)}
    assert len(leaves) == 7
    assert all(np.isfinite(leaf).all() for leaf in leaves.values())
    assert not np.diag(leaves["recurrent"]).any()
    assert leaves["recurrent"].any()


def test_layers_in_sequence_feed_each_other(batch, layer):
    network = Sequential(layer, dense(n_in=4, n_out=2, max_spikes=1, rngs=nnx.Rngs(3)))
    trains = nnx.jit(lambda network, train: network.activity(train))(network, batch)
    assert [train.times.shape[-2:] for train in trains] == [(4, 3), (2, 1)]
    assert np.array_equal(forward(network.layers[1], trains[0]).times, trains[-1].times)
    assert np.array_equal(forward(network, batch).times, trains[-1].times)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learn": ("weights",)}, "'weights'.*'kernel', 'delay'"),
        ({"learn": "kernel"}, "learn='kernel': a sequence of names"),
        ({"tau_mem": -1.0}, "tau_mem must be positive and finite, but is -1.0"),
        ({"threshold": np.ones(3)}, r"threshold must be one number or \(4,\).*\(3,\)"),
        ({"delay": np.ones((4, 3))}, r"\(3, 4\), \[pre, post\], but are \(4, 3\)"),
        ({"delay": -0.1}, "must not be negative, but the least is -0.1"),
    ],
)
def test_layers_that_cannot_be_are_refused_with_the_reason(unchecked_types, changes, message):
    with pytest.raises(ValueError, match=message):
        dense(**changes)
