"""The dropout family: golden arrays, means, gradients, layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.sparsity import _dropout as d
from offprint.sparsity.nnx._dropout import (
    ConcreteDropout,
    DropBlock,
    DropConnectLinear,
    SpatialDropout,
    StochasticDepth,
)

KEY = jax.random.key(0)


def test_all_keep_the_mean():
    """Over many draws each function gives back what it was given, to four standard errors."""
    x = jnp.ones((2000, 6, 6, 2))
    gaussian = d.gaussian_dropout(x, 0.5, key=KEY)
    for name, y in {
        "dropout": d.dropout(x, 0.3, key=KEY),
        "gaussian": gaussian,
        "spatial": d.spatial_dropout(x, 0.3, key=KEY),
        "block": d.drop_block(x, 0.3, 2, key=KEY),
        "depth": d.stochastic_depth(x, 0.3, key=KEY),
    }.items():
        means = np.asarray(y).mean((1, 2, 3))
        assert abs(means.mean() - 1) < 4 * means.std() / len(means) ** 0.5 + 1e-12, name
    assert abs(float(gaussian.var()) - 0.5) < 0.02


def test_what_is_dropped_together():
    x = jnp.ones((64, 6, 6, 2))
    spatial = np.asarray(d.spatial_dropout(x, 0.5, key=KEY))
    assert (spatial.std((1, 2)) == 0).all()
    assert 0 < (spatial == 0).mean() < 1
    depth = np.asarray(d.stochastic_depth(x, 0.5, key=KEY))
    assert (depth.reshape(64, -1).std(1) == 0).all()
    assert len(np.unique(np.asarray(d.stochastic_depth(x, 0.5, key=KEY, mode="batch")))) == 1
    block = np.asarray(d.drop_block(x, 0.2, 3, key=KEY)) == 0
    # Every dropped pixel belongs to a square of 3 x 3 that is dropped whole.
    squares = np.lib.stride_tricks.sliding_window_view(block, (3, 3), axis=(1, 2)).all((-1, -2))
    covered = np.zeros_like(block)
    for i in range(3):
        for j in range(3):
            covered[:, i : i + 4, j : j + 4] |= squares
    assert (covered == block).all()
    assert block.any()


def test_half_precision_drops_as_often():
    """The 128 values that a uniform bfloat16 takes cannot tell a rate of 0.001 from one of 0.008."""
    x = jnp.ones((8, 32, 32, 16), jnp.bfloat16)
    functions = {
        "dropout": lambda x: d.dropout(x, 0.001, key=KEY),
        "block": lambda x: d.drop_block(x, 0.1, 7, key=KEY),
        "concrete": lambda x: d.concrete_dropout(x, 0.1, key=KEY),
    }
    both = jax.jit(lambda x: [(f(x), f(x.astype(jnp.float32))) for f in functions.values()])
    for name, (half, full) in zip(functions, both(x), strict=True):
        assert half.dtype == jnp.bfloat16, name
        np.testing.assert_array_equal(half == 0, full == 0, err_msg=name)
    huge = d.drop_block(jnp.ones((8, 32, 32, 16), jnp.float16), 0.1, 7, key=KEY)  # more elements than the type counts
    assert np.isfinite(huge).all()


def test_dropconnect_moments_are_those_of_its_draws():
    x, w = jax.random.normal(KEY, (3, 5)), jax.random.normal(jax.random.key(1), (5, 4))
    draws = jax.jit(jax.vmap(lambda key: (1 - 0.3) * d.dropconnect(x, w, 0.3, key=key, per_example=True)))(
        jax.random.split(KEY, 20_000)
    )
    mean, variance = d.dropconnect_moments(x, w, 0.3)
    assert np.abs((draws.mean(0) - mean) / np.sqrt(variance / 20_000)).max() < 5
    np.testing.assert_allclose(draws.var(0), variance, rtol=0.06)


def test_concrete_rate_has_the_right_gradient():
    x, u = jax.random.normal(KEY, (20,)), jax.random.uniform(jax.random.key(1), (20,))
    f = jax.jit(lambda rate: jnp.sum(d.concrete_dropout(x, rate, u=u) ** 2) + d.concrete_entropy(rate))
    h = 1e-6
    np.testing.assert_allclose(jax.grad(f)(0.3), (f(0.3 + h) - f(0.3 - h)) / (2 * h), rtol=1e-6)


def test_standout_keeps_what_is_active():
    a = jnp.concatenate([jnp.full(500, 4.0), jnp.full(500, -4.0)])
    kept = np.asarray(d.standout(jnp.ones(1000), a, key=KEY))
    assert kept[:500].mean() > 0.95
    assert kept[500:].mean() < 0.05


def test_linear_rates():
    np.testing.assert_allclose(d.linear_rates(4, 0.4), [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (lambda rngs: ConcreteDropout(0.5, rngs=rngs), jnp.ones((4, 6))),
        (lambda rngs: DropConnectLinear(6, 3, 0.5, rngs=rngs), jnp.ones((4, 6))),
        (lambda rngs: SpatialDropout(0.5, rngs=rngs), jnp.ones((4, 6, 6, 2))),
        (lambda rngs: DropBlock(0.3, 2, rngs=rngs), jnp.ones((4, 6, 6, 2))),
        (lambda rngs: StochasticDepth(0.5, rngs=rngs), jnp.ones((4, 6))),
    ],
)
def test_layers_draw_anew_in_training_and_are_still_in_evaluation(layer, x):
    module = layer(nnx.Rngs(0))
    step = nnx.jit(lambda m, x: m(x))
    assert not np.array_equal(step(module, x), step(module, x))
    still = nnx.view(module, deterministic=True)
    np.testing.assert_array_equal(step(still, x), step(still, x))
    module.eval()
    np.testing.assert_array_equal(step(module, x), step(still, x))


def test_dropconnect_computes_in_the_type_asked_for():
    layer = DropConnectLinear(6, 3, 0.5, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert layer(jnp.ones((4, 6), jnp.float32)).dtype == jnp.bfloat16


def test_concrete_layer_learns_its_rate():
    module = ConcreteDropout(0.3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(module.rate, 0.3, rtol=1e-6)
    np.testing.assert_allclose(module.regulariser(10), -10 * 0.6108643020548935, rtol=1e-6)
    assert jax.tree.leaves(nnx.grad(lambda m: m.regulariser())(module))[0] < 0  # the entropy rises with the rate


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: d.dropout(x, 1.0, key=KEY), r"rate must be in \[0, 1\); got 1.0"),
        (lambda x: d.dropout(x, 0.5), "give one of key and u"),
        (lambda x: d.dropout(x, 0.5, u=jnp.ones(3)), r"u must have the shape \(4, 6, 6, 2\)"),
        (lambda x: d.concrete_dropout(x, 0.0, key=KEY), r"rate must be in \(0, 1\)"),
        (lambda x: d.concrete_dropout(x, 0.5, temperature=0.0, key=KEY), "temperature must be positive"),
        (lambda x: d.gaussian_dropout(x, -1.0, key=KEY), "alpha is a variance"),
        (lambda x: d.drop_block(x, 0.5, 7, key=KEY), "block must be between 1 and the image's 6 pixels; got 7"),
        (lambda x: d.linear_rates(0), "there must be a layer"),
        (lambda x: ConcreteDropout(0.0, rngs=nnx.Rngs(0)), r"rate must be in \(0, 1\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((4, 6, 6, 2)))
