"""M-FAC's static algorithm for the inverse of λI + GᵀG/m (Frantar et al. 2021): a recursion over the rows of G."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.sparsity._woodbury import EXACT, coupled

Rows = dict[str, Float[Array, "blocks m size"]]


def mfac_rows(rows: Rows, damp: Any, network: bool) -> tuple[Rows, dict[str, Float[Array, "blocks m"]]]:
    """The vectors v_i = F_{i−1}⁻¹g_i ("Hg") and the numbers m + g_iᵀv_i ("denom") of every block.

    Then F⁻¹ = I/λ − Σ_i v_i v_iᵀ/denom_i. Equal to L_ii A_i/λ and L_ii²/λ of the Cholesky form, row by row.

    Args:
        rows: by path, (blocks, m, size).
        damp: λ.
        network: whether the leaves form one block.
    """
    return _recursion(rows, damp, network)


@partial(jax.jit, static_argnums=2)
def _recursion(rows: Rows, damp: Any, network: bool) -> tuple[Rows, dict[str, Array]]:
    m = next(iter(rows.values())).shape[1]

    def step(i: Array, state: tuple[Rows, dict[str, Array]]) -> tuple[Rows, dict[str, Array]]:
        hg, denominator = state
        row = {path: leaf[:, i] for path, leaf in rows.items()}
        inner = coupled(
            {path: jnp.einsum("bmk,bk->bm", hg[path], row[path], precision=EXACT) for path in rows}, network
        )
        # Rows that are still to come are zero in hg, so they add nothing.
        new = {
            path: row[path] / damp
            - jnp.einsum("bmk,bm->bk", hg[path], inner[path] / denominator[path], precision=EXACT)
            for path in rows
        }
        gain = coupled({path: jnp.sum(row[path] * new[path], axis=1) for path in rows}, network)
        return (
            {path: hg[path].at[:, i].set(new[path]) for path in rows},
            {path: denominator[path].at[:, i].set(m + gain[path]) for path in rows},
        )

    start = {path: jnp.zeros_like(leaf) for path, leaf in rows.items()}
    one = {path: jnp.ones(leaf.shape[:2], leaf.dtype) for path, leaf in rows.items()}
    return jax.lax.fori_loop(0, m, step, (start, one))
