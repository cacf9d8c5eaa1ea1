"""Matrix factorisation, to be trained by Bayesian personalised ranking."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.magnn._windows import Batch
from offprint.magnn.baselines._vectors import check_sizes, user_vectors, vectors


class BPRMF(nnx.Module):
    """r_uj = p_u . q_j + b_j (Rendle et al. 2009): who the user is, not what came last.

    Args:
        num_users: M.
        num_items: N.
        d: size of the vectors.
        dtype: of all parameters.
        rngs: for the initial parameters.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, num_users: int, num_items: int, d: int = 50, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        check_sizes(num_users=num_users, num_items=num_items, d=d)
        self.num_users, self.num_items = num_users, num_items
        self.L, self.max_long = 1, 0
        self.P, self.Q = vectors(rngs, num_users, d, dtype), vectors(rngs, num_items, d, dtype)
        self.b = nnx.Param(jnp.zeros(num_items, dtype))

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """p_u."""
        return user_vectors(self.P[...], batch.users)

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """Q and b."""
        return self.Q[...], self.b[...]
