"""The phase diagram of initialisations: which scaling L^-β keeps random deep networks from identity and explosion.

The network of Marion et al. (2025): h_{k+1} = h_k + L^-β V_k σ(W_k h_k) with the ReLU σ and entries of V_k, W_k of
variance 1/d, which may be correlated along the layers.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.resnet_scaling import weights

LAWS = ("fgn", "iid", "rbf", "smooth")
_CHUNK = 64
"""Layers of independent weights drawn at a time."""


class PhaseDiagram(NamedTuple):
    """log10 of |h_L - h_0| / |h_0|: towards -∞ the network becomes the identity, towards +∞ it explodes."""

    hursts: Float[np.ndarray, " hursts"]
    betas: Float[np.ndarray, " betas"]
    log_ratios: Float[np.ndarray, "hursts betas repeats"]

    @property
    def median(self) -> Float[np.ndarray, "hursts betas"]:
        """Over the repeats."""
        return np.median(self.log_ratios, axis=-1)

    @property
    def critical_betas(self) -> Float[np.ndarray, " hursts"]:
        """Zero of the median log ratio in β, linear between the grid's points; NaN where there is none."""
        return np.array([critical_beta(self.betas, row) for row in self.median])


def log_ratios(
    key: PRNGKeyArray,
    depth: int,
    betas: Float[Array | np.ndarray, " betas"],
    *,
    law: str = "iid",
    hurst: float | int | Float[Array, ""] = 0.5,
    width: int = 40,
    repeats: int = 50,
) -> Float[Array, "betas repeats"]:
    """log10 |h_L - h_0| / |h_0| of random networks at initialisation; the same weights serve every β.

    States are rescaled on the way (the ReLU is positively homogeneous), so that nothing overflows. One repeat is held
    in memory at a time, and of independent weights some layers only. Works under jit and vmap, over `hurst` too.

    Args:
        key: typed key.
        depth: L.
        betas: β.
        law: along the layers, each entry is "iid" (independent), "fgn" (fractional Gaussian noise), "rbf" (increments
            of a smooth Gaussian process, normalised) or "smooth" (the values of such a process).
        hurst: H of "fgn", in (0, 1).
        width: d.
        repeats: networks drawn, each with a standard normal h_0.

    Raises:
        ValueError: another law; a depth, a width or repeats below 1; H outside (0, 1).

    Source: Marion, Fermanian, Biau, Vert 2025, figures on initialisation.
    """
    if law not in LAWS:
        raise ValueError(f"law={law!r} is unknown; one of {', '.join(map(repr, LAWS))} is needed")
    sizes = {"depth": depth, "width": width, "repeats": repeats}
    if bad := [f"{name}={size}" for name, size in sizes.items() if size < 1]:
        raise ValueError(f"depth, width and repeats must be at least 1, got {', '.join(bad)}")
    if not isinstance(hurst, jax.core.Tracer) and not 0 < float(hurst) < 1:
        raise ValueError(f"hurst={float(hurst):g}; a Hurst exponent lies strictly between 0 and 1")
    return _log_ratios(key, jnp.asarray(betas, float), jnp.asarray(hurst, float), depth, law, width, repeats)


def phase_diagram(
    key: PRNGKeyArray,
    hursts: Float[Array | np.ndarray, " hursts"] | Sequence[float],
    betas: Float[Array | np.ndarray, " betas"] | Sequence[float],
    *,
    depth: int = 1000,
    width: int = 40,
    repeats: int = 50,
) -> PhaseDiagram:
    """Log ratios of networks with fractional Gaussian weights over Hurst exponents and scalings.

    For large L the critical β is near max(½, H).

    Args:
        hursts: H, each in (0, 1).
        betas: β, ascending.
        key, depth, width, repeats: as in `log_ratios`.

    Raises:
        ValueError: H outside (0, 1), β not ascending, and as in `log_ratios`.

    Source: Marion et al. 2025, whose grids are 51 values of H from 0.05 to 0.97 and 70 of β from 0 to 1.3.
    """
    H, scalings = np.asarray(hursts, float), np.asarray(betas, float)
    if H.ndim != 1 or H.size < 1 or not np.all((H > 0) & (H < 1)):
        raise ValueError(f"Hurst exponents lie strictly between 0 and 1, got {H.tolist()}")
    if scalings.ndim != 1 or scalings.size < 1 or np.any(np.diff(scalings) <= 0):
        raise ValueError(f"betas must be ascending, got {scalings.tolist()}")
    grid = jnp.asarray(scalings)
    rows = [
        np.asarray(log_ratios(one, depth, grid, law="fgn", hurst=float(h), width=width, repeats=repeats))
        for one, h in zip(jax.random.split(key, H.size), H)
    ]
    return PhaseDiagram(H, scalings, np.stack(rows))


