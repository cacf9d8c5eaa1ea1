"""What every joint action earns in the event simulator: payoff tables to set beside those of the CTMN.

With simultaneous transmit and receive, what happens on a link depends only on which BSSs use it, so that L 2^B
simulated channels tell the payoffs of all (2^L - 1)^B joint actions.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from offprint.federated_mlo._actions import actions_from_joint, masks_from_actions, num_joint_actions
from offprint.federated_mlo._checks import check_adjacency
from offprint.federated_mlo._ctmn import lookup_activity
from offprint.federated_mlo._graph import check_contention, cut, simulate_graph
from offprint.federated_mlo._topology import Topology, usable

MAX_JOINT = 30_000_000
_MAX_PATTERNS = 2**12
_JOINT_CHUNK = 4096


def simulated_activity(
    key: PRNGKeyArray,
    topology: Topology,
    horizon_us: float | int = 10_000_000,
    *,
    seeds: int = 4,
    warmup_us: float | int = 1_000_000,
    W: ArrayLike = 16,
    m: ArrayLike = 6,
    sigma: ArrayLike = 9.0,
    difs: ArrayLike = 34.0,
) -> Float[Array, "links patterns bss"]:
    """Share of the time that successful TXOPs take, for all 2^B sets of BSSs that use a link; bit b is BSS b.

    The simulated counterpart of `activity_table`, to be read by `lookup_activity`: times the capacity (bits of a TXOP
    over T_s) it is the throughput. A starved BSS gets a TXOP every few seconds or minutes: its entry needs a horizon
    to match, and a warm-up, as all BSSs begin with the shortest backoff.

    Args:
        key: typed key.
        topology: graphs, capacities and times.
        horizon_us: us to simulate and count, of each channel and seed.
        seeds: independent runs that are averaged.
        warmup_us: us to simulate before.
        W, m, sigma, difs: as in `sim_graph`.

    Raises:
        ValueError: more than 12 BSSs, seeds below 1, a negative warm-up; as `sim_graph`.
    """
    num_links, num_bss, _ = topology.adj.shape
    if 2**num_bss > _MAX_PATTERNS:
        raise ValueError(
            f"{num_bss} BSSs have {2**num_bss} patterns per link, and at most {_MAX_PATTERNS} are simulated; "
            "simulate the joint actions of interest with sim_graph"
        )
    if seeds < 1:
        raise ValueError(f"seeds = {seeds}: at least 1 is needed")
    check_adjacency(topology.adj)
    check_adjacency(topology.intf, "intf")
    on = usable(topology)
    t_s, t_c = (jnp.where(on, x, jnp.max(x)) for x in (topology.t_s, topology.t_c))
    check_contention(t_s, t_c, W, m, sigma, difs)

    if warmup_us < 0:
        raise ValueError(f"warmup_us = {warmup_us} is negative")
    counted = cut(horizon_us)
    warm = cut(warmup_us) if warmup_us else counted[:0]
    sizes = jnp.concatenate([warm, counted])
    patterns = np.arange(2**num_bss)[:, None] >> np.arange(num_bss) & 1 == 1
    keys = jax.random.split(key, (num_links, 2**num_bss, seeds))
    graphs = (jnp.asarray(topology.adj, bool), jnp.asarray(topology.intf, bool))
    rate = _rates(keys, *graphs, t_s.T, t_c.T, patterns & on.T[:, None], sizes, W, m, sigma, difs, len(warm))
    return rate * t_s.T[:, None] / horizon_us


@partial(jax.jit, static_argnames="warmup_windows")
def _rates(
    keys: Any,
    adj: Bool[Array, "links bss bss"],
    intf: Bool[Array, "links bss bss"],
    t_s: Float[Array, "links bss"],
    t_c: Float[Array, "links bss"],
    active: Bool[Array, "links patterns bss"],
    sizes: Int[Array, "windows"],
    W: ArrayLike,
    m: ArrayLike,
    sigma: ArrayLike,
    difs: ArrayLike,
    warmup_windows: int,
) -> Float[Array, "links patterns bss"]:
    """Successful TXOPs, mean over seeds; all channels run as one batch."""

    def successes(key: Any, adj: Any, intf: Any, t_s: Any, t_c: Any, active: Any) -> Int[Array, "bss"]:
        counts = simulate_graph(key, adj, intf, t_s, t_c, active, sizes, W, m, sigma, difs, warmup_windows)
        return counts.success

    over_seeds = jax.vmap(successes, (0, None, None, None, None, None))
    over_patterns = jax.vmap(over_seeds, (0, None, None, None, None, 0))
    return jax.vmap(over_patterns)(keys, adj, intf, t_s, t_c, active).mean(2)


def simulated_table(
    key: PRNGKeyArray, topology: Topology, horizon_us: float | int = 10_000_000, **options: Any
) -> Float[Array, "joint bss"]:
    """Throughput in Mb/s of each BSS under every joint action, from the event simulator.

    Args:
        key: typed key.
        topology: graphs, capacities and times.
        horizon_us: us to simulate and count, of each channel and seed.
        options: the keyword arguments of `simulated_activity`.

    Raises:
        ValueError: more than 3e7 joint actions; as `simulated_activity`.
    """
    num_links, num_bss, _ = topology.adj.shape
    joint = num_joint_actions(num_bss, num_links)
    if joint > MAX_JOINT:
        raise ValueError(f"{num_bss} BSSs of {num_links} links have {joint} joint actions; at most {MAX_JOINT} fit")
    table = simulated_activity(key, topology, horizon_us, **options)
    cap = jnp.asarray(topology.cap)

    def throughput(index: Array) -> Float[Array, "bss"]:
        mask = masks_from_actions(actions_from_joint(index, num_bss, num_links), num_links)
        return (lookup_activity(table, mask) * cap).sum(-1)

    return jax.lax.map(throughput, jnp.arange(joint), batch_size=min(joint, _JOINT_CHUNK))
