"""Environments from topologies and scenarios, with the tables that make a step cheap."""

import dataclasses
import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._actions import actions_from_joint, masks_from_actions, num_joint_actions
from offprint.federated_mlo._checks import check_choice, check_demand, check_W, is_concrete
from offprint.federated_mlo._ctmn import MAX_COMPONENT, activity_table, component_table
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._models import attempt_table
from offprint.federated_mlo._scenarios import DEFAULT_SCENARIO, SCENARIOS, scenario_topology

TABLE_ENTRIES = 2_000_000
"""A joint payoff table of up to so many numbers (8 MB in float32) is made beforehand."""
TABLE_BSS = 12
"""Up to so many BSSs, activities of all 2^B patterns are tabulated; beyond, those of connected components."""
_CHUNK = 4096


def make_env(
    topology: Any,
    model: str = "ctmn",
    *,
    demand: Shaped[Array | np.ndarray, " bss"] | float | int | None = None,
    alive: Shaped[Array | np.ndarray, "..."] | None = None,
    legacy: Shaped[Array | np.ndarray, " bss"] | None = None,
    nakagami_m: float | int | None = None,
    snr_db: float | int = 20.0,
    tables: bool = True,
    **options: Any,
) -> tuple[MLOEnv, MLOParams]:
    """An environment of a topology.

    Args:
        topology: `Topology`, or `EdgeTopology` for model "bethe".
        model: see `MLOEnv`.
        demand: Mb/s that each BSS has to send; saturated if not given.
        alive: [bss], or [steps, bss]: which BSSs are there.
        legacy: [bss] action of BSSs that never learn, -1 for the others.
        nakagami_m: block fading in every step, with this shape; at mean SNR `snr_db`, dB.
        tables: make tables beforehand.
        options: other fields of `MLOEnv`: obs, reward, order, beta, alpha, window_s, mld, ...

    Raises:
        ValueError: model "bianchi" where not all BSSs hear each other; negative demands; see `MLOEnv`.
    """
    num_bss, num_links = topology.cap.shape
    env = MLOEnv(num_bss, num_links, **{"model": model, **options})
    check_W(env.W)
    _check(env, topology, demand)
    scale = jnp.sum(jnp.max(topology.cap, axis=0))
    params = MLOParams(
        topology,
        scale,
        demand=None if demand is None else jnp.broadcast_to(jnp.asarray(demand, float), (num_bss,)),
        alive=None if alive is None else jnp.asarray(alive, bool),
        legacy=None if legacy is None else jnp.asarray(legacy, jnp.int32),
        nakagami_m=None if nakagami_m is None else jnp.asarray(nakagami_m, float),
        snr_db=None if nakagami_m is None else jnp.asarray(snr_db, float),
    )
    if env.model == "bianchi":
        params = params._replace(tau=attempt_table(num_bss, env.W, env.m))
    if not tables:
        return env, params
    if env.model == "ctmn" and env.mld == "str":
        params = params._replace(activity=_activities(topology))
    if env.model in ("ctmn", "bianchi", "airtime") and num_joint_actions(num_bss, num_links) * num_bss <= TABLE_ENTRIES:
        joint = joint_throughput(env, params)
        params = params._replace(joint=joint, x_max=jnp.max(joint))
    return env, params


def make_scenario(
    name: str = DEFAULT_SCENARIO, *, key: PRNGKeyArray | None = None, model: str | None = None, **options: Any
) -> tuple[MLOEnv, MLOParams]:
    """An environment of a named scenario; see `SCENARIOS`.

    Args:
        name: of the scenario.
        key: draws the deployment where it is random.
        model: see `MLOEnv`; the scenario's own if not given.
        options: for `make_env`; the others, such as `num_bss` or `area_m`, for `scenario_topology`.

    Raises:
        ValueError: an unknown name, a random scenario without a key; see `make_env`.
        TypeError: an option that the scenario does not have.
    """
    check_choice("name", name, SCENARIOS)
    known = set(inspect.signature(make_env).parameters) | {field.name for field in dataclasses.fields(MLOEnv)}
    ours = {option: value for option, value in options.items() if option in known - {"num_bss", "num_links"}}
    scenario = {option: value for option, value in options.items() if option not in ours}
    if name == "komondor_cw16":
        ours = {"m": 0, **ours}
    return make_env(scenario_topology(name, key, **scenario), model or SCENARIOS[name].model, **ours)


def joint_throughput(env: MLOEnv, params: MLOParams) -> Float[Array, "joint bss"]:
    """Throughput of all (2^L - 1)^B joint actions in Mb/s, on the device; `joint_table` is for larger tables."""
    index = jnp.arange(num_joint_actions(env.num_bss, env.num_links), dtype=jnp.int32)
    return _joint(index, params, env)


@partial(jax.jit, static_argnums=2)
def _joint(index: Int[Array, " joint"], params: MLOParams, env: MLOEnv) -> Float[Array, "joint bss"]:
    def one(index: Array) -> Array:
        mask = masks_from_actions(actions_from_joint(index, env.num_bss, env.num_links), env.num_links)
        return env.throughput(params, mask)[0]

    return jax.lax.map(one, index, batch_size=min(_CHUNK, index.size))


def _activities(topology: Any) -> Any:
    if topology.cap.shape[0] <= TABLE_BSS:
        return activity_table(topology.adj, topology.theta)
    if is_concrete(topology.adj):
        return component_table(topology.adj, topology.theta)
    if topology.cap.shape[0] <= MAX_COMPONENT:
        return activity_table(topology.adj, topology.theta)
    return None


def _check(env: MLOEnv, topology: Any, demand: Any) -> None:
    if demand is not None:
        check_demand(demand)
    if env.model == "bianchi" and is_concrete(topology):
        apart = ~np.asarray(topology.adj) & ~np.eye(env.num_bss, dtype=bool)
        both = np.asarray(topology.cap > 0).T
        apart &= both[:, :, None] & both[:, None, :]
        if apart.any():
            link, i, j = (int(v) for v in np.argwhere(apart)[0])
            raise ValueError(
                f'model="bianchi" is for one collision domain, but BSSs {i} and {j} do not hear each other on link '
                f'{link}; use model="ctmn" or model="dcf"'
            )
