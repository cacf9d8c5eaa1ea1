"""Trend and noise of trained weights, A^{(L)}_k = L^-β Ā_{k/L} + noise, and networks of the trend alone."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from offprint.resnet_scaling._arguments import ByDepth, stacks_by_depth
from offprint.resnet_scaling._network import Delta, ResNetParams, delta_kind

HOMOGENEOUS = ("relu", "identity")


class Decomposition(NamedTuple):
    """Trend and noise by depth; each sequence is their sum. Cumulated in float64, in the type of the weights."""

    trend: dict[int, np.ndarray]
    noise: dict[int, np.ndarray]
    integral: Float[np.ndarray, "times ..."]
    """(n_times + 1, ...): ∫_0^t Ā ds at t = j / n_times, the mean over the depths of the slice."""


def decompose_trend_noise(
    weights: ByDepth,
    beta: float | int,
    n_times: int = 500,
    depths_slice: slice = slice(-8, -4),
    *,
    delta: ByDepth | None = None,
) -> Decomposition:
    """Split the weights of several depths into a common trend and what is left (official code, `coupling`).

    I_L(j) = L^{β-1} Σ_{k < ⌊Lj/n⌋} A_k is averaged over some of the depths to Ī, and the trend of depth L is
    L^-β n (Ī_{j+1} - Ī_j) with j = ⌊nk/L⌋. For Hypothesis 2 the noise then is an increment of the process W.

    Args:
        weights: for each depth a stack (L, ...), or (seeds, L, ...) for all; a sequence, or a mapping from the depth.
            Seeds are decomposed each by itself.
        beta: β, the exponent of the trend.
        n_times: n: intervals of [0, 1], fewer than the smallest depth. The paper's 500 suits depths of thousands.
        depths_slice: which of the depths, in increasing order, the trend is averaged over: the 8th- to the 5th-largest.
        delta: multipliers of the layers, (L,) or (seeds, L) by depth: the sequence is then |δ_k| A_k.

    Raises:
        ValueError: a depth that does not exceed n_times, a slice that is empty, depths that do not strictly increase.
    """
    stacks = stacks_by_depth(weights)
    if delta is not None:
        stacks = _multiplied(stacks, delta)
    seeds = {stack.shape[0] for stack in stacks.values()}
    if len(seeds) > 1:
        raise ValueError(f"weights have {sorted(seeds)} seeds at different depths; the same number at each is needed")
    integral = trend_integral(stacks, beta, n_times, depths_slice)
    trend = {depth: _trend(integral, depth, beta).astype(stack.dtype) for depth, stack in stacks.items()}
    noise = {depth: stack - trend[depth] for depth, stack in stacks.items()}
    first = next(iter(weights.values())) if isinstance(weights, Mapping) else weights[0]
    with_seeds = np.ndim(first) == integral.ndim
    if with_seeds:
        return Decomposition(trend, noise, integral)
    alone, rest = ({depth: one[0] for depth, one in parts.items()} for parts in (trend, noise))
    return Decomposition(alone, rest, integral[0])


def trend_integral(
    stacks: Mapping[int, Float[np.ndarray, "seeds _depth ..."]], beta: float | int, n_times: int, depths_slice: slice
) -> Float[np.ndarray, "seeds times ..."]:
    """Ī of each seed.

    Raises:
        ValueError: a depth that does not exceed n_times, or a slice that is empty.
    """
    depths = list(stacks)
    if n_times < 1 or n_times >= depths[0]:
        raise ValueError(
            f"n_times={n_times} and a smallest depth of {depths[0]}; at least 1 and fewer than every depth is needed: "
            "choose a smaller n_times, or leave out the depths below it"
        )
    chosen = depths[depths_slice]
    if not chosen:
        raise ValueError(f"depths_slice={depths_slice} leaves none of {len(depths)} depths; choose another")
    return np.mean([_integral(stacks[depth], depth, beta, n_times) for depth in chosen], axis=0)


def denoised_params(
    params: Mapping[int, ResNetParams],
    beta: float | int,
    *,
    delta: Delta = "shared",
    activation: str = "tanh",
    n_times: int = 500,
    depths_slice: slice = slice(-8, -4),
) -> dict[int, ResNetParams]:
    """Networks whose weights and biases are replaced by their trend; `evaluate_loss` tells what that costs.

    A shared δ is kept. With one δ_k for each layer and an activation that is positively homogeneous (ReLU), the trend
    is that of |δ_k| A_k and |δ_k| b_k, and the sign of δ_k is kept. With other activations, where |δ_k| does not pass
    through σ, it is that of A_k and b_k, and δ_k is kept.

    Args:
        params: by depth; all with or all without a leading axis of seeds.
        beta: β of the trend.
        delta: the kind of `params.delta`.
        activation: of the network.
        n_times, depths_slice: see `decompose_trend_noise`.

    Raises:
        ValueError: those of `decompose_trend_noise`.
    """
    scaled = delta_kind(delta) == "multi" and activation in HOMOGENEOUS
    multipliers = {depth: one.delta for depth, one in params.items()} if scaled else None
    A = decompose_trend_noise(
        {depth: one.A for depth, one in params.items()}, beta, n_times, depths_slice, delta=multipliers
    ).trend
    b = decompose_trend_noise(
        {depth: one.b for depth, one in params.items()}, beta, n_times, depths_slice, delta=multipliers
    ).trend
    return {
        depth: ResNetParams(
            jnp.asarray(A[depth]),
            jnp.asarray(b[depth]),
            jnp.sign(jnp.asarray(one.delta)) if scaled else jnp.asarray(one.delta),
        )
        for depth, one in params.items()
    }


def _integral(
    stack: Float[np.ndarray, "seeds depth ..."], depth: int, beta: float | int, n_times: int
) -> Float[np.ndarray, "seeds times ..."]:
    """I_L(j), j = 0 ... n."""
    cumulated = np.cumsum(stack, axis=1, dtype=float)
    cumulated = np.concatenate([np.zeros_like(cumulated[:, :1]), cumulated], axis=1)
    return depth ** (beta - 1.0) * cumulated[:, _floor_ratio(depth, np.arange(n_times + 1), n_times)]


def _trend(
    integral: Float[np.ndarray, "seeds times ..."], depth: int, beta: float | int
) -> Float[np.ndarray, "seeds depth ..."]:
    n_times = integral.shape[1] - 1
    slope = n_times * (integral[:, 1:] - integral[:, :-1])
    return depth ** -float(beta) * slope[:, _floor_ratio(n_times, np.arange(depth), depth)]


def _floor_ratio(factor: int, numbers: Int[np.ndarray, " n"], divisor: int) -> Int[np.ndarray, " n"]:
    """⌊factor · number / divisor⌋, in whole numbers: rounding would move layers between intervals."""
    return factor * numbers // divisor


def _multiplied(stacks: Mapping[int, np.ndarray], delta: ByDepth) -> dict[int, np.ndarray]:
    """|δ_k| A_k by depth."""
    given = dict(delta) if isinstance(delta, Mapping) else dict(zip(stacks, delta))
    multiplied = {}
    for depth, stack in stacks.items():
        if depth not in given or np.shape(given[depth]) not in ((depth,), stack.shape[:2]):
            shape = np.shape(given[depth]) if depth in given else "nothing"
            raise ValueError(f"delta at depth {depth} has shape {shape}; ({depth},) or {stack.shape[:2]} is needed")
        factors = np.broadcast_to(np.abs(np.asarray(given[depth], stack.dtype)), stack.shape[:2])
        multiplied[depth] = stack * factors.reshape(*factors.shape, *(1,) * (stack.ndim - 2))
    return multiplied
