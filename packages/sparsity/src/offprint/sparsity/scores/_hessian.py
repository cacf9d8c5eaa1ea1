"""Diagonals of the Hessian and the criteria that use them: what the loss gains, to second order, without a weight."""

from collections.abc import Callable

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from optax import tree_utils

from offprint.sparsity._filter import Filter
from offprint.sparsity.scores._examples import first_of, mean_over_examples
from offprint.sparsity.scores._function import check_function, check_loss
from offprint.sparsity.scores._leaves import Leaves, as_scores, score_leaves, take, wide


def obd(params: PyTree, curvature: PyTree, *, filter: Filter | None = None) -> PyTree:
    """½ h w², what the loss gains without the weight at a minimum (LeCun et al. 1990, `lecun1990obd`, Eq. 5).

    Args:
        params: tree of arrays, trained.
        curvature: diagonal h of the Hessian in the same tree: `hessian_diag`, `hutchinson`, `gauss_newton_diag` or
            `fisher_diag`. The first two may be negative away from a minimum, and so may the scores.
        filter: which leaves; default: kernels.

    Returns:
        scores, high = keep; `None` at leaves that are not chosen.
    """
    return score_leaves(lambda w, h: 0.5 * h * w**2, params, curvature, filter=filter, names="curvature")


def adam(params: PyTree, opt_state: PyTree, *, filter: Filter | None = None) -> PyTree:
    """ν w² with the second moment ν that an Adam-like optimiser keeps anyway: a running empirical Fisher diagonal.

    jaxpruner has the same among its extensions. ν averages squares of minibatch gradients, which is not the mean of
    squares over examples (`fisher_diag`), and the correction of its bias is the same for all weights.

    Args:
        params: tree of arrays.
        opt_state: state of an optax optimiser that has one tree named `nu` (Adam, AdamW, RMSProp, ...).
        filter: which leaves; default: kernels.

    Raises:
        ValueError: there is no `nu` in the state, or several, or its tree is not that of params.
    """
    found = tree_utils.tree_get_all_with_path(opt_state, "nu")
    if len(found) != 1:
        raise ValueError(
            f"opt_state must have one second moment `nu`, as the state of optax.adam has; it has {len(found)}"
        )
    return score_leaves(lambda w, nu: nu * w**2, params, found[0][1], filter=filter, names="nu")


def hessian_vector_product(
    function: Callable[[PyTree], Array], at: PyTree, direction: Callable[[PyTree], PyTree]
) -> tuple[PyTree, PyTree]:
    """Gradient g and H v for v = direction(g), by forward over reverse: about two further gradients."""
    gradient = jax.grad(function)
    value = gradient(at)
    return value, jax.jvp(gradient, (at,), (direction(value),))[1]


