"""The federated layer: clients train the partitions from their chunk on, the server averages each by itself.

Pure functions over stacked clients: a whole round is one jitted call, and `make_round` is a step for
`offprint.core.train.fit`. Clients on machines of their own are in `offprint.network_partitioning.flower`.
The rules where nothing is said about the paper are our choice.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from offprint.core.federated import map_clients, server_update, weighted_mean
from offprint.network_partitioning._clients import ClientBatches, Clients, check_chunks, stack_clients
from offprint.network_partitioning._objective import Loglik
from offprint.network_partitioning._partition import (
    Partition,
    pack,
    partition_sizes,
    subnetwork,
    unpack,
)

__all__ = [
    "Average",
    "ClientBatches",
    "ClientReply",
    "Clients",
    "Order",
    "ServerState",
    "aggregate",
    "apply_average",
    "check_chunks",
    "client_update",
    "init_server",
    "make_round",
    "stack_clients",
    "upload_scalars",
]

Order = Literal["partition_major", "epoch_major"]


class ClientReply(NamedTuple):
    """What a client has learned; stacked replies have the clients as first axis. A pytree."""

    delta: tuple[Array, ...]
    """K flat vectors, the change of each partition; zero below the client's chunk (these are never sent)."""
    hyper_grad: Any
    """∇ψ of the client's mean negative log-likelihood out of sample, like ψ; zero for chunk 0 (never sent)."""
    num_examples: Float[Array, "*clients"]
    chunk: Int[Array, "*clients"]
    losses: Float[Array, "*clients K"]
    """Mean training loss of each partition over the client's steps, nats; 0 below its chunk."""
    oos: Float[Array, "*clients"]
    """Mean negative log-likelihood under subnetwork `chunk`, which has never seen this chunk, nats; 0 for chunk 0."""


class Average(NamedTuple):
    """What the server makes of a round's replies."""

    delta: tuple[Array, ...]
    """K flat vectors: Σ n_c δ_c / Σ n_c over the clients that train the partition; zero if there was none."""
    hyper_grad: Any
    """The same mean of the gradients of ψ, over the clients of chunk >= 1."""
    contributed: Bool[Array, " K"]
    """Whether any client has trained the partition."""
    hyper_contributed: Bool[Array, ""]
    num_examples: Float[Array, " clients"]
    """The examples of each client; 0 for one whose reply was dropped."""
    dropped: Int[Array, ""]
    """Replies left out because something in them is not finite."""


class ServerState(NamedTuple):
    """Everything that the server keeps."""

    params: Any
    hyper: Any
    opt: tuple[Any, ...]
    """The server optimiser's state of each partition: one that nobody trained keeps its own, counters included."""
    hyper_opt: Any
    round: Int[Array, ""]


