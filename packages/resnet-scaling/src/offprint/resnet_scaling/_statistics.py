"""The paper's statistics of a sequence of weights A_0 ... A_{L-1}: numbers whose powers of L tell hypotheses apart.

One sweep over the layers for each family of statistics, nothing of O(L²), and no copy of the weights but their
cumulated sums. On the CPU a loop over layers is faster than a parallel prefix sum, which passes over memory log L
times.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Norm = str | Callable[[Array], Array]
Weights = Float[Array, "depth ..."] | Float[np.ndarray, "depth ..."]

SHORT = 10
"""Below this depth W is compared with a straight line instead of a moving mean."""

STATISTICS = (
    "max_norm",
    "scaled_increment",
    "root_sum_squares",
    "rms",
    "cumsum_norm",
    "sum_sq_increments",
    "sqrt_sobolev",
    "detrended_cumsum",
    "participation",
)


def scaling_statistics(
    weights: Weights,
    *,
    factor: float | int | Float[Array, ""] = 0.0,
    norm: Norm = "fro",
    delta: Float[Array, "depth"] | Float[np.ndarray, "depth"] | None = None,
) -> dict[str, Float[Array, ""]]:
    """All statistics of one sequence, for a norm ‖·‖ of layers (those of the paper's experiments, and of the code).

    | key | value |
    | --- | --- |
    | max_norm | max ‖A_k‖ |
    | scaled_increment | L^factor max ‖A_{k+1} - A_k‖ |
    | root_sum_squares | (Σ‖A_k‖²)^½ |
    | rms | (Σ‖A_k‖² / L)^½; the official code's "L2" lacks the division |
    | cumsum_norm | ‖ΣA_k‖ |
    | sum_sq_increments | Σ‖A_{k+1} - A_k‖² |
    | sqrt_sobolev | (L Σ‖A_{k+1} - A_k‖²)^½ |
    | detrended_cumsum | max_k ‖W_k - mean of W around k‖, W_k = Σ_{i<k} A_i |
    | participation | (Σ‖A_k‖²)² / (L Σ‖A_k‖⁴): the share of layers that carry the norm |

    The mean around k is over [0, 2k), [k - w, k + w) or [2k - L, L), whichever is the shortest, w = max(3, ⌊L/10⌋); for
    L < 10 it is (k/L) W_L instead.

    Args:
        weights: (L, ...): a stack of layers of one shape: matrices, biases, kernels.
        factor: power of L in the scaled increment; the exponent β of the weights.
        norm: "fro", the root of the sum of squares of all entries; "spectral", the largest singular value of
            matrices; or a function of one layer that returns a number and works under jit.
        delta: (L,): multipliers of the layers; the sequence is then |δ_k| A_k.

    Returns:
        Scalars of the type of the weights. With L = 1 there are no increments: NaN, with a warning.

    Raises:
        ValueError: an empty stack, weights that are not finite, an unknown norm, delta of another length.
    """
    stack = as_stack(weights)
    norm_of(norm, stack.shape[1:])
    if delta is not None:
        stack = stack * layer_factors(delta, stack)
    if len(stack) == 1:
        warnings.warn("a single layer has no increments: their statistics are NaN", stacklevel=2)
    found = _statistics(stack, jnp.asarray(factor, stack.dtype), norm)
    # Weights that are not finite show here, without another pass over all of them.
    if not isinstance(found["rms"], jax.core.Tracer) and not math.isfinite(found["rms"]):
        check_finite(stack)
    return found


@partial(jax.jit, static_argnames="norm")
def _statistics(stack: Array, factor: Array, norm: Norm) -> dict[str, Array]:
    """The statistics, compiled once for each shape and norm."""
    depth, shape = stack.shape[0], stack.shape[1:]
    measure = norm_of(norm, shape)
    flat = stack.reshape(depth, -1)

    def size(layer: Array) -> Array:
        return measure(layer.reshape(shape))

    norms = jax.vmap(size)(flat)
    squares = jnp.sum(norms**2)
    # A product sums in blocks, which is faster and more precise than adding one layer after the other.
    total = jnp.matmul(jnp.ones(depth, flat.dtype), flat, precision="highest")
    increments = jax.lax.map(lambda k: size(flat[k + 1] - flat[k]), jnp.arange(depth - 1))
    residuals = _residuals(flat, total / depth, size)
    largest, quadratic = (jnp.max(increments), jnp.sum(increments**2)) if depth > 1 else (jnp.nan, jnp.nan)
    values = {
        "max_norm": jnp.max(norms),
        "scaled_increment": jnp.asarray(depth, flat.dtype) ** factor * largest,
        "root_sum_squares": jnp.sqrt(squares),
        "rms": jnp.sqrt(squares / depth),
        "cumsum_norm": size(total),
        "sum_sq_increments": quadratic,
        "sqrt_sobolev": jnp.sqrt(depth * quadratic),
        "detrended_cumsum": jnp.max(residuals, initial=0),
        # Relative to the largest norm, so that fourth powers don't underflow.
        "participation": _participation(norms / jnp.max(norms)),
    }
    return {name: jnp.asarray(value, flat.dtype) for name, value in values.items()}


def layer_factors(delta: Array | np.ndarray, weights: Array) -> Array:
    """|δ_k|, shaped to multiply the layers.

    Raises:
        ValueError: not one for each layer.
    """
    if delta.shape != weights.shape[:1]:
        raise ValueError(
            f"delta has shape {delta.shape}; one number for each of the {weights.shape[0]} layers is needed"
        )
    return jnp.abs(jnp.asarray(delta, weights.dtype)).reshape(-1, *(1,) * (weights.ndim - 1))


def norm_of(norm: Norm, shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """The norm of one layer of this shape, as a function.

    Raises:
        ValueError: an unknown name, or "spectral" for layers that are not matrices.
    """
    if callable(norm):
        return norm
    if norm in ("fro", "frobenius"):
        return lambda layer: jnp.sqrt(jnp.vdot(layer, layer, precision="highest"))
    if norm != "spectral":
        raise ValueError(f"norm={norm!r} is unknown; 'fro', 'spectral' or a function of one layer is needed")
    if len(shape) != 2:
        raise ValueError(
            f"norm='spectral' needs layers that are matrices, got shape {shape}; for convolution kernels use "
            "conv_scaling_statistics, for others a function of one layer"
        )
    return lambda layer: jnp.linalg.norm(layer, ord=2)


def as_stack(weights: Weights) -> Array:
    """As a JAX array of floating-point numbers.

    Raises:
        ValueError: no layer, or no entry.
    """
    stack = jnp.asarray(weights)
    if stack.ndim < 1 or 0 in stack.shape:
        raise ValueError(f"weights have shape {stack.shape}; a stack (L, ...) of at least one layer is needed")
    return stack if jnp.issubdtype(stack.dtype, jnp.floating) else stack.astype(jnp.result_type(float))


def check_finite(stack: Array) -> None:
    """Whether all entries are finite; not asked under jit.

    Raises:
        ValueError: they are not.
    """
    if not isinstance(stack, jax.core.Tracer) and not bool(jnp.isfinite(stack).all()):
        layer = int(np.argwhere(~np.isfinite(np.asarray(stack)))[0, 0])
        raise ValueError(f"weights are not finite (the first at layer {layer}); leave out networks that diverged")


def _participation(norms: Array) -> Array:
    return jnp.sum(norms**2) ** 2 / (norms.shape[0] * jnp.sum(norms**4))


def _residuals(flat: Array, mean: Array, size: Callable[[Array], Array]) -> Float[Array, "steps"]:
    """‖W_k - mean of W around k‖, k = 1 ... L-1.

    W is cumulated without its linear part k·mean, which the windows reduce to mean/2 exactly: what is left is a bridge
    from 0 to 0, far smaller than W. For windows of n entries, the sum of W_i - W_k over the window is carried from k-1
    to k: it is n times the residual, so that rounding errors are relative to what is looked for.
    """
    depth = flat.shape[0]
    bridge = jax.lax.scan(lambda W, layer: (W + (layer - mean), W), jnp.zeros_like(mean), flat)[1]
    gained, signs, sizes = _windows(depth)

    def step(surplus: Array, at: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        k, rows, signs, sizes = at
        here = bridge[k]
        change = signs[0] * (bridge[rows[0]] - here) + signs[1] * (bridge[rows[1]] - here)
        surplus = surplus + (change - sizes[0] * (here - bridge[k - 1]))
        residual = here if depth < SHORT else mean / 2 - surplus / sizes[1]
        return surplus, size(residual)

    dtype = flat.dtype
    at = jnp.arange(1, depth), jnp.asarray(gained), jnp.asarray(signs, dtype), jnp.asarray(sizes, dtype)
    return jax.lax.scan(step, jnp.zeros_like(mean), at)[1]


def _windows(depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How the window around k differs from that around k-1, k = 1 ... L-1.

    Windows grow by two entries at their end, then move by one, then lose two at their start.

    Returns:
        The two entries (L-1, 2); 1 where they are gained and -1 where they are lost (L-1, 2); numbers of entries of
        the windows of k-1 and k (L-1, 2).
    """
    k, w = np.arange(1, depth), max(3, depth // 10)
    first, last = np.maximum(0, np.maximum(k - w, 2 * k - depth)), np.minimum(depth, np.minimum(k + w, 2 * k))
    one, both = k <= depth - w, k <= w
    rows = np.stack([np.where(one, last, first) - 1, np.where(both, last - 1, np.where(one, first, first - 1)) - 1], 1)
    signs = np.stack([np.where(one, 1, -1), np.where(both, 1, -1)], axis=1)
    return rows, signs, np.stack([last - first - signs.sum(axis=1), last - first], axis=1)
