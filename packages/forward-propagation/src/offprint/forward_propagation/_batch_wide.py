"""What all samples of a batch decide together, so that a loop in them ends for all at once."""

from typing import Any

import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Int


@custom_vmap
def largest(x: Int[Array, ""]) -> Int[Array, ""]:
    """The number itself; under `jax.vmap` the largest of the batch, and the same for all samples.

    A loop whose end depends on the sample would copy the state of every sample in every pass, in order to keep those
    that are through as they are. This is for loops in which further passes change nothing.
    """
    return x


@largest.def_vmap
def _largest_of_batch(axis_size: int, in_batched: list[Any], x: Int[Array, "batch"]) -> tuple[Array, bool]:
    del axis_size, in_batched
    return largest(jnp.max(x)), False
