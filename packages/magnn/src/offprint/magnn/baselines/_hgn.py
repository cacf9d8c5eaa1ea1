"""Hierarchical gating networks (Ma, Kang and Liu, KDD 2019)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from offprint.magnn._short_term import lookup, masked_mean
from offprint.magnn._windows import Batch
from offprint.magnn.baselines._vectors import check_sizes, user_vectors, vectors, xavier


class HGN(nnx.Module):
    """Two gates over the last |L| items, and the items' own similarity to the candidate.

    Feature gating: e'_i = e_i * sigmoid(Wf e_i + Wu p_u + c), dimension by dimension. Instance gating:
    a_i = sigmoid(w . e'_i + (U p_u)_i), a weight for each place of the window. Pooling: s = sum_i a_i e'_i / sum_i a_i.
    Score: r_uj = p_u . q_j + s . q_j + sum_i e_i . q_j + b_j.

    The paper's average pooling divides by |L|; its authors' code by the sum of the weights. In that code the instance
    gate is never trained, because its weights are no parameters; here they are.

    Args:
        num_users: M.
        num_items: N.
        d: size of the vectors.
        L: items in the window.
        pooling: "weighted" as in the authors' code, "mean" as in the paper.
        dtype: of all parameters.
        rngs: for the initial parameters.

    Raises:
        ValueError: a size below 1, or another pooling.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        d: int = 50,
        *,
        L: int = 5,
        pooling: Literal["weighted", "mean"] = "weighted",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_sizes(num_users=num_users, num_items=num_items, d=d, L=L)
        if pooling not in ("weighted", "mean"):
            raise ValueError(f"pooling must be 'weighted' or 'mean', but is {pooling!r}")
        self.num_users, self.num_items, self.pooling = num_users, num_items, pooling
        self.L, self.max_long = L, 0
        self.P, self.E, self.Q = (vectors(rngs, rows, d, dtype) for rows in (num_users, num_items, num_items))
        self.b = nnx.Param(jnp.zeros(num_items, dtype))
        self.Wf, self.Wu = xavier(rngs, d, d, dtype), xavier(rngs, d, d, dtype)
        self.c = nnx.Param(jnp.zeros(d, dtype))
        self.w, self.U = xavier(rngs, 1, d, dtype), xavier(rngs, L, d, dtype)

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """p_u + s + sum_i e_i."""
        mask = batch.short >= 0
        p = user_vectors(self.P[...], batch.users)
        e = lookup(self.E[...], batch.short)
        gated = e * jax.nn.sigmoid(e @ self.Wf[...].T + (p @ self.Wu[...].T)[:, None] + self.c[...])
        weights = jax.nn.sigmoid((gated @ self.w[...].T)[..., 0] + p @ self.U[...].T) * mask
        weighted = gated * weights[..., None]
        if self.pooling == "mean":
            pooled = masked_mean(weighted, mask)
        else:
            total = weights.sum(axis=1, keepdims=True)
            pooled = weighted.sum(axis=1) / jnp.where(total > 0, total, 1)
        return p + pooled + e.sum(axis=1)

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """Q and b."""
        return self.Q[...], self.b[...]
