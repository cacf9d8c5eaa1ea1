"""The learners on access points of their own, with Flower (`pip install "offprint-federated-mlo[flower]"`).

One node is one BSS. In every step the server asks for its action, the throughput is measured, and the server returns
the common objective; every K steps, if μ > 0, the server averages tables. A node with a radio sets and measures it;
otherwise the server hosts the environment, because what a BSS gets depends on what all of them do. A run through Flower
leaves the same tables as `run` with the key of the same seed.

| message | carries | reply |
|---|---|---|
| `query.bss` | | number of the BSS |
| `query.act` | step, observation | action |
| `train.measure` | | throughput in Mb/s, measured by the radio |
| `train.learn` | step, reward, observation | |
| `train` | | table, visits |
| `train.load` | the server's table, μ | |
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from offprint.core.flower import from_record, named_arrays, to_record, tree_from
from offprint.federated_mlo._actions import masks_from_actions
from offprint.federated_mlo._env import MLOEnv, MLOParams, alive_at
from offprint.federated_mlo._node import Node, NodeState, bss_of
from offprint.federated_mlo._population import run_keys
from offprint.federated_mlo._strategy import FedVisitAvg

__all__ = ["FedVisitAvg", "FlowerRun", "NodeState", "client_app", "node_table", "server_app"]

log = logging.getLogger(__name__)
Radio = Callable[[Context, Bool[np.ndarray, " links"]], float]
"""Switches these links on, lets traffic flow for a while, and returns the throughput in Mb/s."""


class FlowerRun(NamedTuple):
    """What the server has seen of a run."""

    throughput: Float[np.ndarray, "steps bss"]
    """Mb/s; NaN where a node did not answer."""
    actions: Int[np.ndarray, "steps bss"]
    values: PyTree
    """The server's tables; None where none are averaged."""


def client_app(env: MLOEnv, agent: Any, *, seed: int = 0, radio: Radio | None = None) -> ClientApp:
    """Flower's app for the nodes.

    Args:
        env: the environment, for its numbers of BSSs and links and its kind of observation.
        agent: the learner.
        seed: the same on all nodes and on the server.
        radio: the node's own; without it the server hosts the environment.

    Which BSS a node is stands in its configuration: `flower-supernode --node-config 'bss=0'`. The learner's state stays
    in the node's context.
    """
    app, node = ClientApp(), Node(env, agent, seed)

    def answer(message: Message, **records: Any) -> Message:
        return Message(RecordDict(records), reply_to=message)

    def config_of(message: Message) -> Mapping[str, Any]:
        return message.content.config_records["config"]

    @app.query("bss")
    def _bss(message: Message, context: Context) -> Message:
        return answer(message, metrics=MetricRecord({"bss": bss_of(context, env.num_bss)}))

    @app.query("act")
    def _act(message: Message, context: Context) -> Message:
        config = config_of(message)
        obs, t = node.observation(config, "observation"), jnp.int32(config["step"])
        state = node.act(bss_of(context, env.num_bss), node.state_of(context), obs, t)
        node.keep(context, state)
        return answer(message, metrics=MetricRecord({"action": int(state.action)}))

    @app.train("measure")
    def _measure(message: Message, context: Context) -> Message:
        if radio is None:
            raise ValueError("the node has no radio to measure with: give client_app(radio=...), or the server its env")
        mask = np.asarray(masks_from_actions(node.state_of(context).action, env.num_links))
        return answer(message, metrics=MetricRecord({"throughput": float(radio(context, mask))}))

    @app.train("learn")
    def _learn(message: Message, context: Context) -> Message:
        config, state = config_of(message), node.state_of(context)
        before, obs = (node.observation(config, name) for name in ("before", "observation"))
        reward = jnp.asarray(config["reward"], float)
        state = node.learn(state, before, obs, reward, jnp.int32(config["step"]), jnp.int32(config["rounds"]))
        node.keep(context, state)
        return answer(message)

    @app.train()
    def _train(message: Message, context: Context) -> Message:
        state = node.state_of(context)
        tables = to_record(named_arrays(node.shared(state), "table/"))
        visits = to_record({"visits": state.visits})
        metrics = MetricRecord({"num-examples": int(state.visits.sum())})
        return answer(message, arrays=tables, visits=visits, metrics=metrics)

    @app.train("load")
    def _load(message: Message, context: Context) -> Message:
        state = node.state_of(context)
        arrays = from_record(message.content.array_records["arrays"])
        values = jax.tree.map(jnp.asarray, tree_from(arrays, node.shared(state), "table/"))
        node.keep(context, node.load(state, values, jnp.asarray(config_of(message)["mu"], float)))
        return answer(message)

    return app


