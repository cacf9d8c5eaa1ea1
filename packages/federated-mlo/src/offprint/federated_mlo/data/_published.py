"""Published throughputs of saturated stations in one collision domain."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from offprint.federated_mlo.data._shipped import shipped


class PublishedBianchi(NamedTuple):
    """802.11ax without aggregation, basic access, 1500-byte frames, W = 16, m = 6, slot 9 us."""

    mcs: Int[np.ndarray, " cases"]
    bw_mhz: Int[np.ndarray, " cases"]
    n: Int[np.ndarray, " stations"]
    throughput_eifs: Float[np.ndarray, "cases stations"]
    """Mb/s of all stations, 4 decimals; a collision lasts through SIFS and ACK."""
    throughput_difs: Float[np.ndarray, "cases stations"]
    """The same; a collision ends with the data and DIFS."""
    t_s_eifs: Float[np.ndarray, " cases"]
    t_c_eifs: Float[np.ndarray, " cases"]
    t_s_difs: Float[np.ndarray, " cases"]
    t_c_difs: Float[np.ndarray, " cases"]
    """Durations of a success and of a collision (us) that give these throughputs."""
    bits: int
    """Payload of a success."""


class PublishedCW16(NamedTuple):
    """Fixed window W = 16 (m = 0), RTS/CTS, MCS 9, 20 MHz, 43 aggregated frames; NaN where nothing was published."""

    n: Int[np.ndarray, " rows"]
    throughput_bianchi: Float[np.ndarray, " rows"]
    throughput_komondor: Float[np.ndarray, " rows"]
    throughput_ns3: Float[np.ndarray, " rows"]
    """Mb/s per WLAN, by Bianchi's model and by the two simulators."""
    p_bianchi: Float[np.ndarray, " rows"]
    p_komondor: Float[np.ndarray, " rows"]
    """Collision probability, 0 to 1."""
    wall_s_komondor: Float[np.ndarray, " rows"]
    wall_s_ns3: Float[np.ndarray, " rows"]
    """Wall time of the simulators in s, as published."""
    t_s: float
    t_c: float
    """us."""
    bits: int
    """Payload of a success."""


def published_bianchi() -> PublishedBianchi:
    """Reference throughputs of the Bianchi example of ns-3 (nsnam/ns-3-dev-git; H. Yin and S. Deronne, 2020)."""
    a = shipped("published_bianchi_11ax.npz")
    return PublishedBianchi(
        mcs=a["mcs"],
        bw_mhz=a["bw"],
        n=a["n"],
        throughput_eifs=a["S_eifs"],
        throughput_difs=a["S_difs"],
        t_s_eifs=a["Ts_eifs"],
        t_c_eifs=a["Tc_eifs"],
        t_s_difs=a["Ts_difs"],
        t_c_difs=a["Tc_difs"],
        bits=12_000,
    )


def published_cw16() -> PublishedCW16:
    """Validation sheet of Komondor (wn-upf/Komondor; Barrachina-Munoz, Wilhelmi, Selinis, Bellalta, 2019)."""
    a = shipped("published_fixed_cw16.npz")
    return PublishedCW16(
        n=a["n"],
        throughput_bianchi=a["S_bianchi"],
        throughput_komondor=a["S_event_sim"],
        throughput_ns3=a["S_ns3"],
        p_bianchi=a["p_bianchi_pct"] / 100,
        p_komondor=a["p_event_sim_pct"] / 100,
        wall_s_komondor=a["wall_s_event_sim"],
        wall_s_ns3=a["wall_s_ns3"],
        t_s=float(a["Ts_us"]),
        t_c=float(a["Tc_us"]),
        bits=int(a["bits"]),
    )
