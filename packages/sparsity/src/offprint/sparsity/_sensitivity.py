"""How much the loss suffers when one layer alone is pruned."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._counts import check_sparsity, n_prune
from offprint.sparsity._mask import make_masks, masks_by_count
from offprint.sparsity._tree import check_same, map_named, named_leaves


class Sensitivity(NamedTuple):
    """Losses of a scan; float64 on the host."""

    dense: float  # loss with nothing pruned
    sparsities: np.ndarray  # (k,)
    losses: dict[str, np.ndarray]  # path of the pruned leaf: (k,)


def sensitivity_scan(
    loss: Callable[[PyTree], Float[Array, ""]], params: PyTree, scores: PyTree, sparsities: Sequence[float | int]
) -> Sensitivity:
    """Prune one leaf at a time to each sparsity and record the loss (Han et al. 2015, `han2015`, section 3).

    Args:
        loss: of params alone; it is compiled once.
        params: the network.
        scores: high = keep; `None` at leaves that are not scanned.
        sparsities: of the one leaf.

    Raises:
        ValueError: scores of another model, or not finite; a sparsity outside [0, 1).
    """
    check_same(params, scores, "scores")
    chosen = {path: score for path, score in named_leaves(scores) if score is not None}
    if not chosen:
        raise ValueError("scores are None at every leaf: there is nothing to scan")
    make_masks(scores, 0.0)  # for its errors
    shares = np.array([check_sparsity(sparsity) for sparsity in sparsities])

    # One program: which leaf is pruned is decided by counts, a leaf that is not keeps all of its elements.
    @jax.jit
    def pruned_loss(counts: dict[str, Array]) -> Float[Array, ""]:
        masks = masks_by_count(scores, map_named(lambda path, score: counts.get(path), scores))
        return loss(jax.tree.map(lambda p, mask: p if mask is None else jnp.where(mask, p, 0), params, masks))

    full = {path: np.int32(score.size) for path, score in chosen.items()}
    losses = {
        path: np.array(
            [float(pruned_loss(full | {path: np.int32(score.size - n_prune(score.size, share))})) for share in shares]
        )
        for path, score in chosen.items()
    }
    return Sensitivity(float(pruned_loss(full)), shares, losses)
