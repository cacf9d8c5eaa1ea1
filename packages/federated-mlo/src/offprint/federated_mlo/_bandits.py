"""Bandits: optimism (UCB), posterior sampling, exponential weights, and softmax of action values."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._agents import TableState, table_row, write_cell
from offprint.federated_mlo._exploration import Scalar, greedy, hyperparameters


def _pick(probabilities: Float[Array, "actions *batch"], u: Float[Array, "*batch"]) -> Int[Array, "*batch"]:
    """The action in whose part of the distribution u falls."""
    upto = jnp.cumsum(probabilities, axis=0)
    return jnp.minimum(jnp.sum(upto <= u * upto[-1], axis=0, dtype=jnp.int32), probabilities.shape[0] - 1)


class _Bandit:
    """What the bandits of this file share."""

    draws: ClassVar[int] = 1
    elementwise: ClassVar[bool] = True
    choose: ClassVar[Callable[..., Any]]

    def act(self, key: PRNGKeyArray, state: Any, s: Int[Array, "*batch"], t: Any) -> Int[Array, "*batch"]:
        """The action of step t in state s."""
        return self.choose(jax.random.uniform(key, (self.draws,)), state, s, t)


class UCBState(NamedTuple):
    """Discounted sums of rewards, and of visits."""

    total: Float[Array, "states actions *batch"]
    n: Float[Array, "states actions *batch"]


@hyperparameters
class UCB(_Bandit):
    """Upper confidence bound, discounted (Garivier & Moulines 2008); discount 1 is UCB1 with factor c.

    After each step all sums are multiplied by the discount; the index is R/n + c √(log Σn / max(n, 1)), and infinite
    for an action that was never tried.
    """

    c: Scalar = 0.5
    discount: Scalar = 1.0

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> UCBState:
        """No rewards, no visits."""
        zeros = jnp.zeros((n_states, n_actions))
        return UCBState(zeros, zeros)

    def index(self, state: UCBState, s: Int[Array, "*batch"]) -> Float[Array, "actions *batch"]:
        """Upper confidence bounds of the actions in state s."""
        total, n = table_row(state.total, s), table_row(state.n, s)
        wide = self.c * jnp.sqrt(jnp.log(jnp.maximum(jnp.sum(n, axis=0), 1)) / jnp.maximum(n, 1))
        return jnp.where(n > 0, total / jnp.where(n > 0, n, 1) + wide, jnp.inf)

    def choose(
        self, u: Float[Array, "draws *batch"], state: UCBState, s: Int[Array, "*batch"], t: Any
    ) -> Int[Array, "*batch"]:
        """An action of the largest index."""
        return greedy(self.index(state, s), u[0])

    def greedy(self, u: Float[Array, "draws *batch"], state: UCBState, s: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """An action of the largest mean reward."""
        return greedy(table_row(self.shared(state), s), u[0])

    def update(
        self,
        state: UCBState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> UCBState:
        """Discount the row of s and add the reward."""
        states = state.n.shape[0]
        rows = jnp.arange(states).reshape(states, *(1,) * (state.n.ndim - 1))
        decay = jnp.where((rows == s) | (states == 1), self.discount, 1)
        total = write_cell(state.total * decay, s, a, lambda x: x + r)
        return UCBState(total, write_cell(state.n * decay, s, a, lambda n: n + 1))

    def shared(self, state: UCBState) -> Float[Array, "states actions *batch"]:
        """Mean rewards; 0 where nothing was tried."""
        return state.total / jnp.where(state.n > 0, state.n, 1)

    def load(self, state: UCBState, values: Float[Array, "states actions *batch"]) -> UCBState:
        """Other mean rewards at the same visits."""
        return state._replace(total=values * state.n)


class NIGState(NamedTuple):
    """Normal-inverse-gamma posterior of the mean and variance of each action's reward."""

    alpha: Float[Array, "states actions"]
    beta: Float[Array, "states actions"]
    lam: Float[Array, "states actions"]
    mu: Float[Array, "states actions"]


