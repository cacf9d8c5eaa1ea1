"""Training and metrics of the clinical tasks (paper, supplement)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped
from sklearn.metrics import auc, cohen_kappa_score, precision_recall_curve, roc_auc_score

from offprint.core.train import Minibatches, TrainState
from offprint.mgrn._heads import MGRNClassifier
from offprint.mgrn.data import LENGTH_OF_STAY_MEANS, MimicData, MimicSamples, mimic_groups
from offprint.mgrn.experiments._members import Metrics, measure, new_members, run_epoch

Kind = Literal["binary", "length of stay", "multilabel"]
_CHUNK = 512  # samples evaluated at a time


@dataclass(frozen=True)
class Settings:
    """One task.

    Attributes:
        kind: of its labels.
        steps: hours that a sample has at most (T).
        hidden, size_of: H and s.
        input_dropout, output_dropout: rates.
        batch_size, learning_rate, weight_decay, epochs: of Adam, with the L2 term in the gradient.
        outputs: C.
        slower_below: validation loss below which the learning rate is divided by 5, once.
        resamples: of the test set.
    """

    kind: Kind
    steps: int
    hidden: int
    size_of: int
    input_dropout: float
    output_dropout: float
    batch_size: int
    learning_rate: float
    weight_decay: float
    epochs: int
    outputs: int
    slower_below: float = -np.inf
    resamples: int = 1000


TASKS = {
    "in-hospital-mortality": Settings("binary", 48, 8, 8, 0.1, 0.5, 8, 5e-4, 0.0, 100, 2, 0.275, 10_000),
    "decompensation": Settings("binary", 72, 64, 4, 0.1, 0.5, 1024, 1e-4, 0.0, 20, 2),
    "length-of-stay": Settings("length of stay", 72, 32, 8, 0.3, 0.3, 1024, 1e-4, 1e-7, 50, 10, 1.795),
    "phenotyping": Settings("multilabel", 200, 32, 2, 0.1, 0.1, 16, 1e-3, 1e-5, 100, 25, resamples=10_000),
}


class Samples(NamedTuple):
    """`MimicSamples` on the device."""

    hours: Float[Array, "hours features"]
    starts: Int[Array, "samples"]
    lengths: Int[Array, "samples"]
    y: Shaped[Array, "samples *labels"]


class Trial(NamedTuple):
    """What one training gives, at the epoch that is best on validation."""

    history: list[dict[str, float]]
    score: float
    """Of that epoch: kappa, or minus the loss."""
    test_probabilities: Float[np.ndarray, "samples outputs"]


def train_trial(settings: Settings, data: MimicData, key: PRNGKeyArray, epochs: int) -> Trial:
    """Trains one network, and keeps what it says of the test set at its best validation epoch.

    Sequences are read with their zero padding, as the paper has it.
    """
    to_init, to_run = jax.random.split(key)
    step, watch = _step_of(settings), _watch_of(settings)
    tx = optax.chain(optax.add_decayed_weights(settings.weight_decay), optax.scale_by_adam())
    states = new_members(partial(_network, settings), tx, to_init[None])
    train, validation, test = map(_on_device, data)
    batches = Minibatches(jnp.arange(len(train.y)), min(settings.batch_size, len(train.y)))
    shared = {"train": train, "watched": validation}
    rate, history, best = settings.learning_rate, [], Trial([], -np.inf, np.empty((0, settings.outputs)))
    for epoch in range(epochs):
        own = {"learning_rate": jnp.full(1, rate)}
        states, metrics = run_epoch(step, watch, states, batches, shared, own, to_run[None], epoch)
        probabilities = np.asarray(metrics["probabilities"][0])
        loss = _loss_of(settings.kind, probabilities, data.validation.y)
        values = measured(settings.kind, probabilities, data.validation.y, data.validation.remaining)
        history.append({"epoch": epoch + 1, "loss": float(metrics["train_loss"][0]), "val_loss": loss, **values})
        score = values["kappa"] if settings.kind == "length of stay" else -loss
        if score > best.score:
            tested = measure(watch, states, {"train": train, "watched": test}, own)
            best = Trial(history, score, np.asarray(tested["probabilities"][0]))
        if loss < settings.slower_below and rate == settings.learning_rate:
            rate /= 5
    return best


def measured(kind: Kind, probabilities: np.ndarray, y: np.ndarray, remaining: np.ndarray) -> dict[str, float]:
    """The metrics of a task; NaN where a class does not occur.

    Args:
        kind: of the labels.
        probabilities: (n, C).
        y: (n,) classes, or (n, C) labels.
        remaining: (n,) hours, for the mean absolute deviation (MAD) of the length of stay.
    """
    if kind == "length of stay":
        predicted = probabilities.argmax(axis=1)
        hours = np.array(LENGTH_OF_STAY_MEANS)[predicted]
        kappa = cohen_kappa_score(y, predicted, weights="linear", labels=np.arange(len(LENGTH_OF_STAY_MEANS)))
        return {"kappa": float(kappa), "MAD": float(abs(remaining - hours).mean())}
    if kind == "multilabel":
        areas = [_roc(y[:, label], probabilities[:, label]) for label in range(y.shape[1])]
        return {"macro AUC": float(np.mean(areas)), "micro AUC": _roc(y.ravel(), probabilities.ravel())}
    positive = probabilities[:, 1]
    if not y.any():
        return {"AUC-ROC": np.nan, "AUC-PR": np.nan}
    precision, recall, _ = precision_recall_curve(y, positive)
    return {"AUC-ROC": _roc(y, positive), "AUC-PR": float(auc(recall, precision))}


def bootstrap(
    metrics: Callable[[np.ndarray], dict[str, float]], size: int, resamples: int, rng: np.random.Generator
) -> dict[str, tuple[float, float, float]]:
    """Mean and 2.5 % and 97.5 % points of each metric over samples drawn with replacement."""
    drawn = [metrics(rng.integers(0, size, size)) for _ in range(resamples)]
    result = {}
    for name in drawn[0]:
        values = np.array([row[name] for row in drawn])
        low, high = np.nanpercentile(values, [2.5, 97.5])
        result[name] = float(np.nanmean(values)), float(low), float(high)
    return result


def _roc(y: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(y, scores)) if 0 < y.sum() < y.size else np.nan


def _network(settings: Settings, rngs: nnx.Rngs) -> MGRNClassifier:
    return MGRNClassifier(
        mimic_groups(),
        settings.hidden,
        settings.size_of,
        settings.outputs,
        multilabel=settings.kind == "multilabel",
        input_dropout=settings.input_dropout,
        output_dropout=settings.output_dropout,
        kernel_init="keras",
        rngs=rngs,
    )


def _on_device(samples: MimicSamples) -> Samples:
    return Samples(*map(jnp.asarray, (samples.hours, samples.starts, samples.lengths, samples.y)))


def _sequences(samples: Samples, rows: Array, steps: int) -> Float[Array, "rows steps features"]:
    starts, lengths = samples.starts[rows], samples.lengths[rows]
    valid = jnp.arange(steps) < lengths[:, None]
    return jnp.where(valid[..., None], samples.hours[jnp.where(valid, starts[:, None] + jnp.arange(steps), 0)], 0)


def _losses(kind: Kind, logits: Array, y: Array) -> Array:
    if kind == "multilabel":
        return optax.sigmoid_binary_cross_entropy(logits, y).mean(axis=-1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def _loss_of(kind: Kind, probabilities: np.ndarray, y: np.ndarray) -> float:
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    if kind == "multilabel":
        return float(-np.where(y > 0, np.log(p), np.log(1 - p)).mean())
    return float(-np.log(p[np.arange(len(y)), y]).mean())


@cache
def _step_of(settings: Settings) -> Any:
    def step(state: TrainState, rows: Array, key: PRNGKeyArray, shared: Any, own: Any) -> TrainState:
        x, y = _sequences(shared["train"], rows, settings.steps), shared["train"].y[rows]

        def loss(params: Any) -> Array:
            model: Any = nnx.merge(state.graphdef, params, state.rest, copy=True)
            return _losses(settings.kind, model(x, rngs=nnx.Rngs(dropout=key)), y).mean()

        updates, opt_state = state.tx.update(jax.grad(loss)(state.params), state.opt_state, state.params)
        params = jax.tree.map(lambda p, u: p - own["learning_rate"] * u, state.params, updates)
        return replace(state, params=params, opt_state=opt_state)

    return step


@cache
def _watch_of(settings: Settings) -> Any:
    def logits_of(model: Any, samples: Samples, count: int) -> Array:
        size = min(_CHUNK, count)
        padded = jnp.arange(-(-count // size) * size) % count
        chunks = jax.lax.map(lambda rows: model(_sequences(samples, rows, settings.steps)), padded.reshape(-1, size))
        return chunks.reshape(-1, chunks.shape[-1])[:count]

    def watch(model: Any, shared: Any, own: Any) -> Metrics:
        logits = logits_of(model, shared["watched"], len(shared["watched"].y))
        some = min(len(shared["train"].y), 20 * _CHUNK)  # the training loss of a part is enough for its curve
        losses = _losses(settings.kind, logits_of(model, shared["train"], some), shared["train"].y[:some])
        inverse_link = jax.nn.sigmoid if settings.kind == "multilabel" else jax.nn.softmax
        return {"probabilities": inverse_link(logits), "train_loss": losses.mean()}

    return watch
