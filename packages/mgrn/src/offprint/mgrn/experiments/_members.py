"""Many networks of one kind trained in one program: an epoch of all of them is one call to the device."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, Key, PRNGKeyArray, PyTree

from offprint.core.train import Minibatches, TrainState, scan
from offprint.mgrn._config import DropoutRates
from offprint.mgrn._groups import parse_groups
from offprint.mgrn._network import SequenceModel, make_network

Metrics = dict[str, Any]


Step = Callable[[TrainState, Any, PRNGKeyArray, Any, Any], TrainState]
"""One update of one member: `step(state, batch, key, shared, own)`."""

Evaluate = Callable[[Any, Any, Any], Metrics]
"""What is measured of one member after every epoch: `evaluate(model, shared, own)`."""


def maker(
    model: str, groups: Sequence[int], hidden: int, size_of: int, num_outputs: int
) -> Callable[[nnx.Rngs], SequenceModel]:
    """What makes a network of those sizes from its keys: PyTorch's initialisation, no dropout."""
    return partial(
        _make, model=model, groups=parse_groups(groups), hidden=hidden, size_of=size_of, num_outputs=num_outputs
    )


def _make(rngs: nnx.Rngs, **sizes: Any) -> SequenceModel:
    return make_network(**sizes, rates=DropoutRates(), init="torch", rngs=rngs)


def new_members(
    make: Callable[[nnx.Rngs], SequenceModel], tx: optax.GradientTransformation, keys: Key[Array, "members"]
) -> TrainState:
    """One freshly initialised network for every key, stacked."""
    # It runs once and draws a few thousand numbers, and most of its time would go into optimising that program.
    unoptimised = {"xla_backend_optimization_level": 0}
    create = jax.vmap(lambda key: TrainState.create(make(nnx.Rngs(key)), tx))
    return jax.jit(create, compiler_options=unoptimised)(keys)


def choose(chosen: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` for the members that are chosen (members,), `old` for the others."""

    def of_leaf(a: Array, b: Array) -> Array:
        return jnp.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    return jax.tree.map(of_leaf, new, old)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def run_epoch(
    step: Step,
    evaluate: Evaluate,
    states: TrainState,
    batches: Minibatches,
    shared: PyTree,
    own: PyTree,
    keys: Key[Array, "members"],
    epoch: int | Int[Array, ""],
) -> tuple[TrainState, Metrics]:
    """Trains every member for one epoch and measures it.

    Args:
        step, evaluate: see `Step` and `Evaluate`; pure functions that keep their identity, so that the program is
            compiled once.
        states: stacked over the members; its memory is used again.
        batches: of the rows that every member draws in its own order.
        shared: arrays that all members read.
        own: arrays with a leading axis of members.
        keys: one key for each member's run.
        epoch: its number, from 0.

    Returns:
        The states, and the metrics with a leading axis of members.
    """

    def of_member(state: TrainState, own: PyTree, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
        def bound(state: TrainState, batch: Any, key: PRNGKeyArray) -> tuple[TrainState, Metrics]:
            return step(state, batch, key, shared, own), {}

        steps = batches.steps_per_epoch
        state, _ = scan(bound, state, batches, steps, key, start=epoch * steps)
        return state, evaluate(state.model, shared, own)

    return jax.vmap(of_member)(states, own, keys)


@partial(jax.jit, static_argnums=0)
def measure(evaluate: Evaluate, states: TrainState, shared: PyTree, own: PyTree) -> Metrics:
    """The metrics of all members as they are."""
    return jax.vmap(lambda state, own: evaluate(state.model, shared, own))(states, own)
