"""A site of your own: coordinates of access points and stations, or measured powers, from files."""

import csv
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from offprint.federated_mlo._radio import DEFAULT_RADIO, Radio
from offprint.federated_mlo._topology import Topology, from_positions, from_rssi

_COLUMNS = ("ap_id", "x", "y", "sta_x", "sta_y")
_DEFAULT_STATION_M = 5.0


class Site(NamedTuple):
    """What `read_site` read, in the order of the file."""

    names: tuple[str, ...]  # ap_id
    ap: Float[Array, "bss 2"]  # m
    sta: Float[Array, "bss 2"]  # m
    channels: Int[Array, "bss links"] | None = None

    def topology(self, radio: Radio = DEFAULT_RADIO) -> Topology:
        """`from_positions` of this site.

        Raises:
            ValueError: another number of channel columns than the radio has bands; stations out of range.
        """
        if self.channels is not None and self.channels.shape[1] != len(radio.bands):
            raise ValueError(
                f"the site has {self.channels.shape[1]} channels per AP and the radio {len(radio.bands)} bands"
            )
        return from_positions(self.ap, self.sta, radio, channels=self.channels)


class Measurements(NamedTuple):
    """What `read_rssi` read."""

    rssi: Float[Array, "links bss bss"]  # dBm, NaN = not heard
    station_rssi: Float[Array, "bss links"]  # dBm

    @property
    def names(self) -> tuple[str, ...]:
        """BSSs by their numbers in the file."""
        return tuple(f"BSS {bss}" for bss in range(self.rssi.shape[1]))

    def topology(self, radio: Radio = DEFAULT_RADIO) -> Topology:
        """`from_rssi` of these measurements."""
        return from_rssi(self.rssi, self.station_rssi, radio)


def read_site(path: str | Path) -> Site:
    """Access points from a CSV file with a header: `ap_id,x,y`, then if known `sta_x,sta_y` and `channel...`.

    One row per AP, coordinates in m. Without a station 5 m east of the AP stands for it. Columns whose names begin with
    `channel` say, in the order of the links, which channel the AP uses there; APs on different ones do not hear each
    other. Other columns are passed over.

    Raises:
        ValueError: naming file and line: a column that is missing, a value that is no number, an AP twice, no AP.
        FileNotFoundError: no such file.
    """
    rows, names = _rows(path)
    for name in _COLUMNS[:3]:
        if name not in names:
            raise ValueError(
                f"{path} has no column {name}; columns {', '.join(_COLUMNS[:3])} are needed, it has {names}"
            )
    if ("sta_x" in names) != ("sta_y" in names):
        raise ValueError(f"{path} has one of the columns sta_x and sta_y; both or neither are needed")
    ids = [row["ap_id"] for row in rows]
    for line, ap_id in enumerate(ids):
        if ap_id in ids[:line]:
            raise ValueError(f"{path}, line {line + 2}: AP {ap_id} has a row above already; one row per AP is needed")
    ap = np.stack([_numbers(path, rows, name) for name in ("x", "y")], axis=-1)
    if "sta_x" in names:
        sta = np.stack([_numbers(path, rows, name) for name in ("sta_x", "sta_y")], axis=-1)
    else:
        sta = ap + np.array([_DEFAULT_STATION_M, 0.0])
    columns = [name for name in names if name.startswith("channel")]
    channels = np.stack([_numbers(path, rows, name) for name in columns], axis=-1).astype(int) if columns else None
    return Site(
        tuple(ids), jnp.asarray(ap), jnp.asarray(sta), None if channels is None else jnp.asarray(channels, jnp.int32)
    )


def read_rssi(path: str | Path) -> Measurements:
    """Measured powers in dBm from an `.npz` or a CSV file.

    The `.npz` holds `rssi` [links, bss, bss], what AP i receives from AP j, NaN = not heard, and `station_rssi`
    [bss, links], what the stations of a BSS receive from their AP. The CSV file has a header
    `link,receiver,sender,rssi` with links and BSSs counted from 0, one row per measurement; a row with `sender` equal
    to `receiver` is the power at the station. What has no row is not heard.

    Raises:
        ValueError: naming what is missing or out of place, with file and line.
        FileNotFoundError: no such file.
    """
    if Path(path).suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            missing = {"rssi", "station_rssi"} - set(arrays)
            if missing:
                raise ValueError(f"{path} has no array {sorted(missing)[0]}; it has {sorted(arrays)}")
            rssi, station = np.asarray(arrays["rssi"], float), np.asarray(arrays["station_rssi"], float)
        if rssi.ndim != 3 or rssi.shape[1] != rssi.shape[2] or station.shape != rssi.shape[1::-1]:
            raise ValueError(
                f"{path} holds rssi of shape {rssi.shape} and station_rssi of shape {station.shape}; "
                "[links, bss, bss] and [bss, links] are needed"
            )
        return Measurements(jnp.asarray(rssi), jnp.asarray(station))
    rows, names = _rows(path)
    for name in ("link", "receiver", "sender", "rssi"):
        if name not in names:
            raise ValueError(f"{path} has no column {name}; link,receiver,sender,rssi are needed, it has {names}")
    link, receiver, sender = (_counts(path, rows, name) for name in ("link", "receiver", "sender"))
    links, num_bss = link.max() + 1, max(receiver.max(), sender.max()) + 1
    rssi = np.full((links, num_bss, num_bss), np.nan)
    rssi[link, receiver, sender] = _numbers(path, rows, "rssi")
    station = np.diagonal(rssi, axis1=1, axis2=2).T.copy()
    rssi[:, np.arange(num_bss), np.arange(num_bss)] = np.nan
    return Measurements(jnp.asarray(rssi), jnp.asarray(station))


def _rows(path: str | Path) -> tuple[list[dict[str, str]], list[str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        rows = list(reader)
        names = [name.strip() for name in reader.fieldnames or []]
    if not rows:
        raise ValueError(f"{path} has no rows below its header")
    return [{(key or "").strip(): value for key, value in row.items()} for row in rows], names


def _numbers(path: str | Path, rows: list[dict[str, str]], name: str) -> Float[np.ndarray, "rows"]:
    values = []
    for line, row in enumerate(rows):
        try:
            values.append(float(row[name]))
        except (TypeError, ValueError):
            raise ValueError(f"{path}, line {line + 2}: {name} is {row[name]!r}, which is no number") from None
    return np.array(values)


def _counts(path: str | Path, rows: list[dict[str, str]], name: str) -> Int[np.ndarray, "rows"]:
    values = _numbers(path, rows, name)
    wrong = np.flatnonzero((values < 0) | (values != np.floor(values)))
    if wrong.size:
        raise ValueError(
            f"{path}, line {wrong[0] + 2}: {name} is {values[wrong[0]]:g}; whole numbers from 0 are needed"
        )
    return values.astype(int)
