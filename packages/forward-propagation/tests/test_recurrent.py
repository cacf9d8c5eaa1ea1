"""Recurrent networks: golden spikes and derivatives, both engines, ties, limits, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_networks import RECURRENT, golden_times, in_golden_names, load_recurrent, spike_count, worst_error

from offprint.forward_propagation._neuron import LIF
from offprint.forward_propagation._potential import membrane_potential
from offprint.forward_propagation._recurrent import RecurrentParams, recurrent
from offprint.forward_propagation._spikes import spike_train


@functools.partial(jax.jit, static_argnames=("max_spikes", "t_max", "undelayed", "reset_coupling"))
def simulate(spikes_in, params, *, max_spikes, t_max=4.0, undelayed=False, reset_coupling=True):
    """Spikes of a network; `undelayed` says that its delays, which are 0, are known to be."""
    known = {"delay_in": 0.0, "delay_rec": 0.0} if undelayed else {}
    return recurrent(
        spikes_in, **(params._asdict() | known), t_max=t_max, max_spikes=max_spikes, reset_coupling=reset_coupling
    )


def derivatives(transform, spikes_in, params, mask, **options):
    """Jacobians in the layout of `spike_time_jacobian`, by jacfwd or jacrev."""

    def times(values, inputs):
        return simulate(spikes_in._replace(times=inputs), RecurrentParams(*values, mask), **options).times

    values, inputs = jax.jit(transform(times, argnums=(0, 1)))(tuple(params[:5]), spikes_in.times)
    params = RecurrentParams(*values)
    return {
        "weights": (params.w_in, params.w_rec),
        "delays": (params.delay_in, params.delay_rec),
        **params.neuron._asdict(),
        "inputs": inputs,
    }


@pytest.mark.parametrize("name", RECURRENT)
def test_spikes_are_the_golden_ones(golden, name):
    stored = golden(name)
    spikes_in, params = load_recurrent(stored)
    spikes = simulate(spikes_in, params, max_spikes=spike_count(stored))
    expected = golden_times(stored, 5)
    np.testing.assert_array_equal(spikes.count, np.isfinite(expected).sum(axis=1))
    np.testing.assert_allclose(spikes.times, expected, rtol=0, atol=1e-11)
    assert not spikes.overflow.any()


def test_without_delays_the_engine_with_one_clock_gives_the_golden_spikes(golden):
    stored = golden("rec_small")
    spikes_in, params = load_recurrent(stored)
    spikes = simulate(spikes_in, params, max_spikes=spike_count(stored), undelayed=True)
    np.testing.assert_allclose(spikes.times, golden_times(stored, 5), rtol=0, atol=1e-11)


@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("name", RECURRENT)
def test_all_derivatives_are_the_golden_ones(golden, name, transform):
    stored = golden(name)
    spikes_in, params = load_recurrent(stored)
    found = derivatives(transform, spikes_in, params, stored["mask_rec"], max_spikes=spike_count(stored))
    found = in_golden_names(found, stored)
    assert len(found) == 8
    assert worst_error(found, stored) < 1e-9


@pytest.mark.parametrize("name", RECURRENT)
def test_float32_is_as_good_as_it_can_be(golden, name):
    stored = golden(name)
    spikes_in, params = load_recurrent(stored, "float32")
    options = {"max_spikes": spike_count(stored)}
    spikes = simulate(spikes_in, params, **options)
    assert spikes.times.dtype == jnp.float32
    np.testing.assert_allclose(spikes.times, golden_times(stored, 5), rtol=0, atol=3e-5)
    found = derivatives(jax.jacrev, spikes_in, params, stored["mask_rec"], **options)
    assert worst_error(in_golden_names(found, stored), stored) < 1e-3


N, S_IN, HORIZON = 8, 3, 5.0


def drawn(seed, *, delays):
    """A random network of 8 neurons with 4 inputs, and its input spikes."""
    draw = np.random.default_rng(seed)
    spikes_in = spike_train(draw.uniform(0, 3, (4, S_IN)))
    mask = draw.random((N, N)) < 0.7
    neuron = LIF(*(jnp.asarray(draw.uniform(*limits, N)) for limits in ((0.8, 1.5), (0.5, 1.2), (0.8, 1.2))))
    delay_in, delay_rec = (draw.uniform(0, 0.5, shape) * delays for shape in ((4, N), (N, N)))
    weights = draw.normal(1.2, 0.8, (4, N)), draw.normal(0.1, 0.6, (N, N))
    return spikes_in, RecurrentParams(
        *map(jnp.asarray, weights), neuron, *map(jnp.asarray, (delay_in, delay_rec)), mask
    )


simulated = functools.partial(simulate, max_spikes=16, t_max=HORIZON)


@pytest.mark.parametrize("seed", range(4))
def test_both_engines_agree(seed):
    spikes_in, params = drawn(seed, delays=0)
    one_clock, many_clocks = (simulated(spikes_in, params, undelayed=known) for known in (True, False))
    assert one_clock.count.sum() > 10
    np.testing.assert_array_equal(one_clock.count, many_clocks.count)
    np.testing.assert_array_equal(one_clock.overflow, many_clocks.overflow)
    np.testing.assert_allclose(one_clock.times, many_clocks.times, rtol=0, atol=1e-11)


@pytest.mark.parametrize("delays", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_every_spike_is_a_threshold_crossing_and_there_is_no_other(seed, delays):
    spikes_in, params = drawn(10 + seed, delays=delays)
    spikes = simulated(spikes_in, params, undelayed=not delays)
    theta = np.asarray(params.neuron.threshold)
    real = np.isfinite(spikes.times)
    at_spikes = np.asarray(membrane_potential(jnp.where(real, spikes.times, 0).ravel(), spikes_in, spikes, params))
    neurons = np.repeat(np.arange(N), 16)
    residual = np.where(real.ravel(), at_spikes[np.arange(neurons.size), neurons] - theta[neurons], 0)
    assert np.abs(residual).max() < 1e-12
    between = membrane_potential(np.linspace(0, HORIZON, 2000), spikes_in, spikes, params)
    below = np.asarray(between) < theta + 1e-12
    assert (~spikes.overflow).sum() >= 2
    assert below[:, ~spikes.overflow].all()


def test_forward_and_reverse_mode_are_transposes():
    spikes_in, params = drawn(3, delays=1)
    draw = np.random.default_rng(0)

    def times(values):
        found = simulated(spikes_in, RecurrentParams(*values, params.mask_rec)).times
        return jnp.where(jnp.isfinite(found), found, 0)

    values = tuple(params[:5])
    change = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape)), values)
    weight = jnp.asarray(draw.normal(size=(N, 16)))
    forward = jnp.vdot(weight, jax.jvp(times, (values,), (change,))[1])
    pulled = jax.vjp(times, values)[1](weight)[0]
    reverse = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(change), jax.tree.leaves(pulled)))
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)


@pytest.mark.parametrize("undelayed", [False, True])
def test_the_hessian_is_that_of_central_differences(golden, undelayed):
    stored = golden("rec_small")
    spikes_in, params = load_recurrent(stored)
    options = {"max_spikes": 6, "undelayed": undelayed}

    def loss(w, tau):
        neuron = params.neuron._replace(tau_mem=tau)
        times = simulate(spikes_in, params._replace(w_in=w, neuron=neuron), **options).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0)[:, 1::2] ** 2)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    point = params.w_in, params.neuron.tau_mem
    hessian = jax.jit(jax.hessian(loss, argnums=(0, 1)))(*point)
    full = np.block(
        [
            [np.asarray(hessian[0][0]).reshape(15, 15), np.asarray(hessian[0][1]).reshape(15, 5)],
            [np.asarray(hessian[1][0]).reshape(5, 15), np.asarray(hessian[1][1])],
        ]
    )
    scale = np.abs(full).max()
    np.testing.assert_allclose(full, full.T, rtol=0, atol=1e-9 * scale)
    for k, step in ((0, 1e-5), (7, 1e-5), (17, 1e-5)):
        change = np.zeros(20)
        change[k] = step
        moved = [
            gradient(point[0] + sign * change[:15].reshape(3, 5), point[1] + sign * change[15:]) for sign in (1, -1)
        ]
        plus, minus = (np.concatenate([np.ravel(x) for x in of]) for of in moved)
        np.testing.assert_allclose(full[k], (plus - minus) / (2 * step), rtol=0, atol=1e-5 * scale)


def test_order_of_inputs_and_of_neurons_does_not_matter():
    spikes_in, params = drawn(5, delays=1)
    spikes = simulated(spikes_in, params)
    inputs, neurons = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(N)
    permuted = RecurrentParams(
        params.w_in[inputs][:, neurons],
        params.w_rec[neurons][:, neurons],
        LIF(*(x[neurons] for x in params.neuron)),
        params.delay_in[inputs][:, neurons],
        params.delay_rec[neurons][:, neurons],
        params.mask_rec[neurons][:, neurons],
    )
    again = simulated(spike_train(spikes_in.times[inputs, ::-1]), permuted)
    np.testing.assert_allclose(again.times, spikes.times[neurons], rtol=0, atol=1e-12)


def test_an_input_spike_is_two_of_half_the_weight():
    spikes_in, params = drawn(6, delays=1)
    twice = RecurrentParams(
        jnp.concatenate([params.w_in, params.w_in]) / 2, *params[1:3], jnp.tile(params.delay_in, (2, 1)), *params[4:]
    )
    doubled = spike_train(jnp.concatenate([spikes_in.times, spikes_in.times]))
    np.testing.assert_allclose(simulated(doubled, twice).times, simulated(spikes_in, params).times, rtol=0, atol=1e-12)


@pytest.mark.parametrize("undelayed", [False, True])
def test_twins_that_inhibit_each_other_fire_together(undelayed):
    spikes_in = spike_train([[0.1, 1.0]])
    params = RecurrentParams(
        jnp.full((1, 2), 4.0), jnp.array([[0, -50.0], [-50.0, 0]]), LIF(1.0, 0.8), jnp.zeros(()), jnp.zeros(()), None
    )

    def loss(params):
        times = simulate(spikes_in, params, max_spikes=2, undelayed=undelayed).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0)), times

    (_, times), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    assert np.isfinite(times[:, 0]).all()
    np.testing.assert_array_equal(times[0], times[1])
    np.testing.assert_array_equal(gradient.w_in[:, 0], gradient.w_in[:, 1])
    assert gradient.w_in[0, 0] < 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_vmap_is_the_loop_in_values_and_gradients():
    spikes_in, params = drawn(7, delays=0)
    batch = jnp.stack([spikes_in.times, spikes_in.times + 0.3, spikes_in.times[::-1]])

    def loss(w_rec, times):
        found = simulated(spike_train(times), params._replace(w_rec=w_rec), undelayed=True).times
        return jnp.sum(jnp.where(jnp.isfinite(found), found, 0) ** 2)

    both = jax.value_and_grad(loss)
    together = jax.vmap(both, (None, 0))(params.w_rec, batch)
    alone = [both(params.w_rec, times) for times in batch]
    for k, (value, gradient) in enumerate(alone):
        np.testing.assert_allclose(together[0][k], value, rtol=1e-12)
        np.testing.assert_allclose(together[1][k], gradient, rtol=1e-10, atol=1e-12 * np.abs(gradient).max())


@pytest.mark.parametrize("undelayed", [False, True])
def test_spikes_beyond_a_limit_are_flagged(golden, undelayed):
    stored = golden("rec_small")
    spikes_in, params = load_recurrent(stored)
    few = simulate(spikes_in, params, max_spikes=2, undelayed=undelayed)
    assert few.count.max() == 2
    np.testing.assert_array_equal(few.overflow, [True, False, True, True, False])
    delays = {"delay_in": 0.0, "delay_rec": 0.0} if undelayed else {}
    options = params._asdict() | delays | {"t_max": 4.0}
    first = recurrent(spikes_in, **options, max_spikes=17, max_events=7)
    assert first.overflow.all()
    expected = golden_times(stored, 5)
    expected[expected > np.sort(expected.ravel())[6]] = np.inf
    np.testing.assert_allclose(first.times, expected, rtol=0, atol=1e-11)


def test_strict_says_which_limits_would_do(golden):
    spikes_in, params = load_recurrent(golden("rec_small"))
    with pytest.raises(ValueError, match="max_spikes=17 and max_events=45 are needed"):
        recurrent(spikes_in, **params._asdict(), t_max=4.0, max_spikes=5, strict=True)
    assert not recurrent(spikes_in, **params._asdict(), t_max=4.0, max_spikes=20, strict=True).overflow.any()


def test_a_neuron_with_no_spikes_left_is_silent_and_its_gradient_that_of_the_silent_network(golden):
    spikes_in, params = load_recurrent(golden("rec_small"))

    def last(shift):
        times = simulate(spikes_in, params._replace(w_in=params.w_in + shift), max_spikes=3).times
        return jnp.sum(jnp.where(jnp.isfinite(times), times, 0))

    slope = (last(1e-6) - last(-1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(last)(0.0), slope, rtol=1e-7)


def test_a_tangential_crossing_has_a_finite_gradient():
    # the peak of h for α = β = 1 is 1/e at 1
    def first(weight):
        params = RecurrentParams(weight[None, None], jnp.zeros((1, 1)), LIF(1.0, 1.0), jnp.zeros(()), jnp.zeros(()))
        return simulate(spike_train([[0.5]]), params, max_spikes=1, undelayed=True).times[0, 0]

    weight = jnp.asarray(np.e * (1 + 1e-15))
    gradient = jax.grad(lambda w: jnp.where(jnp.isfinite(first(w)), first(w), 0))(weight)
    assert np.isfinite(gradient)


def time_stepped(spikes_in, params, dt):
    """First spike of each neuron on a time grid (exponential Euler, delays rounded to the grid)."""
    alpha, beta, theta = 1 / params.neuron.tau_syn, 1 / params.neuron.tau_mem, params.neuron.threshold
    n, steps = len(theta), round(HORIZON / dt)
    jump = np.zeros((steps + 1, n))
    for j, times in enumerate(np.asarray(spikes_in.times)):
        for time in times[np.isfinite(times)]:
            for i in range(n):
                at = int(np.ceil((time + params.delay_in[j, i]) / dt))
                if at <= steps:
                    jump[at, i] += params.w_in[j, i]
    v, current, first = np.zeros(n), np.zeros(n), np.full(n, np.inf)
    offsets = np.ceil(np.asarray(params.delay_rec) / dt).astype(int)
    weights = np.asarray(params.w_rec) * params.mask_rec
    for step in range(steps + 1):
        v, current = v * np.exp(-beta * dt) + dt * current, current * np.exp(-alpha * dt)
        for i in np.flatnonzero(v >= theta):
            v[i] -= theta[i]
            first[i] = min(first[i], step * dt)
            for m in range(n):
                if step + 1 + offsets[i, m] <= steps:
                    jump[step + 1 + offsets[i, m], m] += weights[i, m]
        current = current + jump[step]
    return first


def test_a_time_stepped_simulation_converges_to_these_spikes_with_order_one():
    spikes_in, params = drawn(1, delays=1)
    params = jax.tree.map(np.asarray, params)
    first = np.asarray(simulated(spikes_in, jax.tree.map(jnp.asarray, params)).times[:, 0])
    fires = np.isfinite(first)
    steps = np.array([1e-2, 3e-3, 1e-3, 3e-4])
    errors = [np.abs(time_stepped(spikes_in, params, dt)[fires] - first[fires]).mean() for dt in steps]
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.9 < order < 1.1


BAD = [
    ({"w_in": np.ones((5, 3))}, r"w_in are \[pre, post\].*\(3, n_post\).*got \(5, 3\); transpose"),
    ({"w_rec": np.ones((5, 4))}, r"w_rec"),
    ({"delay_rec": -0.1}, "delay_rec must be finite and not negative"),
    ({"delay_in": np.zeros(4)}, "delay_in have shape"),
    ({"neuron": LIF(0.0, 1.0)}, "tau_mem must be positive"),
    ({"neuron": LIF(1.0, 1.0, np.ones(4))}, "threshold has shape"),
    ({"mask_rec": np.ones((4, 4), bool)}, "mask_rec has shape"),
    ({"t_max": 0.0}, "t_max must be positive"),
    ({"max_spikes": 0}, "max_spikes must be 1 or more"),
    ({"max_events": 0}, "max_events must be 1 or more"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused_with_what_is_needed(golden, change, message, unchecked_types):
    spikes_in, params = load_recurrent(golden("rec_small"))
    options = params._asdict() | {"t_max": 4.0, "max_spikes": 3} | change
    with pytest.raises(ValueError, match=message):
        recurrent(spikes_in, **options)
