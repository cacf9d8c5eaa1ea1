"""Growing regularisation: a penalty that grows until the weights it acts on have vanished (`wang2021greg`)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from offprint.sparsity._apply import as_masks
from offprint.sparsity._filter import Filter, prunable
from offprint.sparsity._tree import check_same, map_named


def growing_strength(
    step: Int[Array | np.ndarray, ""] | int,
    rate: float | int = 1e-4,
    every: int = 10,
    ceiling: float | int = 1.0,
) -> Float[Array, ""]:
    """The strength at a step: `rate` more every `every` steps, from `rate` at step 0, up to `ceiling`.

    Raises:
        ValueError: `every` below 1, or a rate or ceiling that is not positive.

    From memory of the paper, not checked against it.
    """
    _check(rate, every, ceiling)
    return jnp.minimum(rate * (1.0 + jnp.asarray(step) // every), float(ceiling))


class GrowingState(NamedTuple):
    """State of `growing_l2`."""

    step: Int[Array, ""]  # steps taken


def growing_l2(
    masks: PyTree | None = None,
    *,
    rate: float | int = 1e-4,
    every: int = 10,
    ceiling: float | int = 1.0,
    filter: Filter | None = None,
) -> optax.GradientTransformation:
    """Add `growing_strength(step) · w` to the gradients of the weights that are to go: before the optimiser in a chain.

    `optax.chain(growing_l2(masks), optax.sgd(lr, momentum=0.9))`, then prune with `apply(params, masks)`: by then the
    weights outside the masks have faded, so pruning costs little. The weights that stay are not regularised.

    Args:
        masks: False where a weight is to go, `None` for a leaf left alone (the paper's GReg-1 takes the filters of the
            smallest L1 norm). Without masks all weights that `filter` chooses are regularised (GReg-2): the growing
            penalty drives apart those that the loss needs and those it does not, after which magnitude chooses better.
        rate: what the strength grows by.
        every: steps between two increases; the paper uses 5 or 10.
        ceiling: largest strength.
        filter: the leaves, if there are no masks; default: kernels.

    Raises:
        ValueError: see `growing_strength`; masks of another tree; update without params.

    From memory of the paper, not checked against it.
    """
    _check(rate, every, ceiling)

    def init(params: PyTree) -> GrowingState:
        if masks is None:
            prunable(params, filter)
        else:
            check_same(params, masks, "masks")
        return GrowingState(jnp.zeros([], jnp.int32))

    def update(grads: PyTree, state: GrowingState, params: PyTree | None = None) -> tuple[PyTree, GrowingState]:
        if params is None:
            raise ValueError("growing_l2 needs params: call update(grads, state, params)")
        strength = growing_strength(state.step, rate, every, ceiling)

        def pulled(g: Array, p: Array, going: Array | bool) -> Array:
            return g + jnp.where(going, strength.astype(g.dtype) * p.astype(g.dtype), 0)

        if masks is None:
            chosen = prunable(params, filter)
            new = map_named(lambda path, p, g: pulled(g, p, True) if path in chosen else g, params, grads)
        else:
            new = jax.tree.map(lambda p, g, m: g if m is None else pulled(g, p, ~m), params, grads, as_masks(masks))
        return new, GrowingState(optax.safe_increment(state.step))

    return optax.GradientTransformation(init, update)


def _check(rate: float | int, every: int, ceiling: float | int) -> None:
    if not rate > 0 or not ceiling > 0:
        raise ValueError(f"rate={rate} and ceiling={ceiling} must be positive")
    if every < 1:
        raise ValueError(f"every={every}: the strength grows at most once a step, so it must be at least 1")