def node_table(context: Context, env: MLOEnv, agent: Any, *, seed: int = 0) -> PyTree:
    """The table that a node has learned, from its context."""
    node = Node(env, agent, seed)
    return node.shared(node.state_of(context))


def server_app(
    env: MLOEnv,
    params: MLOParams,
    strategy: FedVisitAvg,
    *,
    steps: int,
    measured: bool = False,
    seed: int = 0,
    timeout_s: float | int | None = 60,
    finished: Callable[[FlowerRun], None] | None = None,
) -> ServerApp:
    """Flower's app for the server.

    Args:
        env, params: the environment that the server hosts; with `measured`, only how rewards are made of throughputs
            (`env.reward`, `params.x_max`).
        strategy: `FedVisitAvg`, which holds the protocol.
        steps: T.
        measured: nodes measure their throughput themselves. There they observe nothing (`obs="none"`); who misses one
            of `reward_every` measurements learns nothing from them.
        seed: the same as the clients'.
        timeout_s: how long to wait for answers; who doesn't answer keeps its links, and learns nothing from the step.
        finished: called at the end: the place to save results.

    Raises:
        ValueError: fewer than one step; observations of an environment that the server doesn't host.
    """
    if steps < 1:
        raise ValueError(f"steps = {steps}: at least 1")
    if measured and env.obs != "none":
        raise ValueError("measured throughputs come without observations: use obs='none'")
    app = ServerApp()

    @app.main()
    def _main(grid: Grid, context: Context) -> None:
        result = _Server(grid, env, params, strategy, measured, seed, timeout_s).run(steps)
        if finished is not None:
            finished(result)

    return app


