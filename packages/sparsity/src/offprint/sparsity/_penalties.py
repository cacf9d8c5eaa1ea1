"""Penalties that draw weights to zero: functions of a parameter tree, to be added to the loss times a strength.

Each sums over the leaves that `filter` chooses (default: kernels). The groups of the group penalties are the units of
a pattern: `Channel()` (all incoming weights of an output), `Block(...)`, `Head(...)`, `KernelShape()`, `Layer()`.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._pattern import Channel, Pattern

OUTPUTS = Channel()


def l1(params: PyTree, *, filter: Filter | None = None) -> Float[Array, ""]:
    """Σ |w|, with the subgradient 0 at 0. Its proximal map, which gives exact zeros, is `prox_l1`."""
    return _total(lambda path, w: jnp.sum(magnitude(w)), params, filter)


def group_lasso(params: PyTree, *, groups: Pattern = OUTPUTS, filter: Filter | None = None) -> Float[Array, ""]:
    """Σ over groups of √|G| ‖w_G‖₂, which removes whole groups; the gradient of a group that is zero is zero.

    Raises:
        ValueError: the pattern does not fit a chosen leaf.
    """

    def of_leaf(path: str, w: Array) -> Array:
        groups.check(path, w.shape)
        return jnp.sum(jnp.sqrt(group_sizes(w, groups)) * group_norms(w, groups))

    return _total(of_leaf, params, filter)


def sparse_group_lasso(
    params: PyTree, *, mix: float | int = 0.5, groups: Pattern = OUTPUTS, filter: Filter | None = None
) -> Float[Array, ""]:
    """`mix` Σ |w| + (1 - `mix`) Σ √|G| ‖w_G‖₂: groups are removed, and weights inside the groups that stay.

    Raises:
        ValueError: `mix` outside [0, 1]; the pattern does not fit a chosen leaf.
    """
    check_mix(mix)
    return mix * l1(params, filter=filter) + (1 - mix) * group_lasso(params, groups=groups, filter=filter)


def hoyer(params: PyTree, *, filter: Filter | None = None) -> Float[Array, ""]:
    """Σ over leaves of ‖w‖₁ / ‖w‖₂, which does not shrink the weights that stay: it is the same for `2 w`.

    Between 1 (one weight) and √n (all equal); 0, with a gradient of 0, for a leaf of zeros (`hoyer2004`).

    For sparse activations, give them as the tree, with a filter that takes them all, and one example at a time: the
    norms of a whole batch would set its examples off against each other. For activations h of shape (batch, ...):

        penalty = jnp.mean(jax.vmap(lambda h: hoyer_square(h, filter=lambda path, leaf: True))(h))
    """
    return _total(lambda path, w: _ratio(w), params, filter)


def hoyer_square(params: PyTree, *, filter: Filter | None = None) -> Float[Array, ""]:
    """Σ over leaves of ‖w‖₁² / ‖w‖₂², a smooth count of the weights that matter: between 1 and n (`hoyer2004`).

    `hoyer` says how to use it on activations.
    """
    return _total(lambda path, w: _ratio(w) ** 2, params, filter)


def hoyer_measure(w: Float[Array | np.ndarray, "*shape"]) -> Float[Array, ""]:
    """Hoyer's sparseness of one array, (√n - ‖w‖₁ / ‖w‖₂) / (√n - 1): 0 if all are equal, 1 if only one is not zero.

    Raises:
        ValueError: fewer than two elements.

    Source: `hoyer2004`.
    """
    if w.size < 2:
        raise ValueError(f"the sparseness of an array of {w.size} elements is not defined; at least 2 are needed")
    root = math.sqrt(w.size)
    return (root - _ratio(jnp.asarray(w))) / (root - 1)


def group_norms(w: Float[Array, "*shape"], groups: Pattern) -> Float[Array, "*units"]:
    """‖w_G‖₂ of every group of one array; the gradient of a group that is zero is zero."""
    square = group_sums(w * w, groups)
    return square * _inverse_root(square)


def group_sizes(w: Float[Array, "*shape"], groups: Pattern) -> Float[Array, "*units"]:
    """|G| of every group: blocks at an edge may be smaller than the others."""
    return group_sums(jnp.ones_like(w), groups)


def group_sums(values: Float[Array, "*shape"], groups: Pattern) -> Float[Array, "*units"]:
    """The sum over every group, whatever the pattern's own `reduce` (a choice for scores)."""
    if isinstance(groups, type) or not dataclasses.is_dataclass(groups):
        raise TypeError(f"groups must be a pattern, such as Channel() or Block((16, 16)); got {groups!r}")
    reduces = any(field.name == "reduce" for field in dataclasses.fields(groups))
    summing = dataclasses.replace(groups, reduce="sum") if reduces else groups
    return summing.units(values)


def magnitude(w: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """|w| with a derivative of 0 at 0: that of `jnp.abs` is 1 there, which would move weights that are pruned."""
    return w * jnp.sign(w)


def check_mix(mix: float | int) -> None:
    """Raise ValueError unless the share of the L1 term lies in [0, 1]."""
    if not 0 <= mix <= 1:
        raise ValueError(f"mix={mix}: the share of the L1 term must be in [0, 1]")


def _ratio(w: Array) -> Array:
    return jnp.sum(magnitude(w)) * _inverse_root(jnp.sum(w * w))


def _inverse_root(square: Array) -> Array:
    """1 / √x, and 0 with a gradient of 0 at x = 0."""
    nonzero = square > 0
    return jnp.where(nonzero, jax.lax.rsqrt(jnp.where(nonzero, square, 1)), 0)


def _total(of_leaf: Callable[[str, Array], Array], params: PyTree, filter: Filter | None) -> Array:
    chosen = prunable(params, filter)
    return sum(of_leaf(path, jnp.asarray(leaf)) for path, leaf in chosen.items())  # type: ignore[return-value]
