"""The linear system of forward propagation, written out: A dt = -B dp with A lower triangular in time."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._adjoint import check_fit, network_of
from offprint.forward_propagation._embed import Parameters
from offprint.forward_propagation._influence import time_order
from offprint.forward_propagation._kernel import decay, kernel, kernel_dalpha, kernel_dbeta, kernel_ds
from offprint.forward_propagation._neuron import LayerParams, Rates, is_concrete
from offprint.forward_propagation._recurrent import RecurrentParams
from offprint.forward_propagation._recurrent_forward import Network
from offprint.forward_propagation._spikes import SpikeTrain, as_times

NAMES = ("weights", "delays", "threshold", "tau_mem", "tau_syn", "inputs")


class FPSystem(NamedTuple):
    """A and B of A dt = -B dp, a row for each spike, in order of time."""

    A: Float[Array, "K K"]
    """A_kl = ∂F_k/∂t_l, lower triangular; on the diagonal V' just before the spike. F_k = V(t_k) - θ."""
    B: dict[str, Any]
    """∂F_k/∂p by name ("weights", "delays", "threshold", "tau_mem", "tau_syn", "inputs"), K first, then the
    parameter's own shape. By weights and by delays a pair (from inputs, between neurons) for a recurrent network; for
    layers in a row lists, one entry for each layer."""
    neurons: Int[Array, "K"]
    """Which neuron fires, numbered through the layers."""
    numbers: Int[Array, "K"]
    """Which of its spikes it is."""
    times: Float[Array, "K"]
    """When; +inf for padding, whose rows are those of the identity in A and 0 in B."""


def fp_system(
    spikes_in: SpikeTrain, params: Parameters, spikes_out: SpikeTrain, *, reset_coupling: bool = True
) -> FPSystem:
    """The matrices A and B that the implicit function theorem gives for the spikes of a network.

    For study: A is K x K and B as large as the Jacobian. Training goes through `recurrent` or `lif_layer`, whose
    derivatives solve the same system without writing it down.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        params: of a recurrent network, of one layer, or of layers in a row.
        spikes_out: spikes of all neurons, times (n, S), numbered through the layers.
        reset_coupling: False leaves the dependence on the neuron's own earlier spikes out of A, as the authors' code.

    Returns:
        The system. K is the number of spikes, or n S, with padding at the end, where it is not known (under jit).

    Raises:
        ValueError: parameters and spikes that do not fit together.

    Source: the paper's linear system (A, B and -A⁻¹B are VF, VW and FW in the authors' code).
    """
    times_in, times = as_times(spikes_in.times), as_times(spikes_out.times)
    check_fit(params, times_in, times)
    count = int(np.isfinite(np.asarray(times)).sum()) if is_concrete(times) else times.size
    return _written_out(params, times_in, times, count, reset_coupling)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _written_out(params: Any, times_in: Array, times: Array, count: int, reset_coupling: bool) -> FPSystem:
    network, pull = network_of(params, times.dtype)
    order = time_order(times, max(count, 1))[:count]
    neurons, numbers = order // times.shape[1], order % times.shape[1]
    events = _Spikes(neurons, numbers, times.reshape(-1)[order])
    a = _matrix(events, times_in, times, network, reset_coupling)
    by_network, by_inputs = _by_parameters(events, times_in, times, network)
    return FPSystem(a, named(jax.vmap(pull)(by_network), by_inputs), *events)


def named(gradient: Any, inputs: Array) -> dict[str, Any]:
    """What has the structure of parameters, by the names of these."""
    weights: Any
    delays: Any
    if isinstance(gradient, RecurrentParams):
        weights, delays = (gradient.w_in, gradient.w_rec), (gradient.delay_in, gradient.delay_rec)
        neuron = gradient.neuron._asdict()
    elif isinstance(gradient, LayerParams):
        weights, delays, neuron = gradient.weights, gradient.delays, gradient.neuron._asdict()
    else:
        weights, delays = [layer.weights for layer in gradient], [layer.delays for layer in gradient]
        fields = gradient[0].neuron._fields
        neuron = {name: [getattr(layer.neuron, name) for layer in gradient] for name in fields}
    return {"weights": weights, "delays": delays, **neuron, "inputs": inputs}


class _Spikes(NamedTuple):
    neurons: Int[Array, "K"]
    numbers: Int[Array, "K"]
    times: Float[Array, "K"]


