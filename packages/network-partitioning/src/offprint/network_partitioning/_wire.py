"""What goes over the wire under Flower: flat vectors by name, and the numbers beside them."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import ArrayRecord
from jaxtyping import PRNGKeyArray, PyTree

from offprint.core.flower import from_record, named_arrays, to_record, tree_from
from offprint.network_partitioning._partition import Partition, pack, partition_sizes, unpack


def number(record: Mapping[str, Any], name: str, otherwise: float | None = None) -> float:
    """A number of a record; `otherwise`, if there is one, where the record lacks it."""
    value = record[name] if otherwise is None else record.get(name, otherwise)
    return float(value)


def client_key(seed: int, server_round: int, identity: str) -> PRNGKeyArray:
    """The noise of a client in a round: a function of the run's seed, the round and the client's stable identity."""
    name = int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=4).digest(), "big")
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), server_round), name)


def arrays_of(params: PyTree, hyper: PyTree, part: Partition) -> ArrayRecord:
    """What the server sends: `partition/0`..`partition/K-1`, flat vectors, and `hyper/<path>`."""
    vectors = {f"partition/{j}": np.asarray(vector) for j, vector in enumerate(pack(params, part))}
    return to_record(vectors | named_arrays(hyper, "hyper/"))


def params_of(record: ArrayRecord, params: PyTree, hyper: PyTree, part: Partition) -> tuple[PyTree, PyTree]:
    """w and ψ from what the server sent; `params` and `hyper` say what they look like.

    Raises:
        ValueError: an array is missing or has another shape than (scheme, proportions, key) give here.
    """
    arrays = from_record(record)
    like = {f"{j}": np.zeros(int(size)) for j, size in enumerate(partition_sizes(part))}
    vectors = tree_from(arrays, like, "partition/")
    psi = jax.tree.map(jnp.asarray, tree_from(arrays, hyper, "hyper/"))
    return unpack([vectors[f"{j}"] for j in range(part.num)], part, params), psi