def critical_beta(betas: Float[np.ndarray, " betas"], log_ratio: Float[np.ndarray, " betas"]) -> float:
    """Where the log ratio falls through zero, linear between the points; NaN where it does not."""
    falls = np.flatnonzero((log_ratio[:-1] > 0) & (log_ratio[1:] <= 0))
    if not falls.size:
        return float("nan")
    i = int(falls[0])
    share = log_ratio[i] / (log_ratio[i] - log_ratio[i + 1])
    return float(betas[i] + share * (betas[i + 1] - betas[i]))


@partial(jax.jit, static_argnames=("depth", "law", "width", "repeats"))
def _log_ratios(
    key: PRNGKeyArray, betas: Array, hurst: Array, depth: int, law: str, width: int, repeats: int
) -> Float[Array, "betas repeats"]:
    scales = depth**-betas

    def one(key: PRNGKeyArray) -> Array:
        to_h, to_weights = jax.random.split(key)
        h0 = jnp.broadcast_to(jax.random.normal(to_h, (width,), scales.dtype), (scales.size, width))
        state = _State(h0, jnp.zeros_like(h0), jnp.zeros_like(scales))
        if law == "iid":
            state = _independent_layers(to_weights, state, scales, depth)
        else:
            W = _sequence(to_weights, law, depth, width, hurst, scales.dtype)
            state, _ = jax.lax.scan(partial(_layer, scales=scales), state, W)
        return (jnp.log(jnp.linalg.norm(state.change, axis=-1)) - jnp.log(jnp.linalg.norm(h0, axis=-1))) / jnp.log(
            10.0
        ) + state.log_scale

    return jax.lax.map(one, jax.random.split(key, repeats)).T


class _State(NamedTuple):
    """h_0 and h_k - h_0, both divided by 10^log_scale, for every β."""

    start: Float[Array, "betas width"]
    change: Float[Array, "betas width"]
    log_scale: Float[Array, " betas"]


def _layer(state: _State, pair: Float[Array, "2 width width"], scales: Array) -> tuple[_State, None]:
    """One block, then states beyond 1e6 are scaled down. The change is kept by itself: small ones are not rounded."""
    inner = jax.nn.relu((state.start + state.change) @ pair[0])
    change = state.change + scales[:, None] * (inner @ pair[1])
    down = jnp.where(jnp.max(jnp.abs(change), axis=-1) > 1e6, 1e-6, 1.0)
    down = down.astype(scales.dtype)
    return _State(state.start * down[:, None], change * down[:, None], state.log_scale - jnp.log10(down)), None


def _sequence(
    key: PRNGKeyArray, law: str, depth: int, width: int, hurst: Array, dtype: np.dtype
) -> Float[Array, "depth 2 width width"]:
    """W and V of all layers, entries of variance 1/d."""
    shape = (2, width, width)
    if law == "fgn":
        unit = depth**hurst * weights.fbm_increments(key, depth, shape, hurst=hurst, dtype=dtype)
    elif law == "rbf":
        unit = weights.rbf(key, depth, shape, dtype=dtype)
    else:
        unit = weights.smooth(key, depth, shape, dtype=dtype)
    return unit * width**-0.5


def _independent_layers(key: PRNGKeyArray, state: _State, scales: Array, depth: int) -> _State:
    """All layers, a chunk of weights at a time; the last one is filled up with layers that do nothing."""
    width = state.start.shape[-1]
    chunks = -(-depth // _CHUNK)

    def chunk(state: _State, number: Array) -> tuple[_State, None]:
        there = number * _CHUNK + jnp.arange(_CHUNK) < depth
        drawn = weights.iid(jax.random.fold_in(key, number), _CHUNK, (2, width, width), dtype=scales.dtype)
        pairs = jnp.where(there[:, None, None, None], drawn * width**-0.5, 0)
        return jax.lax.scan(partial(_layer, scales=scales), state, pairs)

    return jax.lax.scan(chunk, state, jnp.arange(chunks))[0]
