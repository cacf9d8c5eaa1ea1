"""A training run: all BSSs learn for T steps, for many seeds at once, on one device or on several."""

import warnings
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from offprint.federated_mlo._checks import is_concrete
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._loop import Plan, Result, Sums, learns, train
from offprint.federated_mlo._metrics import jain
from offprint.federated_mlo._objective import SHARED_REWARDS
from offprint.federated_mlo._population import RunKeys, run_keys
from offprint.federated_mlo._protocol import FRLConfig


class History(NamedTuple):
    """What a run leaves behind; with `num_seeds` every array but `curve_steps` has a leading axis of seeds."""

    throughput: Float[Array, "*seeds bss"]
    """Mb/s, mean over the tail."""
    inst_min: Float[Array, "*seeds"]
    """Mean over the tail of the least throughput of each step, Mb/s."""
    mean_min: Float[Array, "*seeds"]
    """Least of `throughput`: it differs from `inst_min` while actions change."""
    jain: Float[Array, "*seeds"]
    """Jain's index of `throughput`."""
    curve_min: Float[Array, "*seeds blocks"]
    """Least throughput of each step, mean over blocks of steps, Mb/s."""
    curve_sum: Float[Array, "*seeds blocks"]
    """Throughput of all BSSs together, mean over blocks, Mb/s."""
    action_counts: Int[Array, "*seeds bss actions"]
    """How often each action was taken in the tail."""
    switch_rate: Float[Array, "*seeds"]
    """Share of the BSSs' steps in the tail that changed the action."""
    bytes_up: Float[Array, "*seeds"]
    """Sent by all BSSs together in the whole run: reported throughputs, tables, visit counts."""
    bytes_down: Float[Array, "*seeds"]
    """Sent by the server: the objective in each step, tables."""
    curve_steps: Int[Array, " blocks"]
    """Steps done at the end of each block."""
    actions: Int[Array, "*seeds bss"]
    """Greedy actions after the run; the last ones of agents that cannot tell."""
    tables: PyTree
    """What the agents share, [*seeds, bss, states, actions] for tables; None for those that learn nothing."""
    server: PyTree
    """The server's tables after the run; None without rounds."""
    largest_reward: Float[Array, "*seeds"]
    """Largest |reward|; NaN if a reward was NaN and was not skipped."""


def run(
    key: PRNGKeyArray,
    env: MLOEnv,
    params: MLOParams,
    agent: Any,
    frl: FRLConfig | None = None,
    steps: int = 4000,
    *,
    num_seeds: int | None = None,
    tail: float = 0.2,
    record_every: int | None = None,
    nan_policy: Literal["error", "skip"] = "error",
) -> History:
    """Let all BSSs learn for so many steps: one compiled program, for all seeds at once.

    Works under `jax.jit`, and under `jax.vmap` over `params` (deployments), keys, and the numbers of `agent` and `frl`.

    Args:
        key: typed key. The same key gives the same history; seed i of `num_seeds` is the run of
            `jax.random.split(key, num_seeds)[i]` without `num_seeds`.
        env, params: from `make_scenario` or `make_env`.
        agent: the learner, the same for every BSS; see `Agent`.
        frl: the protocol; `FRLConfig()`, which federates only the reward, if not given.
        steps: T.
        num_seeds: how many independent runs; without it a single one, with no axis of seeds.
        tail: share of the steps, at the end, over which means are taken.
        record_every: length of the blocks of the curves; steps // 100 if not given.
        nan_policy: what a NaN reward means: "error", or "skip" where reports may be missing: such a BSS doesn't learn.

    Raises:
        ValueError: bad arguments.
        FloatingPointError: a reward was NaN, with `nan_policy="error"`.

    Warns:
        UserWarning: μ = 1 with stateless tables; rewards above 10.
    """
    frl, plan = _plan(env, agent, frl, steps, num_seeds, tail, record_every, nan_policy)
    keys = _one_seed(key) if num_seeds is None else _many_seeds(jax.random.split(key, num_seeds))
    result = _train(keys, params, agent, frl, env, plan)
    history = _history(result, frl, env, plan)
    _look_at_rewards(history)
    return history


