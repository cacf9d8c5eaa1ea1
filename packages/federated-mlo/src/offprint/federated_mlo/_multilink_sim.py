"""Contention of multi-link devices, with what binds the links of one device.

- "str" (simultaneous transmit and receive): nothing; every link is a channel of its own.
- "nstr" (no simultaneous transmit and receive): a device may start on a link only while none of its other links
  transmits. It counts down on all of them; a backoff that ends too early is held at zero, and the device starts DIFS
  after its other links have become silent, if the medium is idle. Links whose backoffs end in the same tick may start
  together, as aligned transmissions do no harm.
- "emlsr" (enhanced multi-link single radio): one TXOP per device at a time. During it the radio cannot listen
  elsewhere, so that the other links of the device are frozen as by a busy medium. Of links that are due in the same
  tick one starts: a coin says whether the lowest or the highest.
"""

from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_choice
from offprint.federated_mlo._contention import MLD, GraphState, all_off, run_window
from offprint.federated_mlo._graph import (
    GraphCounts,
    check_contention,
    check_window,
    cut,
    in_microseconds,
    make_channel,
    total,
)


def sim_multilink(
    key: PRNGKeyArray,
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    intf: Shaped[Array | np.ndarray, "links bss bss"] | None,
    t_s: ArrayLike,
    t_c: ArrayLike,
    horizon_us: float | int,
    mld: MLD = "str",
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    sigma: ArrayLike = 9.0,
    difs: ArrayLike = 34.0,
    active: Bool[Array | np.ndarray, "bss links"] | None = None,
) -> GraphCounts:
    """Simulate saturated multi-link BSSs from a fresh start; `jax.vmap` for seeds and deployments.

    Args:
        key: typed key.
        adj: sensing graph of each link.
        intf: who spoils whose TXOP on each link; None: those who sense each other.
        t_s: us of the channel that a success takes, DIFS included; a number or [bss, links].
        t_c: the same of a TXOP that is hit when it starts.
        horizon_us: us to simulate.
        mld: "str", "nstr" or "emlsr".
        W: backoff values of stage 0; a number or [bss, links].
        m: largest backoff stage.
        sigma: us of a slot.
        difs: us of a DIFS.
        active: which links are switched on; None: all.

    Returns:
        Counts with leaves [bss, links].

    Raises:
        ValueError: as `sim_graph`, and an unknown mld.
    """
    intf = adj if intf is None else intf
    _check(adj, intf, t_s, t_c, mld, W, m, sigma, difs)
    active = jnp.ones((adj.shape[1], adj.shape[0]), bool) if active is None else active
    return _simulate(key, adj, intf, t_s, t_c, active, cut(horizon_us), mld, W, m, sigma, difs)


@partial(jax.jit, static_argnames="mld")
def _simulate(
    key: PRNGKeyArray,
    adj: Any,
    intf: Any,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Any,
    sizes: Int[Array, "windows"],
    mld: MLD,
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
) -> GraphCounts:
    def window(key: PRNGKeyArray, state: GraphState, ticks: ArrayLike) -> tuple[GraphState, GraphCounts]:
        return _window(key, state, adj, intf, t_s, t_c, active, ticks, mld, W, m, sigma, difs)

    num_links, num_bss, _ = adj.shape
    return total(window, key, multilink_init(num_bss, num_links), sizes)


def multilink_init(num_bss: int, num_links: int) -> GraphState:
    """Channels that nobody uses yet; leaves [links, bss]."""
    return all_off((num_links, num_bss))


def multilink_window(
    key: PRNGKeyArray,
    state: GraphState,
    adj: Shaped[Array | np.ndarray, "links bss bss"],
    intf: Shaped[Array | np.ndarray, "links bss bss"] | None,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Shaped[Array | np.ndarray, "bss links"],
    window_ticks: int | Int[Array, ""],
    mld: MLD = "str",
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    sigma: ArrayLike = 9.0,
    difs: ArrayLike = 34.0,
) -> tuple[GraphState, GraphCounts]:
    """Go on with all links for a window of time: `graph_window` for multi-link devices.

    Args:
        key: of this window.
        state: of `multilink_init` or of the window before.
        active: which links are switched on in this window.
        window_ticks: length in ticks of 0.1 us, from 1 to 10**9 (100 s).
        adj, intf, t_s, t_c, mld, W, m, sigma, difs: as in `sim_multilink`.

    Returns:
        The state at the end of the window, and the counts of the window with leaves [bss, links].

    Raises:
        ValueError: as `sim_multilink`, and a window that is too long or not positive.
    """
    intf = adj if intf is None else intf
    _check(adj, intf, t_s, t_c, mld, W, m, sigma, difs)
    check_window(window_ticks)
    return _window(key, state, adj, intf, t_s, t_c, active, window_ticks, mld, W, m, sigma, difs)


@partial(jax.jit, static_argnames="mld")
def _window(
    key: PRNGKeyArray,
    state: GraphState,
    adj: Any,
    intf: Any,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Any,
    window_ticks: ArrayLike,
    mld: MLD,
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
) -> tuple[GraphState, GraphCounts]:
    num_links, num_bss, _ = adj.shape
    t_s, t_c, W, active = (jnp.broadcast_to(jnp.asarray(x), (num_bss, num_links)).T for x in (t_s, t_c, W, active))
    if mld == "str":  # independent channels: cheaper as a batch of small graphs than as one large graph

        def link(key: Any, state: GraphState, *of_link: Any) -> tuple[GraphState, Any]:
            adj, intf, t_s, t_c, active, W = of_link
            return run_window(key, state, make_channel(adj, intf, t_s, t_c, active, window_ticks, W, m, sigma, difs))

        keys = jax.random.split(key, num_links)
        state, tally = jax.vmap(link)(keys, state, jnp.asarray(adj), jnp.asarray(intf), t_s, t_c, active, W)
    else:
        t_s, t_c, W, active = (x.reshape(-1) for x in (t_s, t_c, W, active))
        adj, intf = _block_diagonal(adj), _block_diagonal(intf)
        channel = make_channel(adj, intf, t_s, t_c, active, window_ticks, W, m, sigma, difs)
        nodes = jax.tree.map(lambda x: x.reshape(-1), state)
        nodes, tally = run_window(key, nodes, channel, mld, num_links)
        state, tally = jax.tree.map(lambda x: x.reshape(num_links, num_bss), (nodes, tally))
    return state, jax.tree.map(lambda x: x.T, in_microseconds(tally))


def _block_diagonal(graphs: Any) -> Bool[Array, "nodes nodes"]:
    """One graph of all (link, BSS) pairs in which links do not touch; node l * B + b is BSS b on link l."""
    num_links, num_bss, _ = graphs.shape
    blocks = jnp.eye(num_links, dtype=bool)[:, None, :, None] & jnp.asarray(graphs, bool)[:, :, None, :]
    return blocks.reshape(num_links * num_bss, num_links * num_bss)


def _check(adj: Any, intf: Any, t_s: Any, t_c: Any, mld: str, W: Any, m: Any, sigma: Any, difs: Any) -> None:
    check_adjacency(adj)
    check_adjacency(intf, "intf")
    check_choice("mld", mld, get_args(MLD))
    check_contention(t_s, t_c, W, m, sigma, difs)
