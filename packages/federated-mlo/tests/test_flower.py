"""The learners under Flower: the same tables as `run`, bit for bit, and what happens to nodes that fail."""

import logging
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

flwr_app = pytest.importorskip("flwr.app")

from offprint.core.flower import LocalGrid, from_record, to_record  # noqa: E402
from offprint.federated_mlo._agents import EpsGreedy, Hysteretic, OptimisticMax  # noqa: E402
from offprint.federated_mlo._exploration import Linear  # noqa: E402
from offprint.federated_mlo._make import make_env  # noqa: E402
from offprint.federated_mlo._protocol import FRLConfig  # noqa: E402
from offprint.federated_mlo._run import run  # noqa: E402
from offprint.federated_mlo._server import fed_weighted_visits, fedavgm  # noqa: E402
from offprint.federated_mlo._topology import from_graph, named_graph  # noqa: E402
from offprint.federated_mlo.flower import FedVisitAvg, client_app, node_table, server_app  # noqa: E402

STEPS = 30
AGENT = Hysteretic(exploration=Linear(duration=STEPS // 2))
NODES = [{"bss": 2}, {"bss": 0}, {"partition-id": 1}]


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("flwr").setLevel(logging.ERROR)


def chain(**options):
    return make_env(from_graph(named_graph("chain", 3, 2)), **({"reward": "min"} | options))


def through_flower(env, params, agent, frl, steps=STEPS, nodes=NODES, seed=0, **options):
    """The run's results, the nodes' tables in the order of the BSSs, and the strategy."""
    app = client_app(env, agent, seed=seed, radio=options.pop("radio", None))
    grid = LocalGrid(app, nodes)
    strategy = FedVisitAvg(env, agent, frl, seed=seed)
    ended = []
    server = server_app(env, params, strategy, steps=steps, seed=seed, finished=ended.append, **options)
    server(grid, flwr_app.Context(run_id=0, node_id=0, node_config={}, state=flwr_app.RecordDict(), run_config={}))
    order = sorted(grid.contexts, key=lambda node: strategy.nodes[node])
    tables = np.stack([node_table(grid.contexts[node], env, agent, seed=seed) for node in order])
    return ended[0], tables, strategy


@pytest.mark.parametrize(
    ("options", "agent", "frl"),
    [
        ({}, AGENT, FRLConfig(K=4, mu=0.3, participation=0.67)),
        ({"obs": "occupancy", "reward": "neigh_min"}, AGENT, FRLConfig(K=4, mu=1.0, optimiser=fedavgm())),
        ({}, EpsGreedy(rule="sample_average"), FRLConfig(reward_every=3)),
        # Without optimisation, which the tests do without, a gated update is rounded as a whole or in two steps: a
        # learner that only compares has nothing to round.
        (
            {"order": "sequential", "reward": "own", "alive": np.array([True, True, False])},
            OptimisticMax(exploration=AGENT.exploration),
            FRLConfig(K=5, mu=0.5),
        ),
    ],
)
def test_the_same_tables_as_run_bit_for_bit(options, agent, frl):
    env, params = chain(**options)
    result, tables, strategy = through_flower(env, params, agent, frl, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = run(jax.random.key(3), env, params, agent, frl, STEPS, tail=1.0, record_every=1)
    np.testing.assert_array_equal(tables, history.tables)
    assert len(np.unique(tables)) > 4
    np.testing.assert_allclose(result.throughput.mean(axis=0), history.throughput, rtol=1e-12)
    np.testing.assert_array_equal((result.actions[..., None] == np.arange(3)).sum(axis=0), history.action_counts)
    if frl.mu > 0:
        np.testing.assert_array_equal(result.values, history.server)
        assert strategy.dropped == 0
    else:
        assert result.values is None


def test_radios_are_set_and_measured():
    env, params = chain()
    masks = {}

    def radio(context, mask):
        bss = int(context.node_config.get("bss", context.node_config.get("partition-id")))
        masks[bss] = mask
        if bss == 1 and len(calls) % 2:
            raise ConnectionError("no traffic")
        calls.append(bss)
        return 100.0 * mask.sum() + bss

    calls: list[int] = []
    result, tables, _ = through_flower(env, params, AGENT, FRLConfig(), steps=6, radio=radio, measured=True)
    assert set(masks) == {0, 1, 2}
    lost = np.isnan(result.throughput)
    assert lost[:, 1].any()
    assert not lost[:, [0, 2]].any()
    links = np.array([1, 1, 2])[result.actions]
    np.testing.assert_allclose(result.throughput[~lost], (100.0 * links + np.arange(3))[~lost])
    # The others' reward is the least of what has arrived; who did not answer learns nothing.
    least = np.nanmin(result.throughput, axis=1) / float(params.x_max)
    expected = np.zeros(3)
    for action, r, gone in zip(result.actions[:, 0], least, lost[:, 0]):
        assert not gone
        expected[action] += (0.1 if r > expected[action] else 0.01) * (r - expected[action])
    np.testing.assert_allclose(tables[0, 0], expected, rtol=1e-9)
    learned = [int((~lost[result.actions[:, 1] == a, 1]).sum()) for a in range(3)]
    assert [value != 0 for value in tables[1, 0]] == [count > 0 for count in learned]


def test_measurements_are_averaged_while_links_are_held():
    env, params = chain()
    calls = [0, 0, 0]

    def radio(context, mask):
        bss = int(context.node_config.get("bss", context.node_config.get("partition-id")))
        calls[bss] += 1
        if (bss, calls[bss]) == (1, 4):
            raise ConnectionError("no traffic")
        return 100.0 * calls[bss] + bss

    frl = FRLConfig(reward_every=3)
    result, tables, _ = through_flower(env, params, AGENT, frl, steps=6, radio=radio, measured=True)
    held = result.actions.reshape(2, 3, 3)
    np.testing.assert_array_equal(held, np.repeat(held[:, :1], 3, axis=1))
    # Means of calls 1-3 and 4-6; in the second BSS 1 has missed one, so that the least is that of BSS 0.
    first, second = 200 / float(params.x_max), 500 / float(params.x_max)
    expected = np.zeros((3, 3))
    for action, r, learns in zip(held[:, 0], (first, second), ((0, 1, 2), (0, 2))):
        for bss in learns:
            q = expected[bss, action[bss]]
            expected[bss, action[bss]] += (0.1 if r > q else 0.01) * (r - q)
    np.testing.assert_allclose(np.asarray(tables)[:, 0], expected, rtol=1e-9)


def reply(node, content):
    message = flwr_app.Message(flwr_app.RecordDict(), dst_node_id=node, message_type="train")
    return flwr_app.Message(content, reply_to=message)


def test_the_strategy_weights_by_visits_and_drops_what_does_not_fit(caplog):
    env, _ = chain()
    LocalGrid(client_app(env, AGENT), NODES)  # so that messages can be made
    strategy = FedVisitAvg(env, AGENT, FRLConfig(mu=1.0))
    strategy.nodes = {5: 0, 6: 1, 7: 2}
    rng = np.random.default_rng(0)
    tables, visits = rng.normal(size=(3, 1, 3)), np.array([[[1.0, 0, 4]], [[3, 0, 0]], [[2, 0, 1]]])

    def content(b, table):
        metrics = flwr_app.MetricRecord({"num-examples": 1})
        return flwr_app.RecordDict(
            {"arrays": to_record({"table/": table}), "visits": to_record({"visits": visits[b]}), "metrics": metrics}
        )

    arrays, metrics = strategy.aggregate_train(1, [reply(5 + b, content(b, tables[b])) for b in range(3)])
    expected = fed_weighted_visits(tables, visits, np.zeros((1, 3)))
    np.testing.assert_allclose(from_record(arrays)["table/"], expected, rtol=1e-12)
    assert (metrics["clients"], metrics["dropped"]) == (3, 0)

    bad = [content(0, tables[0]), content(1, np.zeros((1, 7))), content(2, np.full((1, 3), np.nan))]
    with caplog.at_level(logging.WARNING, logger="offprint"):
        arrays, metrics = strategy.aggregate_train(2, [reply(5 + b, bad[b]) for b in range(3)])
    assert "node 6 dropped: array 'table/' has shape (1, 7), but (1, 3) is expected" in caplog.text
    assert "node 7 dropped: it is not finite" in caplog.text
    assert (metrics["clients"], metrics["dropped"], strategy.dropped) == (1, 2, 2)
    np.testing.assert_allclose(from_record(arrays)["table/"], np.where(visits[0] > 0, tables[0], expected), rtol=1e-12)

    arrays, metrics = strategy.aggregate_train(3, [])
    assert arrays is None
    np.testing.assert_allclose(strategy.values, np.where(visits[0] > 0, tables[0], expected), rtol=1e-12)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"bss": 0}, {"bss": 1}], "one node for each of the BSSs 0..2 is needed, but 2 nodes are BSSs [0, 1]"),
        ([{"bss": 0}, {"bss": 1}, {}], "but 3 nodes are BSSs [0, 1]"),
        ([{"bss": 0}, {"bss": 1}, {"bss": 1}], "but 3 nodes are BSSs [0, 1, 1]"),
        ([{"bss": 0}, {"bss": 1}, {"bss": "roof"}], "but 3 nodes are BSSs [0, 1]"),
    ],
)
def test_every_bss_is_one_node(nodes, message, caplog):
    env, params = chain()
    with caplog.at_level(logging.WARNING, logger="offprint"), pytest.raises(ValueError, match=re.escape(message)):
        through_flower(env, params, AGENT, FRLConfig(), nodes=nodes)
    if {} in nodes:
        assert "start flower-supernode with --node-config 'bss=0'" in caplog.text
    if nodes[-1] == {"bss": "roof"}:
        assert "bss must be an integer in 0..2, but is 'roof'" in caplog.text


def test_bad_input():
    env, params = chain()
    strategy = FedVisitAvg(env, AGENT)
    with pytest.raises(ValueError, match="steps = 0: at least 1"):
        server_app(env, params, strategy, steps=0)
    with pytest.raises(ValueError, match="measured throughputs come without observations"):
        server_app(*chain(obs="occupancy"), strategy, steps=1, measured=True)
    with pytest.raises(ValueError, match="use its own mods"):
        FedVisitAvg(env, AGENT, FRLConfig(mu=0.1, bits=8))
    context = flwr_app.Context(
        run_id=0,
        node_id=1,
        node_config={"bss": 0},
        state=flwr_app.RecordDict({"mlo": to_record({"obs": jnp.zeros(3)})}),
        run_config={},
    )
    with pytest.raises(ValueError, match="the record has no array 'agent/q'"):
        node_table(context, env, AGENT)
