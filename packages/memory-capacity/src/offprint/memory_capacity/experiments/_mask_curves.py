"""Curves of the naive estimator and of OSM for many input masks of one reservoir."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from offprint.memory_capacity import mask, memory_curve
from offprint.memory_capacity.plots import Band


class MaskCurves(NamedTuple):
    """Memory curves over the horizon, a row for each mask."""

    naive: np.ndarray  # (B, H)
    osm: np.ndarray  # (B, H)

    @property
    def osm_plus(self) -> np.ndarray:
        """(H,) OSM averaged over the masks."""
        return self.osm.mean(axis=0)


def draw_masks(key: PRNGKeyArray, law: str, neurons: int, count: int) -> Float[Array, "masks N"]:
    """Masks of a law of `offprint.memory_capacity.mask`, each of norm 1. Laws without chance give one mask."""
    if law in ("ones", "unit_vector"):
        return mask.LAWS[law](None, neurons)[None]
    return jax.vmap(lambda key: mask.LAWS[law](key, neurons))(jax.random.split(key, count))


def mask_curves(A: Float[Array, "N N"], masks: Float[Array, "masks N"], horizon: int) -> MaskCurves:
    """Both estimators' curves at lags 0, ..., horizon - 1 for every mask."""
    naive, osm = _both(A, masks, horizon)
    return MaskCurves(np.asarray(naive), np.asarray(osm))


# A map, not vmap: batched SVDs on the CPU run several at once, each on every core, and get in each other's way.
@partial(jax.jit, static_argnames="horizon")
def _both(A: Array, masks: Array, horizon: int) -> tuple[Array, Array]:
    def one(C: Array) -> tuple[Array, Array]:
        naive, osm = (memory_curve(A, C, horizon, method=name, horizon=horizon).values for name in ("naive", "osm"))
        return naive, osm

    return jax.lax.map(one, masks)


def band(curves: np.ndarray) -> Band:
    """Mean over the rows, with the 5 % and 95 % quantiles."""
    low, high = np.quantile(curves, [0.05, 0.95], axis=0)
    return Band(low, curves.mean(axis=0), high)
