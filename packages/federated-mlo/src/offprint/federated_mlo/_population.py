"""One agent description, many learners: its functions for all BSSs and seeds at once.

Observations, actions and rewards have BSSs first and seeds last, [bss, seeds], or [bss] in a single run. States lie as
it suits the agent: `Columns` has BSSs and seeds as the last axes of every array and calls elementwise agents on all of
them, `Rows` has them as the first axes and maps over them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped, UInt32

from offprint.federated_mlo._draws import mix, seeds, unit, word
from offprint.federated_mlo._exploration import Scalar

_SALT = 0x9E3779B9  # 2^32 divided by the golden ratio: salts that differ in many bits


class RunKeys(NamedTuple):
    """The randomness of one seed."""

    init: PRNGKeyArray
    env: PRNGKeyArray
    server: PRNGKeyArray
    act: PRNGKeyArray
    """For agents that take keys: step t of BSS b draws from `split(fold_in(act, t), num_bss)[b]`."""
    words: UInt32[Array, "2"]
    """Seeds of the uniform numbers by which all others act, see `step_uniforms`."""


def run_keys(key: PRNGKeyArray) -> RunKeys:
    """What a run with this key draws from: clients on other machines can draw the same."""
    init, env, server, act = jax.random.split(key, 4)
    return RunKeys(init, env, server, act, seeds(act))


def step_uniforms(
    words: UInt32[Array, "2 *seeds"], t: Scalar, draws: int, num_bss: int
) -> Float[Array, "draws bss *seeds"]:
    """Uniform numbers with which the BSSs act in step t, from `RunKeys.words`.

    They are made where they are used: drawing them from JAX's generator takes longer than everything else in a step.
    """
    salts = jnp.arange(draws * num_bss, dtype=jnp.uint32) * jnp.uint32(_SALT)
    salts = salts.reshape(draws, num_bss, *(1,) * (words.ndim - 1))
    return unit(mix(word(words, jnp.asarray(t)) ^ salts))


class Columns:
    """Agents whose functions take arrays with any axes at the end: no mapping, and long rows in memory."""

    def __init__(self, agent: Any, keys: RunKeys, env: Any) -> None:
        self.agent, self.keys, self.env = agent, keys, env
        self.seeds = keys.act.shape
        self.words = jnp.moveaxis(keys.words, -1, 0)

    def init(self) -> PyTree:
        """States before the first step."""

        def one(key: PRNGKeyArray) -> PyTree:
            return init_states(self.agent, key, self.env, -1)

        return jax.vmap(one, out_axes=-1)(self.keys.init) if self.seeds else one(self.keys.init)

    def act(self, states: PyTree, obs: Shaped[Array, "bss ..."], t: Scalar) -> Int[Array, "bss *seeds"]:
        """Actions of step t."""
        u = step_uniforms(self.words, t, self.agent.draws, self.env.num_bss)
        return jnp.broadcast_to(self.agent.choose(u, states, obs, t), obs.shape).astype(jnp.int32)

    def greedy(
        self, states: PyTree, obs: Shaped[Array, "bss ..."], t: Scalar, last: Int[Array, "bss *seeds"]
    ) -> Int[Array, "bss *seeds"]:
        """Actions without exploration."""
        u = step_uniforms(self.words, t, self.agent.draws, self.env.num_bss)
        return jnp.broadcast_to(self.agent.greedy(u, states, obs), obs.shape).astype(jnp.int32)

    def update(self, states: PyTree, s: Array, a: Array, r: Array, s2: Array, t: Scalar) -> PyTree:
        """States after a step."""
        return self.agent.update(states, s, a, r, s2, t)

    def where(self, gate: Bool[Array, "bss *seeds"], new: PyTree, old: PyTree) -> PyTree:
        """The new states of those whose gate is open."""
        return jax.tree.map(lambda a, b: jnp.where(gate, a, b), new, old)

    def shared(self, states: PyTree) -> PyTree:
        """What is federated, [*seeds, bss, ...]."""
        return jax.tree.map(lambda leaf: bss_first(leaf, self.seeds), self.agent.shared(states))

    def split(self, states: PyTree, mesh: Mesh) -> PyTree:
        """States of a single run with the BSSs split over devices."""
        return jax.tree.map(lambda leaf: _split(leaf, mesh, leaf.ndim - 1), states)

    def load(self, states: PyTree, values: PyTree) -> PyTree:
        """States with other values of what is federated."""
        columns = jax.tree.map(lambda leaf: bss_last(leaf, self.seeds), values)
        return self.agent.load(states, columns)


class Rows:
    """Agents of one BSS, mapped over BSSs and seeds, which are the first axes of their states."""

    def __init__(self, agent: Any, keys: RunKeys, env: Any) -> None:
        self.agent, self.keys, self.env = agent, keys, env
        self.seeds = keys.act.shape
        self.draws = getattr(agent, "draws", None) if hasattr(agent, "choose") else None
        self.words = jnp.moveaxis(keys.words, -1, 0)

    def _lead(self, x: Array) -> Array:
        """Seeds before BSSs."""
        return jnp.moveaxis(x, -1, 0) if self.seeds else x

    def _back(self, x: Array) -> Array:
        return (jnp.moveaxis(x, 0, -1) if self.seeds else x).astype(jnp.int32)

    def _map(self, f: Any, in_axes: tuple[Any, ...]) -> Any:
        mapped = jax.vmap(f, in_axes=in_axes)
        return jax.vmap(mapped, in_axes=in_axes) if self.seeds else mapped

    def init(self) -> PyTree:
        """States before the first step."""

        def one(key: PRNGKeyArray) -> PyTree:
            return init_states(self.agent, key, self.env, 0)

        return jax.vmap(one)(self.keys.init) if self.seeds else one(self.keys.init)

    def _uniforms(self, t: Scalar) -> Array:
        """[*seeds, bss, draws]."""
        return bss_first(step_uniforms(self.words, t, self.draws or 1, self.env.num_bss), self.seeds)

    def act(self, states: PyTree, obs: Shaped[Array, "bss ..."], t: Scalar) -> Int[Array, "bss *seeds"]:
        """Actions of step t."""
        if self.draws is not None:
            choose = self._map(self.agent.choose, (0, 0, 0, None))
            return self._back(choose(self._uniforms(t), states, self._lead(obs), t))

        def keys(key: PRNGKeyArray) -> Array:
            return jax.random.split(jax.random.fold_in(key, t), self.env.num_bss)

        each = jax.vmap(keys)(self.keys.act) if self.seeds else keys(self.keys.act)
        return self._back(self._map(self.agent.act, (0, 0, 0, None))(each, states, self._lead(obs), t))

    def greedy(
        self, states: PyTree, obs: Shaped[Array, "bss ..."], t: Scalar, last: Int[Array, "bss *seeds"]
    ) -> Int[Array, "bss *seeds"]:
        """Actions without exploration; the last ones if the agent cannot tell."""
        if not hasattr(self.agent, "greedy"):
            return last
        return self._back(self._map(self.agent.greedy, (0, 0, 0))(self._uniforms(t), states, self._lead(obs)))

    def update(self, states: PyTree, s: Array, a: Array, r: Array, s2: Array, t: Scalar) -> PyTree:
        """States after a step."""
        update = self._map(self.agent.update, (0, 0, 0, 0, 0, None))
        return update(states, *(self._lead(x) for x in (s, a, r, s2)), t)

    def where(self, gate: Bool[Array, "bss *seeds"], new: PyTree, old: PyTree) -> PyTree:
        """The new states of those whose gate is open."""
        first = self._lead(gate)

        def pick(a: Array, b: Array) -> Array:
            return jnp.where(first.reshape(first.shape + (1,) * (a.ndim - first.ndim)), a, b)

        return jax.tree.map(pick, new, old)

    def shared(self, states: PyTree) -> PyTree:
        """What is federated, [*seeds, bss, ...]."""
        return self._map(self.agent.shared, (0,))(states)

    def split(self, states: PyTree, mesh: Mesh) -> PyTree:
        """States of a single run with the BSSs split over devices."""
        return jax.tree.map(lambda leaf: _split(leaf, mesh, 0), states)

    def load(self, states: PyTree, values: PyTree) -> PyTree:
        """States with other values of what is federated."""
        return self._map(self.agent.load, (0, 0))(states, values)


def _split(leaf: Array, mesh: Mesh, axis: int) -> Array:
    """An array with an axis over all devices of a mesh."""
    spec = PartitionSpec(*(None,) * axis, mesh.axis_names)
    return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))


def init_states(agent: Any, key: PRNGKeyArray, env: Any, axis: int) -> PyTree:
    """States of all BSSs of one seed; BSSs at `axis` of every array."""
    if hasattr(agent, "init_all"):
        return agent.init_all(key, env.num_bss, env.num_states, env.num_actions)
    keys = jax.random.split(key, env.num_bss)
    return jax.vmap(lambda k: agent.init(k, env.num_states, env.num_actions), out_axes=axis)(keys)


def bss_first(leaf: Array, seeds: tuple[int, ...]) -> Array:
    """[..., bss, *seeds] as [*seeds, bss, ...]."""
    return jnp.moveaxis(leaf, (-1, -2), (0, 1)) if seeds else jnp.moveaxis(leaf, -1, 0)


def bss_last(leaf: Array, seeds: tuple[int, ...]) -> Array:
    """[*seeds, bss, ...] as [..., bss, *seeds]."""
    return jnp.moveaxis(leaf, (0, 1), (-1, -2)) if seeds else jnp.moveaxis(leaf, 0, -1)


def population(agent: Any, keys: RunKeys, env: Any) -> Columns | Rows:
    """The learners of a run, laid out as it suits the agent."""
    return (Columns if getattr(agent, "elementwise", False) else Rows)(agent, keys, env)
