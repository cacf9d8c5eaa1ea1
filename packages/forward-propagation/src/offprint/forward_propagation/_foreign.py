"""Exact gradients for spikes that another simulator, or a chip, has produced."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.forward_propagation._adjoint import SpikeGradient, adjoint_gradient, check_fit, network_of
from offprint.forward_propagation._embed import Parameters, joined
from offprint.forward_propagation._neuron import LIF, is_concrete
from offprint.forward_propagation._potential import as_params, potential
from offprint.forward_propagation._spikes import SpikeTrain, as_times

Real = Float[Array | np.ndarray, "..."] | float | int


def gradient_from_spikes(
    spikes_in: SpikeTrain,
    spikes: SpikeTrain | Sequence[SpikeTrain],
    weights: Float[Array | np.ndarray, "n_pre n"] | Parameters,
    neuron: LIF | None,
    dL_dt: Float[Array | np.ndarray, "n S"],
    delays: Real = 0.0,
    *,
    tolerance: float | int = 1e-3,
    reset_coupling: bool = True,
    slope_floor: float | int = 0.0,
) -> SpikeGradient:
    """Gradient of a loss for given spikes, however they were found; nothing is simulated.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        spikes: spikes of all neurons (n, S), numbered through the layers; or one train for each layer.
        weights: (n_pre, n) of one layer, [pre, post]; or the parameters of a recurrent network or of layers in a row.
        neuron: LIF parameters of the layer; None where `weights` has them.
        dL_dt: derivative of the loss by each spike time, (n, S) like `spikes` when joined.
        delays: of the layer, as for `lif_layer`; not used where `weights` has them.
        tolerance: how far V may be from θ at a spike, as a part of θ. A simulator with a time grid misses θ by about
            its step times V'.
        reset_coupling: as for `recurrent`.
        slope_floor: as for `recurrent`.

    Returns:
        The gradient by the parameters (of one layer: as `LayerParams`) and by the input times.

    Raises:
        ValueError: spikes at which this model's potential is not θ, or does not rise: the worst one, by neuron and
            time, and by how much. Not checked under jit. Also what does not fit together.

    Source: the paper, abstract ("agnostic to how the forward pass is implemented").
    """
    params = as_params(weights, neuron, delays)
    train = joined(spikes)
    times_in, times = as_times(spikes_in.times), as_times(train.times)
    check_fit(params, times_in, times)
    if all(is_concrete(leaf) for leaf in jax.tree.leaves((times_in, times, params))):
        _check_residuals(times_in, times, params, float(tolerance))
    return adjoint_gradient(spikes_in, params, train, dL_dt, reset_coupling=reset_coupling, slope_floor=slope_floor)


@jax.jit
def _at_spikes(times_in: Array, times: Array, params: Parameters) -> tuple[Array, Array, Array]:
    """Potential, its slope and the threshold at each spike, (n S,); where there is none, at 0."""
    network, _ = network_of(params, times.dtype)
    at = jnp.where(jnp.isfinite(times), times, 0).reshape(-1)
    neurons = np.repeat(np.arange(times.shape[0]), times.shape[1])
    v, slope = jax.jvp(lambda t: potential(t, times_in, times, network), (at,), (jnp.ones_like(at),))
    spikes = np.arange(at.size)
    return v[spikes, neurons], slope[spikes, neurons], jnp.broadcast_to(network.rates.theta, times.shape[:1])[neurons]


def _check_residuals(times_in: Array, times: Array, params: Parameters, tolerance: float) -> None:
    real = np.isfinite(np.asarray(times))
    at = np.where(real, np.asarray(times), 0).reshape(-1)
    neurons = np.repeat(np.arange(times.shape[0]), times.shape[1])
    v, slope, theta = (np.asarray(x) for x in _at_spikes(times_in, times, params))
    residual = np.where(real.reshape(-1), np.abs(v - theta) / theta, 0)
    worst = int(np.argmax(residual))
    if not residual[worst] <= tolerance:
        raise ValueError(
            f"these are not spikes of this model: at the worst, of neuron {neurons[worst]} at {float(at[worst]):.6g}, "
            f"|V - θ| is {abs(v[worst] - theta[worst]):.3g} with θ = {theta[worst]:.3g} (tolerance {tolerance:g} θ); "
            f"{int(np.sum(residual > tolerance))} of {int(real.sum())} spikes are off. Look at the unit of time, the "
            "scale of the weights (here I' = -I/τ_syn, V' = -V/τ_mem + I), delays, and a reset that subtracts θ"
        )
    falling = real.reshape(-1) & ~(slope > 0)
    if falling.any():
        first = int(np.argmax(falling))
        raise ValueError(
            f"the potential of neuron {neurons[first]} does not rise at its spike at {float(at[first]):.6g} (V' = "
            f"{slope[first]:.3g}): the spike time has no derivative there"
        )
