"""What each BSS gets when these links are on, by each model of the channel, behind one function."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from offprint.federated_mlo._bethe import bethe_messages
from offprint.federated_mlo._bianchi import bianchi
from offprint.federated_mlo._contention import GraphState
from offprint.federated_mlo._ctmn import ctmn_activity, lookup_activity
from offprint.federated_mlo._multilink import multilink_activity
from offprint.federated_mlo._multilink_sim import multilink_init, multilink_window
from offprint.federated_mlo._observe import over_neighbours
from offprint.federated_mlo._topology import Topology

if TYPE_CHECKING:
    from offprint.federated_mlo._env import MLOEnv, MLOParams

TICKS_PER_US = 10
"""The event-level simulators count in ticks of 0.1 us."""


def activity_and_throughput(
    env: "MLOEnv", params: "MLOParams", mask: Bool[Array, "bss links"]
) -> tuple[Float[Array, " bss"], Float[Array, "bss links"]]:
    """Throughput in Mb/s and the fraction of time that each BSS transmits on each link, by `env.model`."""
    topology = params.topology
    mask = mask & (topology.cap > 0)
    if env.model == "bianchi":
        assert params.tau is not None
        return _bianchi(topology, mask, params.tau, env.sigma)
    if env.model == "airtime":
        return _airtime(env, params, mask)
    if env.model == "bethe":
        y = bethe_messages(topology.graphs, topology.theta, mask, None, env.bethe_iters)[0]
    elif env.mld != "str":
        y = multilink_activity(topology.adj, mask, topology.theta, env.mld)
    elif params.activity is not None:
        y = lookup_activity(params.activity, mask)
    else:
        y = ctmn_activity(topology.adj, mask, topology.theta)
    y = jnp.where(mask, y, 0)
    return _carried(y, topology.cap), y


def _carried(y: Float[Array, "bss links"], cap: Float[Array, "bss links"]) -> Float[Array, " bss"]:
    """Σ_l y c, the same to the last bit in whatever program: the bound keeps products from being fused with the sum."""
    return jnp.sum(jnp.minimum(y * cap, jnp.finfo(cap.dtype).max), axis=1)


def attempt_table(num_bss: int, W: float | int, m: int) -> Float[Array, " contenders"]:
    """Attempt probability of each of n = 0..B stations in one collision domain (Bianchi 2000); 0 for n = 0."""
    tau, _ = bianchi(jnp.arange(1, num_bss + 1), W, m)
    return jnp.concatenate([jnp.zeros(1, tau.dtype), tau])


def _bianchi(
    topology: Topology, mask: Bool[Array, "bss links"], tau: Float[Array, " contenders"], sigma: float | int
) -> tuple[Float[Array, " bss"], Float[Array, "bss links"]]:
    """One collision domain per link (Bianchi 2000), BSSs with TXOPs of their own length.

    All contend alike; a virtual slot is idle (σ), a success of one of them (its T_s), or a collision, which lasts as
    long as the longest T_c of those in it. Throughput is bits of a TXOP times successes over the mean slot.
    """
    attempt = tau[jnp.sum(mask, axis=0)]  # [links]
    quiet = 1 - attempt
    contenders = jnp.sum(mask, axis=0)
    alone = jnp.where(mask, attempt * quiet ** jnp.maximum(contenders - 1, 0), 0)
    # b is the longest of a collision: it transmits, nobody longer does, somebody shorter does.
    longer = (topology.t_c[None] > topology.t_c[:, None]) | (
        (topology.t_c[None] == topology.t_c[:, None])
        & (jnp.arange(mask.shape[0])[None, :, None] < jnp.arange(mask.shape[0])[:, None, None])
    )
    ahead = jnp.sum(longer & mask[None], axis=1)
    behind = contenders - ahead - 1
    lasts = jnp.where(mask, attempt * quiet**ahead * (1 - quiet ** jnp.maximum(behind, 0)), 0)
    slot = quiet**contenders * sigma + jnp.sum(alone * topology.t_s + lasts * topology.t_c, axis=0)
    y = alone * topology.t_s / slot
    return _carried(y, topology.cap), y


def _airtime(
    env: "MLOEnv", params: "MLOParams", mask: Bool[Array, "bss links"]
) -> tuple[Float[Array, " bss"], Float[Array, "bss links"]]:
    """Flow level: neighbours share the airtime of a link (as in wn-upf/Neko); nobody starves in this model.

    Saturated: y = 1 / (1 + active neighbours). With a demand, split equally over the links that are on: airtime needed
    ρ = demand (T_s + 8 σ) / (T_s c (1 - PER)), load = own ρ + neighbours' ρ; min(1, 1/load) of the demand is carried.
    """
    topology = params.topology
    if params.demand is None:
        y = jnp.where(mask, 1 / (1 + over_neighbours(topology, mask.astype(topology.cap.dtype))), 0)
        return _carried(y, topology.cap), y
    wanted = params.demand[:, None] * mask / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
    per_bit = (1 + 8 * env.sigma / jnp.maximum(topology.t_s, env.sigma)) / (1 - env.per)
    rho = jnp.where(mask, wanted * per_bit / jnp.where(mask, topology.cap, 1), 0)
    load = rho + over_neighbours(topology, rho)
    carried = jnp.minimum(1, 1 / jnp.maximum(load, 1e-9))
    return jnp.sum(wanted * carried, axis=1), rho * carried


def faded(params: "MLOParams", key: PRNGKeyArray) -> "MLOParams":
    """The deployment in one fading block: rates scaled by log(1 + g SNR) / log(1 + SNR), g ~ Gamma(m, 1/m)."""
    if params.nakagami_m is None:
        return params
    cap = params.topology.cap
    gain = jax.random.gamma(key, params.nakagami_m, cap.shape, cap.dtype) / params.nakagami_m
    snr = 10 ** (jnp.asarray(params.snr_db, cap.dtype) / 10)
    return params._replace(topology=params.topology._replace(cap=cap * jnp.log1p(gain * snr) / jnp.log1p(snr)))


def channel_init(env: "MLOEnv") -> GraphState:
    """Channels that nobody uses yet."""
    return multilink_init(env.num_bss, env.num_links)


def channel_window(
    env: "MLOEnv", key: PRNGKeyArray, channel: GraphState, mask: Bool[Array, "bss links"], params: "MLOParams"
) -> tuple[GraphState, Float[Array, " bss"], Float[Array, "bss links"]]:
    """Simulate `env.window_s` seconds: the state of the channels, throughput in Mb/s, share of time on the air.

    A TXOP counts in the window in which it ends, and then with all of its bits.
    """
    topology = params.topology
    mask = mask & (topology.cap > 0)
    t_s, t_c = (jnp.maximum(t, 6 * env.sigma) for t in (topology.t_s, topology.t_c))  # unused links have none
    ticks = round(env.window_s * 1e6 * TICKS_PER_US)
    channel, counts = multilink_window(
        key, channel, topology.adj, topology.intf, t_s, t_c, mask, ticks, env.mld, env.W, env.m, env.sigma
    )
    window_us = env.window_s * 1e6
    bits = topology.cap * topology.t_s
    return channel, jnp.sum(counts.success * bits, axis=1) / window_us, counts.airtime / window_us
