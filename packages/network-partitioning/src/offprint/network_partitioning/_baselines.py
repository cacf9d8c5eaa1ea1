"""What one would do otherwise: leave ψ fixed, learn it on the training loss, on validation data, or search."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from offprint.network_partitioning._aggregate import Loglik
from offprint.network_partitioning._objective import Stateful
from offprint.network_partitioning._shards import ShardedBatch
from offprint.network_partitioning._train import State

Method = Literal["none", "fixed", "training", "augerino", "validation"]
Penalty = Callable[[Any], Float[Array, ""]]
"""`penalty(hyper)`, a number that is added to the training loss."""


def init_baseline_state(
    params: PyTree,
    hyper: PyTree,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
    *,
    rest: PyTree | None = None,
) -> State:
    """The state in which a baseline starts: one network, whose optimiser and statistics are ordinary ones.

    Args:
        params: w.
        hyper: ψ, a pytree of floating arrays; None or an empty one for "none".
        tx, hyper_tx: the optimisers, as `make_baseline_step` gets them.
        rest: with `Stateful` the model's statistics, one set.
    """
    dtype = jnp.result_type(*jax.tree.leaves(params))
    return State(params, hyper, tx.init(params), hyper_tx.init(hyper), rest, jnp.int32(0), jnp.zeros(1, dtype))


def make_baseline_step(
    loglik: Loglik | Stateful,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
    *,
    method: Method = "training",
    penalty: Penalty | None = None,
) -> Callable[[State, ShardedBatch, PRNGKeyArray], tuple[State, dict[str, Array]]]:
    """A training step without partitions, on the batches of partitioned training, to compare it with.

    Args:
        loglik: the log-density of each example; see `Loglik` and `Stateful` (here with one set of statistics).
        tx: the weights' optimiser.
        hyper_tx: the hyperparameters' optimiser.
        method: "none": there are no hyperparameters. "fixed": they stay as they are. Both train on all shards.
            "training": weights and hyperparameters descend the same training loss. "augerino": the same, with a
            penalty that rewards wide augmentation, `width_penalty()` if none is given (Benton et al. 2020).
            "validation": the last shard is kept from the weights, and after each of their updates the
            hyperparameters descend the loss on it. To fine-tune on all data afterwards, go on from the same state
            with a step of "fixed".
        penalty: added to the training loss, with "training" and "augerino" only.

    Returns:
        `step(state, batch, key) -> (state, metrics)` for `offprint.core.train`, where `batch` is a `ShardedBatch` and
        `state` from `init_baseline_state`. Metrics, in nats per example: `loss` of training without the penalty;
        with "validation" also `oos`.

    Raises:
        ValueError: an unknown method, or a penalty that it doesn't use; when traced, hyperparameters with "none", or
            with "validation" a single shard.
    """
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is unknown; one of {', '.join(map(repr, get_args(Method)))} is needed")
    if penalty is not None and method not in ("training", "augerino"):
        raise ValueError(f"a penalty is for method='training' or 'augerino', not for {method!r}")
    if method == "augerino":
        penalty = penalty or width_penalty()
    learns_together = method in ("training", "augerino")

    def negative(params: PyTree, hyper: PyTree, rest: PyTree, batch: Any, key: Any, train: bool) -> tuple[Array, Any]:
        if isinstance(loglik, Stateful):
            values, rest = loglik.function(params, hyper, rest, batch, key, train)
        else:
            values = loglik(params, hyper, batch, key)
        return -values.mean(), rest

    def objective(both: tuple[PyTree, PyTree], rest: PyTree, batch: Any, key: PRNGKeyArray) -> tuple[Array, Any]:
        params, hyper = both
        loss, rest = negative(params, hyper, rest, batch, key, True)
        return loss if penalty is None else loss + penalty(hyper), (loss, rest)

    def update_hyper(state: State, grads: PyTree) -> State:
        updates, hyper_opt = hyper_tx.update(grads, state.hyper_opt, state.hyper)
        return state._replace(hyper=optax.apply_updates(state.hyper, updates), hyper_opt=hyper_opt)

    def step(state: State, batch: ShardedBatch, key: PRNGKeyArray) -> tuple[State, dict[str, Array]]:
        _check_batch(method, state, batch)
        train = batch.train[-2 if method == "validation" else -1]
        together = jax.value_and_grad(objective, has_aux=True)
        if learns_together:
            (_, (loss, rest)), (grads, hyper_grads) = together(
                (state.params, state.hyper), state.rest, train, jax.random.fold_in(key, 0)
            )
            state = update_hyper(state, hyper_grads)
        else:
            (_, (loss, rest)), grads = jax.value_and_grad(
                lambda params: objective((params, state.hyper), state.rest, train, jax.random.fold_in(key, 0)),
                has_aux=True,
            )(state.params)
        updates, opt = tx.update(grads, state.opt, state.params)
        state = state._replace(params=optax.apply_updates(state.params, updates), opt=opt, rest=rest)
        metrics = {"loss": loss}
        if method == "validation":
            (oos, _), hyper_grads = jax.value_and_grad(
                lambda hyper: negative(
                    state.params, hyper, state.rest, batch.oos[-1], jax.random.fold_in(key, 1), False
                ),
                has_aux=True,
            )(state.hyper)
            state = update_hyper(state, hyper_grads)._replace(oos=oos[None].astype(state.oos.dtype))
            metrics["oos"] = oos
        return state._replace(step=state.step + 1), metrics

    return step


def _check_batch(method: str, state: State, batch: ShardedBatch) -> None:
    if method == "none" and jax.tree.leaves(state.hyper):
        raise ValueError(
            f"method='none' has no hyperparameters, but the state holds {len(jax.tree.leaves(state.hyper))} arrays of "
            "them; use 'fixed' to leave them as they are"
        )
    if method == "validation" and len(batch.train) < 2:
        raise ValueError("method='validation' keeps the last shard from the weights, but there is only one shard")


def softplus_widths(hyper: PyTree) -> Float[Array, " widths"]:
    """softplus of everything in ψ, in one vector: the widths of Augerino's layer, half of them for "softplus_half"."""
    return jnp.concatenate([jax.nn.softplus(jnp.ravel(leaf)) for leaf in jax.tree.leaves(hyper)])