class _Server:
    """One run, seen from the server."""

    def __init__(
        self,
        grid: Grid,
        env: MLOEnv,
        params: MLOParams,
        strategy: FedVisitAvg,
        measured: bool,
        seed: int,
        timeout_s: float | int | None,
    ):
        self.grid, self.env, self.params, self.strategy = grid, env, params, strategy
        self.measured, self.timeout_s = measured, timeout_s
        self.keys = run_keys(jax.random.key(seed))
        self.step = jax.jit(env.step)
        mean_of = strategy.frl.reward_every
        self.objective = jax.jit(lambda total, params, here: env.objective(total / mean_of, params, here))
        self.actions = np.full(env.num_bss, env.num_actions - 1, np.int32)
        self.rounds = 0

    def run(self, steps: int) -> FlowerRun:
        """All steps."""
        frl, hold = self.strategy.frl, self.strategy.frl.reward_every
        self._meet()
        obs, state = self.env.reset(jax.random.fold_in(self.keys.init, 1), self.params)
        before, total = obs, jnp.zeros(self.env.num_bss)
        seen, taken = [], []
        for t in range(steps):
            if t % hold == 0:
                self._act(obs, t)
                before, total = obs, jnp.zeros_like(total)
            if self.measured:
                x = self._measure()
            else:
                key = jax.random.fold_in(self.keys.env, t)
                obs, state, reward, _, info = self.step(key, state, self.actions, self.params)
                x, acted, self.actions = info["throughput"], self._acted(info["acted"], t), np.array(state.action)
            total = total + x
            if self.measured:
                acted = np.isfinite(total)
                reward = self.objective(total, self.params, jnp.asarray(acted))
            elif hold > 1:
                reward = self.objective(total, self.params, alive_at(self.params, jnp.int32(t)))
            if t % hold == hold - 1:
                self._learn(before, obs, reward, np.asarray(acted), t)
            seen.append(np.asarray(x))
            taken.append(self.actions.copy())
            if float(frl.mu) > 0 and (t + 1) % int(frl.K) == 0:
                self._round(t)
        values = self.strategy.values if self.rounds else None
        return FlowerRun(np.stack(seen), np.stack(taken), values)

    def _acted(self, acted: Bool[Array, " bss"], t: int) -> Bool[np.ndarray, " bss"]:
        alive = alive_at(self.params, jnp.int32(t))
        return np.asarray(acted if alive is None else acted & alive)

    def _send(self, kind: str, contents: Mapping[int, RecordDict]) -> dict[int, RecordDict]:
        """Messages to BSSs, and what those that answer say."""
        node_of = {bss: node for node, bss in self.strategy.nodes.items()}
        messages = [Message(content, dst_node_id=node_of[bss], message_type=kind) for bss, content in contents.items()]
        return {self.strategy.nodes[node]: content for node, content in self._replies(messages)}

    def _replies(self, messages: Iterable[Message]) -> list[tuple[int, RecordDict]]:
        answers = []
        for reply in self.grid.send_and_receive(messages, timeout=self.timeout_s):
            node = reply.metadata.src_node_id
            if reply.has_error():
                log.warning("node %d did not answer: %s", node, reply.error.reason)
            else:
                answers.append((node, reply.content))
        return answers

    def _meet(self) -> None:
        """Find out which node is which BSS."""
        nodes = list(self.grid.get_node_ids())
        messages = [Message(RecordDict(), dst_node_id=node, message_type="query.bss") for node in nodes]
        known = {node: int(_metric(content, "bss")) for node, content in self._replies(messages)}
        if sorted(known.values()) != list(range(self.env.num_bss)):
            raise ValueError(
                f"one node for each of the BSSs 0..{self.env.num_bss - 1} is needed, but {len(nodes)} nodes are BSSs "
                f"{sorted(known.values())}"
            )
        self.strategy.nodes = known

    def _act(self, obs: Shaped[Array, "bss ..."], t: int) -> None:
        rows = np.asarray(obs)
        contents = {bss: _config(step=t, observation=rows[bss].tolist()) for bss in range(self.env.num_bss)}
        for bss, content in self._send("query.act", contents).items():
            self.actions[bss] = int(_metric(content, "action"))

    def _measure(self) -> Float[np.ndarray, " bss"]:
        """Throughputs; NaN of those that do not tell."""
        x = np.full(self.env.num_bss, np.nan)
        contents = {bss: RecordDict() for bss in range(self.env.num_bss)}
        for bss, content in self._send("train.measure", contents).items():
            x[bss] = _metric(content, "throughput")
        return x

    def _learn(
        self,
        before: Shaped[Array, "bss ..."],
        obs: Shaped[Array, "bss ..."],
        reward: Float[Array, " bss"],
        acted: Bool[np.ndarray, " bss"],
        t: int,
    ) -> None:
        old, new, r = np.asarray(before), np.asarray(obs), np.asarray(reward)
        contents = {}
        for bss in np.flatnonzero(acted).tolist():
            around = {"before": old[bss].tolist(), "observation": new[bss].tolist()}
            contents[bss] = _config(step=t, reward=float(r[bss]), rounds=self.rounds, **around)
        self._send("train.learn", contents)

    def _round(self, t: int) -> None:
        """One round of averaging."""
        self.rounds += 1
        here = self._acted(jnp.ones(self.env.num_bss, bool), t)
        arrays = self.strategy.initial_arrays()
        messages = self.strategy.configure_train(self.rounds, arrays, ConfigRecord(), self.grid)
        messages = [message for message in messages if here[self.strategy.nodes[message.metadata.dst_node_id]]]
        replies = self.grid.send_and_receive(messages, timeout=self.timeout_s)
        after, _ = self.strategy.aggregate_train(self.rounds, replies)
        if after is None:
            return
        asked = [self.strategy.nodes[message.metadata.dst_node_id] for message in messages]
        self._send("train.load", {bss: _config(arrays=after, mu=float(self.strategy.frl.mu)) for bss in asked})


def _metric(content: RecordDict, name: str) -> float:
    values: Mapping[str, Any] = content.metric_records["metrics"]
    return float(values[name])


def _config(arrays: ArrayRecord | None = None, **values: Any) -> RecordDict:
    records: dict[str, Any] = {"config": ConfigRecord(values)}
    return RecordDict(records if arrays is None else records | {"arrays": arrays})
