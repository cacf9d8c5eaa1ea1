"""Shards of the data set, and the batches that every partition and the hyperparameters see."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from offprint.core.train import Minibatches
from offprint.network_partitioning._proportions import checked_proportions, partition_counts


def assign_shards(
    n: int,
    proportions: Sequence[float | int] | np.ndarray,
    *,
    key: PRNGKeyArray,
    stratify: Int[Array | np.ndarray, " n"] | None = None,
    groups: Any = None,
) -> Int[Array, " n"]:
    """Cut n examples into K disjoint shards at random.

    The counts are those of `partition_counts`. With `stratify`, every class is cut in these proportions as well, up
    to rounding, and shard 1 gets at least one example of each: what predicts the later shards has seen all classes.

    Args:
        n: number of examples.
        proportions: (K,) d, the share of the examples in each shard, positive and summing to 1.
        key: the assignment is a function of it; it may be traced unless there are groups.
        stratify: (n,) the class of each example.
        groups: (n,) integers or strings; examples of one group (a patient, a client) all go to one shard. The
            counts are then met as nearly as a greedy choice allows.

    Returns:
        (n,) int32, the shard of each example, 0..K-1.

    Raises:
        ValueError: bad proportions; a shard that would be empty, or shard 1 without a class; labels or groups
            that aren't n.
    """
    shares = checked_proportions(proportions, "data shards")
    labels = _labels(stratify, n, "stratify")
    counts = partition_counts(n, shares)
    if (counts == 0).any():
        raise ValueError(
            f"shard {int(np.argmin(counts)) + 1} of {len(shares)} would be empty: {n} examples in proportions "
            f"{tuple(shares.tolist())} make {counts.tolist()}"
        )
    if groups is not None:
        shards = _whole_groups(_labels(groups, n, "groups"), labels, shares, key)
        check_shards(shards, n, labels=None if stratify is None else labels, num=len(shares))
        return jnp.asarray(shards, jnp.int32)
    template = np.concatenate([np.repeat(np.arange(len(shares)), row) for row in _class_counts(labels, counts, shares)])
    order = jnp.lexsort((jax.random.uniform(key, (n,)), jnp.asarray(labels)))
    return jnp.zeros(n, jnp.int32).at[order].set(jnp.asarray(template, jnp.int32))


def _labels(given: Any, n: int, name: str) -> np.ndarray:
    """Labels as 0..classes-1; one class if none are given."""
    if given is None:
        return np.zeros(n, np.int64)
    values = np.asarray(given)
    if values.shape != (n,):
        raise ValueError(f"{name} needs one entry for each of the {n} examples, but has shape {values.shape}")
    return np.unique(values, return_inverse=True)[1]


def _class_counts(labels: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(classes, K) how many examples of each class go to each shard: what rounding leaves is carried on."""
    sizes = np.bincount(labels)
    table = np.zeros((len(sizes), len(shares)), np.int64)
    for c, size in enumerate(sizes[:-1]):
        wanted = np.maximum(shares * sizes[: c + 1].sum() - table.sum(axis=0), 0)
        table[c] = partition_counts(size, wanted)
        if table[c, 0] == 0:
            table[c, np.argmax(table[c])] -= 1
            table[c, 0] = 1
    rest = counts - table.sum(axis=0)  # the last class makes the totals exact
    while (rest < 0).any() or (len(sizes) > 1 and rest[0] < 1):
        low = 0 if rest[0] < 1 else int(np.argmin(rest))
        high = int(np.argmax(rest * (np.arange(len(rest)) != low)))
        donors = np.flatnonzero(table[:-1, low] > (1 if low == 0 else 0))
        if not len(donors) or rest[high] < 1:
            raise ValueError(
                f"shard 1 of {len(shares)} cannot hold every class: it has {counts[0]} of {len(labels)} examples "
                f"(proportion {shares[0]:.3g}) and there are {len(sizes)} classes"
            )
        donor = donors[np.argmax(table[donors, low])]
        table[donor, low] -= 1
        table[donor, high] += 1
        rest[low] += 1
        rest[high] -= 1
    table[-1] = rest
    return table


