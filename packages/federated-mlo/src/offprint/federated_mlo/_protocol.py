"""The federated protocol: what is exchanged how often, the named methods, and one round of the server.

server: Qg <- 0
for round k = 1 .. T/K:
    each BSS, K times: observe, act, measure x_b, report it (4 bytes); the server returns the objective; update Q_b
    each BSS -> server: Q_b and its visit counts                                     (only if mu > 0)
    server: Qg <- aggregate(...);  Q_b <- (1 - mu) Q_b + mu Qg
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Shaped

from offprint.federated_mlo import _oracle
from offprint.federated_mlo._actions import actions_from_masks
from offprint.federated_mlo._agents import EpsGreedy, Hysteretic
from offprint.federated_mlo._baselines import Fixed, Uniform, UniformOnce
from offprint.federated_mlo._checks import check_choice, is_concrete
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._exploration import Linear, Scalar, hyperparameters, static
from offprint.federated_mlo._server import (
    AGGREGATES,
    FedOpt,
    fed_krum,
    fed_mean,
    fed_median,
    fed_trimmed,
    fed_weighted,
    fed_weighted_visits,
    mix,
    privatised,
    quantised,
    take_part,
)


@hyperparameters
class FRLConfig:
    """What is federated. Numbers may change without compiling anew, and be swept under `jax.vmap`.

    Attributes:
        K: local steps of a round.
        mu: weight of the server's table in each BSS's after a round; 0 keeps models personal.
        participation: share of the BSSs in a round.
        dropout: probability that a BSS of the round is lost: it neither sends nor receives.
        stale: probability that a BSS sends what it sent last time; None: never.
        clip, noise: local differential privacy, see `privatised`; None: none.
        aggregate: "mean", "weighted" (by steps of the round), "weighted_visits" (cell by cell, by visits of the round),
            "median", "trimmed", "krum".
        optimiser: `FedOpt` on top of the aggregate, such as `fedavgm()`.
        trim: share cut off at each end by "trimmed".
        num_malicious: f of "krum".
        bits: tables are sent quantised to so many bits; None: as float32.
        reward_every: actions are held for so many steps, and the mean throughput over them is reported once.
    """

    K: Scalar = 20
    mu: Scalar = 0.0
    participation: Scalar = 1.0
    dropout: Scalar = 0.0
    stale: Scalar | None = None
    clip: Scalar | None = None
    noise: Scalar | None = None
    aggregate: str = static(default="weighted_visits")
    optimiser: FedOpt | None = static(default=None)
    trim: float = static(default=0.2)
    num_malicious: int = static(default=1)
    bits: int | None = static(default=None)
    reward_every: int = static(default=1)

    def __post_init__(self) -> None:
        check_choice("aggregate", self.aggregate, AGGREGATES)
        if self.reward_every < 1:
            raise ValueError(f"reward_every = {self.reward_every}: 1 step or more")
        if (self.clip is None) != (self.noise is None):
            raise ValueError("clip and noise belong together: give both, or neither")
        for name, low, high in (
            ("mu", 0, 1),
            ("participation", 0, 1),
            ("dropout", 0, 1),
            ("stale", 0, 1),
            ("K", 1, None),
        ):
            value = getattr(self, name)
            if isinstance(value, int | float) and not (low <= value and (high is None or value <= high)):
                raise ValueError(f"{name} = {value}: " + (f"{low} to {high}" if high else f"at least {low}"))


class Server(NamedTuple):
    """What the server keeps: its tables, its optimiser's state, and what each BSS sent last."""

    values: PyTree
    optimiser: Any = None
    sent: PyTree = None


def server_init(frl: FRLConfig, shared: PyTree) -> Server:
    """Tables of zeros, shaped like those of one BSS.

    Args:
        frl: the protocol.
        shared: pytree of [bss, ...], what BSSs start with.
    """
    zeros = jax.tree.map(lambda q: jnp.zeros(q.shape[1:], q.dtype), shared)
    optimiser = None if frl.optimiser is None else frl.optimiser.init(zeros)
    return Server(zeros, optimiser, None if frl.stale is None else shared)


