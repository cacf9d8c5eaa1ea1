"""Compaction answers mistakes with one clear error, never with a wrong slice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.sparsity._compact import compact, compacted_size
from offprint.sparsity._dependency import dependency_groups

PARAMS = {
    "w1": np.ones((3, 6), np.float32),
    "b1": np.ones(6, np.float32),
    "scale": np.ones(6, np.float32),
    "w2": np.ones((6, 2), np.float32),
}
X = jax.ShapeDtypeStruct((2, 3), jnp.float32)
FREE = dict.fromkeys(PARAMS)


def mlp(p, x):
    return jax.nn.relu(x @ p["w1"] + p["b1"]) * p["scale"] @ p["w2"]


def normalised(p, x):
    h = x @ p["w1"] + p["b1"]
    centred = h - h.mean(-1, keepdims=True)  # of a removed unit not zero any more
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True)) * p["scale"] @ p["w2"]


@pytest.mark.parametrize(
    ("apply", "given", "options", "message"),
    [
        (mlp, {"w1": None}, {}, "masks has no leaf 'b1'"),
        (mlp, {**FREE, "w3": None}, {}, "masks has a leaf 'w3' that params have not"),
        (mlp, {**FREE, "w1": np.ones((6, 3), bool)}, {}, r"'w1' is \(6, 3\), not \(3, 6\)"),
        (mlp, {**FREE, "w1": np.full((3, 6), 0.5)}, {}, "must be bool, or exactly 0 and 1; 'w1' is neither"),
        (
            mlp,
            {**FREE, "w1": np.zeros((3, 6), bool), "b1": np.zeros(6, bool)},
            {},
            r"all 6 units of group w1:1 .*empty; .*freeze='w1'",
        ),
        (mlp, {"w9:1": np.ones(6, bool)}, {}, "keep names 'w9:1', which is no group; the groups are w1:1"),
        (mlp, {"w1:1": np.ones(5, bool)}, {}, r"keep\['w1:1'\] must be 6 booleans"),
        (mlp, {"w1:1": np.ones(6)}, {}, "6 booleans"),
        (mlp, {"w1:1": np.zeros(6, bool)}, {}, "would leave the group empty"),
        (mlp, FREE, {"round_to": 0}, "round_to must be at least 1; got 0"),
        (mlp, FREE, {"min_keep": -1}, "min_keep must not be negative; got -1"),
        (mlp, FREE, {"freeze": "w4"}, "freeze='w4' matches no parameter"),
        (normalised, {"w1:1": np.arange(6) < 4}, {}, "normalisation over the units; keep them, freeze .* fold=False"),
        (lambda p, x: mlp(p, x) + jnp.fft.fft(x @ p["w1"]).real.sum(), FREE, {}, "the primitive 'fft'"),
    ],
)
def test_one_clear_error(apply, given, options, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        compact(apply, PARAMS, given, X, **options)


def test_normalised_units_can_be_removed_all_the_same():
    small, report = compact(normalised, PARAMS, {"w1:1": np.arange(6) < 4}, X, fold=False)
    assert small["w1"].shape == (3, 4)
    assert report.apply_fn is normalised  # it takes its mean over what is left


def test_masked_units_behind_a_normalisation_stay_and_the_report_says_why():
    masks = {**FREE, "w1": np.broadcast_to(np.arange(6) < 4, (3, 6))}
    small, report = compact(normalised, PARAMS, masks, X)
    assert small["w1"].shape == (3, 6)
    assert sum(report.stayed["w1:1"].values()) == 2


def test_frozen_groups_stay():
    masks = {**FREE, "w1": np.broadcast_to(np.arange(6) < 4, (3, 6)), "b1": np.arange(6) < 4}
    assert compact(mlp, PARAMS, masks, X)[0]["w1"].shape == (3, 4)
    small, report = compact(mlp, PARAMS, masks, X, freeze="w2")
    assert small["w1"].shape == (3, 6)
    assert report.groups == {}


def test_traced_arrays(unchecked_types):
    with pytest.raises(ValueError, match=r"compact looks at values .* outside of jit"):
        jax.jit(lambda p: compact(mlp, p, FREE, X)[0])(PARAMS)


def test_float_masks_are_accepted():
    masks = {**FREE, "w1": np.broadcast_to(np.arange(6) < 4, (3, 6)).astype(np.float32), "b1": np.arange(6) < 4}
    assert compact(mlp, PARAMS, masks, X)[0]["w1"].shape == (3, 4)


def test_compacted_size_checks_its_groups():
    groups = dependency_groups(mlp, PARAMS, X)
    assert compacted_size(groups, PARAMS, {}) == 42
    with pytest.raises(ValueError, match="keep names 'x', which is no group"):
        compacted_size(groups, PARAMS, {"x": np.ones(6, bool)})
