"""The Hebbian reading of the exact gradient: a presynaptic trace, seen at the postsynaptic spikes, times a factor."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from offprint.forward_propagation._adjoint import adjoint_states, check_fit, network_of
from offprint.forward_propagation._embed import Parameters
from offprint.forward_propagation._influence import influence
from offprint.forward_propagation._potential import feeding_kernel
from offprint.forward_propagation._spikes import SpikeTrain, as_times


def hebbian_terms(
    spikes_in: SpikeTrain,
    params: Parameters,
    spikes: SpikeTrain,
    dL_dt: Float[Array | np.ndarray, "n S"],
    *,
    reset_coupling: bool = True,
    slope_floor: float | int = 0.0,
) -> tuple[Float[Array, "n S"], Float[Array, "n_pre n S"]]:
    """The two factors of the weight gradient, dL/dw_ji = Σ_s c_is y_jis.

    y is what a synapse can know, the feeding kernel of its source when its target fires; c, one number for each
    spike, is all that the rest of the network and the loss have to say.

    Args:
        spikes_in: input spikes, times (n_in, S_in).
        params: of a recurrent network, of one layer, or of layers in a row.
        spikes: spikes of all n neurons, times (n, S), numbered through the layers.
        dL_dt: derivative of the loss by each spike time.
        reset_coupling: as for `recurrent`.
        slope_floor: as for `recurrent`.

    Returns:
        c (n, S) and y (n_pre, n, S), both 0 where there is no spike; the n_pre sources are the inputs and then the
        neurons, so `einsum("ns,jns->jn", c, y)` is the gradient by the input weights above that by the recurrent ones
        (as if all synapses existed).

    Raises:
        ValueError: parameters, spikes or `dL_dt` that do not fit together.

    Source: the paper's Hebbian reading of its gradient (abstract).
    """
    times_in, times = as_times(spikes_in.times), as_times(spikes.times)
    check_fit(params, times_in, times)
    return _terms(params, times_in, times, jnp.asarray(dL_dt, times.dtype), reset_coupling, float(slope_floor))


@functools.partial(jax.jit, static_argnums=(4, 5))
def _terms(
    params: Parameters, times_in: Array, times: Array, loss_dt: Array, reset_coupling: bool, slope_floor: float
) -> tuple[Float[Array, "n S"], Float[Array, "n_pre n S"]]:
    network, _ = network_of(params, times.dtype)
    system, _, _ = influence(
        network, times_in, times, times.size, reset_coupling=reset_coupling, slope_floor=slope_floor
    )
    lambda_v = adjoint_states(system, times, loss_dt)[..., 0]
    after = jnp.pad((system.keep_v * lambda_v)[:, 1:], ((0, 0), (0, 1)))
    # λ_V falls at each spike, backwards, by (total derivative by its time) / V'
    c = jnp.where(jnp.isfinite(times), lambda_v - after, 0)
    at = jnp.where(jnp.isfinite(times), times, 0).T
    n_in = times_in.shape[0]
    y = jnp.concatenate(
        [
            feeding_kernel(at, times_in, network.delays[:n_in], network.rates),
            feeding_kernel(at, times, network.delays[n_in:], network.rates),
        ],
        axis=1,
    )
    return c, jnp.where(jnp.isfinite(times), jnp.moveaxis(y, 0, -1), 0)
