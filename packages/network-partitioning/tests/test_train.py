"""The step: what it changes and what it leaves, schedules, counters, one device call or many."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from offprint.core.train import Checkpoint, fit
from offprint.network_partitioning import _train
from offprint.network_partitioning._independent import independent
from offprint.network_partitioning._objective import (
    Stateful,
    log_marginal,
    nll_matrix,
    out_of_sample_loss,
    partition_loss,
)
from offprint.network_partitioning._optimiser import partitioned
from offprint.network_partitioning._partition import pack, partition
from offprint.network_partitioning._shards import ShardedBatches
from offprint.network_partitioning._train import init_state, make_step

KEY = jax.random.key(3)
SHARDS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], (14, 10, 8)))
X = np.random.default_rng(1).normal(size=(32, 4))
Y = np.random.default_rng(2).integers(3, size=32)
BATCHES = ShardedBatches((X, Y), SHARDS, 6)
batch_at = jax.jit(BATCHES.batch_at)
BATCH = batch_at(0, KEY)
TX, HYPER_TX = optax.adamw(0.02, weight_decay=0.1), optax.adam(0.05)
PHI = jnp.linspace(-0.5, 0.5, 4)


def network(key):
    a, b = jax.random.split(key)
    return [jax.random.normal(a, (4, 7)), jnp.full(7, 0.1), jax.random.normal(b, (7, 3))]


PARAMS = network(KEY)
PART = partition(PARAMS, (0.5, 0.3, 0.2), key=jax.random.key(4))


def loglik(params, phi, batch, key):
    x, y = batch
    u = jax.random.uniform(key, x.shape, x.dtype, minval=0.02, maxval=0.98)
    x = x * jax.nn.sigmoid((phi + jnp.log(u) - jnp.log1p(-u)) / 0.5)
    logits = jnp.tanh(x @ params[0] + params[1]) @ params[2]
    return jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]


def make(schedule="joint", part=PART, tx=TX, hyper_tx=HYPER_TX, **settings):
    return make_step(loglik, part, tx, hyper_tx, sizes=BATCHES.sizes, schedule=schedule, **settings)


def start(part=PART, params=PARAMS):
    return init_state(params, part, PHI, TX, HYPER_TX)


def same(here, there):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True))


@pytest.fixture(scope="module")
def steps():
    return {schedule: jax.jit(make(schedule)) for schedule in ("joint", "sampled")}


def test_a_hyper_step_leaves_the_weights_and_their_optimiser_alone(steps):
    idle = jax.jit(make(hyper_tx=optax.set_to_zero()))
    here, _ = steps["joint"](start(), BATCH, KEY)
    there, _ = idle(init_state(PARAMS, PART, PHI, TX, optax.set_to_zero()), BATCH, KEY)
    assert same((here.params, here.opt), (there.params, there.opt))
    assert same(there.hyper, PHI)
    assert jnp.all(here.hyper != PHI)


def test_a_partition_step_leaves_everything_else_alone():
    step = jax.jit(make("sampled", burn_in=100))
    state, drawn = start(), []
    for index in range(12):
        new, _ = step(state, batch_at(index, KEY), jax.random.fold_in(KEY, index))
        assert same((new.hyper, new.hyper_opt), (state.hyper, state.hyper_opt))
        counts = np.asarray(optax.tree_utils.tree_get(new.opt, "count"))
        (k,) = np.flatnonzero(counts != np.asarray(optax.tree_utils.tree_get(state.opt, "count")))
        drawn.append(k)
        for tree in ("mu", "nu", None):
            before, after = (s.params if tree is None else optax.tree_utils.tree_get(s.opt, tree) for s in (state, new))
            for ids, a, b in zip(PART.ids, before, after, strict=True):
                moved, own = np.asarray(a) != np.asarray(b), np.asarray(ids) == k
                np.testing.assert_array_equal(moved, own)
        state = new
    assert set(drawn) == {0, 1, 2}
    np.testing.assert_array_equal(counts, np.bincount(drawn, minlength=3))


def test_partitioned_is_one_optimiser_for_each_partition():
    opt = partitioned(TX, PART)
    state, params = opt.init(PARAMS), PARAMS
    alone = [(TX.init(vector), vector) for vector in pack(PARAMS, PART)]
    rng = np.random.default_rng(5)
    update, everything, own_update = jax.jit(opt.update), jax.jit(opt.update), jax.jit(TX.update)
    for k in (1, 2, 2, None, 1, 3):
        grads = [jnp.asarray(rng.normal(size=w.shape)) for w in PARAMS]
        updates, state = update(grads, state, params, active=k) if k else everything(grads, state, params)
        params = optax.apply_updates(params, updates)
        for j in (k,) if k else (1, 2, 3):
            inner, vector = alone[j - 1]
            updates, inner = own_update(pack(grads, PART)[j - 1], inner, vector)
            alone[j - 1] = inner, vector + updates
    for here, (_, there) in zip(pack(params, PART), alone, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-14)


def test_masked_optimisers_and_frozen_scalars():
    """Decay for matrices only, and weights that no partition owns: neither is moved by what isn't its own."""
    tx = optax.adamw(0.1, weight_decay=0.5, mask=lambda params: [jnp.ndim(w) > 1 for w in params])
    part = partition(PARAMS, (0.6, 0.4), key=KEY, only=lambda path: path != "1")
    opt = partitioned(tx, part)
    grads = [jnp.zeros_like(w) for w in PARAMS]
    for active in (None, 2):
        updates, _ = opt.update(grads, opt.init(PARAMS), PARAMS, active=active)
        assert same(updates[1], jnp.zeros(7))
        moved = jnp.ones(PARAMS[0].shape, bool) if active is None else part.ids[0] == 1
        np.testing.assert_allclose(updates[0], jnp.where(moved, -0.05 * PARAMS[0], 0), atol=1e-12)


