"""Partitions of a network's weights, and the subnetworks that their first k parts make."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from offprint.network_partitioning._proportions import FROZEN, checked_proportions, partition_counts
from offprint.network_partitioning._stack import node_ids, path_of, trace_stack

SCHEMES = ("random_weight", "weight", "node", "layer", "adapter")
_ADAPTERS = ("lora", "adapter")  # in the names of parameters that scheme "adapter" takes by itself


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Partition:
    """Which partition every scalar of the weights w belongs to, and its value while that partition is inactive.

    Subnetwork k, with k = 0..num active partitions, is `where(ids < k, w, default)`.
    """

    ids: PyTree
    """uint8, like w: 0..num-1, or 255 for a scalar that is frozen at its default."""
    default: PyTree
    """ŵ, like w."""
    num: int = field(metadata={"static": True})
    """K, how many partitions there are."""


def partition(
    params: PyTree,
    proportions: Sequence[float | int] | np.ndarray,
    *,
    scheme: str | Callable[[str, tuple[int, ...]], Any] = "random_weight",
    default: Any = None,
    key: PRNGKeyArray | None = None,
    only: Callable[[str], bool] | None = None,
    layers: Mapping[str, int] | Callable[[str], int] | Sequence[str] | None = None,
) -> Partition:
    """Partition the scalars of `params` into K parts, one for each of the `proportions`.

    Args:
        params: w, a pytree of arrays (an NNX `State` too). Leaves that are not floating are frozen.
        proportions: (K,) m, the share of the weights in each partition, positive and summing to 1.
        scheme: what is partitioned, and how.
            "random_weight": in each tensor a random permutation of the exact counts (`partition_counts`).
            "weight": in each tensor, row-major contiguous blocks of those counts.
            "node": every hidden unit or channel u gets a partition c(u), in contiguous blocks; inputs and outputs
            get 0; a weight i -> j gets max(c(i), c(j)), and the bias and norm parameters of j get c(j). With zero
            defaults, subnetwork k is a dense network that is truly narrower (`narrow`). For stacks of dense and
            convolutional layers only. The rule is our choice.
            "layer": whole tensors, by `layers`; of `proportions` only the length counts. Ours.
            "adapter": like "random_weight" for the parameters that `only` picks (by default those with "lora" or
            "adapter" in their path); the rest, the pretrained weights, is frozen. Ours.
            A function `scheme(path, shape)` returns the ids of one tensor itself: integers that broadcast to it.
        default: "init" (the values of `params`), "zero", or a pytree like `params`. None is the scheme's own:
            "zero" for "node", else "init".
        key: randomness of "random_weight" and "adapter"; the others need none.
        only: picks, by its path, what is partitioned. Anything else is frozen at its value in `params`.
        layers: for "layer", the partition of each tensor: a function of the path, or a mapping from a path or the
            beginning of one (`"layers/0"`) to a partition. For "node", the paths of the layers in the order in which
            the network applies them, where the parameters' names and shapes don't tell.

    Returns:
        The `Partition`. Every choice of it but the permutations is made from shapes alone, so that this function
        may be traced and vmapped over `key` and `params`.

    Raises:
        ValueError: bad proportions; a partition that would own no scalar; an unknown scheme; a missing key; a
            network that "node" cannot trace; a tensor that `layers` doesn't name.
    """
    shares = checked_proportions(proportions, "partitions")
    num = len(shares)
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    if not paths:
        raise ValueError("params hold no array to partition")
    leaves = [(path_of(path), jnp.asarray(leaf)) for path, leaf in paths]
    if scheme == "adapter" and only is None:
        only = _is_adapter
    live = [jnp.issubdtype(leaf.dtype, jnp.floating) and (only is None or bool(only(path))) for path, leaf in leaves]
    if not any(live):
        raise ValueError(
            f"nothing is left to partition among {', '.join(path for path, _ in leaves)}: "
            f"give `only`, a function that is true for the path of every parameter to train"
        )
    if not callable(scheme) and scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)} or a function, but is {scheme!r}")
    if scheme in ("random_weight", "adapter") and key is None:
        raise ValueError(f"scheme {scheme!r} draws permutations: give key=jax.random.key(...)")

    if scheme == "node":
        if not all(live):
            raise ValueError("scheme 'node' partitions whole networks: leave `only` out, or take 'random_weight'")
        if isinstance(layers, Mapping) or callable(layers):
            raise ValueError("scheme 'node' takes `layers` as a sequence of the layers' paths, in order")
        ids = node_ids(trace_stack(params, layers), shares)
    else:
        ids = [
            _leaf_ids(path, leaf.shape, index, shares, scheme, key, layers) if on else np.full(leaf.shape, FROZEN)
            for index, ((path, leaf), on) in enumerate(zip(leaves, live, strict=True))
        ]
    _check_sizes(ids, live, shares, scheme)
    ids_tree = jax.tree.unflatten(treedef, [jnp.asarray(array, jnp.uint8) for array in ids])
    return Partition(ids_tree, _defaults(params, live, scheme, default), num)


def _is_adapter(path: str) -> bool:
    return any(name in path.lower() for name in _ADAPTERS)


def _leaf_ids(
    path: str,
    shape: tuple[int, ...],
    index: int,
    shares: np.ndarray,
    scheme: Any,
    key: PRNGKeyArray | None,
    layers: Any,
) -> Any:
    """The ids of one tensor."""
    num, size = len(shares), int(np.prod(shape))
    if callable(scheme) or scheme == "layer":
        given = scheme(path, shape) if callable(scheme) else _layer_of(path, layers)
        values = np.asarray(given)
        if not np.issubdtype(values.dtype, np.integer) or (values.size and not 0 <= values.min() <= values.max() < num):
            raise ValueError(f"the partition of {path} must be an integer in 0..{num - 1}, but is {given!r}")
        return np.broadcast_to(values, shape)
    blocks = np.repeat(np.arange(num), partition_counts(size, shares))
    if scheme == "weight":
        return blocks.reshape(shape)
    assert key is not None
    return jax.random.permutation(jax.random.fold_in(key, index), jnp.asarray(blocks, jnp.uint8)).reshape(shape)


def _layer_of(path: str, layers: Any) -> int:
    if callable(layers):
        return int(layers(path))
    if not isinstance(layers, Mapping):
        raise ValueError(
            "scheme 'layer' needs layers=: a mapping from paths (or their beginnings) to partitions, or a function"
        )
    found = [name for name in layers if path == name or path.startswith(f"{name}/")]
    if not found:
        raise ValueError(f"layers names no partition for {path}; it has {', '.join(map(str, layers))}")
    return int(layers[max(found, key=len)])


def _check_sizes(ids: Sequence[Any], live: Sequence[bool], shares: np.ndarray, scheme: Any) -> None:
    """Refuse partitions without a scalar. Permutations, which may be traced, have their tensors' exact counts."""
    sizes = np.zeros(len(shares), np.int64)
    for array, on in zip(ids, live, strict=True):
        if on and isinstance(array, np.ndarray):
            sizes += np.bincount(array.ravel(), minlength=len(shares))
        elif on:
            sizes += partition_counts(array.size, shares)
    if (sizes == 0).any():
        raise ValueError(
            f"partition {int(np.argmin(sizes)) + 1} of {len(sizes)} owns no scalar: the sizes are "
            f"{sizes.tolist()} under scheme {scheme!r} with proportions {tuple(shares.tolist())}; "
            "take larger proportions or a larger network"
        )


