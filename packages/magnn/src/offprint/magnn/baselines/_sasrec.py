"""Self-attention over the user's latest items."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from offprint.magnn._short_term import lookup
from offprint.magnn._windows import Batch
from offprint.magnn.baselines._vectors import check_sizes, history, vectors


class _Block(nnx.Module):
    """Causal self-attention and a two-layer network at each place, both with normalised input and a shortcut."""

    def __init__(self, d: int, heads: int, dropout: float | int, dtype: DTypeLike, rngs: nnx.Rngs):
        self.attention = nnx.MultiHeadAttention(
            heads, d, dropout_rate=dropout, deterministic=False, decode=False, param_dtype=dtype, rngs=rngs
        )
        self.norms = nnx.List([nnx.LayerNorm(d, param_dtype=dtype, rngs=rngs) for _ in range(2)])
        self.inner, self.outer = (nnx.Linear(d, d, param_dtype=dtype, rngs=rngs) for _ in range(2))
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch steps d"], allowed: Bool[Array, "batch 1 steps steps"]
    ) -> Float[Array, "batch steps d"]:
        # Queries are normalised, keys and values are not, as in the authors' code.
        x = x + self.dropout(self.attention(self.norms[0](x), x, mask=allowed))
        return x + self.dropout(self.outer(self.dropout(jax.nn.relu(self.inner(self.norms[1](x))))))


class SASRec(nnx.Module):
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

    The vector at the last place, after a few blocks, is the query; items have one table for input and output. Places
    are counted from the end, so that padding changes nothing.

    Args:
        num_users: M; nothing depends on it but the checks.
        num_items: N.
        d: size of the vectors.
        heads: attention heads, a divisor of d.
        blocks: attention blocks.
        dropout: rate, in training.
        L: items in the short-term window.
        max_long: items before it; the network sees both.
        dtype: of all parameters.
        rngs: for the initial parameters and dropout.

    Raises:
        ValueError: a size below 1, heads that do not divide d, or a rate outside of [0, 1).
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        d: int = 50,
        *,
        heads: int = 1,
        blocks: int = 2,
        dropout: float | int = 0.2,
        L: int = 5,
        max_long: int = 20,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_sizes(num_users=num_users, num_items=num_items, d=d, heads=heads, blocks=blocks, L=L, max_long=max_long)
        if d % heads:
            raise ValueError(f"heads={heads} must divide d={d}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout}; a rate from 0 to below 1 is needed")
        self.num_users, self.num_items, self.d = num_users, num_items, d
        self.L, self.max_long = L, max_long
        self.E = vectors(rngs, num_items, d, dtype)
        self.places = vectors(rngs, L + max_long, d, dtype)
        self.blocks = nnx.List([_Block(d, heads, dropout, dtype, rngs) for _ in range(blocks)])
        self.norm = nnx.LayerNorm(d, param_dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """The vector at the last place."""
        items = history(batch)
        real, steps = items >= 0, items.shape[1]
        x = lookup(self.E[...], items) * math.sqrt(self.d) + self.places[...]
        x = self.dropout(x) * real[..., None]
        causal = jnp.tril(jnp.ones((steps, steps), bool))
        allowed = (causal & real[:, None, :])[:, None]
        for block in self.blocks:
            x = block(x, allowed) * real[..., None]
        return self.norm(x[:, -1])

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """E, without biases."""
        return self.E[...], jnp.zeros(self.num_items, self.E[...].dtype)
