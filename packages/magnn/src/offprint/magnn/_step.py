"""One step of training: its windows, its negatives, its loss, its update."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.core.train import Minibatches, TrainState, supervised_step
from offprint.magnn._config import Negatives, Regularizer
from offprint.magnn._loss import Loss, batch_loss
from offprint.magnn._negatives import SeenItems, sample_negatives
from offprint.magnn._sequences import Sequences
from offprint.magnn._shard import constrain_items
from offprint.magnn._windows import Batch, Windows, gather

NEGATIVE_SETS = 50
"""Sets of negatives that "per_user_epoch" draws for each user in an epoch."""


class TrainingBatch(NamedTuple):
    """What a step is given."""

    windows: Batch
    negatives: Int[Array, "batch negatives"] | None
    """Items that the users have not had in training."""
    log_q: Float[Array, "batch 1"] | None
    """Log of the probability of each draw, where the loss needs it."""


@jax.tree_util.register_pytree_with_keys_class
class WindowBatches:
    """Windows in a new order in every epoch, gathered on the device, with negatives drawn there.

    The batch of a step depends on the key and the step alone.

    Args:
        sequences: training sequences.
        windows: made of them.
        seen: made of them; None for a loss without negatives.
        batch_size: windows in a step.
        kind: how negatives are drawn.
        num_negatives: for each window.
        weighs: whether the loss needs the probability of each draw.
    """

    def __init__(
        self,
        sequences: Sequences,
        windows: Windows,
        seen: SeenItems | None,
        batch_size: int,
        *,
        kind: Negatives,
        num_negatives: int,
        weighs: bool,
    ):
        self.minibatches = Minibatches((windows.users, windows.ends), batch_size)
        # Without ids and counts, which would make programs of their own.
        self.sequences = jax.device_put(Sequences(sequences.indptr, sequences.items, sequences.num_items))
        self.seen = seen
        self.lengths = (windows.L, windows.T, windows.max_long)
        self.kind, self.num_negatives, self.weighs = kind, num_negatives, weighs

    def tree_flatten_with_keys(self) -> tuple[tuple, tuple]:
        children = tuple((jax.tree_util.GetAttrKey(n), getattr(self, n)) for n in ("minibatches", "sequences", "seen"))
        return children, (self.lengths, self.kind, self.num_negatives, self.weighs)

    @classmethod
    def tree_unflatten(cls, static: tuple, children: tuple) -> "WindowBatches":
        batches = object.__new__(cls)
        batches.minibatches, batches.sequences, batches.seen = children
        batches.lengths, batches.kind, batches.num_negatives, batches.weighs = static
        return batches

    @property
    def size(self) -> int:
        """All windows."""
        return self.minibatches.size

    @property
    def batch_size(self) -> int:
        """Windows in a step."""
        return self.minibatches.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the windows are gone through once."""
        return self.minibatches.steps_per_epoch

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> TrainingBatch:
        """The windows and negatives of global step `step`."""
        for_order, for_negatives = jax.random.split(key)
        users, ends = self.minibatches.batch_at(step, for_order)
        batch = gather(self.sequences, Windows(users, ends, *self.lengths), jnp.arange(self.batch_size))
        if self.seen is None:
            return TrainingBatch(batch, None, None)
        log_q = -jnp.log(self.seen.num_unseen(users).astype(jnp.float32))[:, None] if self.weighs else None
        return TrainingBatch(batch, self._negatives(users, jnp.asarray(step), for_negatives), log_q)

    def _negatives(self, users: Array, step: Array, key: PRNGKeyArray) -> Int[Array, "batch negatives"]:
        assert self.seen is not None
        if self.kind == "per_window":
            return sample_negatives(jax.random.fold_in(key, step), users, self.seen, self.num_negatives)
        epoch, within = jnp.divmod(step, self.steps_per_epoch)
        key = jax.random.fold_in(jax.random.fold_in(key, epoch), within % NEGATIVE_SETS)
        everybody = jnp.arange(self.seen.num_users, dtype=users.dtype)
        return sample_negatives(key, everybody, self.seen, self.num_negatives)[users]


@dataclass(frozen=True)
class WindowStep:
    """A step over `TrainState`. Equal settings make equal steps, whose compiled programs serve again."""

    loss: Loss
    penalty: float | int
    """λ of "batch_l2", else 0."""
    num_items: int
    mesh: Mesh | None
    """Item tables, and what Adam keeps of them, are divided over it."""

    def __call__(self, state: TrainState, batch: TrainingBatch, key: PRNGKeyArray) -> tuple[TrainState, dict[str, Any]]:
        state, metrics = supervised_step(self._objective)(constrain_items(state, self.mesh, self.num_items), batch, key)
        return constrain_items(state, self.mesh, self.num_items), metrics

    def _objective(self, model: Any, batch: TrainingBatch, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        windows, negatives, log_q = batch
        total = batch_loss(model, windows, negatives, self.loss, log_q=log_q)
        # The paper's loss is a sum; its mean over the targets is easier to read.
        targets = jnp.maximum((windows.targets >= 0).sum(), 1)
        metrics = {"loss": total / targets.astype(total.dtype)}
        if self.penalty:
            total = total + self.penalty * squares_used(model, batch)
        return total, metrics


def squares_used(model: Any, batch: TrainingBatch) -> Float[Array, ""]:
    """‖·‖² of the parameters that a batch uses: of a table its rows, each once; of anything else all."""
    windows, negatives, _ = batch
    inputs = [windows.short, windows.long]
    outputs = [windows.targets] if negatives is None else [windows.targets, negatives]
    params = nnx.state(model, nnx.Param)
    if "Q" not in params:  # one table for both
        inputs = inputs + outputs
    rows: dict[str, list[Array]] = {"P": [windows.users], "E": inputs}
    if negatives is not None:  # else every item is scored
        rows |= {"Q": outputs, "b": outputs}
    total: Any = 0.0
    for path, value in jax.tree_util.tree_flatten_with_path(params)[0]:
        squares = jnp.square(value)
        if (name := path[0].key) in rows:
            ids = jnp.concatenate([ids.ravel() for ids in rows[name]])
            used = jnp.zeros(len(value), bool).at[ids].set(True, mode="drop", wrap_negative_indices=False)
            squares = jnp.where(used.reshape(-1, *(1,) * (value.ndim - 1)), squares, 0)
        total = total + squares.sum()
    return total


@lru_cache(maxsize=32)
def optimiser(lr: float | int, weight_decay: float | int, regularizer: Regularizer) -> optax.GradientTransformation:
    """Adam with the decay that was asked for; one object for the same settings."""
    if regularizer == "coupled":
        return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(lr))
    return optax.adamw(lr, weight_decay=weight_decay) if regularizer == "decoupled" else optax.adam(lr)