def _defaults(params: PyTree, live: Sequence[bool], scheme: Any, default: Any) -> PyTree:
    if default is None:
        default = "zero" if scheme == "node" else "init"
    values, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
    if isinstance(default, str):
        if default not in ("init", "zero"):
            raise ValueError(f"default must be 'init', 'zero' or a pytree like params, but is {default!r}")
        if default == "zero":
            values = [jnp.zeros_like(value) if on else value for value, on in zip(values, live, strict=True)]
        return jax.tree.unflatten(treedef, values)
    given, given_treedef = jax.tree.flatten(default)
    if str(given_treedef) != str(treedef):
        raise ValueError(f"default must have the structure of params, {treedef}, but has {given_treedef}")
    for (path, value), other in zip(jax.tree_util.tree_flatten_with_path(params)[0], given, strict=True):
        if np.shape(other) != np.shape(value):
            raise ValueError(f"default has shape {np.shape(other)} at {path_of(path)}, but params {np.shape(value)}")
    return jax.tree.unflatten(
        treedef, [jnp.asarray(other, value.dtype) for other, value in zip(given, values, strict=True)]
    )


def whole(params: PyTree) -> Partition:
    """Everything in one partition (K = 1): subnetwork 1 is the network, and nothing is out of sample.

    What ordinary training is in this package's terms: the baselines and plain federated averaging use it.
    """
    values = jax.tree.map(jnp.asarray, params)

    def ids_of(value: Array) -> Array:
        return jnp.full(value.shape, 0 if jnp.issubdtype(value.dtype, jnp.floating) else FROZEN, jnp.uint8)

    return Partition(jax.tree.map(ids_of, values), values, 1)


