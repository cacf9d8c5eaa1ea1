"""Flower's strategy for the server."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from jaxtyping import PyTree

from offprint.core.federated import sample_clients
from offprint.core.flower import from_record, named_arrays, tree_from
from offprint.network_partitioning._partition import Partition, partition_sizes
from offprint.network_partitioning._wire import arrays_of, number, params_of
from offprint.network_partitioning.federated import ClientReply, aggregate, apply_average, init_server

log = logging.getLogger(__name__)


class PartitionedStrategy(FedAvg):
    """Flower's strategy of the server: each partition is averaged over the clients that train it.

    Flower's own strategies want the same arrays from every client. A reply that is not finite, has a vector of the
    wrong length, or comes from a client that has changed its chunk is dropped, logged and counted (`dropped`).

    Args:
        params, hyper: w and ψ before the first round.
        part: the partition, the same as the clients'.
        tx: the server's optimiser, on the pseudo-gradient of each partition by itself.
        hyper_tx: the server's optimiser of ψ.
        stratified: every chunk sends clients in proportion to its number of clients, and at least one.
        patience: rounds after which the run stops if no client of a chunk >= 1 has contributed.
        seed: of the choice of clients.
        options: of Flower's `FedAvg`: `fraction_train`, `min_train_nodes`, ....

    `state` is the `ServerState` after the last round.
    """

    def __init__(
        self,
        params: PyTree,
        hyper: PyTree,
        part: Partition,
        *,
        tx: optax.GradientTransformation,
        hyper_tx: optax.GradientTransformation,
        stratified: bool = True,
        patience: int = 10,
        seed: int = 0,
        **options: Any,
    ):
        super().__init__(**options)
        self.part, self.stratified, self.patience = part, stratified, patience
        self.key = jax.random.key(seed)
        self.state = init_server(params, hyper, part, tx, hyper_tx)
        self.sizes = [int(size) for size in partition_sizes(part)]
        self.dtype = jnp.result_type(*jax.tree.leaves(params))
        self.chunks: dict[int, int] = {}
        self.dropped = 0
        self.hyper_rounds = 0

        def advance(state: Any, replies: ClientReply) -> tuple[Any, Any]:
            average = aggregate(replies)
            return apply_average(state, average, part, tx, hyper_tx), average.hyper_contributed

        self._advance = jax.jit(advance)

    def initial_arrays(self) -> ArrayRecord:
        """What `start` sends in the first round."""
        return arrays_of(self.state.params, self.state.hyper, self.part)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Choose the nodes of a round by their chunks, which new nodes are asked for."""
        params, hyper = params_of(arrays, self.state.params, self.state.hyper, self.part)
        self.state = self.state._replace(params=params, hyper=hyper)
        needed = max(self.min_available_nodes, self.min_train_nodes)
        while len(available := list(grid.get_node_ids())) < needed:
            log.info("waiting for nodes: %d of %d are connected", len(available), needed)
            time.sleep(1)
        count = max(int(len(available) * self.fraction_train), self.min_train_nodes)
        if count == 0:
            return []
        self._ask_chunks(available, config, grid)
        nodes = sorted(node for node in available if node in self.chunks)
        if not nodes:
            raise ValueError(f"none of {len(available)} nodes has told its chunk; see the log for their errors")
        groups = np.asarray([self.chunks[node] for node in nodes])
        count = min(count, len(nodes))
        by_chunk = self.stratified and count >= len(np.unique(groups))
        key = jax.random.fold_in(self.key, server_round)
        chosen = sample_clients(key, len(nodes), count, groups=groups if by_chunk else None)
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return self._construct_messages(record, [nodes[index] for index in np.asarray(chosen)], "train")

    def _ask_chunks(self, available: Sequence[int], config: ConfigRecord, grid: Grid) -> None:
        unknown = [node for node in available if node not in self.chunks]
        if not unknown:
            return
        record = RecordDict({self.configrecord_key: config})
        replies = grid.send_and_receive(self._construct_messages(record, unknown, "query.chunk"), timeout=60)
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                log.warning("node %d has not told its chunk: %s", node, reply.error.reason)
                continue
            chunk = int(number(reply.content.metric_records["metrics"], "chunk"))
            if 0 <= chunk < self.part.num:
                self.chunks[node] = chunk
            else:
                log.warning("node %d has chunk %d, but K = %d: it is left out", node, chunk, self.part.num)

    def refusal(self, node: int, content: RecordDict) -> str | None:
        """Why a reply cannot be averaged, or None."""
        if "arrays" not in content.array_records or "metrics" not in content.metric_records:
            return "it lacks arrays or metrics"
        metrics = content.metric_records["metrics"]
        if not {"chunk", "num-examples"} <= set(metrics):
            return f"its metrics lack chunk or num-examples, but have {sorted(metrics)}"
        chunk, n = int(number(metrics, "chunk")), number(metrics, "num-examples")
        if not (np.isfinite(n) and n > 0):
            return f"it has {n:g} examples"
        if not 0 <= chunk < self.part.num:
            return f"its chunk is {chunk}, but chunks are 0..{self.part.num - 1}"
        if self.chunks.setdefault(node, chunk) != chunk:
            return f"its chunk is now {chunk}, but was {self.chunks[node]}: what it knows is not out of sample any more"
        arrays = from_record(content.array_records["arrays"])
        expected = {f"partition/{j}": (self.sizes[j],) for j in range(chunk, self.part.num)}
        if chunk:
            expected |= {name: leaf.shape for name, leaf in named_arrays(self.state.hyper, "hyper_grad/").items()}
        if arrays.keys() != expected.keys():
            return f"it has arrays {sorted(arrays)}, but chunk {chunk} sends {sorted(expected)}"
        for name, array in arrays.items():
            if array.shape != expected[name]:
                return f"{name} has shape {array.shape}, but {expected[name]} is expected"
            if not np.isfinite(array).all():
                return f"{name} is not finite"
        return None

    def _reply(self, content: RecordDict) -> ClientReply:
        """A reply with zeros for what was not sent."""
        arrays, metrics = from_record(content.array_records["arrays"]), content.metric_records["metrics"]
        sent = [arrays.get(f"partition/{j}", np.zeros(size, self.dtype)) for j, size in enumerate(self.sizes)]
        zeros = jax.tree.map(jnp.zeros_like, self.state.hyper)
        later = int(number(metrics, "chunk")) >= 1
        hyper_grad = tree_from(arrays, self.state.hyper, "hyper_grad/") if later else zeros
        losses = [number(metrics, f"loss/{j + 1}", 0.0) for j in range(self.part.num)]
        return ClientReply(
            tuple(jnp.asarray(vector) for vector in sent),
            jax.tree.map(jnp.asarray, hyper_grad),
            jnp.asarray(number(metrics, "num-examples")),
            jnp.asarray(int(number(metrics, "chunk")), jnp.int32),
            jnp.asarray(losses),
            jnp.asarray(number(metrics, "oos", 0.0)),
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The arrays after a round, and its metrics; the arrays are None if nothing could be averaged.

        Raises:
            ValueError: for `patience` rounds no client of a chunk >= 1 has contributed.
        """
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        accepted, uploaded = [], 0
        for message in valid:
            uploaded += sum(record.count_bytes() for record in message.content.array_records.values())
            node = message.metadata.src_node_id
            reason = self.refusal(node, message.content)
            if reason is None:
                accepted.append(self._reply(message.content))
            else:
                self.dropped += 1
                log.warning("round %d: reply of node %d dropped: %s", server_round, node, reason)
        metrics: dict[str, Any] = {"clients": len(accepted), "dropped": len(valid) - len(accepted), "bytes": uploaded}
        arrays = None
        if accepted:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *accepted)
            self.state, hyper_contributed = self._advance(self.state, stacked)
            self.hyper_rounds += int(hyper_contributed)
            metrics |= _mean_losses(stacked)
            arrays = self.initial_arrays()
        if self.hyper_rounds == 0 and server_round >= self.patience and jax.tree.leaves(self.state.hyper):
            raise ValueError(
                f"no client of a chunk >= 1 has contributed in {server_round} rounds: ψ is not being trained; "
                "give some nodes chunk-id=1 and higher"
            )
        return arrays, MetricRecord(metrics)


def _mean_losses(replies: ClientReply) -> dict[str, float]:
    """Mean losses over the clients that have them, by numbers of examples."""
    n, chunk = np.asarray(replies.num_examples), np.asarray(replies.chunk)
    means = {}
    for j in range(replies.losses.shape[1]):
        if (chunk <= j).any():
            means[f"loss/{j + 1}"] = float(np.average(replies.losses[:, j], weights=n * (chunk <= j)))
    if (chunk >= 1).any():
        means["oos"] = float(np.average(replies.oos, weights=n * (chunk >= 1)))
    return means
