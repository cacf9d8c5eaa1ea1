"""How rough one sequence of layers is: what a single checkpoint tells, without a sweep over depths.

All of it looks at the cumulated weights W_k = Σ_{i<k} A_i. Smooth layers make W differentiable in k/L (Hurst exponent
near 1), independent ones make it Brownian (½), alternating ones rougher still.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq

from offprint.resnet_scaling._exponents import Fit, fit_exponent
from offprint.resnet_scaling._statistics import Weights, as_stack, check_finite

MIN_LAYERS = 32
"""Below this there are fewer than three dyadic block lengths up to L/8."""


def p_variation(weights: Weights, p: float | int | Float[Array, ""], *, blocks: int | None = None) -> Float[Array, ""]:
    """V_p = Σ ‖W_{(j+1)m} - W_{jm}‖^p over neighbouring blocks of m = ⌊L / blocks⌋ layers.

    For W of Hurst exponent H it neither grows nor shrinks under refinement at p = 1/H: p = 1 for smooth layers, the
    quadratic variation p = 2 for Brownian ones.

    Args:
        weights: (L, ...).
        p: positive.
        blocks: L by default, blocks of one layer.

    Raises:
        ValueError: blocks outside 1 ... L, p not positive.
    """
    stack = _finite_stack(weights)
    depth = stack.shape[0]
    blocks = depth if blocks is None else blocks
    if not 1 <= blocks <= depth:
        raise ValueError(f"blocks={blocks}; a number from 1 to the {depth} layers is needed")
    if not isinstance(p, jax.core.Tracer) and not float(p) > 0:
        raise ValueError(f"p={float(p):g}; a positive number is needed")
    length = depth // blocks
    sums = stack[: blocks * length].reshape(blocks, length, -1).sum(axis=1)
    return jnp.sum(jnp.sqrt(jnp.sum(sums**2, axis=1)) ** p)


def critical_p(weights: Weights) -> float:
    """The p at which the p-variation does not depend on the partition: 1/H of a process of Hurst exponent H.

    Root in p of the slope of log V_p on log m, m = 1, 2, 4, ... L/8; NaN where there is none, as with a few active
    layers, whose jumps have the same V_p on every partition.

    Raises:
        ValueError: fewer than 32 layers, or layers that are all equal or zero.
    """
    W = _cumulated(weights)
    depth = W.shape[0] - 1
    lengths = _block_lengths(depth)
    norms = [np.linalg.norm(np.diff(W[::m], axis=0), axis=1) for m in lengths]
    scale = max(float(one.max()) for one in norms)
    if scale == 0:
        raise ValueError("all blocks of layers sum to zero; roughness is not defined")
    x = np.log(lengths) - np.log(lengths).mean()

    def slope(p: float) -> float:
        logs = np.log([np.mean((one / scale) ** p) * depth / m for one, m in zip(norms, lengths)])
        return float(x @ logs / (x @ x))

    lowest, highest = 1e-3, 64.0
    return float(brentq(slope, lowest, highest)) if slope(lowest) < 0 < slope(highest) else float("nan")


def hurst_exponent(weights: Weights, *, n_boot: int = 0) -> Fit:
    """Hurst exponent of the cumulated weights, as `slope` of log RMS ‖W_{k+m} - W_k‖ on log m, m = 1, 2, 4 ... L/8.

    The method of aggregated variances over all overlapping blocks: near 1 for smooth layers, ½ for independent ones.
    A trend beneath the noise pulls the long blocks towards 1; `local_slopes` of the fit show it. If layers enter with
    different multipliers, multiply by them first (or see `roughness(normalise=True)`).

    Args:
        weights: (L, ...), L at least 32.
        n_boot: resamples of the block lengths for an interval; 0 for none.

    Raises:
        ValueError: fewer than 32 layers, or blocks that all sum to zero.
    """
    W = _cumulated(weights)
    lengths = _block_lengths(W.shape[0] - 1)
    rms = np.array([np.sqrt(np.mean(np.sum((W[m:] - W[:-m]) ** 2, axis=1))) for m in lengths])
    return fit_exponent(lengths, rms, n_boot=n_boot, name="RMS of sums over blocks")


def spectrum(weights: Weights) -> tuple[Float[Array, "frequencies"], Float[Array, "frequencies"]]:
    """Power of the layer sequence by frequency: at the low end for smooth sequences, flat for independent layers.

    Returns:
        Frequencies in cycles per layer, 1/L ... 1/2, and the mean over entries of |FFT of A_k along k|² / L.

    Raises:
        ValueError: fewer than 2 layers.
    """
    stack = _finite_stack(weights)
    depth = stack.shape[0]
    if depth < 2:
        raise ValueError("a single layer has no spectrum; at least 2 layers are needed")
    power = jnp.abs(jnp.fft.rfft(stack.reshape(depth, -1), axis=0)) ** 2 / depth
    return jnp.arange(1, depth // 2 + 1, dtype=stack.dtype) / depth, jnp.mean(power[1:], axis=1)


def increment_ratio(weights: Weights) -> Float[Array, ""]:
    """Σ‖A_{k+1} - A_k‖² / (2 Σ‖A_k - mean‖²), with both sums as means: near 0 smooth, 1 independent, 2 alternating.

    Half of von Neumann's ratio; NaN for a single layer, and for layers that are all equal.
    """
    flat = _finite_stack(weights).reshape(weights.shape[0], -1)
    depth = flat.shape[0]
    if depth < 2:
        return jnp.full((), jnp.nan, flat.dtype)
    increments = jnp.sum((flat[1:] - flat[:-1]) ** 2) / (depth - 1)
    return increments / (2 * jnp.sum((flat - flat.mean(axis=0)) ** 2) / depth)


@dataclass(frozen=True)
class RoughnessReport:
    """One sequence of layers."""

    layers: int
    verdict: str
    """"smooth", "rough" or "between"."""
    increment_ratio: float
    """See `increment_ratio`."""
    hurst: Fit | None
    """None for fewer than 32 layers."""
    critical_p: float
    """NaN for fewer than 32 layers."""
    participation: float
    """Share of the layers that carry the norm; small where a few dominate."""
    largest_share: float
    """Share of Σ‖A_k‖² that the largest layer has."""

    def __str__(self) -> str:
        hurst = "unknown (fewer than 32 layers)" if self.hurst is None else f"{self.hurst.slope:.2f}"
        return (
            f"{self.verdict}: {self.layers} layers, increment ratio {self.increment_ratio:.3g} (0 smooth, "
            f"1 independent), Hurst exponent {hurst}, participation {self.participation:.2f}, "
            f"largest layer {self.largest_share:.0%}"
        )


def roughness(weights: Weights, *, normalise: bool = False) -> RoughnessReport:
    """What one checkpoint tells about the smoothness of its layers, without a sweep over depths.

    "smooth" where the increment ratio is below 0.1, and the Hurst exponent above 0.8 if there are layers enough for
    one; "rough" where the ratio is above 0.5, and the exponent below 0.7; otherwise "between".

    Args:
        weights: (L, ...), L at least 3.
        normalise: divide each layer by its norm first, where residual multipliers differ; zero layers stay zero.

    Raises:
        ValueError: fewer than 3 layers, or layers that are all equal.
    """
    stack = _finite_stack(weights)
    depth = stack.shape[0]
    if depth < 3:
        raise ValueError(f"{depth} layers; at least 3 are needed for their roughness")
    squares = jnp.sum(stack.reshape(depth, -1) ** 2, axis=1)
    if normalise:
        norms = jnp.sqrt(jnp.where(squares > 0, squares, 1)).reshape(-1, *(1,) * (stack.ndim - 1))
        stack = stack / norms
    ratio = float(increment_ratio(stack))
    if not np.isfinite(ratio):
        raise ValueError("all layers are equal; their roughness is not defined")
    enough = depth >= MIN_LAYERS
    hurst = hurst_exponent(stack) if enough else None
    slope = np.nan if hurst is None else hurst.slope
    smooth = ratio < 0.1 and not slope <= 0.8
    rough = ratio > 0.5 and not slope >= 0.7
    share = np.asarray(squares / squares.max(), float)
    return RoughnessReport(
        layers=depth,
        verdict="smooth" if smooth else "rough" if rough else "between",
        increment_ratio=ratio,
        hurst=hurst,
        critical_p=critical_p(stack) if enough else float("nan"),
        participation=float(share.sum() ** 2 / (depth * (share**2).sum())),
        largest_share=float(1 / share.sum()),
    )


def _finite_stack(weights: Weights) -> Array:
    stack = as_stack(weights)
    check_finite(stack)
    return stack


def _block_lengths(depth: int) -> np.ndarray:
    """1, 2, 4, ... up to L/8.

    Raises:
        ValueError: fewer than three of them.
    """
    if depth < MIN_LAYERS:
        raise ValueError(f"{depth} layers; at least {MIN_LAYERS} are needed for a Hurst exponent")
    return 2 ** np.arange(int(np.log2(depth // 8)) + 1)


def _cumulated(weights: Weights) -> np.ndarray:
    """W_0 ... W_L in float64, (L + 1, entries)."""
    flat = np.asarray(_finite_stack(weights), float).reshape(weights.shape[0], -1)
    return np.concatenate([np.zeros((1, flat.shape[1])), np.cumsum(flat, axis=0)])
