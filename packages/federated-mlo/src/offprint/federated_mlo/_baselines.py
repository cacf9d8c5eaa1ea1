"""Ways to choose links that learn nothing: the same always, or at random."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from offprint.federated_mlo._exploration import hyperparameters


class ActionState(NamedTuple):
    """The action that a BSS keeps, and how many there are."""

    action: Int[Array, "*batch"]


class _Unlearning:
    """What agents that learn nothing share."""

    draws: ClassVar[int] = 1
    elementwise: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def act(self, key: PRNGKeyArray, state: Any, s: Any, t: Any) -> Int[Array, "*batch"]:
        """The action of step t."""
        return self.choose(jax.random.uniform(key, (1,)), state, s, t)

    def choose(self, u: Float[Array, "draws *batch"], state: Any, s: Any, t: Any) -> Int[Array, "*batch"]:
        """`act` from a uniform number: the action that is kept."""
        return state.action

    def greedy(self, u: Float[Array, "draws *batch"], state: Any, s: Any) -> Int[Array, "*batch"]:
        """The action of a step."""
        return self.choose(u, state, s, 0)

    def update(self, state: Any, s: Any, a: Any, r: Any, s2: Any, t: Any) -> Any:
        """Nothing changes."""
        return state


@hyperparameters
class Fixed(_Unlearning):
    """Every BSS keeps the action that it is given: `actions` [bss], indices 0..A-1."""

    actions: Int[Array | np.ndarray, " bss"]

    def init_all(self, key: PRNGKeyArray, num_bss: int, n_states: int, n_actions: int) -> ActionState:
        """The states of all BSSs, [bss]."""
        return ActionState(jnp.broadcast_to(jnp.asarray(self.actions, jnp.int32), (num_bss,)))

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> ActionState:
        """The state of BSS 0; `init_all` gives those of all."""
        return ActionState(jnp.asarray(self.actions, jnp.int32)[0])


@hyperparameters
class Uniform(_Unlearning):
    """A uniformly random action in every step."""

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> "UniformState":
        """Only the number of actions."""
        return UniformState(jnp.int32(n_actions))

    def choose(self, u: Float[Array, "draws *batch"], state: "UniformState", s: Any, t: Any) -> Int[Array, "*batch"]:
        """Action floor(u A)."""
        return jnp.minimum((u[0] * state.n_actions).astype(jnp.int32), state.n_actions - 1)


class UniformState(NamedTuple):
    """The number of actions A."""

    n_actions: Int[Array, "*batch"]


@hyperparameters
class UniformOnce(_Unlearning):
    """A uniformly random action, drawn once and kept."""

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> ActionState:
        """The action that is drawn."""
        return ActionState(jax.random.randint(key, (), 0, n_actions, jnp.int32))
