"""The ODE and SDE limits against golden networks and limits, and their gradients against networks'."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.resnet_scaling._network import ResNetParams, resnet_apply
from offprint.resnet_scaling.limits import (
    Increments,
    brownian_increments,
    derivatives_at_zero,
    linear_ode,
    linear_ode_adjoint,
    neural_ode,
    neural_ode_adjoint,
    sde,
    sde_adjoint,
    sde_sensitivity,
)

X0 = np.array([0.7, -0.4])
ACTIVATIONS = {"tanh": "tanh", "expm1": jnp.expm1}
G1 = np.array([0.3, -1.1])


def A_bar(t):
    """The golden files' trend, transposed for row vectors."""
    return jnp.array([[-0.5, -jnp.cos(2 * t)], [jnp.cos(2 * t), -0.5 * jnp.sin(3 * t)]])


def b_bar(t):
    return jnp.array([jnp.sin(2 * t), 0.5])


def smooth_network(depth, alpha, beta):
    t = jnp.arange(depth) / depth
    A, b = depth**-beta * jax.vmap(A_bar)(t), depth**-beta * jax.vmap(b_bar)(t)
    return ResNetParams(A, b, jnp.zeros(0)), float(depth) ** -alpha


def rough_network(depth, dW):
    """Layers Ā(k/L)/L plus the increments of the noise over each layer, for every path."""
    t = jnp.arange(depth) / depth
    A = jnp.reshape(dW.A, (dW.A.shape[0], depth, -1, 2, 2)).sum(axis=2)
    b = jnp.reshape(dW.b, (dW.b.shape[0], depth, -1, 2)).sum(axis=2)
    return A + jax.vmap(A_bar)(t) / depth, b + jax.vmap(b_bar)(t) / depth


def apply_rough(x, A, b, activation):
    return resnet_apply(ResNetParams(A, b, jnp.zeros(0)), x, activation=activation, delta="none")


@pytest.fixture(scope="module", params=["tanh", "expm1"])
def noisy(request, golden):
    """A golden SDE file with its noise for row vectors."""
    arrays = golden(f"sde_{request.param}")
    dW = Increments(np.swapaxes(arrays["dW_A"], -1, -2).astype(float), arrays["dW_b"].astype(float))
    scales = {"scale_A": float(arrays["q_A"]), "scale_b": float(arrays["q_b"])}
    return arrays, dW, {"activation": ACTIVATIONS[request.param], **scales}


@pytest.mark.parametrize("case", range(4))
def test_golden_networks(golden, case):
    arrays = golden("ode_limits")
    activation = ACTIVATIONS[str(arrays[f"activation_{case}"])]
    for depth, expected in zip(arrays[f"depths_{case}"], arrays[f"network_output_{case}"]):
        params, multiplier = smooth_network(int(depth), arrays[f"alpha_{case}"], arrays[f"beta_{case}"])
        out = resnet_apply(params, X0, activation=activation, delta=multiplier)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-9)


