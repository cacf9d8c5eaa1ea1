"""Proximal maps: the exact step of a penalty, which makes exact zeros, and the optax transformation that takes it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._pattern import Pattern
from offprint.sparsity._penalties import OUTPUTS, check_mix, group_norms, group_sizes, group_sums
from offprint.sparsity._tree import map_named

Floats = Float[Array | np.ndarray, "*shape"]
Number = float | int | Float[Array | np.ndarray, ""]
Prox = Callable[[Array, Array], Array]


def prox_l1(w: Floats, strength: Number) -> Float[Array, "*shape"]:
    """The minimiser of `½ ‖v - w‖² + strength Σ |v|`: the soft threshold."""
    weight = jnp.asarray(w)
    return jnp.sign(weight) * jax.nn.relu(jnp.abs(weight) - jnp.asarray(strength, weight.dtype))


def prox_l0(w: Floats, strength: Number) -> Float[Array, "*shape"]:
    """The minimiser of `½ ‖v - w‖² + strength · #(v ≠ 0)`: the hard threshold, which keeps |w| > √(2 strength)."""
    weight = jnp.asarray(w)
    return jnp.where(weight * weight > 2 * jnp.asarray(strength, weight.dtype), weight, 0)


def prox_group_lasso(w: Floats, strength: Number, groups: Pattern = OUTPUTS) -> Float[Array, "*shape"]:
    """The minimiser of `½ ‖v - w‖² + strength Σ √|G| ‖v_G‖₂`: each group shrinks, or vanishes whole.

    Raises:
        ValueError: the pattern does not fit the shape of `w`.
    """
    weight = jnp.asarray(w)
    groups.check("w", weight.shape)
    norms = group_norms(weight, groups)
    excess = jax.nn.relu(norms - jnp.asarray(strength, weight.dtype) * jnp.sqrt(group_sizes(weight, groups)))
    factor = excess / jnp.where(norms > 0, norms, 1)
    # The transpose of the sum over groups gives every element the value of its group, whatever the pattern.
    (of_element,) = jax.linear_transpose(lambda values: group_sums(values, groups), weight)(factor)
    return weight * of_element


def prox_sparse_group_lasso(
    w: Floats, strength: Number, mix: float | int = 0.5, groups: Pattern = OUTPUTS
) -> Float[Array, "*shape"]:
    """The proximal map of `strength` times `sparse_group_lasso`: the soft threshold first, then that of the groups.

    Raises:
        ValueError: `mix` outside [0, 1]; the pattern does not fit the shape of `w`.
    """
    check_mix(mix)
    return prox_group_lasso(prox_l1(w, mix * strength), (1 - mix) * strength, groups)


class ProximalState(NamedTuple):
    """State of `proximal`."""

    step: Int[Array, ""]  # steps taken


def proximal(
    prox: Prox, strength: float | int | optax.Schedule, *, filter: Filter | None = None
) -> optax.GradientTransformation:
    """Apply a proximal map to the parameters after every step: the last transformation of an `optax.chain`.

    The updates become `prox(p + u, strength) - p`, so what the map sets to zero is exactly zero once they are applied.
    With `optax.chain(optax.sgd(lr), proximal(prox_l1, lr * lam))` this is the proximal gradient method (ISTA) on
    `loss + lam Σ |w|`, which reaches exact zeros, while adding `l1` to the loss only comes near them.

    Args:
        prox: `(w, strength) -> w` for one leaf: `prox_l1`, `prox_l0`, or `functools.partial(prox_group_lasso,
            groups=Block((16, 16)))`.
        strength: the learning rate times λ, or a schedule of it over steps; not negative.
        filter: the leaves that it treats; default: kernels.

    Raises:
        ValueError: a negative strength; update without params.
    """
    if not callable(strength) and strength < 0:
        raise ValueError(f"strength={strength} must not be negative: it is the learning rate times λ")

    def init(params: PyTree) -> ProximalState:
        prunable(params, filter)
        return ProximalState(jnp.zeros([], jnp.int32))

    def update(updates: PyTree, state: ProximalState, params: PyTree | None = None) -> tuple[PyTree, ProximalState]:
        if params is None:
            raise ValueError("proximal needs params: call update(updates, state, params)")
        chosen = prunable(params, filter)
        amount = strength(state.step) if callable(strength) else strength

        def step(path: str, p: Array, u: Array) -> Array:
            if path not in chosen:
                return u
            return (prox(p + u, jnp.asarray(amount, p.dtype)) - p).astype(u.dtype)

        return map_named(step, params, updates), ProximalState(optax.safe_increment(state.step))

    return optax.GradientTransformation(init, update)
