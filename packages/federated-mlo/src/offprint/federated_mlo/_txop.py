"""How long a frame exchange takes: A-MPDU under EDCA, with or without RTS/CTS, IEEE 802.11 arithmetic.

Everything is in whole ticks of 0.1 us and twelfths of a bit per symbol, so that no rounding error gets into a floor or
a ceiling: 5440 us hold exactly 400 symbols of 13.6 us, which binary fractions do not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.federated_mlo._checks import check_choice, is_concrete
from offprint.federated_mlo._rates import (
    NDBPS_TWELFTHS,
    Numbers,
    bandwidth_index,
    check_guard_interval,
    check_mcs,
    check_streams,
)

SLOT_US = 9.0
"""Duration sigma of a backoff slot."""


class TxopTimes(NamedTuple):
    """What one transmission opportunity carries and how long the channel is taken, DIFS included.

    Arrays of the broadcast shape of the arguments: NumPy where these were known, JAX where they were traced.
    """

    k: Int[Array | np.ndarray, "*batch"]  # MPDUs in the A-MPDU; 0 out of range (MCS -1), with the times of MCS 0
    n_sym: Int[Array | np.ndarray, "*batch"]  # OFDM symbols of the data PPDU
    t_data: Float[Array | np.ndarray, "*batch"]  # us, data PPDU with its preamble
    t_ack: Float[Array | np.ndarray, "*batch"]  # us, ACK or block ACK
    t_s: Float[Array | np.ndarray, "*batch"]  # us, a success
    t_c: Float[Array | np.ndarray, "*batch"]  # us, a collision
    bits: Int[Array | np.ndarray, "*batch"]  # payload bits that a success delivers


@dataclass(frozen=True)
class FrameFormat:
    """The constants of a frame exchange; the defaults are 802.11be at 5 and 6 GHz. Times in us, lengths in bits."""

    aggregation: bool = True
    payload_bits: int = 12_000  # MSDU
    header_bits: int = 320  # MAC header and FCS, with what upper layers add
    delimiter_bits: int = 32  # per MPDU of an A-MPDU, block ACK
    service_bits: int = 16
    tail_bits: int = 6
    preamble_us: float | int = 44.0  # HE SU
    sifs_us: float | int = 16.0
    difs_us: float | int = 34.0
    limit_us: float | int = 5484.0  # longest PPDU
    max_mpdus: int = 1024  # 256 in 802.11ax
    control_ndbps: tuple[int, ...] = (96,)  # of RTS, CTS and ACK by data MCS, the last for all higher: 24 Mb/s
    control_tail_bits: int = 6
    block_ack_us: float | int | None = None  # None: from its bitmap
    success_extra_us: float | int = 0.0  # such as the slot sigma in models that count it in the success
    collision_extra_us: float | int = 0.0
    eifs_extra_us: float | int = 0.0  # on both, in the EIFS flavour
    nss: int = 1
    gi_us: float | int = 0.8


FRAME_FORMATS: Mapping[str, FrameFormat] = MappingProxyType(
    {
        "802.11be": FrameFormat(),
        # The Bianchi reference script of ns-3: MPDUs with 30-byte header and 8 bytes of upper layers, the ACK at the
        # basic rate below the data rate, 0.1 us of propagation in the EIFS flavour, and a slot after each success.
        "ns3_11ax": FrameFormat(
            aggregation=False,
            header_bits=240 + 64,
            control_ndbps=(24, 48, 48, 96),
            success_extra_us=SLOT_US,
            eifs_extra_us=0.1,
        ),
        # Komondor's validation against Bianchi: control frames at 6 Mb/s without tail, a slot after each busy period.
        "komondor": FrameFormat(
            payload_bits=11_728,
            tail_bits=0,
            preamble_us=100.0,
            control_ndbps=(24,),
            control_tail_bits=0,
            block_ack_us=32.0,
            success_extra_us=SLOT_US,
            collision_extra_us=SLOT_US,
            gi_us=3.2,
        ),
    }
)
"""Named constants, for `preset=`."""


def txop_times(
    mcs: Numbers,
    bw_mhz: Numbers,
    nss: Numbers | None = None,
    gi_us: Numbers | None = None,
    access: str = "rts",
    aggregation: bool | None = None,
    payload_bits: int | None = None,
    eifs: bool = True,
    floor_ndbps: bool = False,
    preamble_us: float | int | None = None,
    *,
    preset: str | None = None,
    **constants: Any,
) -> TxopTimes:
    """Durations and payload of one TXOP: as many MPDUs as fit into the longest PPDU, at most `max_mpdus`.

    Args:
        mcs: 0..13, or -1 for a link that is out of range; integers.
        bw_mhz: 20, 40, 80, 160 or 320; broadcasts with `mcs`, as do `nss` and `gi_us`.
        nss: spatial streams, 1 by default.
        gi_us: guard interval, 0.8 us by default.
        access: `"rts"` (RTS/CTS before the data) or `"basic"`.
        aggregation: False sends one MPDU without delimiter, answered by an ACK; True by default.
        payload_bits: of one MPDU, 12 000 by default.
        eifs: whether a collision also lasts for SIFS and the answer that does not come (ACK, or CTS).
        floor_ndbps: floor the bits per symbol, as the tables of the standard do; a few pairs such as 80 MHz with MCS 9
            are fractional.
        preamble_us: of the data PPDU, 44 us by default.
        preset: a name in `FRAME_FORMATS` that replaces the defaults, `"802.11be"` by default.
        **constants: other fields of `FrameFormat`, such as `max_mpdus=256` or `sifs_us=10, difs_us=28` at 2.4 GHz.

    Raises:
        ValueError: a value that 802.11be does not have, a time that is no multiple of 0.1 us, an unknown name.
    """
    check_choice("access", access, ("rts", "basic"))
    given = {"aggregation": aggregation, "payload_bits": payload_bits, "preamble_us": preamble_us}
    frame = _frame_format(preset, constants | {name: value for name, value in given.items() if value is not None})
    nss, gi_us = frame.nss if nss is None else nss, frame.gi_us if gi_us is None else gi_us
    check_mcs(mcs)
    check_streams(nss)
    check_guard_interval(gi_us)

    xp: Any = np if is_concrete(mcs, bw_mhz, nss, gi_us) else jnp
    ndbps12, index = _ndbps_twelfths(xp, mcs, bw_mhz, nss, floor_ndbps)
    symbol = xp.rint(10 * (12.8 + xp.asarray(gi_us))).astype(int)
    k, n_sym = _aggregate(xp, frame, ndbps12, symbol)
    data = _ticks(frame.preamble_us) + symbol * n_sym
    ack = xp.broadcast_to(_acknowledgement(xp, frame, k, index), data.shape)
    success, collision = _exchange(xp, frame, access, eifs, data, ack, index)
    k = xp.where(index >= 0, k, 0)
    times = (ticks / 10.0 for ticks in (data, ack, success, collision))
    return TxopTimes(*map(xp.asarray, (k, n_sym, *times, k * frame.payload_bits)))


def _frame_format(preset: str | None, constants: dict[str, Any]) -> FrameFormat:
    if preset is not None:
        check_choice("preset", preset, FRAME_FORMATS)
    known = FrameFormat.__dataclass_fields__
    unknown = [name for name in constants if name not in known]
    if unknown:
        raise TypeError(f"txop_times has no option {unknown[0]!r}; it has {', '.join(known)}")
    frame = replace(FRAME_FORMATS[preset or "802.11be"], **constants)
    if frame.payload_bits < 1 or frame.max_mpdus < 1:
        raise ValueError(
            f"payload_bits = {frame.payload_bits} and max_mpdus = {frame.max_mpdus}: both must be at least 1"
        )
    return frame


def _ticks(us: float | int) -> int:
    ticks = round(10 * us)
    if abs(10 * us - ticks) > 1e-6 or ticks < 0:
        raise ValueError(f"a duration of {us:g} us is no multiple of 0.1 us from 0 up")
    return ticks


def _ndbps_twelfths(xp: Any, mcs: Any, bw_mhz: Any, nss: Any, floor: bool) -> tuple[Any, Any]:
    """Bits per symbol times 12, and the MCS, in the broadcast shape."""
    mcs, width, nss = xp.broadcast_arrays(xp.asarray(mcs), xp.asarray(bandwidth_index(bw_mhz)), xp.asarray(nss))
    bits = xp.asarray(NDBPS_TWELFTHS)[width, xp.clip(mcs, 0, 13)] * nss
    return (bits // 12 * 12 if floor else bits), mcs


def _aggregate(xp: Any, frame: FrameFormat, ndbps12: Any, symbol: Any) -> tuple[Any, Any]:
    """Number of MPDUs, and of OFDM symbols that carry them. Fits int32: at most 400 symbols of 3.8e6 twelfths."""
    overhead = frame.service_bits + frame.tail_bits
    mpdu = frame.header_bits + frame.payload_bits
    k = xp.ones_like(ndbps12 * symbol)
    if frame.aggregation:
        mpdu += frame.delimiter_bits
        most = (_ticks(frame.limit_us) - _ticks(frame.preamble_us)) // symbol
        k = xp.clip((most * ndbps12 - 12 * overhead) // (12 * mpdu), 1, frame.max_mpdus)
    return k, -(-12 * (overhead + k * mpdu) // ndbps12)


def _control(xp: Any, frame: FrameFormat, bits: Any, mcs: Any) -> Any:
    """Duration in ticks of a control frame at a legacy rate: 20 us of preamble, symbols of 4 us."""
    ndbps = xp.asarray(frame.control_ndbps)[xp.clip(mcs, 0, len(frame.control_ndbps) - 1)]
    return 200 + 40 * -(-(frame.service_bits + bits + frame.control_tail_bits) // ndbps)


def _acknowledgement(xp: Any, frame: FrameFormat, k: Any, mcs: Any) -> Any:
    if not frame.aggregation:
        return _control(xp, frame, 112, mcs)
    if frame.block_ack_us is not None:
        return xp.full_like(k, _ticks(frame.block_ack_us))
    bitmaps = xp.asarray((64, 256, 512, 1024))
    bitmap = bitmaps[xp.minimum(xp.sum(k[..., None] > bitmaps, axis=-1), 3)]
    return _control(xp, frame, 192 + bitmap, mcs)


def _exchange(xp: Any, frame: FrameFormat, access: str, eifs: bool, data: Any, ack: Any, mcs: Any) -> tuple[Any, Any]:
    """Ticks of a success and of a collision."""
    sifs, difs = _ticks(frame.sifs_us), _ticks(frame.difs_us)
    extra = _ticks(frame.eifs_extra_us) if eifs else 0
    success = data + sifs + ack + difs
    if access == "rts":
        rts, cts = _control(xp, frame, 160, mcs), _control(xp, frame, 112, mcs)
        success = rts + sifs + cts + sifs + success
        collision = rts + difs + ((sifs + cts) if eifs else 0)
    else:
        collision = data + difs + ((sifs + ack) if eifs else 0)
    return (
        success + extra + _ticks(frame.success_extra_us),
        xp.broadcast_to(collision + extra + _ticks(frame.collision_extra_us), data.shape),
    )
