"""Weights from and to PyTorch: there and back, and the authors' own, whose published scores they must give."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.mgrn._init import init
from offprint.mgrn._layer import apply
from offprint.mgrn._torch import from_torch, to_torch
from offprint.mgrn.data import pendigits

PAIR = ("mGRN_two_groups_sizeof_4", "mGRN_total_split_sizeof_2", "mGRN_total_split_sizeof_8")


def test_there_and_back():
    groups = [[0, 2, 5], [1], [3, 4]]
    make = partial(init, groups=groups, hidden=3, size_of=1.34, out=2, dtype=jnp.float64)
    params = jax.jit(make)(jax.random.key(0))
    state = to_torch(params)
    assert state["marginal_0.cell.w_ih"].shape == (9, 3)
    assert state["joint.cell.u_c"].shape == (4, 9)
    back = from_torch(state, groups=groups)
    assert back.config.joint == params.config.joint
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    sorted_columns = np.array([column for group in groups for column in group])
    x = np.random.default_rng(0).normal(size=(2, 9, 6))
    out = jax.jit(apply)(from_torch(state), x[..., sorted_columns])
    np.testing.assert_allclose(out, jax.jit(apply)(params, x), rtol=0, atol=1e-15)


def test_without_a_head():
    params = jax.jit(partial(init, groups=(1, 2), hidden=3, size_of=2, out=None))(jax.random.key(0))
    assert from_torch(to_torch(params)).head is None


def test_baselines_are_recognised(golden, weights):
    state = weights(golden("baseline_gru"))
    back = to_torch(*from_torch(state))
    assert set(back) == set(state)
    for name, value in state.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("name", PAIR)
def test_published_weights_of_pair_1(name, pretrained, weights):
    arrays = pretrained(f"pair01_{name}")
    out = jax.jit(partial(apply, time_major=True))(from_torch(weights(arrays)), arrays["test_inputs_first_512"])
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[:, 0], arrays["test_predictions_first_512"].ravel(), rtol=0, atol=2e-4)


def test_published_weights_of_pendigits(pretrained, weights):
    """3458 of 3498 test sequences right, the published accuracy .988565."""
    arrays = pretrained("pendigits")
    data = pendigits()
    train = data.X_train.astype(np.float64)
    mean, std = train.mean(axis=(0, 1)), train.std(axis=(0, 1))
    x = ((data.X_test - mean) / std).astype(np.float32)
    logits = jax.jit(apply)(from_torch(weights(arrays)), x)
    np.testing.assert_allclose(logits[:256], arrays["test_logits_first_256"], rtol=0, atol=1e-4)
    predicted = np.asarray(logits).argmax(axis=1)
    np.testing.assert_array_equal(predicted, arrays["test_argmax"])
    assert int(np.sum(predicted == data.y_test)) == 3458
