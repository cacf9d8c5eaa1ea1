"""Training through core's loop, with the epoch chosen on the validation part."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray, PyTree

from offprint.core.train import (
    BestCheckpoint,
    Callback,
    Checkpoint,
    EarlyStopping,
    Event,
    FitResult,
    TrainState,
)
from offprint.core.train import fit as run_steps
from offprint.magnn._config import TrainConfig
from offprint.magnn._graph import ItemGraph, check_graph, item_graph
from offprint.magnn._metrics import evaluate
from offprint.magnn._negatives import seen_items
from offprint.magnn._queries import check_model
from offprint.magnn._recommend import check_enough_items, recommend
from offprint.magnn._sequences import Sequences
from offprint.magnn._split import Split
from offprint.magnn._step import WindowBatches, WindowStep, optimiser
from offprint.magnn._windows import windows

LONGEST_CHUNK = 1000
"""Steps in one call to the device, at most."""


@dataclass(frozen=True)
class Fitted:
    """What `fit` returns."""

    model: Any
    """The trained model, with the parameters of `best_epoch`."""
    history: list[dict[str, Any]] = field(repr=False)
    """A row for each epoch: `epoch`, `step`, `loss` (mean over targets, without the penalty), and after an evaluation
    `val_recall@10`, `val_ndcg@10` (at the K of `select`) and the metric that is selected on."""
    best_epoch: int
    """The epoch whose parameters the model has: the best one on the validation part, or the last."""
    result: FitResult = field(repr=False)
    """What the loop returned: the last state, and why it ended."""


def fit(
    model: Any,
    split: Split,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    key: PRNGKeyArray | None = None,
    *,
    checkpoint: str | Path | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback | Callable[[Event], str | None]] = (),
) -> Fitted:
    """Train a model on a split (Sec. "Training"), and keep the parameters that did best on the validation part.

    A model without an item graph gets that of the sequences that it is trained on; the test part is never looked
    at. To rank the test part with all that is known before it, train once more on both parts for as many epochs:

        found = fit(model, split, config, key)
        final = fit(model, split, config.refit(found.best_epoch), key)
        recommend(final.model, split.train_val)

    Args:
        model: MAGNN or a baseline with parameters; it stays as it is.
        split: from `split_ratio` or `split_leave_last`.
        config: settings.
        key: a typed key for order, negatives and dropout; `jax.random.key(0)` by default.
        checkpoint: a folder to save in at every evaluation, and to go on from: the result is the same to the last bit.
        mesh: divide every batch over the first axis of this mesh, and item tables where their rows divide evenly.
        progress: draw a bar, if standard error is a terminal.
        callbacks: as in core's `fit`; called after every epoch.

    Returns:
        The trained model (in evaluation mode), the history, and the best epoch.

    Raises:
        ValueError: a model for other numbers of users or items; a model without parameters; a graph with more pairs
            than the training sequences have; a user who has seen all items; no validation items to select on, or too
            few items to rank; sequences shorter than the model's window; fewer windows than devices.
        NonFiniteError: the loss is not finite.
    """
    key = jax.random.key(0) if key is None else key
    train = split.train if config.train_on == "train" else split.train_val
    check_model(model, train)
    graphdef, state = nnx.split(model)
    model = _with_graph(nnx.merge(graphdef, jax.tree.map(jnp.copy, state)), train)
    model.train()
    if not jax.tree.leaves(nnx.state(model, nnx.Param)):
        raise ValueError(f"{type(model).__name__} has no parameters to train; give it to recommend as it is")
    batches = _batches(model, train, config, mesh)
    epoch = batches.steps_per_epoch
    validate = _validation(split, config, mesh)
    penalty = config.weight_decay if config.regularizer == "batch_l2" else 0.0
    best = _best_kept(config, checkpoint)
    watched = [] if best is None else [best]
    if config.patience is not None:
        watched.append(EarlyStopping(f"val_{config.select}", config.patience, mode="max"))
    result = run_steps(
        WindowStep(config.loss, penalty, model.num_items, mesh),
        TrainState.create(model, optimiser(config.lr, config.weight_decay, config.regularizer)),
        batches,
        num_steps=config.epochs * epoch,
        key=key,
        evaluate=validate,
        eval_every=config.eval_every * epoch,
        log_every=epoch,
        callbacks=[*watched, *callbacks],
        checkpoint=None if checkpoint is None else Checkpoint(Path(checkpoint) / "run", config.eval_every * epoch),
        mesh=mesh,
        chunk=min(epoch, LONGEST_CHUNK),
        progress=progress,
        donate=True,  # the state was made here, of a copy
    )
    history = [{"epoch": row["step"] // epoch, **row} for row in result.history]
    best_epoch = result.step // epoch
    trained = result.state.model
    if best is not None:
        scores = {row["epoch"]: row[f"val_{config.select}"] for row in history if f"val_{config.select}" in row}
        best_epoch = max(scores, key=lambda epoch: scores[epoch])
        trained = best.restore(result.state).model
    trained.eval()
    return Fitted(trained, history, best_epoch, result)


class _KeptBest(Callback):
    """The parameters at which a metric was highest, in memory."""

    def __init__(self, metric: str):
        self.metric, self.value = metric, -math.inf
        self._kept: tuple[PyTree, PyTree] | None = None

    def __call__(self, event: Event) -> None:
        if event.row.get(self.metric, -math.inf) > self.value:
            self.value = event.row[self.metric]
            # The loop reuses the buffers of its state.
            self._kept = jax.tree.map(jnp.copy, (event.state.params, event.state.rest))

    def restore(self, template: TrainState) -> TrainState:
        if self._kept is None:
            raise LookupError(f"no parameters were kept: no row of the history held {self.metric!r}")
        params, rest = self._kept
        return TrainState(params, rest, template.opt_state, template.graphdef, template.tx)


def _best_kept(config: TrainConfig, checkpoint: str | Path | None) -> Any:
    if config.select is None:
        return None
    metric = f"val_{config.select}"
    return _KeptBest(metric) if checkpoint is None else BestCheckpoint(Path(checkpoint) / "best", metric, mode="max")


def _with_graph(model: Any, train: Sequences) -> Any:
    """The model with an item graph of nothing but the training sequences."""
    if getattr(model, "needs_graph", False):
        model.set_graph(item_graph(train))
    elif isinstance(graph := getattr(model, "graph", None), ItemGraph):
        check_graph(graph, train)
    return model


def _batches(model: Any, train: Sequences, config: TrainConfig, mesh: Mesh | None) -> WindowBatches:
    found = windows(train, model.L, config.T, model.max_long)
    devices = 1 if mesh is None else mesh.shape[mesh.axis_names[0]]
    if len(found) < devices:
        raise ValueError(f"{len(found)} windows cannot be divided over {devices} devices; use a smaller mesh")
    # Equal steps: none is ragged, and fewer windows than there are steps are left out of an epoch.
    steps = steps_in_epoch(len(found), config.batch_size)
    batch_size = max(len(found) // steps // devices, 1) * devices
    return WindowBatches(
        train,
        found,
        None if config.loss == "softmax" else seen_items(train),
        batch_size,
        kind=config.negatives,
        num_negatives=config.num_sampled if config.loss == "sampled_softmax" else config.T,
        weighs=config.loss == "sampled_softmax",
    )


def steps_in_epoch(num_windows: int, batch_size: int) -> int:
    """Steps of at most so many windows; a round number if there are many, so that chunks of many steps divide it."""
    steps = -(-num_windows // batch_size)
    return steps if steps <= LONGEST_CHUNK else -(-steps // 100) * 100


def _validation(split: Split, config: TrainConfig, mesh: Mesh | None) -> Callable[[TrainState], PyTree] | None:
    """What is measured between epochs: the validation items, ranked from the training items."""
    if config.train_on == "train_val":
        return None
    users = np.flatnonzero(split.val.lengths).astype(np.int32)
    if len(users) == 0:
        if config.select is None:
            return None
        raise ValueError(
            f"select={config.select!r} needs validation items, but the split has none; make a split with a validation "
            "part, or set select=None"
        )
    k = int(config.select.split("@")[1]) if config.select else 10
    names = sorted({f"recall@{k}", f"ndcg@{k}"} | ({config.select} if config.select else set()))
    check_enough_items(split.train, users, k)

    def validate(state: TrainState) -> dict[str, float]:
        model: Any = state.model
        lists = recommend(model, split.train, k, users=split.train.external_users(users), mesh=mesh)
        found = evaluate(lists.items, split.val, (k,), users).as_dict()
        return {f"val_{name}": found[name] for name in names}

    return validate
