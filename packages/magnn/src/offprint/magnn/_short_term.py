"""Short-term interest: a graph neural network over the last items, Eq. 1 and 2."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from offprint.magnn._graph import ItemGraph, propagate

WINDOW_REACH = 3
"""Places within which items of a window are neighbours in its own graph."""


def lookup(table: Float[Array, "rows d"], ids: Int[Array, "*batch"]) -> Float[Array, "*batch d"]:
    """Rows of a table; zero, and without a gradient, where the id is -1 (padding)."""
    return table.at[ids].get(mode="fill", fill_value=0, wrap_negative_indices=False)


def masked_mean(x: Float[Array, "*batch items d"], mask: Bool[Array, "*batch items"]) -> Float[Array, "*batch d"]:
    """The mean over the real items; zero where there is none. Padded slots of `x` must be zero already."""
    return x.sum(axis=-2) / jnp.maximum(mask.sum(axis=-1, keepdims=True), 1).astype(x.dtype)


def gnn(
    neighbours: Float[Array, "*batch d"], own: Float[Array, "*batch d"], W1: Float[Array, "d two_d"]
) -> Float[Array, "*batch d"]:
    """h_i = tanh(W1 [sum_k A_ik e_k ; e_i]), Eq. 1.

    Args:
        neighbours: the weighted means of the neighbours' vectors.
        own: the items' own vectors.
        W1: its left half is applied to the neighbours, its right half to the items themselves.

    Returns:
        The hidden vectors h.
    """
    d = own.shape[-1]
    return jnp.tanh(neighbours @ W1[:, :d].T + own @ W1[:, d:].T)


def window_graph(length: int, *, reach: int = WINDOW_REACH) -> Float[np.ndarray, "length length"]:
    """The graph that a window makes by itself: 1 for two places at most `reach` apart, 0 on the diagonal.

    Args:
        length: |L|.
        reach: places.

    Returns:
        The matrix before its rows are normalised.
    """
    apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    return ((apart > 0) & (apart <= reach)).astype(float)


def window_neighbours(
    x: Float[Array, "batch length d"], mask: Bool[Array, "batch length"]
) -> Float[Array, "batch length d"]:
    """The mean over the neighbours that each real item of a window has within the window."""
    adjacency = jnp.asarray(window_graph(x.shape[1]), x.dtype) * mask[:, None, :]
    degree = jnp.maximum(adjacency.sum(axis=-1, keepdims=True), 1)
    return (adjacency / degree) @ x


def window_means(
    short: Int[Array, "batch L"], E: Float[Array, "items d"], W1: Float[Array, "d two_d"], steps: int
) -> tuple[Float[Array, "batch d"], Float[Array, "batch d"]]:
    """Means over the window of h_i and of e_i, each window its own graph.

    Args:
        short: item ids; -1 is padding.
        E: the items' vectors.
        W1: see `gnn`.
        steps: how often Eq. 1 is applied.

    Returns:
        Both means.
    """
    mask = short >= 0
    h = e = lookup(E, short)
    for _ in range(steps):
        h = gnn(window_neighbours(h, mask), h, W1) * mask[..., None]
    return masked_mean(h, mask), masked_mean(e, mask)


def global_means(
    short: Int[Array, "batch L"], E: Float[Array, "items d"], W1: Float[Array, "d two_d"], graph: ItemGraph, steps: int
) -> tuple[Float[Array, "batch d"], Float[Array, "batch d"]]:
    """Means over the window of h_i and of e_i, all windows on the graph of all items.

    Args:
        short: item ids; -1 is padding.
        E: the items' vectors.
        W1: see `gnn`.
        graph: the item graph.
        steps: how often Eq. 1 is applied.

    Returns:
        Both means.
    """
    mask, d = short >= 0, E.shape[1]
    if steps == 1 and short.size < graph.num_items:  # fewer places than items: Eq. 1 for those only
        rows = lookup(jnp.concatenate([propagate(graph, E), E], axis=1), short)
        return masked_mean(jnp.tanh(rows @ W1.T), mask), masked_mean(rows[..., d:], mask)
    h = E
    for _ in range(steps):  # h_i depends on nothing but the item: once for each
        h = gnn(propagate(graph, h), h, W1)
    means = masked_mean(lookup(jnp.concatenate([h, E], axis=1), short), mask)
    return means[:, :d], means[:, d:]


def fuse_user(
    h_mean: Float[Array, "batch d"], p: Float[Array, "batch d"], W2: Float[Array, "d two_d"]
) -> Float[Array, "batch d"]:
    """p^S = tanh(W2 [mean_i h_i ; p_u]), Eq. 2.

    Args:
        h_mean: the mean of the hidden vectors of the window's items.
        p: the users' vectors.
        W2: its left half is applied to the mean, its right half to the user.

    Returns:
        The short-term interest of each user.
    """
    d = p.shape[-1]
    return jnp.tanh(h_mean @ W2[:, :d].T + p @ W2[:, d:].T)
