"""The ways to run a network give one result, and its gradients are those of finite differences."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.resnet_scaling import DeepResNet, init_params, pad_params, resnet_apply, unpad_params
from offprint.resnet_scaling._first_layers import first_layers
from offprint.resnet_scaling._forward import Layers
from offprint.resnet_scaling._network import layer_multipliers, padded_depth

DEPTH, DIM, BATCH = 7, 3, 2
DELTAS = ("shared", "multi", "none", -0.3)
# What differs from the plain scan, the kind of delta and the type.
WAYS = (
    ({"remat": "auto"}, "shared", np.float64),
    ({"remat": "auto"}, "multi", np.float32),
    ({"remat": 2}, "multi", np.float64),
    ({"remat": 100}, "shared", np.float64),
    ({"unroll": 4}, "shared", np.float64),
    ({"mode": "parallel"}, "shared", np.float64),
    ({"mode": "parallel"}, "multi", np.float64),
    ({"mode": "parallel"}, "shared", np.float32),
    ({"return_hidden": 3}, "shared", np.float64),
    ({"return_hidden": 3, "remat": "auto"}, "shared", np.float64),
)


def network(delta, dtype=np.float64):
    """Weights of order one, so that layers matter."""
    params = init_params(jax.random.key(0), DEPTH, DIM, delta=delta, initial_sd=DIM, dtype=dtype)
    return params if delta != "multi" else params._replace(delta=3 * params.delta)


def inputs(dtype=np.float64):
    return jax.random.normal(jax.random.key(1), (BATCH, DIM), dtype)


def loss_and_gradient(params, x, **options):
    def loss(params, x):
        output = resnet_apply(params, x, **options)
        output = output[0] if options.get("return_hidden") else output
        return jnp.sum(jnp.sin(output))

    return jax.value_and_grad(loss, argnums=(0, 1))(params, x)


def assert_close(actual, expected, tolerance):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@cache
def plain(delta, dtype):
    return jax.jit(lambda p, x: loss_and_gradient(p, x, delta=delta))(network(delta, dtype), inputs(dtype))


@pytest.mark.parametrize(("way", "delta", "dtype"), WAYS, ids=str)
def test_every_way_equals_the_plain_scan(way, delta, dtype):
    other = jax.jit(lambda p, x: loss_and_gradient(p, x, delta=delta, **way))(network(delta, dtype), inputs(dtype))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(other))
    assert_close(other, plain(delta, dtype), 1e-12 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize(
    ("activation", "sigma", "delta"),
    [
        ("tanh", np.tanh, "multi"),
        ("relu", lambda z: np.maximum(z, 0), "shared"),
        ("identity", lambda z: z, "none"),
        (jax.nn.silu, lambda z: z / (1 + np.exp(-z)), -0.3),
    ],
    ids=["tanh", "relu", "identity", "own"],
)
def test_layer_by_layer_in_numpy(activation, sigma, delta):
    params, x = network(delta), inputs()
    c = {"shared": np.full(DEPTH, 1 / DEPTH), "multi": np.asarray(params.delta), "none": np.ones(DEPTH)}
    c = c.get(delta, np.full(DEPTH, -0.3))
    states = [np.asarray(x)]
    for A, b, c_k in zip(np.asarray(params.A), np.asarray(params.b), c):
        states.append(states[-1] + DEPTH**-0.5 * c_k * sigma(states[-1] @ A + b))
    output, hidden = resnet_apply(params, x, activation=activation, delta=delta, alpha=0.5, return_hidden=True)
    np.testing.assert_allclose(hidden, states, rtol=1e-12)
    np.testing.assert_array_equal(output, hidden[-1])


@pytest.mark.parametrize(("stride", "mode"), [(2, "scan"), (7, "scan"), (8, "scan"), (3, "parallel")])
def test_stride_of_the_hidden_states(stride, mode):
    params, x = network("shared"), inputs()
    everything = resnet_apply(params, x, return_hidden=True)[1]
    output, kept = jax.jit(lambda p, x: resnet_apply(p, x, return_hidden=stride, mode=mode))(params, x)
    np.testing.assert_allclose(kept, everything[::stride], rtol=1e-12)
    np.testing.assert_allclose(output, everything[-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("delta", "activation", "mode"),
    [("shared", jax.nn.softplus, "scan"), ("multi", "tanh", "scan"), ("multi", jax.nn.softplus, "parallel")],
    ids=["shared", "multi", "parallel"],
)
def test_gradients_are_finite_differences(delta, activation, mode):
    flat, unravel = jax.flatten_util.ravel_pytree((network(delta), inputs()))

    @jax.jit
    def loss_and_slope(flat):
        def loss(flat):
            params, x = unravel(flat)
            return jnp.sum(jnp.sin(resnet_apply(params, x, activation=activation, delta=delta, mode=mode)))

        return jax.value_and_grad(loss)(flat)

    step = 1e-6
    numeric = [
        (loss_and_slope(flat + shift)[0] - loss_and_slope(flat - shift)[0]) / (2 * step)
        for shift in step * np.eye(flat.size)
    ]
    np.testing.assert_allclose(loss_and_slope(flat)[1], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("delta", "mode"), [("shared", "scan"), ("multi", "scan"), ("none", "scan"), ("multi", "parallel")]
)
def test_padding_changes_nothing_and_gets_no_gradient(delta, mode):
    params, x = network(delta), inputs()
    options = {"activation": jax.nn.softplus, "delta": delta, "alpha": 0.5}  # softplus(0) is not 0
    expected = jax.jit(lambda p, x: loss_and_gradient(p, x, **options))(params, x)
    longer, mask = pad_params(params, 9, delta=delta)
    value, (gradient, of_x) = jax.jit(lambda p, m, x: loss_and_gradient(p, x, mask=m, mode=mode, **options))(
        longer, mask, x
    )
    np.testing.assert_array_equal(mask, [1] * DEPTH + [0] * 2)
    assert_close((value, (unpad_params(gradient, DEPTH, delta=delta), of_x)), expected, 1e-12)
    assert not np.any(gradient.A[DEPTH:])
    assert not np.any(gradient.b[DEPTH:])
    if delta == "multi":
        assert not np.any(gradient.delta[DEPTH:])
    assert_close(unpad_params(longer, DEPTH, delta=delta), params, 0)


@pytest.mark.parametrize("delta", ["shared", "multi"])
def test_the_first_layers_of_a_longer_stack(delta):
    """A loop of a length that the program is told, with a gradient written by hand."""
    x, cotangents = inputs(), jax.random.normal(jax.random.key(3), (DEPTH + 1, BATCH, DIM))

    def loss_of(hidden):
        return jnp.sum(jnp.sin(hidden) * cotangents[: len(hidden)]), hidden

    def run(params, x, depth):
        c = layer_multipliers(params, delta)
        return loss_of(first_layers(Layers(params.A, params.b, c), x, jax.nn.softplus, depth))

    told = jax.jit(jax.value_and_grad(run, argnums=(0, 1), has_aux=True))
    for depth in (DEPTH, 3):
        short = network(delta)
        if depth < DEPTH:  # the multipliers of the long stack, on fewer layers
            short = unpad_params(short, depth, delta=delta)

        def plain(params, x):
            return loss_of(resnet_apply(params, x, activation=jax.nn.softplus, delta=delta, return_hidden=True)[1])

        (value, hidden), gradient = jax.value_and_grad(plain, argnums=(0, 1), has_aux=True)(short, x)
        (ours, states), (ours_gradient, of_x) = told(network(delta), x, depth)
        assert not np.any(states[depth + 1 :])
        np.testing.assert_allclose(states[: depth + 1], hidden, rtol=1e-12)
        assert not np.any(ours_gradient.A[depth:])
        assert_close((unpad_params(ours_gradient, depth, delta=delta), of_x), gradient, 1e-12)
        np.testing.assert_allclose(ours, value, rtol=1e-12)


@pytest.mark.parametrize(
    ("depth", "longer"), [(1, 8), (8, 8), (9, 64), (512, 512), (513, 4096), (4097, 8192), (10321, 12288)]
)
def test_lengths_that_share_a_program(depth, longer):
    assert padded_depth(depth) == longer


@settings(deadline=None, max_examples=6)
@given(st.integers(1, 4), st.sampled_from([1, 2, 5, "auto"]), st.sampled_from(["shared", "multi", "none"]))
def test_any_depth_and_chunk(depth, chunk, delta):
    params = init_params(jax.random.key(depth), depth, 2, delta=delta, initial_sd=1)
    x = jnp.array([[0.3, -0.7]])
    h = x
    for k in range(depth):
        c = {"shared": 1 / depth, "none": 1.0}.get(delta, params.delta[k : k + 1])
        h = h + c * np.tanh(h @ params.A[k] + params.b[k])
    np.testing.assert_allclose(resnet_apply(params, x, delta=delta, remat=chunk), h, rtol=1e-13)


@settings(deadline=None, max_examples=10)
@given(st.floats(0.1, 10))
def test_relu_networks_are_homogeneous(scale):
    params, x = network("shared"), inputs()
    params = params._replace(b=0 * params.b)
    plain = resnet_apply(params, x, activation="relu")
    np.testing.assert_allclose(resnet_apply(params, scale * x, activation="relu"), scale * plain, rtol=1e-12)


def test_vmap_over_members_equals_one_at_a_time():
    x = inputs()
    members = [network("shared"), jax.tree.map(lambda leaf: 2 * leaf, network("shared"))]
    one = jax.jit(lambda params: resnet_apply(params, x, remat="auto"))
    together = jax.vmap(one)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
    for ours, params in zip(together, members):
        np.testing.assert_allclose(ours, one(params), rtol=1e-12)


def test_the_plain_scan_has_a_forward_mode_derivative():
    params, x = network("multi"), inputs()
    direction = jax.tree.map(jnp.ones_like, params)
    _, slope = jax.jvp(lambda params: jnp.sum(jnp.sin(resnet_apply(params, x, delta="multi"))), (params,), (direction,))
    gradient = plain("multi", np.float64)[1][0]
    np.testing.assert_allclose(slope, sum(jnp.sum(leaf) for leaf in gradient), rtol=1e-10)


def test_leading_axes_of_the_input_are_free():
    params, x = network("shared"), inputs()
    batch = resnet_apply(params, x)
    np.testing.assert_allclose(resnet_apply(params, x[0]), batch[0], rtol=1e-12)
    np.testing.assert_allclose(resnet_apply(params, x[None])[0], batch, rtol=1e-12)
    one = jax.jit(lambda p, x: resnet_apply(p, x, mode="parallel"))(params, x[0])
    np.testing.assert_allclose(one, batch[0], rtol=1e-12)


@pytest.mark.parametrize("delta", DELTAS, ids=str)
def test_shapes_of_the_multipliers(delta):
    params = init_params(jax.random.key(0), DEPTH, DIM, delta=delta)
    assert params.A.shape == (DEPTH, DIM, DIM)
    assert params.b.shape == (DEPTH, DIM)
    assert params.delta.shape == {"shared": (1,), "multi": (DEPTH,)}.get(delta, (0,))


@pytest.mark.parametrize(
    ("init", "sd_A", "sd_b"),
    [
        ("xavier", 2 / 5, 2 / 5**0.5),
        ("xavier-depth", 2 / 5 / 3000, 2 / 5**0.5 / 3000),
        ("iid", 2 / 5**0.5, 0),
        ("fbm", 2 / 5**0.5, 0),
        ("zero", 0, 0),
    ],
)
def test_laws_at_initialisation(init, sd_A, sd_b):
    params = init_params(jax.random.key(0), 3000, 5, delta="multi", init=init, initial_sd=2, hurst=0.4)
    np.testing.assert_allclose(params.A.std(), sd_A, rtol=0.02)
    np.testing.assert_allclose(params.b.std(), sd_b, rtol=0.02)
    np.testing.assert_allclose(params.delta.std() * 3000, 1, rtol=0.05)
    neighbours = jnp.mean(params.A[1:] * params.A[:-1]) / jnp.maximum(jnp.mean(params.A**2), 1e-300)
    # Fractional noise: correlation of neighbours 2^{2H-1} - 1.
    np.testing.assert_allclose(neighbours, 2 ** (2 * 0.4 - 1) - 1 if init == "fbm" else 0, atol=0.02)


def test_rbf_initialisation_is_smooth_and_of_unit_variance():
    params = init_params(jax.random.key(0), 500, 20, init="rbf")
    np.testing.assert_allclose(params.A.std(), 20**-0.5, rtol=0.1)
    assert jnp.std(jnp.diff(params.A, axis=0)) < 0.05 * params.A.std()
    assert not params.b.any()


def test_module_trains():
    model = DeepResNet(DIM, 6, init="iid", alpha=0.5, delta="none", rngs=nnx.Rngs(0))
    x = inputs()
    np.testing.assert_allclose(model(x), resnet_apply(model.params, x, delta="none", alpha=0.5), rtol=1e-12)
    assert model(x, return_hidden=2)[1].shape == (4, BATCH, DIM)
    gradient = nnx.grad(lambda model: jnp.mean(model(x, remat="auto") ** 2))(model)
    assert {"A", "b", "delta"} == set(gradient)
    assert float(jnp.abs(gradient["A"][...]).max()) > 0
