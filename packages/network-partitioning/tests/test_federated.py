"""The federated layer: golden rounds, plain averaging as a special case, what is sent and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_partition import mlp

from offprint.core.federated import fedadam, fedavg
from offprint.core.train import fit
from offprint.network_partitioning._objective import Stateful
from offprint.network_partitioning._partition import Partition, pack, partition, partition_sizes, subnetwork, whole
from offprint.network_partitioning._upload import upload_fraction
from offprint.network_partitioning.federated import (
    ClientBatches,
    Clients,
    aggregate,
    apply_average,
    check_chunks,
    client_update,
    init_server,
    make_round,
    stack_clients,
    upload_scalars,
)

KEY = jax.random.key(0)


def masked_loglik(tau):
    """The golden arrays' model; the noise, stored with the data, is told apart by the key of the gradient of ψ."""

    def loglik(params, phi, batch, key):
        x, y, u_train, u_hyper, hyper_key = (batch[name] for name in ("x", "y", "u0", "u1", "key"))
        u = jnp.where((jax.random.key_data(key) == hyper_key[0]).all(), u_hyper[0], u_train[0])
        z = jax.nn.sigmoid((phi + jnp.log(u) - jnp.log1p(-u)) / tau)
        logits = jax.vmap(lambda mask: mlp(params, x * mask))(z).mean(axis=0)
        return jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)[:, 0]

    return loglik


def golden_setup(data):
    params = [jnp.asarray(data[f"param0_{i}"]) for i in range(4)]
    ids = [jnp.asarray(data[f"pid_{i}"], jnp.uint8) for i in range(4)]
    part = Partition(ids, [jnp.asarray(data[f"default_{i}"]) for i in range(4)], int(data["K"]))
    return params, part, jnp.asarray(data["phi0"])


def golden_clients(data, t, key):
    """The clients of round t, with that round's noise and what the keys of the gradients of ψ will be."""
    keys = jax.random.split(key, 5)
    rows = []
    for c in range(5):
        n = int(data["n"][c])
        noise = {f"u{i}": np.broadcast_to(data["u"][t, c, i], (n, *data["u"].shape[3:])) for i in (0, 1)}
        hyper_key = np.asarray(jax.random.key_data(jax.random.fold_in(keys[c], 0)))
        stored = np.broadcast_to(hyper_key, (n, *hyper_key.shape))
        rows.append({"x": data[f"x_{c}"], "y": data[f"y_{c}"], "key": stored, **noise})
    return stack_clients(rows, data["chunk"])


def golden_servers(data):
    eta, b1, b2, tau = (float(value) for value in data["server_adam"])
    return {"fedavg": fedavg(), "fedadam": fedadam(eta, b1, b2, tau)}


@pytest.mark.parametrize("order", ["partition_major", "epoch_major"])
@pytest.mark.parametrize("server", ["fedavg", "fedadam"])
def test_two_golden_rounds(golden, server, order):
    data = golden("federated")
    params, part, phi = golden_setup(data)
    txs = {"tx": golden_servers(data)[server], "hyper_tx": optax.sgd(float(data["lr_hyper"]))}
    local_tx, epochs = optax.sgd(float(data["lr"])), int(data["local_epochs"])
    options = {"local_tx": local_tx, "epochs": epochs, "order": order}
    step = jax.jit(make_round(masked_loglik(float(data["tau"])), part, **options, **txs))
    state = init_server(params, phi, part, **txs)
    for t in range(2):
        key = jax.random.fold_in(KEY, t)
        state, metrics = step(state, golden_clients(data, t, key), key)
        for i in range(4):
            np.testing.assert_allclose(state.params[i], data[f"{server}/{order}/param_r{t}_{i}"], atol=1e-10, rtol=0)
        np.testing.assert_allclose(state.hyper, data[f"{server}/{order}/phi_r{t}"], atol=1e-10, rtol=0)
    assert int(metrics["uploaded"]) == data["upload_scalars"].sum()
    assert int(metrics["dropped"]) == 0
    assert int(state.round) == 2


