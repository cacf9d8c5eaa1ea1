"""The federated layer on real machines, with Flower (`pip install "offprint-network-partitioning[flower]"`).

On the wire go flat vectors, one for each partition: the server sends all of them and ψ, a client of chunk q returns
those from q on and, unless q is 0, the gradient of ψ. Where each scalar belongs is known on both sides from (scheme,
proportions, key) and never sent. For simulations of research scale use `make_round`, which needs no Flower.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from jaxtyping import PRNGKeyArray, PyTree

from offprint.core.flower import client_chunk, named_arrays, to_record
from offprint.network_partitioning._clients import Clients
from offprint.network_partitioning._objective import Loglik
from offprint.network_partitioning._partition import Partition
from offprint.network_partitioning._strategy import PartitionedStrategy
from offprint.network_partitioning._wire import arrays_of, client_key, number, params_of
from offprint.network_partitioning.federated import ClientReply, Order, client_update

__all__ = ["PartitionedStrategy", "arrays_of", "client_app", "client_key", "params_of", "server_app"]


def client_app(
    loglik: Loglik,
    part: Partition,
    params: PyTree,
    hyper: PyTree,
    load_data: Callable[[Context], PyTree],
    *,
    proportions: Sequence[float | int],
    tx: optax.GradientTransformation,
    epochs: int = 1,
    batch_size: int | None = None,
    order: Order = "partition_major",
    unroll: int | bool = 1,
    seed: int = 0,
) -> ClientApp:
    """Flower's app for the clients.

    A client's chunk is `chunk-id` in its node's configuration (0..K-1), else the keyed hash of its `client-id`; it must
    stay the same for the whole run. The app answers "train", "evaluate" (mean negative log-likelihood of the whole
    network on the client's data), and the query "chunk".

    Args:
        loglik, part, tx, epochs, batch_size, order, unroll: see `client_update`.
        params, hyper: w and ψ as they look; their values are not used, but for the frozen scalars.
        load_data: the client's data `(x, y)` from Flower's context.
        proportions: (K,) share of the clients in each chunk, in expectation.
        seed: of the noise, and the key of the hash; the same on all machines.
    """
    app = ClientApp()

    @jax.jit
    def nll(w: PyTree, psi: PyTree, batch: PyTree, key: PRNGKeyArray) -> jax.Array:
        return -loglik(w, psi, batch, key).mean()

    def work(w: PyTree, psi: PyTree, batch: PyTree, key: PRNGKeyArray, chunk: int) -> ClientReply:
        client = Clients(batch, jnp.ones(len(jax.tree.leaves(batch)[0])), chunk)  # type: ignore[arg-type]
        options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "order": order, "unroll": unroll}
        return client_update(loglik, part, w, psi, client, key, tx=tx, **options)

    train = jax.jit(work, static_argnames="chunk")  # one program for each chunk and number of examples

    def chunk_of(context: Context) -> int:
        return client_chunk(context, proportions, key=f"{seed}")

    def received(message: Message, context: Context) -> tuple[PyTree, PyTree, PyTree, PRNGKeyArray]:
        w, psi = params_of(message.content.array_records["arrays"], params, hyper, part)
        round_number = int(number(message.content.config_records["config"], "server-round"))
        batch = jax.tree.map(jnp.asarray, load_data(context))
        config = context.node_config  # for the noise, the node's passing number does where there is no better name
        name = config.get("client-id", config.get("partition-id", context.node_id))
        return w, psi, batch, client_key(seed, round_number, f"{name}")

    @app.train()
    def _train(message: Message, context: Context) -> Message:
        chunk = chunk_of(context)
        reply = train(*received(message, context), chunk=chunk)
        arrays = {f"partition/{j}": np.asarray(reply.delta[j]) for j in range(chunk, part.num)}
        metrics: dict[str, Any] = {"num-examples": int(reply.num_examples), "chunk": chunk}
        metrics |= {f"loss/{j + 1}": float(reply.losses[j]) for j in range(chunk, part.num)}
        if chunk:
            arrays |= named_arrays(reply.hyper_grad, "hyper_grad/")
            metrics["oos"] = float(reply.oos)
        content = RecordDict({"arrays": to_record(arrays), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    @app.evaluate()
    def _evaluate(message: Message, context: Context) -> Message:
        w, psi, batch, key = received(message, context)
        metrics = MetricRecord({"num-examples": len(jax.tree.leaves(batch)[0]), "nll": float(nll(w, psi, batch, key))})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query("chunk")
    def _chunk(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"chunk": chunk_of(context)})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def server_app(
    strategy: PartitionedStrategy,
    *,
    num_rounds: int,
    evaluate: Callable[[PyTree, PyTree], dict[str, float]] | None = None,
    finished: Callable[[Any, Any], None] | None = None,
) -> ServerApp:
    """Flower's app for the server.

    Args:
        strategy: the strategy; its `state` holds w and ψ afterwards.
        num_rounds: how many rounds.
        evaluate: called with (w, ψ) before the first and after every round; what it returns is logged.
        finished: called at the end with the `ServerState` and Flower's `Result`: the place to save them.
    """
    app = ServerApp()

    def evaluated(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        assert evaluate is not None
        state = strategy.state
        return MetricRecord(dict(evaluate(*params_of(arrays, state.params, state.hyper, strategy.part))))

    @app.main()
    def _main(grid: Grid, context: Context) -> None:
        evaluate_fn = None if evaluate is None else evaluated
        result = strategy.start(grid, strategy.initial_arrays(), num_rounds, evaluate_fn=evaluate_fn)
        if finished is not None:
            finished(strategy.state, result)

    return app
