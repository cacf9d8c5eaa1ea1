import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Classifier, new_state
from flax import nnx

from offprint.core.train import (
    Checkpoint,
    Evaluation,
    FullBatch,
    Minibatches,
    NonFiniteError,
    Stream,
    TrainState,
    ensemble,
    fit,
    scan,
    supervised_step,
)
from offprint.core.train._engine import _has_convolution

KEY = jax.random.key(3)


def assert_same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def undisturbed(data, step):
    return fit(step, new_state(), Minibatches(data, 16), num_steps=60, key=KEY, log_every=20)


def test_fit_equals_scan(undisturbed, data, step):
    state, metrics = jax.jit(lambda state: scan(step, state, Minibatches(data, 16), 60, KEY))(new_state())
    assert_same(undisturbed.state, state)
    means = np.asarray(metrics["loss"], np.float64).reshape(3, 20).mean(axis=1)
    np.testing.assert_allclose(undisturbed.series("loss")[1], means, rtol=1e-6)
    assert undisturbed.series("loss")[0].tolist() == [20, 40, 60]


def test_fit_learns(undisturbed):
    _, losses = undisturbed.series("loss")
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("options", [{"chunk": 7}, {"chunk": 5, "log_every": 20}, {"loop": "dispatch"}])
def test_the_result_does_not_depend_on_chunks_or_loop(undisturbed, data, step, options):
    result = fit(step, new_state(), Minibatches(data, 16), num_steps=60, key=KEY, **{"log_every": 20, **options})
    assert_same(undisturbed.state, result.state)
    assert result.history == undisturbed.history


def test_the_given_state_survives_unless_donated(data, step):
    state = new_state()
    fit(step, state, Minibatches(data, 16), num_steps=2, key=KEY)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    fit(step, state, Minibatches(data, 16), num_steps=2, key=KEY, donate=True)
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(jax.tree.leaves(state.params)[0])


def test_only_one_copy_of_the_state_is_held(data, step):
    """While it runs, a donated fit keeps no array alive beyond the data, one state and single metrics."""
    batches = Minibatches(data, 16)
    state = new_state()
    size = len(jax.tree.leaves(state))
    fit(step, new_state(), batches, num_steps=20, key=KEY, log_every=10)  # constants that JAX caches
    counts = []

    def count(event):
        counts.append(len(jax.live_arrays()))

    before = len(jax.live_arrays())
    holder = [state]
    del state
    fit(step, holder.pop(), batches, num_steps=40, key=KEY, log_every=10, callbacks=[count], donate=True)
    assert max(counts) - before < size


def test_steps_without_data_and_custom_batches(counter):
    start = (jnp.int32(0), jnp.float32(0))
    result = fit(counter, start, num_steps=10, key=KEY, log_every=5)
    assert int(result.state[0]) == 10

    class Squares:  # a class that is no pytree, as a user would write it
        def batch_at(self, step, key):
            return step**2

    def add(total, batch, key):
        return total + batch, {}

    assert int(fit(add, jnp.int32(0), Squares(), num_steps=5, key=KEY).state) == 0 + 1 + 4 + 9 + 16


def test_the_key_of_a_step_depends_on_its_index(counter):
    start = (jnp.int32(0), jnp.float32(0))
    whole, metrics = scan(counter, start, None, 6, KEY)
    first, _ = scan(counter, start, None, 4, KEY)
    second, _ = scan(counter, first, None, 2, KEY, start=4)
    assert_same(whole, second)
    assert len(set(metrics["drawn"].tolist())) == 6