def test_one_client_has_the_golden_gradient_and_sends_what_it_trains(golden):
    data = golden("federated")
    params, part, phi = golden_setup(data)
    clients = golden_clients(data, 0, KEY)
    keys = jax.random.split(KEY, 5)
    np.testing.assert_array_equal(partition_sizes(part), data["partition_sizes"])
    grads = data["fedavg/partition_major/client_hypergrad_r0"]
    for c in (0, 3, 4):
        chunk, n = int(data["chunk"][c]), int(data["n"][c])
        own = jax.tree.map(lambda leaf, c=c, n=n: leaf[c, :n], clients.data)
        client = Clients(own, jnp.ones(n), chunk)
        options = {"tx": optax.sgd(float(data["lr"])), "epochs": 2}
        loglik = masked_loglik(float(data["tau"]))
        alone = jax.jit(
            lambda w, psi, key, client=client, loglik=loglik, options=options: client_update(
                loglik, part, w, psi, client, key, **options
            )
        )(params, phi, keys[c])
        sent = [vector for j, vector in enumerate(alone.delta) if j >= chunk]
        assert all(not vector.any() for vector in alone.delta[:chunk])
        assert sum(len(v) for v in sent) + (len(phi) if chunk else 0) == data["upload_scalars"][c]
        assert int(upload_scalars(part, chunk, phi)) == data["upload_scalars"][c]
        if chunk:
            np.testing.assert_allclose(alone.hyper_grad, grads[c - 3], atol=1e-10, rtol=0)
        else:
            assert not alone.hyper_grad.any()


def loglik(params, hyper, batch, key):
    x, y = batch
    return jnp.take_along_axis(jax.nn.log_softmax(mlp(params, x * hyper)), y[:, None], axis=1)[:, 0]


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.normal(size=shape)) for shape in [(3, 30), (30,), (30, 4), (4,)]]
    data = [(rng.normal(size=(6, 3)), rng.integers(0, 4, 6)) for _ in range(8)]
    return params, jnp.ones(3), data


def test_without_partitions_a_round_is_federated_averaging(problem):
    params, hyper, data = problem
    part = whole(params)
    options = {"local_tx": optax.sgd(0.1), "tx": fedavg(), "hyper_tx": optax.sgd(0.1)}
    state = init_server(params, hyper, part, options["tx"], options["hyper_tx"])
    after, metrics = jax.jit(make_round(loglik, part, **options))(state, stack_clients(data, [0] * 8), KEY)

    def nll(w, x, y):
        return -loglik(w, hyper, (x, y), None).mean()

    gradients = [jax.grad(nll)(params, *client) for client in data]
    averaged = jax.tree.map(lambda w, *gs: w - 0.1 * sum(gs) / 8, params, *gradients)
    pooled = [np.concatenate(arrays) for arrays in zip(*data)]
    central = jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(nll)(params, *pooled))
    for mine, mean, one in zip(after.params, averaged, central):
        np.testing.assert_allclose(mine, mean, atol=1e-12)
        np.testing.assert_allclose(mine, one, atol=1e-12)
    np.testing.assert_array_equal(after.hyper, hyper)
    assert int(metrics["uploaded"]) == 8 * sum(leaf.size for leaf in params)


@pytest.fixture(scope="module")
def partitioned_round(problem):
    params, hyper, data = problem
    part = partition(params, (0.7, 0.2, 0.1), key=KEY)
    options = {"local_tx": optax.sgd(0.1, momentum=0.9), "tx": fedadam(0.1), "hyper_tx": optax.adam(0.1), "epochs": 2}
    clients = stack_clients(data, [0, 0, 0, 1, 1, 2, 0, 1])
    state = init_server(params, hyper, part, options["tx"], options["hyper_tx"])
    return part, options, state, clients, jax.jit(make_round(loglik, part, **options))


