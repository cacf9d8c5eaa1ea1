"""The reconstruction loss of the edge predictor: over all pairs, over blocks of them, or over a sample."""

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from offprint.gaug._collect import inner_products
from offprint.gaug._graph import Graph
from offprint.gaug._tiles import Tiles

Mode = Literal["dense", "blockwise", "sampled"]


class LossWeights(NamedTuple):
    """How much the loss counts, and how much more an edge than a pair without one."""

    norm_w: Float[Array, ""]
    """N² / (2 (N² - S)), with S the sum of A + I."""
    pos_weight: Float[Array, ""]
    """(N² - S) / S."""


def loss_weights(g: Graph) -> LossWeights:
    """The weights of `edge_loss`. A complete graph has norm_w infinite and pos_weight 0.

    Source: the authors' code; Kipf and Welling, "Variational Graph Auto-Encoders", 2016.
    """
    positives, pairs = _num_positives(g), float(g.num_nodes) ** 2
    return LossWeights(pairs / (2 * (pairs - positives)), (pairs - positives) / positives)


def edge_loss(
    z: Float[Array | np.ndarray, "nodes embed"],
    g: Graph,
    *,
    mode: Mode = "dense",
    block_size: int = 1024,
    num_negatives: float | int = 1,
    key: Key[Array, ""] | None = None,
    compat_upper_target: bool = False,
) -> Float[Array, ""]:
    """Weighted binary cross-entropy of the logits z_i · z_j against A + I.

        L_ep = norm_w · mean_ij [ pos_weight · Ã_ij · softplus(-L_ij) + (1 - Ã_ij) · softplus(L_ij) ],  L = Z Zᵀ

    With the weights of `loss_weights` this is half the mean over edges and self-loops of softplus(-L), plus half the
    mean over all other pairs of softplus(L), which is how it is computed: the sum of softplus(L) over all pairs, and
    for the E + N pairs of Ã what differs, so that the matrix Ã is never built. Weights of the graph are not looked at.

    Args:
        z: embedding (N, z).
        g: the graph to reconstruct, without self-loops.
        mode: `"dense"`: all pairs at once, O(N²) memory; `"blockwise"`: the same value and gradient with
            O(N z + block_size²) memory; `"sampled"`: edges, and an unbiased estimate of the rest in O(E z) time.
        block_size: nodes on a side of a block.
        num_negatives: of `"sampled"`: pairs drawn for each entry of the edge list (two per edge).
        key: of `"sampled"`.
        compat_upper_target: take the upper triangle of Ã as target, with the weights of the symmetric graph, as the
            authors' code for standalone predictors does.

    Raises:
        ValueError: an unknown mode, z that does not fit the graph, a missing key, `compat_upper_target` of a sample.

    Source: the authors' code (section "Edge predictor" of the paper).
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode {mode!r} is unknown; one of {', '.join(get_args(Mode))} is needed")
    if z.shape[0] != g.num_nodes:
        raise ValueError(f"z has {z.shape[0]} rows, but the graph has {g.num_nodes} nodes; one row per node is needed")
    z = jnp.asarray(z)
    positives, pairs = _num_positives(g), float(g.num_nodes) ** 2
    to_positives = (0.5 / positives).astype(z.dtype)
    to_negatives = (0.5 / jnp.maximum(pairs - positives, 1)).astype(z.dtype)
    mask = (g.edge_mask & (g.senders < g.receivers) if compat_upper_target else g.edge_mask).astype(z.dtype)
    on_edges = inner_products(g.senders, g.receivers, z)
    on_loops = (z * z).sum(1)
    pull = (mask * jax.nn.softplus(-on_edges)).sum() + jax.nn.softplus(-on_loops).sum()
    if mode == "sampled":
        if key is None or compat_upper_target:
            raise ValueError("mode='sampled' needs key=jax.random.key(...), and has no compat_upper_target")
        return to_positives * pull + 0.5 * _mean_of_negatives(key, z, g, num_negatives)
    # Every pair repels; those of Ã are taken out again.
    push = -(mask * jax.nn.softplus(on_edges)).sum() - jax.nn.softplus(on_loops).sum()
    push += jax.nn.softplus(z @ z.T).sum() if mode == "dense" else _sum_softplus(block_size, z)
    return to_positives * pull + to_negatives * push


def kl_term(mean: Float[Array, "nodes embed"], log_std: Float[Array, "nodes embed"]) -> Float[Array, ""]:
    """kl = (0.5 / N) · mean_i Σ_k (1 + 2 log σ_ik - μ_ik² - σ_ik²), at most 0; the loss is `edge_loss(...) - kl`.

    Source: the authors' code; Kipf and Welling, "Variational Graph Auto-Encoders", 2016.
    """
    inner = 1 + 2 * log_std - mean**2 - jnp.exp(2 * log_std)
    return 0.5 / mean.shape[0] * inner.sum(1).mean()


def _num_positives(g: Graph) -> Array:
    """S, the number of entries of A + I."""
    return g.edge_mask.sum().astype(jnp.result_type(float)) + g.num_nodes


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_softplus(block_size: int, z: Array) -> Array:
    """Σ_ij softplus(z_i · z_j) over all ordered pairs, block by block."""
    return _over_tiles(block_size, z, with_gradient=False)[0]


def _forward(block_size: int, z: Array) -> tuple[Array, Array]:
    # The gradient costs one more product per block now, and a second pass over all blocks later.
    return _over_tiles(block_size, z, with_gradient=True)


def _backward(block_size: int, gradient: Array, cotangent: Array) -> tuple[Array]:
    return (cotangent * gradient,)


_sum_softplus.defvjp(_forward, _backward)


def _over_tiles(block_size: int, z: Array, with_gradient: bool) -> tuple[Array, Array]:
    tiles = Tiles(z.shape[0], block_size)
    rows = tiles.pad(z)

    def add(carry: tuple[Array, Array], tile: Array) -> tuple[tuple[Array, Array], None]:
        total, gradient = carry
        of_rows, of_columns = tiles.rows(rows, tile), tiles.columns(rows, tile)
        logits = of_rows @ of_columns.T
        counted = tiles.above_diagonal(tile)
        t = jnp.exp(-jnp.abs(logits))  # one exponential for both softplus and sigmoid
        total += 2 * jnp.where(counted, jnp.maximum(logits, 0) + jnp.log1p(t), 0).sum()
        if with_gradient:
            slope = jnp.where(counted, 2 * jnp.where(logits >= 0, 1, t) / (1 + t), 0)
            gradient = tiles.add_symmetric(gradient, tile, slope @ of_columns, slope.T @ of_rows)
        return (total, gradient), None

    on_diagonal = (z * z).sum(1)
    start = (jax.nn.softplus(on_diagonal).sum(), tiles.pad(2 * jax.nn.sigmoid(on_diagonal)[:, None] * z))
    (total, gradient), _ = jax.lax.scan(add, start, tiles.indices)
    return total, gradient[: z.shape[0]]


def _mean_of_negatives(key: Array, z: Array, g: Graph, num_negatives: float | int) -> Array:
    """Unbiased: pairs are drawn from all N², and those that belong to Ã count 0."""
    draws = max(1, round(num_negatives * len(g.senders)))
    i, j = jax.random.randint(key, (2, draws), 0, g.num_nodes)
    negative = ~_has_edge(g, i, j) & (i != j)
    pairs = float(g.num_nodes) ** 2
    share = (1 - _num_positives(g) / pairs).astype(z.dtype)
    values = jnp.where(negative, jax.nn.softplus(inner_products(i, j, z)), 0)
    return values.sum() / (draws * jnp.maximum(share, 1 / pairs))


def _has_edge(g: Graph, i: Array, j: Array) -> Array:
    """Whether j -> i stands in the sorted entries of the graph: a binary search for many pairs at once."""
    entries = len(g.senders)
    if entries == 0:
        return jnp.zeros(i.shape, bool)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low + high) // 2
        at = jnp.minimum(middle, entries - 1)
        before = (g.receivers[at] < i) | ((g.receivers[at] == i) & (g.senders[at] < j))
        open_ = low < high
        return jnp.where(open_ & before, middle + 1, low), jnp.where(open_ & ~before, middle, high)

    start = (jnp.zeros_like(i), jnp.full_like(i, entries))
    low, _ = jax.lax.fori_loop(0, entries.bit_length(), halve, start)
    at = jnp.minimum(low, entries - 1)
    return (low < entries) & (g.receivers[at] == i) & (g.senders[at] == j) & g.edge_mask[at]
