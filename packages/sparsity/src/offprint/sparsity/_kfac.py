"""K-FAC: the Fisher matrix of a layer as a Kronecker product A ⊗ S, and pruning with its inverse.

A = E[aaᵀ] of a layer's inputs and S = E[δδᵀ] of the gradients at its outputs. With kernels (in, out) the inverse acts
on a matrix X as A⁻¹XS⁻¹, and its diagonal is [A⁻¹]_ii[S⁻¹]_jj.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._bibliography import cite
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._mask import make_masks
from offprint.sparsity._tree import map_named
from offprint.sparsity._woodfisher import corrected
from offprint.sparsity.layerwise._collect import as_matrix, from_matrix
from offprint.sparsity.layerwise._intercept import Found, Use, intercept

EXACT = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kronecker:
    """The factors of one kernel. A pytree."""

    A: Float[Array | np.ndarray, "in in"]
    """Mean over examples of aaᵀ, summed over positions (sequences, convolutions)."""
    S: Float[Array | np.ndarray, "out out"]
    """Mean over examples and positions of δδᵀ."""
    axes: tuple[int, ...] = field(metadata={"static": True})
    """Axes of the kernel that are inputs."""

    def inverses(self, damp: Any) -> tuple[Any, Any]:
        """(A + π√λ I)⁻¹ and (S + √λ/π I)⁻¹, π² being the ratio of the mean eigenvalues (Martens & Grosse 2015, 6.3).

        On the host in float64 unless traced.
        """
        A, S = self.A, self.S
        xp: Any = jnp
        if not any(isinstance(each, jax.core.Tracer) for each in (A, S, damp)):
            xp, A, S = np, np.asarray(A, np.float64), np.asarray(S, np.float64)
        mean_A, mean_S = xp.trace(A) / A.shape[0], xp.trace(S) / S.shape[0]
        sound = (mean_A > 0) & (mean_S > 0)
        balance = xp.where(sound, xp.sqrt(xp.where(sound, mean_A, 1) / xp.where(sound, mean_S, 1)), 1)
        root = xp.sqrt(damp)
        return (
            xp.linalg.inv(A + balance * root * xp.eye(A.shape[0], dtype=A.dtype)),
            xp.linalg.inv(S + root / balance * xp.eye(S.shape[0], dtype=S.dtype)),
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KFAC:
    """The Kronecker-factored Fisher matrix of the kernels of a model; made by `KFAC.fit`. A pytree.

    Trees that methods return have `None` at leaves that were not fitted. All but `prune` work under jit.
    """

    factors: dict[str, Kronecker]
    """By path."""
    damp: Any
    """λ."""

    @classmethod
    def fit(
        cls,
        losses: Callable[[PyTree, PyTree], Any],
        params: PyTree,
        batch: PyTree,
        *,
        damp: float | int | Float[Array | np.ndarray, ""] = 1e-3,
        filter: Filter | None = None,
    ) -> "KFAC":
        """Fit to a batch.

        Args:
            losses: `losses(params, batch)`, the loss of every example, (examples,). With labels from the data this is
                the empirical Fisher matrix; with labels drawn from the model's predictions it is the true one.
            params: tree of arrays.
            batch: what `losses` takes.
            damp: λ > 0, shared between the factors.
            filter: which leaves; `kernels` by default. Those in scans are not supported.

        Raises:
            ValueError: damp that is not positive, losses that are no vector, a kernel whose products cannot be
                followed (see `layerwise.collect`).

        Source: Martens & Grosse 2015 and, for pruning, wang2019eigendamage. From memory of the paper, not checked
        against it.
        """
        if not isinstance(damp, jax.core.Tracer) and not float(damp) > 0:
            raise ValueError(f"damp must be positive; got {damp}")
        chosen = prunable(params, filter)
        _check_losses(jax.eval_shape(losses, params, batch))
        found, as_rows = Found(), {}

        def outputs(params: PyTree, batch: PyTree) -> Any:
            found.sites.clear()
            return intercept(losses, params, lambda use, output: (output, output), batch, found=found)[1]

        shapes = {key: leaf for key, leaf in jax.eval_shape(outputs, params, batch).items() if key[0] in chosen}
        _check_found(chosen, found, {path for path, _ in shapes})

        def total(shifts: dict[Any, Array], params: PyTree, batch: PyTree) -> tuple[Array, Any]:
            def visit(use: Use, output: Array) -> tuple[Array, Any]:
                key = (use.path, use.site)
                if key not in shifts:
                    return output, None
                as_rows[key] = use.as_rows
                a = use.inputs()
                a = a.astype(jnp.promote_types(a.dtype, jnp.float32))
                return output + shifts[key], jnp.matmul(a.T, a, precision=EXACT)

            found.sites.clear()
            each, records = intercept(losses, params, visit, batch, found=found)
            return jnp.sum(each), ({key: leaf for key, leaf in records.items() if leaf is not None}, each.shape[0])

        @jax.jit
        def factors(params: PyTree, batch: PyTree) -> dict[str, tuple[Array, Array]]:
            zeros = {key: jnp.zeros(leaf.shape, leaf.dtype) for key, leaf in shapes.items()}
            gradients, (inputs, examples) = jax.grad(total, has_aux=True)(zeros, params, batch)
            sums: dict[str, Any] = {}
            for key, gradient in gradients.items():
                delta = as_rows[key](gradient)
                delta = delta.astype(jnp.promote_types(delta.dtype, jnp.float32))
                new = (inputs[key], jnp.matmul(delta.T, delta, precision=EXACT), delta.shape[0])
                old = sums.get(key[0])
                sums[key[0]] = new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))
            return {path: (A / examples, S / rows) for path, (A, S, rows) in sums.items()}

        both = factors(params, batch)
        return cls({path: Kronecker(A, S, found.axes[path]) for path, (A, S) in both.items()}, damp)

    def statistic(self, params: PyTree) -> PyTree:
        """w²/(2[A⁻¹]_ii[S⁻¹]_jj): the rise of the loss when one weight is removed. High = keep."""
        return self._on_matrices(lambda A, S, w: w**2 / (2 * A.diagonal()[:, None] * S.diagonal()), params)

    def ihvp(self, x: PyTree) -> PyTree:
        """(A ⊗ S)⁻¹x for a tree of the structure of params."""
        return self._on_matrices(lambda A, S, x: A @ x @ S, x)

    def independent_update(self, params: PyTree, masks: PyTree) -> PyTree:
        """The sum of the corrections of the removed weights, as `WoodFisher.independent_update`."""
        return self._on_matrices(
            lambda A, S, w, keep: -(A @ (w / (A.diagonal()[:, None] * S.diagonal()) * (1 - keep)) @ S), params, masks
        )

    def prune(
        self,
        params: PyTree,
        sparsity: float | int,
        *,
        scope: Literal["global", "local"] = "global",
        update: Literal["independent", "none"] = "independent",
        masks: PyTree | None = None,
        rounding: Literal["nearest", "floor", "ceil"] = "nearest",
        min_keep: int | None = None,
    ) -> tuple[PyTree, PyTree]:
        """Remove the weights of least statistic and correct the others; see `WoodFisher.prune`.

        Raises:
            ValueError: an unknown update, or what `make_masks` raises.
        """
        if update not in ("independent", "none"):
            raise ValueError(f"update must be 'independent' or 'none'; got {update!r}")
        new = make_masks(
            self.statistic(params), sparsity, scope=scope, previous=masks, rounding=rounding, min_keep=min_keep
        )
        if update == "independent":
            change = self.independent_update(params, new)
        else:
            change = self._on_matrices(lambda A, S, w: 0 * w, params)
        return corrected(params, new, change), new

    def citation(self) -> str:
        """BibTeX."""
        return cite("wang2019eigendamage")

    def _on_matrices(self, function: Callable[..., Any], tree: PyTree, *rest: PyTree) -> PyTree:
        """`function(A⁻¹, S⁻¹, *leaves as matrices)` for every kernel, as a leaf again."""

        def of_leaf(path: str, *leaves: Any) -> Any:
            if path not in self.factors:
                return None
            factors = self.factors[path]
            inverses = factors.inverses(self.damp)
            host = isinstance(inverses[0], np.ndarray)
            if host and any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
                host, inverses = False, (jnp.asarray(inverses[0]), jnp.asarray(inverses[1]))
            matrices = [as_matrix(leaf, factors.axes) for leaf in leaves]
            if host:
                matrices = [np.asarray(matrix, np.float64) for matrix in matrices]
            return from_matrix(function(*inverses, *matrices), leaves[0].shape, factors.axes)

        return map_named(of_leaf, tree, *rest)


def _check_losses(shape: Any) -> None:
    if getattr(shape, "ndim", None) != 1:
        raise ValueError(f"losses must return the loss of every example, (examples,); got {shape}")


def _check_found(chosen: dict[str, Any], found: Found, seen: set[str]) -> None:
    for path in chosen:
        if path not in seen or path in found.in_scan:
            where = found.lost.get(path) or ("a scan" if path in seen else "no product")
            raise ValueError(f"K-FAC cannot follow {path!r}: it goes into {where}. Leave it out by the filter")