def federate(
    key: PRNGKeyArray,
    frl: FRLConfig,
    server: Server,
    shared: PyTree,
    visits: Shaped[Array, "bss ..."],
    alive: Bool[Array, " bss"] | None = None,
) -> tuple[PyTree, Server, Bool[Array, " bss"]]:
    """One round of the server.

    Args:
        key: who takes part, noise.
        frl: the protocol.
        server: its state.
        shared: pytree of [bss, ...]: the tables.
        visits: [bss, states, actions] counts since the last round, the weights of "weighted_visits" where the tables
            have this shape; their sums are the numbers of steps.
        alive: BSSs that are there.

    Returns:
        The tables that the BSSs go on with, the server's state, and who took part.
    """
    part_key, stale_key, noise_key = jax.random.split(key, 3)
    present = take_part(part_key, visits.shape[0], frl.participation, frl.dropout)
    if alive is not None:
        present = present & alive
    sent = shared
    if frl.stale is not None:
        late = jax.random.uniform(stale_key, present.shape) < frl.stale
        sent = _where(late, server.sent, shared)
    if frl.clip is not None:
        sent = privatised(noise_key, sent, server.values, frl.clip, frl.noise)
    if frl.bits is not None:
        sent = quantised(sent, frl.bits)
    mean = aggregate(frl, sent, visits, server.values, present)
    values, optimiser = mean, server.optimiser
    if frl.optimiser is not None:
        values, optimiser = frl.optimiser.step(server.values, mean, server.optimiser, jnp.any(present))
    after = _where(present, mix(shared, values, frl.mu), shared)
    kept = server.sent if frl.stale is None else _where(present, shared, server.sent)
    return after, Server(values, optimiser, kept), present


def aggregate(
    frl: FRLConfig, stacked: PyTree, visits: Shaped[Array, "bss ..."], old: PyTree, present: Bool[Array, " bss"]
) -> PyTree:
    """One table from those of the BSSs that are present, by `frl.aggregate`; the old one without any."""
    steps = jnp.sum(visits.reshape(visits.shape[0], -1), axis=1)
    if frl.aggregate == "mean":
        return fed_mean(stacked, present, old)
    if frl.aggregate == "median":
        return fed_median(stacked, present, old)
    if frl.aggregate == "trimmed":
        return fed_trimmed(stacked, frl.trim, present, old)
    if frl.aggregate == "krum":
        return fed_krum(stacked, frl.num_malicious, present, old)
    by_cell = [jnp.shape(leaf) for leaf in jax.tree.leaves(stacked)] == [visits.shape]
    if frl.aggregate == "weighted_visits" and by_cell:
        return fed_weighted_visits(stacked, jax.tree.map(lambda _: visits, stacked), old, present)
    return fed_weighted(stacked, steps, present, old)


