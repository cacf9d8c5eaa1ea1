"""Soft-threshold reparameterisation: every layer learns its threshold (`kusupati2020str`)."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._filter import Filter
from offprint.sparsity._tree import named_leaves

# What the ResNet-50 recipes start from: σ(-3200) = 0, so training starts dense.
STR_INIT = -3200.0
# A learning rate that warms up is 0 at first, so one step would not show the decay.
_PROBE_STEPS = 3


def soft_threshold_reparam(
    w: Float[Array | np.ndarray, "*shape"],
    s: Float[Array | np.ndarray, "*threshold"] | float | int,
    g: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Float[Array, "*shape"]:
    """`S(w, s) = sign(w) relu(|w| - g(s))`, the weight that the layer uses (`kusupati2020str`).

    Args:
        w: the weights that are trained.
        s: the threshold's parameter: a scalar for the layer, or anything that broadcasts with `w`, such as (1, out) for
            one threshold per output.
        g: from the parameter to the threshold. With the sigmoid and the paper's start of -3200, g(s) and its gradient
            are exactly 0, and s moves only by weight decay, which draws it up to where the loss holds it: that is how
            the method works, so an optimiser that leaves s out of the decay never prunes (`check_str_decay`).
    """
    weight = jnp.asarray(w)
    threshold = g(jnp.asarray(s, weight.dtype))
    return jnp.sign(weight) * jax.nn.relu(jnp.abs(weight) - threshold)


def str_thresholds(path: str, leaf: Array | np.ndarray) -> bool:
    """The leaves that the STR layers call `threshold`."""
    del leaf
    return path.rsplit("/", 1)[-1] == "threshold"


def check_str_decay(tx: optax.GradientTransformation, params: PyTree, filter: Filter | None = None) -> list[str]:
    """Warn when the optimiser does not decay the STR thresholds; such a model stays dense.

    The optimiser is tried, not read: with gradients of zero only weight decay moves a parameter. Call it once, before
    training.

    Args:
        tx: the optimiser that will train `params`.
        params: all parameters, thresholds among them.
        filter: the thresholds; by default the leaves named `threshold`.

    Returns:
        The paths of the thresholds that do not move (what the warning lists).

    Raises:
        ValueError: no leaf is a threshold.
    """
    choose = str_thresholds if filter is None else filter
    chosen = {path for path, leaf in named_leaves(params) if leaf is not None and choose(path, leaf)}
    if not chosen:
        raise ValueError(
            "params have no STR threshold; the leaves are " + ", ".join(path for path, _ in named_leaves(params))
        )
    still = [path for path, moved in named_leaves(jax.jit(_drift, static_argnums=0)(tx, params)) if not moved]
    undecayed = [path for path in still if path in chosen]
    if undecayed:
        warnings.warn(
            f"weight decay does not reach the STR thresholds {', '.join(undecayed)}: they start where the gradient is "
            "zero and only decay moves them, so these layers stay dense; include them in the optimiser's weight decay",
            UserWarning,
            stacklevel=2,
        )
    return undecayed


def _drift(tx: optax.GradientTransformation, params: PyTree) -> PyTree:
    """Which leaves the optimiser moves within a few steps without a gradient."""
    now, state, zeros = params, tx.init(params), jax.tree.map(jnp.zeros_like, params)
    moved = jax.tree.map(lambda p: jnp.asarray(False), params)
    for _ in range(_PROBE_STEPS):
        updates, state = tx.update(zeros, state, now)
        # The updates and not the parameters, which a small step may leave as they are in float32.
        moved = jax.tree.map(lambda m, u: m | jnp.any(u != 0), moved, updates)
        now = optax.apply_updates(now, updates)
    return moved
