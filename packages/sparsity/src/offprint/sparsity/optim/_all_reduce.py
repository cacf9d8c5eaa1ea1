"""The sum of sparse gradients over devices."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sparse_all_reduce(
    x: Float[Array, "..."], k: int, axis_name: str
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The sum over devices of the k entries of largest size of each, inside `jax.shard_map` or `jax.vmap`.

    While 2kP < n, with P devices and n entries, (value, index) pairs are gathered, which is less to send; else the
    dense arrays are summed. The result is the same but for the order of the sum.

    Args:
        x: this device's gradient, plus its error if there is feedback.
        k: entries that each device sends; of equal ones those with the lower index.
        axis_name: the mesh axis to sum over. In `jax.shard_map` pass `check_vma=False` in order to return the sum as
            replicated.

    Returns:
        The sum, and what this device has sent: x minus it is the error to keep.

    Raises:
        ValueError: k not between 1 and the number of entries.
    """
    if not 1 <= k <= x.size:
        raise ValueError(f"k must be between 1 and the {x.size} entries; got {k}")
    flat = x.reshape(-1)
    _, index = jax.lax.top_k(jnp.abs(flat), k)
    values = flat[index]
    sent = jnp.zeros_like(flat).at[index].set(values)
    if 2 * k * jax.lax.axis_size(axis_name) >= x.size:
        total = jax.lax.psum(sent, axis_name)
    else:
        everyone = jax.lax.all_gather((values, index), axis_name, tiled=True)
        total = jnp.zeros_like(flat).at[everyone[1]].add(everyone[0])
    return total.reshape(x.shape), sent.reshape(x.shape)
