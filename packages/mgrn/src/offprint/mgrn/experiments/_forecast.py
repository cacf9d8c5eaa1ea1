"""Training for the simulation study: RMSprop on windows of the simulated series, many members at once."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from offprint.core.train import Minibatches, TrainState
from offprint.mgrn.data import SimulatedPair, Split, chronological_split, order_columns, published_split, standardize
from offprint.mgrn.data._published import PUBLISHED_LENGTH
from offprint.mgrn.data._windows import ColumnOrder
from offprint.mgrn.experiments._members import Metrics, choose, maker, measure, new_members, run_epoch

WINDOW = 5
_CHUNK = 5000  # windows evaluated at a time

RMSPROP = optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False, bias_correction=False)
"""PyTorch's RMSprop without its learning rate: epsilon outside the square root."""


@dataclass(frozen=True)
class Variant:
    """A model of Table 1.

    Attributes:
        family: row of the published table.
        model: as in `make_network`.
        groups: sizes of the groups of the 16 columns.
        hidden: H.
        size_of: s.
    """

    family: str
    model: str
    groups: tuple[int, ...]
    hidden: int
    size_of: int = 1

    @property
    def label(self) -> str:
        """Family and sizes, as in the published sheets."""
        grouped = len(self.groups) > 1 and self.model in ("mgrn", "channelwise")
        return f"{self.family} ({self.hidden},{self.size_of})" if grouped else f"{self.family} ({self.hidden})"


class Forecasting(NamedTuple):
    """Data sets of the study, on the device; P pairs of T rows."""

    series: Float[Array, "pairs time columns"]
    """Standardised by the training rows, columns in the order of the groups; float32."""
    target: Float[Array, "pairs time"]
    """Forecast from the window that ends a row before: 100 y1 y2."""
    expected: Float[Array, "pairs time"]
    """The target's conditional mean given the rows before it."""


class Own(NamedTuple):
    """What a member has for itself; under vmap a leading axis of members."""

    pair: Int[Array, ""]
    """Row of `Forecasting`."""
    learning_rate: Float[Array, ""]
    """0 leaves the member as it is."""


def split_of(rows: int) -> Split:
    """The study's split of its windows, or, of another number of rows, one by the same shares."""
    return published_split() if rows == PUBLISHED_LENGTH else chronological_split(rows - WINDOW)


def first_rows(pair: SimulatedPair, rows: int) -> SimulatedPair:
    """The beginning of a series."""
    return replace(pair, series=pair.series[:rows], conditional_mean=pair.conditional_mean[:rows])


def load_pairs(pairs: list[SimulatedPair], column_order: ColumnOrder) -> Forecasting:
    """Those data sets as the models read them."""
    split = split_of(len(pairs[0].series))
    series = [standardize(order_columns(np.asarray(one.series), column_order), train=split.train) for one in pairs]
    expected = [np.concatenate([[np.nan], np.asarray(one.conditional_mean)[:-1]]) for one in pairs]
    targets = [np.asarray(one.target) for one in pairs]
    return Forecasting(*(jnp.asarray(np.stack(part), jnp.float32) for part in (series, targets, expected)))


def _step(state: TrainState, rows: Array, key: PRNGKeyArray, shared: Forecasting, own: Own) -> TrainState:
    windows = shared.series[own.pair, rows[:, None] + jnp.arange(WINDOW)]
    targets = shared.target[own.pair, rows + WINDOW]

    def loss(params: Any) -> Array:
        model = replace(state, params=params).model
        return jnp.mean((model(windows)[:, 0] - targets) ** 2)

    updates, opt_state = state.tx.update(jax.grad(loss)(state.params), state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p - own.learning_rate * u, state.params, updates)
    return replace(state, params=params, opt_state=opt_state)