def client_update(
    loglik: Loglik,
    part: Partition,
    params: PyTree,
    hyper: PyTree,
    client: Clients,
    key: PRNGKeyArray,
    *,
    tx: optax.GradientTransformation,
    epochs: int = 1,
    batch_size: int | None = None,
    order: Order = "partition_major",
    unroll: int | bool = 1,
) -> ClientReply:
    """A client's part of a round: train partitions chunk..K-1 on its own data, and take the gradient of ψ.

    Partition j (0-based) is trained through subnetwork j+1 with everything before it held constant. The gradient of ψ
    is that of the mean negative log-likelihood under subnetwork `chunk`, which none of the client's chunk has trained.

    Args:
        loglik: log-density of each example, in nats.
        part: the partition, with known ids (close over it).
        params: w, as the server sent it.
        hyper: ψ.
        client: its data, weights and chunk. A chunk that is a Python int saves the work below it.
        key: noise. Step s of partition j uses fold_in(fold_in(key, j + 1), s), the gradient of ψ fold_in(key, 0).
        tx: local optimiser, begun anew in each round for each partition.
        epochs: E, how many times each partition goes through the data.
        batch_size: examples in a local step, drawn without replacement; None: all of them.
        order: "partition_major" finishes a partition before the next; "epoch_major" takes turns in every epoch.
        unroll: as in `jax.lax.scan`, over the local steps. True for convolutions on the CPU, where loops are slow.

    Returns:
        The `ClientReply`.

    Raises:
        TypeError: the model keeps running statistics (`Stateful`).
        ValueError: an unknown order.
    """
    n = client.weights.shape[0]
    size = n if batch_size is None else min(batch_size, n)
    per_epoch = n // size
    chunk = client.chunk

    def mean_nll(w: PyTree, batch: PyTree, weights: Array, noise: PRNGKeyArray, psi: PyTree) -> Array:
        values = loglik(w, psi, batch, noise)
        return -jnp.where(weights > 0, weights * values, 0).sum() / jnp.maximum(weights.sum(), 1)

    def train(j: int, w: PyTree, opt: PyTree, first: Any, count: int) -> tuple[PyTree, PyTree, Array]:
        """Local steps on partition j; all else of its subnetwork stays, so that the loop carries the subnetwork."""
        own = jax.random.fold_in(key, j + 1)
        mine = jax.tree.map(lambda ids: ids == j, part.ids)

        def step(carry: tuple[PyTree, PyTree], s: Array) -> tuple[tuple[PyTree, PyTree], Array]:
            view, opt = carry
            data, weights = client.data, client.weights
            if size < n:
                epoch, within = jnp.divmod(s, per_epoch)
                shuffled = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(own, 2**31 - 1), epoch), n)
                rows = jax.lax.dynamic_slice_in_dim(shuffled, within * size, size)
                data, weights = jax.tree.map(lambda leaf: leaf[rows], (data, weights))
            loss, gradient = jax.value_and_grad(mean_nll)(view, data, weights, jax.random.fold_in(own, s), hyper)
            moves, opt = tx.update(jax.tree.map(lambda on, g: jnp.where(on, g, 0), mine, gradient), opt, view)
            return (jax.tree.map(jnp.where, mine, optax.apply_updates(view, moves), view), opt), loss

        start = (subnetwork(w, part, j + 1), opt)
        (view, opt), losses = jax.lax.scan(step, start, first + jnp.arange(count), unroll=unroll)
        return jax.tree.map(lambda on, new, old: jnp.where(on & (j >= chunk), new, old), mine, view, w), opt, losses

    if not callable(loglik):
        raise TypeError(
            f"the federated layer takes a function loglik(params, hyper, batch, key), but got {type(loglik).__name__}; "
            "running statistics have no place on the wire: use group norm instead of batch norm"
        )
    if order not in get_args(Order):
        raise ValueError(f"order must be 'partition_major' or 'epoch_major', but is {order!r}")
    mine = [j for j in range(part.num) if not isinstance(chunk, int) or j >= chunk]
    w, opts = params, {j: tx.init(params) for j in mine}
    losses = jnp.zeros(part.num)
    if order == "partition_major":
        for j in mine:
            w, _, values = train(j, w, opts[j], 0, epochs * per_epoch)
            losses = losses.at[j].set(values.mean())
    else:

        def epoch(carry: tuple[PyTree, Any, Array], e: Array) -> tuple[tuple[PyTree, Any, Array], None]:
            w, opts, losses = carry
            for j in mine:
                w, opts[j], values = train(j, w, opts[j], e * per_epoch, per_epoch)
                losses = losses.at[j].add(values.mean() / epochs)
            return (w, opts, losses), None

        (w, _, losses), _ = jax.lax.scan(epoch, (w, opts, losses), jnp.arange(epochs), unroll=unroll)

    delta = tuple(after - before for after, before in zip(pack(w, part), pack(params, part), strict=True))
    later = jnp.asarray(chunk) >= 1
    seen = jax.lax.stop_gradient(subnetwork(params, part, chunk))
    noise = jax.random.fold_in(key, 0)
    oos, hyper_grad = jax.value_and_grad(lambda psi: mean_nll(seen, client.data, client.weights, noise, psi))(hyper)
    return ClientReply(
        delta,
        jax.tree.map(lambda leaf: jnp.where(later, leaf, 0), hyper_grad),
        client.weights.sum(),
        jnp.asarray(chunk, jnp.int32),
        jnp.where(jnp.arange(part.num) >= chunk, losses, 0),
        jnp.where(later, oos, 0),
    )


def aggregate(replies: ClientReply) -> Average:
    """Average the replies of a round, each partition over the clients that train it, by their numbers of examples.

    A reply with anything that is not finite is dropped and counted, not averaged.

    Args:
        replies: stacked replies, clients as first axis.
    """
    count = replies.chunk.shape[0]
    finite = jnp.ones(count, bool)
    for leaf in jax.tree.leaves((replies.delta, replies.hyper_grad)):
        finite &= jnp.isfinite(leaf).reshape(count, -1).all(axis=1)
    n = jnp.where(finite, replies.num_examples, 0)
    num = len(replies.delta)
    weights = [jnp.where(replies.chunk <= j, n, 0) for j in range(num)]
    hyper_weights = jnp.where(replies.chunk >= 1, n, 0)
    delta = tuple(weighted_mean(vectors, w) for vectors, w in zip(replies.delta, weights, strict=True))
    return Average(
        delta,
        weighted_mean(replies.hyper_grad, hyper_weights),
        jnp.stack([w.sum() > 0 for w in weights]),
        hyper_weights.sum() > 0,
        n,
        jnp.sum(~finite).astype(jnp.int32),
    )


