"""DCF in one collision domain with collisions: Bianchi 2000, with finite retries and unlike stations.

Stations that always have a frame to send draw a backoff among 0..W_i-1 slots, W_i = W 2^min(i, m) after i collisions in
a row. Times are in any one unit; throughputs are bits per that unit, so Mb/s for us.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from offprint.federated_mlo._attempts import (
    as_floats,
    check_retries,
    collision_probability,
    fixed_point,
    hetero_fixed_point,
    idle_others,
    stages_of,
    survival,
)
from offprint.federated_mlo._checks import check_times, check_W, is_concrete
from offprint.federated_mlo._txop import SLOT_US, Numbers, txop_times


class BianchiResult(NamedTuple):
    """The fixed point and what follows from it; all of the broadcast shape of the arguments."""

    tau: Float[Array, "*batch"]  # attempts per station and virtual slot
    p: Float[Array, "*batch"]  # probability that an attempt collides
    p_tr: Float[Array, "*batch"]  # probability that a virtual slot is busy
    p_s: Float[Array, "*batch"]  # probability that a busy one is a success; 0 without stations
    slot: Float[Array, "*batch"]  # mean duration of a virtual slot, in the unit of the times
    throughput: Float[Array, "*batch"]  # of all stations together, bits per unit of time (Mb/s for us)


class HeteroResult(NamedTuple):
    """The fixed point of unlike stations and what each gets."""

    tau: Float[Array, " stations"]  # attempts per virtual slot
    p: Float[Array, " stations"]  # probability that an attempt of this station collides
    slot: Float[Array, ""]  # mean duration of a virtual slot
    throughput: Float[Array, " stations"]  # bits per unit of time (Mb/s for us)


def bianchi(
    n: Numbers, W: Numbers = 16, m: Numbers = 6, retry_limit: int | None = None
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Attempt and collision probability of n saturated stations that all hear each other (Bianchi 2000, Eq. 7 and 9).

    Differentiable in `W` and `n` for fixed `m`, by the implicit function theorem.

    Args:
        n: number of stations, an integer or not; with n <= 1 nobody collides.
        W: number of backoff values of stage 0 (CWmin + 1); real numbers are allowed.
        m: number of doublings of the window, at most 16.
        retry_limit: a frame is dropped after retry_limit + 1 attempts; None: never.

    Returns:
        tau and p; the arguments broadcast.

    Raises:
        ValueError: W < 1, m outside 0..16, or a negative retry limit.
    """
    check_W(W)
    check_retries(retry_limit)
    return _solve(*as_floats(n, W, m), retry_limit, stages_of(m))


# Jitted, since a loop is compiled anew each time that it is met outside of jit.
@partial(jax.jit, static_argnums=(3, 4))
def _solve(n: Array, W: Array, m: Array, retry_limit: int | None, stages: int) -> tuple[Array, Array]:
    tau = fixed_point(n, W, m, retry_limit, stages)
    return tau, collision_probability(tau, n)


def bianchi_throughput(
    n: Numbers,
    T_s: Numbers,
    T_c: Numbers,
    sigma: Numbers = SLOT_US,
    bits: Numbers = 12_000,
    W: Numbers = 16,
    m: Numbers = 6,
    retry_limit: int | None = None,
) -> BianchiResult:
    """Saturation throughput of n stations in one collision domain (Bianchi 2000, Eq. 13). Differentiable.

    Args:
        n: number of stations; 0 gives throughput 0.
        T_s: duration of a success, DIFS included.
        T_c: duration of a collision, DIFS included.
        sigma: duration of an idle slot, in the same unit.
        bits: payload that a success delivers.
        W, m, retry_limit: see `bianchi`.

    Raises:
        ValueError: times in two units (T_s or T_c < sigma), or see `bianchi`.
    """
    check_times(T_s, T_c, sigma)
    tau, p = bianchi(n, W, m, retry_limit)
    return _throughput(*as_floats(tau, p, n, T_s, T_c, sigma, bits))


@jax.jit
def _throughput(tau: Array, p: Array, n: Array, t_s: Array, t_c: Array, sigma: Array, bits: Array) -> BianchiResult:
    busy = collision_probability(tau, n + 1)
    success = n * tau * survival(tau, n - 1)
    slot = survival(tau, n) * sigma + success * t_s + (busy - success) * t_c
    p_s = jnp.where(busy > 0, success / jnp.where(busy > 0, busy, 1.0), 0.0)
    return BianchiResult(tau, p, busy, p_s, slot, success * bits / slot)


