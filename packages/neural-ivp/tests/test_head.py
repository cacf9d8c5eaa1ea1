"""Head tuning: the authors' numbers, least squares, and layers that stay awake."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from offprint.neural_ivp._anchored import Anchored
from offprint.neural_ivp._bc import Dirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._head import head_tune
from offprint.neural_ivp._mlp import SinusoidalMLP

SQUARE = Box.cube(2)


def small(**others):
    return SinusoidalMLP(SQUARE, 2, width=7, depth=2, n_freq=2, rngs=nnx.Rngs(0), **others)


def waves(x):
    return jnp.stack([jnp.sin(3 * x[0]) * x[1], jnp.cos(x[1])]) * jnp.prod(1 - x**2)


@pytest.fixture(scope="module")
def case(golden):
    """The arrays, the network without its heads, and the target as a function."""
    arrays = golden("head_tuning")
    sizes = (2, int(arrays["width"]), 3, int(arrays["L"]), float(arrays["scaling"]))
    model = SinusoidalMLP(SQUARE, *sizes, rngs=nnx.Rngs(0))
    for j in range(3):
        model.layers[j].kernel[...] = jnp.stack([arrays[f"W_out{o}_layer{j}"] for o in range(2)])
        model.layers[j].bias[...] = jnp.stack([arrays[f"b_out{o}_layer{j}"] for o in range(2)])
    X, Y = jnp.asarray(arrays["X"]), jnp.stack([arrays["y0"], arrays["y1"]], axis=1)
    return arrays, model, Partial(lambda X, Y, x: Y[jnp.argmin(jnp.sum((X - x) ** 2, axis=1))], X, Y)


@pytest.mark.parametrize(
    ("intercept", "name", "rmse"),
    [(True, "head_official", "rmse_official"), (False, "head_ridge_no_intercept", "rmse_no_intercept")],
)
def test_heads_are_those_of_the_authors_code_and_of_the_right_ridge(case, intercept, name, rmse):
    arrays, model, target = case
    apply, theta = functional(model)
    tuned = head_tune(apply, theta, target, points=arrays["X"], head_intercept=intercept)
    kernel, bias = apply.chain(tuned).layers[-1]
    error = apply.values(tuned, jnp.asarray(arrays["X"])) - jnp.stack([arrays["y0"], arrays["y1"]], axis=1)
    for o in range(2):
        ours = np.concatenate([bias[o], kernel[o, :, 0]])
        theirs = arrays[f"{name}{o}"]
        assert np.linalg.norm(ours - theirs) < 1e-9 * np.linalg.norm(theirs)
        np.testing.assert_allclose(np.sqrt(np.mean(error[:, o] ** 2)), arrays[f"{rmse}{o}"], rtol=1e-9)


@pytest.fixture(scope="module")
def points():
    return SQUARE.uniform(jax.random.key(1), 500)


def test_chunks_that_do_not_divide_the_points_change_nothing(points):
    apply, theta = functional(small())
    whole = head_tune(apply, theta, waves, points=points)
    np.testing.assert_allclose(head_tune(apply, theta, waves, points=points, chunk=70), whole, atol=1e-9)
    assert not np.array_equal(whole, theta)


@pytest.mark.parametrize(
    "make",
    [
        lambda: small(shared_trunk=True),
        lambda: Anchored(small(), lambda x: 0.1 * jnp.ones(2)),
        lambda: small(bc=Dirichlet(lambda x, t: jnp.stack([x[0], t + x[1]]))),
    ],
)
def test_head_is_the_least_squares_solution(points, make):
    apply, theta = functional(make())
    tuned = head_tune(apply, theta, waves, points=points, t=0.4, alpha=0)
    layers = apply.num_params // apply.blocks - 8 * (2 // apply.blocks)  # weights of a block before its head
    is_head = jnp.tile(jnp.arange(apply.num_params // apply.blocks) >= layers, apply.blocks)
    np.testing.assert_array_equal(tuned[~is_head], theta[~is_head])

    def loss(theta):
        return jnp.mean((apply.values(theta, points, 0.4) - jax.vmap(waves)(points)) ** 2)

    value, slope = jax.jit(jax.value_and_grad(loss))(tuned)
    assert np.abs(slope[is_head]).max() < 1e-10
    assert value < loss(theta)


def test_a_multiple_of_the_boundary_factor_leaves_the_layers_awake():
    apply, theta = functional(small())
    target = lambda x: 0.3 * jnp.prod(1 - x**2) * jnp.ones(2)  # noqa: E731
    asleep = head_tune(apply, theta, target, jax.random.key(0), n=2000, alpha=1e-9, jitter=0)
    awake = head_tune(apply, theta, target, jax.random.key(0), n=2000, alpha=1e-9)
    sizes = [np.linalg.norm(apply.chain(weights).layers[-1][0], axis=1).max() for weights in (asleep, awake)]
    assert sizes[0] < 1e-5 < 3e-4 < sizes[1]
    x = jnp.array([0.3, -0.2])
    np.testing.assert_allclose(apply(awake, x), target(x), atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: head_tune(*functional(EDNN(SQUARE, rngs=nnx.Rngs(0))), waves, jax.random.key(0)), "dense layer"),
        (lambda: head_tune(*functional(small()), waves), "needs a key to draw its points from, or points=X"),
        (
            lambda: head_tune(*functional(small()), waves, jax.random.key(0), alpha=-1),
            "must not be negative, but is -1",
        ),
        (lambda: head_tune(*functional(small()), lambda x: x[:1], jax.random.key(0), n=8), r"2 fields.*gives \(1,\)"),
        (lambda: head_tune(*functional(small()), lambda x: jnp.log(x), jax.random.key(0), n=99), "is .*nan.* at x="),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