def init_server(
    params: PyTree,
    hyper: PyTree,
    part: Partition,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
) -> ServerState:
    """The server before the first round; `tx` as in `make_round`."""
    params, hyper = jax.tree.map(jnp.array, (params, hyper))  # loops donate their state: the caller keeps these
    opt = tuple(tx.init(vector) for vector in pack(params, part))
    return ServerState(params, hyper, opt, hyper_tx.init(hyper), jnp.zeros((), jnp.int32))


def apply_average(
    state: ServerState,
    average: Average,
    part: Partition,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
) -> ServerState:
    """The server after a round: w_j + server_opt(Δ_j) for each partition, and ψ down its mean gradient.

    A partition (or ψ) to which no client contributed stays as it is, and its optimiser's state too.
    """
    vectors, opts = [], []
    for j, (vector, delta, opt) in enumerate(zip(pack(state.params, part), average.delta, state.opt, strict=True)):
        vector, opt = server_update(tx, vector, -delta, opt, average.contributed[j])
        vectors.append(vector)
        opts.append(opt)
    hyper, hyper_opt = server_update(
        hyper_tx, state.hyper, average.hyper_grad, state.hyper_opt, average.hyper_contributed
    )
    return ServerState(unpack(vectors, part, state.params), hyper, tuple(opts), hyper_opt, state.round + 1)


def upload_scalars(part: Partition, chunk: int | Int[Array, "..."], hyper: PyTree) -> Int[Array, "..."]:
    """How many numbers a client of that chunk sends: its partitions, and the gradient of ψ unless it is in chunk 0."""
    sent = jnp.cumsum(partition_sizes(part)[::-1])[::-1]
    chunk = jnp.asarray(chunk)
    return sent[chunk] + jnp.where(chunk >= 1, sum(leaf.size for leaf in jax.tree.leaves(hyper)), 0)


def make_round(
    loglik: Loglik,
    part: Partition,
    *,
    local_tx: optax.GradientTransformation,
    tx: optax.GradientTransformation,
    hyper_tx: optax.GradientTransformation,
    epochs: int = 1,
    batch_size: int | None = None,
    order: Order = "partition_major",
    unroll: int | bool = 1,
    mesh: Mesh | None = None,
) -> Callable[[ServerState, Clients, PRNGKeyArray], tuple[ServerState, dict[str, Array]]]:
    """A round of federated training as a step `(state, clients, key) -> (state, metrics)`.

    Args:
        loglik, part, epochs, batch_size, order, unroll: see `client_update`.
        local_tx: the clients' optimiser.
        tx: the server's optimiser of the weights, on the pseudo-gradient of each partition by itself:
            `offprint.core.federated.fedavg()`, `fedadam(...)`, ....
        hyper_tx: the server's optimiser of ψ, on the mean gradient: `optax.adam(0.02)`.
        mesh: devices to split the clients over.

    Returns:
        The step, to be jitted or given to `offprint.core.train.fit` with `ClientBatches`. Its metrics: `loss/1`...,
        the mean training loss of each partition; `oos`, the mean out-of-sample negative log-likelihood (both 0 in a
        round without contribution); `uploaded`, scalars sent by all clients together; `dropped` replies.
    """

    def work(shared: tuple[PyTree, PyTree], client: tuple[Clients, PRNGKeyArray]) -> ClientReply:
        (params, hyper), (data, key) = shared, client
        options: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "order": order, "unroll": unroll}
        return client_update(loglik, part, params, hyper, data, key, tx=local_tx, **options)

    def step(state: ServerState, clients: Clients, key: PRNGKeyArray) -> tuple[ServerState, dict[str, Array]]:
        keys = jax.random.split(key, clients.chunk.shape[0])
        replies = map_clients(work, (state.params, state.hyper), (clients, keys), mesh=mesh)
        average = aggregate(replies)
        n = average.num_examples
        metrics = {
            f"loss/{j + 1}": weighted_mean(replies.losses[:, j], jnp.where(replies.chunk <= j, n, 0))
            for j in range(part.num)
        }
        metrics["oos"] = weighted_mean(replies.oos, jnp.where(replies.chunk >= 1, n, 0))
        metrics["uploaded"] = upload_scalars(part, replies.chunk, state.hyper).sum()
        metrics["dropped"] = average.dropped
        return apply_average(state, average, part, tx, hyper_tx), metrics

    return step