def test_what_nobody_trained_stays_with_its_optimiser(partitioned_round):
    part, _, state, clients, step = partitioned_round
    state, _ = step(state, clients, KEY)
    late = jax.tree.map(lambda leaf: leaf[np.asarray([3, 4, 5])], clients)  # chunks 1 and 2 only
    after, metrics = step(state, late, KEY)
    before_vectors, after_vectors = pack(state.params, part), pack(after.params, part)
    np.testing.assert_array_equal(before_vectors[0], after_vectors[0])
    for old, new in zip(jax.tree.leaves(state.opt[0]), jax.tree.leaves(after.opt[0])):
        np.testing.assert_array_equal(old, new)
    assert int(after.opt[1].rounds) == 2
    assert bool((before_vectors[1] != after_vectors[1]).any())
    assert float(metrics["loss/1"]) == 0
    first = jax.tree.map(lambda leaf: leaf[np.asarray([0, 1, 2])], clients)  # nobody has anything out of sample
    after, _ = step(state, first, KEY)
    np.testing.assert_array_equal(after.hyper, state.hyper)
    for old, new in zip(jax.tree.leaves(state.hyper_opt), jax.tree.leaves(after.hyper_opt)):
        np.testing.assert_array_equal(old, new)


def test_later_chunks_never_reach_earlier_partitions(partitioned_round):
    part, options, state, clients, _ = partitioned_round
    step = jax.jit(make_round(loglik, part, **(options | {"hyper_tx": optax.set_to_zero()})))
    x, y = clients.data
    changed = clients._replace(data=(jnp.where((clients.chunk == 2)[:, None, None], -x, x), y))
    one = two = state._replace(hyper_opt=optax.EmptyState())
    for t in range(2):
        one, _ = step(one, clients, jax.random.fold_in(KEY, t))
        two, _ = step(two, changed, jax.random.fold_in(KEY, t))
    for j in (0, 1):
        np.testing.assert_array_equal(pack(one.params, part)[j], pack(two.params, part)[j])
    assert bool((pack(one.params, part)[2] != pack(two.params, part)[2]).any())


def test_replies_that_are_not_finite_are_dropped_and_counted(partitioned_round):
    _, _, state, clients, step = partitioned_round
    x, y = clients.data
    broken = clients._replace(data=(x.at[3].set(jnp.nan), y))
    after, metrics = step(state, broken, KEY)
    assert int(metrics["dropped"]) == 1
    assert all(bool(jnp.isfinite(value).all()) for value in [*jax.tree.leaves(after.params), *metrics.values()])
    without = clients._replace(weights=clients.weights.at[3].set(0.0))
    expected, _ = step(state, without, KEY)
    for mine, other in zip(after.params, expected.params):
        np.testing.assert_allclose(mine, other, atol=1e-12)


def test_rounds_shard_over_devices(partitioned_round):
    part, options, state, clients, step = partitioned_round
    one, _ = step(state, clients, KEY)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("clients",))
    many, _ = jax.jit(make_round(loglik, part, **options, mesh=mesh))(state, clients, KEY)
    for a, b in zip(jax.tree.leaves((one.params, one.hyper)), jax.tree.leaves((many.params, many.hyper))):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_local_minibatches_go_through_the_data(problem):
    params, hyper, data = problem
    part = partition(params, (0.8, 0.2), key=KEY)
    x, y = data[0]
    client = Clients((jnp.asarray(x), jnp.asarray(y)), jnp.ones(6), jnp.int32(0))

    def reply(batch_size):
        options = {"tx": optax.sgd(0.1), "epochs": 3, "batch_size": batch_size}
        return jax.jit(lambda key: client_update(loglik, part, params, hyper, client, key, **options))(KEY)

    full, same, small = reply(None), reply(6), reply(2)
    np.testing.assert_array_equal(full.delta[0], same.delta[0])
    assert float(jnp.abs(small.delta[0]).sum()) > 1.5 * float(jnp.abs(full.delta[0]).sum())  # nine steps against three


