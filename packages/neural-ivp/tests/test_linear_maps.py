"""Products with J and M: symmetric, exact, the same by layers, by automatic differentiation and chunk by chunk."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_network import GoldenNetwork

from offprint.neural_ivp._gram import gram_matvec, pde_values, residual, rhs_vector
from offprint.neural_ivp._linear_maps import linear_maps

N = 37


@pytest.fixture(scope="module")
def network():
    return GoldenNetwork(d=2, L=2, scaling=1.0, width=6, blocks=2)


@pytest.fixture(scope="module")
def case(network):
    rng = np.random.default_rng(0)
    p = 2 * (9 * 6 + 2 * 7 * 6 + 7)
    theta = jnp.asarray(0.4 * rng.normal(size=p))
    return SimpleNamespace(
        theta=theta,
        X=jnp.asarray(rng.uniform(-1, 1, (N, 2))),
        v=jnp.asarray(rng.normal(size=p)),
        V=jnp.asarray(rng.normal(size=(p, 21))),
        c=jnp.asarray(rng.normal(size=(N, 2))),
        weights=jnp.asarray(rng.uniform(0.1, 2, N)),
        idx=jnp.asarray(rng.integers(0, p // 2, (2, 5))),
    )


def everything(network, case, **options):
    @jax.jit
    def products(theta, X, weights, v, V, c):
        maps = linear_maps(network, theta, X, 0.0, weights, **options)
        return {
            "u": maps.u,
            "jvp": maps.jvp(v),
            "vjp": maps.vjp(c),
            "matvec": maps.matvec(v),
            "matmat": maps.matmat(V),
            "gram": maps.gram(),
            "kernel": maps.kernel(),
            "jacobian": maps.jacobian(),
            "columns": maps.columns(case.idx),
            "project": maps.project(c),
        }

    return products(case.theta, case.X, case.weights, case.v, case.V, case.c)


@pytest.fixture(scope="module")
def layerwise(network, case):
    return everything(network, case)


@pytest.fixture(scope="module")
def dense(network, case):
    """J (N, k, p) by reverse mode, one point at a time."""
    return jax.jit(jax.vmap(jax.jacrev(network), in_axes=(None, 0)))(case.theta, case.X)


def close(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        scale = np.abs(wanted[name]).max()
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-12 * scale, err_msg=name)


def test_products_are_those_of_the_jacobian(case, layerwise, dense):
    wanted = np.einsum("nkp,p->nk", dense, case.v)
    np.testing.assert_allclose(layerwise["jvp"], wanted, atol=1e-12)
    np.testing.assert_allclose(layerwise["vjp"], np.einsum("nkp,nk->p", dense, case.c), atol=1e-11)
    M = np.einsum("n,nkp,nkq->pq", case.weights, dense, dense) / N
    np.testing.assert_allclose(layerwise["matvec"], M @ case.v, atol=1e-12 * np.abs(M).max() * len(M))
    np.testing.assert_allclose(layerwise["matmat"], M @ case.V, atol=1e-12 * np.abs(M).max() * len(M))


def test_layers_give_what_automatic_differentiation_gives(network, case, layerwise):
    close(layerwise, everything(network, case, layerwise=False))


@pytest.mark.parametrize("chunk", [8, 37])  # 8 does not divide 37
def test_chunks_change_nothing(network, case, layerwise, chunk):
    close(everything(network, case, chunk=chunk), layerwise)


def test_chunks_change_nothing_without_layers(network, case, layerwise):
    close(everything(network, case, chunk=10, layerwise=False), layerwise)


def test_m_is_symmetric_and_positive_semidefinite(network, case):
    maps = linear_maps(network, case.theta, case.X)
    v, w = case.v, case.V[:, 0]
    assert v @ maps.matvec(w) == pytest.approx(float(w @ maps.matvec(v)), rel=1e-12)
    mean_square = jnp.mean(jnp.sum(maps.jvp(v) ** 2, axis=1))
    assert v @ maps.matvec(v) == pytest.approx(float(mean_square), rel=1e-12)


def test_separate_networks_make_m_block_diagonal(case, layerwise, dense):
    half = case.theta.size // 2
    M = np.einsum("n,nkp,nkq->pq", case.weights, dense, dense) / N
    assert (M[:half, half:] == 0).all()
    for block, where in zip(layerwise["gram"], (slice(half), slice(half, None))):
        np.testing.assert_allclose(block, M[where, where], atol=1e-12 * np.abs(M).max())


def test_the_kernel_is_the_product_of_jacobians(case, layerwise, dense):
    half = case.theta.size // 2
    for component, where in enumerate((slice(half), slice(half, None))):
        J = dense[:, component, where]
        np.testing.assert_allclose(layerwise["jacobian"][component], J, atol=1e-13)
        np.testing.assert_allclose(layerwise["kernel"][component], J @ J.T, atol=1e-11)
        np.testing.assert_allclose(layerwise["columns"][component], J[:, case.idx[component]], atol=1e-13)


def test_weights_of_one_are_no_weights(network, case):
    plain = linear_maps(network, case.theta, case.X).matvec(case.v)
    np.testing.assert_array_equal(gram_matvec(network, case.theta, case.X, case.v, jnp.ones(N)), plain)


def test_duplicated_neurons_leave_a_null_direction(network, case):
    sizes = [9 * 6, 7 * 6]
    second = sum(sizes)  # where the third hidden layer of the first component begins: biases, then W (6, 6)
    theta = case.theta.at[second + 1].set(case.theta[second])
    W = theta[second + 6 : second + 42].reshape(6, 6)
    theta = theta.at[second + 6 : second + 42].set(W.at[:, 1].set(W[:, 0]).reshape(-1))
    head = second + 42
    v = jnp.zeros_like(theta).at[head + 1].set(1.0).at[head + 2].set(-1.0)
    maps = linear_maps(network, theta, case.X)
    largest = jnp.linalg.eigvalsh(maps.gram()).max()
    assert jnp.linalg.norm(maps.matvec(v)) < 1e-12 * largest


def test_components_that_share_a_trunk_go_by_layers_too():
    net = SharedTrunk()
    rng = np.random.default_rng(1)
    theta, X, v = rng.normal(size=5 * 4 + 5 * 3 + 4 * 3), rng.uniform(-1, 1, (11, 4)), rng.normal(size=47)
    by_layers, by_ad = (linear_maps(net, jnp.asarray(theta), X, layerwise=choice) for choice in (True, False))
    assert by_layers.layerwise
    assert not by_ad.layerwise
    idx = jnp.asarray([[0, 20, 46, 33]])
    for name, argument in {"jvp": v, "matvec": v, "vjp": rng.normal(size=(11, 3)), "columns": idx}.items():
        found, wanted = (getattr(maps, name)(jnp.asarray(argument)) for maps in (by_layers, by_ad))
        np.testing.assert_allclose(found, wanted, atol=1e-12, err_msg=name)
    for name in ("gram", "kernel", "jacobian"):
        found, wanted = (getattr(maps, name)() for maps in (by_layers, by_ad))
        np.testing.assert_allclose(found, wanted, atol=1e-11, err_msg=name)


class SharedTrunk:
    """Four inputs, tanh layers of 4 and 3, three components with a factor of their own each."""

    blocks = 1

    def __init__(self):
        self.activation = jnp.tanh
        self.features = lambda x: x
        self.scale = lambda x: jnp.stack([1 - x[0] ** 2, x[1], 1.0])

    def chain(self, theta):
        layers, at = [], 0
        for i, o in ((4, 4), (4, 3), (3, 3)):
            layers.append((theta[at + o : at + o + i * o].reshape(1, i, o), theta[None, at : at + o]))
            at += o + i * o
        return SimpleNamespace(layers=layers, activation=self.activation, features=self.features, scale=self.scale)

    def __call__(self, theta, x, t):
        a = x
        layers = self.chain(theta).layers
        for W, b in layers[:-1]:
            a = jnp.tanh(a @ W[0] + b[0])
        W, b = layers[-1]
        return self.scale(x) * (a @ W[0] + b[0])


def test_a_pytree_of_weights_is_raveled(network, case):
    def apply(params, x, t):
        return network(jnp.concatenate([params["b"], params["a"]]), x, t)

    params = {"b": case.theta[:100], "a": case.theta[100:]}
    found = gram_matvec(apply, params, case.X, jnp.concatenate([case.v[100:], case.v[:100]]))
    wanted = linear_maps(network, case.theta, case.X).matvec(case.v)
    np.testing.assert_allclose(jnp.concatenate([found[-100:], found[:-100]]), wanted, atol=1e-12)


def test_products_in_float32_have_sums_in_float64(network, case, layerwise):
    low = everything(network, case, dtype="float32")
    for name in ("jvp", "matvec", "matmat", "gram", "kernel"):
        assert low[name].dtype == jnp.float64
        scale = np.abs(layerwise[name]).max()
        np.testing.assert_allclose(low[name], layerwise[name], rtol=0, atol=2e-5 * scale, err_msg=name)


def test_the_residual_is_relative_and_the_legacy_one_smaller_by_root_n(network, case):
    def pde(u, x, t):
        return jax.jvp(u, (x,), (jnp.ones_like(x),))[1]

    f = pde_values(network, pde, case.theta, case.X)
    np.testing.assert_allclose(pde_values(network, pde, case.theta, case.X, chunk=10), f, atol=1e-13)
    maps = linear_maps(network, case.theta, case.X)
    wanted = jnp.linalg.norm(maps.jvp(case.v) - f) / jnp.linalg.norm(f)
    arguments = (network, pde, case.theta, case.X, case.v)
    assert residual(*arguments) == pytest.approx(float(wanted), rel=1e-12)
    assert residual(*arguments, norm="legacy") == pytest.approx(float(wanted) / np.sqrt(N), rel=1e-12)
    np.testing.assert_allclose(rhs_vector(network, pde, case.theta, case.X), maps.vjp(f) / N, atol=1e-14)


def test_moving_boundary_values_are_taken_off(network, case):
    class Lifted:
        blocks = 2

        def __call__(self, theta, x, t):
            return network(theta, x) + jnp.sin(t)

        def lift_rate(self, x, t):
            return jnp.cos(t) * jnp.ones(2)

    f = pde_values(Lifted(), lambda u, x, t: jnp.zeros(2), case.theta, case.X, 0.3)
    np.testing.assert_allclose(f, -np.cos(0.3), atol=1e-15)


def test_bad_input_is_told(network, case, unchecked_types):
    with pytest.raises(ValueError, match=r"points have shape \(2,\)"):
        linear_maps(network, case.theta, case.X[0])
    with pytest.raises(ValueError, match=r"weights have shape \(3,\)"):
        linear_maps(network, case.theta, case.X, weights=jnp.ones(3))
    with pytest.raises(ValueError, match="chunk=0"):
        linear_maps(network, case.theta, case.X, chunk=0)
    with pytest.raises(ValueError, match=r"must return shape \(n_fields,\) = \(2,\), got \(\)"):
        pde_values(network, lambda u, x, t: u(x)[0], case.theta, case.X)
    with pytest.raises(ValueError, match="norm='l1'"):
        residual(network, lambda u, x, t: u(x), case.theta, case.X, case.v, norm="l1")