def run_sharded(
    key: PRNGKeyArray,
    env: MLOEnv,
    params: MLOParams,
    agent: Any,
    frl: FRLConfig | None = None,
    steps: int = 4000,
    *,
    num_seeds: int,
    mesh: Mesh | None = None,
    tail: float = 0.2,
    record_every: int | None = None,
    nan_policy: Literal["error", "skip"] = "error",
) -> History:
    """`run` with the seeds split over devices; the same history.

    Args:
        mesh: devices; all of them if not given. The other arguments are those of `run`.

    Raises:
        ValueError: the seeds don't divide over the devices; and what `run` raises.
    """
    mesh = Mesh(np.array(jax.devices()), ("seeds",)) if mesh is None else mesh
    if num_seeds % mesh.size:
        raise ValueError(f"{num_seeds} seeds do not divide over {mesh.size} devices: take a multiple of {mesh.size}")
    frl, plan = _plan(env, agent, frl, steps, num_seeds, tail, record_every, nan_policy)
    keys = _many_seeds(jax.random.split(key, num_seeds))
    result = _train_sharded(keys, params, agent, frl, env, plan, mesh)
    history = _history(result, frl, env, plan)
    _look_at_rewards(history)
    return history


def run_sharded_bss(
    key: PRNGKeyArray,
    env: MLOEnv,
    params: MLOParams,
    agent: Any,
    frl: FRLConfig | None = None,
    steps: int = 4000,
    *,
    mesh: Mesh | None = None,
    tail: float = 0.2,
    record_every: int | None = None,
    nan_policy: Literal["error", "skip"] = "error",
) -> History:
    """`run` of a single seed with the BSSs split over devices: for networks whose tables don't fit on one.

    Each device keeps the tables of its BSSs and updates them; XLA gathers the actions that the channel needs, and adds
    up Σ n Q and Σ n of a federated mean across devices. Sums are in another order, so that results agree with `run` to
    rounding, not bit by bit.

    Args:
        mesh: devices; all of them if not given. The other arguments are those of `run`.

    Raises:
        ValueError: the BSSs don't divide over the devices; and what `run` raises.
    """
    mesh = Mesh(np.array(jax.devices()), ("bss",)) if mesh is None else mesh
    if env.num_bss % mesh.size:
        raise ValueError(f"{env.num_bss} BSSs do not divide over {mesh.size} devices: take a multiple of {mesh.size}")
    frl, plan = _plan(env, agent, frl, steps, None, tail, record_every, nan_policy)
    auto = Mesh(mesh.devices, mesh.axis_names)
    result = _train(_one_seed(key), params, agent, frl, env, plan._replace(mesh=auto))
    history = _history(result, frl, env, plan)
    _look_at_rewards(history)
    return history


# Three programs instead of one: keys and summaries are the same for all methods, and need be compiled once.
_one_seed = jax.jit(run_keys)
_many_seeds = jax.jit(jax.vmap(run_keys))


@partial(jax.jit, static_argnums=(4, 5))
def _train(keys: RunKeys, params: MLOParams, agent: Any, frl: FRLConfig, env: MLOEnv, plan: Plan) -> Result:
    return train(keys, env, params, agent, frl, plan)


@partial(jax.jit, static_argnums=(4, 5, 6))
def _train_sharded(
    keys: RunKeys, params: MLOParams, agent: Any, frl: FRLConfig, env: MLOEnv, plan: Plan, mesh: Mesh
) -> Result:
    auto = Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto, so that arguments needn't be laid out already
    first, everywhere = PartitionSpec(mesh.axis_names), PartitionSpec()

    def part(keys: RunKeys, params: MLOParams, agent: Any, frl: FRLConfig) -> Result:
        return train(keys, env, params, agent, frl, plan)

    specs = (first, everywhere, everywhere, everywhere)
    sharded = jax.shard_map(part, mesh=auto, in_specs=specs, out_specs=first, check_vma=False)
    return sharded(keys, params, agent, frl)


