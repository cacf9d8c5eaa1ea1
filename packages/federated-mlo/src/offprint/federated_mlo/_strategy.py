"""Flower's strategy for the server: tables averaged by how often each client was in each cell."""

import logging
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from jaxtyping import PyTree

from offprint.core.flower import from_record, named_arrays, to_record, tree_from
from offprint.federated_mlo._env import MLOEnv
from offprint.federated_mlo._population import run_keys
from offprint.federated_mlo._protocol import FRLConfig, aggregate
from offprint.federated_mlo._server import take_part

log = logging.getLogger(__name__)


class FedVisitAvg(FedAvg):
    """The server's rule of an `FRLConfig` (by default Σ n_b Q_b / Σ n_b, cell by cell) as a strategy of Flower.

    A reply whose tables have another shape, or are not finite, is dropped, logged and counted (`dropped`).

    Args:
        env: the environment, for its numbers of BSSs, states and actions.
        agent: the learner, for what it shares.
        frl: the protocol; its quantisation, noise and stale clients are for simulations: under Flower, take its mods.
        seed: of who takes part; the same as the clients' and the server app's.
        options: of Flower's `FedAvg`.

    `values` are the server's tables after the last round.

    Raises:
        ValueError: a protocol with quantisation, noise or stale clients.
    """

    def __init__(self, env: MLOEnv, agent: Any, frl: FRLConfig | None = None, *, seed: int = 0, **options: Any):
        super().__init__(**{"fraction_evaluate": 0.0, "min_available_nodes": env.num_bss, **options})
        self.frl = FRLConfig() if frl is None else frl
        if self.frl.bits is not None or self.frl.noise is not None or self.frl.stale is not None:
            raise ValueError(
                "bits, clip, noise and stale of an FRLConfig are simulated by run(); under Flower, use its own mods "
                "(flwr.clientapp.mod) for noise and compression"
            )
        self.env = env
        key = jax.random.key(seed)
        self.key = run_keys(key).server
        shared = agent.shared(agent.init(key, env.num_states, env.num_actions))
        self.values: PyTree = jax.tree.map(jnp.zeros_like, shared)
        self.optimiser = None if self.frl.optimiser is None else self.frl.optimiser.init(self.values)
        self.visits = np.zeros((1 if env.obs == "features" else env.num_states, env.num_actions))
        self.nodes: dict[int, int] = {}
        self.dropped = 0
        self._combine = jax.jit(self._combined)

    def initial_arrays(self) -> ArrayRecord:
        """The server's tables, as they are sent."""
        return to_record(named_arrays(self.values, "table/"))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask the BSSs that take part in a round for their tables. `nodes` must say which node is which BSS."""
        key = jax.random.fold_in(self.key, server_round * int(self.frl.K) - 1)
        part_key = jax.random.split(key, 3)[0]
        present = take_part(part_key, self.env.num_bss, self.frl.participation, self.frl.dropout)
        chosen = [node for node, bss in sorted(self.nodes.items()) if present[bss]]
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return self._construct_messages(record, chosen, "train")

    def refusal(self, content: RecordDict) -> str | None:
        """Why a reply cannot be averaged, or None."""
        if not {"arrays", "visits"} <= set(content.array_records):
            return f"it has records {sorted(content.array_records)}, but arrays and visits are needed"
        arrays = from_record(content.array_records["arrays"])
        try:
            tables = tree_from(arrays, self.values, "table/")
            visits = tree_from(from_record(content.array_records["visits"]), {"visits": self.visits})
        except ValueError as error:
            return f"{error}: all clients need the same links and observations"
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((tables, visits))):
            return "it is not finite"
        return None

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The server's tables after a round, and how many clients contributed and were dropped."""
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        rows: list[tuple[PyTree, Any]] = [(jax.tree.map(jnp.zeros_like, self.values), self.visits)] * self.env.num_bss
        present, uploaded = np.zeros(self.env.num_bss, bool), 0
        for message in valid:
            node = message.metadata.src_node_id
            if (reason := self.refusal(message.content)) is not None:
                self.dropped += 1
                log.warning("round %d: reply of node %d dropped: %s", server_round, node, reason)
                continue
            records = message.content.array_records
            uploaded += sum(record.count_bytes() for record in records.values())
            tables = tree_from(from_record(records["arrays"]), self.values, "table/")
            visits = from_record(records["visits"])["visits"]
            rows[self.nodes[node]] = (tables, visits)
            present[self.nodes[node]] = True
        stacked, counts = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *rows)
        self.values, self.optimiser = self._combine(stacked, counts, self.values, self.optimiser, jnp.asarray(present))
        clients = int(present.sum())
        metrics = MetricRecord({"clients": clients, "dropped": len(valid) - clients, "bytes": uploaded})
        return self.initial_arrays() if clients else None, metrics

    def _combined(
        self, stacked: PyTree, visits: jax.Array, values: PyTree, optimiser: Any, present: jax.Array
    ) -> tuple[PyTree, Any]:
        mean = aggregate(self.frl, stacked, visits, values, present)
        if self.frl.optimiser is None:
            return mean, optimiser
        return self.frl.optimiser.step(values, mean, optimiser, present.any())