def width_penalty(
    strength: float | int = 0.01, widths: Callable[[Any], Float[Array, " widths"]] = softplus_widths
) -> Penalty:
    """Augerino's regulariser, -strength |widths|₂: without it the training loss would close every range.

    Args:
        strength: 0.01 to 0.1 are usual; it has to be tuned, which is what validation data would be needed for.
        widths: from ψ to the vector of widths.

    Raises:
        ValueError: a negative strength.

    Source: Benton et al. 2020 and its public code.
    """
    if not strength >= 0:
        raise ValueError(f"strength={strength} must not be negative: the penalty rewards wide ranges")

    def penalty(hyper: Any) -> Array:
        square = (widths(hyper) ** 2).sum()
        # a norm without the infinite slope at zero
        return -strength * jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    return penalty


def optuna_objective(
    suggest: Callable[[Any], Any], run: Callable[[Any], Iterable[Array | float]]
) -> Callable[[Any], float]:
    """An objective for an Optuna study that ranks by the marginal likelihood instead of by validation data.

    It returns -L_ML, which a study minimises as it does by default, and reports every intermediate value, so that
    Optuna's pruners can stop a trial. Optuna comes with the extra `offprint-network-partitioning[optuna]`.

    Args:
        suggest: from a trial to a configuration, such as `lambda trial: trial.suggest_float("lr", 1e-4, 1e-1)`.
        run: from a configuration to L_ML as training goes on (`log_marginal` every so many steps), an iterable; the
            last value counts.

    Returns:
        `objective(trial)` for `study.optimize`. It raises `optuna.TrialPruned` where the pruner says so, and
        ValueError when `run` yields nothing.
    """

    def objective(trial: Any) -> float:
        value = None
        for number, log_ml in enumerate(run(suggest(trial))):
            value = -float(log_ml)
            trial.report(value, number)
            if trial.should_prune():
                import optuna

                raise optuna.TrialPruned(f"-L_ML is {value:.6g} after {number + 1} reports")
        if value is None:
            raise ValueError("run(configuration) yielded no value; it must yield L_ML at least once, at the end")
        return value

    return objective
