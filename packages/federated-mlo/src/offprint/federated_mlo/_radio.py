"""The radio of a deployment: bands, power and frame format, and what a received power is worth with them."""

import functools
import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from offprint.federated_mlo._checks import check_W, is_concrete
from offprint.federated_mlo._path_loss import PathLoss, path_loss
from offprint.federated_mlo._rates import check_band, select_mcs
from offprint.federated_mlo._txop import SLOT_US, txop_times

_NEAREST_M, _FARTHEST_M = 0.05, 10_000.0


class Band(NamedTuple):
    """The channel of one link."""

    f_ghz: float  # centre frequency
    bw_mhz: int  # 20, 40, 80, 160 or 320


RANDOM5_BANDS = (Band(2.437, 20), Band(5.230, 40), Band(6.295, 80))
"""One link in each of the 2.4, 5 and 6 GHz bands."""


@dataclass(frozen=True)
class Radio:
    """What all devices have in common.

    `path_loss` is a name of `PATH_LOSS` or a function `(d, f_ghz, walls, floors) -> dB`. Two places at distance d have
    floor(d / wall_spacing_m) walls between them; None means no walls.

    Raises:
        ValueError: no band, a channel that 802.11be does not have, W < 1.
    """

    bands: tuple[Band, ...] = RANDOM5_BANDS
    nss: int = 2  # spatial streams
    gi_us: float = 0.8  # guard interval
    access: Literal["rts", "basic"] = "rts"
    aggregation: bool = True
    payload_bits: int = 12_000  # of one MPDU
    max_mcs: int = 13
    tx_power_dbm: float = 20.0
    cca_dbm: float = -82.0  # an AP senses what it receives at this power or above
    path_loss: str | PathLoss = "tgax_residential"
    wall_spacing_m: float | None = 10.0
    W: int = 16  # backoff values of stage 0, CWmin + 1

    def __post_init__(self) -> None:
        if not self.bands:
            raise ValueError("bands is empty; one Band(f_ghz, bw_mhz) per link is needed")
        check_band(self.f_ghz, self.bw_mhz)
        check_W(self.W)

    @property
    def f_ghz(self) -> Float[np.ndarray, "links"]:
        return np.array([band[0] for band in self.bands], float)

    @property
    def bw_mhz(self) -> Int[np.ndarray, "links"]:
        return np.array([band[1] for band in self.bands], int)


DEFAULT_RADIO = Radio()


class LinkValues(NamedTuple):
    """What the links of each BSS are worth; the fields are those of `Topology`."""

    theta: Float[Array, "bss links"]
    cap: Float[Array, "bss links"]
    t_s: Float[Array, "bss links"]
    t_c: Float[Array, "bss links"]


def mean_backoff_us(W: float | int = 16, sigma_us: float | int = SLOT_US) -> float | int:
    """Mean backoff of stage 0, which draws 0..W-1 slots: (W - 1) / 2 slots; 67.5 us for W = 16 slots of 9 us."""
    return (W - 1) / 2 * sigma_us


@functools.partial(jax.jit, static_argnames="radio")
def received_dbm(
    distance_m: Float[Array, "*batch"], walls: Shaped[Array | np.ndarray, "..."] | None, radio: Radio
) -> Array:
    """Received power in dBm on every link, [*batch, links]."""
    if walls is None:
        spacing = radio.wall_spacing_m
        walls = jnp.zeros(()) if spacing is None else jnp.floor(distance_m / spacing)
    lost = path_loss(radio.path_loss, distance_m[..., None], radio.f_ghz, jnp.asarray(walls)[..., None])
    return radio.tx_power_dbm - lost


@functools.partial(jax.jit, static_argnames="radio")
def link_values(power_dbm: Float[Array, "bss *stations links"], radio: Radio) -> LinkValues:
    """Times and capacities by the powers that stations receive, which give the MCS.

    Several stations in range are served in turn, one TXOP each: times are means over them, and the capacity is the mean
    payload over the mean time. Out of range, the times are those of MCS 0 and the capacity is 0.
    """
    mcs = select_mcs(power_dbm, radio.bw_mhz, radio.max_mcs)
    times = txop_times(
        mcs,
        radio.bw_mhz,
        radio.nss,
        radio.gi_us,
        radio.access,
        aggregation=radio.aggregation,
        payload_bits=radio.payload_bits,
    )
    bits, t_s, t_c = (jnp.asarray(value, float) for value in (times.bits, times.t_s, times.t_c))
    if mcs.ndim == 3:
        served = (mcs >= 0).astype(bits.dtype)
        served = jnp.where(served.any(1, keepdims=True), served, 1)  # nobody in range: bits are 0, times finite
        bits, t_s, t_c = (jnp.sum(value * served, 1) / jnp.sum(served, 1) for value in (bits, t_s, t_c))
    theta = jnp.where(bits > 0, t_s / mean_backoff_us(radio.W), 0)
    return LinkValues(theta, bits / t_s, t_s, t_c)


def check_distances(*distances: Shaped[Array | np.ndarray, "..."]) -> None:
    """Look at distances in m.

    Warns:
        UserWarning: one is below 0.05 m or above 10 km, which coordinates in km or cm give, with the median.
    """
    if not is_concrete(distances):
        return
    all_m = np.concatenate([np.asarray(distance, float).ravel() for distance in distances])
    if all_m.size and not ((all_m >= _NEAREST_M) & (all_m <= _FARTHEST_M)).all():
        unit = "km" if np.median(all_m) < 1 else "cm or mm"
        warnings.warn(
            f"distances go from {all_m.min():g} to {all_m.max():g} m with median {np.median(all_m):g} m; below "
            f"{_NEAREST_M} m or above 10 km they are hardly of one Wi-Fi network: are the coordinates in {unit}?",
            stacklevel=3,
        )
