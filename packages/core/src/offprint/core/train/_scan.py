"""The training loop as a pure function."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from offprint.core.train._batches import Batches
from offprint.core.train._state import Metrics, Step

State = TypeVar("State")


def keys_of(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """The key of the batches and that of the steps of the run that `key` names."""
    data_key, step_key = jax.random.split(key)
    return data_key, step_key


def at_step(
    step: Step[State], batches: Batches | None, key: PRNGKeyArray, state: State, index: Int[Array, ""]
) -> tuple[State, Metrics]:
    """Global step `index` of the run that `key` names. `scan` and `fit` both go through here."""
    data_key, step_key = keys_of(key)
    batch = None if batches is None else batches.batch_at(index, data_key)
    return step(state, batch, jax.random.fold_in(step_key, index))


def scan(
    step: Step[State],
    state: State,
    batches: Batches | None,
    num_steps: int,
    key: PRNGKeyArray,
    *,
    start: int | Int[Array, ""] = 0,
    unroll: int | bool = 1,
) -> tuple[State, Metrics]:
    """Steps `start` to `start + num_steps` in one traced loop: jit it, `vmap` it over keys and states, shard it.

    It takes the same steps, batches and keys as [`fit`][offprint.core.train.fit], without the host:

        run = jax.jit(lambda key: scan(step, init(key), batches, 1000, key))
        states, metrics = jax.vmap(run)(jax.random.split(key, 32))  # 32 seeds at once

    Convolutions: on the CPU, XLA trains a convolution inside a loop 40 to 80 times slower than the same step
    on its own. There, use `fit` (which dispatches such steps one by one), or `unroll=True` for short runs.

    Args:
        step: see [`Step`][offprint.core.train.Step].
        state: where the run starts.
        batches: [`Minibatches`][offprint.core.train.Minibatches], [`FullBatch`][offprint.core.train.FullBatch],
            your own [`Batches`][offprint.core.train.Batches], or None for steps that need no data.
        num_steps: how many steps; static.
        key: the run's key: batches and steps draw from it.
        start: the first step's index, for going on where an earlier call ended.
        unroll: as in `jax.lax.scan`.

    Returns:
        The last state, and the metrics of every step, stacked along a leading axis of `num_steps`.
    """
    if batches is not None and not isinstance(batches, Batches):
        raise TypeError(
            f"batches must have a method batch_at(step, key), but a {type(batches).__name__} was given; "
            "wrap arrays in Minibatches(arrays, batch_size) or FullBatch(arrays)"
        )

    def body(state: State, index: Int[Array, ""]) -> tuple[State, Any]:
        return at_step(step, batches, key, state, index)

    return jax.lax.scan(body, state, start + jnp.arange(num_steps), unroll=unroll)