def test_alternating_steps_need_no_loop_of_their_own(data):
    """A weight and a hyperparameter with an optimiser each, trained in turn, by lax.cond on the state's own count."""
    inner, outer = optax.sgd(0.1), optax.adam(0.05)
    x, y = data
    weight, log_decay = jnp.zeros(5), jnp.float32(0.0)
    start = (jnp.int32(0), weight, log_decay, inner.init(weight), outer.init(log_decay))

    def loss(weight, log_decay):
        return jnp.mean((x @ weight - y) ** 2) + jnp.exp(log_decay) * jnp.sum(weight**2)

    def alternating(state, batch, key):
        count, weight, log_decay, inner_state, outer_state = state

        def train_weight(_):
            updates, new = inner.update(jax.grad(loss)(weight, log_decay), inner_state)
            return weight + updates, log_decay, new, outer_state

        def train_decay(_):
            updates, new = outer.update(jax.grad(loss, 1)(weight, log_decay), outer_state)
            return weight, log_decay + updates, inner_state, new

        rest = jax.lax.cond(count % 4 == 3, train_decay, train_weight, None)
        return (count + 1, *rest), {"loss": loss(weight, log_decay)}

    result = fit(alternating, start, FullBatch(data), num_steps=200, key=KEY)
    count, _, log_decay, *_ = result.state
    assert int(count) == 200
    assert float(log_decay) < -1.0
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_ensemble_members_are_independent_runs(data, step):
    """Three seeds at once by vmap are three runs with the keys that the ensemble gives them."""
    keys = jax.random.split(jax.random.key(5), 3)
    start = jax.vmap(lambda key: TrainState.create(Classifier(nnx.Rngs(key)), optax.adam(1e-2)))(keys)
    batches = Minibatches(data, 16)
    result = fit(ensemble(step, 3), start, batches, num_steps=10, key=KEY, log_every=5)
    assert np.shape(result.history[-1]["loss"]) == (3,)

    def member(i):
        def own_key(state, batch, key):
            return step(state, batch, jax.random.split(key, 3)[i])

        single = TrainState.create(Classifier(nnx.Rngs(keys[i])), optax.adam(1e-2))
        return fit(own_key, single, batches, num_steps=10, key=KEY).state

    for i in range(3):
        for ours, alone in zip(jax.tree.leaves(result.state.params), jax.tree.leaves(member(i).params), strict=True):
            np.testing.assert_allclose(ours[i], alone, atol=1e-6)


def test_vmapped_scan_equals_a_loop_over_keys(counter):
    start = (jnp.int32(0), jnp.float32(0))
    keys = jax.random.split(KEY, 4)
    together = jax.vmap(lambda key: scan(counter, start, None, 5, key)[0][1])(keys)
    np.testing.assert_allclose(together, [scan(counter, start, None, 5, key)[0][1] for key in keys], rtol=1e-5)


def conv_loss(model, batch, key):
    x, y = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(x).mean(axis=(1, 2)), y).mean()


