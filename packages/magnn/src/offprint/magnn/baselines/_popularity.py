"""The same list for everybody."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.magnn._sequences import Sequences
from offprint.magnn._windows import Batch


class Counts(nnx.Variable):
    """Numbers that were counted, not trained."""


class Popularity(nnx.Module):
    """Ranks items by how often they occur in the training sequences. There is nothing to fit.

    Args:
        sequences: training sequences.
        dtype: of the counts as scores; float32 tells all numbers up to 16,777,216 apart.
    """

    def __init__(self, sequences: Sequences, *, dtype: DTypeLike = jnp.float32):
        self.num_users, self.num_items = sequences.num_users, sequences.num_items
        self.L, self.max_long = 1, 0
        self.counts = Counts(jnp.asarray(np.bincount(np.asarray(sequences.items), minlength=self.num_items), dtype))

    def queries(self, batch: Batch) -> Float[Array, "batch 1"]:
        """The same number for everybody."""
        return jnp.ones((batch.users.shape[0], 1), self.counts[...].dtype)

    def item_table(self) -> tuple[Float[Array, "items 1"], Float[Array, " items"]]:
        """No item vectors; counts as biases."""
        counts = self.counts[...]
        return jnp.zeros((self.num_items, 1), counts.dtype), counts
