"""Channels chosen by the scales of their normalisation: network slimming and polarisation."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._penalties import magnitude
from offprint.sparsity._tree import map_named

_NAMES = ("scale", "gamma", "weight")


def scales(path: str, leaf: Array | np.ndarray) -> bool:
    """The filter that chooses the scales of normalisation layers: one axis and the name `scale`, `gamma` or `weight`.

    Equinox and models that come from PyTorch call them `weight`, as they call their kernels, which have more axes.
    """
    return leaf.ndim == 1 and path.rsplit("/", 1)[-1].rstrip("0123456789") in _NAMES


def slimming(params: PyTree, *, filter: Filter = scales) -> Float[Array, ""]:
    """Σ |γ| over the scales, to be added to the loss times 1e-4 or 1e-5 (`liu2017slimming`).

    Raises:
        ValueError: no leaf is a scale.
    """
    return sum(jnp.sum(magnitude(jnp.asarray(leaf))) for leaf in prunable(params, filter).values())  # type: ignore[return-value]


def slimming_scores(params: PyTree, *, filter: Filter = scales) -> PyTree:
    """|γ| of every channel, `None` at all other leaves: scores for `make_masks(..., scope="global")`.

    The channels that the masks remove are those that compaction can cut out.

    Raises:
        ValueError: no leaf is a scale.
    """
    chosen = prunable(params, filter)
    return map_named(lambda path, leaf: jnp.abs(leaf) if path in chosen else None, params)


def polarisation(params: PyTree, t: float | int = 1.2, *, filter: Filter = scales) -> Float[Array, ""]:
    """`t Σ |γ| - Σ |γ - mean γ|`, over the scales of all layers together (`zhuang2020polarization`).

    For scales that are not negative it has its minimum where a share of them is 0 and the others are equal and as large
    as allowed, unlike Σ |γ|, which shrinks all. Keep the scales non-negative (the paper clips them to [0, 1]), or add a
    weight decay.

    Args:
        params: the tree with the scales.
        t: the larger, the more scales are driven to 0; the paper uses 1 to 1.4.
        filter: which leaves are scales.

    Raises:
        ValueError: no leaf is a scale.
    """
    gammas = [jnp.ravel(leaf) for leaf in prunable(params, filter).values()]
    mean = sum(jnp.sum(gamma) for gamma in gammas) / sum(gamma.size for gamma in gammas)
    return sum(t * jnp.sum(magnitude(g)) - jnp.sum(magnitude(g - mean)) for g in gammas)  # type: ignore[return-value]
