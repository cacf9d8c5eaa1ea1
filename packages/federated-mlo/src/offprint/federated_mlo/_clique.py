"""Slotted CSMA/CA in one collision domain, one busy period at a time.

All stations hear each other and always have a frame. The state is what each has left to count down and its backoff
stage; the medium is idle until the smallest counter runs out, and then busy with a success or a collision. Only
integers are counted (idle slots, successes, collisions): they are turned into time at the end, because a float32 sum
of durations is off by 2e-3 after two million events.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Int32, PRNGKeyArray, UInt32

from offprint.federated_mlo._checks import check_choice, check_times, check_W, is_concrete
from offprint.federated_mlo._draws import backoff, mix, salts, seeds, word

Decrement = Literal["freeze", "bianchi"]
"""Whether those who do not transmit count a busy period as a slot ("bianchi") or not ("freeze")."""

_CHUNK = 64
"""Busy periods between two settlements: slots are counted from the last one, and counts are taken out of half words."""
_STAGE_BITS = 4
LARGEST_WINDOW = 2**20
"""Largest W 2^m: what is left after _CHUNK draws still fits beside the stage into 32 bits."""


class Counts(NamedTuple):
    """What happened in one collision domain; a leading axis for the replicas where there are some."""

    idle: Int32[Array, "*replicas"]
    """Idle slots."""
    success: Int32[Array, "*replicas stations"]
    """Frames that went through."""
    collision: Int32[Array, "*replicas stations"]
    """Frames that collided: a busy period with k transmitters counts for each of the k."""
    busy: Int32[Array, "*replicas"]
    """Busy periods, successes and collisions."""


def sim_clique(
    key: PRNGKeyArray,
    n: int,
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    events: int | Int[Array, ""] = 100_000,
    decrement: Decrement = "freeze",
    replicas: int | None = None,
    warmup: int | Int[Array, ""] = 0,
) -> Counts:
    """Simulate n saturated stations in one collision domain (the process that Bianchi 2000 analyses).

    A station that transmits draws anew, uniformly from 0 .. W 2^stage - 1; its stage is 0 after a success and rises
    by one, up to m, after a collision. Retries are not limited.

    Args:
        key: typed key. The same key gives the same counts.
        n: stations. Static: another number compiles anew, as does another number of replicas.
        W: backoff values of stage 0 (CWmin + 1), one number or one per station.
        m: largest stage, at most 15.
        events: busy periods to count, of each replica.
        decrement: "freeze": counters stand still while the medium is busy, as stations do. "bianchi": a busy period
            counts as a slot for all, as in the chain of Bianchi 2000.
        replicas: independent copies, which run side by side and give the result a leading axis. This is the fast
            axis: some hundreds of copies cost little more than one. `jax.vmap` works too, but is slower.
        warmup: busy periods before counting begins; all start at stage 0 with a fresh draw.

    Returns:
        The counts.

    Raises:
        ValueError: n, W, events or replicas below 1; m outside 0 .. 15; W 2^m above 2**20; so many events that the
            idle slots of one replica may exceed 32 bits; an unknown decrement.
    """
    _check(n, W, m, events, decrement, replicas, warmup)
    counts = _simulate(
        key,
        jnp.broadcast_to(jnp.asarray(W, jnp.int32), (n,)),
        jnp.asarray(m, jnp.int32),
        jnp.asarray(events, jnp.int32),
        jnp.asarray(warmup, jnp.int32),
        jnp.int32(decrement == "bianchi"),
        1 if replicas is None else replicas,
    )
    return jax.tree.map(lambda x: x[0], counts) if replicas is None else counts


def _check(n: int, W: Any, m: Any, events: Any, decrement: str, replicas: int | None, warmup: Any) -> None:
    check_choice("decrement", decrement, ("freeze", "bianchi"))
    check_W(W)
    if n < 1:
        raise ValueError(f"n = {n} stations: at least 1 is needed")
    if replicas is not None and replicas < 1:
        raise ValueError(f"replicas = {replicas}: at least 1 is needed, or None for a single run")
    check_backoff(W, m)
    if not is_concrete(W, events, warmup):
        return
    if np.any(np.asarray(events) < 1) or np.any(np.asarray(warmup) < 0):
        raise ValueError(f"events = {events}, warmup = {warmup}: at least one busy period is needed, and no negative")
    # Between two busy periods pass less than W / 2 slots on average.
    if (float(np.max(events)) + float(np.max(warmup))) * float(np.max(W)) > 2**31:
        raise ValueError(
            f"events + warmup = {np.max(events) + np.max(warmup)} with W = {np.max(W)} may overflow the 32-bit count "
            "of idle slots; run several replicas of fewer events"
        )


def check_backoff(W: Any, m: Any) -> None:
    """Refuse stages and windows that the simulators cannot hold.

    Raises:
        ValueError: m outside 0 .. 15, W not an integer, W 2^m above 2**20.
    """
    if not is_concrete(W, m):
        return
    stages, values = np.asarray(m), np.asarray(W)
    if not np.all((stages >= 0) & (stages < 2**_STAGE_BITS) & (stages == np.floor(stages))):
        raise ValueError(f"m = {m}: a whole number of stages from 0 to {2**_STAGE_BITS - 1} is needed")
    if not np.all(values == np.floor(values)):
        raise ValueError(f"W = {W}: a whole number of backoff values is needed")
    if np.max(values * 2.0**stages) > LARGEST_WINDOW:
        raise ValueError(f"W 2^m = {np.max(values * 2.0**stages):g} exceeds {LARGEST_WINDOW}, the largest window")


_Carry = tuple[Array, Array, Array, Array]  # of `_busy_period`


@partial(jax.jit, static_argnames="replicas")
def _simulate(
    key: PRNGKeyArray,
    W: Int32[Array, "stations"],
    m: Int32[Array, ""],
    events: Int32[Array, ""],
    warmup: Int32[Array, ""],
    busy_slot: Int32[Array, ""],
    replicas: int,
) -> Counts:
    """The replicas are the last axis, so that a processor's vectors lie along them."""
    n = W.shape[0]
    stream, salt = seeds(key, (replicas,)), salts(n)
    packed = backoff(mix(word(stream, jnp.int32(-1)) ^ salt), W[:, None]) << _STAGE_BITS
    zero = jnp.zeros(replicas, jnp.int32)
    none = jnp.zeros((n, replicas), jnp.int32)

    def chunk(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        packed, before, idle, success, collision = carry

        def step(carry: _Carry, j: Array) -> tuple[_Carry, None]:
            live, counted = j < warmup + events, (j >= warmup) & (j < warmup + events)
            return _busy_period(*carry, word(stream, j), live, counted, W, m, busy_slot, salt), None

        start = (packed, before, idle, none)
        (packed, before, idle, both), _ = jax.lax.scan(step, start, i * _CHUNK + jnp.arange(_CHUNK, dtype=jnp.int32))
        packed = packed - (before << _STAGE_BITS)
        return packed, zero, idle, success + (both & 0xFFFF), collision + (both >> 16)

    # The first busy period follows no other: one slot is given back in advance.
    start = (packed, zero - busy_slot, zero, none, none)
    chunks = (warmup + events + _CHUNK - 1) // _CHUNK
    _, _, idle, success, collision = jax.lax.fori_loop(0, chunks, chunk, start)
    return Counts(idle, success.T, collision.T, jnp.broadcast_to(events, (replicas,)))


def _busy_period(
    packed: Int32[Array, "stations replicas"],
    before: Int32[Array, "replicas"],
    idle: Int32[Array, "replicas"],
    both: Int32[Array, "stations replicas"],
    drawn: UInt32[Array, "replicas"],
    live: Bool[Array, ""],
    counted: Bool[Array, ""],
    W: Int32[Array, "stations"],
    m: Int32[Array, ""],
    busy_slot: Int32[Array, ""],
    salt: UInt32[Array, "stations 1"],
) -> _Carry:
    """From one busy period to the next.

    A station is one integer: the virtual slot in which it transmits, and in the low bits its stage. Counting down is
    then for free, because the slots of those who wait do not change; with busy_slot = 1 a busy period takes a slot.
    `both` holds successes in its lower and collisions in its upper half.
    """
    expiry = packed >> _STAGE_BITS
    now = expiry.min(0)
    transmits = (expiry == now) & live
    alone = transmits.sum(0, dtype=jnp.int32) == 1
    stage = jnp.where(alone, 0, jnp.minimum((packed & (2**_STAGE_BITS - 1)) + 1, m))
    draw = backoff(mix(drawn ^ salt), W[:, None] << stage)
    packed = jnp.where(transmits, ((now + busy_slot + draw) << _STAGE_BITS) | stage, packed)
    one = counted.astype(jnp.int32)
    both = both + jnp.where(transmits, jnp.where(alone, one, one << 16), 0)
    idle = idle + one * (now - before - busy_slot)
    return packed, jnp.where(live, now, before), idle, both


def throughput_from_counts(
    counts: Counts,
    t_s: ArrayLike,
    t_c: ArrayLike,
    sigma: ArrayLike = 9.0,
    bits: ArrayLike = 12_000,
) -> Float[Array, "*replicas stations"]:
    """Throughput of each station in Mb/s: successful payload over the time that the counted events take.

    Args:
        counts: of `sim_clique`.
        t_s: us of a success, one number or one per station.
        t_c: us of a collision.
        sigma: us of an idle slot.
        bits: payload of a success, one number or one per station.

    Raises:
        ValueError: T_s or T_c below sigma (seconds and microseconds mixed).
    """
    check_times(t_s, t_c, sigma)
    idle, success, _, busy = counts
    dtype = jnp.result_type(float)
    collided = busy - success.sum(-1)
    time = idle.astype(dtype) * sigma + (success.astype(dtype) * t_s).sum(-1) + collided.astype(dtype) * t_c
    return success.astype(dtype) * bits / time[..., None]
