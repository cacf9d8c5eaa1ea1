"""SparseGPT (Frantar & Alistarh 2023): one sweep over the inputs that prunes and corrects all outputs at once."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from offprint.sparsity._counts import n_prune
from offprint.sparsity._mask import masks_by_count
from offprint.sparsity.layerwise._choice import NofM, check_choice, lowest_of_group
from offprint.sparsity.layerwise._quadratic import EXACT, Hessian, Kernel, Pruned, prepare

Quantise = Callable[[Float[Array, " out"]], Float[Array, " out"]]


def sparsegpt(
    kernel: Kernel,
    H: Hessian,
    sparsity: float | int | None = None,
    *,
    nm: NofM | None = None,
    blocksize: int = 128,
    damp: float | int = 0.01,
    rounding: Literal["sparsegpt", "nearest", "floor", "ceil"] = "sparsegpt",
    quantise: Quantise | None = None,
) -> Pruned:
    """Prune a kernel so that the layer's outputs change little, correcting later inputs for what earlier ones lose.

    With UᵀU = H⁻¹ (U upper triangular) the weights of input j have the score w²/U_jj²; the inputs are swept in order,
    and the error (w − w')/U_jj of each is spread over those that follow by row j of U. O(in³ + in²·out).

    Args:
        kernel: weights.
        H: 2XᵀX of the layer's inputs (any multiple will do); see `collect`.
        sparsity: share removed in every block of inputs.
        nm: instead, (n, m): n kept of every m consecutive inputs, for each output, chosen when the sweep reaches them.
        blocksize: inputs whose weights are chosen together.
        damp: share of the mean of H's diagonal that is added to it; raised where that does not suffice.
        rounding: 'sparsegpt' prunes floor(sparsity · n) + 1 of the n weights of a block, as the authors' inclusive
            threshold does; the others round the number.
        quantise: applied to the weights of each input that are kept, whose error is then spread as well.

    Returns:
        Kernel and mask. Works under jit and vmap, in the precision of the kernel (float32 at least).

    Raises:
        ValueError: both or neither of sparsity and nm, shapes or a blocksize that do not fit, a singular H.

    Source: frantar2023sparsegpt.
    """
    check_choice(sparsity, nm, kernel.shape[0])
    if blocksize < 1 or (nm is not None and blocksize % nm[1]):
        raise ValueError(
            f"blocksize must be positive and, with nm=(n, m), a multiple of m; got {blocksize} with nm={nm}"
        )
    weights, upper = prepare(kernel, H, damp)
    share = None if sparsity is None else float(sparsity)
    swept, mask = _sweep(weights, upper, share, rounding, nm, blocksize, quantise)
    return Pruned(swept.astype(kernel.dtype), mask)


def _count(n: int, sparsity: float, rounding: Any) -> int:
    """How many of the n weights of a block go."""
    if rounding == "sparsegpt":
        return min(n, n_prune(n, sparsity, "floor") + 1) if sparsity else 0
    return n_prune(n, sparsity, rounding)


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6))
def _sweep(
    weights: Array,
    upper: Array,
    sparsity: float | None,
    rounding: Any,
    nm: NofM | None,
    blocksize: int,
    quantise: Quantise | None,
) -> tuple[Array, Array]:
    inputs, outputs = weights.shape

    def block(start: Any, size: int, weights: Array, keep: Array) -> tuple[Array, Array]:
        own = jax.lax.dynamic_slice(weights, (start, 0), (size, outputs))
        rows = jax.lax.dynamic_slice(upper, (start, 0), (size, inputs))
        factor = jax.lax.dynamic_slice(rows, (0, start), (size, size))
        if sparsity is None:
            chosen = jnp.ones((size, outputs), bool)
        else:
            n = size * outputs
            score = (own / jnp.diagonal(factor)[:, None]) ** 2
            chosen = masks_by_count(score, n - _count(n, sparsity, rounding))
        swept, chosen, error = _columns(own, factor, chosen, nm, quantise)
        later = jnp.arange(inputs)[:, None] >= start + size
        weights = jnp.where(later, weights - jnp.matmul(rows.T, error, precision=EXACT), weights)
        return (
            jax.lax.dynamic_update_slice(weights, swept, (start, 0)),
            jax.lax.dynamic_update_slice(keep, chosen, (start, 0)),
        )

    whole, rest = divmod(inputs, min(blocksize, inputs))
    size = min(blocksize, inputs)
    state = jax.lax.fori_loop(
        0, whole, lambda b, state: block(b * size, size, *state), (weights, jnp.zeros(weights.shape, bool))
    )
    return block(whole * size, rest, *state) if rest else state


def _columns(
    own: Array, factor: Array, keep: Array, nm: NofM | None, quantise: Quantise | None
) -> tuple[Array, Array, Array]:
    """One block, input by input: its weights, which are kept, and the errors to spread."""
    size, outputs = own.shape
    pivots = jnp.diagonal(factor)

    def current(i: Any, count: int, error: Array) -> Array:
        """The weights of inputs i, i + 1, … with the errors so far; those of later inputs are still zero."""
        spread = jax.lax.dynamic_slice(factor, (0, i), (size, count))
        return jax.lax.dynamic_slice(own, (i, 0), (count, outputs)) - jnp.matmul(spread.T, error, precision=EXACT)

    def choose(i: Any, error: Array, keep: Array) -> Array:
        assert nm is not None
        n, m = nm
        score = (current(i, m, error) / jax.lax.dynamic_slice(pivots, (i,), (m,))[:, None]) ** 2
        return jax.lax.dynamic_update_slice(keep, ~lowest_of_group(score, m - n), (i, 0))

    def column(i: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        swept, keep, error = state
        if nm is not None:
            keep = jax.lax.cond(i % nm[1] == 0, lambda: choose(i, error, keep), lambda: keep)
        value = current(i, 1, error)[0]
        new = jnp.where(keep[i], value if quantise is None else quantise(value), 0)
        return swept.at[i].set(new), keep, error.at[i].set((value - new) / pivots[i])

    swept, keep, error = jax.lax.fori_loop(0, size, column, (jnp.zeros_like(own), keep, jnp.zeros_like(own)))
    return swept, keep, error
