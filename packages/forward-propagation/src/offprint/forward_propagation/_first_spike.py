"""The time to the first spike: what time-to-first-spike losses and predictions are made from."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Times = Float[Array, "*batch n"] | Float[np.ndarray, "*batch n"]


def first_spike(train: SpikeTrain, t_max: Number | Float[Array, ""]) -> Float[Array, "*batch n"]:
    """Time of every neuron's first spike; silent neurons enter at the horizon: t_i = min(F_i and T).

    Args:
        train: spikes of n neurons.
        t_max: horizon T.

    Returns:
        Times (..., n) of at most T. What enters at T has gradient 0 with respect to the spike times.
    """
    first = train.times[..., 0]
    return jnp.where(first < t_max, first, jnp.asarray(t_max, first.dtype))


def predict_first_spike(t: Times) -> Int[Array, "*batch"]:
    """The neuron that fires first; among equal times, and where all are silent, the one of lowest index.

    Args:
        t: first spike times (..., n), those of silent neurons at the horizon or infinite.
    """
    return jnp.argmin(jnp.asarray(t), axis=-1)


def silent_fraction(t: Times, t_max: Number | Float[Array, ""]) -> Float[Array, ""]:
    """Share of neurons, over all samples, whose first spike is not before the horizon.

    Args:
        t: first spike times (..., n), as from `first_spike` or infinite where silent.
        t_max: horizon T.
    """
    times = jnp.asarray(t)
    return jnp.mean(times >= t_max, dtype=times.dtype)