@hyperparameters
class Thompson:
    """Thompson sampling with normal rewards of unknown mean and variance: a normal-inverse-gamma posterior.

    Variance ~ InverseGamma(α, β), mean ~ Normal(μ, variance / λ); the action of the largest sampled mean is taken.
    """

    alpha: Scalar = 1.0
    beta: Scalar = 1.0
    lam: Scalar = 1e-3
    mu: Scalar = 0.5

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> NIGState:
        """The prior, in every cell."""
        return NIGState(
            *(jnp.full((n_states, n_actions), x, float) for x in (self.alpha, self.beta, self.lam, self.mu))
        )

    def act(self, key: PRNGKeyArray, state: NIGState, s: Int[Array, ""], t: Any) -> Int[Array, ""]:
        """The action whose sampled mean is the largest."""
        first, second = jax.random.split(key)
        alpha, beta, lam, mu = (table_row(x, s) for x in state)
        variance = beta / jax.random.gamma(first, alpha, dtype=alpha.dtype)
        means = mu + jnp.sqrt(variance / lam) * jax.random.normal(second, mu.shape, mu.dtype)
        return jnp.argmax(means).astype(jnp.int32)

    def greedy(self, u: Float[Array, " draws"], state: NIGState, s: Int[Array, ""]) -> Int[Array, ""]:
        """An action of the largest posterior mean."""
        return greedy(table_row(state.mu, s), u[0])

    def update(
        self, state: NIGState, s: Int[Array, ""], a: Int[Array, ""], r: Shaped[Array, ""], s2: Any, t: Any
    ) -> NIGState:
        """The posterior of (s, a) after one more reward."""
        alpha, beta, lam, mu = state
        spread = lam / (lam + 1) * (r - mu) ** 2 / 2
        moved = (lam * mu + r) / (lam + 1)
        at = jnp.zeros(mu.shape, bool).at[s if mu.shape[0] > 1 else 0, a].set(True)
        steps = (alpha + 0.5, beta + spread, lam + 1, moved)
        return NIGState(*(jnp.where(at, new, old) for new, old in zip(steps, state)))

    def shared(self, state: NIGState) -> Float[Array, "states actions"]:
        """Posterior means."""
        return state.mu

    def load(self, state: NIGState, values: Float[Array, "states actions"]) -> NIGState:
        """Other means at the same precision."""
        return state._replace(mu=values)


class EXP3State(NamedTuple):
    """Logarithms of the weights."""

    log_w: Float[Array, "states actions *batch"]


@hyperparameters
class EXP3(_Bandit):
    """Exponential weights for adversarial bandits (Auer et al. 2002), rewards in [0, 1].

    p = (1 - γ) w / Σw + γ / A; after action a, w[a] *= exp(γ r / (p[a] A)).
    """

    gamma: Scalar = 0.1

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> EXP3State:
        """Equal weights."""
        return EXP3State(jnp.zeros((n_states, n_actions)))

    def probabilities(self, state: EXP3State, s: Int[Array, "*batch"]) -> Float[Array, "actions *batch"]:
        """Probability of each action in state s."""
        row = table_row(state.log_w, s)
        return (1 - self.gamma) * jax.nn.softmax(row, axis=0) + self.gamma / row.shape[0]

    def choose(
        self, u: Float[Array, "draws *batch"], state: EXP3State, s: Int[Array, "*batch"], t: Any
    ) -> Int[Array, "*batch"]:
        """An action with its probability."""
        return _pick(self.probabilities(state, s), u[0])

    def greedy(
        self, u: Float[Array, "draws *batch"], state: EXP3State, s: Int[Array, "*batch"]
    ) -> Int[Array, "*batch"]:
        """An action of the largest weight."""
        return greedy(table_row(state.log_w, s), u[0])

    def update(
        self,
        state: EXP3State,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> EXP3State:
        """Raise the weight of (s, a) by the importance-weighted reward."""
        step = (
            self.gamma
            * r
            / (jnp.take_along_axis(self.probabilities(state, s), a[None], axis=0)[0] * state.log_w.shape[1])
        )
        return EXP3State(write_cell(state.log_w, s, a, lambda x: x + step))

    def shared(self, state: EXP3State) -> Float[Array, "states actions *batch"]:
        """Logarithms of the weights."""
        return state.log_w

    def load(self, state: EXP3State, values: Float[Array, "states actions *batch"]) -> EXP3State:
        """Other weights."""
        return EXP3State(values)


@hyperparameters
class Softmax(_Bandit):
    """Actions drawn with probabilities exp(Q / temperature), values updated with a constant step size.

    The temperature falls linearly to `end` over the first `duration` steps.
    """

    alpha: Scalar = 0.1
    temperature: Scalar = 1.0
    end: Scalar = 0.01
    duration: Scalar = 2000

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> TableState:
        """A table of zeros."""
        return TableState(jnp.zeros((n_states, n_actions)))

    def choose(
        self, u: Float[Array, "draws *batch"], state: TableState, s: Int[Array, "*batch"], t: Any
    ) -> Int[Array, "*batch"]:
        """An action with its probability."""
        share = jnp.clip(t / jnp.maximum(self.duration, 1), 0, 1)
        heat = self.temperature + (self.end - self.temperature) * share
        return _pick(jax.nn.softmax(table_row(state.q, s) / heat, axis=0), u[0])

    def greedy(
        self, u: Float[Array, "draws *batch"], state: TableState, s: Int[Array, "*batch"]
    ) -> Int[Array, "*batch"]:
        """An action of the largest value."""
        return greedy(table_row(state.q, s), u[0])

    def update(
        self,
        state: TableState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> TableState:
        """Move Q[s, a] towards the reward."""
        return state._replace(q=write_cell(state.q, s, a, lambda q: q + self.alpha * (r - q)))

    def shared(self, state: TableState) -> Float[Array, "states actions *batch"]:
        """The table."""
        return state.q

    def load(self, state: TableState, values: Float[Array, "states actions *batch"]) -> TableState:
        """Another table."""
        return state._replace(q=values)
