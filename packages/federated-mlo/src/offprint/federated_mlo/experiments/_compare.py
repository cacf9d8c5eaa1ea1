"""What the experiments on learning share: methods side by side on many deployments, scored by the optimum."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from offprint.federated_mlo._actions import joint_index
from offprint.federated_mlo._env import MLOEnv, MLOParams
from offprint.federated_mlo._make import make_env, make_scenario
from offprint.federated_mlo._metrics import jain
from offprint.federated_mlo._protocol import method
from offprint.federated_mlo._run import History, run
from offprint.federated_mlo._topology import from_graph


class Outcome(NamedTuple):
    """What a method reaches in the last fifth of its runs."""

    least: Float[np.ndarray, " seeds"]
    """Smallest throughput of each step, mean over the steps, Mb/s."""
    throughput: Float[np.ndarray, "seeds bss"]
    """Mean over the steps, Mb/s."""

    @property
    def jain(self) -> Float[np.ndarray, " seeds"]:
        """Jain's index of the throughputs."""
        return np.asarray(jain(self.throughput))

    @property
    def total(self) -> Float[np.ndarray, " seeds"]:
        """Throughput of all BSSs together."""
        return self.throughput.sum(axis=-1)


def outcome(history: History) -> Outcome:
    """The outcome of a history."""
    return Outcome(np.asarray(history.inst_min), np.asarray(history.throughput))


def unlearned(name: str, env: MLOEnv, params: MLOParams) -> Outcome:
    """What a method that learns nothing gives, exactly, from the table of all joint actions."""
    table = joint_table(params)
    if name == "random":
        return Outcome(table.min(axis=1).mean(keepdims=True), table.mean(axis=0, keepdims=True))
    actions = method(name, env, params, 1)[1].actions
    row = table[int(joint_index(jnp.asarray(actions), env.num_links))]
    return Outcome(row.min(keepdims=True), row[None])


def learned(name: str, env: MLOEnv, params: MLOParams, steps: int, seeds: int, key: PRNGKeyArray) -> History:
    """The history of a method; all methods use the same random numbers."""
    own, agent, frl = method(name, env, params, steps)
    with quiet():
        return run(key, own, params, agent, frl, steps, num_seeds=seeds)


def learned_everywhere(
    name: str, env: MLOEnv, deployments: Sequence[MLOParams], steps: int, seeds: int, key: PRNGKeyArray
) -> list[History]:
    """The history on each of several deployments of one shape, which share one compiled program."""
    keys = jax.random.split(key, len(deployments))
    return [learned(name, env, params, steps, seeds, keys[number]) for number, params in enumerate(deployments)]


def learned_on_scenarios(
    name: str, scenarios: Sequence[str], steps: int, seeds: int, key: PRNGKeyArray
) -> dict[str, History]:
    """The history on each of several scenarios with the same links, by one compiled program.

    Compiling takes longer than learning. So the smaller networks are filled up with BSSs that are not there.
    """
    made = [make_scenario(scenario) for scenario in scenarios]
    largest = max((env for env, _ in made), key=lambda env: env.num_bss)
    filled = [filled_up(params, env.num_bss, largest.num_bss) for env, params in made]
    found = learned_everywhere(name, largest, filled, steps, seeds, key)
    return {scenario: _without(h, env.num_bss) for scenario, h, (env, _) in zip(scenarios, found, made)}


def filled_up(params: MLOParams, num_bss: int, largest: int) -> MLOParams:
    """The same network among more BSSs, those that are there being the first."""
    absent = largest - num_bss
    topology = params.topology
    adj = np.pad(np.asarray(topology.adj), ((0, 0), (0, absent), (0, absent)))
    theta, cap = (
        np.pad(np.asarray(part), ((0, absent), (0, 0)), mode="edge") for part in (topology.theta, topology.cap)
    )
    alive = np.arange(largest) < num_bss
    return make_env(from_graph(adj, theta, cap), alive=alive)[1]._replace(x_max=params.x_max)


def _without(history: History, num_bss: int) -> History:
    """The history of the first BSSs, with what is worked out from their throughputs."""
    x = history.throughput[:, :num_bss]
    parts = {"actions": history.actions[:, :num_bss], "action_counts": history.action_counts[:, :num_bss]}
    return history._replace(throughput=x, mean_min=x.min(axis=-1), jain=jain(x), **parts)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warning about averaged stateless tables: the experiments do it on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="mu = 1 with stateless tables")
        yield


def joint_table(params: MLOParams) -> Float[np.ndarray, "*deployments joint bss"]:
    """Throughput of every joint action, Mb/s.

    Raises:
        ValueError: the deployment has too many joint actions for a table.
    """
    if params.joint is None:
        raise ValueError("the deployment has no table of joint actions: take fewer BSSs or links")
    return np.asarray(params.joint)


def optimum(params: MLOParams) -> float:
    """The largest minimum rate of any joint action, Mb/s."""
    return float(joint_table(params).min(axis=1).max())


def digits(values: Mapping[str, float], spec: str = ".3f") -> str:
    """`frl_minrate 0.990, rl 0.030`."""
    return ", ".join(f"{name} {value:{spec}}" for name, value in values.items())
