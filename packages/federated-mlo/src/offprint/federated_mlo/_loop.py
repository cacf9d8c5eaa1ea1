"""The training run of one seed or of many as one pure function: a scan over chunks of steps.

What decides the speed: random numbers come from a counter; seeds are the last (minor) axis of all arrays and BSSs the
one before, so that the few operations of a step run over long contiguous rows; what is recorded is summed on the way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from offprint.federated_mlo._agents import write_cell
from offprint.federated_mlo._env import EnvState, MLOEnv, MLOParams, alive_at
from offprint.federated_mlo._population import RunKeys, bss_first, population
from offprint.federated_mlo._protocol import FRLConfig, Server, federate, server_init

CHUNK = 50
"""Steps that are summed up before they are added to the rest: float32 sums of many thousands lose digits."""


class Plan(NamedTuple):
    """What is fixed when a run is compiled."""

    steps: int
    tail_start: int
    every: int
    federated: bool
    skip_nan: bool
    mesh: Mesh | None = None
    """Devices over which the BSSs of a single run are split."""


class Sums(NamedTuple):
    """Sums over steps, of the tail where not said otherwise. Seeds are the last axis; the first in `Result`."""

    x: Float[Array, "..."]
    """[bss]"""
    least: Float[Array, "..."]
    counts: Int[Array, "..."]
    """[actions, bss]"""
    switches: Int[Array, "..."]
    uploads: Int[Array, "..."]
    """Tables sent, in the whole run."""
    largest: Float[Array, "..."]
    """Largest |reward| of the whole run; NaN if a reward was NaN."""


class Carry(NamedTuple):
    """What is carried from step to step."""

    agents: PyTree
    env: EnvState
    obs: Shaped[Array, "bss ..."]
    action: Int[Array, "bss *seeds"]
    """Chosen at the end of the step before: read from memory, not worked out again by each of those who use it."""
    last: Int[Array, "bss *seeds"]
    """Taken in the step before."""
    server: Server | None = None
    visits: Float[Array, "states actions bss *seeds"] | None = None
    held: tuple[Array, Array] | None = None
    """Throughput summed since the last report, and the observation before it."""


class Result(NamedTuple):
    """What comes out of the scan, all with the seeds first."""

    sums: Sums
    curve_min: Float[Array, "*seeds blocks"]
    curve_sum: Float[Array, "*seeds blocks"]
    actions: Int[Array, "*seeds bss"]
    tables: PyTree
    server: PyTree


def learns(agent: Any) -> bool:
    """Whether an agent has anything to update."""
    return getattr(agent, "learns", True)


class Training:
    """The parts of a run, made while tracing for given parameters; keys of one seed, or [seeds]."""

    def __init__(self, keys: RunKeys, env: MLOEnv, params: MLOParams, agent: Any, frl: FRLConfig, plan: Plan) -> None:
        self.env, self.params, self.agent, self.frl, self.plan = env, params, agent, frl, plan
        self.keys, self.seeds = keys, keys.act.shape
        self.learners = population(agent, keys, env)

    def each_seed(self, f: Callable[..., Any], in_axes: Any, out_axes: int = -1) -> Callable[..., Any]:
        """`f` of one seed for all of them."""
        return jax.vmap(f, in_axes=in_axes, out_axes=out_axes) if self.seeds else f

    def start(self) -> Carry:
        """Before the first step."""
        env = self.env
        obs, state = self.each_seed(lambda k: env.reset(jax.random.fold_in(k, 1), self.params), 0)(self.keys.init)
        agents = self.learners.init()
        nothing = jnp.full((env.num_bss, *self.seeds), -1, jnp.int32)
        carry = Carry(agents, state, obs, self.learners.act(agents, obs, jnp.int32(0)), nothing)
        if self.plan.federated:
            rows = 1 if env.obs == "features" else env.num_states
            visits = jnp.zeros((rows, env.num_actions, env.num_bss, *self.seeds))
            server = self.each_seed(lambda q: server_init(self.frl, q), 0, 0)(self.learners.shared(agents))
            carry = carry._replace(server=server, visits=visits)
        if self.frl.reward_every > 1:
            carry = carry._replace(held=(jnp.zeros((env.num_bss, *self.seeds)), obs))
        return carry

    def step(self, carry: Carry, sums: Sums, t: Int[Array, ""]) -> tuple[Carry, Sums, tuple[Array, Array]]:
        """Step t of all BSSs, and the choice of their next actions."""
        env, hold = self.env, self.frl.reward_every
        env_step = self.each_seed(self._env_step, (0, -1, -1, None))
        obs, state, reward, x, acted = env_step(self.keys.env, carry.env, carry.action, t)
        actions, before = state.action, carry.obs
        alive = alive_at(self.params, t)
        gate = acted if env.order == "sequential" else None
        if alive is not None:
            gate = _and(gate, jnp.broadcast_to(self._beside(alive), actions.shape))
        if carry.held is not None:
            total, before = carry.held
            total = jnp.where(t % hold == 0, 0, total) + x
            before = jnp.where(t % hold == 0, carry.obs, before)
            objective = self.each_seed(lambda x: env.objective(x, self.params, alive), -1)
            reward = objective(total / hold)
            gate = _and(gate, jnp.broadcast_to(t % hold == hold - 1, actions.shape))
            carry = carry._replace(held=(total, before))
        if self.plan.skip_nan:
            gate, reward = _and(gate, ~jnp.isnan(reward)), jnp.nan_to_num(reward)
        sums, least = self._add(sums, carry.last, actions, x, reward, alive, t)
        carry = carry._replace(env=state, obs=obs, last=actions)
        carry = self._learn(carry, before, reward, t, gate)
        if self.plan.federated:
            carry, sent = self._round(carry, alive, t)
            sums = sums._replace(uploads=sums.uploads + sent)
        chosen = self.learners.act(carry.agents, obs, t + 1)
        if hold > 1:
            chosen = jnp.where((t + 1) % hold == 0, chosen, carry.action)
        return carry._replace(action=chosen), sums, (least, jnp.sum(x, axis=0))

    def _env_step(self, key: PRNGKeyArray, state: EnvState, action: Array, t: Array) -> tuple[Any, ...]:
        obs, state, reward, _, info = self.env.step(jax.random.fold_in(key, t), state, action, self.params)
        return obs, state, reward, info["throughput"], info["acted"]

    def _beside(self, values: Shaped[Array, " bss"]) -> Shaped[Array, "bss *ones"]:
        """[bss] beside arrays whose last axes are BSSs and seeds."""
        return values.reshape(values.shape + (1,) * len(self.seeds))

    def _add(
        self, sums: Sums, last: Array, actions: Array, x: Array, reward: Array, alive: Array | None, t: Array
    ) -> tuple[Sums, Float[Array, "*seeds"]]:
        """What is recorded of a step, and its least throughput."""
        tail = t >= self.plan.tail_start
        least = jnp.min(x if alive is None else jnp.where(self._beside(alive), x, jnp.inf), axis=0)
        every = jnp.arange(self.env.num_actions).reshape(-1, *(1,) * actions.ndim)
        switched = (actions != last) & tail & (t > 0)
        added = Sums(
            sums.x + jnp.where(tail, x, 0),
            sums.least + jnp.where(tail, least, 0),
            sums.counts + ((every == actions) & tail),
            sums.switches + jnp.sum(switched, axis=0, dtype=jnp.int32),
            sums.uploads,
            jnp.maximum(sums.largest, jnp.max(jnp.abs(reward), axis=0)),
        )
        return added, least

    def _learn(self, carry: Carry, s: Array, reward: Array, t: Array, gate: Bool[Array, "bss *seeds"] | None) -> Carry:
        if not learns(self.agent):
            return carry
        actions = carry.last
        agents = self.learners.update(carry.agents, s, actions, reward, carry.obs, t)
        if gate is not None:
            agents = self.learners.where(gate, agents, carry.agents)
        if carry.visits is None:
            return carry._replace(agents=agents)
        state = jnp.zeros_like(actions) if self.env.obs == "features" else s
        came = 1 if gate is None else gate.astype(carry.visits.dtype)
        return carry._replace(agents=agents, visits=write_cell(carry.visits, state, actions, lambda n: n + came))

    def _round(self, carry: Carry, alive: Array | None, t: Array) -> tuple[Carry, Int[Array, "*seeds"]]:
        """The server's round, at the end of every K steps."""

        def one(key: PRNGKeyArray, server: Server, shared: PyTree, visits: Array) -> tuple[PyTree, Server, Array]:
            key = jax.random.fold_in(key, t)
            values, server, present = federate(key, self.frl, server, shared, visits, alive)
            return values, server, jnp.sum(present, dtype=jnp.int32)

        def now(agents: PyTree, server: Server, visits: Array) -> tuple[PyTree, Server, Array, Array]:
            counts = bss_first(visits, self.seeds)
            shared = self.learners.shared(agents)
            values, server, sent = self.each_seed(one, 0, 0)(self.keys.server, server, shared, counts)
            return self.learners.load(agents, values), server, jnp.zeros_like(visits), sent

        def later(agents: PyTree, server: Server, visits: Array) -> tuple[PyTree, Server, Array, Array]:
            return agents, server, visits, jnp.zeros(self.seeds, jnp.int32)

        assert carry.server is not None
        due = (t + 1) % self.frl.K == 0
        agents, server, visits, sent = jax.lax.cond(due, now, later, carry.agents, carry.server, carry.visits)
        return carry._replace(agents=agents, server=server, visits=visits), sent

    def finish(self, carry: Carry) -> tuple[Array, PyTree, PyTree]:
        """Greedy actions, the tables of the BSSs, and the server's."""
        server = None if carry.server is None else carry.server.values
        shares = learns(self.agent) and hasattr(self.agent, "shared")
        tables = self.learners.shared(carry.agents) if shares else None
        return self.learners.greedy(carry.agents, carry.obs, self.plan.steps + 1, carry.last), tables, server