class _FromSources(NamedTuple):
    """Everything that is sent, as seen from each spike k: event e arrives `since` before it; -1 if it does not."""

    source: Int[Array, "E"]
    weights: Float[Array, "K E"]
    since: Float[Array, "K E"]
    alpha: Float[Array, "K 1"]
    beta: Float[Array, "K 1"]


def _from_sources(events: _Spikes, times_in: Array, network: Network) -> _FromSources:
    n_in, s_in = times_in.shape
    n = network.weights.shape[1]
    source = jnp.concatenate([jnp.repeat(jnp.arange(n_in), s_in), n_in + events.neurons])
    sent = jnp.concatenate([times_in.reshape(-1), events.times])
    delays = jnp.broadcast_to(network.delays, network.weights.shape)[source[None, :], events.neurons[:, None]]
    real = jnp.isfinite(events.times)[:, None] & jnp.isfinite(sent)
    since = jnp.where(real, _finite(events.times)[:, None] - _finite(sent) - delays, -1)
    alpha, beta, _ = (jnp.broadcast_to(x, (n,))[events.neurons, None] for x in network.rates)
    weights = network.weights[source[None, :], events.neurons[:, None]]
    # an arrival at the very time of the spike comes too late for it
    return _FromSources(source, weights, jnp.where(since > 0, since, -1), alpha, beta)


def _own_earlier(events: _Spikes) -> Float[Array, "K K"]:
    """Time since each earlier spike of the same neuron, else -1."""
    same = (events.neurons[:, None] == events.neurons) & (events.numbers[:, None] > events.numbers)
    finite = _finite(events.times)
    return jnp.where(same & jnp.isfinite(events.times)[:, None], finite[:, None] - finite, -1)


def _matrix(events: _Spikes, times_in: Array, times: Array, network: Network, reset_coupling: bool) -> Array:
    sent = _from_sources(events, times_in, network)
    moved = sent.weights * kernel_ds(sent.since, sent.alpha, sent.beta)
    theta = jnp.broadcast_to(network.rates.theta, times.shape[:1])[events.neurons, None]
    reset = theta * sent.beta * decay(_own_earlier(events), sent.beta)
    diagonal = jnp.sum(moved, axis=1) + jnp.sum(reset, axis=1)
    below = -moved[:, times_in.size :] - (reset if reset_coupling else 0)
    return below + jnp.diag(jnp.where(jnp.isfinite(events.times), diagonal, 1))


def _by_parameters(events: _Spikes, times_in: Array, times: Array, network: Network) -> tuple[Network, Array]:
    """B by the fields of the network, K first, and by the input times."""
    n_src, n = network.weights.shape
    sent = _from_sources(events, times_in, network)
    at_source = jax.nn.one_hot(sent.source, n_src, dtype=times.dtype)
    at_neuron = jax.nn.one_hot(events.neurons, n, dtype=times.dtype) * jnp.isfinite(events.times)[:, None]
    feeding = kernel(sent.since, sent.alpha, sent.beta) @ at_source
    by_arrival = -sent.weights * kernel_ds(sent.since, sent.alpha, sent.beta)
    by_delay = by_arrival @ at_source
    columns = at_neuron if network.delays.shape[1] > 1 else jnp.ones_like(at_neuron[:, :1])
    theta = jnp.broadcast_to(network.rates.theta, (n,))[events.neurons]
    earlier = _own_earlier(events)
    reset = decay(earlier, sent.beta)
    by_rates = (
        jnp.sum(sent.weights * kernel_dalpha(sent.since, sent.alpha, sent.beta), axis=1),
        jnp.sum(sent.weights * kernel_dbeta(sent.since, sent.alpha, sent.beta), axis=1)
        + theta * jnp.sum(earlier * reset, axis=1),
        -1 - jnp.sum(reset, axis=1),
    )
    rows = [x[:, None] * at_neuron for x in by_rates]
    by_network = Network(
        feeding[:, :, None] * at_neuron[:, None, :],
        by_delay[:, :, None] * columns[:, None, :],
        Rates(*(x if rate.ndim else jnp.sum(x, axis=1) for x, rate in zip(rows, network.rates))),
    )
    return by_network, by_arrival[:, : times_in.size].reshape(-1, *times_in.shape)


def _finite(times: Array) -> Array:
    return jnp.where(jnp.isfinite(times), times, 0)
