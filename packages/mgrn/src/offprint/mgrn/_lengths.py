"""Sequences of unequal length in one array: which steps are valid, and how to reverse them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def valid_steps(lengths: Int[Array, " batch"], steps: int) -> Bool[Array, "time batch"]:
    """Whether step t of every sequence lies before its end, time-major."""
    return jnp.arange(steps)[:, None] < lengths[None, :]


def reverse_sequences(
    x: Float[Array, "batch time features"], lengths: Int[Array, " batch"] | None = None
) -> Float[Array, "batch time features"]:
    """Every sequence backwards in time, its valid steps first; what lies beyond its end stays where it is.

    Its own inverse. `lengths=None` reverses all steps.
    """
    if lengths is None:
        return x[:, ::-1]
    time = jnp.arange(x.shape[1])[None, :]
    source = jnp.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return jnp.take_along_axis(x, source[:, :, None], axis=1, mode="promise_in_bounds")
