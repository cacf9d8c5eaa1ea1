"""The environment with PettingZoo's parallel interface (`pip install "offprint-federated-mlo[pettingzoo]"`)."""

import functools
from typing import Any, ClassVar

import gymnasium
import jax
import numpy as np
from pettingzoo import ParallelEnv

from offprint.federated_mlo._actions import num_actions
from offprint.federated_mlo._env import MLOEnv, MLOParams

__all__ = ["ParallelMLO", "as_pettingzoo"]


def as_pettingzoo(env: MLOEnv, params: MLOParams, *, max_steps: int = 1000) -> "ParallelMLO":
    """A `ParallelEnv` whose agents `bss_0`, `bss_1`, ... choose their links at once.

    Observations are an index (`Discrete`) or a vector of features (`Box`), actions one of the 2^links - 1 sets of
    links. Episodes have no natural end: all agents are truncated after `max_steps`.

    Raises:
        ValueError: episodes without a step.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}, but an episode has at least one step")
    return ParallelMLO(env, params, max_steps)


class ParallelMLO(ParallelEnv[str, Any, Any]):
    """What `as_pettingzoo` makes. `info` of an agent has its "throughput" in Mb/s, "activity" and "mask" by link."""

    metadata: ClassVar[dict[str, Any]] = {"name": "mlo_link_activation_v0", "render_modes": []}
    render_mode = None

    def __init__(self, env: MLOEnv, params: MLOParams, max_steps: int):
        self.env, self.params, self.max_steps = env, params, max_steps
        self.possible_agents = [f"bss_{b}" for b in range(env.num_bss)]
        self.agents: list[str] = []
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._key = jax.random.key(0)
        self._state: Any = None
        self._obs: Any = None
        self._time = 0

    @functools.cache  # noqa: B019 - PettingZoo wants the same object every time; it lives as long as the environment
    def observation_space(self, agent: str) -> gymnasium.spaces.Space:
        """Indices of observed states, or vectors of features in [0, 1]."""
        if self.env.obs == "features":
            return gymnasium.spaces.Box(0, 1, (self.env.num_states,), np.dtype(self._dtype))
        return gymnasium.spaces.Discrete(self.env.num_states)

    @functools.cache  # noqa: B019
    def action_space(self, agent: str) -> gymnasium.spaces.Discrete:
        """Non-empty sets of links: action a switches on the links that are bits of a + 1."""
        return gymnasium.spaces.Discrete(num_actions(self.env.num_links))

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode: observations and empty infos. Without a seed the random numbers go on."""
        if seed is not None:
            self._key = jax.random.key(seed)
        self._key, key = jax.random.split(self._key)
        self._obs, self._state = self._reset(key, self.params)
        self.agents, self._time = list(self.possible_agents), 0
        return self._observations(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """One step: observations, rewards, terminations (none), truncations and infos of all agents.

        Raises:
            ValueError: an agent without an action or with one that doesn't exist; a step before `reset`.
        """
        if not self.agents:
            raise ValueError("the episode has ended or not begun: call reset() first")
        if absent := [agent for agent in self.agents if agent not in actions]:
            raise ValueError(f"there is no action for {', '.join(absent)}")
        chosen = np.asarray([actions[agent] for agent in self.possible_agents], np.int32)
        if ((chosen < 0) | (chosen >= self.env.num_actions)).any():
            raise ValueError(f"actions are 0..{self.env.num_actions - 1}, but {chosen.tolist()} were given")
        self._key, key = jax.random.split(self._key)
        self._obs, self._state, reward, _, info = self._step(key, self._state, chosen, self.params)
        self._time += 1
        over = self._time >= self.max_steps
        names = self.agents
        rewards = dict(zip(names, np.asarray(reward).tolist()))
        details = {name: np.asarray(info[name]) for name in ("throughput", "activity", "mask")}
        infos = {agent: {name: value[b] for name, value in details.items()} for b, agent in enumerate(names)}
        observations = self._observations()
        if over:
            self.agents = []
        return observations, rewards, dict.fromkeys(names, False), dict.fromkeys(names, over), infos

    def state(self) -> np.ndarray:
        """The observations of all BSSs, for training with a central critic.

        Raises:
            ValueError: before the first `reset`.
        """
        if self._obs is None:
            raise ValueError("the episode has not begun: call reset() first")
        return np.asarray(self._obs)

    @property
    def _dtype(self) -> Any:
        return jax.dtypes.canonicalize_dtype(float)

    def _observations(self) -> dict[str, Any]:
        rows = np.asarray(self._obs)
        return {agent: rows[b] for b, agent in enumerate(self.possible_agents)}
