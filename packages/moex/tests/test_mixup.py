"""Mixup of inputs and of hidden features."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.moex import ManifoldMixup, identity_plan, mix_features, mixup, sample_plan

KEY = jax.random.key(5)
X = jax.random.normal(KEY, (5, 3, 4))
LABELS = np.array([0, 1, 2, 0, 1])


@pytest.mark.parametrize("per", ["batch", "elem"])
def test_inputs_and_targets_are_mixed_alike(per):
    mix = functools.partial(mixup, per=per, num_classes=3)
    x, targets = jax.jit(mix)(KEY, X, LABELS)
    plan = jax.jit(lambda key: sample_plan(key, 5, 1.0, alpha=1, per=per))(KEY)
    lam = np.broadcast_to(plan.lam, 5)
    assert (len(np.unique(lam)) == 1) == (per == "batch")
    features, one_hot = np.asarray(X), np.eye(3)[LABELS]
    weight = lam[:, None, None]
    np.testing.assert_allclose(x, weight * features + (1 - weight) * features[plan.swap_index], atol=1e-12)
    expected = lam[:, None] * one_hot + (1 - lam[:, None]) * one_hot[plan.swap_index]
    np.testing.assert_allclose(targets, expected, atol=1e-12)


def test_off_changes_no_bit():
    x = X.astype(jnp.float32).at[0, 0, 0].set(jnp.inf)
    np.testing.assert_array_equal(mix_features(x, identity_plan(5)), x)
    mixed, targets = mixup(KEY, x, LABELS, p=0.0, num_classes=3)
    np.testing.assert_array_equal(mixed, x)
    np.testing.assert_array_equal(targets, np.eye(3)[LABELS])


def test_half_precision_and_gradient():
    plan = sample_plan(KEY, 5, 1.0, 0.3)
    assert mix_features(X.astype(jnp.bfloat16), plan).dtype == jnp.bfloat16
    gradient = jax.grad(lambda x: mix_features(x, plan).sum())(X)
    np.testing.assert_allclose(gradient, 1, atol=1e-12)  # weights of a permutation sum to 1


def test_between_two_layers():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.mix, self.second = (
                nnx.Linear(4, 6, rngs=rngs),
                ManifoldMixup(),
                nnx.Linear(6, 2, rngs=rngs),
            )

        def __call__(self, x, plan=None):
            return self.second(self.mix(self.first(x), plan))

    net, plan, x = Net(nnx.Rngs(0)), sample_plan(KEY, 5, 1.0, 0.3), X[:, 0].astype(jnp.float32)
    expected = net.second(mix_features(net.first(x), plan))
    np.testing.assert_allclose(net(x, plan), expected, rtol=1e-6)
    np.testing.assert_array_equal(net(x), net.second(net.first(x)))
    net.eval()
    np.testing.assert_array_equal(net(x, plan), net(x))
