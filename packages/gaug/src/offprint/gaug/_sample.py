"""A graph drawn anew from the edge predictor, as a dense matrix through which gradients flow (GAug-O)."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, Num

from offprint.gaug._draw import TINY, Estimator, ScoreMap, ceiled, check_settings, relaxed, rounded, straight_through
from offprint.gaug._graph import Graph
from offprint.gaug._uniforms import pair_uniforms


def sample_adjacency(
    key_or_uniforms: Key[Array, ""] | Float[Array | np.ndarray, "nodes nodes"],
    logits_or_z: Float[Array | np.ndarray, "nodes _"],
    adj: Graph | Num[Array | np.ndarray, "nodes nodes"],
    *,
    alpha: Float[Array, ""] | float | int = 1.0,
    temperature: Float[Array, ""] | float | int = 1.0,
    estimator: Estimator = "binary_concrete",
    score_map: ScoreMap = "max",
) -> Float[Array, "nodes nodes"]:
    """A symmetric 0/1 matrix A' with ones on its diagonal, drawn pair by pair, differentiable in the logits.

        M = L / max L  or  σ(L);   P = α M + (1 - α) A;   S_ij = σ((logit U_ij + logit P_ij) / τ);   A'_ij = 1[S_ij > ½]

    for i < j, mirrored; backwards, A' counts as S (straight-through). The pair (i, j) is in A' with probability P_ij,
    whatever τ. P and U are clipped to [eps, 1 - eps] of their dtype, and what is clipped gets no gradient.
    For graphs whose N² entries are too many see `sample_graph`.

    Args:
        key_or_uniforms: a key, or uniform numbers U (N, N) of which those above the diagonal are used.
        logits_or_z: L (N, N), symmetric; or an embedding (N, z), z ≠ N, for L = Z Zᵀ.
        adj: the original graph, or its matrix (N, N), whose diagonal does not matter.
        alpha: α in [0, 1]; 0 keeps the original graph, 1 leaves it out.
        temperature: τ > 0; small is close to a step, with steep and rare gradients.
        estimator: `"binary_concrete"`, as above (the authors' code); `"gumbel_paper"`: S = σ((log P + G) / τ) with
            Gumbel noise G = -log(-log U), which draws a pair with probability 1 - exp(-P) (the paper's formula);
            `"soft"`: S itself, for any τ; `"add_round"`: P rounded, its gradient taken as that of P; `"rand"`: every
            pair with probability ½, whatever its score; `"edge"`: a differentiable GAug-M that replaces the share α
            of the edges, the lowest scores by the highest ones.
        score_map: `"max"` (the authors' code) or `"sigmoid"` (the paper). With embeddings from a ReLU every σ(L) is at
            least ½, so that half of all pairs would be drawn.

    Returns:
        A' (N, N) in the dtype of the logits.

    Raises:
        ValueError: shapes that do not fit, α outside [0, 1], τ not above 0, an unknown name.

    Warns:
        UserWarning: all logits are 0, as of an edge predictor whose ReLUs died (where the values are known).

    Source: section "GAug-O" of the paper and the authors' code, which differ as said above.
    """
    check_settings(alpha, temperature, estimator, score_map)
    given = jnp.asarray(logits_or_z)
    n = given.shape[0]
    original = adj.to_dense() > 0 if isinstance(adj, Graph) else jnp.asarray(adj) > 0
    if original.shape != (n, n):
        raise ValueError(
            f"adj has shape {original.shape}, but there are {n} nodes in logits_or_z: ({n}, {n}) is needed"
        )
    is_embedding = given.shape[1] != n
    logits = given @ given.T if is_embedding else given
    # No product of two rows exceeds the larger of their squared lengths, so the diagonal has the largest logit.
    largest = (given * given).sum(1).max() if is_embedding else logits.max()
    _warn_of_zeros(given)
    above = jnp.triu(jnp.ones((n, n), bool), 1)
    if estimator == "edge":
        return _replace_edges(logits, original, above, alpha)
    scores = logits / jnp.maximum(largest, TINY) if score_map == "max" else jax.nn.sigmoid(logits)
    p = alpha * scores + (1 - alpha) * original
    if estimator == "add_round":
        return _mirror(rounded(p), above)
    u = _uniforms(key_or_uniforms, n, p.dtype)
    if estimator == "rand":
        return _mirror((u > 0.5).astype(p.dtype), above)
    if estimator == "soft":
        return _mirror(relaxed(p, u, temperature, "binary_concrete"), above)
    return _mirror(straight_through(p, u, temperature, estimator), above)


def _uniforms(key_or_uniforms: Any, n: int, dtype: Any) -> Array:
    if jnp.issubdtype(key_or_uniforms.dtype, jax.dtypes.prng_key):
        ids = jnp.arange(n, dtype=jnp.int32)
        return pair_uniforms(key_or_uniforms, ids, ids, dtype)
    if key_or_uniforms.shape != (n, n):
        raise ValueError(f"uniforms have shape {key_or_uniforms.shape}; ({n}, {n}) is needed")
    return jnp.asarray(key_or_uniforms, dtype)


def _mirror(sample: Array, above: Array) -> Array:
    upper = jnp.where(above, sample, 0)
    return upper + upper.T + jnp.eye(len(sample), dtype=sample.dtype)


def _replace_edges(logits: Float[Array, "n n"], original: Bool[Array, "n n"], above: Array, share: Any) -> Array:
    """The graph without its lowest-scored edges and with the highest-scored other pairs; gradients as of the scores.

    As in the authors' code a score of 0 changes nothing but keeps its gradient, below the diagonal too, where it
    reaches the smallest logit through the scaling.
    """
    with_loops = original | jnp.eye(len(logits), dtype=bool)
    changes = jnp.floor(with_loops.sum() * share / 2).astype(jnp.int32)
    scores = jnp.where(above, logits, 0)
    scores = scores - scores.min()
    scores = scores / jnp.maximum(scores.max(), TINY)
    removable, addable = above & original & (scores > 0), above & ~original & (scores > 0)
    ascending = jnp.sort(jnp.where(removable, scores, jnp.inf), axis=None)
    descending = -jnp.sort(jnp.where(addable, -scores, jnp.inf), axis=None)
    highest = ascending[jnp.minimum(changes, removable.sum()) - 1]
    lowest = descending[jnp.minimum(changes, addable.sum()) - 1]
    removed = with_loops & (scores <= highest) & (changes > 0) & removable.any()
    added = ~with_loops & (scores >= lowest) & (changes > 0) & addable.any()
    change = ceiled(jnp.where(added, scores, 0)) - ceiled(jnp.where(removed, scores, 0))
    return jnp.where(jnp.eye(len(logits), dtype=bool), 1, with_loops + change + change.T)


def _warn_of_zeros(given: Array) -> None:
    if not isinstance(given, jax.core.Tracer) and not np.asarray(given).any():
        warnings.warn(
            "all logits are 0: the ReLU of the edge predictor is dead (try another seed or a lower learning rate); "
            "no pair gets a gradient",
            UserWarning,
            stacklevel=3,
        )
