"""The gradient of a loss of spike times in one backward pass, O(n) for each spike and each input."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.forward_propagation._causal_solve import backwards
from offprint.forward_propagation._embed import Parameters, recurrent_params
from offprint.forward_propagation._influence import Influence, influence, own_gaps
from offprint.forward_propagation._kernel import decay, kernel, kernel_dalpha, kernel_dbeta
from offprint.forward_propagation._neuron import Rates
from offprint.forward_propagation._potential import check_spikes
from offprint.forward_propagation._recurrent import RecurrentParams, as_network, check_recurrent
from offprint.forward_propagation._recurrent_forward import Network
from offprint.forward_propagation._spikes import SpikeTrain, as_times


class SpikeGradient(NamedTuple):
    """dL/dp in the structure of what it is the gradient by."""

    params: Any
    """By weights, delays, thresholds and time constants: `RecurrentParams` (`mask_rec` None), `LayerParams` or a list
    of these, as given."""
    inputs: Float[Array, "n_in S_in"]
    """By the input spike times; 0 for padding."""


def adjoint_gradient(
    spikes_in: SpikeTrain,
    params: Parameters,
    spikes: SpikeTrain,
    dL_dt: Float[Array | np.ndarray, "n S"],
    *,
    reset_coupling: bool = True,
    slope_floor: float | int = 0.0,
) -> SpikeGradient:
    """Gradient of a loss from its derivative by each spike time, for spikes that are already there.

    This is -λ'B with A'λ = dL/dt. As the kernels are exponentials, two numbers for each neuron carry all of λ from
    spike to spike, backwards in time: (K + M) n steps for K spikes and M inputs, with any delays.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        params: of a recurrent network, of one layer, or of layers in a row.
        spikes: spikes of all neurons, times (n, S), numbered through the layers.
        dL_dt: derivative of the loss by each spike time; not used where there is no spike.
        reset_coupling: as for `recurrent`.
        slope_floor: as for `recurrent`.

    Returns:
        The gradient by the parameters and by the input times.

    Raises:
        TypeError: spike times that are neither float32 nor float64.
        ValueError: parameters, spikes or `dL_dt` that do not fit together.

    Source: the paper's gradient, in reverse; the recursion is that of Eventprop (Wunderlich and Pehle 2021).
    """
    times_in, times = as_times(spikes_in.times), as_times(spikes.times)
    check_fit(params, times_in, times)
    if np.shape(dL_dt) != times.shape:
        raise ValueError(f"dL_dt has shape {np.shape(dL_dt)}; one number for each spike, {times.shape}, is needed")
    return _gradient(params, times_in, times, jnp.asarray(dL_dt, times.dtype), reset_coupling, float(slope_floor))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _gradient(
    params: Any, times_in: Array, times: Array, loss_dt: Array, reset_coupling: bool, slope_floor: float
) -> SpikeGradient:
    network, pull = network_of(params, times.dtype)
    system, arrived, before = influence(
        network,
        times_in,
        times,
        times.size,
        reset_coupling=reset_coupling,
        slope_floor=slope_floor,
    )
    adjoint = adjoint_states(system, times, loss_dt)
    n, n_in = times.shape[0], times_in.shape[0]
    alpha, beta, _ = (jnp.broadcast_to(x, (n,)) for x in network.rates)

    # λ at the arrivals, from λ at the target's next spike
    gap, source = arrived.gap, arrived.source
    at_next = jnp.pad(adjoint, ((0, 0), (0, 1), (0, 0)))[jnp.arange(n), arrived.own]
    weights, synaptic, h = network.weights[source], decay(gap, alpha), kernel(gap, alpha, beta)
    lambda_i = at_next[..., 1] * synaptic + at_next[..., 0] * h
    by_arrival = weights * (alpha * lambda_i - at_next[..., 0] * decay(gap, beta))
    by_delay = by_arrival if network.delays.shape[1] > 1 else jnp.sum(by_arrival, axis=1, keepdims=True)

    gaps, rate = own_gaps(times), (alpha[:, None], beta[:, None])
    flow = before * kernel_dalpha(gaps, *rate), before * -gaps * system.keep_i
    by_alpha = jnp.sum(flow[0] * adjoint[..., 0] + flow[1] * adjoint[..., 1], axis=1)
    arriving = at_next[..., 0] * kernel_dalpha(gap, alpha, beta) - at_next[..., 1] * gap * synaptic
    by_alpha += jnp.sum(weights * arriving, axis=0)
    by_beta = jnp.sum(before * kernel_dbeta(gaps, *rate) * adjoint[..., 0], axis=1)
    by_beta += jnp.sum(weights * at_next[..., 0] * kernel_dbeta(gap, alpha, beta), axis=0)
    by_rates = by_alpha, by_beta, -jnp.sum(adjoint[..., 0], axis=1)
    by_network = Network(
        jax.ops.segment_sum(lambda_i, source, network.weights.shape[0]),
        jax.ops.segment_sum(by_delay, source, network.weights.shape[0]),
        Rates(*(x if rate.ndim else jnp.sum(x) for x, rate in zip(by_rates, network.rates))),
    )
    by_input = jnp.sum(by_arrival[: times_in.size], axis=1).reshape(n_in, -1)
    return SpikeGradient(pull(by_network), by_input)


def adjoint_states(
    system: Influence, times: Float[Array, "n S"], loss_dt: Float[Array, "n S"]
) -> Float[Array, "n S 2"]:
    """(λ_V, λ_I), the derivatives of the loss by V and I just before each spike."""
    direct = jnp.where(jnp.isfinite(times), -loss_dt * system.inverse_slope, 0)
    return backwards(system, jnp.stack([direct, jnp.zeros_like(direct)], axis=-1))


def network_of(params: Parameters, dtype: Any) -> tuple[Network, Callable[[Network], Any]]:
    """The network of the parameters, and the map of a gradient by the network to one by the parameters."""
    if isinstance(params, RecurrentParams):
        mask = params.mask_rec
        network, pull = jax.vjp(lambda p: as_network(p._replace(mask_rec=mask), dtype), params._replace(mask_rec=None))
    else:
        network, pull = jax.vjp(lambda p: as_network(recurrent_params(p), dtype), params)
    return network, lambda gradient: pull(gradient)[0]


def check_fit(params: Parameters, times_in: Float[Array, "n_in S_in"], times: Float[Array, "n S"]) -> None:
    """Raise ValueError unless parameters, input spikes and spikes belong to one network."""
    recurrent = recurrent_params(params)
    check_recurrent(recurrent, times_in.shape)
    check_spikes(times.shape, np.shape(recurrent.w_rec)[0])