def train(keys: RunKeys, env: MLOEnv, params: MLOParams, agent: Any, frl: FRLConfig, plan: Plan) -> Result:
    """The whole run; of one seed, or of keys [seeds]."""
    training = Training(keys, env, params, agent, frl, plan)
    seeds = keys.act.shape
    zero = _zeros(env, seeds)

    def advance(state: tuple[Carry, Sums], t: Array) -> Any:
        carry, sums, recorded = training.step(*state, t)
        if plan.mesh is None:
            return (carry, sums), recorded
        return (carry._replace(agents=training.learners.split(carry.agents, plan.mesh)), sums), recorded

    def chunk(state: Any, index: Array, length: int = CHUNK) -> Any:
        carry, totals, curves = state
        t = index * CHUNK + jnp.arange(length, dtype=jnp.int32)
        (carry, sums), recorded = jax.lax.scan(advance, (carry, zero), t)
        largest = jnp.maximum(totals.largest, sums.largest)
        totals = jax.tree.map(jnp.add, totals, sums)._replace(largest=largest)
        curves = tuple(c.at[t // plan.every].add(r) for c, r in zip(curves, recorded))
        return (carry, totals, curves), None

    blocks = -(-plan.steps // plan.every)
    state = (training.start(), zero, (jnp.zeros((blocks, *seeds)),) * 2)
    whole, rest = divmod(plan.steps, CHUNK)
    if whole:
        state, _ = jax.lax.scan(chunk, state, jnp.arange(whole, dtype=jnp.int32))
    if rest:
        state, _ = chunk(state, jnp.int32(whole), rest)
    carry, totals, curves = state
    actions, tables, server = training.finish(carry)
    if seeds:
        totals, curves, actions = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), (totals, curves, actions))
    return Result(totals, *curves, actions, tables, server)


def _and(gate: Array | None, more: Array) -> Array:
    return more if gate is None else gate & more


def _zeros(env: MLOEnv, seeds: tuple[int, ...]) -> Sums:
    floats, ints = jnp.zeros(seeds), jnp.zeros(seeds, jnp.int32)
    counts = jnp.zeros((env.num_actions, env.num_bss, *seeds), jnp.int32)
    return Sums(jnp.zeros((env.num_bss, *seeds)), floats, counts, ints, ints, floats)
