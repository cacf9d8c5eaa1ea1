"""A deep Q-network for each BSS, on vectors of features."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Shaped

from offprint.federated_mlo._exploration import Linear, Scalar, epsilon_greedy, greedy, hyperparameters, static


class QNetwork(nnx.Module):
    """Two hidden layers with ReLU, one output per action."""

    def __init__(self, features: int, actions: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(features, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.out = nnx.Linear(hidden, actions, rngs=rngs)

    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... actions"]:
        """Values of all actions."""
        return self.out(nnx.relu(self.second(nnx.relu(self.first(x)))))


class Replay(NamedTuple):
    """The last transitions, in a ring."""

    s: Float[Array, "replay features"]
    a: Int[Array, " replay"]
    r: Float[Array, " replay"]
    s2: Float[Array, "replay features"]
    stored: Int[Array, ""]


class DQNState(NamedTuple):
    """Parameters, those of the target network, the optimiser's state, transitions, and a key for minibatches."""

    params: PyTree
    target: PyTree
    optimiser: Any
    replay: Replay
    key: PRNGKeyArray


@hyperparameters
class DQN:
    """Deep Q-learning (Mnih et al. 2015): MLP, Adam, replay, target network; ε-greedy.

    Needs `obs="features"`. With γ = 0 the network predicts the reward of each action in what is observed.
    """

    draws: ClassVar[int] = 1
    learning_rate: Scalar = 1e-3
    gamma: Scalar = 0.0
    exploration: Any = Linear()
    target_every: Scalar = 200
    hidden: int = static(default=64)
    replay: int = static(default=10_000)
    batch: int = static(default=64)

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> DQNState:
        """A random network; `n_states` is the number of features."""
        net_key, batch_key = jax.random.split(key)
        params = nnx.state(QNetwork(n_states, n_actions, self.hidden, nnx.Rngs(net_key)), nnx.Param)
        pure = nnx.to_pure_dict(params)
        empty = jnp.zeros((self.replay, n_states))
        replay = Replay(empty, jnp.zeros(self.replay, jnp.int32), jnp.zeros(self.replay), empty, jnp.int32(0))
        return DQNState(pure, pure, optax.adam(self.learning_rate).init(pure), replay, batch_key)

    def values(self, params: PyTree, s: Float[Array, "... features"]) -> Float[Array, "... actions"]:
        """Values of all actions in states s."""
        features, actions = params["first"]["kernel"].shape[0], params["out"]["kernel"].shape[1]
        shell = nnx.eval_shape(lambda: QNetwork(features, actions, self.hidden, nnx.Rngs(0)))
        graphdef, state = nnx.split(shell)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graphdef, state)(s)

    def act(self, key: PRNGKeyArray, state: DQNState, s: Float[Array, " features"], t: Any) -> Int[Array, ""]:
        """ε-greedy on the network's values."""
        return self.choose(jax.random.uniform(key, (1,)), state, s, t)

    def choose(
        self, u: Float[Array, " draws"], state: DQNState, s: Float[Array, " features"], t: Any
    ) -> Int[Array, ""]:
        """`act` from a uniform number."""
        return epsilon_greedy(self.values(state.params, s), self.exploration(t), u[0])

    def greedy(self, u: Float[Array, " draws"], state: DQNState, s: Float[Array, " features"]) -> Int[Array, ""]:
        """The action of the largest value."""
        return greedy(self.values(state.params, s), u[0])

    def update(
        self,
        state: DQNState,
        s: Float[Array, " features"],
        a: Int[Array, ""],
        r: Shaped[Array, ""],
        s2: Float[Array, " features"],
        t: Any,
    ) -> DQNState:
        """Store the transition and take one step of Adam on a minibatch."""
        place = state.replay.stored % self.replay
        old = state.replay
        replay = Replay(
            old.s.at[place].set(s),
            old.a.at[place].set(a),
            old.r.at[place].set(r),
            old.s2.at[place].set(s2),
            old.stored + 1,
        )
        key, batch_key = jax.random.split(state.key)
        drawn = jax.random.randint(batch_key, (self.batch,), 0, jnp.minimum(replay.stored, self.replay))
        target = replay.r[drawn] + self.gamma * jnp.max(self.values(state.target, replay.s2[drawn]), axis=1)

        def loss(params: PyTree) -> Array:
            q = jnp.take_along_axis(self.values(params, replay.s[drawn]), replay.a[drawn][:, None], axis=1)[:, 0]
            return jnp.mean((q - target) ** 2)

        gradient = jax.grad(loss)(state.params)
        moves, optimiser = optax.adam(self.learning_rate).update(gradient, state.optimiser)
        params = optax.apply_updates(state.params, moves)
        copy = (t + 1) % self.target_every == 0
        kept = jax.tree.map(lambda new, last: jnp.where(copy, new, last), params, state.target)
        return DQNState(params, kept, optimiser, replay, key)

    def shared(self, state: DQNState) -> PyTree:
        """What is federated: the parameters."""
        return state.params

    def load(self, state: DQNState, values: PyTree) -> DQNState:
        """Other parameters."""
        return state._replace(params=values)
