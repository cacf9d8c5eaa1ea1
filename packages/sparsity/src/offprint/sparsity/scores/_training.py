"""Criteria that gather during training: movement, and the sensitivity of the outputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._filter import Filter
from offprint.sparsity._tree import map_named
from offprint.sparsity.scores._examples import first_of, mean_over_examples
from offprint.sparsity.scores._function import check_function
from offprint.sparsity.scores._leaves import Leaves, as_scores, score_leaves, take


def movement(
    scores: PyTree | None,
    params: PyTree,
    grads: PyTree,
    learning_rate: float | int | Float[Array, ""] = 1.0,
    *,
    filter: Filter | None = None,
) -> PyTree:
    """S − α g w: weights that move away from zero gain score (Sanh et al. 2020, `sanh2020movement`).

    Args:
        scores: S so far; None: zeros, at the first step.
        params: weights before the step.
        grads: gradients of the loss at the *masked* weights (straight through the mask, so pruned weights have one).
        learning_rate: α, that of the scores; it need not be that of the weights.
        filter: which leaves; default: kernels.

    Returns:
        the new S, high = keep; `None` at leaves that are not chosen.
    """
    if scores is None:
        return score_leaves(lambda w, g: -learning_rate * g * w, params, grads, filter=filter)
    return score_leaves(
        lambda w, g, s: s - learning_rate * g * w, params, grads, scores, filter=filter, names="grads scores"
    )


def soft_movement_masks(scores: PyTree, threshold: float | int = 0.5) -> PyTree:
    """Soft movement pruning: keep where σ(S) > τ (`sanh2020movement`); the sparsity follows from the penalty.

    From memory of the paper, not checked against it.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be in (0, 1), since sigmoid(S) is compared with it; got {threshold}")
    return jax.tree.map(lambda s: jax.nn.sigmoid(s) > threshold, scores)


def soft_movement_penalty(scores: PyTree) -> Float[Array, ""]:
    """Σ σ(S), which soft movement pruning adds to the loss, times λ (`sanh2020movement`).

    From memory of the paper, not checked against it.
    """
    return sum((jnp.sum(jax.nn.sigmoid(s)) for s in jax.tree.leaves(scores)), start=jnp.zeros(()))


def sensitivity(
    outputs_fn: Callable[[PyTree, PyTree], Float[Array, " outputs"]],
    params: PyTree,
    inputs: PyTree,
    *,
    microbatch: int | None = None,
    filter: Filter | None = None,
) -> PyTree:
    """Mean over examples and outputs of |∂y_k/∂w| (Tartaglione et al. 2018, `tartaglione2018`).

    The paper's unspecific sensitivity: all outputs count alike. For the specific one let `outputs_fn` return only the
    output of the example's class. From memory of the paper, not checked against it.

    Args:
        outputs_fn: `outputs_fn(params, input)`, the outputs of one example, without a batch axis.
        params: tree of arrays.
        inputs: tree of arrays with the examples first.
        microbatch: examples that are differentiated at a time; None: all.
        filter: which leaves; default: kernels.

    Returns:
        scores, high = keep; `None` at leaves that are not chosen.
    """
    shape = check_function("outputs_fn", outputs_fn, params, first_of(inputs))
    if len(getattr(shape, "shape", ())) != 1:
        raise ValueError(f"outputs_fn must return a vector of outputs for one example; it returns {shape}")
    leaves, rebuild = take(params, filter)

    def absolute(example: PyTree) -> Leaves:
        rows = jax.jacrev(lambda at: outputs_fn(rebuild(at), example))(leaves)
        return {path: jnp.mean(jnp.abs(row), axis=0) for path, row in rows.items()}

    return as_scores(params, mean_over_examples(absolute, inputs, microbatch))


def sensitivity_decay(params: PyTree, sensitivities: PyTree) -> PyTree:
    """w · max(0, 1 − S), what the regularisation of `tartaglione2018` subtracts (times λ) in each step.

    It shrinks weights to which the outputs are insensitive, and leaves the others alone. Zeros where S is `None`. From
    memory of the paper, not checked against it.
    """
    return map_named(
        lambda path, w, s: jnp.zeros_like(w) if s is None else w * jax.nn.relu(1 - s), params, sensitivities
    )
