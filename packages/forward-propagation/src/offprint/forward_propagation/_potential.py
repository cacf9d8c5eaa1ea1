"""The membrane potential as a function of time, from spike times alone (kernel form)."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.forward_propagation._embed import Parameters, recurrent_params
from offprint.forward_propagation._kernel import decay, kernel
from offprint.forward_propagation._neuron import LIF, LayerParams, Rates
from offprint.forward_propagation._recurrent import as_network, check_recurrent
from offprint.forward_propagation._recurrent_forward import Network
from offprint.forward_propagation._spikes import SpikeTrain, as_times

Real = Float[Array | np.ndarray, "..."] | float | int


def membrane_potential(
    t: Float[Array | np.ndarray, "n_t"],
    spikes_in: SpikeTrain,
    spikes_out: SpikeTrain,
    weights: Float[Array | np.ndarray, "n_pre n"] | Parameters,
    neuron: LIF | None = None,
    delays: Real = 0.0,
) -> Float[Array, "n_t n"]:
    """V of every neuron at given times, just before the spikes that fall on them.

    V_i(t) = Σ_j w_ji Σ_f h_i(t - f - d_ji) - θ_i Σ_g e^(-β_i (t - g)), over arrivals f + d_ji < t and own spikes
    g < t. With `spikes_out` from `recurrent` or `lif_layer` the derivatives are total: the spikes move as well.

    Args:
        t: times.
        spikes_in: spikes of the inputs.
        spikes_out: spikes of the neurons themselves.
        weights: (n_pre, n) of one layer, [pre, post]; or the parameters of a recurrent network or of layers in a row,
            the spikes of whose neurons are then all in `spikes_out`, numbered through the layers.
        neuron: LIF parameters; None where `weights` has them.
        delays: as for `lif_layer`; not used where `weights` has them.

    Raises:
        ValueError: parameters as `recurrent`; `neuron` missing or given twice.
    """
    params = recurrent_params(as_params(weights, neuron, delays))
    times_in, times_out = as_times(spikes_in.times), as_times(spikes_out.times)
    check_recurrent(params, times_in.shape)
    check_spikes(times_out.shape, np.shape(params.w_rec)[0])
    network = as_network(params, times_out.dtype)
    return potential(jnp.asarray(t, times_out.dtype), times_in, times_out, network)


def potential(
    t: Float[Array, "n_t"], times_in: Float[Array, "n_in S_in"], times_out: Float[Array, "n S"], network: Network
) -> Float[Array, "n_t n"]:
    """`membrane_potential` without its checks."""
    n_in = times_in.shape[0]
    from_inputs = _driven(t, times_in, network.weights[:n_in], network.delays[:n_in], network.rates)
    from_neurons = _driven(t, times_out, network.weights[n_in:], network.delays[n_in:], network.rates)
    _, beta, theta = (jnp.broadcast_to(x, times_out.shape[:1]) for x in network.rates)
    since = t[:, None, None] - times_out
    own = jnp.sum(jnp.where(since > 0, decay(since, beta[:, None]), 0), axis=-1)
    return from_inputs + from_neurons - theta * own


def feeding_kernel(
    t: Float[Array, "*at targets"], times: Float[Array, "n_pre S"], delays: Float[Array, "n_pre columns"], rates: Rates
) -> Float[Array, "*at n_pre posts"]:
    """y_ji(t), the sum of h_i over what has arrived from j; one column for all targets where all are the same."""
    since = t[..., None, None, :] - (times[:, :, None] + delays[:, None, :])
    return jnp.sum(kernel(since, rates.alpha, rates.beta), axis=-2)


def _driven(t: Array, times: Array, weights: Array, delays: Array, rates: Rates) -> Float[Array, "n_t n"]:
    y = feeding_kernel(t[:, None], times, delays, rates)
    return y[..., 0] @ weights if y.shape[-1] == 1 else jnp.sum(y * weights, axis=1)


def as_params(
    weights: Float[Array | np.ndarray, "n_pre n"] | Parameters, neuron: LIF | None, delays: Real
) -> Parameters:
    """Weights, neuron and delays of a layer as its parameters; parameters as they are."""
    whole = not hasattr(weights, "shape")
    if whole and neuron is not None:
        raise ValueError("the parameters of a network bring their neurons with them: give neuron=None")
    if not whole and neuron is None:
        raise ValueError("weights alone say nothing of the neurons: give neuron=LIF(tau_mem, tau_syn, threshold)")
    return weights if whole else LayerParams(weights, neuron, delays)  # type: ignore[return-value, arg-type]


def check_spikes(shape: tuple[int, ...], n: int) -> None:
    """Raise ValueError unless these are spike times (n, S) of all n neurons."""
    if len(shape) != 2 or shape[0] != n:
        raise ValueError(f"spike times of the neurons have shape {shape}; ({n}, S) of all {n} neurons is needed")
