"""The NNX modules: one call for all, equal to the pure functions, trained, stacked, both directions, as a cell."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from offprint.core.train import FullBatch, TrainState, fit, supervised_step
from offprint.mgrn._budget import count_parameters
from offprint.mgrn._cell import MGRNCell
from offprint.mgrn._config import DropoutRates, Execution
from offprint.mgrn._gru import GRU
from offprint.mgrn._heads import MGRNClassifier, MGRNRegressor
from offprint.mgrn._layer import apply
from offprint.mgrn._lengths import reverse_sequences
from offprint.mgrn._modules import MGRN, JointMemory, MarginalMemory
from offprint.mgrn._params import DropoutMasks
from offprint.mgrn._stacked import Bidirectional, Layer, Stacked

B, T, F = 3, 9, 4
GROUPS = [[0, 3], [1, 2]]
LENGTHS = np.array([9, 2, 5])
X = np.random.default_rng(0).normal(size=(B, T, F))


def rngs():
    return nnx.Rngs(0)


def mgrn(**options):
    return MGRN(GROUPS, 3, 2, param_dtype=jnp.float64, rngs=rngs(), **options)


LAYERS = {
    "MGRN": mgrn,
    "MarginalMemory": lambda: MarginalMemory(GROUPS, 3, param_dtype=jnp.float64, rngs=rngs()),
    "JointMemory": lambda: JointMemory(F, 5, param_dtype=jnp.float64, rngs=rngs()),
    "Stacked": lambda: Stacked([mgrn(), MGRN((6,), 2, kernel_init="keras", param_dtype=jnp.float64, rngs=rngs())]),
    "Bidirectional": lambda: Bidirectional(mgrn(), GRU(F, 3, param_dtype=jnp.float64, rngs=rngs())),
}


@nnx.jit(static_argnames="sequences")
def call(layer, x, lengths=None, sequences=False):
    return layer(x, lengths=lengths, sequences=sequences)


@nnx.jit
def drop(layer, rngs):
    return layer(X, rngs=rngs)


def close(a, b, atol=1e-12):
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_one_signature(name):
    layer = LAYERS[name]()
    assert isinstance(layer, Layer)
    assert layer.features == F
    assert layer.num_parameters == sum(leaf.size for leaf in jax.tree.leaves(nnx.state(layer, nnx.Param)))
    last, whole = call(layer, X, LENGTHS), call(layer, X, LENGTHS, sequences=True)
    assert last.shape == (B, layer.units)
    assert whole.shape == (B, T, layer.units)
    if name == "Bidirectional":  # the one that reads backwards ends at step 0
        close(last[:, :6], whole[np.arange(B), LENGTHS - 1, :6])
        close(last[:, 6:], whole[:, 0, 6:])
    else:
        close(last, whole[np.arange(B), LENGTHS - 1])
    garbage = np.where(np.arange(T)[None, :, None] < LENGTHS[:, None, None], X, np.nan)
    np.testing.assert_array_equal(call(layer, garbage, LENGTHS), last)
    alone = call(layer, X[1:2, :2])  # without padding
    close(last[1:2], alone)


def test_mgrn_is_apply_and_its_two_memories():
    layer = mgrn()
    out = call(layer, X, LENGTHS)
    pure, states = jax.jit(partial(apply, return_states=True))(layer.params, X, lengths=LENGTHS)
    close(out, pure)
    candidates = nnx.jit(lambda memory: memory.candidates(X, lengths=LENGTHS))(layer.marginal)
    close(out, nnx.jit(lambda memory: memory(X, candidates, lengths=LENGTHS))(layer.joint))
    close(call(layer.marginal, X, LENGTHS, sequences=True), states.marginal.reshape(B, T, -1))
    assert layer.num_parameters == count_parameters("mgrn", GROUPS, 3, 2)
    close(call(MGRN.from_params(layer.params), X, LENGTHS), out)


def test_cell_in_nnx_rnn():
    layer = mgrn()
    cell = MGRNCell.from_params(layer.params)
    whole = call(layer, X, sequences=True)
    close(nnx.RNN(cell)(jnp.asarray(X)), whole)
    carry, _ = nnx.RNN(cell, return_carry=True)(jnp.asarray(X), seq_lengths=jnp.array(LENGTHS))
    close(carry[1], call(layer, X, LENGTHS))
    carry, out = cell(cell.initialize_carry((2, B, F)), jnp.stack([X[:, 0], X[:, 1]]))
    assert carry.h.shape == (2, B, 2, 3)
    close(out[0], whole[:, 0])


def test_reversal_is_its_own_inverse():
    turned = reverse_sequences(jnp.asarray(X), jnp.array(LENGTHS))
    np.testing.assert_array_equal(turned[2, :5], X[2, :5][::-1])
    np.testing.assert_array_equal(turned[2, 5:], X[2, 5:])
    np.testing.assert_array_equal(reverse_sequences(turned, jnp.array(LENGTHS)), X)
    np.testing.assert_array_equal(reverse_sequences(jnp.asarray(X)), X[:, ::-1])


# --- dropout and modes ----------------------------------------------------------------------------------------------


def test_dropout_where_keys_are_given():
    layer = mgrn(input_dropout=0.5, recurrent_dropout=0.2)
    plain = call(layer, X)
    first, again, other = (drop(layer, nnx.Rngs(dropout=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - plain).max() > 1e-3
    layer.train()
    with pytest.raises(ValueError, match="in train mode needs random keys: call the layer with rngs="):
        layer(X)
    layer.eval()
    np.testing.assert_array_equal(call(layer, X), plain)


def test_dropout_of_the_memories_alone():
    marginal = MarginalMemory(GROUPS, 3, input_dropout=0.5, recurrent_dropout=0.2, param_dtype=jnp.float64, rngs=rngs())
    joint = JointMemory(F, 5, input_dropout=0.5, recurrent_dropout=0.2, param_dtype=jnp.float64, rngs=rngs())
    for layer in (marginal, joint):
        assert np.abs(drop(layer, nnx.Rngs(dropout=0)) - call(layer, X)).max() > 1e-3


def test_masks_of_a_module_are_those_of_the_functions():
    """Input dropout 0.5 doubles or drops: all three masks are drawn by themselves, one for each sequence."""
    layer = mgrn(input_dropout=0.5)
    by_key = jax.jit(partial(apply, rates=DropoutRates(input=0.5)))
    close(drop(layer, nnx.Rngs(dropout=3)), by_key(layer.params, X, key=nnx.Rngs(dropout=3).dropout()))
    doubled = DropoutMasks(marginal_inputs=np.full((B, F), 2.0))
    assert np.abs(jax.jit(apply)(layer.params, X, masks=doubled) - call(layer, X)).max() > 1e-3


def test_execution_is_passed_on():
    layer = mgrn(execution=Execution(vjp="autodiff", remat=4))
    close(call(layer, X), call(mgrn(), X))


# --- heads ----------------------------------------------------------------------------------------------------------


def test_classifier():
    model = MGRNClassifier(GROUPS, 3, 2, 4, kernel_init="keras", rngs=rngs())
    x = X.astype(np.float32)
    results = nnx.jit(lambda model, y: (model(x), model.probabilities(x), model.loss(x, y)))
    y = np.array([0, 3, 1])
    logits, p, loss = map(np.asarray, results(model, y))
    assert logits.shape == (B, 4)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(B), y]).mean(), rtol=1e-5)
    labels = MGRNClassifier(GROUPS, 3, 2, 4, multilabel=True, rngs=rngs())
    targets = np.eye(4)[y]
    logits, p, loss = map(np.asarray, results(labels, targets))
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    np.testing.assert_allclose(loss, -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean(), rtol=1e-5)


def test_regressor_learns():
    """Training by core's loop: the mean over time of the first column."""
    x = np.random.default_rng(1).normal(size=(64, T, F)).astype(np.float32)
    y = x[:, :, 0].mean(axis=1)
    model = MGRNRegressor(GROUPS, 4, 2, input_dropout=0.0, rngs=rngs())
    loss = nnx.jit(lambda model: model.loss(x, y))
    before = float(loss(model))
    step = supervised_step(lambda model, batch, key: model.loss(*batch, rngs=nnx.Rngs(dropout=key)))
    state = TrainState.create(model, optax.adam(2e-2))
    result = fit(step, state, FullBatch((jnp.asarray(x), jnp.asarray(y))), num_steps=150, key=jax.random.key(0))
    assert float(loss(result.state.model)) < 0.1 * before
