"""Airtime at the level of flows: each BSS needs a share of the time of its links, and neighbours share what there is.

For unsaturated traffic and satisfaction, as in the simulator Neko (wn-upf/Neko). It knows no order among neighbours, so
it cannot show starvation: a BSS between two that don't hear each other gets a third here and next to nothing in truth.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_choice, check_demand, check_mask, is_concrete
from offprint.federated_mlo._txop import SLOT_US, Numbers, txop_times

_FRAME_BITS = 12_000
_BACKOFF_SLOTS = 8


class AirtimeFlow(NamedTuple):
    """Airtime needed and what is carried."""

    rho: Float[Array, "bss links"]  # share of the time of a link that a BSS needs; may exceed 1
    load: Float[Array, "bss links"]  # that a BSS and its neighbours need together
    satisfaction: Float[Array, "bss links"]  # share of the demand that is carried; 0 on links off, 1 for no demand
    throughput: Float[Array, " bss"]  # Mb/s


def airtime_flow(
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    mask: Shaped[Array | np.ndarray, "bss links"],
    demand: Float[Array | np.ndarray, " bss"],
    mcs: Int[Array | np.ndarray, "bss links"],
    bw_mhz: Int[Array | np.ndarray, " links"],
    split: str | Float[Array | np.ndarray, "bss links"] = "equal",
    *,
    nss: int = 2,
    gi_us: Numbers = 0.8,
    per: Numbers = 0.1,
    **frame: Any,
) -> AirtimeFlow:
    """Airtime that flows need, and how much of their demand is carried.

    A frame of 12 000 bits goes alone after RTS/CTS and takes a backoff of 8 slots, its exchange and one more slot; lost
    frames are sent again: rho = ceil(demand / frame) / (1 - PER) * duration. load_b = rho_b + sum of rho_j over the
    neighbours j of b; min(1, 1 / load_b) of the demand is carried.

    Args:
        adj: sensing graph of each link, 0 and 1.
        mask: links that are on.
        demand: Mb/s of each BSS, 0 or more.
        mcs: 0..13, or -1 for a link that is out of range and carries nothing.
        bw_mhz: bandwidth of each link.
        split: how a BSS divides its demand among its links: `"equal"` over those on and in range; `"congestion"` in
            proportion to the airtime that its neighbours leave when they split equally (equal if none is left); or
            shares of your own.
        nss: spatial streams.
        gi_us: guard interval.
        per: packet error rate.
        **frame: further options of `txop_times`.

    Raises:
        ValueError: a graph, mask, demand or PHY value that cannot be; an unknown split.
    """
    check_adjacency(adj)
    check_mask(mask)
    check_demand(demand)
    if is_concrete(per) and not 0 <= float(np.max(per)) < 1:
        raise ValueError(f"per = {np.max(per):g}: the packet error rate must be in [0, 1)")
    options: dict[str, Any] = {"access": "rts", "aggregation": False, "payload_bits": _FRAME_BITS} | frame
    times = txop_times(mcs, bw_mhz, nss, gi_us, **options)
    per_frame_us = jnp.asarray(times.t_s) + (_BACKOFF_SLOTS + 1) * SLOT_US
    if isinstance(split, str):
        check_choice("split", split, ("equal", "congestion"))
    on = (jnp.asarray(mask) != 0) & (jnp.asarray(times.k) > 0)
    cost = per_frame_us * 1e-6 / (1 - jnp.asarray(per))
    own = None if isinstance(split, str) else jnp.asarray(split)
    named = split if isinstance(split, str) else None
    return _carry(jnp.asarray(adj), on, jnp.asarray(demand), cost, own, named, options["payload_bits"])


@partial(jax.jit, static_argnums=(5, 6))
def _carry(
    adj: Array, on: Array, demand: Array, cost: Array, own: Array | None, split: str | None, bits: int
) -> AirtimeFlow:
    """The flows, where a frame costs `cost` seconds of airtime, lost ones included."""
    graph = adj.astype(cost.dtype)

    def needed(share: Array) -> Array:
        return jnp.where(on, jnp.ceil(demand[:, None] * share * 1e6 / bits) * cost, 0.0)

    share = on / jnp.maximum(jnp.sum(on, axis=1, keepdims=True), 1)
    if own is not None:
        share = jnp.where(on, own, 0.0)
    elif split == "congestion":
        share = _towards_free(share, on, _from_neighbours(graph, needed(share)))
    rho = needed(share)
    load = rho + _from_neighbours(graph, rho)
    carried = jnp.where(demand[:, None] > 0, 1 / jnp.maximum(load, 1.0), 1.0)
    satisfaction = jnp.where(on, carried, 0.0)
    return AirtimeFlow(rho, load, satisfaction, jnp.sum(satisfaction * share, axis=1) * demand)


def _from_neighbours(graph: Array, value: Array) -> Array:
    """Sum over the neighbours of each BSS, per link: [links, bss, bss] and [bss, links] to [bss, links]."""
    return jnp.einsum("lbj,jl->bl", graph, value)


def _towards_free(equal: Array, on: Array, taken: Array) -> Array:
    """Shares in proportion to the airtime that is not taken, and equal ones where all of it is."""
    free = jnp.where(on, jnp.maximum(1 - taken, 0.0), 0.0)
    total = jnp.sum(free, axis=1, keepdims=True)
    return jnp.where(total > 0, free / jnp.where(total > 0, total, 1.0), equal)


def airtime_saturated(
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    mask: Shaped[Array | np.ndarray, "bss links"],
) -> Float[Array, "bss links"]:
    """Share of the time that a BSS with full queues transmits where neighbours share alike: 1 / (1 + neighbours).

    The throughput of a BSS is the sum over its links of this times the capacity, as with `ctmn_activity`.

    Args:
        adj: sensing graph of each link, 0 and 1.
        mask: links that are on.
    """
    check_adjacency(adj)
    check_mask(mask)
    on = (jnp.asarray(mask) != 0).astype(jnp.result_type(float))
    return on / (1 + _from_neighbours(jnp.asarray(adj).astype(on.dtype), on))


def airtime_saturated_edges(
    senders: Int[Array | np.ndarray, " edges"],
    receivers: Int[Array | np.ndarray, " edges"],
    active: Shaped[Array | np.ndarray, " bss"],
) -> Float[Array, " bss"]:
    """`airtime_saturated` of one link whose graph is a list of directed edges, both directions listed; for many BSSs.

    Args:
        senders, receivers: the two ends of each edge.
        active: which BSSs have the link on.
    """
    on = (jnp.asarray(active) != 0).astype(jnp.result_type(float))
    neighbours = jax.ops.segment_sum(on[jnp.asarray(senders)], jnp.asarray(receivers), num_segments=len(on))
    return on / (1 + neighbours)
