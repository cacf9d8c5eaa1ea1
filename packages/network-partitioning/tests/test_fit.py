"""One call on one's own data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.core.train import Checkpoint, NonFiniteError
from offprint.network_partitioning._fit import fit
from offprint.network_partitioning._hyper import ConcreteDropout, ConcreteMask, Hyper, LearnedScale
from offprint.network_partitioning._objective import log_marginal
from offprint.network_partitioning._partition import subnetwork

RNG = np.random.default_rng(0)
Y = RNG.integers(2, size=160)
X = RNG.normal(size=(160, 6)) + (2.0 * Y[:, None] - 1) * (np.arange(6) < 3)
NEW_Y = RNG.integers(2, size=80)
NEW_X = RNG.normal(size=(80, 6)) + (2.0 * NEW_Y[:, None] - 1) * (np.arange(6) < 3)
KEY = jax.random.key(1)
QUIET = {"progress": False, "key": KEY, "chunks": (0.6, 0.4)}


class Plain(nnx.Module):
    def __init__(self, outputs=2, dtype=jnp.float64):
        kwargs = {"param_dtype": dtype, "rngs": nnx.Rngs(0)}
        self.first = nnx.Linear(6, 8, **kwargs)
        self.last = nnx.Linear(8, outputs, **kwargs)

    def __call__(self, x):
        return self.last(jax.nn.tanh(self.first(x)))


class Everything(Plain):
    """Batch normalisation, ordinary dropout and dropout with a learned rate."""

    def __init__(self):
        super().__init__(dtype=jnp.float32)
        self.norm = nnx.BatchNorm(8, rngs=nnx.Rngs(1))
        self.ordinary = nnx.Dropout(0.2, rngs=nnx.Rngs(2))
        self.learned = ConcreteDropout(0.3, dtype=jnp.float32)

    def __call__(self, x, key):
        h = self.ordinary(jax.nn.relu(self.norm(self.first(x))))
        return self.last(self.learned(h, key))


@pytest.fixture(scope="module")
def masked():
    mask = ConcreteMask(6)
    settings = {"optimiser": optax.adam(0.01), "hyper_optimiser": optax.adam(0.02), "samples": 2, "log_every": 50}
    return fit(Plain(), mask, (X, Y), steps=200, validation=(NEW_X, NEW_Y), **settings, **QUIET), mask


def test_the_informative_inputs_are_kept(masked):
    result, mask = masked
    kept = result.hyper.keep_probability
    assert kept[:3].min() > kept[3:].max()
    np.testing.assert_array_equal(mask.phi[...], 0)  # what was given is not changed
    assert result.stopped == "num_steps"


def test_history_and_predictions(masked):
    result, _ = masked
    assert [row["step"] for row in result.history] == [50, 100, 150, 200]
    last = result.history[-1]
    assert {"loss", "loss/1", "loss/2", "oos", "oos/2", "val_nll", "val_accuracy", "hyper/inputs/phi"} <= set(last)
    assert last["val_accuracy"] > 0.85
    logprob = result.predict(NEW_X, KEY, samples=16)
    assert logprob.shape == (80, 2)
    np.testing.assert_allclose(jax.nn.logsumexp(logprob, axis=1), 0, atol=1e-9)
    assert (logprob.argmax(1) == NEW_Y).mean() > 0.85
    assert result.model(NEW_X).shape == (80, 2)


def test_the_result_is_measured_as_the_functions_do(masked):
    result, _ = masked
    shards = np.asarray(result.shards)
    matrix = result.nll_matrix
    assert matrix.shape == (3, 2)
    np.testing.assert_allclose(result.log_marginal, -matrix[1, 1] * (shards == 1).sum(), rtol=1e-12)
    np.testing.assert_allclose(result.log_marginal_per_example, -matrix[1, 1], rtol=1e-12)
    args = (result.network.loglik, result.state.params, result.partition, result.state.hyper, (X, Y), shards)
    there = log_marginal(*args, result.key, rest=result.state.rest)
    np.testing.assert_allclose(result.log_marginal, there, rtol=1e-9)
    whole = subnetwork(result.state.params, result.partition, 2)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(nnx.state(result.model, nnx.Param)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_dropout_and_fine_tuning():
    settings = {"steps": 4, "finetune": 2, "batch_size": 32, "hyper_optimiser": optax.adam(0.05)}
    result = fit(Everything(), None, (X.astype(np.float32), Y), **settings, **QUIET)
    assert list(result.hyper) == ["model"]
    assert result.model.learned.rate != 0.3
    means = result.state.rest["norm"]["mean"][...]
    assert means.shape == (3, 8)
    np.testing.assert_array_equal(means[0], 0)  # subnetwork 0 is never trained
    assert jnp.any(means[1] != means[2])
    assert jnp.any(result.final[1]["norm"]["mean"][...] != means[2])
    assert jnp.any(result.model.first.kernel[...] != result.state.params["first"]["kernel"][...])


def test_a_resumed_run_is_the_undisturbed_one(tmp_path):
    whole = fit(Plain(), None, (X, Y), steps=6, finetune=2, **QUIET)
    for steps, finetune in ((3, 0), (6, 2)):
        settings = {"steps": steps, "finetune": finetune, "checkpoint": Checkpoint(tmp_path)}
        again = fit(Plain(), None, (X, Y), **settings, **QUIET)
    for a, b in zip(*(jax.tree.leaves((run.state, run.final)) for run in (whole, again)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_split_over_devices_change_nothing():
    settings = {"steps": 3, "batch_size": 32}
    mesh = jax.make_mesh((4,), ("data",))
    one, four = (fit(Plain(), ConcreteMask(6), (X, Y), mesh=m, **settings, **QUIET) for m in (None, mesh))
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(four.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_regression_with_a_learned_noise_and_extractor():
    y = X[:, :1] + 0.3 * RNG.normal(size=(160, 1))
    settings = {"loss": "gaussian", "scale": LearnedScale(1.0), "hyper_optimiser": optax.adam(0.03)}
    result = fit(Plain(1), nnx.PathContains("first"), (X, y), steps=60, optimiser=optax.adam(0.02), **settings, **QUIET)
    assert set(result.hyper) == {"model", "scale"}
    assert list(result.state.params) == ["last"]
    assert 0.2 < result.scale() < 0.9
    assert jnp.any(result.model.first.kernel[...] != Plain(1).first.kernel[...])
    predicted = result.predict(X, KEY)
    assert predicted.shape == (160, 1)
    assert jnp.mean((predicted - y) ** 2) < 0.5 * y.var()


def test_without_hyperparameters_it_still_measures():
    result = fit(Plain(), None, (X, Y), steps=2, **QUIET)
    assert result.hyper == {}
    assert np.isfinite(result.log_marginal)


class Unused(Plain):
    def __init__(self):
        super().__init__()
        self.rate = Hyper(jnp.asarray(0.1))


class Zero(Plain):
    """Starts with a classifier of zeros, so that no hyperparameter has a gradient at initialisation."""

    def __init__(self):
        super().__init__()
        self.last.kernel[...] = jnp.zeros((8, 2))


def test_a_hyperparameter_without_effect_is_refused():
    message = r"the hyperparameter model/rate has no gradient: it does not enter the forward pass.*response='one_step'"
    with pytest.raises(ValueError, match=message):
        fit(Unused(), None, (X, Y), steps=2, **QUIET)


def test_a_gradient_that_is_zero_only_at_the_start_is_not():
    fit(Zero(), ConcreteMask(6), (X, Y), steps=1, **QUIET)


def test_a_hyperparameter_that_is_not_finite_is_named(tmp_path):
    settings = {"hyper_optimiser": optax.sgd(jnp.inf), "checkpoint": Checkpoint(tmp_path, every=1)}
    with pytest.raises(NonFiniteError, match=r"hyper/inputs/phi.*step 1"):
        fit(Plain(), ConcreteMask(6), (X, Y), steps=3, log_every=1, **settings, **QUIET)


def bad(**changes):
    return {"model": Plain(), "hyper": None, "data": (X, Y), "steps": 2, **QUIET, **changes}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (bad(chunks=(0.8, 0.1)), ValueError, "sum to 1"),
        (bad(chunks=(1.0,)), ValueError, "K >= 2"),
        (bad(parameters=(0.5, 0.3, 0.2)), ValueError, "chunks has 2 shares and parameters 3"),
        (bad(data=(X, Y + 0.5)), ValueError, "needs y with one integer class per example"),
        (bad(data=(X, Y - 1)), ValueError, "is -1, but classes are counted from 0"),
        (bad(data=(X, Y + 3)), ValueError, "outputs are needed, but the model has"),
        (bad(data=(np.where(X[2, 1] == X, np.nan, X), Y)), ValueError, r"not finite, at \(2, 1\)"),
        (bad(data=X), ValueError, r"data must be a pair \(x, y\)"),
        (bad(data=(X[:9], Y)), ValueError, "first axes"),
        (bad(chunks=(0.999, 0.001)), ValueError, "shard 2 of 2 would be empty"),
        (bad(schedule="any"), ValueError, "schedule must be one of"),
        (bad(response="neumann"), ValueError, "response_lr"),
        (bad(aggregate="sum"), ValueError, "aggregate='sum' is unknown"),
        (bad(loss="hinge"), ValueError, "loss='hinge' is unknown"),
        (bad(samples=0), ValueError, "at least one sample"),
        (bad(model=lambda x: x), TypeError, "model must be a flax NNX module"),
    ],
)
def test_bad_input(unchecked_types, arguments, error, message):
    model, hyper, data = (arguments.pop(name) for name in ("model", "hyper", "data"))
    with pytest.raises(error, match=message):
        fit(model, hyper, data, **arguments)


def test_a_variable_cannot_be_weight_and_hyperparameter():
    class Inputs(nnx.Module):
        def __init__(self, model):
            self.shared = model.first.bias

        def __call__(self, x, key, samples):
            return jnp.broadcast_to(x, (samples, *x.shape))

    model = Plain()
    with pytest.raises(ValueError, match="shared of Inputs is first/bias of the model"):
        fit(model, Inputs(model), (X, Y), steps=2, **QUIET)