def _plan(
    env: MLOEnv,
    agent: Any,
    frl: FRLConfig | None,
    steps: int,
    num_seeds: int | None,
    tail: float,
    record_every: int | None,
    nan_policy: str,
) -> tuple[FRLConfig, Plan]:
    frl = FRLConfig() if frl is None else frl
    if steps < 1 or (num_seeds is not None and num_seeds < 1):
        raise ValueError(f"steps = {steps}, num_seeds = {num_seeds}: at least 1 of each")
    if not 0 < tail <= 1:
        raise ValueError(f"tail = {tail}: a share of the steps is needed, in (0, 1]")
    if nan_policy not in ("error", "skip"):
        raise ValueError(f'nan_policy={nan_policy!r} is unknown; use "error" or "skip"')
    if record_every is not None and record_every < 1:
        raise ValueError(f"record_every = {record_every}: blocks of at least 1 step")
    personal = is_concrete(frl.mu) and np.ndim(frl.mu) == 0 and float(frl.mu) == 0
    federated = learns(agent) and not personal
    if federated and not hasattr(agent, "shared"):
        raise ValueError(f"mu > 0 needs an agent with shared() and load(); {type(agent).__name__} has none")
    if federated and env.obs == "none" and is_concrete(frl.mu) and np.any(np.asarray(frl.mu) == 1):
        warnings.warn(
            "mu = 1 with stateless tables makes all BSSs alike after every round, so that they choose the same links; "
            'use mu < 1, or obs="occupancy"',
            stacklevel=3,
        )
    every = max(steps // 100, 1) if record_every is None else record_every
    tail_steps = max(round(tail * steps), 1)
    return frl, Plan(steps, steps - tail_steps, every, federated, nan_policy == "skip")


def _history(result: Result, frl: FRLConfig, env: MLOEnv, plan: Plan) -> History:
    """Means from sums."""
    ends = np.minimum(np.arange(1, -(-plan.steps // plan.every) + 1) * plan.every, plan.steps)
    tail = plan.steps - plan.tail_start
    return History(
        **_means(result.sums, result.curve_min, result.curve_sum, 1 / np.diff(ends, prepend=0), 1 / tail),
        **_bytes(result, frl, env, plan),
        curve_steps=jnp.asarray(ends, jnp.int32),
        actions=result.actions,
        tables=result.tables,
        server=result.server,
        largest_reward=result.sums.largest,
    )


@jax.jit
def _means(sums: Sums, curve_min: Array, curve_sum: Array, per_block: Any, per_tail: Any) -> dict[str, Array]:
    """The fields of a history from `throughput` to `switch_rate`."""
    throughput = sums.x * per_tail
    counts = jnp.swapaxes(sums.counts, -1, -2)
    return {
        "throughput": throughput,
        "inst_min": sums.least * per_tail,
        "mean_min": jnp.min(throughput, axis=-1),
        "jain": jain(throughput),
        "curve_min": curve_min * per_block,
        "curve_sum": curve_sum * per_block,
        "action_counts": counts,
        "switch_rate": sums.switches * (per_tail / throughput.shape[-1]),
    }


def _bytes(result: Result, frl: FRLConfig, env: MLOEnv, plan: Plan) -> dict[str, Float[Array, "*seeds"]]:
    """Bytes up and down: float32 throughputs and objectives, tables, and int32 visit counts where they are weights."""
    uploads = result.sums.uploads
    reports = 4.0 * env.num_bss * (plan.steps // frl.reward_every) if env.reward in SHARED_REWARDS else 0.0
    sent = received = 0.0
    if plan.federated:
        entries = [leaf.size // max(uploads.size, 1) // env.num_bss for leaf in jax.tree.leaves(result.tables)]
        received = 4.0 * sum(entries)
        sent = received if frl.bits is None else sum(-(-n * frl.bits // 8) + 8.0 for n in entries)
        sent += 4.0 * env.num_states * env.num_actions if frl.aggregate == "weighted_visits" else 4.0
    return {"bytes_up": _traffic(uploads, reports, sent), "bytes_down": _traffic(uploads, reports, received)}


@jax.jit
def _traffic(uploads: Int[Array, "*seeds"], reports: Array, table: Array) -> Float[Array, "*seeds"]:
    return reports + uploads * table


def _look_at_rewards(history: History) -> None:
    """Raise or warn about what the rewards were, where they are known."""
    if not is_concrete(history.largest_reward):
        return
    largest = np.asarray(history.largest_reward)
    if np.isnan(largest).any():
        raise FloatingPointError(
            f"a reward was NaN in {int(np.isnan(largest).sum())} of {largest.size} runs: look at the topology; "
            'where reports may be missing, pass nan_policy="skip"'
        )
    if largest.max() > 10:
        warnings.warn(
            f"rewards reach {largest.max():.3g}; learners expect about 0 to 1: set x_max to the largest throughput",
            stacklevel=3,
        )
