"""The mistakes that users make most, each with one clear answer; test_bad_input_*.py and the other files have more."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import offprint.sparsity as sp

KERNEL = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8)), jnp.float32)
PARAMS = {"layer": {"kernel": KERNEL, "bias": jnp.zeros(8, jnp.float32)}}
X = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)


def apply(params, x):
    return jax.nn.relu(x @ params["layer"]["kernel"] + params["layer"]["bias"])


def loss(params, batch):
    return jnp.mean(apply(params, batch) ** 2)


def noisy(params, batch):
    return loss(params, batch) * jax.random.uniform(jax.random.key(0))


def step_without_params():
    tx = sp.sparsify(optax.sgd(0.1), sp.GMP(0.5, end=10))
    tx.update(PARAMS, tx.init(PARAMS))


def step_of_another_model():
    tx = sp.sparsify(optax.sgd(0.1), sp.GMP(0.5, end=10))
    other = {"layer": {"kernel": KERNEL.T, "bias": jnp.zeros(8, jnp.float32)}}
    tx.update(other, tx.init(PARAMS), PARAMS)


def scaled_afterwards():
    tx = optax.chain(sp.sparsify(optax.sgd(0.1), sp.OneShot(0.5, at=0), debug=True), optax.scale(0.5))
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(2):
        updates, state = tx.update(PARAMS, state, params)
        params = optax.apply_updates(params, updates)


def str_without_decay():
    model = sp.nnx.STRLinear(6, 8, rngs=nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    sp.check_str_decay(optax.adamw(1e-3, mask=lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)), params)


ERRORS = {
    "percent": (lambda: sp.make_mask(KERNEL, 90), r"sparsity must be in \[0, 1\); got 90. Did you mean 0.9\?"),
    "negative": (lambda: sp.make_masks(PARAMS, -0.1), r"sparsity must be in \[0, 1\); got -0.1"),
    "all": (lambda: sp.RigL(1.0, steps=10), r"sparsity must be in \[0, 1\); got 1"),
    "not a number": (lambda: sp.make_masks({"layer": {"kernel": KERNEL.at[0, 0].set(jnp.nan)}}, 0.5), "layer/kernel"),
    "infinite": (lambda: sp.make_mask(KERNEL.at[0, 0].set(jnp.inf), 0.5), "1 of the 48"),
    "N:M": (
        lambda: sp.make_masks({"layer": {"kernel": KERNEL}}, pattern=sp.NM(2, 4)),
        r"axis -2 of 'layer/kernel' \(6, 8\) has 6 elements: give pad=True",
    ),
    "N:M along the outputs": (
        lambda: sp.formats.NMPacked.from_dense(KERNEL[:4], sp.make_mask(KERNEL[:4], pattern=sp.NM(2, 4, axis=-1))),
        "not 2:4 along axis -2",
    ),
    "filter": (
        lambda: sp.scores.magnitude(PARAMS, filter=sp.matching("conv*")),
        r"chooses no leaf to prune; the leaves are layer/bias \(8,\), layer/kernel \(6, 8\)",
    ),
    "key of a map": (lambda: sp.density_map(PARAMS, dist={"conv*": 0.1}), "conv"),
    "budget": (
        lambda: sp.density_map({"a": {"kernel": KERNEL}, "b": {"kernel": KERNEL}}, 0.9, "erk", dense="a/*"),
        "keeps 10 of 96 elements, but the leaves to keep dense have 48",
    ),
    "no params": (step_without_params, "sparsify needs params"),
    "not outermost": (scaled_afterwards, "sparsify must be the outermost"),
    "schedule": (lambda: sp.GMP(0.5, begin=10, end=5), "0 <= begin <= end; got begin=10, end=5"),
    "random numbers": (lambda: sp.scores.snip(noisy, PARAMS, X), "draws random numbers"),
    "another model": (step_of_another_model, r"'layer/kernel' is \(8, 6\), not \(6, 8\)"),
    "masks of another model": (lambda: sp.apply(PARAMS, {"layer": {"kernel": None}}), "masks has no leaf 'layer/bias'"),
    "masks that are no masks": (
        lambda: sp.as_masks({"kernel": jnp.full((2, 2), 0.5)}),
        "exactly 0 or 1; 'kernel' has other values",
    ),
    "input axis": (lambda: sp.compact(apply, PARAMS, {"layer/kernel:0": np.arange(6) < 3}, X), "layer/kernel:0"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(unchecked_types, name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_integer_operations_have_no_derivative(unchecked_types):
    with pytest.raises(TypeError, match="integer"):
        sp.scores.snip(lambda params, x: jnp.argmax(apply(params, x)), PARAMS, X)


def test_no_finite_scores_under_jit():
    """Under jit the check is one of `checkify`, which the caller may ask for."""
    from jax.experimental import checkify

    checked = checkify.checkify(
        jax.jit(lambda scores: sp.make_mask(scores, 0.5)), errors=checkify.user_checks | checkify.float_checks
    )
    error, _ = checked(KERNEL.at[0, 0].set(jnp.nan))
    with pytest.raises(checkify.JaxRuntimeError, match="scores must be finite"):
        error.throw()


WARNINGS = {
    "an emptied layer": (lambda: sp.make_masks({"kernel": jnp.ones((1, 3))}, 0.99), "kernel"),
    "an emptied layer of a global ranking": (
        lambda: sp.make_masks({"a": {"kernel": KERNEL}, "b": {"kernel": KERNEL * 0 - 9}}, 0.5, scope="global"),
        "nothing is kept of b/kernel",
    ),
    "half precision": (
        lambda: sp.make_mask(jnp.arange(4000, dtype=jnp.float16).reshape(40, 100) % 4, 0.9),
        "tie at the threshold",
    ),
    "little calibration": (
        lambda: sp.layerwise.prune_layerwise(
            {"kernel": KERNEL},
            sp.layerwise.collect(lambda p, x: x @ p["kernel"], {"kernel": KERNEL}, [X]),
            "sparsegpt",
            0.5,
        ),
        "5 rows of calibration for 6 inputs",
    ),
    "dead inputs": (
        lambda: sp.layerwise.sparsegpt(KERNEL, jnp.diag(jnp.array([0.0, 1, 1, 1, 1, 1])), 0.5),
        "1 of 6 inputs are zero throughout the calibration",
    ),
    "STR without decay": (str_without_decay, "decay"),
    "variational dropout without a scale": (lambda: sp.variational_loss(jnp.ones(()), jnp.ones(())), "num_data"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(unchecked_types, name):
    call, message = WARNINGS[name]
    with pytest.warns(UserWarning, match=message):
        call()


def test_masks_of_zeros_and_ones_are_taken():
    masks = sp.as_masks({"kernel": jnp.array([[1.0, 0.0]])})
    assert masks["kernel"].dtype == bool
    np.testing.assert_array_equal(sp.apply({"kernel": jnp.array([[2.0, 3.0]])}, masks)["kernel"], [[2.0, 0.0]])
