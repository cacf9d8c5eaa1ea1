"""EigenDamage (Wang et al. 2019): structured pruning in the eigenbasis of K-FAC's factors.

A kernel W becomes Q_A W* Q_Sᵀ, in whose basis the Fisher matrix is nearly diagonal; rows and columns of the rotated
W* = Q_AᵀWQ_S that cost little are left out. The layer is then three thin ones, x ↦ ((x Q_A) W*) Q_Sᵀ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._counts import check_sparsity, n_prune
from offprint.sparsity._kfac import KFAC
from offprint.sparsity._tree import named_leaves
from offprint.sparsity.layerwise._collect import as_matrix

EXACT = jax.lax.Precision.HIGHEST


class Rotated(NamedTuple):
    """A kernel in the eigenbasis of its factors."""

    left: Float[Array, "in in"]
    """Q_A, eigenvectors of A in columns."""
    core: Float[Array, "in out"]
    """W* = Q_AᵀWQ_S."""
    right: Float[Array, "out out"]
    """Q_S."""
    cost: Float[Array, "in out"]
    """W*²·λ_A λ_Sᵀ, twice the rise of the loss when an element of W* is removed alone. High = keep."""


class Bottleneck(NamedTuple):
    """What is left of a kernel: x @ left @ core @ right.T."""

    left: Float[Array, "in r"]
    core: Float[Array, "r c"]
    right: Float[Array, "out c"]

    def dense(self) -> Float[Array, "in out"]:
        """The kernel that the three make, as a matrix."""
        return self.left @ self.core @ self.right.T

    @property
    def size(self) -> int:
        """Numbers in the three."""
        return self.left.size + self.core.size + self.right.size


def rotate(
    kernel: Float[Array | np.ndarray, "in out"],
    A: Float[Array | np.ndarray, "in in"],
    S: Float[Array | np.ndarray, "out out"],
) -> Rotated:
    """A kernel in the basis in which A ⊗ S is diagonal. Source: wang2019eigendamage."""
    values_A, left = jnp.linalg.eigh(jnp.asarray(A))
    values_S, right = jnp.linalg.eigh(jnp.asarray(S))
    core = jnp.matmul(jnp.matmul(left.T, jnp.asarray(kernel), precision=EXACT), right, precision=EXACT)
    # Rounding makes eigenvalues of a singular factor slightly negative.
    cost = core**2 * jnp.maximum(values_A, 0)[:, None] * jnp.maximum(values_S, 0)
    return Rotated(left, core, right, cost)


def eigendamage(params: PyTree, kfac: KFAC, sparsity: float | int, *, min_keep: int = 1) -> dict[str, Bottleneck]:
    """Remove the cheapest rows and columns of all rotated kernels, ranked together.

    A row or column costs the sum of its elements' W*²λ_Aλ_S, as in the authors' code; with `min_keep` of each left to
    every kernel.

    Args:
        params: tree of arrays.
        kfac: factors of the kernels.
        sparsity: share of all rows and columns that is removed.
        min_keep: rows and columns that every kernel keeps at least.

    Returns:
        By path; kernels with more than two axes as matrices (`layerwise.as_matrix`).

    Raises:
        ValueError: a sparsity outside [0, 1), min_keep < 1.

    Source: wang2019eigendamage.
    """
    check_sparsity(sparsity)
    if min_keep < 1:
        raise ValueError(f"min_keep must be at least 1, or a layer would lose all its outputs; got {min_keep}")
    leaves = dict(named_leaves(params))
    rotated = {
        path: [np.asarray(part) for part in rotate(as_matrix(leaves[path], each.axes), each.A, each.S)]
        for path, each in kfac.factors.items()
    }
    costs = [cost.sum(axis=axis) for *_, cost in rotated.values() for axis in (1, 0)]
    order = np.argsort(np.concatenate(costs), kind="stable")
    keep = np.ones(order.size, bool)
    keep[order[: n_prune(order.size, sparsity)]] = False
    kept, start = [], 0
    for cost in costs:
        own = keep[start : start + cost.size]
        own[np.argsort(-cost, kind="stable")[:min_keep]] = True
        kept.append(np.flatnonzero(own))
        start += cost.size
    return {
        path: Bottleneck(*map(jnp.asarray, (left[:, rows], core[np.ix_(rows, columns)], right[:, columns])))
        for (path, (left, core, right, _)), rows, columns in zip(rotated.items(), kept[::2], kept[1::2], strict=True)
    }
