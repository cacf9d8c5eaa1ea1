"""Learners with tables of action values: one per BSS, as pure functions of their state.

An agent has three functions, for one BSS; `run` maps them over BSSs, seeds and deployments:

    init(key, n_states, n_actions) -> state
    act(key, state, s, t) -> action
    update(state, s, a, r, s2, t) -> state

`s` is the observation before the action and `s2` the one after it (an int32 state index, or a vector of features);
`t` counts steps from 0; `r` is the reward. An own learner needs nothing else. Those here also have

    draws, choose(u, state, s, t): like `act`, from `draws` uniform numbers instead of a key, which `run` draws in bulk;
    greedy(u, state, s): the action without exploration;
    shared(state), load(state, values): what is federated, and putting it back.

Where `elementwise` is True, all of these also take arrays with further axes at the end, tables
[states, actions, bss, seeds] and scalars [bss, seeds], and `run` needs no `jax.vmap`, which would decide by itself how
these axes lie in memory.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from offprint.federated_mlo._exploration import (
    Linear,
    Scalar,
    epsilon_greedy,
    greedy,
    hyperparameters,
    largest,
    static,
)

_FEW_CELLS = 32
"""Up to so many cells a table is rewritten as a whole: elementwise, where one cell would be a scatter."""


@runtime_checkable
class Agent(Protocol):
    """What `run` needs of a learner."""

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> Any: ...

    def act(self, key: PRNGKeyArray, state: Any, s: Any, t: Any) -> Int[Array, ""]: ...

    def update(self, state: Any, s: Any, a: Any, r: Any, s2: Any, t: Any) -> Any: ...


class TableState(NamedTuple):
    """Action values of one BSS."""

    q: Float[Array, "states actions *batch"]
    n: Float[Array, "states actions *batch"] | None = None
    """Visits, where the step size depends on them."""


def table_row(
    table: Shaped[Array, "states actions *batch"], s: Int[Array, "*batch"]
) -> Shaped[Array, "actions *batch"]:
    """The row of a state; with a single state whatever s is."""
    return table[0] if table.shape[0] == 1 else jnp.take_along_axis(table, s[None, None], axis=0)[0]


def table_cell(
    table: Shaped[Array, "states actions *batch"], s: Int[Array, "*batch"], a: Int[Array, "*batch"]
) -> Shaped[Array, "*batch"]:
    """The entry of a state and an action."""
    return jnp.take_along_axis(table_row(table, s), a[None], axis=0)[0]


def write_cell(
    table: Float[Array, "states actions *batch"],
    s: Int[Array, "*batch"],
    a: Int[Array, "*batch"],
    new: Callable[[Array], Array],
) -> Float[Array, "states actions *batch"]:
    """The table with `new(old)` in cell (s, a); `new` works on a cell and on a whole table alike."""
    states, actions, *batch = table.shape
    if states * actions > _FEW_CELLS:
        places = jnp.meshgrid(*map(jnp.arange, batch), indexing="ij", sparse=True)
        row = jnp.zeros_like(s) if states == 1 else s
        return table.at[(row, a, *places)].set(new(table_cell(table, s, a)))
    ones = (1,) * len(batch)
    here = (jnp.arange(actions).reshape(actions, *ones) == a)[None]
    if states > 1:
        here = here & (jnp.arange(states).reshape(states, 1, *ones) == s)
    return jnp.where(here, new(table), table)


class _Table:
    """What learners with a table share: all but the rule by which a cell is updated."""

    draws: ClassVar[int] = 1
    elementwise: ClassVar[bool] = True
    exploration: Any

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> TableState:
        """A table of zeros; the key is not used."""
        return TableState(jnp.zeros((n_states, n_actions)))

    def act(self, key: PRNGKeyArray, state: TableState, s: Int[Array, "*batch"], t: Any) -> Int[Array, "*batch"]:
        """ε-greedy on the row of state s, ties broken at random."""
        return self.choose(jax.random.uniform(key, (1,), state.q.dtype), state, s, t)

    def choose(
        self, u: Float[Array, "draws *batch"], state: TableState, s: Int[Array, "*batch"], t: Any
    ) -> Int[Array, "*batch"]:
        """`act` from a uniform number."""
        return epsilon_greedy(table_row(state.q, s), self.exploration(t), u[0])

    def greedy(
        self, u: Float[Array, "draws *batch"], state: TableState, s: Int[Array, "*batch"]
    ) -> Int[Array, "*batch"]:
        """An action of the largest value in state s."""
        return greedy(table_row(state.q, s), u[0])

    def shared(self, state: TableState) -> Float[Array, "states actions *batch"]:
        """What is federated: the table."""
        return state.q

    def load(self, state: TableState, values: Float[Array, "states actions *batch"]) -> TableState:
        """The state with another table."""
        return state._replace(q=values)


@hyperparameters
class EpsGreedy(_Table):
    """ε-greedy: Q[a] += α (r - Q[a]), or the sample average with α = 1/N[a] (Sutton & Barto 2018, ch. 2)."""

    alpha: Scalar = 0.1
    exploration: Any = Linear()
    rule: str = static(default="constant")
    """"constant" or "sample_average"."""

    def init(self, key: PRNGKeyArray, n_states: int, n_actions: int) -> TableState:
        """A table of zeros, and visits where they are needed."""
        zeros = jnp.zeros((n_states, n_actions))
        return TableState(zeros, zeros if self.rule == "sample_average" else None)

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
        if state.n is None:
            return state._replace(q=write_cell(state.q, s, a, lambda q: q + self.alpha * (r - q)))
        visits = table_cell(state.n, s, a) + 1
        n = write_cell(state.n, s, a, lambda n: n + 1)
        return TableState(write_cell(state.q, s, a, lambda q: q + (r - q) / visits), n)


@hyperparameters
class Hysteretic(_Table):
    """Hysteretic learning (Matignon et al. 2007): a rise is believed sooner than a fall, which others may have caused.

    d = r - Q[a]; Q[a] += α+ d if d > 0, else α- d.
    """

    alpha_plus: Scalar = 0.1
    alpha_minus: Scalar = 0.01
    exploration: Any = Linear()

    def update(
        self,
        state: TableState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> TableState:
        """Move Q[s, a] towards the reward, faster upwards."""

        def new(q: Array) -> Array:
            d = r - q
            return q + jnp.where(d > 0, self.alpha_plus, self.alpha_minus) * d

        return state._replace(q=write_cell(state.q, s, a, new))


@hyperparameters
class OptimisticMax(_Table):
    """Q[a] = max(Q[a], r) (Lauer & Riedmiller 2000): sound only where payoffs never vary."""

    exploration: Any = Linear()

    def update(
        self,
        state: TableState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> TableState:
        """Keep the best reward that (s, a) has brought."""
        return state._replace(q=write_cell(state.q, s, a, lambda q: jnp.maximum(q, r)))


@hyperparameters
class StatelessQ(_Table):
    """Stateless Q-learning of Wilhelmi, Cano, Bellalta and Jonsson (PIMRC 2017): Q[a] += α (r + γ max Q - Q[a]).

    Their published code computes (1 - α) Q[a] + (α r + γ max Q), in which α does not multiply γ: `form="code"`.
    Their best setting is α = 1, γ = 0.95 with `Sqrt` exploration.
    """

    alpha: Scalar = 1.0
    gamma: Scalar = 0.95
    exploration: Any = Linear()
    form: str = static(default="published")
    """"published" or "code"."""

    def update(
        self,
        state: TableState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Any,
        t: Any,
    ) -> TableState:
        """One update of Q[s, a]; the maximum is over the same row."""
        best = self.gamma * largest(table_row(state.q, s))
        if self.form == "code":
            return state._replace(q=write_cell(state.q, s, a, lambda q: (1 - self.alpha) * q + self.alpha * r + best))
        return state._replace(q=write_cell(state.q, s, a, lambda q: q + self.alpha * (r + best - q)))


@hyperparameters
class TabularQ(_Table):
    """Q-learning (Watkins 1989) over occupancy states: Q[s, a] += α (r + γ max Q[s2] - Q[s, a])."""

    alpha: Scalar = 0.1
    gamma: Scalar = 0.8
    exploration: Any = Linear()

    def update(
        self,
        state: TableState,
        s: Int[Array, "*batch"],
        a: Int[Array, "*batch"],
        r: Shaped[Array, "*batch"],
        s2: Int[Array, "*batch"],
        t: Any,
    ) -> TableState:
        """One update of Q[s, a]."""
        target = r + self.gamma * largest(table_row(state.q, s2))
        return state._replace(q=write_cell(state.q, s, a, lambda q: q + self.alpha * (target - q)))
