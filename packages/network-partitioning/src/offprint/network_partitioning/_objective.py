"""The two objectives: the loss of every partition on what it may see, and the marginal likelihood out of sample."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._aggregate import Loglik
from offprint.network_partitioning._independent import Independent, member
from offprint.network_partitioning._partition import Partition, subnetwork

Regulariser = Callable[[Any, Any], Float[Array, ""]]
"""`regulariser(weights, hyper)`: R(w_k); `weights` is like w, with zeros outside partition k."""


@dataclass(frozen=True)
class Stateful:
    """The log-density of a model that keeps running statistics, such as those of batch normalisation.

    `function(params, hyper, rest, batch, key, train)` returns the log-densities (n,) and the new statistics. The
    subnetworks' activations differ, so that each has a set of its own: wherever these functions take `rest`, its
    leaves have a leading axis of K+1 sets, one for each of the subnetworks 0..K. Set k changes only when partition k
    is trained, on data of the first k shards; with `train=False` the function uses the statistics and what it
    returns of them is dropped.
    """

    function: Callable[[Any, Any, Any, Any, PRNGKeyArray, bool], tuple[Float[Array, " n"], Any]]


AnyPartition = Partition | Independent


def active(params: PyTree, part: AnyPartition, k: int | Int[Array, ""]) -> PyTree:
    """Subnetwork k, or with independent networks the k-th of them."""
    return member(params, part, k) if isinstance(part, Independent) else subnetwork(params, part, k)


def log_densities(
    loglik: Loglik | Stateful,
    params: PyTree,
    hyper: PyTree,
    rest: PyTree | None,
    k: int | Int[Array, ""],
    batch: PyTree,
    key: PRNGKeyArray,
    *,
    train: bool,
) -> tuple[Float[Array, " n"], PyTree | None]:
    """The log-densities of a batch under `params`, which are subnetwork k, and `rest` with its set k renewed."""
    if not isinstance(loglik, Stateful):
        return loglik(params, hyper, batch, key), rest
    if rest is None:
        raise ValueError("a Stateful log-likelihood needs rest=: its statistics with a leading axis of K+1 sets")
    own = jax.tree.map(lambda sets: sets[k], rest)
    values, new = loglik.function(params, hyper, own, batch, key, train)
    if train:
        rest = jax.tree.map(lambda sets, one: sets.at[k].set(jnp.asarray(one, sets.dtype)), rest, new)
    return values, rest


def loss_of(
    loglik: Loglik | Stateful,
    live: PyTree,
    fixed: PyTree,
    part: AnyPartition,
    k: int | Int[Array, ""],
    hyper: PyTree,
    batch: PyTree,
    key: PRNGKeyArray,
    regulariser: Regulariser | None,
    rest: PyTree | None,
) -> tuple[Float[Array, ""], PyTree | None]:
    """J_k with partition k taken from `live` and everything else of subnetwork k from `fixed`.

    With `fixed` held constant, the gradient in `live` is zero outside partition k: this is what keeps partition j
    blind to the shards after j.
    """
    own = jax.tree.map(lambda ids: ids == k - 1, part.ids)
    if isinstance(part, Independent):
        view = member(live, part, k)
    else:
        view = jax.tree.map(jnp.where, own, live, subnetwork(fixed, part, k))
    values, rest = log_densities(loglik, view, hyper, rest, k, batch, jax.random.fold_in(key, k), train=True)
    loss = -values.mean()
    if regulariser is not None:
        loss += regulariser(jax.tree.map(lambda mine, w: jnp.where(mine, w, 0), own, live), hyper)
    return loss, rest


def partition_loss(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    batches: Sequence[PyTree],
    key: PRNGKeyArray,
    *,
    regulariser: Regulariser | None = None,
    rest: PyTree | None = None,
) -> tuple[Float[Array, ""], Any]:
    """The sum of the partitions' losses, in which every scalar has the gradient of its own partition's loss.

        J_k(w_k) = mean over the batch of -log p(y | x, subnetwork k, ψ) + R(w_k),   k = 1..K

    The gradient of J_k in w_j with j < k is dropped, so that w_j learns from the first j shards only.

    Args:
        loglik: the model; see `Loglik` and `Stateful`.
        params: w.
        part: its partition.
        hyper: ψ, any pytree.
        batches: K batches, the k-th drawn from the first k shards.
        key: noise; that of partition k is drawn from (key, k).
        regulariser: R(w_k), called as `regulariser(weights, hyper)`.
        rest: with `Stateful`, K+1 sets of statistics.

    Returns:
        The sum in nats, and the K losses; with `rest` the sum and the pair (losses, new rest). So it fits
        `jax.value_and_grad(..., argnums=1, has_aux=True)`.

    Raises:
        ValueError: not K batches.
    """
    _check_count(batches, part.num, "batches", "one for each partition")
    fixed, given, losses = jax.lax.stop_gradient(params), rest, []
    for k, batch in enumerate(batches, 1):
        loss, rest = loss_of(loglik, params, fixed, part, k, hyper, batch, key, regulariser, rest)
        losses.append(loss)
    stacked = jnp.stack(losses)
    return stacked.sum(), stacked if given is None else (stacked, rest)


def out_of_sample_loss(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    oos: Sequence[PyTree],
    sizes: Sequence[int] | Int[Array | np.ndarray, " K"],
    key: PRNGKeyArray,
    *,
    rest: PyTree | None = None,
) -> tuple[Float[Array, ""], Float[Array, " shards"]]:
    """The mean negative log-likelihood of out-of-sample examples, estimated from batches: what ψ descends.

        -L_ML / (N - |D_1|) = sum_{k=2..K} |D_k| mean_{n in D_k} [-log p(y_n | x_n, subnetwork k-1, ψ)] / (N - |D_1|)

    Only the direct dependence on `hyper` is meant to be differentiated; `params` are constants of it.

    Args:
        loglik: see `partition_loss`; statistics are used and never changed.
        params: w.
        part: its partition.
        hyper: ψ.
        oos: K-1 batches, from the shards 2..K.
        sizes: the K shards' sizes |D_k|.
        key: noise; that of subnetwork k is drawn from (key, k).
        rest: with `Stateful`, K+1 sets of statistics.

    Returns:
        The estimate in nats per example, and its K-1 terms: the mean of the batch of D_k under subnetwork k-1.

    Raises:
        ValueError: not K-1 batches, or not K sizes.
    """
    _check_count(oos, part.num - 1, "out-of-sample batches", "one for each shard after the first")
    _check_count(sizes, part.num, "sizes", "one for each shard")
    means = []
    for k, batch in enumerate(oos, 1):
        values, _ = log_densities(
            loglik, active(params, part, k), hyper, rest, k, batch, jax.random.fold_in(key, k), train=False
        )
        means.append(-values.mean())
    losses = jnp.stack(means)
    weights = jnp.asarray(sizes)[1:].astype(losses.dtype)
    return weights @ losses / weights.sum(), losses


def log_marginal(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    data: PyTree,
    shards: Int[Array | np.ndarray, " n"],
    key: PRNGKeyArray,
    *,
    include_prior_term: bool = False,
    per_example: bool = False,
    rest: PyTree | None = None,
) -> Float[Array, ""]:
    """The approximate log marginal likelihood, in nats.

        L_ML(ψ) = sum_{k=2..K} sum_{n in D_k} log p(y_n | x_n, subnetwork k-1, ψ)

    The data pass through K-1 subnetworks whole (shards may be traced, so that their sizes aren't known here).

    Args:
        loglik: see `partition_loss`.
        params: w.
        part: its partition.
        hyper: ψ.
        data: a batch of all N examples.
        shards: (N,) the shard of each, 0..K-1.
        key: noise; that of subnetwork k is drawn from (key, k).
        include_prior_term: add the first shard's term, log p(D_1) under the untrained network. Without it L_ML is
            conditional on D_1.
        per_example: divide by the number of examples that are summed over.
        rest: with `Stateful`, K+1 sets of statistics.
    """
    shards = jnp.asarray(shards)
    first = 0 if include_prior_term else 1
    total: Array | float = 0.0
    for k in range(first, part.num):
        total += jnp.where(shards == k, _all_densities(loglik, params, part, hyper, data, k, key, rest), 0).sum()
    return jnp.asarray(total / (shards >= first).sum() if per_example else total)


def nll_matrix(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    data: PyTree,
    shards: Int[Array | np.ndarray, " n"],
    key: PRNGKeyArray,
    *,
    rest: PyTree | None = None,
) -> Float[Array, "subnetworks K"]:
    """The mean negative log-likelihood of every subnetwork on every shard, in nats: what to look at first.

    Row k = 0..K is subnetwork k, column s = 0..K-1 the shard with id s, which is D_{s+1}. Columns s < k are training
    losses, the others out of sample; L_ML sums those with s = k >= 1. Arguments are those of `log_marginal`.
    """
    shards = jnp.asarray(shards)
    member_of = shards[:, None] == jnp.arange(part.num)
    rows = []
    for k in range(part.num + 1):
        values = _all_densities(loglik, params, part, hyper, data, k, key, rest)
        rows.append(-jnp.where(member_of, values[:, None], 0).sum(0) / member_of.sum(0))
    return jnp.stack(rows)


def _all_densities(
    loglik: Loglik | Stateful,
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    data: PyTree,
    k: int,
    key: PRNGKeyArray,
    rest: PyTree | None,
) -> Float[Array, " n"]:
    key = jax.random.fold_in(key, k)
    return log_densities(loglik, active(params, part, k), hyper, rest, k, data, key, train=False)[0]


def _check_count(given: Any, needed: int, what: str, why: str) -> None:
    if len(given) != needed:
        raise ValueError(f"{len(given)} {what} given, but {needed} are needed: {why}")
