"""What packages need to run their clients under Flower (`pip install "offprint-core[flower]"`).

Pytrees to and from Flower's records, a client's stable identity, and a grid that runs the clients in this process.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from jaxtyping import PyTree

from offprint.core.federated import client_group


def named_arrays(tree: PyTree, prefix: str = "") -> dict[str, np.ndarray]:
    """The leaves of a pytree by their paths, such as `hidden/kernel`, each with `prefix` before it."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {prefix + jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in paths}


def to_record(arrays: Mapping[str, Any]) -> ArrayRecord:
    """Arrays by name as an `ArrayRecord`; no pickle."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> dict[str, np.ndarray]:
    """The arrays of a record by name."""
    return {name: array.numpy() for name, array in record.items()}


def tree_from(arrays: Mapping[str, np.ndarray], like: PyTree, prefix: str = "") -> PyTree:
    """The pytree that `named_arrays` has taken apart.

    Args:
        arrays: arrays by name; others than the tree's are ignored.
        like: pytree with the structure and the shapes to expect.
        prefix: what stands before the paths.

    Raises:
        ValueError: an array is missing or has another shape; it is named.
    """
    leaves = []
    for name, expected in named_arrays(like, prefix).items():
        if name not in arrays:
            raise ValueError(f"the record has no array {name!r}; it has {', '.join(arrays)}")
        if arrays[name].shape != expected.shape:
            raise ValueError(f"array {name!r} has shape {arrays[name].shape}, but {expected.shape} is expected")
        leaves.append(arrays[name])
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def client_identity(context: Context) -> str:
    """What stays the same about a client when it reconnects: `client-id` in its node's configuration.

    In a simulation, `partition-id`, which names the client's part of the data, serves as well.

    Raises:
        ValueError: neither is configured. The id that Flower gives to a node is another at every connection.
    """
    for name in ("client-id", "partition-id"):
        if name in context.node_config:
            return f"{context.node_config[name]}"
    raise ValueError(
        "the client has no stable identity: start its node with flower-supernode --node-config 'client-id=\"NAME\"'"
    )


def client_chunk(context: Context, proportions: Sequence[float | int], *, key: str = "") -> int:
    """The group of a client: `chunk-id` in its node's configuration, else by its identity (`client_group`).

    Raises:
        ValueError: a `chunk-id` that isn't one of the groups; a client without identity.
    """
    given = context.node_config.get("chunk-id")
    if given is None:
        return client_group(client_identity(context), proportions, key=key)
    if not isinstance(given, int) or not 0 <= given < len(proportions):
        raise ValueError(f"chunk-id must be an integer in 0..{len(proportions) - 1}, but is {given!r}")
    return given


class LocalGrid(Grid):
    """A grid whose nodes are calls in this process: for tests, for debugging, without network and without Ray.

    Args:
        app: the clients' app.
        node_configs: the configuration of every node; nodes are numbered from 1.
    """

    def __init__(self, app: ClientApp, node_configs: Sequence[Mapping[str, Any]]):
        from flwr.supercore.task_identity import TaskIdentity

        # Messages can be made only where a task runs; Flower has no public way to say that this process is one.
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 0, 0, 0
        self.app = app
        self.contexts = {
            node: Context(run_id=0, node_id=node, node_config=dict(config), state=RecordDict(), run_config={})
            for node, config in enumerate(node_configs, start=1)
        }
        self.bytes_received = 0
        """Bytes of arrays in all replies so far."""
        self._replies: dict[str, Message] = {}
        self._numbers = itertools.count()

    def set_run(self, run: Any) -> None:
        """There is one run."""

    @property
    def run(self) -> Any:
        """There is no information on it."""
        raise NotImplementedError("a LocalGrid has no run information")

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | int | None = None
    ) -> Message:
        """A message to a node."""
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """1, 2, ..."""
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the nodes work; the replies wait to be pulled."""
        pushed = []
        for reply in self.send_and_receive(messages):
            pushed.append(f"{next(self._numbers)}")
            self._replies[pushed[-1]] = reply
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to pushed messages, once."""
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | int | None = None) -> Iterable[Message]:
        """The replies of the nodes, one after another; a node that raises replies with the error."""
        replies = []
        for message in messages:
            context = self.contexts[message.metadata.dst_node_id]
            try:
                reply = self.app(message, context)
                self.bytes_received += sum(record.count_bytes() for record in reply.content.array_records.values())
            except Exception as error:
                reply = Message(Error(code=0, reason=f"{type(error).__name__}: {error}"), reply_to=message)
            replies.append(reply)
        return replies
