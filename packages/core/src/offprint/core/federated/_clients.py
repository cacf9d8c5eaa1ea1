"""The clients of a round: who takes part, their work side by side, and the bytes that they send."""

import hashlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Int, Num, PRNGKeyArray, PyTree

Number = float | int


def map_clients(
    update: Callable[[PyTree, PyTree], PyTree], shared: PyTree, clients: PyTree, *, mesh: Mesh | None = None
) -> PyTree:
    """`update(shared, client)` of every client, stacked.

    Args:
        update: one client's work, pure and jittable; it is vmapped. On the CPU, training a convolution under vmap is
            slow: loop over the clients there.
        shared: what all clients get: the server's values.
        clients: pytree of (clients, ...) arrays: data, keys, settings of each.
        mesh: devices over which the clients are split, along all axes of the mesh.

    Raises:
        ValueError: the clients don't divide evenly over the mesh.
    """
    mapped = jax.vmap(update, in_axes=(None, 0))
    if mesh is None:
        return mapped(shared, clients)
    count = jax.tree.leaves(clients)[0].shape[0]
    if count % mesh.size:
        raise ValueError(f"{count} clients do not divide over {mesh.size} devices: take a multiple of {mesh.size}")
    split = PartitionSpec(mesh.axis_names)
    auto = Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto, so that arguments needn't be laid out already
    specs = (PartitionSpec(), split)
    # A client's loop begins with values that all devices share and ends with its own, which the check refuses.
    sharded = jax.shard_map(mapped, mesh=auto, in_specs=specs, out_specs=split, check_vma=False)
    return sharded(shared, clients)


def sample_clients(
    key: PRNGKeyArray, n: int, per_round: int, *, groups: Int[Array | np.ndarray, " n"] | None = None
) -> Int[Array, " per_round"]:
    """Choose clients of a round without replacement.

    Args:
        key: the choice is a function of it.
        n: number of clients.
        per_round: how many take part, at most n.
        groups: (n,) the group of each client, 0, 1, ..., known while tracing. Given, every group sends clients in
            proportion to its size, and at least one. If not, all clients are drawn alike.

    Returns:
        (per_round,) int32 clients, 0..n-1; with groups in the groups' order.

    Raises:
        ValueError: more clients or groups than there can be.
    """
    if not 1 <= per_round <= n:
        raise ValueError(f"per_round must be in 1..{n}, the number of clients, but is {per_round}")
    drawn = jax.random.uniform(key, (n,))
    if groups is None:
        return jnp.argsort(drawn)[:per_round].astype(jnp.int32)
    known = np.unique(np.asarray(groups), return_inverse=True)[1]
    sizes = np.bincount(known)
    if per_round < len(sizes):
        raise ValueError(f"{per_round} clients a round cannot have one of each of {len(sizes)} groups")
    quota = per_round * sizes / n
    counts = np.maximum(np.floor(quota), 1).astype(int)
    while counts.sum() != per_round:
        behind = np.where(counts < sizes, quota - counts, -np.inf) if counts.sum() < per_round else None
        ahead = np.where(counts > 1, quota - counts, np.inf)
        if behind is not None:
            counts[np.argmax(behind)] += 1
        else:
            counts[np.argmin(ahead)] -= 1
    order = jnp.lexsort((drawn, jnp.asarray(known)))
    starts = np.cumsum(sizes) - sizes
    chosen = np.concatenate([np.arange(start, start + count) for start, count in zip(starts, counts, strict=True)])
    return order[chosen].astype(jnp.int32)


def client_group(identity: str | bytes, proportions: Sequence[Number] | np.ndarray, *, key: str = "") -> int:
    """The group of a client, the same whenever and wherever it appears: a keyed hash of its identity.

    u = BLAKE2b(identity) / 2^64 falls into one of the intervals that the proportions cut [0, 1) into. Clients that join
    late are assigned alike, and nobody needs to keep a list.

    Args:
        identity: what stays the same about the client for the whole run.
        proportions: share of the clients in each group, in expectation; positive.
        key: names the run, at most 64 bytes: another key, another assignment.
    """
    raw = identity.encode() if isinstance(identity, str) else identity
    digest = hashlib.blake2b(raw, digest_size=8, key=key.encode()).digest()
    edges = np.cumsum(np.asarray(proportions, dtype=np.float64))
    u = int.from_bytes(digest, "big") / 2**64
    return min(int(np.searchsorted(edges / edges[-1], u, side="right")), len(edges) - 1)


def quantised(values: PyTree, bits: int = 8) -> PyTree:
    """The values as they arrive when each tensor is sent as integers between its smallest and largest value.

    The error is at most half of (largest - smallest) / (2^bits - 1).
    """
    levels = 2**bits - 1

    def through(leaf: Num[Array | np.ndarray, "..."]) -> Array:
        low, high = leaf.min(), leaf.max()
        width = jnp.where(high > low, (high - low) / levels, 1)
        return jnp.asarray(low + jnp.round((leaf - low) / width) * width, leaf.dtype)

    return jax.tree.map(through, values)


def num_bytes(values: PyTree, bits: int | None = None) -> int:
    """Bytes that a pytree takes on the wire; with `bits`, quantised with two float32 for each tensor."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(values)]
    if bits is None:
        return sum(leaf.nbytes for leaf in leaves)
    return sum(-(-leaf.size * bits // 8) + 8 for leaf in leaves)
