"""Every mistake gets one answer that says what was given, what is needed and what to do."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import checkify

from offprint.forward_propagation import (
    LIF,
    LIFDense,
    SpikeTrain,
    encode_latency,
    feedforward,
    first_spike,
    first_spike_cross_entropy,
    fit_classifier,
    fit_seeds,
    from_events,
    gradient_from_spikes,
    gradient_hazards,
    lif_layer,
    recipe,
    recurrent,
    spike_count,
    spike_time_mse,
    spike_train,
    warn_if_silent,
)
from offprint.forward_propagation.data import xor

pytestmark = pytest.mark.usefixtures("unchecked_types")

SPIKES = spike_train(np.array([[0.1, 0.7], [0.2, np.inf], [0.4, np.inf]]))
WEIGHTS = np.array([[2.0, 1.0, 3.0, 2.5], [1.0, 2.0, 0.5, 2.0], [1.5, 1.0, 1.0, 0.5]])
REC = np.zeros((4, 4))
NEURON = LIF(1.0, 0.5)


def layer(weights=WEIGHTS, neuron=NEURON, spikes=SPIKES, **options):
    return lif_layer(spikes, weights, neuron, **{"t_max": 3.0, "max_spikes": 4, **options})


def network(w_in=WEIGHTS, w_rec=REC, neuron=NEURON, **options):
    return recurrent(SPIKES, w_in, w_rec, neuron, **{"t_max": 3.0, "max_spikes": 4, **options})


def bad(value):
    weights = WEIGHTS.copy()
    weights[1, 2] = value
    return weights


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer(neuron=LIF(0.0, 0.5)), "tau_mem must be positive and finite, but is 0.0"),
        (lambda: layer(neuron=LIF(1.0, -0.5)), "tau_syn must be positive and finite, but is -0.5"),
        (lambda: layer(neuron=LIF(1.0, np.array([1, 1, 0.0, 1]))), "tau_syn must be positive and finite, but is 0.0"),
        (lambda: layer(neuron=LIF(1.0, 0.5, 0.0)), "threshold must be positive and finite, but is 0.0"),
        (lambda: layer(neuron=LIF(np.inf, 0.5)), "tau_mem must be positive and finite, but is inf"),
        (lambda: layer(neuron=LIF(np.ones(3), 0.5)), "tau_mem has shape (3,); one number, or (4,) for the 4 neurons"),
        (lambda: layer(delays=-0.1), "delays must be finite and not negative, but the least is -0.1"),
        (lambda: layer(delays=np.ones(4)), "delays have shape (4,); a number, (3,) or (3, 4) [pre, post] is needed"),
        (lambda: layer(bad(np.nan)), "weights must be finite, but 1 are not, the first at (1, 2)"),
        (lambda: layer(bad(np.inf)), "weights must be finite, but 1 are not, the first at (1, 2)"),
        (lambda: layer(t_max=0.0), "t_max must be one positive, finite number, but is 0.0"),
        (lambda: layer(max_spikes=0), "max_spikes must be at least 1, but is 0"),
        (lambda: network(neuron=LIF(1.0, 0.5, -1.0)), "threshold must be positive and finite, but is -1.0"),
        (lambda: network(bad(np.nan)), "w_in must be finite, but 1 are not, the first at (1, 2)"),
        (lambda: network(delay_rec=-1.0), "delay_rec must be finite and not negative, but the least is -1.0"),
        (lambda: network(t_max=np.inf), "t_max must be positive and finite, got inf"),
        (
            lambda: LIFDense(3, 4, tau_mem=-1.0, t_max=1.0, max_spikes=1, w_mean=1.0, w_std=1.0, rngs=nnx.Rngs(0)),
            "tau_mem must be positive and finite, but is -1.0",
        ),
    ],
)
def test_time_constants_thresholds_delays_and_weights(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_values_that_jit_hides_are_checked_by_checkify():
    @jax.jit
    @checkify.checkify
    def times(weights, tau_mem, delay):
        return layer(weights, LIF(tau_mem, 0.5), delays=delay).times

    good = WEIGHTS, 1.0, 0.0
    assert times(*good)[0].get() is None
    for place, value, message in (
        (0, bad(np.nan), "weights must be finite"),
        (1, -1.0, "tau_mem must be positive and finite"),
        (2, -0.1, "delays must be finite and not negative"),
    ):
        error, _ = times(*good[:place], value, *good[place + 1 :])
        assert message in error.get()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: layer(WEIGHTS.T),
            "weights are [pre, post]: (3, n_post) is needed for spikes of 3 sources, got (4, 3)",
        ),
        (lambda: layer(WEIGHTS.T), "; transpose them"),
        (lambda: network(WEIGHTS.T), "w_in are [pre, post]: (3, n_post) is needed for spikes of 3 sources, got (4, 3)"),
        (lambda: network(w_rec=np.zeros((4, 3))), "w_rec are [pre, post]: (4, 4) is needed for spikes of 4 sources"),
    ],
)
def test_weights_transposed(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_unsorted_times_are_sorted_and_nan_is_refused():
    np.testing.assert_array_equal(spike_train(np.array([[0.7, np.inf, 0.1]])).times, [[0.1, 0.7, np.inf]])
    unsorted = SPIKES._replace(times=SPIKES.times[:, ::-1])
    np.testing.assert_array_equal(layer(spikes=unsorted).times, layer().times)
    for wrong in (np.nan, -np.inf):
        message = rf"spike times must be numbers or \+inf \(no spike\), but {wrong} stands at \(0, 1\)"
        with pytest.raises(ValueError, match=message):
            spike_train(np.array([[0.1, wrong]]))
        with pytest.raises(ValueError, match=message):
            layer(spikes=SPIKES._replace(times=jnp.array([[0.1, wrong], [0.1, 0.2], [0.1, 0.2]])))


@pytest.mark.parametrize("factor", [1e5, 1e-6])
def test_spikes_in_another_unit_than_the_time_constants(factor):
    other = spike_train(np.asarray(SPIKES.times) * factor)
    with pytest.warns(UserWarning, match=r"apart \(median\) but the time constants are 0.5 to 1: are both in the same"):
        layer(spikes=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer()


def test_too_few_spikes_are_flagged_or_refused_with_the_number_that_is_needed():
    flagged = layer(max_spikes=1)
    full = layer()
    np.testing.assert_array_equal(flagged.overflow, full.count > 1)
    assert flagged.overflow.any()
    needed = int(full.count.max())
    for call in (layer, network):
        with pytest.raises(ValueError, match=f"max_spikes={needed}"):
            call(max_spikes=1, strict=True)
    assert network(max_spikes=4, max_events=2).overflow.all()
    with pytest.raises(ValueError, match=r"the max_events = 2 of all.*max_events=\d+ are needed"):
        network(max_events=2, strict=True)


def test_a_loss_of_spike_counts():
    def loss(weights):
        return spike_count(layer(weights)).sum()

    assert loss(WEIGHTS) == layer().count.sum()
    with pytest.raises(ValueError, match=r"counts are piecewise constant.*use a time or voltage loss"):
        jax.grad(loss)(WEIGHTS)


def test_the_first_spike_of_a_silent_neuron():
    weak = np.where(np.arange(4) == 2, 0.01, WEIGHTS)  # neuron 2 does not fire
    train = layer(weak)
    raw = train.times[:, 0]
    assert raw[2] == np.inf
    stays_out = first_spike_cross_entropy(raw, np.array(0), 0.2)
    others = first_spike_cross_entropy(raw[np.array([0, 1, 3])], np.array(0), 0.2)
    np.testing.assert_allclose(stays_out, others, rtol=1e-12)
    assert np.isfinite(jax.grad(lambda t: first_spike_cross_entropy(t, np.array(0), 0.2))(raw)).all()
    with pytest.raises(ValueError, match=r"1 label neurons are silent .* use first_spike\(train, t_max\)"):
        first_spike_cross_entropy(raw, np.array(2), 0.2)
    with pytest.raises(ValueError, match=r"1 wanted spikes are missing.*give t_max"):
        spike_time_mse(raw, np.full(4, 1.0))
    assert np.isfinite(first_spike_cross_entropy(first_spike(train, 3.0), np.array(2), 0.2))


def test_a_batch_with_all_outputs_silent():
    with pytest.warns(UserWarning, match=r"no output neuron fires in 75% .* remedies: start from larger weights"):
        warn_if_silent(np.array([[2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [1.0, 2.0]]), 2.0)
    points = xor()
    dead = recipe("xor", init=((0.01, 0.0), (0.01, 0.0)), epochs=1)
    with pytest.warns(UserWarning, match="no output neuron fires in 100% of the samples"):
        fit_classifier(points, points, dead, jax.random.key(0), progress=False, evaluations=1)


@pytest.mark.parametrize("dtype", [np.int32, np.float16])
def test_times_that_are_neither_float32_nor_float64(dtype):
    times = np.array([[1, 2], [1, 3], [2, 3]], dtype)
    message = f"spike times must be float32 or float64, got {np.dtype(dtype)}: convert them, as in times.astype"
    with pytest.raises(TypeError, match=re.escape(message)):
        spike_train(times)
    with pytest.raises(TypeError, match=re.escape(message)):
        layer(spikes=SpikeTrain(jnp.asarray(times), SPIKES.count, SPIKES.overflow))
    with pytest.raises(TypeError, match="features must be integers, float32 or float64, but are float16"):
        encode_latency(np.zeros(3, np.float16), 0, 1)


def test_float64_while_jax_has_it_off():
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=r"JAX has it off: call jax\.config\.update"):
            spike_train([[0.1]], dtype=np.float64)
        with pytest.raises(ValueError, match=r"not switched on: call jax\.config\.update"):
            fit_seeds(xor(), xor(), recipe("xor"), jax.random.split(jax.random.key(0), 2), dtype=np.float64)


def test_spikes_of_another_model():
    train = layer()
    ones = np.ones(train.times.shape)
    gradient_from_spikes(SPIKES, train, WEIGHTS, NEURON, ones)
    moved = train._replace(times=train.times.at[1, 0].add(0.05))
    message = r"not spikes of this model: at the worst, of neuron 1 at .* \|V - θ\| is .* with θ = 1 .*of \d+ spikes"
    with pytest.raises(ValueError, match=message):
        gradient_from_spikes(SPIKES, moved, WEIGHTS, NEURON, ones)
    with pytest.raises(ValueError, match=r"spike times of the neurons have shape \(3, 4\); \(4, S\) of all 4 neurons"):
        gradient_from_spikes(SPIKES, train._replace(times=train.times[:3]), WEIGHTS, NEURON, ones[:3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0, 3]), 0.2), "labels from 0 to 2 are needed"),
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([-1, 0]), 0.2), "they run from -1 to 0"),
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0, 1, 2]), 0.2), "one label for each sample"),
        (lambda: first_spike_cross_entropy(np.ones((2, 3)), np.array([0.0, 1.0]), 0.2), "labels must be integers"),
        (
            lambda: fit_classifier((np.zeros((4, 2)), np.array([0, 1, 2, 0])), xor(), recipe("xor"), jax.random.key(0)),
            "training labels must be integers from 0 to 1 for 2 outputs, but they are int64 and run from 0 to 2",
        ),
        (
            lambda: fit_classifier((np.zeros((4, 2)), np.zeros(5, int)), xor(), recipe("xor"), jax.random.key(0)),
            "training features (N, d) and labels (N,) are needed, got (4, 2) and (5,)",
        ),
        (
            lambda: layer(spikes=SPIKES._replace(times=SPIKES.times[None])),
            "input times have shape (1, 3, 2); (n_pre, S), the spikes of one sample, is needed: use jax.vmap",
        ),
        (lambda: from_events(np.ones(2), np.array([0, 3]), 3), "sources must be 0 to 2, but go from 0 to 3"),
        (lambda: feedforward(SPIKES, [], t_max=1.0, max_spikes=[]), "0 layers and 0 numbers of max_spikes"),
        (
            lambda: recipe("xor").for_data(0, 2),
            "0 features, hidden layers of (4,) and 2 classes; each must be 1 or more",
        ),
    ],
)
def test_labels_and_batch_axes_are_checked_before_anything_is_compiled(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_the_gradient_at_a_tangential_crossing_is_finite_and_bounded_by_the_slope_floor():
    spikes, neuron = spike_train(np.array([[0.1]])), LIF(1.0, 1.0)  # V peaks at w/e, one unit after the arrival
    weights = next(
        w
        for k in range(200)
        if np.isfinite(layer(w := np.array([[np.e * (1 + k * 2e-16)]]), neuron, spikes).times[0, 0])
    )

    def time(weights, floor):
        return layer(weights, neuron, spikes, slope_floor=floor).times[0, 0]

    train = layer(weights, neuron, spikes)
    assert abs(float(train.times[0, 0]) - 1.1) < 1e-6
    assert np.isfinite(jax.grad(time)(weights, 0.0)).all()
    floored = jax.grad(time)(weights, 1e-2)
    np.testing.assert_allclose(floored, -1 / np.e / 1e-2, rtol=1e-6)
    found = gradient_hazards(spikes, train, weights, neuron, slope_floor=1e-2)
    assert (int(found.tangential), int(found.coincident)) == (1, 0)
    assert found.steepest > 1e6
    assert gradient_hazards(SPIKES, layer(), WEIGHTS, NEURON).tangential == 0


def test_the_gradient_at_a_coincident_arrival_is_finite_and_counted():
    first = layer().times[0, 0]
    times = jnp.concatenate([SPIKES.times, jnp.array([[first, jnp.inf]])])
    spikes = SpikeTrain(times, jnp.isfinite(times).sum(1, dtype=jnp.int32), jnp.zeros(4, bool))
    weights = np.concatenate([WEIGHTS, np.array([[1.0, 0.0, 0.0, 0.0]])])

    def total(weights, times):
        found = layer(weights, spikes=spikes._replace(times=times)).times
        return jnp.where(jnp.isfinite(found), found, 0).sum()

    train = layer(weights, spikes=spikes)
    assert train.times[0, 0] == first  # the spike is taken first
    for gradient in jax.grad(total, (0, 1))(weights, times):
        assert np.isfinite(gradient).all()
    found = gradient_hazards(spikes, train, weights, NEURON)
    assert int(found.coincident) == 1
    assert int(gradient_hazards(SPIKES, layer(), WEIGHTS, NEURON).coincident) == 0
