"""Features of nodes: dense or sparse, and the ways they are scaled before training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """The non-zero entries of a matrix (N, F), row by row; a pytree that stands for the matrix in `x @ kernel`.

    Bags of words have about one word in a hundred. Their product with a kernel of 128 columns is then three to four
    times as fast on a CPU as that of the dense matrix, and so is its derivative.
    """

    values: Float[Array, " entries"]
    """(nnz,), the entries."""
    rows: Int[Array, " entries"]
    """(nnz,) int32, the node of each entry; never decreasing."""
    columns: Int[Array, " entries"]
    """(nnz,) int32, the feature of each entry."""
    shape: tuple[int, int]
    """(N, F), static."""

    @staticmethod
    def from_dense(x: Num[Array | np.ndarray, "nodes features"]) -> "SparseFeatures":
        """The non-zero entries of x; not for use under jit."""
        matrix = np.asarray(x)
        rows, columns = np.nonzero(matrix)
        return SparseFeatures.from_entries(matrix[rows, columns], rows, columns, matrix.shape)

    @staticmethod
    def from_entries(values: Any, rows: Any, columns: Any, shape: tuple[int, int]) -> "SparseFeatures":
        """A matrix (N, F) from its entries in any order; not for use under jit."""
        order = np.lexsort((np.asarray(columns), np.asarray(rows)))
        return SparseFeatures(
            jnp.asarray(np.asarray(values)[order], jnp.result_type(float)),
            jnp.asarray(np.asarray(rows)[order], jnp.int32),
            jnp.asarray(np.asarray(columns)[order], jnp.int32),
            (int(shape[0]), int(shape[1])),
        )

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def dtype(self) -> Any:
        """That of the entries."""
        return self.values.dtype

    def __matmul__(self, kernel: Float[Array, "features d"]) -> Float[Array, "nodes d"]:
        """The product with a dense matrix."""
        terms = self.values[:, None] * kernel[self.columns]
        return jax.ops.segment_sum(terms, self.rows, self.shape[0], indices_are_sorted=True)

    def with_values(self, values: Float[Array, " entries"]) -> "SparseFeatures":
        """The same places with other entries."""
        return SparseFeatures(values, self.rows, self.columns, self.shape)

    def to_dense(self) -> Float[Array, "nodes features"]:
        """The matrix (N, F)."""
        return jnp.zeros(self.shape, self.dtype).at[self.rows, self.columns].add(self.values)


def _flatten(x: SparseFeatures) -> tuple[tuple[Any, ...], tuple[int, int]]:
    return (x.values, x.rows, x.columns), x.shape


def _unflatten(shape: tuple[int, int], children: Iterable[Any]) -> SparseFeatures:
    # Leaves may be anything here, such as batched arrays or None: the constructor and its checks are passed by.
    x = object.__new__(SparseFeatures)
    for name, child in zip(("values", "rows", "columns"), children):
        object.__setattr__(x, name, child)
    object.__setattr__(x, "shape", shape)
    return x


jax.tree_util.register_pytree_node(SparseFeatures, _flatten, _unflatten)

Features = Float[Array | np.ndarray, "nodes features"] | SparseFeatures
"""What the networks take as features of the nodes."""


def project(x: Features, kernel: Float[Array, "features d"]) -> Float[Array, "nodes d"]:
    """The product x W, whatever form x has."""
    return x @ kernel if isinstance(x, SparseFeatures) else jnp.asarray(x) @ kernel


def row_normalize(x: Float[Array | np.ndarray, "nodes features"] | SparseFeatures) -> Features:
    """Every row divided by the sum of its absolute values (L1); a row of zeros stays as it is.

    Args:
        x: features (N, F), dense or sparse.
    """
    if isinstance(x, SparseFeatures):
        sums = jax.ops.segment_sum(jnp.abs(x.values), x.rows, x.shape[0], indices_are_sorted=True)
        return x.with_values(x.values / jnp.maximum(sums, 1e-12)[x.rows])
    x = jnp.asarray(x)
    return x / jnp.maximum(jnp.abs(x).sum(1, keepdims=True), 1e-12)


def standardize(x: Float[Array | np.ndarray, "nodes features"]) -> Float[Array, "nodes features"]:
    """Every column minus its mean, over its standard deviation (of N, not N - 1) plus 1e-12.

    A constant column becomes zeros. Sparse features would not stay sparse: make them dense first.

    Args:
        x: features (N, F).
    """
    x = jnp.asarray(x)
    centred = x - x.mean(0)
    # The mean of equal numbers may be off by a rounding error, which 1e-12 would blow up.
    centred = jnp.where((x == x[:1]).all(0), 0, centred)
    return centred / (x.std(0) + 1e-12)


def check_features(x: Any, num_nodes: int) -> None:
    """Raise ValueError unless x has a row for each node and finite entries; values under a trace are not looked at."""
    if not hasattr(x, "shape") or len(x.shape) != 2 or x.shape[0] != num_nodes:
        raise ValueError(
            f"features have shape {getattr(x, 'shape', None)}; one row for each of the {num_nodes} nodes, "
            f"({num_nodes}, F), is needed"
        )
    values = x.values if isinstance(x, SparseFeatures) else x
    if isinstance(values, jax.core.Tracer):
        return
    wrong = np.argwhere(~np.isfinite(np.asarray(values)))
    if len(wrong):
        first = tuple(wrong[0].tolist())
        if isinstance(x, SparseFeatures):
            first = (int(x.rows[first[0]]), int(x.columns[first[0]]))
        raise ValueError(
            f"{len(wrong)} features are NaN or infinite, the first at (node, feature) = {first}; "
            "fill or drop them before"
        )
