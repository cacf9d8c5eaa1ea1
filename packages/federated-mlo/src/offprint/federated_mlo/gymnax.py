"""The environment with the interface of gymnax (`pip install "offprint-federated-mlo[gymnax]"`).

gymnax has one agent. Either a controller chooses the links of all BSSs, or one BSS learns among others that stay put.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._actions import actions_from_joint, num_joint_actions
from offprint.federated_mlo._checks import check_actions
from offprint.federated_mlo._env import EnvState, MLOEnv, MLOParams

__all__ = ["GymnaxMLO", "GymnaxParams", "GymnaxState", "as_gymnax"]


@struct.dataclass
class GymnaxParams(environment.EnvParams):
    """The deployment, and after how many steps an episode is cut off."""

    mlo: MLOParams | None = None
    max_steps_in_episode: Any = 1000


@struct.dataclass
class GymnaxState(environment.EnvState):
    """The state of the deployment; `time` counts the steps of the episode."""

    time: Any = 0
    mlo: EnvState | None = None


def as_gymnax(
    env: MLOEnv,
    params: MLOParams,
    *,
    learner: int | None = None,
    others: Int[Array | np.ndarray, " bss"] | None = None,
    max_steps: int = 1000,
) -> "GymnaxMLO":
    """An environment for agents that are written for gymnax.

    Episodes have no natural end: they are truncated after `max_steps`.

    Args:
        env, params: the deployment; another one of the same shape may be given to `reset` and `step` as
            `default_params.replace(mlo=...)`.
        learner: number of the BSS that learns: its action is one of A = 2^links - 1, its observation and reward are its
            own. Without it a controller acts for all BSSs: its action is a joint one, 0 .. A^B - 1 with BSS 0 as the
            most significant digit, it observes what all BSSs observe, and its reward is the mean of theirs.
        others: actions of the BSSs while one of them learns (the learner's entry isn't used); all links on by default.
        max_steps: length of an episode.

    Raises:
        ValueError: no such BSS, actions of others that don't exist, or more joint actions than int32 can number.
    """
    if learner is not None and not 0 <= learner < env.num_bss:
        raise ValueError(f"learner is {learner}, but the BSSs are 0..{env.num_bss - 1}")
    count = num_joint_actions(env.num_bss, env.num_links)
    if learner is None and count >= 2**31:
        raise ValueError(
            f"{env.num_bss} BSSs with {env.num_links} links have {count} joint actions, more than int32 can number; "
            "let one BSS learn (learner=0), or use as_pettingzoo, where each BSS acts for itself"
        )
    rest = np.full(env.num_bss, env.num_actions - 1) if others is None else np.asarray(others)
    if rest.shape != (env.num_bss,):
        raise ValueError(f"others has shape {rest.shape}, but one action for each of {env.num_bss} BSSs is expected")
    check_actions(rest, env.num_links)
    return GymnaxMLO(env, GymnaxParams(mlo=params, max_steps_in_episode=max_steps), learner, rest)


class GymnaxMLO(environment.Environment[GymnaxState, GymnaxParams]):
    """What `as_gymnax` makes. `info` of a step has "throughput" [bss] in Mb/s, "activity" and "mask" [bss, links]."""

    def __init__(self, env: MLOEnv, params: GymnaxParams, learner: int | None, others: np.ndarray):
        super().__init__()
        self.env, self.learner, self.others, self._params = env, learner, others, params

    @property
    def default_params(self) -> GymnaxParams:
        """The deployment that `as_gymnax` was given."""
        return self._params

    @property
    def name(self) -> str:
        """Name of the environment."""
        return "MLO-link-activation"

    @property
    def num_actions(self) -> int:
        """A, or A^B where all act as one."""
        return self.env.num_actions if self.learner is not None else self.env.num_actions**self.env.num_bss

    def reset_env(self, key: PRNGKeyArray, params: GymnaxParams) -> tuple[Shaped[Array, "..."], GymnaxState]:
        """The observation and the state at the start of an episode."""
        obs, state = self.env.reset(key, params.mlo)  # type: ignore[arg-type]
        return self._own(obs), GymnaxState(time=jnp.int32(0), mlo=state)  # type: ignore[call-arg, arg-type]

    def step_env(
        self, key: PRNGKeyArray, state: GymnaxState, action: Any, params: GymnaxParams
    ) -> tuple[Shaped[Array, "..."], GymnaxState, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        """One step: observation, state, reward, False (it never terminates), and `info`."""
        if self.learner is None:
            joint = actions_from_joint(jnp.asarray(action), self.env.num_bss, self.env.num_links)
        else:
            joint = jnp.asarray(self.others, jnp.int32).at[self.learner].set(jnp.asarray(action, jnp.int32))
        obs, mlo, reward, done, info = self.env.step(key, state.mlo, joint, params.mlo)  # type: ignore[arg-type]
        own = jnp.mean(reward) if self.learner is None else reward[self.learner]
        return self._own(obs), GymnaxState(time=state.time + 1, mlo=mlo), own, done, info  # type: ignore[call-arg]

    def is_terminated(self, state: GymnaxState, params: GymnaxParams) -> Bool[Array, ""]:
        """Never."""
        return jnp.asarray(False)

    def action_space(self, params: GymnaxParams | None = None) -> spaces.Discrete:
        """The actions."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: GymnaxParams | None = None) -> spaces.Space:
        """One BSS's index of a state or vector of features; of all BSSs, stacked, where all act as one."""
        env = self.env
        if env.obs == "features":
            shape = (env.num_states,) if self.learner is not None else (env.num_bss, env.num_states)
            return spaces.Box(0, 1, shape, jnp.result_type(float))
        if self.learner is not None:
            return spaces.Discrete(env.num_states)
        return spaces.Box(0, env.num_states - 1, (env.num_bss,), jnp.dtype(jnp.int32))

    def _own(self, obs: Shaped[Array, "bss ..."]) -> Shaped[Array, "..."]:
        return obs if self.learner is None else obs[self.learner]
