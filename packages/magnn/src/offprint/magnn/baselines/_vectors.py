"""What the baselines have in common: tables of vectors, users' vectors, the history as one row."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from offprint.magnn._short_term import lookup
from offprint.magnn._windows import Batch


def vectors(rngs: nnx.Rngs, rows: int, d: int, dtype: DTypeLike) -> nnx.Param:
    """A table drawn from a normal distribution of standard deviation 1/d, as MAGNN's and HGN's are."""
    return nnx.Param(jax.random.normal(rngs.params(), (rows, d), dtype) / d)


def xavier(rngs: nnx.Rngs, rows: int, columns: int, dtype: DTypeLike) -> nnx.Param:
    """A Xavier-uniform matrix."""
    return nnx.Param(jax.nn.initializers.xavier_uniform()(rngs.params(), (rows, columns), dtype))


def user_vectors(P: Float[Array, "users d"], users: Int[Array, " batch"]) -> Float[Array, "batch d"]:
    """Rows of the users' table; the mean of all for somebody unknown (-1)."""
    return jnp.where(users[:, None] < 0, P.mean(axis=0), lookup(P, users))


def history(batch: Batch) -> Int[Array, "batch steps"]:
    """Long-term items and the window after them, oldest first; -1 on the left is padding."""
    return jnp.concatenate([batch.long, batch.short], axis=1)


def check_sizes(**sizes: int) -> None:
    """Refuse sizes below 1 (below 0 for `max_long`)."""
    for name, size in sizes.items():
        least = 0 if name == "max_long" else 1
        if size < least:
            raise ValueError(f"{name} must be at least {least}, but is {size}")
