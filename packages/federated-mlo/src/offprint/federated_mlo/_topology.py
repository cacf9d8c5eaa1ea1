"""Topologies: who senses whom on which link, and what each BSS gets out of a link while it transmits."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_choice, check_finite, check_times, is_concrete
from offprint.federated_mlo._radio import (
    DEFAULT_RADIO,
    Radio,
    check_distances,
    link_values,
    mean_backoff_us,
    received_dbm,
)
from offprint.federated_mlo._txop import SLOT_US

THETA = 5566 / 67.5  # full TXOP of 5566 us over the mean backoff of 7.5 slots
CAPACITY_MBPS = 1000.0

Graph = Literal["chain", "ring", "star", "clique", "grid2d"]


class Topology(NamedTuple):
    """Overlapping BSSs on several links. Where a BSS has no link (out of range), `cap` and `theta` are 0.

    A pytree of arrays: deployments can be stacked, and `jax.vmap` maps over them.
    """

    adj: Bool[Array, "links bss bss"]  # i and j sense each other; symmetric, zero diagonal
    intf: Bool[Array, "links bss bss"]  # a start of i while j transmits spoils both
    theta: Float[Array, "bss links"]  # activity ratio: T_s over the mean backoff
    cap: Float[Array, "bss links"]  # Mb/s of a BSS that transmits all the time: bits of a TXOP over T_s
    t_s: Float[Array, "bss links"]  # us that a success takes of the channel, DIFS included
    t_c: Float[Array, "bss links"]  # us that a collision takes
    ap: Float[Array, "bss 2"] | None = None  # m
    sta: Float[Array, "bss ..."] | None = None  # m; [bss, 2], or [bss, stations, 2]


def usable(topology: Topology) -> Bool[Array, "bss links"]:
    """Which links carry anything: False where the stations of a BSS are out of range, whatever its action says."""
    return topology.cap > 0


def named_graph(name: Graph, num_bss: int, num_links: int = 1) -> Bool[Array, "links bss bss"]:
    """The same graph on every link: "chain", "ring", "star", "clique" or "grid2d".

    BSS 0 is the centre of the star. "grid2d" fills rows of ceil(sqrt(B)) BSSs; each hears the (up to) four beside it.

    Raises:
        ValueError: an unknown name, or fewer than one BSS or link.
    """
    check_choice("name", name, get_args(Graph))
    if num_bss < 1 or num_links < 1:
        raise ValueError(f"num_bss={num_bss} and num_links={num_links}: at least one of each is needed")
    i, j = np.indices((num_bss, num_bss))
    columns = int(np.ceil(np.sqrt(num_bss)))
    row_apart, column_apart = abs(i // columns - j // columns), abs(i % columns - j % columns)
    joined: dict[str, Callable[[], np.ndarray]] = {
        "chain": lambda: abs(i - j) == 1,
        "ring": lambda: ((i - j) % num_bss == 1) | ((j - i) % num_bss == 1),
        "star": lambda: (i == 0) | (j == 0),
        "clique": lambda: np.ones((num_bss, num_bss), bool),
        "grid2d": lambda: row_apart + column_apart == 1,
    }
    graph = joined[name]() & (i != j)
    return jnp.asarray(np.broadcast_to(graph, (num_links, num_bss, num_bss)))


def from_graph(
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    theta: Shaped[Array | np.ndarray, "..."] | float | int = THETA,
    cap: Shaped[Array | np.ndarray, "..."] | float | int = CAPACITY_MBPS,
    *,
    intf: Shaped[Array | np.ndarray, "links bss bss"] | None = None,
    t_s: Shaped[Array | np.ndarray, "..."] | float | int | None = None,
    t_c: Shaped[Array | np.ndarray, "..."] | float | int | None = None,
    ap: Float[Array | np.ndarray, "bss 2"] | None = None,
    sta: Float[Array | np.ndarray, "bss ..."] | None = None,
    symmetrize: bool = False,
) -> Topology:
    """A topology from its sensing graphs.

    Args:
        adj: one graph per link, bool or 0 and 1.
        theta: activity ratio, a number or anything that broadcasts to [bss, links]. Default: 5566 us over 67.5 us.
        cap: Mb/s while transmitting, likewise; 0 where a BSS has no link, and theta is then taken as 0.
        intf: who spoils whose frames; default: those who sense each other.
        t_s: us of a success; default: theta times the mean backoff of 67.5 us.
        t_c: us of a collision; default: t_s, as with basic access.
        ap, sta: positions in m, only for plots.
        symmetrize: join i and j where either senses the other, instead of refusing such a graph.

    Raises:
        ValueError: a graph that is not symmetric or joins a BSS to itself; theta or cap negative or not finite;
            a BSS without any link; durations in seconds.
    """
    # NumPy where everything is known: a dozen small programs less to compile.
    xp: Any = np if is_concrete(adj, theta, cap, intf, t_s, t_c) else jnp
    if symmetrize:
        adj = xp.asarray(adj, bool) | xp.swapaxes(xp.asarray(adj, bool), -1, -2)
    check_adjacency(adj)
    graph = xp.asarray(adj, bool)
    shape = (graph.shape[1], graph.shape[0])
    heard = graph if intf is None else xp.asarray(intf, bool)
    if heard.shape != graph.shape:
        raise ValueError(f"intf has shape {heard.shape} where adj has {graph.shape}; the same shape is needed")
    capacity = _per_link(xp, "cap", cap, shape)
    ratio = _per_link(xp, "theta", theta, shape)
    success = _per_link(xp, "t_s", ratio * mean_backoff_us() if t_s is None else t_s, shape)
    collision = success if t_c is None else _per_link(xp, "t_c", t_c, shape)
    if t_s is not None or t_c is not None:
        check_times(success, collision, SLOT_US)
    ratio = xp.where(capacity > 0, ratio, 0)
    check_links(capacity)
    values = (jnp.asarray(value, float) for value in (ratio, capacity, success, collision))
    places = (None if xy is None else jnp.asarray(xy, float) for xy in (ap, sta))
    return Topology(jnp.asarray(graph), jnp.asarray(heard), *values, *places)


def from_positions(
    ap: Float[Array | np.ndarray, "bss 2"],
    sta: Float[Array | np.ndarray, "bss 2"] | Float[Array | np.ndarray, "bss stations 2"],
    radio: Radio = DEFAULT_RADIO,
    *,
    walls_ap: Shaped[Array | np.ndarray, "bss bss"] | None = None,
    walls_sta: Shaped[Array | np.ndarray, "bss ..."] | None = None,
    shadowing_db: Float[Array | np.ndarray, "links nodes nodes"] | None = None,
    channels: Int[Array | np.ndarray, "bss links"] | None = None,
) -> Topology:
    """A topology from where the access points and their stations stand.

    APs sense each other on a link where they receive each other at `radio.cca_dbm` or above. The power that a station
    receives from its AP gives the MCS, the MCS the times and the capacity (downlink, one station after the other).

    Args:
        ap: positions in m.
        sta: one station per BSS, or several: [bss, stations, 2].
        radio: bands, power, path loss, frame format.
        walls_ap: numbers of walls between the APs; default: by distance, see `Radio`.
        walls_sta: numbers of walls between a station and its AP, of the shape of `sta` without its last axis.
        shadowing_db: loss to add, as `shadowing` draws it, for the nodes AP 0..B-1 and then the stations, BSS by BSS.
        channels: number of the channel that a BSS uses on each link; BSSs on different channels do not hear each other.

    Works under `jax.vmap` over deployments.

    Warns:
        UserWarning: distances below 0.05 m or above 10 km.

    Raises:
        ValueError: a BSS whose stations are out of range on all links, by number; NaN in the positions.
    """
    check_finite(ap, "ap")
    check_finite(sta, "sta")
    if is_concrete(ap, sta):
        home, far = np.asarray(ap, float), np.asarray(sta, float)
        apart = np.linalg.norm(home[:, None] - home, axis=-1)[np.triu_indices(len(home), 1)]
        check_distances(apart, np.linalg.norm(far.reshape(len(home), -1, 2) - home[:, None], axis=-1))
    nodes = ap.shape[0] + sta.size // 2
    if shadowing_db is not None and shadowing_db.shape != (len(radio.bands), nodes, nodes):
        needed = (len(radio.bands), nodes, nodes)
        raise ValueError(
            f"shadowing_db has shape {shadowing_db.shape} where [links, nodes, nodes] = {needed} is needed"
        )
    places = jnp.asarray(ap, float), jnp.asarray(sta, float)
    topology = _positioned(*places, radio, walls_ap, walls_sta, shadowing_db, channels)
    check_links(topology.cap)
    return topology


@functools.partial(jax.jit, static_argnames="radio")
def _positioned(
    ap: Float[Array, "bss 2"],
    sta: Float[Array, "bss ..."],
    radio: Radio,
    walls_ap: Shaped[Array | np.ndarray, "bss bss"] | None,
    walls_sta: Shaped[Array | np.ndarray, "bss ..."] | None,
    shadowing_db: Float[Array | np.ndarray, "links nodes nodes"] | None,
    channels: Int[Array | np.ndarray, "bss links"] | None,
) -> Topology:
    own = ap if sta.ndim == 2 else ap[:, None]
    between, to_station = _distance(ap[:, None], ap), _distance(own, sta)
    sensed = jnp.moveaxis(received_dbm(between, walls_ap, radio), -1, 0)
    served = received_dbm(to_station, walls_sta, radio)
    if shadowing_db is not None:
        num_bss = ap.shape[0]
        sensed = sensed - shadowing_db[:, :num_bss, :num_bss]
        bss = np.indices(to_station.shape)[0].ravel()
        extra = shadowing_db[:, bss, num_bss + np.arange(to_station.size)]
        served = served - jnp.moveaxis(extra, 0, -1).reshape(served.shape)
    return _from_power(sensed, served, radio, channels)._replace(ap=ap, sta=sta)


def from_rssi(
    rssi: Float[Array | np.ndarray, "links bss bss"],
    station_rssi: Float[Array | np.ndarray, "bss links"] | Float[Array | np.ndarray, "bss stations links"],
    radio: Radio = DEFAULT_RADIO,
    *,
    channels: Int[Array | np.ndarray, "bss links"] | None = None,
) -> Topology:
    """A topology from measured powers in dBm; NaN = not heard.

    Args:
        rssi: what AP i receives from AP j on a link. Two APs sense each other where either receives the other at
            `radio.cca_dbm` or above, for no two measurements are equal; the diagonal is not used.
        station_rssi: what the stations of a BSS receive from their AP.
        radio: bands and frame format; `tx_power_dbm` and `path_loss` are in the measurements already.
        channels: as in `from_positions`.

    Raises:
        ValueError: a BSS whose stations are out of range on all links, by number; another number of links than bands;
            powers above 40 dBm, which are no dBm.
    """
    links = len(radio.bands)
    if rssi.shape[0] != links or station_rssi.shape[-1] != links:
        raise ValueError(
            f"rssi has shape {rssi.shape} and station_rssi {station_rssi.shape} where the radio has {links} bands; "
            "[links, bss, bss] and [bss, links] are needed"
        )
    for name, power in (("rssi", rssi), ("station_rssi", station_rssi)):
        if is_concrete(power) and (np.asarray(power) > 40).any():
            raise ValueError(f"{name} holds {np.nanmax(power):g}, which is no received power in dBm (-82 is typical)")
    topology = _from_power(jnp.asarray(rssi, float), jnp.asarray(station_rssi, float), radio, channels)
    check_links(topology.cap)
    return topology


@functools.partial(jax.jit, static_argnames="radio")
def _from_power(sensed: Array, served: Array, radio: Radio, channels: Array | np.ndarray | None) -> Topology:
    """From what APs receive from each other [links, bss, bss] and stations from theirs [bss, (stations,) links]."""
    heard = sensed >= radio.cca_dbm
    adj = (heard | heard.swapaxes(1, 2)) & ~np.eye(heard.shape[1], dtype=bool)
    if channels is not None:
        channel = jnp.asarray(channels).T
        adj = adj & (channel[:, :, None] == channel[:, None, :])
    values = link_values(served, radio)
    return Topology(adj, adj, values.theta, values.cap, values.t_s, values.t_c)


def _distance(a: Float[Array, "... 2"], b: Float[Array, "... 2"]) -> Float[Array, "..."]:
    return jnp.sqrt(jnp.sum((a - b) ** 2, axis=-1))


def check_links(cap: Float[Array | np.ndarray, "bss links"]) -> None:
    """Refuse BSSs that have no link at all, by their numbers; does nothing while `cap` is traced."""
    if not is_concrete(cap):
        return
    without = np.flatnonzero(~(np.asarray(cap) > 0).any(-1))
    if without.size:
        raise ValueError(
            f"BSSs {without.tolist()} have no usable link: their stations are out of range on all of them. "
            "Move the stations closer, raise the transmit power, or leave these BSSs out"
        )


def _per_link(xp: Any, name: str, value: Any, shape: tuple[int, int]) -> Float[Array | np.ndarray, "bss links"]:
    """The value for every BSS and link."""
    array = xp.asarray(value, float)
    check_finite(array, name)
    if is_concrete(array) and (np.asarray(array) < 0).any():
        raise ValueError(f"{name} has the negative entry {float(np.asarray(array).min()):g}; 0 or more is needed")
    try:
        return xp.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape} where [bss, links] = {shape} is needed") from None