def test_an_optimiser_that_keeps_rows_is_refused():
    big = {"w": jnp.ones((128, 130))}
    part = partition(big, (0.5, 0.5), key=KEY)
    with pytest.raises(ValueError, match=r"state of shape .* for a parameter of shape \(128, 130\)"):
        partitioned(optax.adafactor(0.1), part).init(big)


def test_the_gradient_is_that_of_each_partition_s_own_loss():
    key = jax.random.key(8)
    each = jax.jit(jax.jacrev(lambda w: partition_loss(loglik, w, PART, PHI, BATCH.train, key)[1]))(PARAMS)
    own = [[parts[k] for parts in each] for k in range(3)]
    together = jax.jit(jax.grad(lambda w: partition_loss(loglik, w, PART, PHI, BATCH.train, key)[0]))(PARAMS)
    for ids, grad, *parts in zip(PART.ids, together, *own, strict=True):
        np.testing.assert_allclose(grad, jnp.choose(ids, jnp.stack(parts)), rtol=1e-12, atol=1e-15)
        assert all(not jnp.any(jnp.where(ids == k, 0, part)) for k, part in enumerate(parts))


def test_hypergradients_against_central_differences():
    key = jax.random.key(8)

    def marginal(phi):
        return log_marginal(loglik, PARAMS, PART, phi, (X, Y), SHARDS, key)

    def estimate(phi):
        return out_of_sample_loss(loglik, PARAMS, PART, phi, BATCH.oos, BATCHES.sizes, key)[0]

    for function in (jax.jit(marginal), jax.jit(estimate)):
        grad = jax.grad(function)(PHI)
        for i, there in enumerate(grad):
            e = 1e-5 * jnp.eye(4)[i]
            here = (function(PHI + e) - function(PHI - e)) / 2e-5
            np.testing.assert_allclose(here, there, rtol=1e-6)