def bianchi_share(
    t_s: Numbers,
    t_c: Numbers,
    bits: Numbers,
    max_n: int,
    sigma: Numbers = SLOT_US,
    W: Numbers = 16,
    m: Numbers = 6,
    retry_limit: int | None = None,
) -> Float[Array, "links contenders"]:
    """What each of n contenders gets on each link, for n = 0..max_n: S(n) / n in Mb/s, and 0 for n = 0.

    The table makes one step of an environment a gather.

    Args:
        t_s, t_c, bits: [links], see `bianchi_throughput`; in us.
        max_n: largest number of contenders.
    """
    n = jnp.arange(max_n + 1)
    t_s, t_c, bits, sigma, W, m = (jnp.atleast_1d(jnp.asarray(x))[:, None] for x in (t_s, t_c, bits, sigma, W, m))
    total = bianchi_throughput(n, t_s, t_c, sigma, bits, W, m, retry_limit).throughput
    return total / jnp.maximum(n, 1)


def clique_share(
    links: Int[Array | np.ndarray, "links 3"],
    max_n: int,
    access: str = "rts",
    W: Numbers = 16,
    m: Numbers = 6,
    retry_limit: int | None = None,
    **frame: Any,
) -> Float[Array, "links contenders"]:
    """`bianchi_share` of links that are given by their PHY.

    Args:
        links: [links, 3] integers: MCS, bandwidth in MHz, spatial streams.
        max_n: largest number of contenders.
        access: `"rts"` or `"basic"`.
        **frame: further options of `txop_times`.
    """
    mcs, bw_mhz, nss = (np.asarray(links) if is_concrete(links) else links).T
    times = txop_times(mcs, bw_mhz, nss, access=access, **frame)
    return bianchi_share(times.t_s, times.t_c, times.bits, max_n, SLOT_US, W, m, retry_limit)


def bianchi_hetero(
    W: Float[Array | np.ndarray, " stations"] | Int[Array | np.ndarray, " stations"],
    m: Numbers = 6,
    retry_limit: int | None = None,
    active: Bool[Array | np.ndarray, " stations"] | None = None,
) -> tuple[Float[Array, " stations"], Float[Array, " stations"]]:
    """Attempt and collision probability of stations with windows of their own, p_i = 1 - prod over j != i of 1 - tau_j.

    Differentiable in `W`. With very small windows (W < 4, two stations) there can be several fixed points; this is
    the one that is reached from attempts without collisions.

    Args:
        W: [stations], backoff values of stage 0 of each.
        m: number of doublings, for all or [stations].
        retry_limit: see `bianchi`.
        active: which stations contend; the others have tau = 0. All by default.

    Returns:
        tau and p, [stations].

    Raises:
        ValueError: see `bianchi`.
    """
    check_W(W)
    check_retries(retry_limit)
    stages = stages_of(m)
    window, doublings = as_floats(W, m)
    on = jnp.ones_like(window) if active is None else jnp.asarray(active).astype(window.dtype)
    return _solve_hetero(window, doublings, on, retry_limit, stages)


@partial(jax.jit, static_argnums=(3, 4))
def _solve_hetero(W: Array, m: Array, on: Array, retry_limit: int | None, stages: int) -> tuple[Array, Array]:
    tau = hetero_fixed_point(W, m, on, retry_limit, stages)
    return tau, 1 - idle_others(tau)


def bianchi_hetero_throughput(
    W: Float[Array | np.ndarray, " stations"] | Int[Array | np.ndarray, " stations"],
    T_s: Numbers,
    T_c: Numbers,
    sigma: Numbers = SLOT_US,
    bits: Numbers = 12_000,
    m: Numbers = 6,
    retry_limit: int | None = None,
    active: Bool[Array | np.ndarray, " stations"] | None = None,
) -> HeteroResult:
    """Saturation throughput of stations with windows, rates and frames of their own in one collision domain.

    A collision takes as long as the longest T_c among those that collide.

    Args:
        W: [stations], see `bianchi_hetero`.
        T_s, T_c, bits: for all or [stations], see `bianchi_throughput`.
        sigma: duration of an idle slot, in the unit of the times.
        m, retry_limit, active: see `bianchi_hetero`.
    """
    check_times(T_s, T_c, sigma)
    tau, p = bianchi_hetero(W, m, retry_limit, active)
    return _hetero_throughput(*as_floats(tau, p, T_s, T_c, bits), jnp.asarray(sigma))


@jax.jit
def _hetero_throughput(tau: Array, p: Array, t_s: Array, t_c: Array, bits: Array, sigma: Array) -> HeteroResult:
    success = tau * (1 - p)
    # By falling T_c: station k sets the length if it attempts, none before it does, and one after it does.
    order = jnp.argsort(-t_c)
    ranked, idle = tau[order], jnp.cumprod(1 - tau[order])
    none_before = jnp.concatenate([jnp.ones_like(idle[:1]), idle[:-1]])
    collision = jnp.sum(ranked * (none_before - idle_others(ranked)) * t_c[order])
    slot = idle[-1] * sigma + jnp.sum(success * t_s) + collision
    return HeteroResult(tau, p, slot, success * bits / slot)
