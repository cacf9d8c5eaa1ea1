"""Server rules: golden arrays, invariances, clients that are missing, privacy and quantisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.federated_mlo import _server as server
from offprint.federated_mlo._protocol import FRLConfig, federate, server_init

RULES = ("mean", "weighted", "weighted_visits", "median", "trimmed", "krum")


@pytest.fixture(scope="module")
def arrays():
    with np.load(f"{__file__.rsplit('/', 1)[0]}/golden/fedavg.npz") as loaded:
        return dict(loaded)


def test_golden(arrays):
    q, old = arrays["Q"], arrays["Q_global"]
    found = {
        "mean": server.fed_mean(q),
        "weighted_examples": server.fed_weighted(q, arrays["examples"]),
        "weighted_visits": server.fed_weighted_visits(q, arrays["visits"], old),
        "median": server.fed_median(q),
        "trimmed20": server.fed_trimmed(q, 0.2),
        "partial_weighted": server.fed_weighted(q, arrays["examples"], arrays["participate"] != 0),
        "mix_0p3": server.mix(old, server.fed_mean(q), 0.3),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, arrays[name], atol=1e-12, err_msg=name)


def test_golden_momentum(arrays):
    optimiser = server.fedavgm()
    values, state = jnp.asarray(arrays["Q_global"]), None
    state = optimiser.init(values)
    for q, expected in zip((arrays["Q"], arrays["Q2"]), arrays["fedavgm_rounds"]):
        values, state = optimiser.step(values, server.fed_mean(q), state)
        np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_mean_of_equal_tables_is_the_table(arrays, rule):
    q = np.broadcast_to(arrays["Q"][:1], arrays["Q"].shape)
    frl = FRLConfig(mu=1.0, aggregate=rule)
    start = server_init(frl, jnp.asarray(q))
    after, _, present = jax.jit(federate)(jax.random.key(0), frl, start, jnp.asarray(q), jnp.ones(q.shape))
    np.testing.assert_allclose(after, q, atol=1e-12)
    assert bool(present.all())


def test_weights_have_no_scale(arrays):
    q, visits, old = arrays["Q"], arrays["visits"], arrays["Q_global"]
    np.testing.assert_allclose(
        server.fed_weighted_visits(q, 7 * visits, old), server.fed_weighted_visits(q, visits, old), atol=1e-12
    )
    np.testing.assert_allclose(
        server.fed_weighted(q, 3 * arrays["examples"]), server.fed_weighted(q, arrays["examples"]), atol=1e-12
    )


def test_cells_that_nobody_visited_keep_the_old_value(arrays):
    visits = np.zeros_like(arrays["visits"])
    visits[0, 0, 0] = 2
    new = server.fed_weighted_visits(arrays["Q"], visits, arrays["Q_global"])
    expected = arrays["Q_global"].copy()
    expected[0, 0] = arrays["Q"][0, 0, 0]
    np.testing.assert_allclose(new, expected, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_without_clients_nothing_moves(arrays, rule):
    q = jnp.asarray(arrays["Q"])
    frl = FRLConfig(mu=1.0, aggregate=rule, dropout=1.0, optimiser=server.fedavgm() if rule == "mean" else None)
    start = server_init(frl, q)._replace(values=jnp.asarray(arrays["Q_global"]))
    after, state, present = jax.jit(federate)(jax.random.key(0), frl, start, q, jnp.asarray(arrays["visits"]))
    assert not bool(present.any())
    np.testing.assert_array_equal(after, q)
    np.testing.assert_array_equal(state.values, start.values)


def test_participation_takes_that_many():
    for share, expected in ((1.0, 10), (0.5, 5), (0.24, 2), (0.0, 1)):
        counts = [int(server.take_part(jax.random.key(i), 10, share).sum()) for i in range(3)]
        assert counts == [expected] * 3
    lost = np.mean([np.mean(~server.take_part(jax.random.key(i), 200, 1.0, 0.3)) for i in range(5)])
    assert lost == pytest.approx(0.3, abs=0.06)


def test_stale_clients_send_what_they_sent_before():
    q = jnp.arange(6.0).reshape(3, 1, 2)
    frl = FRLConfig(mu=1.0, aggregate="mean", stale=1.0)
    start = server_init(frl, q)
    _, state, _ = federate(jax.random.key(0), frl, start, q + 100, jnp.ones(q.shape))
    np.testing.assert_allclose(state.values, q.mean(0))
    np.testing.assert_allclose(state.sent, q + 100)


def test_clipping_bounds_the_change_of_each_client(arrays):
    q, old = jnp.asarray(arrays["Q"]) * 100, jnp.asarray(arrays["Q_global"])
    sent = server.privatised(jax.random.key(0), q, old, 0.5, 0.0)
    norms = jnp.sqrt(jnp.sum((sent - old) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(norms, 0.5, rtol=1e-9)
    noisy = server.privatised(jax.random.key(0), jnp.broadcast_to(old, (400, 9, 3)), old, 0.5, 2.0)
    assert float(jnp.std(noisy - old)) == pytest.approx(1.0, rel=0.03)


def test_quantised_to_eight_bits(arrays):
    q = jnp.asarray(arrays["Q"])
    error = jnp.abs(server.quantised(q) - q).max(axis=(1, 2))
    width = (q.max(axis=(1, 2)) - q.min(axis=(1, 2))) / 255
    assert bool(jnp.all(error <= width / 2 * (1 + 1e-9)))
    assert bool(jnp.all(error > 0))


def test_any_optax_optimiser_serves():
    old, mean = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
    optimiser = server.FedOpt(optax.sgd(0.5))
    np.testing.assert_allclose(optimiser.step(old, mean, optimiser.init(old))[0], [1.5, 3.0])
    adam = server.fedadam(0.1)
    moved, _ = adam.step(old, mean, adam.init(old))
    assert bool(jnp.all(moved > old))


def test_tables_of_different_shapes():
    with pytest.raises(
        ValueError, match=r"client 1 sent tables of shapes \[\(1, 7\)\] where client 0 sent \[\(1, 3\)\]"
    ):
        server.stack_clients([jnp.zeros((1, 3)), jnp.zeros((1, 7))])
    assert server.stack_clients([{"q": jnp.zeros(2)}, {"q": jnp.ones(2)}])["q"].shape == (2, 2)
