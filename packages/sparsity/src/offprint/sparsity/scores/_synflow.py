"""SynFlow: synaptic flow, a criterion that needs no data."""

import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from offprint.sparsity._filter import Filter
from offprint.sparsity.scores._function import check_function
from offprint.sparsity.scores._leaves import Leaves, as_scores, concrete, masked, take, warn_of_zeros, wide


def synflow(
    apply_fn: Callable[..., Array],
    params: PyTree,
    input_shape: Sequence[int],
    state: PyTree | None = None,
    *,
    masks: PyTree | None = None,
    logs: bool = False,
    filter: Filter | None = None,
) -> PyTree:
    """|w| ∂R/∂|w| for R = Σ f_|w|(1), the flow of ones (Tanaka et al. 2020, `tanaka2020synflow`).

    All parameters and running statistics are replaced by their absolute values. Without biases every layer has the
    same total, and what enters a unit is what leaves it. The paper scores anew in each of 100 rounds:
    `prune_at_init("synflow", ...)`.

    Args:
        apply_fn: `apply_fn(params, x)`, or `apply_fn(params, state, x)` if there is a state, in evaluation mode: batch
            normalisation with its running statistics, no dropout. It returns an array.
        params: tree of arrays.
        input_shape: shape of one example without the batch axis; x has a batch of one.
        state: running statistics; made positive too.
        masks: the network is the masked one. The score of a pruned weight is what it would have, which is nothing if it
            leads to a unit without any input left: a ReLU has no slope at zero.
        logs: return the logarithms of the scores (a zero score becomes the least finite number) and divide the kernel
            of each layer by its own gain meanwhile, so that the flow of a deep network stays within float32. Exact
            where R is proportional to each kernel (a chain of layers whose biases and running means are zero, as at
            initialisation); with residual branches or biases a warning says so: use float64 there.
        filter: which leaves are scored; default: kernels.

    Returns:
        scores, high = keep, never negative unless `logs`; `None` at leaves that are not chosen.

    Raises:
        ValueError: the flow leaves the range of the floating-point type (not under jit), or apply_fn draws random
            numbers or takes other arguments.
    """
    leaves, _ = take(params, filter)
    flow = _flow(apply_fn, params, input_shape, state, filter)
    sizes = {path: jnp.abs(w) for path, w in leaves.items()}
    point = masked(sizes, masks)
    if logs:
        scores, totals, offset = _rescaled(flow, sizes, point)
        _check_range(scores)
        _warn_unless_equal(totals)
        return as_scores(params, {path: _log(score, offset) for path, score in scores.items()})
    slopes = jax.grad(flow)(point)
    scores = {path: wide(sizes[path]) * wide(slopes[path]) for path in leaves}
    _check_range(scores)
    warn_of_zeros("apply_fn", scores)
    return as_scores(params, scores)


def warn_unless_proportional(
    apply_fn: Callable[..., Array], params: PyTree, input_shape: Sequence[int], state: PyTree, filter: Filter | None
) -> None:
    """The warning of `synflow(..., logs=True)`, for callers that trace it."""
    if concrete(params, state):
        sizes = {path: jnp.abs(w) for path, w in take(params, filter)[0].items()}
        flow = _flow(apply_fn, params, input_shape, state, filter)
        _warn_unless_equal(jax.jit(lambda at: _rescaled(flow, at, at)[1])(sizes))


def _flow(
    apply_fn: Callable[..., Array], params: PyTree, input_shape: Sequence[int], state: PyTree, filter: Filter | None
) -> Callable[[Leaves], Array]:
    """R as a function of the absolute values of the chosen leaves."""
    leaves, rebuild = take(params, filter)
    x = jnp.ones((1, *input_shape), jnp.result_type(*leaves.values()))
    check_function("apply_fn", apply_fn, params, *(() if state is None else (state,)), x)
    fixed = () if state is None else (_absolute(state),)

    def flow(at: Leaves) -> Array:
        outputs = apply_fn(_absolute(rebuild(at)), *fixed, x)
        return sum((jnp.sum(wide(leaf)) for leaf in jax.tree.leaves(outputs)), start=jnp.zeros((), wide(x).dtype))

    return flow


def _rescaled(flow: Callable[[Leaves], Array], sizes: Leaves, point: Leaves) -> tuple[Leaves, Leaves, Array]:
    """Scores with every kernel divided by its gain, their sums over the unmasked weights, and the log of all gains."""
    gains = {path: _gain(w) for path, w in point.items()}
    scaled = {path: w / gains[path] for path, w in point.items()}
    slopes = jax.grad(flow)(scaled)
    scores = {path: wide(sizes[path] / gains[path]) * wide(slopes[path]) for path in sizes}
    totals = {path: jnp.sum(wide(scaled[path]) * wide(slopes[path])) for path in sizes}
    return scores, totals, sum((jnp.log(wide(gain)) for gain in gains.values()), start=jnp.zeros(()))


def _gain(w: Array) -> Array:
    """Mean sum of what enters an output unit: how much a layer multiplies a constant signal."""
    gain = jnp.sum(w) / w.shape[-1]
    return jnp.where(gain > 0, gain, 1)


def _log(score: Array, offset: Array) -> Array:
    positive = score > 0
    logarithm = jnp.log(jnp.where(positive, score, 1)) + offset.astype(score.dtype)
    return jnp.where(positive, logarithm, jnp.finfo(score.dtype).min)


def _absolute(tree: PyTree) -> PyTree:
    """Absolute values of all real floating-point leaves."""
    return jax.tree.map(lambda leaf: jnp.abs(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def _check_range(scores: Leaves) -> None:
    if not concrete(scores):
        return
    for path, score in scores.items():
        if not np.isfinite(np.asarray(score)).all():
            raise ValueError(
                f"the flow of {path} leaves the range of {score.dtype}; give params in float64 (with jax_enable_x64), "
                "or use logs=True"
            )


def _warn_unless_equal(totals: Leaves) -> None:
    """Warn unless all layers have the same total, which is what makes the logarithms exact."""
    if not concrete(totals):
        return
    least, most = float(min(totals.values())), float(max(totals.values()))
    if most - least > 1e-3 * most:
        warnings.warn(
            f"the flow through the layers differs (from {least:.3g} to {most:.3g}): with residual branches or biases "
            "the scores that logs=True gives do not rank as SynFlow does; use float64 without logs",
            stacklevel=3,
        )
