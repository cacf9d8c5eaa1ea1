"""Summaries, overlaps, effective sparsity, training cost and accuracy per parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from offprint.sparsity import _efficiency as efficiency
from offprint.sparsity import _metrics as metrics

SHAPES = {"w1": (4, 6), "w2": (6, 5), "w3": (5, 3)}


def mlp(p, x):
    return jax.nn.relu(jax.nn.relu(x @ p["w1"]) @ p["w2"]) @ p["w3"]


def random_masks(seed, density):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < density for name, shape in SHAPES.items()}


def test_summary():
    params = {"kernel": np.ones((4, 5), np.float32), "bias": np.ones(5, np.float32)}
    masks = {"kernel": np.arange(20).reshape(4, 5) < 5, "bias": None}
    found = metrics.summary(params, masks)
    assert (found.size, found.nnz) == (25, 10)
    assert found.sparsity == pytest.approx(0.75)
    assert found.total_sparsity == pytest.approx(0.6)
    assert found.compression == pytest.approx(2.5)
    assert {leaf.path: (leaf.nnz, leaf.masked) for leaf in found.leaves} == {"kernel": (5, True), "bias": (5, False)}
    assert "0.7500" in str(found)
    pruned = {"kernel": np.where(masks["kernel"], 1.0, 0.0), "bias": np.zeros(5)}
    assert metrics.summary(pruned).sparsity == pytest.approx(0.75)
    assert metrics.summary({"bias": np.ones(3)}).sparsity == 0


def reachable(masks):
    """Weights on a path, by the gradient of the all-ones positive network (small enough not to overflow)."""
    ones = {name: np.asarray(mask, np.float64) for name, mask in masks.items()}
    forward, above = [np.ones((1, 4))], None
    for name in SHAPES:
        forward.append(forward[-1] @ ones[name])
    above, used = np.ones((1, 3)), 0
    for name, below in zip(reversed(SHAPES), reversed(forward[:-1])):
        used += np.count_nonzero(ones[name] * (below.T @ above))
        above = above @ ones[name].T
    return 1 - used / sum(m.size for m in masks.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.05, 0.15, 0.3]))
def test_effective_sparsity_is_that_of_the_positive_network(seed, density):
    masks = random_masks(seed, density)
    params = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    found = metrics.effective_sparsity(mlp, params, masks, jax.ShapeDtypeStruct((2, 4), jnp.float32))
    assert found == pytest.approx(reachable(masks), abs=1e-12)
    assert found >= metrics.summary(params, masks).sparsity - 1e-12


def test_effective_sparsity_of_a_convolutional_network_with_biases():
    params = {
        "k1": np.ones((3, 3, 2, 4), np.float32),
        "b": np.ones(4, np.float32),
        "k2": np.ones((3, 3, 4, 3), np.float32),
    }

    def apply(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        h = lax.conv_general_dilated(x, p["k1"], (1, 1), "SAME", dimension_numbers=numbers) + p["b"]
        return lax.conv_general_dilated(jnp.tanh(h), p["k2"], (1, 1), "SAME", dimension_numbers=numbers)

    masks = {"k1": np.ones((3, 3, 2, 4), bool), "b": None, "k2": np.ones((3, 3, 4, 3), bool)}
    masks["k1"][..., 1] = False  # its output is the bias alone
    masks["k2"][:, :, 3] = False  # its output goes nowhere
    used = 2 * 9 * 2 + 2 * 9 * 3
    found = metrics.effective_sparsity(apply, params, masks, jax.ShapeDtypeStruct((1, 4, 4, 2), jnp.float32))
    assert found == pytest.approx(1 - used / (72 + 108))


def test_overlap_and_distance():
    one = {"a": np.array([1, 1, 0, 0], bool), "b": None, "c": np.array([[1, 0]], bool)}
    other = {"a": np.array([1, 0, 1, 0], bool), "b": None, "c": np.array([[1, 1]], bool)}
    assert float(jax.jit(metrics.mask_overlap)(one, other)) == pytest.approx(2 / 5)
    assert float(jax.jit(metrics.mask_distance)(one, other)) == pytest.approx(3 / 6)
    stacked = {"a": jnp.stack([one["a"], other["a"]]), "b": None, "c": jnp.stack([one["c"], other["c"]])}
    both = jax.vmap(lambda m: metrics.mask_overlap(m, other), in_axes=({"a": 0, "b": None, "c": 0},))(stacked)
    np.testing.assert_allclose(both, [2 / 5, 1.0], rtol=1e-6)
    nothing = {"a": np.zeros(4, bool), "b": None, "c": np.zeros((1, 2), bool)}
    assert float(metrics.mask_overlap(nothing, nothing)) == 1
    whole = {"a": None, "b": None, "c": other["c"]}
    assert float(metrics.mask_distance(one, whole)) == pytest.approx(3 / 6)  # None keeps all


def test_compression():
    masks = {"w": np.arange(64).reshape(8, 8) < 8, "b": None}
    assert metrics.compression(masks, "bitmap", 16) == pytest.approx(64 * 16 / (64 + 8 * 16))
    assert metrics.compression(masks, "dense") == 1
    assert metrics.compression(masks, "best") >= metrics.compression(masks, "bitmap")
    params = {"w": np.ones((8, 8)), "b": np.ones(8)}
    assert metrics.compression(masks, params=params) == pytest.approx(72 * 32 / (64 + 8 * 32 + 8 * 32))


def test_training_flops_give_rigls_table():
    # RigL's table for ResNet-50 with ERK at 80 % and 90 %: training cost .42 and .25 of dense.
    for share, table in ((0.4138, 0.42), (0.2418, 0.25)):
        assert metrics.training_flops("rigl", 1.0, share, every=100) / 3 == pytest.approx(table, abs=0.006)
        assert metrics.training_flops("static", 1.0, share) == pytest.approx(3 * share)
        assert metrics.training_flops("snfs", 1.0, share) == pytest.approx(2 * share + 1)
    assert metrics.training_flops("dense", 2.0, 1.0) == 6
    assert metrics.training_flops("pruning", 1.0, [1.0, 0.5, 0.3]) == pytest.approx(3 * 0.6)
    assert metrics.training_flops("rigl", 1.0, 1.0, every=7) == pytest.approx(3)  # nothing is sparse: dense


def test_accuracy_per_parameter():
    np.testing.assert_allclose(efficiency.accuracy_density([76.0, 70.0], [25.0, 5.0]), [3.04, 14.0])
    assert efficiency.correct_per_parameter(900, 300) == 3
    hardness = np.array([0.1, 0.9, 0.5, 0.5])
    correct = np.array([1, 0, 1, 1])
    assert efficiency.weighted_correct_per_parameter(correct, hardness, 2) == pytest.approx(1.1 / 0.5 / 2)
    same = efficiency.weighted_correct_per_parameter(correct, np.full(4, 0.3), 2)
    assert same == pytest.approx(float(efficiency.correct_per_parameter(3, 2)))


def test_parameter_slack():
    sparsity, accuracy = [0.9, 0.5, 0.8], [70.0, 76.5, 75.0]
    assert efficiency.parameter_slack(sparsity, accuracy, 76.0, 1.0) == pytest.approx(0.8)
    assert efficiency.parameter_slack(sparsity, accuracy, 76.0, 2.0) == pytest.approx(0.8 + 0.1 / 5)
    assert efficiency.parameter_slack(sparsity, accuracy, 76.0, 10.0) == pytest.approx(0.9)
    assert efficiency.parameter_slack([0.5], [75.0], 76.0, 0.5) == pytest.approx(0.25)  # from the dense point
    assert efficiency.parameter_slack([0.5], [1.0], 0.0, 0.5, lower_is_better=True) == pytest.approx(0.25)
    assert np.isnan(efficiency.parameter_slack([0.0, 0.5], [70.0, 60.0], 76.0, 1.0))


def test_dense_equivalent():
    sizes, accuracy = [1e6, 1e8, 1e7, 2e7], [60.0, 80.0, 70.0, 65.0]  # the last is worse than a smaller one
    ratio = efficiency.dense_equivalent([65.0, 80.0, 85.0], [1e6, 1e7, 1e7], sizes, accuracy)
    np.testing.assert_allclose(ratio, [10**0.5, 10.0, np.nan])


MASKS = {"w": np.ones(3, bool)}
NONE = {"w": None}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.summary({"w": np.ones(3)}, {"v": np.ones(3, bool)}), "masks has no leaf 'w'"),
        (lambda: metrics.mask_overlap(MASKS, {"w": np.ones(4, bool)}), r"the second masks must have the shapes"),
        (lambda: metrics.mask_overlap(NONE, NONE), "no masks to compare"),
        (lambda: metrics.compression(NONE), "needs masks"),
        (lambda: metrics.compression(MASKS, "zip"), "unknown format"),
        (lambda: metrics.effective_sparsity(lambda p, x: x, {"w": np.ones(3)}, NONE, np.ones(2)), "needs masks"),
        (lambda: metrics.training_flops("adam", 1.0, 0.1), "method must be one of dense, static"),
        (lambda: metrics.training_flops("rigl", 1.0, 0.1), "needs it"),
        (lambda: metrics.training_flops("set", 1.0, 0.1, every=10), "for method='rigl'"),
        (lambda: metrics.training_flops("rigl", 1.0, 0.1, every=0), "every must be at least 1"),
        (lambda: metrics.training_flops("set", 1.0, [0.1, 0.2]), "one sparse cost"),
        (lambda: efficiency.weighted_correct_per_parameter(np.ones(3), np.ones(2), 1), "one entry per example"),
        (lambda: efficiency.weighted_correct_per_parameter(np.ones(2), np.zeros(2), 1), "non-negative"),
        (lambda: efficiency.parameter_slack([0.5], [1.0, 2.0], 1.0, 0.1), "equally long"),
        (lambda: efficiency.parameter_slack([90.0], [1.0], 1.0, 0.1), r"distinct and in \[0, 1\)"),
        (lambda: efficiency.parameter_slack([0.5], [1.0], 1.0, -0.1), "eps must not be negative"),
        (lambda: efficiency.dense_equivalent([1.0], [1.0], [1.0], [1.0, 2.0]), "equally long"),
        (lambda: efficiency.dense_equivalent([1.0], [1.0], [1.0, 2.0], [2.0, 1.0]), "at least two members"),
    ],
)
def test_bad_input(call, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        call()