def test_the_loop_of_core_runs_rounds_and_uploads_the_share_of_the_chunks(problem):
    params, hyper, _ = problem
    part = partition(params, (0.7, 0.2, 0.1), key=KEY)
    rng = np.random.default_rng(1)
    data = [(rng.normal(size=(4, 3)), rng.integers(0, 4, 4)) for _ in range(20)]
    batches = ClientBatches(stack_clients(data, np.repeat([0, 1, 2], [14, 4, 2])), 10, 3)
    options = {"local_tx": optax.sgd(0.1), "tx": fedavg(), "hyper_tx": optax.adam(0.02)}
    state = init_server(params, hyper, part, options["tx"], options["hyper_tx"])
    result = fit(make_round(loglik, part, **options), state, batches, num_steps=6, key=KEY)
    assert int(result.state.round) == 6
    sent = np.asarray(partition_sizes(part))
    per_round = 7 * sent.sum() + 2 * sent[1:].sum() + sent[2] + 3 * 3
    uploaded = np.asarray([row["uploaded"] for row in result.history])
    assert np.all(uploaded == per_round)
    ideal = upload_fraction((0.7, 0.2, 0.1), (0.7, 0.2, 0.1))
    assert abs((per_round - 9) / (10 * sent.sum()) - ideal) < 0.01
    assert not bool((subnetwork(result.state.params, part, 3)[0] == params[0]).all())


def test_averages_of_one_client_are_its_reply(partitioned_round):
    part, _, state, clients, _ = partitioned_round
    one = jax.tree.map(lambda leaf: leaf[5], clients)
    reply = jax.jit(lambda w, psi: client_update(loglik, part, w, psi, one, KEY, tx=optax.sgd(0.1)))(
        state.params, state.hyper
    )
    average = aggregate(jax.tree.map(lambda leaf: leaf[None], reply))
    assert average.contributed.tolist() == [False, False, True]
    np.testing.assert_allclose(average.delta[2], reply.delta[2], atol=1e-15)
    plain = fedavg()
    server = init_server(state.params, state.hyper, part, plain, plain)
    moved = apply_average(server, average, part, plain, plain)
    np.testing.assert_allclose(pack(moved.params, part)[2], pack(state.params, part)[2] + reply.delta[2], atol=1e-14)
    np.testing.assert_allclose(moved.hyper, state.hyper - reply.hyper_grad, atol=1e-14)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([0, 1, 3], r"client 2 has chunk 3, but chunks are 0..2 \(K = 3\)"),
        ([0, -1, 1], r"client 1 has chunk -1"),
        ([0, 0, 0], "no client is in a chunk >= 1: ψ is not being trained"),
        ([0, 0, 2], r"no client is in chunk 1: the chunks have \[2, 0, 1\] clients"),
    ],
)
def test_bad_chunks(chunks, message):
    with pytest.raises(ValueError, match=message):
        check_chunks(chunks, 3)


@pytest.mark.usefixtures("unchecked_types")
def test_bad_clients(problem):
    params, hyper, data = problem
    with pytest.raises(ValueError, match="there are 8 clients and 2 chunks"):
        stack_clients(data, [0, 1])
    with pytest.raises(ValueError, match="client 1 has no examples"):
        stack_clients([data[0], (np.zeros((0, 3)), np.zeros(0, int))], [0, 1])
    clients = stack_clients(data, [0, 0, 0, 1, 1, 2, 0, 1])
    with pytest.raises(ValueError, match="2 clients a round cannot have one of each of 3 groups"):
        ClientBatches(clients, 2, 3)
    part = partition(params, (0.7, 0.2, 0.1), key=KEY)
    one = jax.tree.map(lambda leaf: leaf[0], clients)
    with pytest.raises(TypeError, match="use group norm instead of batch norm"):
        client_update(Stateful(None), part, params, hyper, one, KEY, tx=optax.sgd(0.1))
    with pytest.raises(ValueError, match="order must be 'partition_major' or 'epoch_major', but is 'random'"):
        client_update(loglik, part, params, hyper, one, KEY, tx=optax.sgd(0.1), order="random")