def test_the_marginal_likelihood_sums_the_nll_matrix():
    key = jax.random.key(8)
    args = (loglik, PARAMS, PART, PHI, (X, Y), SHARDS, key)
    matrix, counts = nll_matrix(*args), np.bincount(SHARDS)
    assert matrix.shape == (4, 3)
    np.testing.assert_allclose(log_marginal(*args), -sum(counts[s] * matrix[s, s] for s in (1, 2)), rtol=1e-12)
    with_first = log_marginal(*args, include_prior_term=True, per_example=True)
    np.testing.assert_allclose(with_first, -sum(counts[s] * matrix[s, s] for s in range(3)) / 32, rtol=1e-12)
    traced = jax.jit(lambda shards: log_marginal(*args[:5], shards, key))(SHARDS)
    np.testing.assert_allclose(traced, log_marginal(*args), rtol=1e-12)


def test_the_regulariser_sees_one_partition(steps):
    def penalty(weights, phi):
        return sum(jnp.sum(w**2) for w in weights)

    key = jax.random.key(8)
    args = (loglik, PARAMS, PART, PHI, BATCH.train, key)
    with_penalty, without = (partition_loss(*args, regulariser=r)[1] for r in (penalty, None))
    np.testing.assert_allclose(with_penalty - without, [jnp.sum(v**2) for v in pack(PARAMS, PART)], rtol=1e-9)


@pytest.mark.parametrize("convolves", [False, True])
def test_when_the_hyperparameters_move(monkeypatch, convolves):
    """After updates 3, 5, 7 with a burn-in of 1 and a period of 2, whether in a branch or not."""
    monkeypatch.setattr(_train, "has_convolution", lambda branch: convolves)
    step, state, moved = jax.jit(make(burn_in=1, hyper_every=2)), start(), []
    for index in range(7):
        new, metrics = step(state, batch_at(index, KEY), jax.random.fold_in(KEY, index))
        moved.append(not same(new.hyper, state.hyper))
        changed = not same(new.oos, state.oos)
        assert changed == (moved[-1] or index == 0)
        assert float(metrics["oos"]) > 0
        state = new
    assert moved == [False, False, True, False, True, False, True]
    assert optax.tree_utils.tree_get(state.hyper_opt, "count") == 3


def test_convolutions_are_found():
    x = jnp.ones((1, 4, 4, 1))
    assert _train.has_convolution(lambda: jax.jit(lambda: jax.lax.conv(x, x, (1, 1), "SAME"))())
    assert not _train.has_convolution(lambda: x * x)


def test_sampling_among_batches_of_unequal_sizes_takes_the_same_step():
    """One branch for each size, against one program for equal sizes: full batches of data that repeat shard 1."""
    unequal = ShardedBatches((X, Y), SHARDS, None).batch_at(0, KEY)
    step = jax.jit(make("sampled"))
    for seed in (0, 1):
        key = jax.random.key(seed)
        state, metrics = step(start(), unequal, key)
        (k,) = np.flatnonzero(np.asarray(optax.tree_utils.tree_get(state.opt, "count")))
        padded = tuple(unequal.train[k] for _ in range(3))
        there, expected = step(start(), unequal._replace(train=padded), key)
        np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-12)
        for a, b in zip(state.params, there.params, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


@pytest.mark.parametrize("schedule", ["joint", "sampled"])
def test_jit_and_vmap_change_nothing(steps, schedule):
    keys = jax.random.split(KEY, 2)
    one_by_one = [steps[schedule](start(), BATCH, key) for key in keys]
    together = jax.jit(jax.vmap(make(schedule), (None, None, 0)))(start(), BATCH, keys)
    pairs = [(jax.tree.map(lambda *xs: np.stack(xs), *one_by_one), together)]
    if schedule == "joint":
        pairs.append((one_by_one[0], make(schedule)(start(), BATCH, keys[0])))
    for here, there in pairs:
        for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_float32_stays_float32():
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (PARAMS, PHI))
    part = partition(narrow[0], (0.5, 0.3, 0.2), key=KEY)
    state = init_state(narrow[0], part, narrow[1], TX, HYPER_TX)
    batch = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, BATCH)
    shapes = jax.eval_shape(make(part=part), state, batch, KEY)[0]
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, shapes)
    assert shapes.params[0].dtype == shapes.oos.dtype == jnp.float32


