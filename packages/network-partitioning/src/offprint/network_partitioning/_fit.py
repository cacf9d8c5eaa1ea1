"""Training on your own data in one call."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray

from offprint.core import train as core
from offprint.network_partitioning._aggregate import Aggregate, Loss
from offprint.network_partitioning._checks import check_hyper_gradient
from offprint.network_partitioning._hyper import LearnedScale
from offprint.network_partitioning._network import Network, hyper_values
from offprint.network_partitioning._objective import log_densities, loss_of
from offprint.network_partitioning._optimiser import partitioned
from offprint.network_partitioning._partition import Partition, partition, subnetwork
from offprint.network_partitioning._proportions import FROZEN
from offprint.network_partitioning._result import Result, in_chunks
from offprint.network_partitioning._shards import ShardedBatches, assign_shards
from offprint.network_partitioning._train import State, init_state, make_step

Shares = Sequence[float | int] | np.ndarray


def fit(
    model: nnx.Module,
    hyper: Any,
    data: tuple[Any, Any],
    *,
    steps: int,
    key: PRNGKeyArray,
    chunks: Shares = (0.8, 0.2),
    parameters: Shares | None = None,
    scheme: Any = "random_weight",
    loss: Loss = "cross_entropy",
    scale: float | int | LearnedScale = 1.0,
    batch_size: int | None = None,
    optimiser: optax.GradientTransformation | None = None,
    hyper_optimiser: optax.GradientTransformation | None = None,
    schedule: str = "joint",
    hyper_every: int = 1,
    burn_in: int = 0,
    response: str = "none",
    response_lr: float | int | None = None,
    regulariser: Callable[[Any, Any], Any] | None = None,
    samples: int = 1,
    aggregate: Aggregate = "mean_logits",
    groups: Any = None,
    finetune: int = 0,
    validation: tuple[Any, Any] | None = None,
    log_every: int = 100,
    checkpoint: core.Checkpoint | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Result:
    """Train a network and its hyperparameters on all the data, in one run.

        result = fit(model, AffineAugmentation(), (images, labels), samples=4, batch_size=128, steps=5000, key=key)
        result.hyper.half_ranges, result.predict(new_images, key)

    Defaults are our choices.

    Args:
        model: a flax NNX module, called as `model(x)`, with `key=` and `train=` where its signature has them. It isn't
            changed. Its `Hyper` variables (learned dropout rates) are hyperparameters. Running statistics of batch
            normalisation are kept for every subnetwork.
        hyper: what else is learned out of sample: an input module (`AffineAugmentation`, `ConcreteMask`, one of your
            own called as `hyper(x, key, samples)`), or an NNX filter of weights of `model`, such as
            `nnx.PathContains("stem")`, or None.
        data: (x, y) with a first axis of n examples. For "cross_entropy" y holds classes 0..C-1.
        steps: updates.
        key: of the shards, the partition, batches and noise.
        chunks: (K,) the shards' shares of the data.
        parameters: (K,) the partitions' shares of the weights; those of `chunks` by default.
        scheme: how the weights are partitioned, see `partition`.
        loss: "cross_entropy", "gaussian", or a function of outputs and y giving n negative log-densities in nats.
        scale: temperature or σ: a number, or a `LearnedScale` to be learned out of sample.
        batch_size: examples of a training batch of each partition, and of the out-of-sample batches together. None:
            all of them.
        optimiser: the weights', Adam with rate 1e-3 by default.
        hyper_optimiser: the hyperparameters', Adam with rate 1e-2 by default, 5e-3 below 1000 examples: with higher
            rates they over-fit what is out of sample.
        schedule, hyper_every, burn_in, response, response_lr, regulariser: see `make_step`.
        samples: draws of the model's randomness per example, in training, out of sample and prediction.
        aggregate: how they are combined, see `averaged`.
        groups: (n,) examples of one group (a patient) go to one shard.
        finetune: further updates in which all partitions are trained on all data, with the hyperparameters held. The
            result's `nll_matrix` and `log_marginal` are still those before.
        validation: (x, y) to report `val_nll` (and `val_accuracy`) on, every `log_every` steps. Nothing learns from it.
        log_every: steps that a row of the history averages over.
        checkpoint: save there, and go on from there.
        mesh: devices that share every batch.
        progress: draw a bar, if standard error is a terminal.

    Returns:
        A `Result`.

    Raises:
        TypeError: the model is no NNX module, or the key is no typed key.
        ValueError: data, shares or settings that don't serve, or a hyperparameter without a gradient; the message
            says which, and what to do.
        NonFiniteError: a loss or hyperparameter is no longer finite: its name, the step, the last good checkpoint.
    """
    x, y = _checked_data(data, loss)
    shares = chunks if parameters is None else parameters
    if len(chunks) != len(shares):
        raise ValueError(
            f"chunks has {len(chunks)} shares and parameters {len(shares)}: each partition needs a shard of its own"
        )
    for_shards, for_partition, for_steps, for_check, for_result = jax.random.split(key, 5)
    network = Network(model, hyper, loss=loss, scale=scale, samples=samples, aggregate=aggregate)
    if loss == "cross_entropy":
        _check_classes(network, x, y, for_check)
    stratify = np.asarray(y) if loss == "cross_entropy" else None
    shards = assign_shards(len(y), chunks, key=for_shards, stratify=stratify, groups=groups)
    part = partition(network.params, shares, scheme=scheme, key=for_partition)
    tx = optimiser or optax.adam(1e-3)
    hyper_tx = hyper_optimiser or optax.adam(1e-2 if len(y) >= 1000 else 5e-3)
    batches = ShardedBatches((x, y), shards, batch_size)
    start = init_state(network.params, part, network.hyper, tx, hyper_tx, rest=network.statistics)

    def step_of(part: Partition) -> Callable[[State, Any, PRNGKeyArray], tuple[State, dict[str, Array]]]:
        return make_step(
            network.loglik,
            part,
            tx,
            hyper_tx,
            sizes=batches.sizes,
            schedule=schedule,
            hyper_every=hyper_every,
            burn_in=burn_in,
            response=response,
            response_lr=response_lr,
            regulariser=regulariser,
        )

    def step(carried: tuple[State, Partition], batch: Any, key: PRNGKeyArray) -> Any:
        state, part = carried  # the partition is an argument of the program: as a constant it would be compiled in
        state, metrics = step_of(part)(state, batch, key)
        return (state, part), metrics | hyper_values(state.hyper)

    step_of(part)  # says what is wrong with the settings
    if response == "none" and network.hyper:
        oos = batches.batch_at(0, for_check).oos
        check_hyper_gradient(
            network.loglik, start.params, part, start.hyper, oos, batches.sizes, for_check, rest=start.rest
        )
    done = core.fit(
        step,
        (start, part),
        batches,
        num_steps=steps,
        key=for_steps,
        evaluate=None if validation is None else _validation(network, validation, loss, for_check),
        eval_every=log_every,
        log_every=log_every,
        checkpoint=checkpoint,
        mesh=mesh,
        progress=progress,
    )
    state, part = done.state
    final = subnetwork(state.params, part, part.num), jax.tree.map(lambda sets: sets[-1], state.rest)
    if finetune:
        below = None if checkpoint is None else replace(checkpoint, directory=Path(checkpoint.directory) / "finetune")
        everything = core.Minibatches((x, y), min(batch_size or len(y), len(y)))
        final = _finetuned(
            network, final, part, state.hyper, tx, everything,
            num_steps=finetune, key=jax.random.fold_in(for_steps, 1), checkpoint=below, mesh=mesh, progress=progress,
        )  # fmt: skip
    return Result(
        model=network.module(final[0], state.hyper, final[1]),
        hyper=_learned(hyper, state.hyper, "inputs") if isinstance(hyper, nnx.Module) else state.hyper,
        scale=_learned(scale, state.hyper, "scale") if isinstance(scale, nnx.Module) else scale,
        history=done.history,
        partition=part,
        shards=shards,
        state=state,
        stopped=done.stopped,
        network=network,
        data=(x, y),
        final=final,
        key=for_result,
    )


def _checked_data(data: Any, loss: Loss) -> tuple[Array, Array]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(f"data must be a pair (x, y), but is a {type(data).__name__}")
    x, y = jax.tree.map(jnp.asarray, data[0]), jnp.asarray(data[1])
    if loss == "cross_entropy" and (y.ndim != 1 or not jnp.issubdtype(y.dtype, jnp.integer)):
        raise ValueError(
            f"loss='cross_entropy' needs y with one integer class per example, (n,), but y has shape {y.shape} and "
            f"dtype {y.dtype}"
        )
    if loss == "cross_entropy" and len(y) and int(y.min()) < 0:
        raise ValueError(
            f"y[{int(y.argmin())}] is {int(y.min())}, but classes are counted from 0: leave unlabelled examples out"
        )
    for leaf in [*jax.tree.leaves(x), y]:
        if not bool(jnp.isfinite(leaf).all()):
            where = tuple(map(int, np.argwhere(~np.isfinite(np.asarray(leaf)))[0]))
            raise ValueError(f"the data have a number that is not finite, at {where} of an array {leaf.shape}")
    return x, y


def _check_classes(network: Network, x: Any, y: Array, key: PRNGKeyArray) -> None:
    """Raise ValueError if there are more classes than outputs: JAX would take NaN for what is out of range."""
    statistics = jax.tree.map(jnp.asarray, network.statistics)
    one = jax.tree.map(lambda leaf: leaf[:1], x)
    outputs = jax.eval_shape(network.predict(statistics, train=False), network.params, network.hyper, one, key)
    if int(y.max()) >= outputs.shape[-1]:
        raise ValueError(
            f"the largest class is {int(y.max())}, so that {int(y.max()) + 1} outputs are needed, but the model has "
            f"{outputs.shape[-1]}"
        )


def _learned(module: nnx.Module, hyper: Any, name: str) -> nnx.Module:
    """A copy of the module with what was learned."""
    learned: nnx.Module = nnx.clone(module)
    nnx.update(learned, hyper[name])
    return learned


def _validation(
    network: Network, data: tuple[Any, Any], loss: Loss, key: PRNGKeyArray
) -> Callable[[tuple[State, Partition]], dict[str, float]]:
    """The reported losses of the whole network on data that nothing learns from."""
    data = _checked_data(data, loss)

    @jax.jit
    def measure(state: State, part: Partition, rows: Any, key: PRNGKeyArray) -> Array:
        params = subnetwork(state.params, part, part.num)
        values, _ = log_densities(network.loglik, params, state.hyper, state.rest, part.num, rows, key, train=False)
        if loss != "cross_entropy":
            return values[:, None]
        statistics = jax.tree.map(lambda sets: sets[-1], state.rest)
        outputs = network.predict(statistics, train=False)(params, state.hyper, rows[0], key)
        return jnp.stack([values, (outputs.argmax(-1) == rows[1]).astype(values.dtype)], axis=1)

    def evaluate(carried: tuple[State, Partition]) -> dict[str, float]:
        columns = np.asarray(in_chunks(lambda rows, key: measure(*carried, rows, key), data, key)).mean(0)
        names = ("val_nll", "val_accuracy")
        return dict(zip(names, (-float(columns[0]), *map(float, columns[1:])), strict=False))

    return evaluate


def _finetuned(
    network: Network,
    final: tuple[Any, Any],
    part: Partition,
    hyper: Any,
    tx: optax.GradientTransformation,
    batches: Any,
    **settings: Any,
) -> tuple[Any, Any]:
    """Weights and statistics after training all partitions on all data, with the hyperparameters held."""
    ids = jax.tree.map(lambda ids: jnp.where(ids == FROZEN, FROZEN, 0).astype(ids.dtype), part.ids)
    whole = Partition(ids, part.default, 1)
    params, statistics = final
    sets = jax.tree.map(lambda one: jnp.stack([one, one]), statistics)  # of subnetworks 0 and 1

    def step(carried: Any, batch: Any, key: PRNGKeyArray) -> Any:
        params, opt, rest, hyper, whole = carried

        def objective(params: Any) -> Any:
            fixed = jax.lax.stop_gradient(params)
            return loss_of(network.loglik, params, fixed, whole, 1, hyper, batch, key, None, rest)

        (loss, rest), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt = partitioned(tx, whole).update(grads, opt, params, active=1)
        return (optax.apply_updates(params, updates), opt, rest, hyper, whole), {"loss": loss}

    start = params, partitioned(tx, whole).init(params), sets, hyper, whole
    params, _, sets, _, _ = core.fit(step, start, batches, **settings).state
    return params, jax.tree.map(lambda sets: sets[-1], sets)