def test_golden_limits(golden):
    arrays = golden("ode_limits")
    np.testing.assert_allclose(neural_ode(A_bar, b_bar, X0), arrays["limit_0"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(linear_ode(A_bar, b_bar, X0), arrays["limit_1"], rtol=0, atol=1e-8)
    for case in (1, 2, 3):  # α = β = ½, α = 0.7 and expm1: one limit
        np.testing.assert_allclose(arrays[f"limit_{case}"], arrays["limit_1"], rtol=0, atol=1e-10)


def test_golden_sde(noisy):
    arrays, dW, settings = noisy
    x0 = np.broadcast_to(arrays["x0"], (3, 2))
    out = sde(A_bar, b_bar, x0, dW=dW, **settings)
    np.testing.assert_allclose(out, arrays["sde_euler_maruyama"], rtol=0, atol=1e-9)
    for depth, expected in zip(arrays["depths"], arrays["network_output"]):
        A, b = rough_network(int(depth), dW)
        out = jax.vmap(lambda A, b: apply_rough(X0, A, b, settings["activation"]))(A, b)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-9)


def test_derivatives_at_zero():
    for activation, expected in (
        ("tanh", (1, 0)),
        (jnp.expm1, (1, 1)),
        (jax.nn.swish, (0.5, 0.5)),
        ("identity", (1, 0)),
    ):
        np.testing.assert_allclose(derivatives_at_zero(activation), expected, atol=1e-12)
    # Known also inside a trace.
    np.testing.assert_allclose(jax.jit(lambda x: x * derivatives_at_zero(jax.nn.swish)[1])(2.0), 1.0)


def test_ode_options():
    times = np.array([0.0, 0.25, 1.0])
    batch = np.stack([X0, 2 * X0, -X0])
    path = neural_ode(A_bar, b_bar, batch, times=times)
    assert path.shape == (3, 3, 2)
    np.testing.assert_allclose(path[0], batch, atol=1e-12)
    np.testing.assert_allclose(path[-1, 1], neural_ode(A_bar, b_bar, 2 * X0), atol=1e-7)
    np.testing.assert_allclose(
        jax.jit(lambda x: linear_ode(A_bar, b_bar, x))(X0), linear_ode(A_bar, b_bar, X0), atol=1e-12
    )
    single = neural_ode(A_bar, b_bar, X0.astype(np.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, neural_ode(A_bar, b_bar, X0), atol=2e-5)


def test_trend_given_as_array():
    """Values at k/N are linear in between: the layers of a deep network serve as its trend."""
    t = np.arange(400) / 400
    A, b = jax.vmap(A_bar)(t), jax.vmap(b_bar)(t)
    np.testing.assert_allclose(neural_ode(A, b, X0, rtol=1e-5), neural_ode(A_bar, b_bar, X0), atol=2e-3)


def test_relu_network_tends_to_its_neural_ode():
    """Positive homogeneity: with α + β = 1 the ReLU stays in the limit."""
    limit = neural_ode(A_bar, b_bar, X0, activation="relu")
    params, multiplier = smooth_network(4096, 0.3, 0.7)
    out = resnet_apply(params, X0, activation="relu", delta=multiplier)
    np.testing.assert_allclose(out, limit, atol=3 / 4096)


@pytest.mark.parametrize("kind", ["neural", "linear"])
def test_ode_adjoint_is_the_limit_of_backpropagation(kind):
    if kind == "neural":
        g0, limit, (alpha, beta), atol = neural_ode_adjoint(A_bar, b_bar, X0, G1), neural_ode, (1, 0), 1e-3
    else:
        g0, limit, (alpha, beta), atol = linear_ode_adjoint(A_bar, G1), linear_ode, (0.5, 0.5), 1e-7
    steps = 0.05 * np.eye(2)
    moved = [limit(A_bar, b_bar, X0 + step) - limit(A_bar, b_bar, X0 - step) for step in steps]
    np.testing.assert_allclose(g0, np.stack(moved) @ G1 / 0.1, atol=atol)
    errors = []
    for depth in (512, 1024):
        params, multiplier = smooth_network(depth, alpha, beta)
        loss = lambda x: jnp.sum(G1 * resnet_apply(params, x, delta=multiplier))  # noqa: B023, E731
        errors.append(np.abs(jax.jit(jax.grad(loss))(jnp.asarray(X0)) - g0).max())
    assert errors[1] < 5e-3
    assert 1.9 < errors[0] / errors[1] < 2.1


def test_ode_adjoint_at_inner_times():
    """<g_t, dH_t> is the same at every t for a linear equation, and g ends in what it was given."""
    times = np.array([0.0, 0.4, 1.0])
    g = linear_ode_adjoint(A_bar, G1, times=times)
    np.testing.assert_allclose(g[-1], G1, atol=1e-12)
    one, two = (linear_ode(A_bar, b_bar, x, times=times) for x in (X0, X0 + 1))
    np.testing.assert_allclose(jnp.sum(g * (two - one), axis=-1), np.full(3, float(g[0].sum())), atol=1e-7)


def test_sde_sensitivity(noisy):
    _, dW, settings = noisy
    # An eighth of the paths' steps: autodiff of the whole loop is compiled here.
    coarse = Increments(dW.A.reshape(3, 512, 8, 2, 2).sum(2)[:1], dW.b.reshape(3, 512, 8, 2).sum(2)[:1])
    found = sde_sensitivity(A_bar, b_bar, X0[None], dW=coarse, **settings)
    assert found.H.shape == (513, 1, 2)
    np.testing.assert_allclose(found.H[-1], sde(A_bar, b_bar, X0[None], dW=coarse, **settings), rtol=1e-13)
    single = Increments(coarse.A[0], coarse.b[0])
    columns = jax.jacobian(lambda x: sde(A_bar, b_bar, x, dW=single, **settings))(jnp.asarray(X0))
    np.testing.assert_allclose(found.J[-1, 0], columns.T, rtol=1e-11)

    g = sde_adjoint(found.J, G1[None])
    np.testing.assert_allclose(g[0, 0], found.J[-1, 0] @ G1, rtol=1e-11)
    np.testing.assert_allclose(g[-1, 0], G1, rtol=1e-11)
    # The written-out equation dJ = s1 J (Ā dt + dW) + s2 q² J Hᵀ1 dt, step 0, where J is the identity.
    slope, curvature = derivatives_at_zero(settings["activation"])
    expected = np.eye(2) + slope * (A_bar(0.0) / 512 + coarse.A[0, 0])
    expected += curvature * settings["scale_A"] ** 2 * np.outer(X0, np.ones(2)) / 512
    np.testing.assert_allclose(found.J[1, 0], expected, rtol=1e-12)


def test_sde_sensitivity_is_the_limit_of_backpropagation(noisy):
    _, dW, settings = noisy
    x0 = np.broadcast_to(X0, (3, 2))
    g0 = sde_adjoint(sde_sensitivity(A_bar, b_bar, x0, dW=dW, **settings).J, np.broadcast_to(G1, (3, 2)))[0]

    def backpropagated(depth):
        A, b = rough_network(depth, dW)
        loss = lambda x, A, b: jnp.sum(G1 * apply_rough(x, A, b, settings["activation"]))  # noqa: E731
        return jax.vmap(jax.grad(loss))(jnp.asarray(x0), A, b)

    errors = [np.sqrt(np.mean((backpropagated(depth) - g0) ** 2)) for depth in (16, 1024)]
    assert errors[1] < 0.06
    assert errors[1] < errors[0] / 3  # order L^-1/2 would be 8


def test_sde_paths_are_independent(noisy):
    """A batch of paths is a loop over them; jit and vmap change nothing."""
    arrays, dW, settings = noisy
    batch = sde(A_bar, b_bar, np.broadcast_to(arrays["x0"], (3, 2)), dW=dW, **settings)
    one_by_one = jax.jit(jax.vmap(lambda A, b: sde(A_bar, b_bar, X0, dW=Increments(A, b), **settings)))(dW.A, dW.b)
    np.testing.assert_allclose(one_by_one, batch, rtol=1e-12)


def test_sde_path_and_drawn_noise():
    settings = {"scale_A": 0.5, "scale_b": 0.3, "activation": jnp.expm1, "n_steps": 32, "key": jax.random.key(0)}
    x0 = jnp.broadcast_to(jnp.asarray(X0), (500, 2))
    path = sde(A_bar, b_bar, x0, return_path=True, **settings)
    assert path.shape == (33, 500, 2)
    np.testing.assert_array_equal(path[0], x0)
    np.testing.assert_allclose(path[-1], sde(A_bar, b_bar, x0, **settings), rtol=1e-12)
    # Noise of both kinds has its scale: variance of the first step is (q_A² |x|² + q_b²) dt in each coordinate.
    variance = (0.25 * np.sum(X0**2) + 0.09) / 32
    np.testing.assert_allclose(np.var(path[1], axis=0), variance, rtol=0.2)
    dW = brownian_increments(jax.random.key(1), 64, 2, scale_A=0.5, scale_b=0.3, paths=(200,))
    np.testing.assert_allclose([jnp.std(dW.A) * 8, jnp.std(dW.b) * 8], [0.5, 0.3], rtol=0.03)
    single = sde(A_bar, b_bar, x0.astype(jnp.float32), **settings)
    assert single.dtype == jnp.float32


def test_sde_on_a_brownian_tree():
    """A path of diffrax gives what its own increments give, at any number of steps."""
    shape = (jax.ShapeDtypeStruct((2, 2), float), jax.ShapeDtypeStruct((2,), float))
    tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=1e-3, shape=shape, key=jax.random.key(3))
    settings = {"scale_A": 0.5, "scale_b": 0.3, "activation": jnp.expm1}
    k = np.arange(16)
    A, b = jax.vmap(tree.evaluate)(k / 16, (k + 1) / 16)
    expected = sde(A_bar, b_bar, X0, dW=Increments(0.5 * A, 0.3 * b), **settings)
    np.testing.assert_allclose(sde(A_bar, b_bar, X0, dW=tree, n_steps=16, **settings), expected, rtol=1e-12)


def test_quadratic_variation_of_other_noise():
    """Noise with A = 0: Q is q_b² and the term is a constant drift."""
    dW = Increments(np.zeros((8, 2, 2)), np.zeros((8, 2)))
    still = lambda t: jnp.zeros((2, 2))  # noqa: E731
    none = lambda t: jnp.zeros(2)  # noqa: E731
    settings = {"dW": dW, "activation": jnp.expm1, "scale_A": 0.0, "scale_b": 0.6}
    np.testing.assert_allclose(sde(still, none, X0, **settings), X0 + 0.5 * 0.36, rtol=1e-12)
    np.testing.assert_allclose(sde(still, none, X0, ito=False, **settings), X0, rtol=1e-12)
    own = sde(still, none, X0, quadratic_variation=lambda h: 0.2 * jnp.ones_like(h), **settings)
    np.testing.assert_allclose(own, X0 + 0.1, rtol=1e-12)