def test_a_resumed_run_is_the_undisturbed_one(tmp_path):
    step = make("round_robin", hyper_every=2)
    run = {"num_steps": 9, "key": KEY, "log_every": 3, "progress": False}
    whole = fit(step, start(), BATCHES, **run)
    checkpoint = Checkpoint(tmp_path, every=3)
    fit(step, start(), BATCHES, **(run | {"num_steps": 6}), checkpoint=checkpoint)
    resumed = fit(step, start(), BATCHES, **run, checkpoint=checkpoint)
    assert same(resumed.state, whole.state)
    assert resumed.history == whole.history
    assert {"loss", "loss/1", "loss/2", "loss/3", "oos", "oos/2", "oos/3"} <= set(whole.history[-1])


def test_statistics_are_those_of_their_own_shards():
    def counting(params, phi, rest, batch, key, train):
        return loglik(params, phi, batch, key), {"seen": rest["seen"] + len(batch[1])}

    tx = optax.sgd(0.1)
    state = init_state(PARAMS, PART, PHI, tx, HYPER_TX, rest={"seen": jnp.int32(0)})
    full = ShardedBatches((X, Y), SHARDS, None).batch_at(0, KEY)
    step = jax.jit(make_step(Stateful(counting), PART, tx, HYPER_TX, sizes=BATCHES.sizes))
    state, _ = step(state, full, KEY)
    np.testing.assert_array_equal(state.rest["seen"], [0, 14, 24, 32])
    with pytest.raises(ValueError, match="needs rest="):
        partition_loss(Stateful(counting), PARAMS, PART, PHI, full.train, KEY)


def test_independent_networks():
    """Network k learns from the first k shards with all of its weights, and predicts the next."""
    params, part = independent([network(jax.random.key(seed)) for seed in range(3)])
    state = init_state(params, part, PHI, TX, HYPER_TX)
    new, _ = jax.jit(make("sampled", part=part))(state, BATCH, KEY)
    assert sum(not same(a, b) for a, b in zip(state.params, new.params, strict=True)) == 1
    key = jax.random.key(8)
    _, each = partition_loss(loglik, params, part, PHI, BATCH.train, key)
    for k in (1, 2, 3):
        alone = -loglik(params[k - 1], PHI, BATCH.train[k - 1], jax.random.fold_in(key, k)).mean()
        np.testing.assert_allclose(each[k - 1], alone, rtol=1e-12)
    matrix = nll_matrix(loglik, params, part, PHI, (X, Y), SHARDS, key)
    own = -loglik(params[0], PHI, (X, Y), jax.random.fold_in(key, 1))
    np.testing.assert_allclose(matrix[1, 1], own[SHARDS == 1].mean(), rtol=1e-12)
    with pytest.raises(ValueError, match="K >= 2 needed"):
        independent([network(KEY)])
    with pytest.raises(ValueError, match="network 1 differs"):
        independent([network(KEY), network(KEY)[:2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "random"}, "schedule must be one of joint, round_robin, sampled, but is 'random'"),
        ({"response": "two_steps"}, "response must be one of none, one_step, neumann"),
        ({"response": "one_step"}, "needs response_lr > 0"),
        ({"hyper_every": 0}, "hyper_every must be at least 1"),
        ({"burn_in": -1}, "burn_in at least 0"),
        ({"terms": -1}, "terms must not be negative"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_bad_counts():
    with pytest.raises(ValueError, match="2 sizes of shards given, but the weights have 3 partitions"):
        make_step(loglik, PART, TX, HYPER_TX, sizes=(3, 4))
    with pytest.raises(ValueError, match="2 batches given, but 3 are needed"):
        partition_loss(loglik, PARAMS, PART, PHI, BATCH.train[:2], KEY)
    with pytest.raises(ValueError, match="3 out-of-sample batches given, but 2 are needed"):
        out_of_sample_loss(loglik, PARAMS, PART, PHI, BATCH.train, BATCHES.sizes, KEY)
