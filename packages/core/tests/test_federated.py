"""Federated averaging: means, robust means, server optimisers, clients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.core.federated import (
    client_group,
    coordinate_median,
    fedadagrad,
    fedadam,
    fedavg,
    fedavgm,
    fedyogi,
    krum,
    map_clients,
    num_bytes,
    quantised,
    sample_clients,
    server_update,
    trimmed_mean,
    weighted_mean,
)

RNG = np.random.default_rng(0)
SHAPES = {"w": (7, 3, 2), "b": (7, 4)}
STACKED = {name: jnp.asarray(RNG.normal(size=shape), jnp.float32) for name, shape in SHAPES.items()}
OLD = {"w": jnp.ones((3, 2)), "b": jnp.full(4, 2.0)}


def close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def test_means_are_weighted_by_client():
    n = jnp.asarray([1, 2, 3, 4, 5, 6, 0])
    expected = jax.tree.map(lambda leaf: np.average(leaf, axis=0, weights=n), STACKED)
    close(weighted_mean(STACKED, n), expected)
    close(jax.jit(weighted_mean)(STACKED, 10 * n), expected)
    with_nan = jax.tree.map(lambda leaf: leaf.at[6].set(jnp.nan), STACKED)
    close(weighted_mean(with_nan, n), expected)
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (7, *leaf.shape)), OLD)
    close(weighted_mean(same, n), OLD)


def test_cells_without_weight_keep_the_old_value():
    visits = {"w": jnp.asarray(RNG.integers(0, 3, (7, 3, 2))).at[:, 1, 1].set(0), "b": jnp.zeros(7)}
    mean = weighted_mean(STACKED, visits, OLD)
    assert float(mean["w"][1, 1]) == 1.0
    close(mean["b"], OLD["b"])
    for cell in [(0, 0), (2, 1)]:
        expected = np.average(STACKED["w"][(slice(None), *cell)], weights=visits["w"][(slice(None), *cell)])
        np.testing.assert_allclose(mean["w"][cell], expected, rtol=1e-5)
    close(weighted_mean(STACKED, jnp.zeros(7), OLD), OLD)
    close(weighted_mean(STACKED, jnp.zeros(7)), jax.tree.map(jnp.zeros_like, OLD))


def test_medians_and_trimmed_means_leave_out_the_absent():
    present = jnp.asarray([True, True, False, True, True, True, False])
    here = jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(present)], STACKED)
    close(coordinate_median(STACKED), jax.tree.map(lambda leaf: np.median(leaf, axis=0), STACKED))
    close(jax.jit(coordinate_median)(STACKED, present), jax.tree.map(lambda leaf: np.median(leaf, axis=0), here))
    close(
        trimmed_mean(STACKED, 0.3),
        jax.tree.map(lambda leaf: np.sort(np.asarray(leaf), axis=0)[2:-2].mean(axis=0), STACKED),
    )
    close(
        trimmed_mean(STACKED, 0.2, present), jax.tree.map(lambda leaf: np.sort(leaf, axis=0)[1:-1].mean(axis=0), here)
    )
    close(trimmed_mean(STACKED, 0), weighted_mean(STACKED, jnp.ones(7)))
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 0.5\), what is cut off at each end, but is 0.5"):
        trimmed_mean(STACKED, 0.5)


def krum_scores(rows, f):
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)
    return np.sort(distances, axis=1)[:, 1 : len(rows) - f - 1].sum(axis=1)


def test_numpy_arrays_are_taken_too():
    """As they arrive from the network."""
    sent, old = (jax.tree.map(np.asarray, values) for values in (STACKED, OLD))
    n = np.arange(7)
    close(weighted_mean(sent, n, old), weighted_mean(STACKED, n, OLD))
    close(weighted_mean(sent, jax.tree.map(np.ones_like, sent)), weighted_mean(STACKED, jnp.ones(7)))
    for combine in (coordinate_median, trimmed_mean, lambda values: krum(values, 1), quantised):
        close(combine(sent), combine(STACKED))


def test_krum_takes_who_is_closest_to_the_others():
    honest = jnp.asarray(RNG.normal(size=(6, 5)), jnp.float32)
    stacked = jnp.concatenate([honest, 100 + honest[:2]])
    scores = krum_scores(np.asarray(stacked), 2)
    close(krum(stacked, 2), stacked[np.argmin(scores)])
    close(jax.jit(lambda x: krum(x, 2, 3))(stacked), stacked[np.argsort(scores)[:3]].mean(axis=0))
    present = jnp.asarray([True, False, True, True, True, True, True, False])
    among = np.asarray(stacked)[np.asarray(present)]
    close(krum(stacked, 1, present=present), among[np.argmin(krum_scores(among, 1))])
    with pytest.raises(ValueError, match=r"krum needs f \+ 3 clients, but there are 8 with f = 6"):
        krum(stacked, 6)
    with pytest.raises(ValueError, match=r"num_selected must be in 1..8, but is 0"):
        krum(stacked, 2, 0)


def three_rounds(tx):
    values, state = jnp.asarray([1.0, -2.0]), tx.init(jnp.zeros(2))
    for gradient in ([0.5, -1.0], [0.25, 2.0], [-1.0, 0.0]):
        values, state = jax.jit(lambda v, g, s: server_update(tx, v, g, s))(values, jnp.asarray(gradient), state)
    return values


@pytest.mark.parametrize("kind", ["adam", "adam corrected", "yogi", "adagrad"])
def test_adaptive_servers_follow_their_recursion(kind):
    eta, b1, b2, tau = 0.1, 0.8, 0.95, 1e-2
    m = v = np.zeros(2)
    values = np.asarray([1.0, -2.0])
    for t, g in enumerate(np.asarray([[0.5, -1.0], [0.25, 2.0], [-1.0, 0.0]]), start=1):
        m = b1 * m + (1 - b1) * g
        if kind == "yogi":
            v = v - (1 - b2) * g**2 * np.sign(v - g**2)
        else:
            v = v + g**2 if kind == "adagrad" else b2 * v + (1 - b2) * g**2
        rate = eta * np.sqrt(1 - b2**t) / (1 - b1**t) if kind == "adam corrected" else eta
        values = values - rate * m / (np.sqrt(v) + tau)
    tx = {
        "adam": fedadam(eta, b1, b2, tau),
        "adam corrected": fedadam(eta, b1, b2, tau, bias_correction=True),
        "yogi": fedyogi(eta, b1, b2, tau),
        "adagrad": fedadagrad(eta, b1, tau),
    }[kind]
    np.testing.assert_allclose(three_rounds(tx), values, rtol=1e-5)


def test_plain_and_momentum_servers():
    np.testing.assert_allclose(three_rounds(fedavg()), [1.0 + 0.25, -2.0 - 1.0], rtol=1e-6)
    np.testing.assert_allclose(
        three_rounds(fedavgm(momentum=0.9)), three_rounds(optax.sgd(1.0, momentum=0.9)), rtol=1e-6
    )
    old, mean = OLD, jax.tree.map(lambda x: 3 * x, OLD)
    tx = fedavg()
    new, _ = server_update(tx, old, jax.tree.map(jnp.subtract, old, mean), tx.init(old))
    close(new, mean)


def test_nothing_moves_without_contribution():
    tx = fedadam(0.1)
    values, state = server_update(tx, OLD, OLD, tx.init(OLD))
    same = jax.jit(lambda on: server_update(tx, values, OLD, state, on))(jnp.asarray(False))
    for before, after in zip(jax.tree.leaves((values, state)), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(before, after)


def local_work(shared, client):
    x, steps = client
    return jax.tree.map(lambda leaf: leaf * x.sum() + steps, shared)


def test_clients_side_by_side_are_clients_one_by_one():
    clients = (jnp.arange(24.0).reshape(8, 3), jnp.arange(8))
    stacked = jax.jit(lambda s, c: map_clients(local_work, s, c))(OLD, clients)
    for index in range(8):
        close(
            jax.tree.map(lambda leaf, i=index: leaf[i], stacked),
            local_work(OLD, (clients[0][index], clients[1][index])),
        )
    mesh = jax.make_mesh((8,), ("clients",))
    sharded = jax.jit(lambda s, c: weighted_mean(map_clients(local_work, s, c, mesh=mesh), jnp.ones(8)))(OLD, clients)
    close(sharded, weighted_mean(stacked, jnp.ones(8)))
    with pytest.raises(ValueError, match="7 clients do not divide over 8 devices: take a multiple of 8"):
        map_clients(local_work, OLD, jax.tree.map(lambda leaf: leaf[:7], clients), mesh=mesh)


def test_uniform_sampling_is_without_replacement_and_a_function_of_the_key():
    draw = jax.jit(jax.vmap(lambda key: sample_clients(key, 10, 4)))
    chosen = np.asarray(draw(jax.random.split(jax.random.key(0), 200)))
    assert all(len(set(row)) == 4 for row in chosen.tolist())
    counts = np.bincount(chosen.ravel(), minlength=10)
    assert counts.min() > 80 - 4 * np.sqrt(80 * 0.6)
    np.testing.assert_array_equal(chosen, draw(jax.random.split(jax.random.key(0), 200)))
    with pytest.raises(ValueError, match=r"per_round must be in 1..10, the number of clients, but is 11"):
        sample_clients(jax.random.key(0), 10, 11)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.data())
def test_stratified_sampling_has_every_group_in_proportion(sizes, data):
    n = sum(sizes)
    per_round = data.draw(st.integers(len(sizes), n))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    chosen = np.asarray(sample_clients(jax.random.key(n), n, per_round, groups=groups))
    assert len(np.unique(chosen)) == per_round
    counts = np.bincount(groups[chosen], minlength=len(sizes))
    assert counts.min() >= 1
    quota = per_round * np.asarray(sizes) / n
    assert np.all(counts[quota >= 1] >= np.floor(quota[quota >= 1]) - len(sizes))
    if (quota >= 1).all():
        assert np.all(np.abs(counts - quota) < 1)


def test_ten_of_a_hundred_are_the_groups_shares():
    groups = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [70, 20, 10]))
    chosen = sample_clients(jax.random.key(0), 100, 10, groups=groups)
    assert np.bincount(groups[chosen]).tolist() == [7, 2, 1]
    with pytest.raises(ValueError, match="2 clients a round cannot have one of each of 3 groups"):
        sample_clients(jax.random.key(0), 100, 2, groups=groups)


def test_groups_of_clients_are_stable_and_in_proportion():
    assert [client_group(f"phone-{i}", (0.7, 0.2, 0.1), key="run 1") for i in range(8)] == EXPECTED
    assert client_group(b"phone-3", (0.7, 0.2, 0.1), key="run 1") == EXPECTED[3]
    groups = [client_group(f"phone-{i}", (0.7, 0.2, 0.1)) for i in range(3000)]
    np.testing.assert_allclose(np.bincount(groups) / 3000, (0.7, 0.2, 0.1), atol=0.03)


EXPECTED = [0, 0, 1, 0, 1, 0, 0, 0]


def test_quantised_values_are_near_and_small():
    values = {"w": STACKED["w"], "same": jnp.full(5, 0.3)}
    arrived = jax.jit(quantised)(values)
    width = (STACKED["w"].max() - STACKED["w"].min()) / 255
    assert float(jnp.abs(arrived["w"] - values["w"]).max()) <= 0.5001 * float(width)
    assert len(np.unique(quantised(STACKED["w"], 2))) <= 4
    np.testing.assert_array_equal(arrived["same"], values["same"])
    assert num_bytes(values) == 4 * (42 + 5)
    assert num_bytes(values, 8) == 42 + 8 + 5 + 8