def _whole_groups(groups: np.ndarray, labels: np.ndarray, shares: np.ndarray, key: PRNGKeyArray) -> np.ndarray:
    """The shard of each example when groups stay whole: large groups first, each to where it is missed most."""
    table = np.zeros((groups.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (groups, labels), 1)
    shuffled_groups = np.asarray(jax.random.permutation(key, len(table)))
    order = shuffled_groups[np.argsort(-table.sum(axis=1)[shuffled_groups], kind="stable")]
    missing = shares[:, None] * table.sum(axis=0)
    shard_of = np.zeros(len(table), np.int64)
    for group in order:
        gain = ((missing**2 - (missing - table[group]) ** 2) / np.maximum(table.sum(axis=0), 1)).sum(axis=1)
        shard_of[group] = np.argmax(gain)
        missing[shard_of[group]] -= table[group]
    shards: np.ndarray = shard_of[groups]
    return shards


def check_shards(
    shards: Any, n: int, *, labels: Int[Array | np.ndarray, " n"] | None = None, num: int | None = None
) -> np.ndarray:
    """`shards` as an int32 array, if it is an assignment of n examples to `num` shards (as many as it names).

    Raises:
        ValueError: the wrong length, type or values; an empty shard; a class of `labels` missing from shard 1.
    """
    values = np.asarray(shards)
    if values.shape != (n,):
        raise ValueError(f"shards needs one entry for each of the {n} examples, but has shape {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"shards must be integers, 0..K-1, but has dtype {values.dtype}")
    num = int(values.max()) + 1 if num is None else num
    if values.min() < 0 or values.max() >= num:
        raise ValueError(f"shards must be in 0..{num - 1}, but has values from {values.min()} to {values.max()}")
    sizes = np.bincount(values, minlength=num)
    if (sizes == 0).any():
        raise ValueError(
            f"shard {int(np.argmin(sizes)) + 1} of {num} is empty: of {n} examples the shards have {sizes.tolist()}"
        )
    if labels is not None:
        missing = np.setdiff1d(np.asarray(labels), np.asarray(labels)[values == 0])
        if len(missing):
            raise ValueError(
                f"shard 1 ({sizes[0]} of {n} examples, proportion {sizes[0] / n:.3g}) holds no example of class "
                f"{missing[0]}, which later shards contain: stratify the shards, or make the first one larger"
            )
    return values.astype(np.int32)


class ShardedBatch(NamedTuple):
    """The data of one step; every batch is a pytree like the arrays, `(x, y)`."""

    train: tuple[Any, ...]
    """K batches: `train[k-1]` from D_{1:k}, for partition k."""
    oos: tuple[Any, ...]
    """K-1 batches: `oos[k-2]` from D_k for k = 2..K, for the hyperparameters."""


@jax.tree_util.register_pytree_with_keys_class
class ShardedBatches:
    """The K training batches and the K-1 out-of-sample batches of every step.

    A pure function of (key, step). Batches are drawn without replacement within an epoch of their shards, with
    randomness of their own for each k: which rows partition k sees depends on D_{1:k} alone, so that changing, moving
    or leaving out later data doesn't change them.

    Args:
        arrays: pytree of arrays whose first axis runs over the examples, `(x, y)`.
        shards: (n,) integers 0..K-1, each of them there; see `assign_shards`.
        batch_size: examples in each training batch (all of D_{1:k} where that is fewer). None: full batches.
        oos_batch_size: examples in the out-of-sample batches together, `batch_size` if not given; each shard has a
            part in proportion to its size, and at least one.

    Raises:
        ValueError: see `check_shards`; ragged or empty arrays; a batch size below 1, or an out-of-sample batch
            of fewer examples than shards.
    """

    def __init__(
        self,
        arrays: PyTree,
        shards: Int[Array | np.ndarray, " n"],
        batch_size: int | None,
        *,
        oos_batch_size: int | None = None,
    ):
        checked = Minibatches(arrays, 1)
        self.size = checked.size
        values = check_shards(shards, self.size)
        for name, given in (("batch_size", batch_size), ("oos_batch_size", oos_batch_size)):
            if given is not None and given < 1:
                raise ValueError(f"{name} must be at least 1, but is {given}; None takes all examples")
        order = np.argsort(values, kind="stable")  # D_{1:k} are then the first rows, in an order of their own
        self.arrays = jax.tree.map(lambda array: array[order], checked.arrays)
        self.sizes = tuple(int(size) for size in np.bincount(values))
        seen = np.cumsum(self.sizes)
        self.train_sizes = tuple(int(n if batch_size is None else min(n, batch_size)) for n in seen)
        total = oos_batch_size or batch_size
        self.oos_sizes = self.sizes[1:] if total is None else _oos_counts(self.sizes[1:], total)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children = ((jax.tree_util.GetAttrKey("arrays"), self.arrays),)
        return children, (self.size, self.sizes, self.train_sizes, self.oos_sizes)

    @classmethod
    def tree_unflatten(cls, settings: tuple[Any, ...], children: tuple[Any, ...]) -> "ShardedBatches":
        batches = object.__new__(cls)  # no checks: JAX also puts tracers and placeholders in
        (batches.arrays,) = children
        batches.size, batches.sizes, batches.train_sizes, batches.oos_sizes = settings
        return batches

    def _draw(self, step: int | Int[Array, ""], key: PRNGKeyArray, first: int, count: int, batch: int) -> PyTree:
        """`batch` of the `count` rows from `first` on; epoch by epoch, each in an order of its own."""
        if batch == count:
            return jax.tree.map(lambda array: array[first : first + count], self.arrays)
        rows = Minibatches(first + np.arange(count), batch).batch_at(step, key)
        return jax.tree.map(lambda array: array[rows], self.arrays)

    def batch_at(self, step: int | Int[Array, ""], key: PRNGKeyArray) -> ShardedBatch:
        """The batches of global step `step`."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)]).tolist()
        train = [
            self._draw(step, jax.random.fold_in(key, 2 * k), 0, starts[k + 1], batch)
            for k, batch in enumerate(self.train_sizes)
        ]
        oos = [
            self._draw(step, jax.random.fold_in(key, 2 * k + 1), starts[k], self.sizes[k], batch)
            for k, batch in enumerate(self.oos_sizes, start=1)
        ]
        return ShardedBatch(tuple(train), tuple(oos))


def _oos_counts(sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """`total` examples over the shards in proportion to their sizes, at least one and at most all of each."""
    if not sizes:
        return ()
    if total < len(sizes):
        raise ValueError(
            f"an out-of-sample batch of {total} is smaller than the number of shards that it needs an example of, "
            f"{len(sizes)}; give oos_batch_size={len(sizes)} or more"
        )
    if total >= sum(sizes):
        return tuple(sizes)
    counts = partition_counts(total, np.asarray(sizes) / sum(sizes))
    while (counts == 0).any():
        counts[np.argmax(counts)] -= 1
        counts[np.argmin(counts)] += 1
    return tuple(int(count) for count in np.minimum(counts, sizes))
