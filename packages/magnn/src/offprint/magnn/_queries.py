"""What a recommender is: a query vector for each user, and item vectors to compare it with."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from offprint.magnn._sequences import Sequences
from offprint.magnn._windows import Batch, Windows, gather, last_windows

QUERY_ROWS = 8192
"""Users whose query vectors are made in one call."""


@runtime_checkable
class Recommender(Protocol):
    """What `fit` and `recommend` need of a model: scores are `queries(batch) @ table.T + bias`."""

    num_users: int
    num_items: int
    L: int
    """Items in the short-term window."""
    max_long: int
    """Items of the long-term history."""

    def queries(self, batch: Batch) -> Float[Array, "batch d"]:
        """One query vector for each row of the batch."""
        ...

    def item_table(self) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
        """Item vectors and item biases."""
        ...


@partial(jax.jit, static_argnames="graphdef")
def queries_of(
    graphdef: nnx.GraphDef,
    state: PyTree,
    sequences: Sequences,
    windows: Windows,
    index: Int[Array | np.ndarray, " batch"],
    users: Int[Array | np.ndarray, " batch"],
) -> Float[Array, "batch d"]:
    """Query vectors from some windows, for `users` (-1: unknown) whoever the windows belong to."""
    batch = gather(sequences, windows, index)
    return nnx.merge(graphdef, state).queries(batch._replace(users=jnp.asarray(users)))


@partial(jax.jit, static_argnames="graphdef")
def item_table_of(graphdef: nnx.GraphDef, state: PyTree) -> tuple[Array, Array]:
    """Item vectors and biases of a model that was taken apart."""
    return nnx.merge(graphdef, state).item_table()


def query_vectors(model: Recommender, sequences: Sequences) -> Float[np.ndarray, "users d"]:
    """The query vector of every user, from all that `sequences` hold of them."""
    graphdef, state = nnx.split(evaluating(model))
    plain, found = unnumbered(sequences), last_windows(sequences, model.L, model.max_long)
    windows = Windows(found.users, found.ends, found.L, found.T, found.max_long)
    parts = []
    for start in range(0, len(windows), QUERY_ROWS):
        rows = np.arange(start, min(start + QUERY_ROWS, len(windows)), dtype=np.int32)
        parts.append(np.asarray(queries_of(graphdef, state, plain, windows, rows, rows)))
    return np.concatenate(parts)


def item_vectors(model: Recommender) -> tuple[Float[Array, "items d"], Float[Array, " items"]]:
    """Item vectors and biases, dropout off."""
    return item_table_of(*nnx.split(evaluating(model)))


def unnumbered(sequences: Sequences) -> Sequences:
    """On the device, without ids and report, which would make programs of their own."""
    return jax.device_put(Sequences(sequences.indptr, sequences.items, sequences.num_items))


def evaluating(model: Any) -> Any:
    """The model with dropout off, without a change to the one that was given; arrays are shared."""
    found = nnx.merge(*nnx.split(model))
    found.eval()
    return found


def check_model(model: Any, sequences: Sequences) -> None:
    for name in ("num_users", "num_items"):
        if (expected := getattr(model, name)) != (given := getattr(sequences, name)):
            raise ValueError(
                f"the model is for {name}={expected}, but the sequences have {given}; "
                "use a part of the split that the model was made for"
            )
