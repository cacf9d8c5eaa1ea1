"""The server's optimisers: its values move along the pseudo-gradient that a round of clients makes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Int, PyTree

Number = float | int


class FedOptState(NamedTuple):
    """Moments of the pseudo-gradients, and how many there were."""

    rounds: Int[Array, ""]
    m: PyTree
    """First moment, like the values."""
    v: PyTree
    """Second moment, like the values."""


def fedavg(learning_rate: Number = 1.0) -> optax.GradientTransformation:
    """The server's values become the clients' mean (McMahan et al., 2017), or move towards it."""
    return optax.sgd(learning_rate)


def fedavgm(learning_rate: Number = 1.0, momentum: Number = 0.9) -> optax.GradientTransformation:
    """Momentum on the pseudo-gradient (Hsu et al., 2019)."""
    return optax.sgd(learning_rate, momentum=momentum)


def fedadam(
    learning_rate: Number, b1: Number = 0.9, b2: Number = 0.99, tau: Number = 1e-3, *, bias_correction: bool = False
) -> optax.GradientTransformation:
    """FedAdam (Reddi et al., 2021): m = b1 m + (1-b1) g, v = b2 v + (1-b2) g², step -η m / (√v + τ), from m = v = 0.

    Args:
        learning_rate: η.
        b1, b2: decay of the moments.
        tau: τ, the degree of adaptivity.
        bias_correction: multiply η in round t by √(1 - b2^t) / (1 - b1^t), as Flower does; the paper doesn't.
    """
    return _fedopt(learning_rate, b1, b2, tau, bias_correction, lambda v, square: b2 * v + (1 - b2) * square)


def fedyogi(
    learning_rate: Number, b1: Number = 0.9, b2: Number = 0.99, tau: Number = 1e-3, *, bias_correction: bool = False
) -> optax.GradientTransformation:
    """FedYogi (Reddi et al., 2021): like `fedadam` with v = v - (1-b2) g² sign(v - g²)."""
    return _fedopt(
        learning_rate, b1, b2, tau, bias_correction, lambda v, square: v - (1 - b2) * square * jnp.sign(v - square)
    )


def fedadagrad(learning_rate: Number, b1: Number = 0.0, tau: Number = 1e-3) -> optax.GradientTransformation:
    """FedAdagrad (Reddi et al., 2021): like `fedadam` with v = v + g²."""
    return _fedopt(learning_rate, b1, 0.0, tau, False, lambda v, square: v + square)


def _fedopt(
    eta: Number, b1: Number, b2: Number, tau: Number, correct: bool, second: Callable[[Array, Array], Array]
) -> optax.GradientTransformation:
    def init(values: optax.Params) -> FedOptState:
        zeros = jax.tree.map(jnp.zeros_like, values)
        return FedOptState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(gradient: optax.Updates, state: FedOptState, values: Any = None) -> tuple[optax.Updates, FedOptState]:
        rounds = state.rounds + 1
        m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.m, gradient)
        v = jax.tree.map(lambda v, g: second(v, g**2), state.v, gradient)
        rate = eta * jnp.sqrt(1 - b2**rounds) / (1 - b1**rounds) if correct else eta
        moves = jax.tree.map(lambda m, v: (-rate * m / (jnp.sqrt(v) + tau)).astype(m.dtype), m, v)
        return moves, FedOptState(rounds, m, v)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


def server_update(
    tx: optax.GradientTransformation,
    values: PyTree,
    gradient: PyTree,
    state: PyTree,
    contributed: bool | Bool[Array | np.ndarray, ""] = True,
) -> tuple[PyTree, PyTree]:
    """The server's values after one round.

    Args:
        tx: `fedavg`, `fedadam`, ..., or any optax optimiser.
        values: the server's values.
        gradient: the pseudo-gradient, old values - mean of the clients' new ones; or a mean gradient.
        state: the optimiser's state, from `tx.init(values)`.
        contributed: False in a round to which no client has contributed: values and state stay as they were.

    Returns:
        New values, new state.
    """
    moves, moved = tx.update(gradient, state, values)
    new = optax.apply_updates(values, moves), moved
    return jax.tree.map(lambda after, before: jnp.where(contributed, after, before), new, (values, state))
