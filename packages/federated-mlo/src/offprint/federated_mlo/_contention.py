"""The event loop of CSMA/CA on sensing graphs, many independent copies side by side.

Time is in whole ticks of 0.1 us. A node either transmits, or counts down, or is frozen because a neighbour transmits.
An event is the next end or start of a transmission; ends come before starts of the same tick:

- Ends. The transmission was a success unless it was hit. The node draws a new backoff.
- Starts. All nodes that are due start together. A start while an interfering neighbour transmits hits both; one that
  is hit at its own start lasts T_c - DIFS, any other T_s - DIFS.
- Nodes that now sense a neighbour freeze with the slots that they have not fully counted down; nothing is counted
  during DIFS. Nodes that no longer sense any resume after DIFS.

Arrays have the copies ("lanes") as their last axis, so that a processor's vectors lie along them, and sets of nodes
are bits of words, so that the neighbours of a node are looked at in one operation. `run_window` works on a single copy
and is vectorised by `jax.vmap`, which turns mapped axes, nested ones too, into lanes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Int32, Key, PRNGKeyArray, UInt32

from offprint.federated_mlo._draws import backoff, mix, salts, seeds, word

MLD = Literal["str", "nstr", "emlsr"]
"""What the links of a device have to do with each other: nothing, or NSTR, or EMLSR (see `_multilink_sim`)."""

TICKS = 10
"""Ticks in a microsecond."""
LONGEST_WINDOW = 10**9
"""Ticks: 100 s. Beyond 2^31 ticks time would overflow."""
NEVER = 2**31 - 1
_CHUNK = 32
"""Events between two looks at whether all lanes are done."""
_WORD = 32


class GraphState(NamedTuple):
    """The channel between two windows; times count from the start of the next one."""

    due: Int32[Array, "*nodes"]
    """Ticks until the transmission ends, or until it starts if no neighbour interrupts; NEVER: frozen or off."""
    slots: Int32[Array, "*nodes"]
    """Backoff slots that were left when the medium last became idle."""
    stage: Int32[Array, "*nodes"]
    """Backoff stage."""
    on_air: Bool[Array, "*nodes"]
    hit: Bool[Array, "*nodes"]
    """The transmission under way is lost."""
    active: Bool[Array, "*nodes"]
    """Takes part in the contention."""


class Tally(NamedTuple):
    """What happened to the nodes in a window."""

    success: Int32[Array, "*nodes"]
    """Transmissions that ended well."""
    collision: Int32[Array, "*nodes"]
    """Transmissions that ended and were lost."""
    airtime: Int32[Array, "*nodes"]
    """Ticks on the air, those of unfinished transmissions included."""


class Channel(NamedTuple):
    """What a window is run with."""

    adj: Bool[Array, "*nodes2"]
    """Who senses whom (and, for EMLSR, the other links of the same device)."""
    intf: Bool[Array, "*nodes2"]
    """Who spoils whose transmission."""
    success: Int32[Array, "*nodes"]
    """Ticks of a transmission: T_s - DIFS."""
    collision: Int32[Array, "*nodes"]
    """Ticks of one that is hit at its start: T_c - DIFS."""
    active: Bool[Array, "*nodes"]
    W: Int32[Array, "*nodes"]
    """Backoff values of stage 0."""
    window: Int32[Array, "*lanes"]
    """Ticks to simulate, at most LONGEST_WINDOW."""
    m: Int32[Array, "*lanes"]
    sigma: Int32[Array, "*lanes"]
    """Ticks of a slot."""
    difs: Int32[Array, "*lanes"]
    """Ticks."""


def all_off(shape: tuple[int, ...]) -> GraphState:
    """Nodes that are all off: those that are active in the first window join with a fresh backoff."""
    zero, off = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    return GraphState(jnp.full(shape, NEVER, jnp.int32), zero, zero, off, off, off)


def run_window(
    key: PRNGKeyArray, nodes: GraphState, channel: Channel, mld: MLD = "str", num_links: int = 1
) -> tuple[GraphState, Tally]:
    """Let a graph of nodes contend for `channel.window` ticks. All arguments are of one copy: nodes [N].

    Args:
        key: of this window.
        nodes: state at its start.
        channel: graphs and times.
        mld: what binds the links of a device; node l * B + b is link l of device b then.
        num_links: links of a device.

    Returns:
        The state at its end, with times counted from there, and the tally.
    """
    lanes = _lane_program(mld, num_links)
    nodes, tally = lanes(key[None], *jax.tree.map(lambda x: x[..., None], (nodes, channel)))
    return jax.tree.map(lambda x: x[..., 0], (nodes, tally))


@cache
def _lane_program(mld: MLD, num_links: int) -> Callable[..., tuple[GraphState, Tally]]:
    """The window over lanes; a mapped axis becomes more lanes."""

    @custom_vmap
    def program(keys: Key[Array, "lanes"], nodes: GraphState, channel: Channel) -> tuple[GraphState, Tally]:
        return _run_lanes(keys, nodes, channel, mld, num_links)

    @program.def_vmap
    def _(size: int, mapped: Any, *arguments: Any) -> tuple[Any, Any]:
        def to_lanes(x: Array, is_mapped: bool) -> Array:
            x = (
                jnp.moveaxis(x, 0, -2)
                if is_mapped
                else jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], size, x.shape[-1]))
            )
            return x.reshape(*x.shape[:-2], -1)

        def from_lanes(x: Array) -> Array:
            return jnp.moveaxis(x.reshape(*x.shape[:-1], size, -1), -2, 0)

        outputs = program(*jax.tree.map(to_lanes, arguments, tuple(mapped)))
        return jax.tree.map(from_lanes, outputs), jax.tree.map(lambda _: True, outputs)

    return program


class _Lanes(NamedTuple):
    """State inside the loop; sets of nodes as bits."""

    due: Int32[Array, "nodes lanes"]
    slots: Int32[Array, "nodes lanes"]
    stage: Int32[Array, "nodes lanes"]
    on_air: UInt32[Array, "words lanes"]
    hit: UInt32[Array, "words lanes"]
    tally: Tally


def _run_lanes(
    keys: Key[Array, "lanes"], nodes: GraphState, channel: Channel, mld: MLD, num_links: int
) -> tuple[GraphState, Tally]:
    num_nodes = nodes.due.shape[0]
    graphs = _graphs(channel, mld, num_links)
    stream, salt = jax.vmap(seeds, out_axes=-1)(keys), salts(num_nodes)
    state = _open(word(stream, jnp.int32(-1)) ^ salt, nodes, channel, graphs)

    def unfinished(carry: tuple[_Lanes, Array]) -> Array:
        return (carry[0].due.min(0) < channel.window).any()

    def chunk(carry: tuple[_Lanes, Array]) -> tuple[_Lanes, Array]:
        state, i = carry

        def step(state: _Lanes, j: Array) -> tuple[_Lanes, None]:
            return _event(state, word(stream, j), channel, graphs, salt, mld), None

        return jax.lax.scan(step, state, i + jnp.arange(_CHUNK, dtype=jnp.int32))[0], i + _CHUNK

    state, _ = jax.lax.while_loop(unfinished, chunk, (state, jnp.int32(0)))
    return _close(state, channel)


class _Graphs(NamedTuple):
    """Neighbourhoods as bits, [words, nodes, lanes]."""

    adj: UInt32[Array, "words nodes lanes"]
    intf: UInt32[Array, "words nodes lanes"]
    own: UInt32[Array, "words nodes 1"]
    """The other links of the same device."""
    lower: UInt32[Array, "words nodes 1"]
    """Of these, the ones with a smaller number."""


def _graphs(channel: Channel, mld: MLD, num_links: int) -> _Graphs:
    num_nodes = channel.adj.shape[0]
    devices = num_nodes // num_links
    i, j = jnp.arange(num_nodes)[:, None], jnp.arange(num_nodes)[None, :]
    own = (i % devices == j % devices) & (i != j)
    sensed = channel.adj | own[..., None] if mld == "emlsr" else channel.adj
    as_words = jax.vmap(_pack, 0, 1)  # of each row: whom a node hears
    return _Graphs(*(as_words(x) for x in (sensed, channel.intf, own[..., None], (own & (j < i))[..., None])))


def _pack(members: Bool[Array, "nodes lanes"]) -> UInt32[Array, "words lanes"]:
    """A set of nodes as bits."""
    num_nodes = members.shape[0]
    bits = members.astype(jnp.uint32) << (jnp.arange(num_nodes, dtype=jnp.uint32) % _WORD)[:, None]
    spare = -num_nodes % _WORD if num_nodes > _WORD else 0
    bits = jnp.pad(bits, ((0, spare), (0, 0)))
    return bits.reshape(-1, min(num_nodes, _WORD), members.shape[1]).sum(1, dtype=jnp.uint32)


def _unpack(words: UInt32[Array, "words lanes"], num_nodes: int) -> Bool[Array, "nodes lanes"]:
    node = jnp.arange(num_nodes, dtype=jnp.uint32)
    return ((words[node // _WORD] >> (node % _WORD)[:, None]) & 1) == 1


def _meets(
    rows: UInt32[Array, "words nodes #lanes"], members: UInt32[Array, "words lanes"]
) -> Bool[Array, "nodes lanes"]:
    """Which nodes have a neighbour in the set."""
    return ((rows & members[:, None]) != 0).any(0)


def _open(words: Array, nodes: GraphState, channel: Channel, graphs: _Graphs) -> _Lanes:
    """The start of a window: who was switched on joins with a fresh backoff, who was switched off goes quiet."""
    on_air = _pack(nodes.on_air)
    busy = _meets(graphs.adj, on_air)  # also where the graph has changed since the last window
    joins = channel.active & ~nodes.active & ~nodes.on_air
    slots = jnp.where(joins, backoff(mix(words), channel.W), nodes.slots)
    due = jnp.where(~nodes.on_air & (joins | ~channel.active | busy), NEVER, nodes.due)
    due = jnp.where((due == NEVER) & channel.active & ~busy, channel.difs + slots * channel.sigma, due)
    zero = jnp.zeros_like(due)
    stage = jnp.where(joins, 0, nodes.stage)
    return _Lanes(due, slots, stage, on_air, _pack(nodes.hit), Tally(zero, zero, zero))


def _close(state: _Lanes, channel: Channel) -> tuple[GraphState, Tally]:
    """The end of a window: times count from it, and what is on the air has been there until now."""
    on_air, hit = (_unpack(words, state.due.shape[0]) for words in (state.on_air, state.hit))
    due = jnp.where(state.due == NEVER, NEVER, state.due - channel.window)
    tally = state.tally._replace(airtime=state.tally.airtime + jnp.where(on_air, channel.window, 0))
    return GraphState(due, state.slots, state.stage, on_air, hit, channel.active), tally


def _event(
    state: _Lanes, drawn: UInt32[Array, "lanes"], channel: Channel, graphs: _Graphs, salt: Array, mld: MLD
) -> _Lanes:
    """All that happens at the next tick at which anything does; nothing in lanes whose window is over."""
    due, slots, stage, on_air, hit, tally = state
    num_nodes = due.shape[0]
    now = due.min(0)
    happens = (due == now) & (now < channel.window)
    transmits, lost = _unpack(on_air, num_nodes), _unpack(hit, num_nodes)

    ends = happens & transmits
    stage = jnp.where(ends, jnp.where(lost, jnp.minimum(stage + 1, channel.m), 0), stage)
    fresh = backoff(mix(drawn ^ salt), channel.W << stage)
    on_air = on_air & ~_pack(ends)

    starts = _may_start(happens & ~transmits, on_air, drawn, graphs, mld)
    new = _pack(starts)
    on_air = on_air | new
    spoilt = starts & _meets(graphs.intf, on_air)
    hit = (hit & on_air) | _pack(spoilt | _meets(graphs.intf, new)) & on_air
    length = jnp.where(spoilt, channel.collision, channel.success)

    busy, stays = _meets(graphs.adj, on_air), transmits & ~ends
    counts = (due != NEVER) & ~transmits & ~starts
    left = jnp.minimum(slots, _slots_left(due - now, channel.sigma))
    slots = jnp.where(ends, fresh, jnp.where(counts & busy, left, slots))
    waits = ~(stays | starts | counts) & ~busy & channel.active
    goes_on = stays | (counts & ~busy)
    if mld == "nstr":
        held = happens & counts
        goes_on, slots = goes_on & ~held, jnp.where(held, 0, slots)
        waits = waits & ~((slots == 0) & _meets(graphs.own, on_air))
    resumes = now + channel.difs + slots * channel.sigma
    due = jnp.where(starts, now + length, jnp.where(goes_on, due, jnp.where(waits, resumes, NEVER)))
    tally = Tally(
        tally.success + (ends & ~lost),
        tally.collision + (ends & lost),
        tally.airtime + jnp.where(ends, now, jnp.where(starts, -now, 0)),
    )
    return _Lanes(due, slots, stage, on_air, hit, tally)


def _may_start(
    due: Bool[Array, "nodes lanes"], on_air: Array, drawn: UInt32[Array, "lanes"], graphs: _Graphs, mld: MLD
) -> Bool[Array, "nodes lanes"]:
    """Of the nodes that are due, those that their device lets start."""
    if mld == "nstr":
        return due & ~_meets(graphs.own, on_air)
    if mld == "emlsr":  # one link of a device; a coin says whether its lowest or its highest goes first
        others = _pack(due)
        lower, higher = _meets(graphs.lower, others), _meets(graphs.own ^ graphs.lower, others)
        return due & ~jnp.where((drawn & 1) == 1, lower, higher)
    return due


def _slots_left(ticks: Int32[Array, "nodes lanes"], sigma: Int32[Array, "lanes"]) -> Int32[Array, "nodes lanes"]:
    """Slots that are not fully counted down, rounded up; exact below 2^24 ticks. Vectors have no integer division."""
    return jnp.ceil(ticks.astype(jnp.float32) / sigma.astype(jnp.float32)).astype(jnp.int32)