def test_a_step_with_convolutions_is_found_and_both_loops_agree():
    conv = TrainState.create(nnx.Conv(1, 3, (3, 3), rngs=nnx.Rngs(0)), optax.sgd(0.1))
    x = jax.random.normal(jax.random.key(0), (8, 6, 6, 1))
    batches = Minibatches((x, jnp.arange(8) % 3), 4)
    step = supervised_step(conv_loss)
    batch = batches.batch_at(0, KEY)
    assert _has_convolution(jax.make_jaxpr(step)(conv, batch, KEY).jaxpr)
    fused, dispatched, auto = (
        fit(step, conv, batches, num_steps=6, key=KEY, log_every=3, loop=loop) for loop in ("scan", "dispatch", "auto")
    )
    assert_same(auto.state, dispatched.state)
    for a, b in zip(jax.tree.leaves(fused.state), jax.tree.leaves(dispatched.state), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_eight_devices_agree_with_one(data, step, undisturbed):
    mesh = jax.make_mesh((8,), ("batch",))
    for loop in ("scan", "dispatch"):
        sharded = fit(
            step, new_state(), Minibatches(data, 16), num_steps=60, key=KEY, log_every=20, mesh=mesh, loop=loop
        )
        leaf = jax.tree.leaves(sharded.state.params)[0]
        assert len(leaf.sharding.device_set) == 8
        for a, b in zip(jax.tree.leaves(sharded.state.params), jax.tree.leaves(undisturbed.state.params), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-5)
    with pytest.raises(ValueError, match="a batch of 12 cannot be split evenly over the 8 devices"):
        fit(step, new_state(), Minibatches(data, 12), num_steps=1, key=KEY, mesh=mesh)


def test_a_sharded_run_evaluates_streams_and_resumes(tmp_path, data, step):
    mesh = jax.make_mesh((8,), ("batch",))
    x, y = data
    rows = [np.arange(i, i + 16) % 48 for i in range(0, 48 * 16, 16)]
    stream = Stream([(np.asarray(x)[r], np.asarray(y)[r]) for r in rows])
    options = {
        "key": KEY,
        "mesh": mesh,
        "log_every": 5,
        "evaluate": Evaluation(lambda model, batch: {"accuracy": model(batch[0]).argmax(-1) == batch[1]}, data),
        "eval_every": 10,
    }
    whole = fit(step, new_state(), stream, num_steps=20, **options)
    checkpoint = Checkpoint(tmp_path / "run", every=10)
    fit(step, new_state(), stream, num_steps=10, checkpoint=checkpoint, **options)
    resumed = fit(step, new_state(), stream, num_steps=20, checkpoint=checkpoint, **options)
    assert_same(whole.state, resumed.state)
    assert resumed.history == whole.history
    assert 0 < whole.history[-1]["accuracy"] <= 1


def test_a_metric_that_is_not_finite_stops_the_run_with_its_name_and_step(tmp_path, counter):
    def diverges(state, batch, key):
        state, metrics = counter(state, batch, key)
        return state, {**metrics, "ratio": 1.0 / (17.0 - metrics["count"])}

    start = (jnp.int32(0), jnp.float32(0))
    with pytest.raises(NonFiniteError, match="'ratio' is inf at step 18; no checkpoint was asked for"):
        fit(diverges, start, num_steps=30, key=KEY, log_every=10)
    with pytest.raises(NonFiniteError, match=r"the last good checkpoint is .*run/15\."):
        fit(diverges, start, num_steps=30, key=KEY, log_every=5, checkpoint=Checkpoint(tmp_path / "run", every=5))
    assert fit(diverges, start, num_steps=30, key=KEY, finite=False).step == 30


def test_a_zero_length_run_returns_the_state(counter):
    result = fit(counter, (jnp.int32(4), jnp.float32(1)), num_steps=0, key=KEY)
    assert int(result.state[0]) == 4
    assert result.history == []
    with pytest.raises(KeyError, match="the history holds no 'loss'; it holds no metrics"):
        result.series("loss")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_steps": -1}, ValueError, "num_steps must not be negative, but is -1"),
        ({"log_every": 0}, ValueError, "log_every must be at least 1, but is 0"),
        ({"loop": "fast"}, ValueError, "loop must be 'auto', 'scan' or 'dispatch', but is 'fast'"),
        ({"key": 0}, TypeError, "key must be a typed key such as jax.random.key"),
        ({"key": jnp.zeros(2, jnp.uint32)}, TypeError, "key must be a typed key"),
        ({"batches": jnp.zeros(3)}, TypeError, r"wrap arrays in Minibatches\(arrays, batch_size\) or FullBatch"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments(counter, changes, error, message):
    arguments = {"num_steps": 1, "key": KEY, "batches": None, **changes}
    batches = arguments.pop("batches")
    with pytest.raises(error, match=message):
        fit(counter, (jnp.int32(0), jnp.float32(0)), batches, **arguments)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda s, b, k: ({"w": s["w"] * 1.5}, {}), r"state\['w'\] was int32\[2\] and became float32\[2\]"),
        (lambda s, b, k: ((s["w"],), {}), "must return a state of the structure that it was given"),
        (lambda s, b, k: (s, jnp.float32(1)), "metrics a dictionary of named arrays"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_a_step_that_changes_the_state_is_refused(step, message):
    with pytest.raises(TypeError, match=message):
        fit(step, {"w": jnp.arange(2)}, num_steps=1, key=KEY)
