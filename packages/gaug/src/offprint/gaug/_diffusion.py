"""Graph diffusion convolution (Gasteiger et al., NeurIPS 2019): the graph of the strongest diffused links."""

from typing import Any

import numpy as np
from jaxtyping import Float

from offprint.gaug._graph import Graph


def gdc(
    g: Graph,
    *,
    alpha: float | int | None = None,
    t: float | int | None = None,
    top_k: int | None = None,
    eps: float | int | None = None,
) -> Graph:
    """The weighted graph of diffusion S on `g`, made sparse; a dense N x N computation, not for use under jit.

        S = α (I - (1 - α) T)^-1   (personalised PageRank)   or   S = exp(-t (I - T))   (heat kernel),

    with T = D̃^-1/2 Ã D̃^-1/2. A link is kept where S_ij is among the `top_k` largest of row i or of row j, or at least
    `eps`. Weights are S_ij / √(S_ii S_jj): with them the loop of weight 1 that every layer adds stands for S_ii.

    Args:
        g: the graph.
        alpha: α in (0, 1], the probability to return; 0.05 to 0.2 is usual.
        t: in place of α: diffusion time, above 0; 1 to 10 is usual.
        top_k: links of a node, not counting itself.
        eps: in place of `top_k`: the smallest S_ij that is kept, above 0.

    Raises:
        ValueError: not exactly one of α and t, or of `top_k` and `eps`; a value out of range.

    Source: Eqs. 1 and 2 there; the matrix is made symmetric here, since a `Graph` is.
    """
    _check(alpha, t, top_k, eps)
    diffused = _diffuse(np.asarray(g.to_dense(), np.float64), alpha, t)
    strength = diffused.copy()
    np.fill_diagonal(strength, 0)
    if eps is not None:
        kept = strength >= eps
    else:
        assert top_k is not None
        k = min(top_k, g.num_nodes - 1)
        kept = np.zeros(strength.shape, bool)
        np.put_along_axis(kept, np.argsort(-strength, axis=1, kind="stable")[:, :k], True, axis=1)
        kept = (kept | kept.T) & (strength > 1e-12)  # not between components, where rounding errors are all there is
    root = np.sqrt(np.diagonal(diffused))
    i, j = np.nonzero(np.triu(kept, 1))
    return Graph.from_edges(np.stack([i, j], axis=1), g.num_nodes, diffused[i, j] / (root[i] * root[j]))


def _diffuse(
    adjacency: Float[np.ndarray, "nodes nodes"], alpha: float | int | None, t: float | int | None
) -> Float[np.ndarray, "nodes nodes"]:
    n = len(adjacency)
    loops = adjacency + np.eye(n)
    scale = loops.sum(1) ** -0.5
    transition = scale[:, None] * loops * scale
    if alpha is not None:
        diffused = alpha * np.linalg.inv(np.eye(n) - (1 - alpha) * transition)
    else:
        assert t is not None
        values, vectors = np.linalg.eigh(transition)
        diffused = (vectors * np.exp(-t * (1 - values))) @ vectors.T
    return (diffused + diffused.T) / 2


def _check(alpha: Any, t: Any, top_k: Any, eps: Any) -> None:
    if (alpha is None) == (t is None) or (top_k is None) == (eps is None):
        raise ValueError(
            f"alpha={alpha}, t={t}, top_k={top_k}, eps={eps}; exactly one of alpha and t, and one of top_k and eps, "
            "is needed"
        )
    if alpha is not None and not 0 < alpha <= 1:
        raise ValueError(f"alpha={alpha}; a value above 0 and up to 1 is needed")
    for name, value in (("t", t), ("top_k", top_k), ("eps", eps)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value}; a value above 0 is needed")
