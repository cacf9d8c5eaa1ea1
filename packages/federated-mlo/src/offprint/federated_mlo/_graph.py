"""Slotted CSMA/CA on a sensing graph: collisions, exponential backoff, hidden nodes, and a channel that goes on.

What the stationary model leaves out is here: simultaneous starts collide, backoff windows double, and starved BSSs
stay starved for seconds. The rules are those of `_contention`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32, PRNGKeyArray, Shaped

from offprint.federated_mlo._checks import check_adjacency, check_times, check_W, is_concrete
from offprint.federated_mlo._clique import check_backoff
from offprint.federated_mlo._contention import (
    LONGEST_WINDOW,
    TICKS,
    Channel,
    GraphState,
    Tally,
    all_off,
    run_window,
)

_EXACT_TICKS = 2**24  # float32 tells whole ticks apart up to here


class GraphCounts(NamedTuple):
    """What each BSS did in a stretch of simulated time; a last axis for its links in multi-link simulations."""

    success: Int32[Array, "bss *links"]
    """TXOPs that ended well."""
    collision: Int32[Array, "bss *links"]
    """TXOPs that ended and were lost."""
    airtime: Float[Array, "bss *links"]
    """us on the air, whether successful or not; an unfinished TXOP counts as far as it got."""


def sim_graph(
    key: PRNGKeyArray,
    adj: Shaped[Array | np.ndarray, "bss bss"],
    intf: Shaped[Array | np.ndarray, "bss bss"] | None,
    t_s: ArrayLike,
    t_c: ArrayLike,
    horizon_us: float | int,
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    sigma: ArrayLike = 9.0,
    difs: ArrayLike = 34.0,
    active: Bool[Array | np.ndarray, "bss"] | None = None,
) -> GraphCounts:
    """Simulate saturated BSSs on one link, from a fresh start: all at stage 0, with an idle medium.

    Use `jax.vmap` for seeds, links and deployments: mapped axes, nested ones too, run as one batch, which is where
    the speed is. A hundred of them cost little more than one.

    Args:
        key: typed key. The same key gives the same counts, alone or in a batch.
        adj: sensing graph.
        intf: who spoils whose TXOP; None: those who sense each other. A pair that interferes without sensing each
            other are hidden nodes.
        t_s: us of the channel that a success takes, DIFS included; one number or one per BSS.
        t_c: the same of a TXOP that is hit when it starts. One that is hit later keeps its length.
        horizon_us: us to simulate.
        W: backoff values of stage 0 (CWmin + 1), one number or one per BSS.
        m: largest backoff stage.
        sigma: us of a slot.
        difs: us of a DIFS.
        active: which BSSs use the link; None: all.

    Returns:
        The counts.

    Raises:
        ValueError: a graph that is not symmetric or has a diagonal; T_s or T_c shorter than a slot or than DIFS;
            a horizon that is not positive; windows beyond 2**24 ticks of 0.1 us.
    """
    intf = adj if intf is None else intf
    _check(adj[None], intf[None], t_s, t_c, W, m, sigma, difs)
    active = jnp.ones(adj.shape[0], bool) if active is None else active
    return simulate_graph(key, adj, intf, t_s, t_c, active, cut(horizon_us), W, m, sigma, difs)


@partial(jax.jit, static_argnames="warmup_windows")
def simulate_graph(
    key: PRNGKeyArray,
    adj: Any,
    intf: Any,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Any,
    sizes: Int[Array, "windows"],
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
    warmup_windows: int = 0,
) -> GraphCounts:
    """`sim_graph` without its checks, window by window."""

    def window(key: PRNGKeyArray, state: GraphState, ticks: ArrayLike) -> tuple[GraphState, GraphCounts]:
        return contend(key, state, adj, intf, t_s, t_c, active, ticks, W, m, sigma, difs)

    return total(window, key, graph_init(adj.shape[0]), sizes, warmup_windows)


def total(
    window: Callable[[PRNGKeyArray, GraphState, Array], tuple[GraphState, GraphCounts]],
    key: PRNGKeyArray,
    state: GraphState,
    sizes: Int[Array, "windows"],
    warmup_windows: int = 0,
) -> GraphCounts:
    """Counts of all windows but the first few."""

    def one(state: GraphState, x: tuple[PRNGKeyArray, Array]) -> tuple[GraphState, GraphCounts]:
        return window(x[0], state, x[1])

    _, counts = jax.lax.scan(one, state, (jax.random.split(key, len(sizes)), sizes))
    success, collision, airtime = (x[warmup_windows:].sum(0, dtype=x.dtype) for x in counts)
    return GraphCounts(success, collision, airtime)


def cut(horizon_us: float | int) -> Int32[Array, "windows"]:
    """Sizes in ticks of the windows that make up a time; each is one that the tick counter can hold.

    Raises:
        ValueError: a time that is not positive.
    """
    if not horizon_us > 0:
        raise ValueError(f"horizon_us = {horizon_us}: a positive number of microseconds is needed")
    ticks = max(1, round(horizon_us * TICKS))
    number = math.ceil(ticks / LONGEST_WINDOW)
    return jnp.asarray([ticks * (i + 1) // number - ticks * i // number for i in range(number)], jnp.int32)


def graph_init(num_bss: int) -> GraphState:
    """A channel that nobody uses yet: who is active in the first window joins with a fresh backoff."""
    return all_off((num_bss,))


def graph_window(
    key: PRNGKeyArray,
    state: GraphState,
    adj: Shaped[Array | np.ndarray, "bss bss"],
    intf: Shaped[Array | np.ndarray, "bss bss"] | None,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Shaped[Array | np.ndarray, "bss"],
    window_ticks: int | Int[Array, ""],
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    sigma: ArrayLike = 9.0,
    difs: ArrayLike = 34.0,
) -> tuple[GraphState, GraphCounts]:
    """Go on with a channel for a window of time, with a set of active BSSs of its own.

    TXOPs under way go on across the border, and backoffs too. A BSS that is switched off leaves after its TXOP; one
    that is switched on joins at stage 0 with a fresh backoff. Maps like `sim_graph`.

    Args:
        key: of this window.
        state: of `graph_init` or of the window before.
        active: which BSSs use the link in this window.
        window_ticks: length in ticks of 0.1 us, from 1 to 10**9 (100 s).
        adj, intf, t_s, t_c, W, m, sigma, difs: as in `sim_graph`.

    Returns:
        The state at the end of the window, and what happened in it. A TXOP counts where it ends.

    Raises:
        ValueError: as `sim_graph`, and a window that is too long or not positive.
    """
    intf = adj if intf is None else intf
    _check(adj[None], intf[None], t_s, t_c, W, m, sigma, difs)
    check_window(window_ticks)
    return contend(key, state, adj, intf, t_s, t_c, active, window_ticks, W, m, sigma, difs)


@jax.jit
def contend(
    key: PRNGKeyArray,
    state: GraphState,
    adj: Any,
    intf: Any,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Any,
    window_ticks: ArrayLike,
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
) -> tuple[GraphState, GraphCounts]:
    """`graph_window` without its checks."""
    channel = make_channel(adj, intf, t_s, t_c, active, window_ticks, W, m, sigma, difs)
    state, tally = run_window(key, state, channel)
    return state, in_microseconds(tally)


def make_channel(
    adj: Any,
    intf: Any,
    t_s: ArrayLike,
    t_c: ArrayLike,
    active: Any,
    window_ticks: ArrayLike,
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
) -> Channel:
    """Times in ticks, and one of everything per node."""
    num_nodes = adj.shape[-1]

    def ticks(us: ArrayLike) -> Int32[Array, "..."]:
        return jnp.round(jnp.asarray(us, jnp.result_type(float)) * TICKS).astype(jnp.int32)

    def per_node(x: ArrayLike) -> Int32[Array, "nodes"]:
        return jnp.broadcast_to(jnp.asarray(x, jnp.int32), (num_nodes,))

    return Channel(
        adj=jnp.asarray(adj, bool),
        intf=jnp.asarray(intf, bool),
        success=per_node(ticks(t_s) - ticks(difs)),
        collision=per_node(ticks(t_c) - ticks(difs)),
        active=jnp.asarray(active, bool),
        W=per_node(W),
        window=jnp.asarray(window_ticks, jnp.int32),
        m=jnp.asarray(m, jnp.int32),
        sigma=ticks(sigma),
        difs=ticks(difs),
    )


def in_microseconds(tally: Tally) -> GraphCounts:
    """The tally of a window with its airtime as a float of microseconds."""
    return GraphCounts(tally.success, tally.collision, tally.airtime.astype(jnp.result_type(float)) / TICKS)


def check_window(window_ticks: Any) -> None:
    """Refuse windows that the tick counter cannot hold.

    Raises:
        ValueError: window_ticks outside 1 .. 10**9.
    """
    if is_concrete(window_ticks) and not (
        np.all(np.asarray(window_ticks) >= 1) and np.all(np.asarray(window_ticks) <= LONGEST_WINDOW)
    ):
        raise ValueError(
            f"window_ticks = {window_ticks}: from 1 to {LONGEST_WINDOW} ticks of 0.1 us are possible; "
            "use several windows for a longer time"
        )


def _check(adj: Any, intf: Any, t_s: Any, t_c: Any, W: Any, m: Any, sigma: Any, difs: Any) -> None:
    check_adjacency(adj)
    check_adjacency(intf, "intf")
    check_contention(t_s, t_c, W, m, sigma, difs)


def check_contention(t_s: Any, t_c: Any, W: Any, m: Any, sigma: Any, difs: Any) -> None:
    """Refuse times and windows with which the simulation cannot run.

    Raises:
        ValueError: T_s or T_c shorter than a slot or not longer than DIFS; bad W or m; W 2^m slots beyond 2**24 ticks.
    """
    check_times(t_s, t_c, sigma)
    check_W(W)
    check_backoff(W, m)
    if is_concrete(t_s, t_c, difs) and (shortest := np.min(np.minimum(t_s, t_c))) <= np.max(difs):
        raise ValueError(f"T_s and T_c include DIFS = {difs} us, but the shortest of them is {shortest:g} us")
    if is_concrete(W, m, sigma) and np.max(np.asarray(W) * 2.0 ** np.asarray(m) * sigma) * TICKS >= _EXACT_TICKS:
        raise ValueError(
            f"a backoff of W 2^m = {np.max(np.asarray(W) * 2.0 ** np.asarray(m)):g} slots of {sigma} us is longer than "
            f"{_EXACT_TICKS / TICKS / 1e6:.2g} s, which the simulation cannot count exactly; take a smaller m"
        )
