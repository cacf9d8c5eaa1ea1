"""Augmentations without an edge predictor, with fixed shapes: dropped and added edges, nodes and features."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from offprint.gaug._features import Features, SparseFeatures
from offprint.gaug._graph import Graph

Augmentation = Callable[[PRNGKeyArray, Graph, Any], tuple[Graph, Any]]
"""`(key, graph, x) -> (graph, x)`, what `fit_node_classifier` takes as `augment`."""


def drop_edge(key: PRNGKeyArray, g: Graph, rate: float | int) -> Graph:
    """DropEdge: a random subset of exactly ⌊(1 - rate) E⌋ edges, both directions of each; works under jit.

    Args:
        key: a typed key.
        g: a graph without self-loops.
        rate: share of the edges that go, in [0, 1]; static.

    Returns:
        A graph of the same shape; what was dropped has weight 0 and is masked.

    Raises:
        ValueError: a rate outside [0, 1].

    Source: Rong et al., ICLR 2020, Eq. 1.
    """
    _check_rate("rate", rate)
    low, high = jnp.minimum(g.senders, g.receivers), jnp.maximum(g.senders, g.receivers)
    count = jnp.asarray(_shares(1 - rate, len(g.senders) // 2))[g.edge_mask.sum() // 2]
    return _masked(g, _smallest(_bits_of_pairs(key, low, high), g.edge_mask, 2 * count))


def add_edges(key: PRNGKeyArray, g: Graph, rate: float | int) -> Graph:
    """⌊rate E⌋ random edges more, of weight 1, between nodes that have none; works under jit.

    Random addition mostly joins nodes that are not alike: it is the control for guided addition.

    Args:
        key: a typed key.
        g: a graph without self-loops.
        rate: new edges for each old one, at least 0; static.

    Returns:
        A graph whose arrays are longer by 2 ⌊rate M⌋, where M is half the length of those of `g`. Fewer edges than
        asked for are added where they do not fit, and may be where a third of all pairs are joined already.

    Raises:
        ValueError: a rate below 0.
    """
    if not 0 <= rate < np.inf:
        raise ValueError(f"rate={rate}; at least 0 is needed")
    half = len(g.senders) // 2
    slots = int(_shares(rate, half)[half])
    low, high, new = _candidates(key, g, slots)
    wanted = jnp.asarray(_shares(rate, half))[g.edge_mask.sum() // 2]
    chosen = jnp.argsort(~new, stable=True)[:slots]  # the first new ones, in the random order of the candidates
    used = new[chosen] & (jnp.arange(slots) < wanted)
    low, high = (jnp.where(used, side[chosen], g.num_nodes - 1) for side in (low, high))
    senders = jnp.concatenate([g.senders, low, high])
    receivers = jnp.concatenate([g.receivers, high, low])
    mask = jnp.concatenate([g.edge_mask, used, used])
    weights = jnp.concatenate([g.weights, used.astype(g.weights.dtype), used.astype(g.weights.dtype)])
    order = jnp.lexsort((senders, receivers))
    return Graph(senders[order], receivers[order], weights[order], mask[order], g.num_nodes)


def drop_nodes(key: PRNGKeyArray, g: Graph, rate: float | int) -> Graph:
    """All edges of a random subset of nodes go, so that ⌊(1 - rate) N⌋ nodes keep theirs among them; works under jit.

    The nodes themselves stay, alone.

    Args:
        key: a typed key.
        g: a graph.
        rate: share of the nodes, in [0, 1]; static.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    _check_rate("rate", rate)
    kept = _some(key, g.num_nodes, 1 - rate)
    return _masked(g, g.edge_mask & kept[g.senders] & kept[g.receivers])


