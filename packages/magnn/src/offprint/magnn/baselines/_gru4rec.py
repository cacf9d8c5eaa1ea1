"""A recurrent network over the user's latest items."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.magnn._short_term import lookup
from offprint.magnn._windows import Batch
from offprint.magnn.baselines._vectors import check_sizes, history, vectors


class GRU4Rec(nnx.Module):
    """The last state of a GRU over the history is the query (Hidasi et al. 2016); users have no vectors.

    One layer; the state starts at zero and skips padding.

    Args:
        num_users: M; nothing depends on it but the checks.
        num_items: N.
        d: size of the item vectors and of the state.
        L: items in the short-term window.
        max_long: items before it; the network sees both.
        dtype: of all parameters.
        rngs: for the initial parameters.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        d: int = 50,
        *,
        L: int = 5,
        max_long: int = 20,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_sizes(num_users=num_users, num_items=num_items, d=d, L=L, max_long=max_long)
        self.num_users, self.num_items = num_users, num_items
        self.L, self.max_long = L, max_long
        self.E, self.Q = vectors(rngs, num_items, d, dtype), vectors(rngs, num_items, d, dtype)
        self.b = nnx.Param(jnp.zeros(num_items, dtype))
        self.cell = nnx.GRUCell(d, d, param_dtype=dtype, rngs=rngs)

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """The state after the last item."""
        items = history(batch)
        e = lookup(self.E[...], items)

        def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
            item, real = now
            return jnp.where(real[:, None], self.cell(state, item)[0], state), None

        inputs = (jnp.swapaxes(e, 0, 1), (items >= 0).T)
        return jax.lax.scan(step, jnp.zeros_like(e[:, 0]), inputs)[0]

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """Q and b."""
        return self.Q[...], self.b[...]
