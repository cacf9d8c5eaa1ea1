"""The federated layer under Flower: the same numbers as the pure rounds, and bad replies dropped."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_federated import golden_servers, golden_setup, loglik, masked_loglik
from test_partition import mlp

flwr_app = pytest.importorskip("flwr.app")

from offprint.core.federated import fedavg  # noqa: E402
from offprint.core.flower import LocalGrid, from_record, to_record  # noqa: E402
from offprint.network_partitioning._partition import pack, partition, partition_sizes, whole  # noqa: E402
from offprint.network_partitioning._upload import upload_fraction  # noqa: E402
from offprint.network_partitioning.flower import (  # noqa: E402
    PartitionedStrategy,
    arrays_of,
    client_app,
    client_key,
    params_of,
    server_app,
)

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("flwr").setLevel(logging.ERROR)


def golden_data(data):
    """`load_data` for the golden clients; their noise depends on the round, 1 or 2, which the clients count here."""
    rounds = [0] * 5

    def load(context):
        c = int(context.node_config["partition-id"])
        t, n = rounds[c], int(data["n"][c])
        rounds[c] = 1 - t
        noise = {f"u{i}": np.broadcast_to(data["u"][t, c, i], (n, *data["u"].shape[3:])) for i in (0, 1)}
        key = np.asarray(jax.random.key_data(jax.random.fold_in(client_key(0, t + 1, f"{c}"), 0)))
        return {"x": data[f"x_{c}"], "y": data[f"y_{c}"], "key": np.broadcast_to(key, (n, *key.shape)), **noise}

    return load


def golden_nodes(data):
    return [{"partition-id": c, "chunk-id": int(data["chunk"][c])} for c in range(5)]


@pytest.fixture(scope="module")
def golden_app(golden):
    data = golden("federated")
    params, part, phi = golden_setup(data)
    model, settings = masked_loglik(float(data["tau"])), {"epochs": int(data["local_epochs"])}
    shares, local_tx = (0.6, 0.2, 0.2), optax.sgd(float(data["lr"]))
    return client_app(model, part, params, phi, golden_data(data), proportions=shares, tx=local_tx, **settings)


@pytest.mark.parametrize("server", ["fedavg", "fedadam"])
def test_golden_rounds_through_the_strategy(golden, golden_app, server):
    data = golden("federated")
    params, part, phi = golden_setup(data)
    tx, hyper_tx = golden_servers(data)[server], optax.sgd(float(data["lr_hyper"]))
    strategy = PartitionedStrategy(params, phi, part, tx=tx, hyper_tx=hyper_tx, fraction_evaluate=0.0)
    grid = LocalGrid(golden_app, golden_nodes(data))
    result = strategy.start(grid, strategy.initial_arrays(), num_rounds=2)
    weights, psi = params_of(result.arrays, params, phi, part)
    for i in range(4):
        np.testing.assert_allclose(weights[i], data[f"{server}/partition_major/param_r1_{i}"], atol=1e-10, rtol=0)
    np.testing.assert_allclose(psi, data[f"{server}/partition_major/phi_r1"], atol=1e-10, rtol=0)
    metrics = result.train_metrics_clientapp[2]
    assert (metrics["clients"], metrics["dropped"]) == (5, 0)
    arrays = sum(part.num - int(q) + int(q > 0) for q in data["chunk"])
    framing = 128 + len("partition/0")  # Flower sends numpy's header and a name with every array
    assert metrics["bytes"] - framing * arrays == 8 * data["upload_scalars"].sum()
    assert grid.bytes_received == 2 * metrics["bytes"]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=shape)) for shape in [(3, 20), (20,), (20, 4), (4,)]]
    data = [(rng.normal(size=(6, 3)), rng.integers(0, 4, 6)) for _ in range(8)]
    return params, jnp.ones(3), partition(params, (0.7, 0.2, 0.1), key=KEY), data


def app_of(problem, **options):
    params, hyper, part, data = problem

    def load(context):
        return data[int(context.node_config["client-id"])]

    settings = {"proportions": (0.7, 0.2, 0.1), "tx": optax.sgd(0.1)} | options
    return client_app(loglik, part, params, hyper, load, **settings)


def strategy_of(problem, **options):
    params, hyper, part, _ = problem
    options = {"tx": fedavg(), "hyper_tx": optax.sgd(0.1), "fraction_evaluate": 0.0} | options
    return PartitionedStrategy(params, hyper, part, **options)


NODES = [{"client-id": str(c), "chunk-id": q} for c, q in enumerate([0, 0, 0, 0, 1, 1, 2, 0])]


def test_arrays_are_vectors_by_partition(problem):
    params, hyper, part, _ = problem
    record = arrays_of(params, {"mask": hyper}, part)
    assert list(record) == ["partition/0", "partition/1", "partition/2", "hyper/mask"]
    assert [array.shape[0] for array in from_record(record).values()] == [*partition_sizes(part).tolist(), 3]
    weights, psi = params_of(record, params, {"mask": hyper}, part)
    for mine, other in zip(jax.tree.leaves((weights, psi)), jax.tree.leaves((params, {"mask": hyper})), strict=True):
        np.testing.assert_array_equal(mine, other)
    del record["partition/1"]
    with pytest.raises(ValueError, match="the record has no array 'partition/1'"):
        params_of(record, params, {"mask": hyper}, part)
    with pytest.raises(ValueError, match=r"array 'partition/0' has shape \(\d+,\), but \(164,\) is expected"):
        params_of(record, params, {"mask": hyper}, whole(params))


def test_an_app_runs_samples_by_chunk_and_evaluates(problem):
    data = problem[3]
    strategy = strategy_of(problem, fraction_train=0.5, fraction_evaluate=1.0)
    seen, ended = [], []

    def evaluate(weights, psi):
        seen.append(weights)
        return {"norm": float(sum(jnp.sum(w**2) for w in weights))}

    app = server_app(
        strategy, num_rounds=3, evaluate=evaluate, finished=lambda state, result: ended.append((state, result))
    )
    context = flwr_app.Context(run_id=0, node_id=0, node_config={}, state=flwr_app.RecordDict(), run_config={})
    app(LocalGrid(app_of(problem), NODES), context)
    ((state, result),) = ended
    assert len(seen) == 4
    assert int(state.round) == 3
    assert [result.train_metrics_clientapp[t]["clients"] for t in (1, 2, 3)] == [4, 4, 4]
    assert all("oos" in result.train_metrics_clientapp[t] for t in (1, 2, 3))  # each chunk was there
    pooled = [np.concatenate(arrays) for arrays in zip(*data)]
    nll = -jax.nn.log_softmax(mlp(state.params, pooled[0] * state.hyper))[np.arange(48), pooled[1]].mean()
    np.testing.assert_allclose(result.evaluate_metrics_clientapp[3]["nll"], nll, rtol=1e-12)


def test_chunks_come_from_a_stable_hash_if_not_configured(problem):
    nodes = [{"client-id": str(c)} for c in range(8)]
    first, again = strategy_of(problem), strategy_of(problem, min_train_nodes=8)
    for strategy, order in ((first, nodes), (again, nodes[::-1])):
        strategy.start(LocalGrid(app_of(problem), order), strategy.initial_arrays(), num_rounds=1)
    assert [first.chunks[c + 1] for c in range(8)] == [again.chunks[8 - c] for c in range(8)]
    with pytest.raises(ValueError, match="none of 2 nodes has told its chunk"):
        first.__class__.start(
            strategy_of(problem), LocalGrid(app_of(problem), [{}, {}]), first.initial_arrays(), num_rounds=1
        )


def content_of(problem, chunk, **changes):
    """The records of a reply from a client of that chunk."""
    _, hyper, part, _ = problem
    sizes = partition_sizes(part).tolist()
    arrays = {f"partition/{j}": np.zeros(sizes[j]) for j in range(chunk, 3)}
    arrays |= {"hyper_grad/": np.zeros(hyper.shape)} if chunk else {}
    arrays |= {name: value for name, value in changes.items() if "/" in name}
    metrics = {"num-examples": changes.get("examples", 6), "chunk": changes.get("reported", chunk)}
    return flwr_app.RecordDict({"arrays": to_record(arrays), "metrics": flwr_app.MetricRecord(metrics)})


@pytest.mark.parametrize(
    ("chunk", "changes", "reason"),
    [
        (1, {"examples": 0}, "it has 0 examples"),
        (1, {"reported": 3}, "its chunk is 3, but chunks are 0..2"),
        (2, {}, "its chunk is now 2, but was 1"),
        (1, {"partition/2": np.zeros(5)}, r"partition/2 has shape \(5,\), but \(\d+,\) is expected"),
        (1, {"partition/0": np.zeros(5)}, r"it has arrays \['hyper_grad/', 'partition/0'"),
        (1, {"hyper_grad/": np.full(3, np.nan)}, "hyper_grad/ is not finite"),
    ],
)
def test_replies_that_cannot_be_averaged(problem, chunk, changes, reason):
    strategy = strategy_of(problem)
    strategy.chunks[7] = 1
    refusal = strategy.refusal(7, content_of(problem, chunk, **changes))
    assert refusal is not None
    assert re.search(reason, refusal)
    assert strategy.refusal(7, content_of(problem, 1)) is None
    assert strategy.refusal(7, flwr_app.RecordDict()) == "it lacks arrays or metrics"


def test_refused_replies_are_dropped_and_counted(problem, caplog):
    params, hyper, part, data = problem
    broken = [(np.full_like(x, np.nan) if c == 4 else x, y) for c, (x, y) in enumerate(data)]
    strategy = strategy_of(problem, fraction_train=1.0)
    with caplog.at_level(logging.WARNING, logger="offprint"):
        app = app_of((params, hyper, part, broken))
        result = strategy.start(LocalGrid(app, NODES), strategy.initial_arrays(), num_rounds=1)
    assert strategy.dropped == 1
    assert "round 1: reply of node 5 dropped: partition/1 is not finite" in caplog.text
    assert result.train_metrics_clientapp[1]["clients"] == 7
    assert all(np.isfinite(array).all() for array in from_record(result.arrays).values())


def test_a_run_in_which_nothing_is_out_of_sample_stops(problem):
    nodes = [{"client-id": str(c), "chunk-id": 0} for c in range(4)]
    strategy = strategy_of(problem, patience=2)
    before = pack(strategy.state.params, strategy.part)
    grid = LocalGrid(app_of(problem), nodes)
    with pytest.raises(ValueError, match="contributed in 2 rounds: ψ is not being trained"):
        strategy.start(grid, strategy.initial_arrays(), num_rounds=5)
    assert all(bool((a != b).any()) for a, b in zip(before, pack(strategy.state.params, strategy.part)))


def test_bad_chunks_of_nodes_are_reported(problem, caplog):
    nodes = [{"client-id": str(c), "chunk-id": q} for c, q in enumerate([0, 1, 5])]
    strategy = strategy_of(problem)
    with caplog.at_level(logging.WARNING, logger="offprint"):
        strategy.start(LocalGrid(app_of(problem), nodes), strategy.initial_arrays(), num_rounds=1)
    assert "node 3 has not told its chunk: ValueError: chunk-id must be an integer in 0..2, but is 5" in caplog.text
    assert strategy.chunks == {1: 0, 2: 1}


def test_bytes_on_the_wire_are_the_upload_fraction():
    shares = (0.7, 0.2, 0.1)
    params = {"w": jnp.ones((10, 100))}
    part = partition(params, shares, key=KEY)
    rows = (np.ones((2, 10)), np.zeros(2, int))

    def linear(weights, hyper, batch, key):
        return jax.nn.log_softmax(batch[0] @ weights["w"])[jnp.arange(2), batch[1]]

    app = client_app(linear, part, params, {}, lambda context: rows, proportions=shares, tx=optax.sgd(0.1))
    nodes = [{"chunk-id": q} for q in [0] * 7 + [1] * 2 + [2]]
    strategy = PartitionedStrategy(params, {}, part, tx=fedavg(), hyper_tx=optax.sgd(0.1), fraction_evaluate=0.0)
    result = strategy.start(LocalGrid(app, nodes), strategy.initial_arrays(), num_rounds=1)
    framing = (128 + len("partition/0")) * (7 * 3 + 2 * 2 + 1)
    numbers = result.train_metrics_clientapp[1]["bytes"] - framing
    assert abs(numbers / (10 * 8 * 1000) - upload_fraction(shares, shares)) < 1e-12
