"""The clients of the federated layer: their data, and who takes part in a round."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.core.federated import sample_clients


class Clients(NamedTuple):
    """The data of several clients, stacked and padded to one length; or, without the first axis, of one."""

    data: Any
    """Pytree of (clients, n, ...) arrays, `(x, y)`."""
    weights: Float[Array, "*clients n"]
    """(clients, n) 1 for an example, 0 for padding."""
    chunk: Int[Array, "*clients"]
    """(clients,) int32, 0..K-1: the shard of the data that a client's examples belong to."""


def stack_clients(data: Sequence[PyTree], chunks: Sequence[int] | Int[Array | np.ndarray, " clients"]) -> Clients:
    """Stack the clients' data, padded with zeros to the longest.

    Args:
        data: for each client a pytree of arrays with its examples as first axis.
        chunks: the chunk of each client, 0..K-1.

    Raises:
        ValueError: not one chunk for each client, or a client without examples.
    """
    if len(data) != len(chunks) or not data:
        raise ValueError(f"every client needs a chunk, but there are {len(data)} clients and {len(chunks)} chunks")
    sizes = [len(jax.tree.leaves(one)[0]) for one in data]
    if min(sizes) == 0:
        raise ValueError(f"client {int(np.argmin(sizes))} has no examples")
    longest = max(sizes)

    def padded(leaf: Any) -> np.ndarray:
        values = np.asarray(leaf)
        return np.pad(values, [(0, longest - len(values)), *[(0, 0)] * (values.ndim - 1)])

    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack([padded(leaf) for leaf in leaves])), *data)
    weights = jnp.asarray(np.arange(longest) < np.asarray(sizes)[:, None], jnp.result_type(float))
    return Clients(stacked, weights, jnp.asarray(chunks, jnp.int32))


@jax.tree_util.register_pytree_with_keys_class
class ClientBatches:
    """The clients of every round, for `offprint.core.train.fit`: a pure function of (key, round).

    Args:
        clients: all clients.
        per_round: how many take part.
        num: K; every chunk 1..K-1 must have a client.
        stratified: every chunk sends clients in proportion to its number of clients, and at least one. False draws
            all clients alike: then many rounds have no client of a small chunk.

    Raises:
        ValueError: a chunk out of range or without clients; more clients a round than there are.
    """

    def __init__(self, clients: Clients, per_round: int, num: int, *, stratified: bool = True):
        self.clients, self.per_round = clients, int(per_round)
        chunks = check_chunks(clients.chunk, num)
        self.groups = tuple(chunks.tolist()) if stratified else None
        sample_clients(jax.random.key(0), len(chunks), self.per_round, groups=chunks if stratified else None)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return ((jax.tree_util.GetAttrKey("clients"), self.clients),), (self.per_round, self.groups)

    @classmethod
    def tree_unflatten(cls, settings: tuple[Any, ...], children: tuple[Any, ...]) -> "ClientBatches":
        batches = object.__new__(cls)  # no checks: JAX also puts tracers and placeholders in
        (batches.clients,) = children
        batches.per_round, batches.groups = settings
        return batches

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> Clients:
        """The clients of round `step`."""
        groups = None if self.groups is None else np.asarray(self.groups)
        drawn = sample_clients(
            jax.random.fold_in(key, step), self.clients.chunk.shape[0], self.per_round, groups=groups
        )
        return jax.tree.map(lambda leaf: leaf[drawn], self.clients)


def check_chunks(chunks: Any, num: int) -> np.ndarray:
    """The clients' chunks, if they are 0..K-1 and every one has a client.

    Raises:
        ValueError: they aren't; it says what would not be trained.
    """
    values = np.asarray(chunks)
    wrong = np.flatnonzero((values < 0) | (values >= num))
    if len(wrong):
        raise ValueError(f"client {wrong[0]} has chunk {values[wrong[0]]}, but chunks are 0..{num - 1} (K = {num})")
    counts = np.bincount(values, minlength=num)
    if num > 1 and counts[1:].sum() == 0:
        raise ValueError("no client is in a chunk >= 1: ψ is not being trained; assign clients to every chunk")
    if (counts == 0).any():
        raise ValueError(f"no client is in chunk {int(np.argmin(counts))}: the chunks have {counts.tolist()} clients")
    return values