def hutchinson(
    loss: Callable[[PyTree, PyTree], Float[Array, ""]],
    params: PyTree,
    batch: PyTree,
    key: PRNGKeyArray,
    *,
    n: int = 8,
    filter: Filter | None = None,
) -> PyTree:
    """Estimate E[v ⊙ Hv] of the diagonal of the Hessian, with n random signs v per weight.

    Unbiased; the variance of entry q is Σ H_qp² over p ≠ q, divided by n, so it is exact where H is diagonal.

    Args:
        loss: `loss(params, batch)`, the mean loss.
        params: tree of arrays.
        batch: what the loss is over.
        key: of the signs.
        n: number of Hessian-vector products.
        filter: which leaves; default: kernels.

    Returns:
        the diagonal, `None` at leaves that are not chosen.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1; got {n}")
    check_loss("loss", loss, params, batch)
    leaves, rebuild = take(params, filter)
    gradient = jax.grad(lambda at: loss(rebuild(at), batch))

    def one(sums: Leaves, k: Array) -> tuple[Leaves, None]:
        keys = jax.random.split(k, len(leaves))
        v = {path: jax.random.rademacher(q, w.shape, w.dtype) for q, (path, w) in zip(keys, leaves.items())}
        product = jax.jvp(gradient, (leaves,), (v,))[1]
        return {path: sums[path] + v[path] * product[path] for path in leaves}, None

    zeros = {path: jnp.zeros_like(w) for path, w in leaves.items()}
    sums, _ = jax.lax.scan(one, zeros, jax.random.split(key, n))
    return as_scores(params, {path: total / n for path, total in sums.items()})


def hessian_diag(
    loss: Callable[[PyTree, PyTree], Float[Array, ""]],
    params: PyTree,
    batch: PyTree,
    *,
    microbatch: int = 64,
    filter: Filter | None = None,
) -> PyTree:
    """Exact diagonal of the Hessian by one Hessian-vector product per weight: for small models.

    Args:
        loss: `loss(params, batch)`, the mean loss.
        params: tree of arrays.
        batch: what the loss is over.
        microbatch: products that are computed side by side.
        filter: which leaves; default: kernels.

    Returns:
        the diagonal, `None` at leaves that are not chosen.
    """
    if microbatch < 1:
        raise ValueError(f"microbatch must be at least 1; got {microbatch}")
    check_loss("loss", loss, params, batch)
    leaves, rebuild = take(params, filter)
    flat, unravel = jax.flatten_util.ravel_pytree(leaves)
    gradient = jax.grad(lambda x: loss(rebuild(unravel(x)), batch))

    def entry(q: Array) -> Array:
        return jax.jvp(gradient, (flat,), (jnp.zeros_like(flat).at[q].set(1),))[1][q]

    diagonal = jax.lax.map(entry, jnp.arange(flat.size), batch_size=min(microbatch, flat.size))
    return as_scores(params, unravel(diagonal))


def gauss_newton_diag(
    outputs_fn: Callable[[PyTree, PyTree], Float[Array, " outputs"]],
    params: PyTree,
    batch: tuple[PyTree, PyTree],
    *,
    loss: Callable[[Array, Array], Array] = optax.softmax_cross_entropy_with_integer_labels,
    microbatch: int | None = None,
    filter: Filter | None = None,
) -> PyTree:
    """Diagonal of the Gauss-Newton matrix, the mean over examples of Jᵀ (∂²loss/∂z²) J: never negative.

    OBD takes this for the Hessian. Exact, by one vector-Jacobian product per output and example.

    Args:
        outputs_fn: `outputs_fn(params, input)`, the outputs z of one example, without a batch axis.
        params: tree of arrays.
        batch: (inputs, targets), the examples first.
        loss: `loss(z, target)`, convex in z; default: softmax cross-entropy with an integer label.
        microbatch: examples that are differentiated at a time; None: all.
        filter: which leaves; default: kernels.

    Returns:
        the diagonal, `None` at leaves that are not chosen.
    """
    inputs, targets = batch
    shape = check_function("outputs_fn", outputs_fn, params, first_of(inputs))
    if len(getattr(shape, "shape", ())) != 1:
        raise ValueError(f"outputs_fn must return a vector of outputs for one example; it returns {shape}")
    leaves, rebuild = take(params, filter)

    def squares(example: tuple[PyTree, PyTree]) -> Leaves:
        x, target = example
        z, pull = jax.vjp(lambda at: outputs_fn(rebuild(at), x), leaves)
        values, vectors = jnp.linalg.eigh(jax.hessian(loss)(z, target))
        roots = vectors * jnp.sqrt(jnp.maximum(values, 0))  # ∂²loss/∂z² = roots rootsᵀ
        (pulled,) = jax.vmap(pull)(roots.T)
        return {path: jnp.sum(rows**2, axis=0) for path, rows in pulled.items()}

    return as_scores(params, mean_over_examples(squares, (inputs, targets), microbatch))


def fisher_diag(
    loss_per_example: Callable[[PyTree, PyTree], Float[Array, ""]],
    params: PyTree,
    batch: PyTree,
    *,
    microbatch: int | None = None,
    filter: Filter | None = None,
) -> PyTree:
    """Diagonal of the empirical Fisher matrix: the mean over examples of g², not the square of the mean gradient.

    Args:
        loss_per_example: `loss_per_example(params, example)` of one example, without a batch axis.
        params: tree of arrays.
        batch: tree of arrays with the examples first.
        microbatch: examples that are differentiated at a time, which bounds memory; None: all.
        filter: which leaves; default: kernels.

    Returns:
        the diagonal, `None` at leaves that are not chosen; ½ w² times it is a score (`obd`).
    """
    check_loss("loss_per_example", loss_per_example, params, first_of(batch))
    leaves, rebuild = take(params, filter)
    one = jax.grad(lambda at, example: loss_per_example(rebuild(at), example))

    def squares(example: PyTree) -> Leaves:
        return {path: wide(g) ** 2 for path, g in one(leaves, example).items()}

    return as_scores(params, mean_over_examples(squares, batch, microbatch))


def fisher_diag_dense(
    inputs: Float[Array, "batch *positions in"], errors: Float[Array, "batch *positions out"]
) -> Float[Array, "in out"]:
    """`fisher_diag` of a dense kernel from its inputs and the derivatives of each example's loss in its outputs.

    The gradient of an example is the outer product a δᵀ, so the mean of its square is one matrix product of a² and
    δ²: no gradient of an example is ever stored. With further axes (positions of a sequence) the gradient is a sum of
    outer products, which is formed for one example at a time.

    Raises:
        ValueError: the two arrays differ in an axis other than the last.
    """
    if inputs.ndim < 2 or inputs.shape[:-1] != errors.shape[:-1]:
        raise ValueError(
            f"inputs (batch, ..., in) and errors (batch, ..., out) must agree but for the last axis; got "
            f"{inputs.shape} and {errors.shape}"
        )
    a, d = wide(inputs), wide(errors)
    if a.ndim == 2:
        return (a**2).T @ d**2 / a.shape[0]
    return mean_over_examples(
        lambda pair: (pair[0].reshape(-1, a.shape[-1]).T @ pair[1].reshape(-1, d.shape[-1])) ** 2, (a, d), 1
    )