def mask_features(key: PRNGKeyArray, x: Features, rate: float | int) -> Features:
    """Zeros in a random subset of the columns, so that ⌊(1 - rate) F⌋ stay as they are; works under jit.

    Args:
        key: a typed key.
        x: features (N, F), dense or sparse.
        rate: share of the columns, in [0, 1]; static.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    _check_rate("rate", rate)
    kept = _some(key, x.shape[1], 1 - rate)
    if isinstance(x, SparseFeatures):
        return x.with_values(jnp.where(kept[x.columns], x.values, 0))
    return jnp.where(kept, x, 0)


def compose(
    *on_graph: Callable[[PRNGKeyArray, Graph], Graph], on_features: Sequence[Callable[[PRNGKeyArray, Any], Any]] = ()
) -> Augmentation:
    """One augmentation of several, each with a key of its own.

        augment = compose(partial(drop_edge, rate=0.2), on_features=[partial(mask_features, rate=0.1)])
        g, x = augment(key, g, x)

    Args:
        on_graph: functions `(key, graph) -> graph`, applied in this order.
        on_features: functions `(key, x) -> x`, likewise.
    """

    def augment(key: PRNGKeyArray, g: Graph, x: Any) -> tuple[Graph, Any]:
        for number, change in enumerate(on_graph):
            g = change(jax.random.fold_in(key, number), g)
        for number, change in enumerate(on_features, start=len(on_graph)):
            x = change(jax.random.fold_in(key, number), x)
        return g, x

    return augment


def _check_rate(name: str, rate: float | int) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}={rate}; a share in [0, 1] is needed, so 20 % is 0.2")


def _shares(share: float | int, largest: int) -> Int[np.ndarray, "numbers"]:
    """⌊share n⌋ for n = 0..largest: a table, since the float type of the device would round to other integers."""
    return np.floor(share * np.arange(largest + 1) + 1e-9).astype(np.int32)  # (1 - 0.9) 10 is 1


def _some(key: PRNGKeyArray, largest: int, share: float | int) -> Array:
    """A mask (largest,) of exactly ⌊share n⌋ of n places."""
    bits = jax.random.bits(key, (2, largest), jnp.uint32)
    return _smallest(bits, jnp.ones(largest, bool), jnp.asarray(_shares(share, largest)[largest]))


@jax.jit
def _bits_of_pairs(key: PRNGKeyArray, low: Array, high: Array) -> Array:
    """Two random words (2, entries) for each pair: both directions of an edge get the same without a search."""

    def draw(i: Array, j: Array) -> Array:
        return jax.random.bits(jax.random.fold_in(jax.random.fold_in(key, i), j), (2,), jnp.uint32)

    return jax.vmap(draw)(low, high).T


@jax.jit
def _smallest(bits: Array, candidates: Array, count: Array) -> Array:
    """A mask of the `count` candidates with the smallest numbers of two words; much faster than a sort."""
    high, low = bits
    bound = _threshold(high, candidates, count)
    sure, tied = candidates & (high < bound), candidates & (high == bound)
    rest = count - sure.sum()
    return sure | (tied & (low < _threshold(low, tied, rest))) | (tied & (rest >= tied.sum()))


def _threshold(words: Array, candidates: Array, count: Array) -> Array:
    """The largest bound below which lie at most `count` of the candidates' words, bit by bit."""

    def set_bit(i: Array, bound: Array) -> Array:
        higher = bound | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        return jnp.where((candidates & (words < higher)).sum() <= count, higher, bound)

    return jax.lax.fori_loop(0, 32, set_bit, jnp.uint32(0))


def _masked(g: Graph, kept: Array) -> Graph:
    return Graph(g.senders, g.receivers, jnp.where(kept, g.weights, 0), kept, g.num_nodes)


def _candidates(key: PRNGKeyArray, g: Graph, slots: int) -> tuple[Array, Array, Array]:
    """At least `slots` pairs in random order, and whether each is new: i < j, no edge, and the first of its kind."""
    n, count = g.num_nodes, 2 * slots + 64
    if n * (n - 1) // 2 <= 4 * count:  # few enough to list them all
        every = np.stack(np.triu_indices(n, 1)).astype(np.int32)
        shuffled = jax.random.permutation(key, jnp.asarray(every), axis=1)
        low, high = jnp.pad(shuffled, ((0, 0), (0, max(0, slots - every.shape[1]))))
    else:
        ends = jax.random.randint(key, (2, count), 0, n, jnp.int32)
        low, high = ends.min(0), ends.max(0)
    # Sort edges and candidates together, edges first among equals: a new candidate differs from the one before it.
    # Masked entries are moved out of the way, to a pair that no candidate has.
    forward = g.edge_mask & (g.senders < g.receivers)
    lows = jnp.concatenate([jnp.where(forward, g.senders, n), low])
    highs = jnp.concatenate([jnp.where(forward, g.receivers, n), high])
    order = jnp.lexsort((highs, lows))  # stable
    lows_sorted, highs_sorted = lows[order], highs[order]
    same = (lows_sorted[1:] == lows_sorted[:-1]) & (highs_sorted[1:] == highs_sorted[:-1])
    first = jnp.zeros(len(order), bool).at[order].set(jnp.concatenate([jnp.ones(1, bool), ~same]))
    return low, high, first[len(g.senders) :] & (low < high)
