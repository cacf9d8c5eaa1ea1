"""One BSS as a node under Flower: its learner's state between messages, and what it does with each of them."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import Context
from jaxtyping import Array, Int, PyTree, Shaped

from offprint.core.flower import from_record, named_arrays, to_record, tree_from
from offprint.federated_mlo._agents import write_cell
from offprint.federated_mlo._env import MLOEnv
from offprint.federated_mlo._loop import learns
from offprint.federated_mlo._population import init_states, run_keys, step_uniforms
from offprint.federated_mlo._server import mix

RECORD = "mlo"
"""Name of the record in `Context.state` that never leaves the node."""


class NodeState(NamedTuple):
    """What a BSS keeps."""

    agent: PyTree
    obs: Array
    """Observation before the last action: a state index, or features."""
    action: Int[Array, ""]
    """Last action; -1 before the first."""
    visits: Shaped[Array, "states actions"]
    """Since the last round."""
    rounds: Int[Array, ""]
    """Rounds of the server so far."""


def bss_of(context: Context, num_bss: int) -> int:
    """The number of the BSS: `bss` in the node's configuration, or `partition-id` in a simulation.

    Raises:
        ValueError: neither is configured, or it isn't a number of 0..B-1.
    """
    given = context.node_config.get("bss", context.node_config.get("partition-id"))
    if given is None:
        raise ValueError("the node doesn't know which BSS it is: start flower-supernode with --node-config 'bss=0'")
    if not isinstance(given, int) or not 0 <= given < num_bss:
        raise ValueError(f"bss must be an integer in 0..{num_bss - 1}, but is {given!r}")
    return given


class Node:
    """The learner of any BSS, compiled once. Its numbers are those of `run` with `jax.random.key(seed)`."""

    def __init__(self, env: MLOEnv, agent: Any, seed: int):
        self.env, self.agent = env, agent
        self.keys = run_keys(jax.random.key(seed))
        self.draws = getattr(agent, "draws", None) if hasattr(agent, "choose") else None

    def state_of(self, context: Context) -> NodeState:
        """The state that the context holds, or the first one.

        Raises:
            ValueError: the context holds one of other shapes.
        """
        first = self.first(bss_of(context, self.env.num_bss))
        if RECORD not in context.state.array_records:
            return first
        return jax.tree.map(jnp.asarray, tree_from(from_record(context.state.array_records[RECORD]), first))

    def keep(self, context: Context, state: NodeState) -> None:
        """Put the state into the context."""
        context.state[RECORD] = to_record(named_arrays(state))

    @partial(jax.jit, static_argnums=(0, 1))
    def first(self, bss: int) -> NodeState:
        """Before the first step."""
        env = self.env
        own = jax.tree.map(lambda leaf: leaf[bss], init_states(self.agent, self.keys.init, env, 0))
        obs = jnp.zeros(env.num_states) if env.obs == "features" else jnp.int32(0)
        rows = 1 if env.obs == "features" else env.num_states
        return NodeState(own, obs, jnp.int32(-1), jnp.zeros((rows, env.num_actions)), jnp.int32(0))

    def act(self, bss: int, state: NodeState, obs: Array, t: Int[Array, ""]) -> NodeState:
        """The action of step t on an observation."""
        return self._act(self.agent, bss, state, obs, t)

    def learn(
        self, state: NodeState, before: Array, obs: Array, reward: Array, t: Int[Array, ""], rounds: Int[Array, ""]
    ) -> NodeState:
        """What the reward of the action in step t changes; `before` and `obs` are the observations around it."""
        return self._learn(self.agent, state, before, obs, reward, t, rounds)

    def load(self, state: NodeState, values: PyTree, mu: Array) -> NodeState:
        """(1 - μ) own + μ server's tables."""
        return self._load(self.agent, state, values, mu)

    # As in `run`, the agent's numbers are arguments of the programs: as constants they would be rounded differently.

    @partial(jax.jit, static_argnums=(0, 2))
    def _act(self, agent: Any, bss: int, state: NodeState, obs: Array, t: Array) -> NodeState:
        if self.draws is None:
            key = jax.random.split(jax.random.fold_in(self.keys.act, t), self.env.num_bss)[bss]
            action = agent.act(key, state.agent, obs, t)
        else:
            u = step_uniforms(self.keys.words, t, self.draws, self.env.num_bss)[:, bss]
            action = agent.choose(u, state.agent, obs, t)
        return state._replace(obs=obs, action=jnp.asarray(action, jnp.int32))

    @partial(jax.jit, static_argnums=0)
    def _learn(
        self, agent: Any, state: NodeState, before: Array, obs: Array, reward: Array, t: Array, rounds: Array
    ) -> NodeState:
        visits = jnp.where(rounds == state.rounds, state.visits, 0)
        row = jnp.int32(0) if self.env.obs == "features" else before
        visits = write_cell(visits, row, state.action, lambda n: n + 1)
        learned = state.agent
        if learns(agent):
            learned = agent.update(learned, before, state.action, reward, obs, t)
        return state._replace(agent=learned, visits=visits, rounds=rounds)

    @partial(jax.jit, static_argnums=0)
    def _load(self, agent: Any, state: NodeState, values: PyTree, mu: Array) -> NodeState:
        mixed = mix(agent.shared(state.agent), values, mu)
        return state._replace(agent=agent.load(state.agent, mixed))

    def shared(self, state: NodeState) -> PyTree:
        """What a round sends: the tables."""
        return self.agent.shared(state.agent)

    def observation(self, config: Mapping[str, Any], name: str) -> Array:
        """An observation as it was sent."""
        sent = config[name]
        if self.env.obs == "features":
            return jnp.asarray(sent, float)
        return jnp.asarray(int(np.asarray(sent)), jnp.int32)