def _errors(model: Any, shared: Forecasting, own: Own, part: slice) -> Metrics:
    """MSE, and excess: the mean squared distance from the conditional mean, which is MSE minus noise in expectation."""
    first = jnp.arange(part.start, part.stop)
    size = max(size for size in range(1, _CHUNK + 1) if len(first) % size == 0)

    def of_chunk(rows: Array) -> tuple[Array, Array]:
        forecast = model(shared.series[own.pair, rows[:, None] + jnp.arange(WINDOW)])[:, 0]
        targets, expected = shared.target[own.pair, rows + WINDOW], shared.expected[own.pair, rows + WINDOW]
        return jnp.sum((forecast - targets) ** 2), jnp.sum((forecast - expected) ** 2)

    squared, excess = jax.lax.map(of_chunk, first.reshape(-1, size))
    return {"mse": squared.sum() / len(first), "excess": excess.sum() / len(first)}


def _on_validation(model: Any, shared: Forecasting, own: Own) -> Metrics:
    return _errors(model, shared, own, split_of(shared.target.shape[1]).validation)


def _on_test(model: Any, shared: Forecasting, own: Own) -> Metrics:
    return _errors(model, shared, own, split_of(shared.target.shape[1]).test)


@dataclass(frozen=True)
class Training:
    """How the members are trained.

    Attributes:
        epochs: at most.
        batch_size: windows in a batch.
        patience: the study's early stopping, over this many epochs; 0 for none.
        restore_best: test the weights of the best validation epoch; the study tests the last ones.
    """

    epochs: int
    batch_size: int = 128
    patience: int = 10
    restore_best: bool = False


class Outcome(NamedTuple):
    """Per member: curves up to its last epoch (NaN behind it), and the test of the weights that were kept."""

    validation_mse: Float[np.ndarray, "members epochs"]
    validation_excess: Float[np.ndarray, "members epochs"]
    epochs: Int[np.ndarray, "members"]
    chosen_validation_mse: Float[np.ndarray, "members"]
    test_mse: Float[np.ndarray, "members"]
    test_excess: Float[np.ndarray, "members"]


def stops(validation: Float[np.ndarray, "members epochs"], patience: int) -> np.ndarray:
    """The study's rule: each of the last `patience` losses is at least L (1 - 5e-5), L being the one before them."""
    if not patience or validation.shape[1] <= patience:
        return np.zeros(len(validation), bool)
    reference = validation[:, -patience - 1 : -patience]
    return np.all(validation[:, -patience:] >= reference * (1 - 5e-5), axis=1)


def train(variant: Variant, data: Forecasting, own: Own, keys: Key[Array, "members"], training: Training) -> Outcome:
    """Trains one member for every row of `own` and `keys`."""
    to_init, to_run = jax.vmap(partial(jax.random.split, num=2))(keys).T
    make = maker(variant.model, variant.groups, variant.hidden, variant.size_of, 1)
    states = new_members(make, RMSPROP, to_init)
    first = split_of(data.target.shape[1]).train
    batches = Minibatches(jnp.arange(first.start, first.stop), training.batch_size)
    running = np.ones(len(keys), bool)
    kept = jax.tree.map(jnp.copy, states.params)  # the memory of the states is used again
    best = np.full(len(keys), np.inf)
    curves: list[dict[str, np.ndarray]] = []
    for epoch in range(training.epochs):
        now = own._replace(learning_rate=own.learning_rate * running)
        states, metrics = run_epoch(_step, _on_validation, states, batches, data, now, to_run, epoch)
        curves.append({name: np.where(running, values, np.nan) for name, values in metrics.items()})
        mse = curves[-1]["mse"]
        better = running & (mse < best) if training.restore_best else running
        best = np.where(better, mse, best)
        kept = choose(jnp.asarray(better), states.params, kept)
        running = running & ~stops(np.stack([row["mse"] for row in curves], axis=1), training.patience)
        if not running.any():
            break
    tested = measure(_on_test, replace(states, params=kept), data, own)
    mse, excess = (np.stack([row[name] for row in curves], axis=1) for name in ("mse", "excess"))
    return Outcome(
        mse, excess, np.isfinite(mse).sum(axis=1), best, np.asarray(tested["mse"]), np.asarray(tested["excess"])
    )