def _check_k(k: Any, first: int, part: Partition) -> None:
    if isinstance(k, int | np.integer) and not first <= k <= part.num:
        raise ValueError(f"k must be in {first}..{part.num}, the number of active partitions, but is {k}")


def subnetwork(params: PyTree, part: Partition, k: int | Int[Array, ""]) -> PyTree:
    """Subnetwork k: w where the partition is among the first k, else ŵ.

    Args:
        params: w.
        part: its partition.
        k: number of active partitions, 0 (all defaults) to K (w itself); an int or, traced, an integer scalar.

    Returns:
        Pytree like `params`. Differentiable in `params`: gradients are zero outside partitions 1..k.
    """
    _check_k(k, 0, part)
    return jax.tree.map(lambda i, w, d: jnp.where(i < k, w, jnp.asarray(d, w.dtype)), part.ids, params, part.default)


def trainable_view(params: PyTree, part: Partition, k: int | Int[Array, ""]) -> PyTree:
    """Subnetwork k in which only partition k is live: 1..k-1 are constants, later ones are at their default.

    What partition k is trained through. Without these constants the earlier partitions would learn from
    the shard that they are to predict, and the marginal likelihood would be a training loss.

    Args:
        params: w.
        part: its partition.
        k: 1..K; an int or, traced, an integer scalar.

    Returns:
        Pytree with the values of `subnetwork(params, part, k)`; gradients reach partition k alone.
    """
    _check_k(k, 1, part)
    fixed = jax.lax.stop_gradient(subnetwork(params, part, k))
    return jax.tree.map(lambda i, w, f: jnp.where(i == k - 1, w, f), part.ids, params, fixed)


def partition_sizes(part: Partition) -> Int[Array, " K"]:
    """(K,) how many scalars each partition owns; frozen ones count nowhere."""
    flat = jnp.concatenate([jnp.ravel(ids) for ids in jax.tree.leaves(part.ids)])
    return jnp.bincount(flat, length=FROZEN + 1)[: part.num]


def _positions(part: Partition) -> list[np.ndarray]:
    """Where the scalars of each partition stand in the concatenation of all leaves."""
    leaves = jax.tree.leaves(part.ids)
    if any(isinstance(ids, jax.core.Tracer) for ids in leaves):
        raise ValueError(
            "how long the vectors of the partitions are must be known while tracing: "
            "close over the Partition instead of passing it as an argument of the jitted function"
        )
    flat = np.concatenate([np.ravel(np.asarray(ids)) for ids in leaves])
    return [np.flatnonzero(flat == k) for k in range(part.num)]


def pack(params: PyTree, part: Partition) -> tuple[Array, ...]:
    """One flat vector for each partition: its scalars in the order of the pytree, row-major in each tensor.

    The wire format of the federated layer: a vector takes only the room of its own partition.

    Args:
        params: w, or anything of its structure (a gradient, a difference).
        part: the partition, with known ids (not traced).

    Returns:
        K vectors with `partition_sizes(part)` entries, of the leaves' common dtype.
    """
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(params)])
    return tuple(flat[positions] for positions in _positions(part))


def unpack(vectors: Sequence[Array | np.ndarray | None], part: Partition, fill: PyTree = None) -> PyTree:
    """The pytree whose scalars `pack` has put into `vectors`.

    Args:
        vectors: K flat vectors; None stands for a partition that is not there.
        part: the partition, with known ids (not traced).
        fill: pytree like w with the values of frozen scalars and of partitions that are not there; the default
            values if not given.

    Returns:
        Pytree of the structure, shapes and dtypes of `fill`.

    Raises:
        ValueError: not K vectors, or one of the wrong length.
    """
    if len(vectors) != part.num:
        raise ValueError(f"{part.num} vectors are needed, one for each partition, but there are {len(vectors)}")
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, part.default if fill is None else fill))
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    for k, (vector, positions) in enumerate(zip(vectors, _positions(part), strict=True)):
        if vector is None:
            continue
        if np.shape(vector) != (len(positions),):
            raise ValueError(
                f"partition {k + 1} has {len(positions)} scalars, but its vector has shape {np.shape(vector)}"
            )
        flat = flat.at[positions].set(jnp.asarray(vector, flat.dtype))
    pieces = jnp.split(flat, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return jax.tree.unflatten(
        treedef, [piece.reshape(leaf.shape).astype(leaf.dtype) for piece, leaf in zip(pieces, leaves, strict=True)]
    )
