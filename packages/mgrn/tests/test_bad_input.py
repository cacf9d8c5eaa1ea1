"""Bad input to the layer: one clear error each."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.mgrn._budget import count_parameters, match_parameters
from offprint.mgrn._checks import check_labels, check_sequences
from offprint.mgrn._config import DropoutRates, Execution
from offprint.mgrn._groups import parse_groups
from offprint.mgrn._heads import MGRNClassifier, MGRNRegressor
from offprint.mgrn._init import init
from offprint.mgrn._layer import apply, initial_carry, step
from offprint.mgrn._modules import MGRN, JointMemory
from offprint.mgrn._params import MGRNCarry
from offprint.mgrn._stacked import Bidirectional, Stacked
from offprint.mgrn._torch import from_torch, to_torch

PARAMS = init(jax.random.key(0), groups=(2, 1), hidden=4, size_of=2)
X = np.zeros((2, 5, 3), np.float32)
HOLED = X.copy()
HOLED[1, 3, 0], HOLED[1, 4, 2] = np.nan, np.inf


def layer(groups=(2, 1), hidden=4, size_of=1):
    return MGRN(groups, hidden, size_of, rngs=nnx.Rngs(0))


CASES = {
    # groups and sizes
    "sizes that sum to something else": (
        lambda: parse_groups((8, 7), 16),
        "the groups' sizes (8, 7) sum to 15, but the input has F=16 columns.",
    ),
    "columns missing and twice": (
        lambda: parse_groups([[0, 1], [1, 4]], 4),
        "the groups' columns must be a partition of 0..3 (F=4), but of their 4 columns these are not right: "
        "missing: 2, 3; more than once: 1; outside 0..3: 4.",
    ),
    "a gap in the columns": (
        lambda: parse_groups([[0, 1], [3]]),
        "the groups' columns must be a partition of 0..3 (F=4), but of their 3 columns these are not right: "
        "missing: 2.",
    ),
    "no group": (
        lambda: parse_groups(()),
        "groups is empty; give sizes such as (8, 8) or one list of column indices per group.",
    ),
    "an empty group": (
        lambda: parse_groups((2, 0)),
        "every group needs at least 1 column, but group 1 of sizes (2, 0) has 0.",
    ),
    "an empty list": (
        lambda: parse_groups([[0], []]),
        "every group needs at least 1 column, but group 1 of 2 is empty.",
    ),
    "sizes and lists": (
        lambda: parse_groups([2, [0, 1]]),
        "groups mixes sizes and lists of columns: [2, [0, 1]]; give sizes only or lists only.",
    ),
    "no hidden unit": (lambda: layer(hidden=0), "hidden must be at least 1, got 0."),
    "no joint unit": (
        lambda: layer(hidden=3, size_of=0.3),
        "the joint memory needs at least 1 unit, but int(size_of * hidden) = int(0.3 * 3) = 0; give a larger size_of "
        "or hidden.",
    ),
    "no output": (
        lambda: init(jax.random.key(0), groups=(1,), hidden=2, out=0),
        "outputs must be at least 1, or None for no head, got 0.",
    ),
    "a joint memory of nothing": (
        lambda: JointMemory(3, 0, rngs=nnx.Rngs(0)),
        "a joint memory needs at least 1 feature, unit and candidate, got features=3, units=0, candidates=3.",
    ),
    "unknown initialisation": (
        lambda: init(jax.random.key(0), groups=(1,), hidden=2, init="glorot"),
        'init must be "torch" or "keras", got \'glorot\'.',
    ),
    "unknown fan": (
        lambda: init(jax.random.key(0), groups=(1,), hidden=2, joint_init_fan="both"),
        'joint_init_fan must be "marginal" or "joint", got \'both\'.',
    ),
    # sequences
    "one sequence without a batch": (
        lambda: apply(PARAMS, X[0]),
        "x must have shape (B, T, F) = (batch, time, 3), got shape (5, 3). A single sequence needs a batch axis: "
        "x[None].",
    ),
    "rank 4, time first": (
        lambda: apply(PARAMS, X[None], time_major=True),
        "x must have shape (T, B, F) = (time, batch, 3), got shape (1, 2, 5, 3).",
    ),
    "other features": (
        lambda: apply(PARAMS, X[..., :2]),
        "x has F=2 features (shape (2, 5, 2)), but the layer was made for F=3; the shape needed is (B, T, F) = "
        "(batch, time, 3).",
    ),
    "features not last": (
        lambda: layer()(X.swapaxes(1, 2)),
        "x has F=5 features (shape (2, 3, 5)), but the layer was made for F=3; the shape needed is (B, T, F) = "
        "(batch, time, 3). The feature axis comes last.",
    ),
    "no step": (
        lambda: apply(PARAMS, X[:, :0]),
        "x of shape (2, 0, 3) is empty; at least one sequence of one step is needed.",
    ),
    "complex": (lambda: apply(PARAMS, X + 0j), "x must hold real numbers, got dtype complex64."),
    "not finite": (
        lambda: apply(PARAMS, HOLED),
        "x has 2 NaN or infinite values, the first at index (1, 3, 0) (batch, time, feature); impute them, or have "
        'them replaced by 0: nan_policy="zero" where data are loaded or a model is fitted.',
    ),
    "not finite on the device": (
        lambda: layer()(jnp.asarray(HOLED), lengths=np.array([5, 4])),
        "x has 1 NaN or infinite values, the first at index (1, 3, 0) (batch, time, feature); impute them, or have "
        'them replaced by 0: nan_policy="zero" where data are loaded or a model is fitted.',
    ),
    # lengths
    "a length of 0": (
        lambda: apply(PARAMS, X, lengths=np.array([0, 5])),
        "lengths must lie in [1, T] = [1, 5], got 0 for sequence 0.",
    ),
    "lengths beyond T": (
        lambda: apply(PARAMS, X, lengths=np.array([6, 7])),
        "lengths must lie in [1, T] = [1, 5], got 6 for sequence 0 and 1 more outside.",
    ),
    "a length too few": (
        lambda: apply(PARAMS, X, lengths=np.array([5])),
        "lengths must have shape (B,) = (2,), one per sequence, got shape (1,).",
    ),
    "batch and time swapped": (
        lambda: apply(PARAMS, X, lengths=np.array([2, 2, 2, 2, 2])),
        "lengths must have shape (B,) = (2,), one per sequence, got shape (5,). Are the batch and time axes of the "
        "input swapped?",
    ),
    "lengths that are no integers": (
        lambda: apply(PARAMS, X, lengths=np.array([5.0, 4.0])),
        "lengths must be integers, got dtype float64.",
    ),
    # streaming
    "a step with time": (
        lambda: step(PARAMS, initial_carry(PARAMS, 2), X),
        "x_t must have shape (B, F) = (batch, 3), got shape (2, 5, 3).",
    ),
    "a carry of another batch": (
        lambda: step(PARAMS, initial_carry(PARAMS, 3), X[:, 0]),
        "carry must have shapes (B, G, H) = (2, 2, 4) and (B, J) = (2, 8), got (3, 2, 4) and (3, 8).",
    ),
    "a step that is not finite": (
        lambda: step(PARAMS, MGRNCarry(np.zeros((2, 2, 4)), np.zeros((2, 8))), HOLED[:, 3]),
        "x_t has 1 NaN or infinite values, the first at index (1, 0).",
    ),
    # dropout
    "a dropout rate of 1": (
        lambda: DropoutRates(input=1.0),
        "the input dropout rate must lie in [0, 1), got 1.0.",
    ),
    "a negative dropout rate": (
        lambda: MGRN((2, 1), 4, recurrent_dropout=-0.1, rngs=nnx.Rngs(0)),
        "the recurrent dropout rate must lie in [0, 1), got -0.1.",
    ),
    "dropout without a key": (
        lambda: apply(PARAMS, X, rates=DropoutRates(output=0.5)),
        "DropoutRates(input=0.0, recurrent=0.0, output=0.5) needs a random key: pass key=jax.random.key(seed), or "
        "leave rates out to evaluate.",
    ),
    # execution
    "no unrolling": (lambda: apply(PARAMS, X, unroll=0), 'unroll must be at least 1 or "auto", got 0.'),
    "unknown derivative": (
        lambda: apply(PARAMS, X, vjp="manual"),
        'vjp must be "custom" or "autodiff", got \'manual\'.',
    ),
    "unknown kernel": (
        lambda: apply(PARAMS, X, kernel="cuda"),
        'kernel must be "scan", "pallas" or "interpret", got \'cuda\'.',
    ),
    "a kernel without derivative": (
        lambda: Execution(kernel="pallas", vjp="autodiff"),
        "kernel='pallas' has no automatic derivative; use vjp=\"custom\".",
    ),
    "negative chunks": (
        lambda: apply(PARAMS, X, remat=-2),
        "remat must be True, False or a number of steps, got -2.",
    ),
    # layers of layers
    "nothing to stack": (lambda: Stacked([]), "Stacked needs at least one layer."),
    "a stack that does not fit": (
        lambda: Stacked([layer(), layer()]),
        "layer 1 of the stack has features=3, but layer 0 has units=4; they must be equal.",
    ),
    "directions of two inputs": (
        lambda: Bidirectional(layer(), layer((2, 2))),
        "both directions read the same input, but features are 3 and 4.",
    ),
    "candidates of other sequences": (
        lambda: JointMemory(3, 4, 6, rngs=nnx.Rngs(0))(X, np.zeros((2, 4, 6), np.float32)),
        "candidates must have the batch and time axes of x, (2, 5), got shape (2, 4, 6).",
    ),
    # targets
    "a label too large": (
        lambda: MGRNClassifier((2, 1), 4, num_outputs=3, rngs=nnx.Rngs(0)).loss(X, np.array([2, 3])),
        "class labels must lie in [0, C) = [0, 3), got 3 at index 1 of y.",
    ),
    "labels that are no integers": (
        lambda: check_labels(np.array([0.0, 1.0]), 3),
        "y must hold integer class labels, got dtype float64.",
    ),
    "labels in a matrix": (
        lambda: check_labels(np.zeros((2, 3), int), 3),
        "y must have shape (B,), one class label per sequence, got shape (2, 3).",
    ),
    "targets that are not finite": (
        lambda: MGRNRegressor((2, 1), 4, rngs=nnx.Rngs(0)).loss(X, np.array([0.0, np.nan])),
        "y has 1 NaN or infinite values, the first at index (1,).",
    ),
    "targets of another shape": (
        lambda: MGRNRegressor((2, 1), 4, rngs=nnx.Rngs(0)).loss(X, np.zeros((2, 2))),
        "y must have shape (B, C) = (2, 1), got shape (2, 2).",
    ),
    # budget
    "an unknown model": (
        lambda: count_parameters("rnn", (2, 1), 4),
        "model must be one of 'mgrn', 'lstm', 'gru', 'channelwise', got 'rnn'.",
    ),
    "a budget too small": (
        lambda: match_parameters(10, (8, 8)),
        "the smallest mgrn of these groups, hidden=1, has 81 parameters, more than the target of 10.",
    ),
    # weights
    "weights that do not fit": (
        lambda: from_torch({**to_torch(PARAMS), "joint.cell.b_z": np.zeros(7)}),
        "joint.cell.b_z has shape (7,), but with G=2, H=4, J=8, F=3 it must be (8,).",
    ),
    "weights of other groups": (
        lambda: from_torch(to_torch(PARAMS), groups=(1, 2)),
        "the state has groups of [2, 1] columns, but the groups given have [1, 2].",
    ),
}

NOTE = r"(\n-+\nFor simplicity, JAX has removed .*)?"  # JAX adds a note where it shortens a traceback


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES.keys())
def test_error(call, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + NOTE + "$"):
        call()


def test_missing_and_unknown_weights_are_listed():
    state = to_torch(PARAMS)
    del state["marginal_1.cell.w_hh"], state["fc1.bias"]
    state["fc2.bias"] = np.zeros(1)
    message = (
        "the state of an mGRN of 2 group(s) lacks marginal_1.cell.w_hh, fc1.bias and has fc2.bias that is not known"
    )
    with pytest.raises(KeyError, match=re.escape(message)):
        from_torch(state)


def test_missing_values_can_be_put_to_zero():
    cleaned, _ = check_sequences(HOLED, 3, nan_policy="zero")
    np.testing.assert_array_equal(cleaned, np.where(np.isfinite(HOLED), HOLED, 0))


def test_values_are_not_checked_while_tracing():
    out = jax.jit(lambda x, n: apply(PARAMS, x, lengths=n))(HOLED, jnp.array([5, 9]))
    assert out.shape == (2, 1)
