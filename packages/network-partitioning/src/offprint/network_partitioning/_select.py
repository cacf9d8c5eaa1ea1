"""Discrete hyperparameters: many configurations trained at once, and ranked by what they predict out of sample."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.core.train import scan
from offprint.network_partitioning._aggregate import Loglik
from offprint.network_partitioning._objective import nll_matrix
from offprint.network_partitioning._partition import partition
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import init_state, make_step


class Selection(NamedTuple):
    """What became of every configuration, in nats per example."""

    order: Int[Array, " configs"]
    """The configurations from the best to the worst, by `log_marginal` averaged over seeds."""
    log_marginal: Float[Array, "configs seeds"]
    """L_ML per out-of-sample example."""
    train_nll: Float[Array, "configs seeds"]
    """Mean negative log-likelihood of the whole network on all the data: what can't tell them apart."""
    nll_matrix: Float[Array, "configs seeds subnetworks K"]
    """See `nll_matrix`."""
    params: PyTree
    """The trained weights, with leading axes of configurations and seeds."""


def select(
    loglik: Loglik,
    init: Callable[[PRNGKeyArray], PyTree],
    configs: PyTree,
    data: PyTree,
    shards: Int[Array | np.ndarray, " n"],
    *,
    proportions: Sequence[float | int] | np.ndarray,
    steps: int,
    key: PRNGKeyArray,
    seeds: int = 1,
    batch_size: int | None = None,
    optimiser: optax.GradientTransformation | None = None,
    scheme: Any = "random_weight",
    schedule: str = "joint",
) -> Selection:
    """Train a partitioned network under each of C configurations and rank them by the log marginal likelihood.

    A configuration stands where hyperparameters stand, and is held. All of them, times all seeds, are one vmapped
    program; they share initial weights, partitions, batches and noise, so that differences are theirs. (On the CPU
    networks with convolutions are faster one by one: `vmap` over their weights makes grouped convolutions.)

    Args:
        loglik: `loglik(params, config, batch, key)`, the log-density of each example in nats.
        init: the network's initial weights from a key.
        configs: pytree of arrays with a leading axis of C configurations.
        data: a batch of all n examples.
        shards: (n,) the shard of each, 0..K-1; see `assign_shards`.
        proportions: (K,) the partitions' shares of the weights.
        steps: updates.
        key: of everything; seed s uses the s-th of `jax.random.split(key, seeds)`.
        seeds: independent runs of each configuration.
        batch_size: examples of each training batch; None: all.
        optimiser: the weights', Adam with rate 1e-3 by default.
        scheme: see `partition`.
        schedule: see `make_step`.

    Raises:
        ValueError: no configuration, or arrays of configurations that differ in their first axis; no seed or step;
            shards that don't fit the data or the proportions.
    """
    counts = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(configs)}
    if len(counts) != 1 or counts == {()} or counts == {(0,)}:
        raise ValueError(
            "configs must be arrays with one leading axis of configurations, but the shapes are "
            f"{[np.shape(leaf) for leaf in jax.tree.leaves(configs)]}"
        )
    if seeds < 1 or steps < 1:
        raise ValueError(f"at least one seed and one step are needed, but seeds={seeds} and steps={steps}")
    batches = ShardedBatches(data, shards, batch_size)
    if len(batches.sizes) != len(proportions):
        raise ValueError(
            f"there are {len(batches.sizes)} shards, but proportions has {len(proportions)} entries: each partition "
            "needs a shard of its own"
        )
    tx, held = optimiser or optax.adam(1e-3), optax.set_to_zero()

    def run(config: PyTree, key: PRNGKeyArray, batches: ShardedBatches) -> tuple[Array, PyTree]:
        for_weights, for_partition, for_steps, for_scores = jax.random.split(key, 4)
        params = init(for_weights)
        part = partition(params, proportions, scheme=scheme, key=for_partition)
        # The hyper step, which has nothing to do here, is put off to after the end.
        step = make_step(loglik, part, tx, held, sizes=batches.sizes, schedule=schedule, burn_in=steps)
        state, _ = scan(step, init_state(params, part, config, tx, held), batches, steps, for_steps)
        ordered = jnp.repeat(jnp.arange(part.num), np.array(batches.sizes), total_repeat_length=batches.size)
        return nll_matrix(loglik, state.params, part, config, batches.arrays, ordered, for_scores), state.params

    over_seeds = jax.vmap(run, (None, 0, None))
    matrix, params = jax.jit(jax.vmap(over_seeds, (0, None, None)))(configs, jax.random.split(key, seeds), batches)
    sizes = jnp.asarray(batches.sizes, matrix.dtype)
    own = jnp.diagonal(matrix, axis1=-2, axis2=-1)[..., 1:]  # shard s under subnetwork s, for s >= 1
    marginal = -own @ sizes[1:] / sizes[1:].sum()
    return Selection(jnp.argsort(-marginal.mean(1)), marginal, matrix[..., -1, :] @ sizes / sizes.sum(), matrix, params)
