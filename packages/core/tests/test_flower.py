"""Pytrees as Flower's records, stable identities, and clients in this process."""

import jax.numpy as jnp
import numpy as np
import pytest

flwr_app = pytest.importorskip("flwr.app")

from flwr.clientapp import ClientApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402

from offprint.core.federated import client_group, weighted_mean  # noqa: E402
from offprint.core.flower import (  # noqa: E402
    LocalGrid,
    client_chunk,
    client_identity,
    from_record,
    named_arrays,
    to_record,
    tree_from,
)

TREE = {"table": np.arange(6.0).reshape(2, 3), "visits": [np.ones(2, np.int32), jnp.float32(0.5)]}


def context_of(**config):
    return flwr_app.Context(run_id=0, node_id=9, node_config=config, state=flwr_app.RecordDict(), run_config={})


def test_trees_survive_the_wire_bit_for_bit():
    arrays = from_record(to_record(named_arrays(TREE, "q/")))
    assert list(arrays) == ["q/table", "q/visits/0", "q/visits/1"]
    back = tree_from(arrays, TREE, "q/")
    np.testing.assert_array_equal(back["table"], TREE["table"])
    assert back["visits"][0].dtype == np.int32
    assert back["visits"][1] == 0.5
    with pytest.raises(ValueError, match="the record has no array 'other/table'; it has q/table"):
        tree_from(arrays, TREE, "other/")
    with pytest.raises(ValueError, match=r"array 'q/table' has shape \(2, 3\), but \(3,\) is expected"):
        tree_from(arrays, {"table": np.zeros(3)}, "q/")


def test_identities_are_configured_never_guessed():
    assert client_identity(context_of(**{"client-id": "ward-7"})) == "ward-7"
    assert client_identity(context_of(**{"partition-id": 3})) == "3"
    assert client_chunk(context_of(**{"chunk-id": 1}), (0.5, 0.5)) == 1
    shares = (0.5, 0.3, 0.2)
    assert client_chunk(context_of(**{"client-id": "a"}), shares, key="k") == client_group("a", shares, key="k")
    with pytest.raises(ValueError, match="the client has no stable identity: start its node with flower-supernode"):
        client_identity(context_of())
    with pytest.raises(ValueError, match=r"chunk-id must be an integer in 0..1, but is 2"):
        client_chunk(context_of(**{"chunk-id": 2}), (0.5, 0.5))


def adding_app():
    app = ClientApp()

    @app.train()
    def _train(message, context):
        c = int(context.node_config["partition-id"])
        if c == 3:
            raise RuntimeError("out of battery")
        arrays = {name: array + c for name, array in from_record(message.content["arrays"]).items()}
        metrics = flwr_app.MetricRecord({"num-examples": c + 1})
        content = flwr_app.RecordDict({"arrays": to_record(arrays), "metrics": metrics})
        return flwr_app.Message(content, reply_to=message)

    return app


def test_flowers_own_averaging_runs_in_this_process():
    grid = LocalGrid(adding_app(), [{"partition-id": c} for c in range(4)])
    strategy = FedAvg(fraction_evaluate=0.0)
    result = strategy.start(grid, to_record({"w": np.zeros(3)}), num_rounds=1)
    expected = weighted_mean(jnp.arange(3.0)[:, None] * jnp.ones(3), jnp.asarray([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(from_record(result.arrays)["w"], expected, rtol=1e-6)  # client 3 is left out
    assert grid.bytes_received > 3 * 3 * 8


def test_messages_are_pushed_and_pulled_once():
    grid = LocalGrid(adding_app(), [{"partition-id": 0}])
    content = flwr_app.RecordDict({"arrays": to_record({"w": np.ones(2)})})
    names = grid.push_messages([grid.create_message(content, "train", 1, "1") for _ in range(2)])
    assert len(set(names)) == 2
    assert [reply.has_error() for reply in grid.pull_messages(names)] == [False, False]
    assert list(grid.pull_messages(names)) == []
