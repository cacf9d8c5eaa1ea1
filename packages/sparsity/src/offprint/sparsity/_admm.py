"""ADMM pruning: the weights are drawn to a sparse copy of themselves while they train (`zhang2018admm`)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._mask import AnyPattern, make_mask
from offprint.sparsity._pattern import UNSTRUCTURED
from offprint.sparsity._tree import map_named, named_leaves

Number = float | int | Float[Array | np.ndarray, ""]
Amount = float | int | None
Sparsity = Amount | Mapping[str, Amount]


class ADMMState(NamedTuple):
    """State of ADMM: trees like params, with `None` at leaves that are not pruned."""

    z: PyTree  # the sparse copies
    u: PyTree  # the scaled duals


def admm_project(
    w: Float[Array | np.ndarray, "*shape"], sparsity: float | int | None, pattern: AnyPattern = UNSTRUCTURED
) -> Float[Array, "*shape"]:
    """The nearest array of this sparsity: the largest magnitudes are kept, the others exactly zero.

    Nearest in ‖·‖₂ for single weights and n:m; for structured patterns, the units with the largest scores by the
    pattern's own reduction of |w| (use `reduce="rms"` for the nearest). An n:m pattern takes the sparsity `None`, or
    its own.

    Raises:
        ValueError: a sparsity outside [0, 1), or not that of an n:m pattern; a pattern that does not fit.
    """
    weight = jnp.asarray(w)
    return jnp.where(make_mask(jnp.abs(weight), sparsity, pattern=pattern), weight, 0)


def admm_init(
    params: PyTree, sparsity: Sparsity, *, pattern: AnyPattern = UNSTRUCTURED, filter: Filter | None = None
) -> ADMMState:
    """z = Π(w), u = 0.

    Args:
        params: the trained weights.
        sparsity: one number for every leaf that `filter` chooses, or {path: number}, which chooses the leaves itself
            (`None` with an n:m pattern).
        pattern: see `admm_project`.
        filter: which leaves are pruned; default: kernels.

    Raises:
        ValueError: see `admm_project`; a path that params have not.
    """
    of_path = _by_path(params, sparsity, filter)
    zeros = map_named(lambda path, p: jnp.zeros_like(p) if path in of_path else None, params)
    return _project(params, zeros, of_path, pattern)._replace(u=zeros)


def admm_update(
    params: PyTree,
    state: ADMMState,
    sparsity: Sparsity,
    *,
    pattern: AnyPattern = UNSTRUCTURED,
    filter: Filter | None = None,
) -> ADMMState:
    """The other two steps, after the weights have trained for a while: `z = Π(w + u)`, `u += w - z` (`zhang2018admm`).

    Args and raises as `admm_init`.
    """
    return _project(params, state.u, _by_path(params, sparsity, filter), pattern)


def admm_penalty(params: PyTree, state: ADMMState, rho: Number = 1e-3) -> Float[Array, ""]:
    """`ρ/2 Σ ‖w - z + u‖²`, added to the loss of the weights' step; the state is constant in it."""

    def of_leaf(p: Array, z: Array | None, u: Array | None) -> Array | None:
        return None if z is None or u is None else jnp.sum((p - jax.lax.stop_gradient(z - u)) ** 2)

    terms = jax.tree.leaves(jax.tree.map(of_leaf, params, state.z, state.u))
    return jnp.asarray(rho / 2 * sum(terms))


def admm_residuals(params: PyTree, state: ADMMState) -> dict[str, Float[Array, ""]]:
    """{path: ‖w - z‖₂ / ‖w‖₂}: how far every pruned leaf still is from its sparse copy; small when it may be pruned."""

    def of_leaf(p: Array, z: Array | None) -> Array | None:
        return None if z is None else jnp.linalg.norm(p - z) / jnp.linalg.norm(p)

    return {path: ratio for path, ratio in named_leaves(jax.tree.map(of_leaf, params, state.z)) if ratio is not None}


def _project(params: PyTree, duals: PyTree, of_path: Mapping[str, Amount], pattern: AnyPattern) -> ADMMState:
    def sparse(path: str, p: Array, u: Array | None) -> Array | None:
        return None if u is None else admm_project(p + u, of_path[path], pattern)

    z = map_named(sparse, params, duals)
    u = jax.tree.map(lambda p, old, new: None if new is None else old + p - new, params, duals, z)
    return ADMMState(z, u)


def _by_path(params: PyTree, sparsity: Sparsity, filter: Filter | None) -> dict[str, Amount]:
    if not isinstance(sparsity, Mapping):
        return dict.fromkeys(prunable(params, filter), sparsity)
    paths = prunable(params, lambda path, leaf: True)
    for path in sparsity:
        if path not in paths:
            raise ValueError(f"sparsity names {path!r}, but params have {', '.join(paths)}")
    return dict(sparsity)
