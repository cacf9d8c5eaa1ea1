"""First-order criteria: how much the loss changes, to first order, when a weight or a unit is set to zero."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from offprint.sparsity._filter import Filter
from offprint.sparsity._tree import map_named, named_leaves
from offprint.sparsity.scores._examples import first_of, mean_over_examples
from offprint.sparsity.scores._function import check_loss
from offprint.sparsity.scores._leaves import score_leaves, wide


def taylor(params: PyTree, grads: PyTree, *, squared: bool = False, filter: Filter | None = None) -> PyTree:
    """|g w|, or (g w)² if `squared`, of every weight (Molchanov et al. 2019, `molchanov2019`).

    Args:
        params: tree of arrays.
        grads: gradients of the loss in the same tree.
        squared: the paper's form; the ranking is the same, sums over groups are not.
        filter: which leaves; default: kernels.

    Returns:
        scores, high = keep; `None` at leaves that are not chosen.
    """
    return score_leaves(lambda w, g: (g * w) ** 2 if squared else jnp.abs(g * w), params, grads, filter=filter)


def taylor_unit(params: PyTree, grads: PyTree, *, axis: int = -1, filter: Filter | None = None) -> PyTree:
    """(Σ g w)² over the weights of every unit (Molchanov et al. 2019, `molchanov2019`).

    Args:
        params: tree of arrays.
        grads: gradients of the loss in the same tree.
        axis: the axis whose entries are the units; -1: the output units of a kernel (in, out) or HWIO.
        filter: which leaves; default: kernels.

    Returns:
        one score per unit for every chosen leaf, shape (units,); `spread` gives it back the shape of the leaf.
    """

    def score(w: Array, g: Array) -> Array:
        return jnp.sum(g * w, axis=_others(w, axis)) ** 2

    return score_leaves(score, params, grads, filter=filter)


def taylor_activation(
    activations: PyTree[Float[Array, "batch ..."]],
    gradients: PyTree[Float[Array, "batch ..."]],
    *,
    normalise: bool = True,
    per_example: bool = False,
    axis: int = -1,
) -> PyTree[Float[Array, " units"]]:
    """|mean of a · dL/da| of every unit or feature map (Molchanov et al. 2017, `molchanov2017`).

    Args:
        activations: outputs of one or several layers, the examples first, the units along `axis`.
        gradients: derivative of the loss in them.
        normalise: divide by the L2 norm over the units of the layer, so that layers compare.
        per_example: take the absolute value for each example before the mean over examples, as the paper describes
            it; by default the mean is over examples too, and effects of opposite sign cancel.
        axis: the axis of the units.

    Returns:
        one score per unit of each layer, high = keep.
    """

    def score(a: Array, d: Array) -> Array:
        if a.shape != d.shape:
            raise ValueError(f"activations and gradients must have the same shape; got {a.shape} and {d.shape}")
        effect = jnp.moveaxis(wide(a) * wide(d), axis, -1)
        within = jnp.mean(effect, axis=tuple(range(1, effect.ndim - 1)))
        value = jnp.mean(jnp.abs(within), axis=0) if per_example else jnp.abs(jnp.mean(within, axis=0))
        return _unit_norm(value) if normalise else value

    return jax.tree.map(score, activations, gradients)


def head_importance(
    outputs: PyTree[Float[Array, "batch ..."]],
    gradients: PyTree[Float[Array, "batch ..."]],
    *,
    normalise: bool = True,
    head_axis: int = -2,
) -> PyTree[Float[Array, " heads"]]:
    """E_x |Att_h(x)ᵀ dL/dAtt_h(x)|, the importance of every attention head (Michel et al. 2019, `michel2019`, Eq. 2).

    This is E_x |dL/dξ_h| for a gate ξ_h = 1 on the output of the head.

    Args:
        outputs: outputs of the heads of one or several layers, (batch, ..., heads, head_dim), before the output
            projection.
        gradients: derivative in them of the sum over examples of the loss (of the mean: the scale alone differs).
        normalise: divide by the L2 norm over the heads of the layer, as the paper does.
        head_axis: the axis of the heads.

    Returns:
        one score per head of each layer, high = keep.
    """

    def score(a: Array, d: Array) -> Array:
        if a.shape != d.shape:
            raise ValueError(f"outputs and gradients must have the same shape; got {a.shape} and {d.shape}")
        effect = jnp.moveaxis(wide(a) * wide(d), head_axis, -1)
        value = jnp.mean(jnp.abs(jnp.sum(effect, axis=tuple(range(1, effect.ndim - 1)))), axis=0)
        return _unit_norm(value) if normalise else value

    return jax.tree.map(score, outputs, gradients)


def gate_importance(
    loss: Callable[[PyTree, PyTree], Array],
    gates: PyTree[Float[Array, " units"]],
    batch: PyTree[Shaped[Array, "batch ..."]],
    *,
    normalise: bool = True,
    microbatch: int | None = None,
) -> PyTree[Float[Array, " units"]]:
    """E_x |dL/dξ_h|, the importance of heads or units that are multiplied by gates ξ (`michel2019`, Eq. 2).

    The same numbers as `head_importance`, for a model that takes its gates as an argument.

    Args:
        loss: `loss(gates, example)`, the loss of one example, without a batch axis.
        gates: ones, one vector per layer.
        batch: tree of arrays with the examples first.
        normalise: divide by the L2 norm over the gates of the layer, as the paper does.
        microbatch: examples that are differentiated at a time; None: all.

    Returns:
        one score per gate, high = keep.
    """
    check_loss("loss", loss, gates, first_of(batch))
    one = jax.grad(loss)
    mean = mean_over_examples(lambda example: jax.tree.map(jnp.abs, one(gates, example)), batch, microbatch)
    return jax.tree.map(_unit_norm, mean) if normalise else mean


def spread(unit_scores: PyTree, params: PyTree, *, axis: int = -1) -> PyTree:
    """Scores per unit repeated along the other axes, so that they have the shapes of params.

    A tree of vectors (units,), or `None`, becomes a tree that `make_masks` takes with the pattern `Channel`.

    Raises:
        ValueError: a leaf has another number of units along `axis` than its score.
    """
    scores = dict(named_leaves(unit_scores))

    def widen(path: str, leaf: Array | None) -> Array | None:
        score = scores.get(path)
        if leaf is None or score is None:
            return None
        if score.shape != (leaf.shape[axis],):
            raise ValueError(
                f"{path} has {leaf.shape[axis]} units along axis {axis} of {leaf.shape}, and its scores have shape "
                f"{score.shape}"
            )
        shape = [1] * leaf.ndim
        shape[axis] = -1
        return jnp.broadcast_to(score.reshape(shape), leaf.shape)

    return map_named(widen, params)


def _others(x: Any, axis: int) -> tuple[int, ...]:
    kept = axis % x.ndim
    return tuple(i for i in range(x.ndim) if i != kept)


def _unit_norm(value: Array) -> Array:
    norm = jnp.sqrt(jnp.sum(value**2))
    return value / jnp.where(norm > 0, norm, 1)
