"""How the weights answer to the hyperparameters, added to the direct hypergradient (our extension)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._objective import (
    AnyPartition,
    Loglik,
    Regulariser,
    Stateful,
    loss_of,
    out_of_sample_loss,
)

RESPONSES = ("none", "one_step", "neumann")


def response_gradient(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    batches: Sequence[PyTree],
    oos: Sequence[PyTree],
    sizes: Sequence[int] | Int[Array, " K"],
    keys: tuple[PRNGKeyArray, PRNGKeyArray],
    *,
    lr: float | int,
    terms: int = 0,
    train_loglik: Loglik | Stateful | None = None,
    regulariser: Regulariser | None = None,
    rest: PyTree | None = None,
) -> PyTree:
    """The part of the hypergradient that goes through the weights.

    Let L be the out-of-sample loss and G_k = dJ_k/dw_k the field that the weights descend. One gradient step of rate
    lr answers to ψ by -lr dG/dψ; infinitely many of them, at their fixed point, by -(dG/dw)⁻¹ dG/dψ, whose inverse is
    the Neumann series lr sum_j (1 - lr dG/dw)^j. The first `terms` + 1 terms of the series give

        - vᵀ dG/dψ,   v = lr sum_{j=0..terms} (1 - lr (dG/dw)ᵀ)^j dL/dw

    G is no gradient of one function: later partitions' losses depend on earlier weights, not the other way round.
    dG/dw holds that dependence.

    Args:
        loglik: see `partition_loss`.
        params: w, where everything is taken.
        part: its partition.
        hyper: ψ.
        batches: K training batches.
        oos: K-1 out-of-sample batches.
        sizes: the K shards' sizes.
        keys: noise of training and out-of-sample losses.
        lr: rate of the plain gradient steps that are thought of; the series converges for lr below 2 over the largest
            curvature. With an optimiser such as Adam the answer is that of plain gradient descent all the same.
        terms: further terms of the series; 0 is one step.
        train_loglik: the training log-likelihood, where that isn't `loglik`.
        regulariser: R(w_k), which may depend on ψ: a learned weight decay.
        rest: with `Stateful`, K+1 sets of statistics.

    Returns:
        Pytree like `hyper`.

    Source: Luketina et al. 2016 (one step), Lorraine et al. 2020 (the series), carried over to partitions by us.
    """
    train_key, oos_key = keys
    trained = train_loglik or loglik

    def loss(live: PyTree, fixed: PyTree, hyper: PyTree) -> Array:
        total: Any = 0.0
        for k, batch in enumerate(batches, 1):
            total += loss_of(trained, live, fixed, part, k, hyper, batch, train_key, regulariser, rest)[0]
        return total

    def field(params: PyTree, hyper: PyTree) -> PyTree:
        return jax.grad(loss)(params, params, hyper)

    def outer(params: PyTree) -> Array:
        return out_of_sample_loss(loglik, params, part, hyper, oos, sizes, oos_key, rest=rest)[0]

    term = jax.tree.map(lambda g: lr * g, jax.grad(outer)(params))
    total = term
    if terms:
        transposed = jax.vjp(lambda w: field(w, hyper), params)[1]

        def further(carried: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
            term, total = carried
            term = jax.tree.map(lambda t, a: t - lr * a, term, transposed(term)[0])
            return (term, jax.tree.map(jnp.add, total, term)), None

        unroll = has_convolution(lambda: transposed(term))
        (_, total), _ = jax.lax.scan(further, (term, total), length=terms, unroll=unroll)
    answer = jax.vjp(lambda h: field(params, h), hyper)[1](total)[0]
    return jax.tree.map(jnp.negative, answer)


def has_convolution(function: Callable[[], Any]) -> bool:
    """Whether this is the CPU, where XLA is slow at convolutions within loops and branches, and there are some."""
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(jax.make_jaxpr(function)())