def _where(chosen: Bool[Array, " bss"], new: PyTree, old: PyTree) -> PyTree:
    def pick(a: Array, b: Array) -> Array:
        return jnp.where(chosen.reshape(chosen.shape + (1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(pick, new, old)


METHODS = (
    "frl_minrate",
    "frl_mix",
    "frl_fedavg",
    "frl_fedavg_occ",
    "rl",
    "random",
    "random_once",
    "fixed:all",
    "fixed:roundrobin",
    "greedy_coloring",
    "best_response",
    "oracle_maxmin",
    "oracle_sum",
    "oracle_pf",
)
"""Names for `method`; and "fixed:MASK" with a bitmask 1 .. 2^L - 1, such as "fixed:1" for link 0 everywhere."""


def method(name: str, env: MLOEnv, params: MLOParams, steps: int) -> tuple[MLOEnv, Any, FRLConfig]:
    """A named method: the environment with its reward and observation, the agents, and the protocol.

    Learners explore linearly, ε from 1 to 0.01 over the first half of the steps.

    | name | μ | reward | what it is |
    |---|---|---|---|
    | `frl_minrate` | 0 | min | the common objective is federated, tables stay personal |
    | `frl_mix` | 0.1 | min | tables are mixed with their plain mean every 20 steps |
    | `frl_fedavg` | 1 | min | textbook FedAvg, weighted by steps, every 20 steps: all BSSs become alike |
    | `frl_fedavg_occ` | 1 | neigh_min | FedAvg of tables over occupancy states, weighted by the visits of the round |
    | `rl` | 0 | own | independent learners, α = 0.1 |
    | `random`, `random_once` | | | uniform actions in every step, or drawn once |
    | `fixed:all`, `fixed:MASK`, `fixed:roundrobin` | | | all links; the same links everywhere; link b mod L |
    | `greedy_coloring`, `best_response` | | | allocations without learning |
    | `oracle_maxmin`, `oracle_sum`, `oracle_pf` | | | the best joint action |

    Raises:
        ValueError: no such method.
    """
    explore = Linear(duration=max(steps // 2, 1))
    shared = dataclasses.replace(env, reward="min")
    if name == "frl_minrate":
        return shared, Hysteretic(exploration=explore), FRLConfig()
    if name == "frl_mix":
        return shared, Hysteretic(exploration=explore), FRLConfig(mu=0.1, aggregate="mean")
    if name == "frl_fedavg":
        return shared, Hysteretic(exploration=explore), FRLConfig(mu=1.0, aggregate="weighted")
    if name == "frl_fedavg_occ":
        nearby = dataclasses.replace(env, reward="neigh_min", obs="occupancy")
        return nearby, Hysteretic(exploration=explore), FRLConfig(mu=1.0)
    own = dataclasses.replace(env, reward="own")
    if name == "rl":
        return own, EpsGreedy(exploration=explore), FRLConfig()
    if name == "random":
        return own, Uniform(), FRLConfig()
    if name == "random_once":
        return own, UniformOnce(), FRLConfig()
    return own, Fixed(jnp.asarray(_allocation(name, env, params), jnp.int32)), FRLConfig()


def _allocation(name: str, env: MLOEnv, params: MLOParams) -> np.ndarray | Array:
    """Actions [bss] of the methods that keep one allocation."""
    if name.startswith("fixed:"):
        return _fixed(name.removeprefix("fixed:"), env)
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown; there are {', '.join(METHODS)}, and fixed:MASK")
    if not is_concrete(params):
        raise ValueError(f"method {name!r} looks at the deployment: call it outside jax.jit and jax.vmap")
    if name == "greedy_coloring":
        return _oracle.greedy_coloring(params.topology)
    if name == "best_response":
        return _oracle.best_response(_game(env, params))
    objective = {"oracle_maxmin": _oracle.maxmin, "oracle_sum": _oracle.max_sum, "oracle_pf": _oracle.prop_fair}[name]
    return objective(_game(env, params)).actions


def _game(env: MLOEnv, params: MLOParams) -> Any:
    """What oracles look at: the joint table where there is one, the stationary model of a simulation."""
    if params.joint is not None:
        return np.asarray(params.joint)
    return params.topology if env.model == "dcf" else (env, params)


def _fixed(which: str, env: MLOEnv) -> np.ndarray | Array:
    if which == "all":
        return np.full(env.num_bss, env.num_actions - 1, np.int32)
    if which == "roundrobin":
        return actions_from_masks(np.arange(env.num_bss)[:, None] % env.num_links == np.arange(env.num_links))
    if not which.isdigit() or not 1 <= int(which) <= env.num_actions:
        raise ValueError(
            f"fixed:{which}: give a bitmask of 1 to {env.num_actions} (link l is bit l), "
            "or fixed:all or fixed:roundrobin"
        )
    return np.full(env.num_bss, int(which) - 1, np.int32)
