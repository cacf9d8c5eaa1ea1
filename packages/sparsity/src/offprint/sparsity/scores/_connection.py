"""SNIP and GraSP: connections scored by one or two derivatives, mostly before training."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.sparsity._filter import Filter
from offprint.sparsity.scores._function import check_function, check_loss
from offprint.sparsity.scores._hessian import hessian_vector_product
from offprint.sparsity.scores._leaves import Leaves, as_scores, masked, take, warn_of_zeros, wide


def snip(
    loss_fn: Callable[[PyTree, PyTree], Float[Array, ""]],
    params: PyTree,
    batch: PyTree,
    *,
    masks: PyTree | None = None,
    normalise: bool = True,
    filter: Filter | None = None,
) -> PyTree:
    """|g w| / Σ|g w|, the sensitivity of the loss to each connection (Lee et al. 2019, `lee2019snip`, Eq. 5 and 6).

    Args:
        loss_fn: `loss_fn(params, batch)`, the mean loss, in evaluation mode.
        params: tree of arrays, usually at initialisation.
        batch: one minibatch.
        masks: the gradient is taken at the masked weights, and the score uses the weights as they are: pruned ones
            have a score too and may come back, as in FORCE (`dejorge2021force`).
        normalise: divide by the sum over all scored weights, as the paper does; the ranking is the same.
        filter: which leaves; default: kernels. The authors' code prunes biases too; choose them with a filter.

    Returns:
        scores, high = keep; `None` at leaves that are not chosen.

    Raises:
        ValueError: the loss is not one number, draws random numbers or takes other arguments.
        TypeError: the loss or a chosen leaf is not real floating point.
    """
    check_loss("loss_fn", loss_fn, params, batch)
    leaves, rebuild = take(params, filter)
    grads = jax.grad(lambda at: loss_fn(rebuild(at), batch))(masked(leaves, masks))
    scores = {path: jnp.abs(wide(grads[path]) * wide(w)) for path, w in leaves.items()}
    warn_of_zeros("loss_fn", scores)
    return as_scores(params, _divided(scores, _total(scores)) if normalise else scores)


def grasp(
    logits_fn: Callable[[PyTree, Array], Float[Array, "..."]],
    params: PyTree,
    batch: tuple[Array, Array],
    *,
    temperature: float | int = 200.0,
    loss: Callable[[Array, Array], Array] | None = None,
    masks: PyTree | None = None,
    normalise: bool = True,
    reinit_linear: PRNGKeyArray | None = None,
    filter: Filter | None = None,
) -> PyTree:
    """w · (H g), how much a weight helps gradient flow (Wang et al. 2020, `wang2020grasp`, Eq. 8).

    The paper removes weights with high −w·Hg, which are those with a low score here. H and g are of the loss of
    logits / temperature and of the chosen leaves only.

    Args:
        logits_fn: `logits_fn(params, inputs)`, in evaluation mode.
        params: tree of arrays at initialisation.
        batch: (inputs, labels).
        temperature: divides the logits; 200 in the authors' code.
        loss: `loss(logits, labels)`, its mean is taken; default: softmax cross-entropy with integer labels, or with
            class probabilities if labels have the shape of the logits.
        masks: H and g are those of the masked network.
        normalise: divide by |Σ| + 1e-10, as the authors' code does; the ranking is the same.
        reinit_linear: a key: dense kernels are drawn anew (Glorot normal) for the scoring, as the authors' code
            does; None (default): the weights are scored as they are.
        filter: which leaves; default: kernels.

    Returns:
        scores, high = keep, of either sign; `None` at leaves that are not chosen.

    Raises:
        ValueError: temperature is not positive, the function draws random numbers or takes other arguments.
        TypeError: the loss or a chosen leaf is not real floating point.

    The authors' code also sums over halves of a batch of 25 examples per class; a mean over the batch is taken here.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    inputs, labels = batch
    check_function("logits_fn", logits_fn, params, inputs)
    leaves, rebuild = take(params, filter)
    if reinit_linear is not None:
        leaves = _redrawn(leaves, reinit_linear)
    measure = _cross_entropy if loss is None else loss

    def tempered(at: Leaves) -> Array:
        losses = measure(logits_fn(rebuild(at), inputs) / temperature, labels)
        if not jnp.issubdtype(losses.dtype, jnp.floating):
            raise TypeError(f"loss must return real numbers that have a derivative; it returns {losses.dtype}")
        return jnp.mean(losses)

    point = masked(leaves, masks)
    check_loss("the loss of logits_fn", tempered, point)
    _, product = hessian_vector_product(tempered, point, lambda gradient: masked(gradient, masks))
    scores = {path: wide(w) * wide(product[path]) for path, w in leaves.items()}
    warn_of_zeros("logits_fn", scores)
    return as_scores(params, _divided(scores, jnp.abs(_total(scores)) + 1e-10) if normalise else scores)


def _cross_entropy(logits: Array, labels: Array) -> Array:
    if labels.shape == logits.shape:
        return optax.softmax_cross_entropy(logits, labels)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _redrawn(leaves: Leaves, key: PRNGKeyArray) -> Leaves:
    keys = jax.random.split(key, len(leaves))
    draw = jax.nn.initializers.glorot_normal()
    return {path: draw(k, w.shape, w.dtype) if w.ndim == 2 else w for k, (path, w) in zip(keys, leaves.items())}


def _total(scores: Leaves) -> Array:
    return sum((jnp.sum(score) for score in scores.values()), start=jnp.zeros(()))


def _divided(scores: Leaves, total: Array) -> Leaves:
    safe = jnp.where(total > 0, total, 1)
    return {path: score / safe.astype(score.dtype) for path, score in scores.items()}
