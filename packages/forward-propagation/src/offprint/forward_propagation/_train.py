"""Training of classifiers through core's loop: one network with `fit_classifier`, many at once with `fit_seeds`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int, Key, Num, PRNGKeyArray

from offprint.core.train import (
    Callback,
    Checkpoint,
    Evaluation,
    Event,
    FitResult,
    Minibatches,
    TrainState,
    fit,
    scan,
    supervised_step,
)
from offprint.forward_propagation._objective import FirstSpikeObjective, Objective
from offprint.forward_propagation._recipe import Encoding, Recipe, optimiser
from offprint.forward_propagation._silent import raise_silent, warn_of_silence
from offprint.forward_propagation._spikes import SpikeTrain

Number = float | int
Examples = tuple[Num[np.ndarray, "_ _"], Int[np.ndarray, "_"]]
"""Features (N, d) and labels (N,)."""
Build = Callable[[nnx.Rngs], nnx.Module]


class Fitted(NamedTuple):
    """A trained classifier."""

    model: Any
    accuracy: float
    """Share of test samples classified right at the end."""
    loss: float
    """Mean test loss at the end."""
    silent: float
    """Share of silent output neurons in the test."""
    result: FitResult
    """State and history; the latter has loss and accuracy of the batches before their update."""


class FittedSeeds(NamedTuple):
    """Classifiers trained at once, one for each key."""

    state: TrainState
    """Every leaf with a leading axis of seeds."""
    loss: Float[np.ndarray, "seeds steps"]
    """Of each batch, before its update."""
    accuracy: Float[np.ndarray, "seeds steps"]
    """Likewise."""
    silent: Float[np.ndarray, "seeds steps"]
    """Share of silent output neurons, likewise."""
    test_accuracy: Float[np.ndarray, "seeds evaluations"]
    """After equal numbers of epochs, the last time at the end."""
    test_loss: Float[np.ndarray, "seeds evaluations"]


class Encoded(NamedTuple):
    """Input spikes with labels: what the networks are trained on."""

    spikes: SpikeTrain
    labels: Int[Array, "*seeds examples"]


def encode_examples(
    train: Examples, test: Examples, encoding: Encoding, dtype: DTypeLike = jnp.float32
) -> tuple[Encoded, Encoded]:
    """Both sets as input spikes; the range of the features is that which the encoding names."""
    (x, y), (x_test, y_test) = train, test
    low, high = feature_range(encoding, x, x_test)
    dtype = _dtype(dtype)
    return tuple(  # type: ignore[return-value]
        Encoded(encoding(np.asarray(part, dtype), low, high), jnp.asarray(labels, jnp.int32))
        for part, labels in ((x, y), (x_test, y_test))
    )


def fit_classifier(
    train: Examples,
    test: Examples,
    recipe: Recipe,
    key: PRNGKeyArray,
    *,
    build: Build | None = None,
    objective: Objective | None = None,
    dtype: DTypeLike = jnp.float32,
    evaluations: int = 10,
    callbacks: Sequence[Callback | Callable[[Event], str | None]] = (),
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> Fitted:
    """Encode features, train one network by a recipe, and test it.

    Args:
        train: features (N, d) and labels (N,), 0 to `recipe.sizes[-1]` - 1.
        test: likewise.
        recipe: network, encoding, loss and optimiser.
        key: of weights and order.
        build: makes another network from its source of random numbers, such as a `surrogate.SurrogateNetwork`.
        objective: another loss; the first-spike cross-entropy of the recipe by default.
        dtype: float32 or float64.
        evaluations: how often the test set is evaluated, the last time at the end.
        callbacks, checkpoint, progress: as in `offprint.core.train.fit`.

    Raises:
        ValueError: labels, features or batch size that do not fit the recipe; float64 while it is not switched on.

    Warns:
        UserWarning: in most of the samples no output neuron fires, before or after training.
    """
    check_examples(train, test, recipe)
    dtype = _dtype(dtype)
    encoded, encoded_test = encode_examples(train, test, recipe.encoding, dtype)
    batches = _minibatches(encoded, recipe)
    num_steps = recipe.epochs * batches.steps_per_epoch
    goal: Any = objective or FirstSpikeObjective(recipe)
    make: Build = build if build is not None else _RecipeModel(recipe, dtype)
    key_model, key_run = jax.random.split(key)
    state = TrainState.create(make(nnx.Rngs(params=key_model)), optimiser(recipe, num_steps))
    evaluate = Evaluation(_per_example(goal), encoded_test, batch_size=500)
    _warn(evaluate(state))
    every = max(1, recipe.epochs // max(1, evaluations)) * batches.steps_per_epoch
    result = fit(
        _step(goal, recipe.wake),
        state,
        batches,
        num_steps=num_steps,
        key=key_run,
        evaluate=evaluate,
        eval_every=every,
        log_every=batches.steps_per_epoch,
        callbacks=callbacks,
        checkpoint=checkpoint,
        progress=progress,
    )
    last = result.history[-1]
    _warn(last)
    return Fitted(result.state.model, last["test_accuracy"], last["test_loss"], last["test_silent"], result)


def fit_seeds(
    train: Examples | Sequence[Examples],
    test: Examples | Sequence[Examples],
    recipe: Recipe,
    keys: Key[Array, " seeds"],
    *,
    build: Build | None = None,
    objective: Objective | None = None,
    dtype: DTypeLike = jnp.float32,
    evaluations: int = 1,
) -> FittedSeeds:
    """Train one network for each key, all of them, and all epochs, in one program on the device.

    Args:
        train, test: as in `fit_classifier`, the same for all keys; or a list of sets of equal size, one for each key.
        recipe, build, objective, dtype: as in `fit_classifier`.
        keys: of weights and order, one for each network.
        evaluations: how often the test set is evaluated; it must divide the epochs.

    Raises:
        ValueError: see `fit_classifier`; other numbers of sets than keys; epochs that `evaluations` does not divide.
    """
    if recipe.epochs % evaluations:
        raise ValueError(f"evaluations={evaluations} must divide the {recipe.epochs} epochs of the recipe")
    dtype = _dtype(dtype)
    each = isinstance(train, list)
    if each and not len(train) == len(test) == len(keys):
        raise ValueError(f"{len(train)} training and {len(test)} test sets for {len(keys)} keys; one each is needed")
    pairs: list[tuple[Any, Any]] = list(zip(train, test, strict=True)) if each else [(train, test)]
    for pair in pairs:
        check_examples(*pair, recipe)
    encoded = [encode_examples(*pair, recipe.encoding, dtype) for pair in pairs]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *encoded) if each else encoded[0]
    goal: Any = objective or FirstSpikeObjective(recipe)
    make: Build = build if build is not None else _RecipeModel(recipe, dtype)
    run = _seeds(recipe, goal, make, evaluations, each)
    state, steps, tests = run(keys, *both)
    loss, accuracy, silent = (np.asarray(steps[name]) for name in ("loss", "accuracy", "silent"))
    return FittedSeeds(state, loss, accuracy, silent, *(np.asarray(tests[f"test_{n}"]) for n in ("accuracy", "loss")))


def convergence_epoch(
    accuracy: Float[np.ndarray, "*seeds steps"], steps_per_epoch: int = 1
) -> Float[np.ndarray, "*seeds"]:
    """The first epoch, from 0, in which every batch is classified right before its update; infinite if there is none.

    Args:
        accuracy: of every step.
        steps_per_epoch: 1 for full batches.
    """
    epochs = accuracy.reshape(*accuracy.shape[:-1], -1, steps_per_epoch).min(-1)
    right = epochs >= 1
    return np.where(right.any(-1), right.argmax(-1).astype(float), np.inf)


def check_examples(train: Examples, test: Examples, recipe: Recipe) -> None:
    """Check that features and labels fit the recipe.

    Raises:
        ValueError: other numbers of examples and labels, of features and inputs, labels out of range, or a batch that
            is larger than the training set.
    """
    for part, (x, y) in (("training", train), ("test", test)):
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise ValueError(f"{part} features (N, d) and labels (N,) are needed, got {x.shape} and {y.shape}")
        if recipe.encoding.channels(x.shape[1]) != recipe.sizes[0]:
            raise ValueError(
                f"{x.shape[1]} features make {recipe.encoding.channels(x.shape[1])} inputs with this encoding, but the "
                f"network of the recipe has {recipe.sizes[0]}: change sizes, mirror or bias_time"
            )
        if not np.issubdtype(y.dtype, np.integer) or (len(y) and not (y.min() >= 0 and y.max() < recipe.sizes[-1])):
            raise ValueError(
                f"{part} labels must be integers from 0 to {recipe.sizes[-1] - 1} for {recipe.sizes[-1]} outputs, but "
                f"they are {y.dtype} and run from {y.min()} to {y.max()}"
            )
    if recipe.batch_size > len(train[1]):
        raise ValueError(f"batches of {recipe.batch_size} from {len(train[1])} training examples: use smaller batches")


@dataclass(frozen=True)
class _RecipeModel:
    """The network of a recipe, as a function that is equal for equal recipes: compiled programs are found again."""

    recipe: Recipe
    dtype: np.dtype

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return self.recipe.model(rngs, self.dtype)


@lru_cache(maxsize=16)
def _seeds(recipe: Recipe, objective: Any, build: Build, evaluations: int, each: bool) -> Any:
    """The compiled run of all seeds."""
    step, per_example = _step(objective, recipe.wake), _per_example(objective)

    def run(key: PRNGKeyArray, train: Encoded, test: Encoded) -> Any:
        key_model, key_run = jax.random.split(key)
        batches = _minibatches(train, recipe)
        length = recipe.epochs * batches.steps_per_epoch
        state = TrainState.create(build(nnx.Rngs(params=key_model)), optimiser(recipe, length))

        def stretch(state: TrainState, start: Array) -> Any:
            state, metrics = scan(step, state, batches, length // evaluations, key_run, start=start)
            return state, (metrics, jax.tree.map(jnp.mean, per_example(state.model, test)))

        state, (metrics, tests) = jax.lax.scan(stretch, state, jnp.arange(evaluations) * (length // evaluations))
        return state, jax.tree.map(lambda rows: rows.reshape(-1), metrics), tests

    return jax.jit(jax.vmap(run, in_axes=(0, 0, 0) if each else (0, None, None)))


@lru_cache(maxsize=64)
def _step(objective: Any, wake: Number) -> Any:
    """The training step; the same object for the same arguments, so that compiled steps are found again."""

    def loss(model: Any, batch: Encoded, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        answer = objective(model, *batch)
        right = (answer.predicted == batch.labels).astype(answer.loss.dtype)
        silent = answer.silent.astype(answer.loss.dtype)
        return answer.loss.mean(), {"accuracy": right.mean(), "silent": silent.mean(), "fired": answer.fired}

    update = supervised_step(loss)

    def step(state: TrainState, batch: Encoded, key: PRNGKeyArray) -> tuple[TrainState, dict[str, Array]]:
        state, metrics = update(state, batch, key)
        fired: Any = metrics.pop("fired")
        return (_woken(state, fired, wake) if fired else state), metrics

    return step


def _woken(state: TrainState, fired: tuple[Array, ...], wake: Number) -> TrainState:
    """After an update, larger weights into the neurons that no sample of the batch made fire."""
    model = nnx.merge(state.graphdef, state.params, state.rest, copy=True)
    for layer, some in zip(model.layers, fired, strict=True):
        layer.kernel[...] = raise_silent(layer.kernel[...], some, wake)
    return replace(state, params=nnx.state(model, nnx.Param))


def _per_example(objective: Objective) -> Callable[[Any, Any], dict[str, Array]]:
    def metrics(model: Any, batch: Encoded) -> dict[str, Array]:
        answer = objective(model, *batch)
        kind = answer.loss.dtype
        return {
            "test_accuracy": (answer.predicted == batch.labels).astype(kind),
            "test_loss": answer.loss,
            "test_silent": answer.silent.mean(-1, dtype=kind),
            "test_unanswered": answer.silent.all(-1).astype(kind),
        }

    return metrics


def _minibatches(encoded: Encoded, recipe: Recipe) -> Minibatches:
    return Minibatches(encoded, recipe.batch_size, shuffle=recipe.shuffle, remainder="wrap")


def _warn(metrics: dict[str, Any]) -> None:
    warn_of_silence(metrics["test_unanswered"], metrics["test_silent"], stacklevel=3)


def feature_range(encoding: Encoding, x: np.ndarray, x_test: np.ndarray) -> tuple[Any, Any]:
    """What is sent at the ends of the time window: 0 and 1, or the least and largest value of each feature."""
    if encoding.span == "unit":
        return 0.0, 1.0
    seen = np.asarray(x) if encoding.span == "train" else np.concatenate([x, x_test])
    return seen.min(0), seen.max(0)


def _dtype(dtype: DTypeLike) -> np.dtype:
    wanted = np.dtype(dtype)
    if wanted not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, but is {wanted}")
    if wanted == np.float64 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError("float64 is not switched on: call jax.config.update('jax_enable_x64', True) first")
    return wanted
