"""PHY rates of 802.11be and the choice of an MCS: IEEE 802.11be, EHT SU PPDU, one RU over the whole bandwidth.

Rates come from the formula N_SD * bits * r * N_SS / (12.8 + GI), never from a printed table: such tables round, and
some public ones hold wrong entries.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from offprint.federated_mlo._checks import is_concrete

BANDWIDTHS_MHZ = (20, 40, 80, 160, 320)
DATA_SUBCARRIERS = (234, 468, 980, 1960, 3920)
"""N_SD of the bandwidths in `BANDWIDTHS_MHZ`."""
MODULATION_BITS = (1, 2, 2, 4, 4, 6, 6, 6, 8, 8, 10, 10, 12, 12)
"""Coded bits per subcarrier and stream, MCS 0..13."""
CODING_RATE_TWELFTHS = (6, 6, 9, 6, 9, 8, 9, 10, 9, 10, 9, 10, 9, 10)
"""Coding rate times 12, MCS 0..13."""
GUARD_INTERVALS_US = (0.8, 1.6, 3.2)
MAX_STREAMS = 8
SENSITIVITY_DBM = (-82, -79, -77, -74, -70, -66, -65, -64, -59, -57, -54, -52, -49, -46)
"""Least received power (dBm) at which MCS 0..13 works on 20 MHz; 3 dB more per doubling of the bandwidth."""

_BANDS_GHZ = {
    "2.4": (2.4, 2.5, 40),
    "5": (4.9, 5.925, 160),
    "6": (5.925, 7.125, 320),
}  # from, to, widest channel in MHz

# Mean SNR (dB) of the success curves Phi((SNR - mean) / 1.6), MCS 0..13, fitted to ns-3 runs with Nakagami fading by
# the authors of ml4wifi-devs/mapc-sim (CC0). They don't rise with the MCS at the low end: that is how they were fitted.
MEAN_SNR_DB = (
    (15.160, 13.720, 12.749, 12.315, 11.816, 13.850, 14.639, 15.660, 19.442, 20.892, 28.141, 30.084, 33.888, 35.913),
    (13.937, 12.314, 11.807, 11.671, 12.610, 15.901, 17.166, 18.447, 22.386, 23.885, 31.153, 33.082, 36.892, 38.926),
    (12.287, 11.475, 11.209, 12.432, 14.802, 18.870, 20.203, 21.485, 25.403, 26.908, 34.376, 36.301, 40.107, 42.129),
    (11.492, 11.342, 12.263, 14.681, 17.739, 21.901, 23.215, 24.481, 28.421, 29.906, 37.386, 39.310, 43.131, 45.163),
)
SNR_SPREAD_DB = 1.6

# Bits per OFDM symbol and stream times 12, [bandwidth, mcs]: integers, since some N_DBPS are fractional.
NDBPS_TWELFTHS = np.outer(DATA_SUBCARRIERS, np.multiply(MODULATION_BITS, CODING_RATE_TWELFTHS)).astype(np.int64)

Numbers = Array | np.ndarray | np.generic | float | int
"""A number or an array of numbers that broadcasts with the other arguments."""


def bandwidth_index(bw_mhz: Any) -> Any:
    """Position of each bandwidth in `BANDWIDTHS_MHZ`: a NumPy array if the values are known, else a traced one.

    Raises:
        ValueError: a bandwidth that 802.11be does not have.
    """
    if not is_concrete(bw_mhz):
        return jnp.argmax(jnp.asarray(bw_mhz)[..., None] == jnp.asarray(BANDWIDTHS_MHZ), -1)
    values = np.asarray(bw_mhz)
    known = values[..., None] == np.asarray(BANDWIDTHS_MHZ)
    if not known.any(-1).all():
        wrong = values[~known.any(-1)].ravel()[0]
        raise ValueError(
            f"bw_mhz = {wrong:g} is no bandwidth of 802.11be; use {', '.join(map(str, BANDWIDTHS_MHZ))} MHz"
        )
    return known.argmax(-1)


def check_mcs(mcs: Any, least: int = -1) -> None:
    """Refuse MCS indices other than 0..13, and -1 for a link that is out of range.

    Raises:
        ValueError: with the first offending index.
        TypeError: the indices are not integers.
    """
    if not is_concrete(mcs):
        return
    values = np.asarray(mcs)
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"mcs is {values.dtype} where integers are needed")
    wrong = (values < least) | (values > 13)
    if wrong.any():
        raise ValueError(
            f"mcs = {values[wrong].ravel()[0]} is not in 802.11be; use 0 to 13"
            + (", or -1 for a link that is out of range" if least < 0 else "")
        )


def check_streams(nss: Any) -> None:
    """Refuse numbers of spatial streams outside 1..8.

    Raises:
        ValueError: with the first offending number.
    """
    if is_concrete(nss):
        values = np.asarray(nss)
        wrong = (values < 1) | (values > MAX_STREAMS) | (values % 1 != 0)
        if wrong.any():
            raise ValueError(f"nss = {values[wrong].ravel()[0]:g} streams; 802.11be has 1 to {MAX_STREAMS}")


def check_guard_interval(gi_us: Any) -> None:
    """Refuse guard intervals other than 0.8, 1.6 and 3.2 us.

    Raises:
        ValueError: with the first offending interval.
    """
    if is_concrete(gi_us):
        values = np.asarray(gi_us, dtype=float)
        known = np.isclose(values[..., None], GUARD_INTERVALS_US, rtol=0, atol=1e-6).any(-1)
        if not known.all():
            raise ValueError(f"gi_us = {values[~known].ravel()[0]:g}; the guard interval is 0.8, 1.6 or 3.2 us")


def check_band(f_ghz: Any, bw_mhz: Any) -> None:
    """Refuse a carrier outside the bands of 802.11be, or a channel that is wider than any in its band.

    Args:
        f_ghz: centre frequency in GHz.
        bw_mhz: bandwidth in MHz; broadcasts with `f_ghz`.

    Raises:
        ValueError: such as 320 MHz at 5 GHz, with the widest channel there is.
    """
    if not is_concrete(f_ghz, bw_mhz):
        return
    bandwidth_index(bw_mhz)
    for f, bw in zip(*(a.ravel() for a in np.broadcast_arrays(np.asarray(f_ghz, float), np.asarray(bw_mhz)))):
        band = next((name for name, (low, high, _) in _BANDS_GHZ.items() if low <= f <= high), None)
        if band is None:
            raise ValueError(f"f_ghz = {f:g} is in no band of 802.11be (2.4 to 2.5, 4.9 to 5.925, 5.925 to 7.125 GHz)")
        if bw > _BANDS_GHZ[band][2]:
            raise ValueError(
                f"a channel of {bw:g} MHz at {f:g} GHz: the widest of 802.11be at {band} GHz has "
                f"{_BANDS_GHZ[band][2]} MHz; 320 MHz is for 6 GHz only"
            )


def ndbps(mcs: Numbers, bw_mhz: Numbers, nss: Numbers = 1) -> Float[Array, "*batch"]:
    """Data bits per OFDM symbol, N_DBPS = N_SD * bits * r * N_SS, not floored; 0 where `mcs` is -1.

    Args:
        mcs: 0..13, or -1 for a link that is out of range; integers.
        bw_mhz: 20, 40, 80, 160 or 320.
        nss: number of spatial streams.

    Returns:
        Bits, in the default floating-point type; the arguments broadcast.

    Raises:
        ValueError: a value that 802.11be does not have.
    """
    check_mcs(mcs)
    check_streams(nss)
    index = jnp.asarray(mcs)
    bits = jnp.asarray(NDBPS_TWELFTHS)[jnp.asarray(bandwidth_index(bw_mhz)), jnp.clip(index, 0, 13)] * jnp.asarray(nss)
    return jnp.where(index >= 0, bits, 0) / 12.0


def eht_rate(mcs: Numbers, bw_mhz: Numbers, nss: Numbers = 1, gi_us: Numbers = 0.8) -> Float[Array, "*batch"]:
    """PHY rate N_DBPS / (12.8 + GI) in Mb/s; 0 where `mcs` is -1.

    Args:
        mcs: 0..13, or -1 for a link that is out of range; integers.
        bw_mhz: 20, 40, 80, 160 or 320.
        nss: number of spatial streams.
        gi_us: guard interval, 0.8, 1.6 or 3.2 us.

    Raises:
        ValueError: a value that 802.11be does not have.
    """
    check_guard_interval(gi_us)
    return ndbps(mcs, bw_mhz, nss) / (12.8 + jnp.asarray(gi_us))


def select_mcs(rssi_dbm: Numbers, bw_mhz: Numbers, max_mcs: int = 13) -> Int[Array, "*batch"]:
    """The highest MCS whose sensitivity the received power meets (>=); -1 where not even MCS 0 works.

    Args:
        rssi_dbm: received power in dBm; NaN (not heard) gives -1.
        bw_mhz: bandwidth in MHz; broadcasts with `rssi_dbm`.
        max_mcs: the highest MCS that the devices have: 13 for 802.11be, 11 for 802.11ax.

    Returns:
        int32.
    """
    check_mcs(max_mcs, least=0)
    doublings = jnp.asarray(bandwidth_index(bw_mhz))[..., None]
    least = jnp.asarray(SENSITIVITY_DBM[: max_mcs + 1]) + 3 * doublings
    return jnp.sum(jnp.asarray(rssi_dbm)[..., None] >= least, axis=-1, dtype=jnp.int32) - 1


def noise_dbm(bw_mhz: Numbers, noise_figure_db: Numbers = 7) -> Float[Array, "*batch"]:
    """Thermal noise -174 dBm/Hz + 10 log10(bandwidth) plus the noise figure of the receiver, in dBm."""
    return -174.0 + 10.0 * jnp.log10(jnp.asarray(bw_mhz) * 1e6) + jnp.asarray(noise_figure_db)


def success_probability(snr_db: Numbers, mcs: Numbers, bw_mhz: Numbers) -> Float[Array, "*batch"]:
    """Probability that a frame gets through, Phi((SINR - mean of the MCS) / 1.6 dB); 0 where `mcs` is -1.

    The means were fitted to ns-3 with Nakagami fading by the authors of mapc-sim, 20 to 160 MHz.

    Args:
        snr_db: SNR or SINR in dB.
        mcs: 0..13, or -1; integers.
        bw_mhz: 20, 40, 80 or 160.

    Raises:
        ValueError: 320 MHz, for which nothing was fitted.
    """
    check_mcs(mcs)
    index = jnp.asarray(mcs)
    mean = jnp.asarray(MEAN_SNR_DB)[_fitted_bandwidth(bw_mhz), jnp.clip(index, 0, 13)]
    return jnp.where(index >= 0, norm.cdf((jnp.asarray(snr_db) - mean) / SNR_SPREAD_DB), 0.0)


def select_mcs_snr(
    snr_db: Numbers, bw_mhz: Numbers, max_mcs: int = 13, min_success: float = 0.1
) -> Int[Array, "*batch"]:
    """The MCS with the largest rate times success probability (`success_probability`).

    Differs from mapc-sim, which always sends: a link whose best MCS succeeds with less than `min_success` counts as out
    of range. With `min_success=0` the choice is the same.

    Args:
        snr_db: SNR or SINR in dB.
        bw_mhz: 20, 40, 80 or 160; broadcasts with `snr_db`.
        max_mcs: the highest MCS that the devices have.
        min_success: least success probability of a usable link.

    Returns:
        int32, -1 for out of range.

    Raises:
        ValueError: 320 MHz, for which nothing was fitted.
    """
    check_mcs(max_mcs, least=0)
    every = jnp.arange(max_mcs + 1)
    width = jnp.asarray(bw_mhz)[..., None] if not is_concrete(bw_mhz) else np.asarray(bw_mhz)[..., None]
    success = success_probability(jnp.asarray(snr_db)[..., None], every, width)
    best = jnp.argmax(success * eht_rate(every, width), axis=-1)
    enough = jnp.take_along_axis(success, best[..., None], axis=-1)[..., 0] >= min_success
    return jnp.where(enough, best, -1).astype(jnp.int32)


def _fitted_bandwidth(bw_mhz: Any) -> Array:
    index = bandwidth_index(bw_mhz)
    if is_concrete(index) and (np.asarray(index) >= len(MEAN_SNR_DB)).any():
        raise ValueError("bw_mhz = 320: the success curves were fitted for 20 to 160 MHz; use select_mcs instead")
    return jnp.minimum(jnp.asarray(index), len(MEAN_SNR_DB) - 1)
