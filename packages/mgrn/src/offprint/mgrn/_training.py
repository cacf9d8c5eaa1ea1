"""The training of an estimator's network: epochs, validation, the best weights."""

import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int, PyTree, Shaped

from offprint.core.train import Callback, EarlyStopping, Evaluation, Event, Minibatches, TrainState, fit
from offprint.mgrn._network import SequenceModel, make_step
from offprint.mgrn._tasks import Task, score_of_means

Row = dict[str, Any]


class Examples(NamedTuple):
    """Sequences with their encoded targets."""

    x: Float[np.ndarray, "n time features"]
    lengths: Int[np.ndarray, " n"] | None
    y: Shaped[np.ndarray, "n *outputs"]


@dataclass(frozen=True)
class Plan:
    """How long and how to train, and what to keep."""

    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int
    monitor: Literal["loss", "score"]
    early_stopping: int | None
    restore_best: bool
    seed: int
    verbose: bool


class Trained(NamedTuple):
    """What training gives."""

    network: SequenceModel
    history: list[Row]
    best_epoch: int


def train_network(
    network: SequenceModel, task: Task, examples: Examples, validation: Examples | None, plan: Plan
) -> Trained:
    """Train until the epochs are over or the validation data improve no more.

    Args:
        network: with its initial weights, which stay as they are.
        task: whose loss is minimised.
        examples: of which a new random order is made every epoch; those that do not fill a batch wait for the next.
        validation: evaluated after every epoch; None for none.
        plan: the settings.
    """
    batches = Minibatches(tuple(examples), min(plan.batch_size, len(examples.x)))
    epoch = batches.steps_per_epoch
    monitored, mode = f"val_{plan.monitor}", "min" if plan.monitor == "loss" else "max"
    log = _Epochs(epoch, monitored, mode, keep=plan.restore_best and validation is not None)
    stopping = [] if plan.early_stopping is None else [EarlyStopping(monitored, plan.early_stopping, mode=mode)]
    kind: Any = type(task)
    result = fit(
        make_step(kind),
        TrainState.create(network, plan.optimizer),
        batches,
        num_steps=plan.epochs * epoch,
        key=jax.random.key(plan.seed),
        evaluate=None if validation is None else _evaluation(task, validation),
        eval_every=epoch,
        log_every=epoch,
        callbacks=[log, *stopping],
        chunk=epoch,
        progress=plan.verbose,
    )
    state = result.state if log.params is None else _with_params(result.state, log.params)
    trained: Any = state.model
    return Trained(trained, log.rows, log.best_epoch)


def _with_params(state: TrainState, params: PyTree) -> TrainState:
    return TrainState(params, state.rest, state.opt_state, state.graphdef, state.tx)


def _evaluation(task: Task, validation: Examples) -> Any:
    """`evaluate(state)` with the loss and the score on the validation data."""

    def metrics(model: Any, batch: Any) -> Row:
        outputs = model(batch.x, lengths=batch.lengths)
        return {"val_loss": task.losses(outputs, batch.y), "val_score": task.scores(outputs, batch.y)}

    means = Evaluation(metrics, validation, batch_size=512)

    def evaluate(state: TrainState) -> Row:
        values = means(state)
        return {"val_loss": values["val_loss"], "val_score": score_of_means(values["val_score"], validation.y)}

    return evaluate


class _Epochs(Callback):
    """Collects a row for every epoch, and keeps the weights of the best one in memory."""

    def __init__(self, steps_per_epoch: int, metric: str, mode: str, *, keep: bool):
        self._steps, self._metric, self._keep = steps_per_epoch, metric, keep
        self._sign, self._best = 1.0 if mode == "min" else -1.0, np.inf
        self._began = time.perf_counter()
        self.rows: list[Row] = []
        self.params: PyTree | None = None
        self.best_epoch = 0

    def __call__(self, event: Event) -> None:
        epoch = event.step // self._steps
        metrics = {name: value for name, value in event.row.items() if name != "step"}
        self.rows.append({"epoch": epoch, **metrics, "seconds": time.perf_counter() - self._began})
        if not self._keep:
            self.best_epoch = epoch
        elif (value := self._sign * event.row[self._metric]) < self._best:
            self._best, self.best_epoch = value, epoch
            self.params = jax.tree.map(jnp.copy, event.state.params)  # the loop reuses the memory of its state
