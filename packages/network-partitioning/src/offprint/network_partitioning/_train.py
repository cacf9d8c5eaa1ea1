"""The training step: weights on what they may see, hyperparameters on what the weights haven't seen."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._objective import (
    AnyPartition,
    Loglik,
    Regulariser,
    Stateful,
    loss_of,
    out_of_sample_loss,
    partition_loss,
)
from offprint.network_partitioning._optimiser import partitioned
from offprint.network_partitioning._response import RESPONSES, has_convolution, response_gradient

SCHEDULES = ("joint", "round_robin", "sampled")
Metrics = dict[str, Array]


class State(NamedTuple):
    """All that changes in a run."""

    params: PyTree
    """w."""
    hyper: PyTree
    """ψ, unconstrained."""
    opt: optax.OptState
    """The weights' optimiser: state of `partitioned`."""
    hyper_opt: optax.OptState
    """The hyperparameters' optimiser."""
    rest: PyTree
    """With `Stateful` the statistics, whose leading axis is that of the subnetworks 0..K; else None."""
    step: Int[Array, ""]
    """Updates made so far."""
    oos: Float[Array, " shards"]
    """(K-1,) the latest out-of-sample loss of each shard after the first, in nats: what metrics say between hyper
    steps."""


def init_state(
    params: PyTree,
    part: AnyPartition,
    hyper: PyTree,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
    *,
    rest: PyTree | None = None,
) -> State:
    """The state in which a run starts.

    Args:
        params: w.
        part: its partition.
        hyper: ψ, a pytree of floating arrays; `None` or an empty pytree if there is nothing to learn.
        tx: the weights' optimiser, as `make_step` gets it.
        hyper_tx: the hyperparameters' optimiser, as `make_step` gets it.
        rest: the model's statistics, one set; every subnetwork gets a copy.
    """
    dtype = jnp.result_type(*jax.tree.leaves(params))
    sets = jax.tree.map(lambda one: jnp.broadcast_to(one, (part.num + 1, *jnp.shape(one))), rest)
    return State(
        params,
        hyper,
        partitioned(tx, part).init(params),
        hyper_tx.init(hyper),
        sets,
        jnp.int32(0),
        jnp.zeros(part.num - 1, dtype),
    )


