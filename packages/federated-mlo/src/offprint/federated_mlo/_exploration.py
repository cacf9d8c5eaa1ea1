"""Exploration: how often a learner acts at random after t steps, and the choice among equals."""

import dataclasses
import functools
import itertools
from typing import Any, Protocol, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

Scalar = Any
"""A hyperparameter: a number, or a scalar array that is swept under `jax.vmap` or changed without recompiling."""


_Class = TypeVar("_Class")


def static(*, default: Any) -> Any:
    """A field that decides what is compiled: a name, a count, a flag."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static,))
def hyperparameters(cls: type[_Class]) -> type[_Class]:
    """A frozen dataclass whose fields are leaves of a pytree, save those marked with `static()`.

    So another step size or exploration rate is another argument of the same compiled program.
    """
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


_MANY = 16


class Schedule(Protocol):
    """Exploration rate after t steps."""

    def __call__(self, t: Any) -> Any: ...


@hyperparameters
class Linear:
    """ε falls from `start` to `end` over the first `duration` steps, and stays there."""

    start: Scalar = 1.0
    end: Scalar = 0.01
    duration: Scalar = 2000

    def __call__(self, t: Any) -> Float[Array, "*batch"]:
        share = jnp.clip(t / jnp.maximum(self.duration, 1), 0, 1)
        return self.start + (self.end - self.start) * share


@hyperparameters
class Sqrt:
    """ε = start / √(t + 1), t counted from 0 (Wilhelmi et al. 2017)."""

    start: Scalar = 1.0

    def __call__(self, t: Any) -> Float[Array, "*batch"]:
        return jnp.minimum(self.start / jnp.sqrt(jnp.asarray(t + 1, float)), 1)


@hyperparameters
class Exponential:
    """ε = max(start decay^t, end)."""

    start: Scalar = 1.0
    decay: Scalar = 0.999
    end: Scalar = 0.01

    def __call__(self, t: Any) -> Float[Array, "*batch"]:
        return jnp.maximum(self.start * jnp.asarray(self.decay, float) ** t, self.end)


def choose_from(
    values: Float[Array, "actions *batch"], threshold: Float[Array, "*batch"], v: Float[Array, "*batch"]
) -> Int[Array, "*batch"]:
    """An action whose value is at least the threshold, uniformly: the floor(v n)-th of n, v uniform on [0, 1).

    With all-zero tables a plain argmax puts every BSS on link 0; choosing among equals doesn't. Actions are counted one
    by one, by `where` on numbers: code that the compiler turns into vector instructions, unlike arrays of booleans.
    """
    num_actions = values.shape[0]
    if num_actions > _MANY:
        rank = jnp.cumsum(values >= threshold, axis=0, dtype=jnp.int32)
        place = jnp.minimum(jnp.floor(v * rank[-1]).astype(jnp.int32), rank[-1] - 1)
        return jnp.minimum(jnp.sum(rank <= place, axis=0, dtype=jnp.int32), num_actions - 1)
    one, none = jnp.int32(1), jnp.int32(0)
    hits = [jnp.where(values[i] >= threshold, one, none) for i in range(num_actions)]
    ranks = list(itertools.accumulate(hits))
    place = jnp.minimum(jnp.floor(v * ranks[-1]).astype(jnp.int32), ranks[-1] - 1)
    below = [jnp.where(rank <= place, one, none) for rank in ranks]
    return jnp.minimum(functools.reduce(jnp.add, below), num_actions - 1)


def largest(values: Float[Array, "actions *batch"]) -> Float[Array, "*batch"]:
    """The largest entry of each column; a few are compared one by one, as in `choose_from`."""
    if values.shape[0] > _MANY:
        return jnp.max(values, axis=0)
    return functools.reduce(jnp.maximum, [values[i] for i in range(values.shape[0])])


def greedy(values: Float[Array, "actions *batch"], v: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """An action of the largest value, ties broken by v, uniform on [0, 1)."""
    return choose_from(values, largest(values), v)


def epsilon_greedy(
    values: Float[Array, "actions *batch"], epsilon: Shaped[Array, ""], u: Float[Array, "*batch"]
) -> Int[Array, "*batch"]:
    """With probability ε any action, otherwise one of the largest value; ties are broken at random.

    One uniform number does both: u < ε explores, and where u fell within its part is uniform again.
    """
    explores = u < epsilon
    v = jnp.where(explores, u * (1 / epsilon), (u - epsilon) * (1 / jnp.maximum(1 - epsilon, 1e-7)))
    return choose_from(values, jnp.where(explores, -jnp.inf, largest(values)), v)
