"""Dense deployments: up to 100 000 BSSs at constant density, with sensing graphs as edges."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._bethe import Edges, edges_from_adjacency, edges_from_pairs
from offprint.federated_mlo._deployment import random_deployment
from offprint.federated_mlo._radio import DEFAULT_RADIO, Radio, link_values, received_dbm
from offprint.federated_mlo._topology import Topology, check_links


class EdgeTopology(NamedTuple):
    """`Topology` for many BSSs: edges in the place of [bss, bss] matrices. Where a BSS has no link, `cap` is 0."""

    graphs: Edges  # who senses whom, and spoils whose frames
    theta: Float[Array, "bss links"]  # activity ratio: T_s over the mean backoff
    cap: Float[Array, "bss links"]  # Mb/s of a BSS that transmits all the time
    t_s: Float[Array, "bss links"]  # us
    t_c: Float[Array, "bss links"]  # us
    ap: Float[Array, "bss 2"] | None = None  # m
    sta: Float[Array, "bss 2"] | None = None  # m

    @property
    def senders(self) -> Int[Array, "links edges"]:
        """Where edges begin; B in those that fill a row up."""
        return self.graphs.senders

    @property
    def receivers(self) -> Int[Array, "links edges"]:
        """Where edges end, sorted; B in those that fill a row up."""
        return self.graphs.receivers


def edge_topology(topology: Topology) -> EdgeTopology:
    """The same topology with edges; needs an adjacency that is not traced."""
    return EdgeTopology(edges_from_adjacency(topology.adj), *topology[2:])


def dense(
    key: PRNGKeyArray,
    num_bss: int,
    degree: float | int = 7.0,
    *,
    radio: Radio = DEFAULT_RADIO,
    r_min: float | int = 1.0,
    r_max: float | int = 8.0,
) -> EdgeTopology:
    """Random deployment of any number of BSSs at constant density.

    The square grows with B, so that in its middle a BSS senses `degree` others on the link that reaches farthest: with
    the default radio 7 at 2.4 GHz, where APs hear each other over 40 m, and 3.9 at 5 and 6 GHz, over 30 m. Pairs are
    looked for in cells of that size; 100 000 BSSs take a few seconds.

    Args:
        key: of the placement.
        num_bss: number of BSSs.
        degree: mean number of neighbours on the link that reaches farthest, away from the borders; positive.
        radio: bands, power, path loss, frame format.
        r_min, r_max: range of the distance between a station and its AP in m.

    Raises:
        ValueError: a degree that is not positive; stations that are out of range on all links, by number.
    """
    if not degree > 0:
        raise ValueError(f"degree={degree}; the mean number of neighbours is positive")
    reach = np.array([sensing_range_m(radio, link) for link in range(len(radio.bands))])
    area_per_bss = np.pi * reach.max() ** 2 / degree
    ap, sta = random_deployment(key, num_bss, float(np.sqrt(num_bss * area_per_bss)), r_min, r_max)
    pairs, distance = _close_pairs(np.asarray(ap, float), reach.max())
    heard = np.asarray(received_dbm(jnp.asarray(distance), None, radio)) >= radio.cca_dbm
    served = received_dbm(jnp.asarray(np.linalg.norm(np.asarray(ap) - np.asarray(sta), axis=-1)), None, radio)
    values = link_values(served, radio)
    check_links(values.cap)
    graphs = edges_from_pairs([pairs[heard[:, link]] for link in range(len(reach))], num_bss)
    return EdgeTopology(graphs, values.theta, values.cap, values.t_s, values.t_c, ap, sta)


def sensing_range_m(radio: Radio, link: int = 0) -> float:
    """The largest distance in m over which APs sense each other on a link, to a tenth of a metre; at most 10 km."""
    distance = np.arange(0, 100_000) / 10
    heard = np.asarray(received_dbm(jnp.asarray(distance), None, radio))[:, link] >= radio.cca_dbm
    return float(distance[heard].max(initial=0.0)) + 0.1


def _close_pairs(
    xy: Float[np.ndarray, "bss 2"], reach: float
) -> tuple[Int[np.ndarray, "pairs 2"], Shaped[np.ndarray, "pairs"]]:
    """All pairs i < j at most `reach` apart and their distances, by cells of that size."""
    column, row = np.floor(xy / reach).astype(np.int64).T
    columns = column.max() + 3  # an empty cell on either side, so that neighbours do not wrap around
    cell = row * columns + column
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    found, apart = [], []
    for step in (0, 1, columns - 1, columns, columns + 1):  # each pair of cells once
        begin, end = np.searchsorted(ordered, cell + step), np.searchsorted(ordered, cell + step, side="right")
        count = end - begin
        first = np.repeat(np.arange(len(xy)), count)
        second = order[np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())]
        distance = np.hypot(*(xy[first] - xy[second]).T)
        close = (distance <= reach) & ((first < second) if step == 0 else True)
        found.append(np.sort(np.stack([first, second], axis=-1)[close], axis=-1))
        apart.append(distance[close])
    return np.concatenate(found), np.concatenate(apart)