def make_step(
    loglik: Loglik | Stateful,
    part: AnyPartition,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
    *,
    sizes: Sequence[int] | Int[Array | np.ndarray, " K"],
    schedule: str = "joint",
    hyper_every: int = 1,
    burn_in: int = 0,
    response: str = "none",
    response_lr: float | int | None = None,
    terms: int = 10,
    train_loglik: Loglik | Stateful | None = None,
    regulariser: Regulariser | None = None,
) -> Callable[[State, Any, PRNGKeyArray], tuple[State, Metrics]]:
    """The step of partitioned training: an update of the weights, then one of the hyperparameters where it is due.

    Args:
        loglik: `loglik(params, hyper, batch, key)` gives the log-density of each example; or a `Stateful`.
        part: the partition of the weights, or `Independent` networks.
        tx: the weights' optimiser. It sees each partition alone; see `partitioned`.
        hyper_tx: the hyperparameters' optimiser; it descends the mean out-of-sample loss per example, in nats.
        sizes: (K,) the shards' sizes |D_k|.
        schedule: "joint": one update of all partitions, all gradients taken at the same weights. "round_robin": the
            partitions one after the other, each with those before it already updated. "sampled": one partition,
            drawn with probability proportional to |D_1| + ... + |D_k|; a step costs 1/K of the others. Its K batches
            should have one size: else XLA compiles a branch for each of them.
        hyper_every: updates of the weights between two of the hyperparameters.
        burn_in: updates of the weights before the first of these.
        response: "none": the direct hypergradient, as in the paper. "one_step", "neumann": also the part that goes
            through the weights, see `response_gradient`, so that hyperparameters of training can be learned.
        response_lr: rate of the gradient steps that are thought of; needed by the latter two.
        terms: further terms of the Neumann series.
        train_loglik: the log-likelihood that the weights ascend, where that isn't `loglik`: label smoothing, class
            weights and the like, which aren't to count out of sample.
        regulariser: R(w_k), called as `regulariser(weights, hyper)` with zeros outside partition k.

    Returns:
        `step(state, batch, key) -> (state, metrics)` for `offprint.core.train`, where `batch` is a `ShardedBatch`:
        `train`, K batches, the k-th from the first k shards, and `oos`, K-1 batches, of the shards 2..K.
        Noise is drawn from (key, k). Metrics, in nats: `loss` (of all partitions, their mean), `loss/k` of
        partition k (not with "sampled", where `loss` is that of the partition drawn), `oos` (the estimate of
        -L_ML per example) and `oos/k` of shard k; the latter are those of the last hyper step, and before the first
        of step 0.

    Raises:
        ValueError: a setting that doesn't exist or is out of range.
    """
    num = part.num
    _check_settings(num, sizes, schedule, hyper_every, burn_in, response, response_lr, terms)
    sizes = jnp.asarray(sizes)
    opt = partitioned(tx, part)
    trained = train_loglik or loglik

    def all_at_once(state: State, batches: Any, key: PRNGKeyArray) -> tuple[State, Array]:
        def objective(params: PyTree) -> Any:
            return partition_loss(
                trained, params, part, state.hyper, batches, key, regulariser=regulariser, rest=state.rest
            )

        (_, aux), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        losses, rest = (aux, None) if state.rest is None else aux
        updates, opt_state = opt.update(grads, state.opt, state.params)
        return state._replace(params=optax.apply_updates(state.params, updates), opt=opt_state, rest=rest), losses

    def one(state: State, k: int | Array, batch: Any, key: PRNGKeyArray) -> tuple[State, Array]:
        def objective(params: PyTree) -> Any:
            fixed = jax.lax.stop_gradient(params)
            return loss_of(trained, params, fixed, part, k, state.hyper, batch, key, regulariser, state.rest)

        (loss, rest), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        updates, opt_state = opt.update(grads, state.opt, state.params, active=k)
        return state._replace(params=optax.apply_updates(state.params, updates), opt=opt_state, rest=rest), loss

    def update_weights(state: State, batches: Any, key: PRNGKeyArray) -> tuple[State, Array]:
        """The new state, and the loss of every partition that was updated."""
        if schedule == "joint":
            return all_at_once(state, batches, key)
        if schedule == "round_robin":
            losses = []
            for k, batch in enumerate(batches, 1):
                state, loss = one(state, k, batch, key)
                losses.append(loss)
            return state, jnp.stack(losses)
        draw = jax.random.categorical(jax.random.fold_in(key, 0), jnp.log(jnp.cumsum(sizes)))
        if _alike(batches):
            batch = jax.tree.map(lambda *all_of: jax.lax.select_n(draw, *all_of), *batches)
            return one(state, draw + 1, batch, key)
        branches = [lambda k=k, batch=batch: one(state, k, batch, key) for k, batch in enumerate(batches, 1)]
        return jax.lax.switch(draw, branches)

    def update_hyper(state: State, batch: Any, keys: tuple[PRNGKeyArray, PRNGKeyArray]) -> State:
        def objective(hyper: PyTree) -> Any:
            return out_of_sample_loss(loglik, state.params, part, hyper, batch.oos, sizes, keys[1], rest=state.rest)

        (_, oos), grads = jax.value_and_grad(objective, has_aux=True)(state.hyper)
        if response != "none":
            assert response_lr is not None
            through_weights = response_gradient(
                loglik,
                state.params,
                part,
                state.hyper,
                batch.train,
                batch.oos,
                sizes,
                keys,
                lr=response_lr,
                terms=terms if response == "neumann" else 0,
                train_loglik=train_loglik,
                regulariser=regulariser,
                rest=state.rest,
            )
            grads = jax.tree.map(jnp.add, grads, through_weights)
        updates, hyper_opt = hyper_tx.update(grads, state.hyper_opt, state.hyper)
        hyper = optax.apply_updates(state.hyper, updates)
        return state._replace(hyper=hyper, hyper_opt=hyper_opt, oos=oos.astype(state.oos.dtype))

    def hyper_step(state: State, batch: Any, keys: tuple[PRNGKeyArray, PRNGKeyArray], index: Array) -> State:
        """`update_hyper` where it is due after update number `index`."""
        if hyper_every == 1 and burn_in == 0:
            return update_hyper(state, batch, keys)
        due = (index >= burn_in) & ((index - burn_in + 1) % hyper_every == 0)

        # What a step without a hyper step leaves as it is. Update 0 brings the first losses for the metrics.
        def keep(new: State) -> State:
            same = state._replace(oos=jnp.where(index == 0, new.oos, state.oos))
            return jax.tree.map(lambda there, here: jnp.where(due, there, here), new, same)

        def small(state: State) -> tuple[Any, ...]:
            return state.hyper, state.hyper_opt, state.oos

        def branch() -> tuple[Any, ...]:
            new = update_hyper(state, batch, keys)
            return small(keep(new))

        if has_convolution(branch):  # XLA on the CPU runs a convolution inside a branch ten times slower
            hyper, hyper_opt, oos = branch()
        else:
            hyper, hyper_opt, oos = jax.lax.cond(due | (index == 0), branch, lambda: small(state))
        return state._replace(hyper=hyper, hyper_opt=hyper_opt, oos=oos)

    def step(state: State, batch: Any, key: PRNGKeyArray) -> tuple[State, Metrics]:
        keys = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        index = state.step
        state, losses = update_weights(state, batch.train, keys[0])
        state = hyper_step(state, batch, keys, index)
        shares = sizes[1:] / sizes[1:].sum()
        metrics = {"loss": losses.mean(), "oos": shares.astype(state.oos.dtype) @ state.oos}
        if losses.ndim:
            metrics |= {f"loss/{k}": losses[k - 1] for k in range(1, num + 1)}
        metrics |= {f"oos/{k}": state.oos[k - 2] for k in range(2, num + 1)}
        return state._replace(step=index + 1), metrics

    return step


def _alike(batches: Any) -> bool:
    """Whether the batches have the same shapes and dtypes."""
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), batch) for batch in batches]
    return all(shape == shapes[0] for shape in shapes)


def _check_settings(
    num: int,
    sizes: Any,
    schedule: str,
    hyper_every: int,
    burn_in: int,
    response: str,
    response_lr: float | int | None,
    terms: int,
) -> None:
    if num < 2:
        raise ValueError(f"the partition has K = {num}, but K >= 2 needed: with one chunk nothing is out of sample")
    if len(sizes) != num:
        raise ValueError(f"{len(sizes)} sizes of shards given, but the weights have {num} partitions; give one each")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, but is {schedule!r}")
    if response not in RESPONSES:
        raise ValueError(f"response must be one of {', '.join(RESPONSES)}, but is {response!r}")
    if hyper_every < 1 or burn_in < 0:
        raise ValueError(
            f"hyper_every must be at least 1 and burn_in at least 0, but they are {hyper_every} and {burn_in}"
        )
    if response != "none" and (response_lr is None or response_lr <= 0):
        raise ValueError(f"response={response!r} needs response_lr > 0, the rate of a gradient step, not {response_lr}")
    if terms < 0:
        raise ValueError(f"terms must not be negative, but is {terms}")
