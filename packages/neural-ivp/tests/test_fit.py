"""Fits: the step is the damped Gauss-Newton step, fields are fitted side by side, errors are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import NonFiniteError
from offprint.neural_ivp import _gauss_newton
from offprint.neural_ivp._adam_fit import AdamFit
from offprint.neural_ivp._antisymmetric import antisymmetric
from offprint.neural_ivp._bc import Dirichlet
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._ednn import EDNN
from offprint.neural_ivp._fit import Fit, fit_error
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._samplers import GaussLegendre
from offprint.neural_ivp._target import snapshot

LINE, SQUARE = Box.cube(1), Box.cube(2)
KEY = jax.random.key(7)
FIT = GaussNewtonFit(steps=15, points=300)


def network(fields=1, domain=LINE, **others):
    return functional(SinusoidalMLP(domain, fields, width=8, depth=2, n_freq=2, rngs=nnx.Rngs(0), **others))


def bump(x):
    return jnp.exp(-jnp.sum(x**2) / (2 * 0.25**2))[None]


def two(x):
    return jnp.concatenate([bump(x), jnp.zeros(1)])


@pytest.fixture(scope="module")
def one():
    return network()


@pytest.fixture(scope="module")
def fitted(one):
    apply, theta = one
    return FIT(apply, theta, bump, KEY)


def test_fifteen_steps_fit_a_bump(fitted):
    _, report = fitted
    assert isinstance(FIT, Fit)
    assert report.relative < 2e-3
    assert report.steps == len(report.history) == 15
    np.testing.assert_allclose(report.history[-1], report.relative, rtol=0.5)


def test_reported_errors_are_those_of_the_network(one, fitted):
    apply, _ = one
    theta, report = fitted
    x = jnp.linspace(-1, 1, 4001)[:, None]
    exact = np.asarray(jax.vmap(bump)(x))
    rms = np.sqrt(np.mean((apply.values(theta, x) - exact) ** 2))
    np.testing.assert_allclose(report.rms, rms, rtol=0.05)
    np.testing.assert_allclose(report.relative, rms / np.sqrt(np.mean(exact**2)), rtol=0.05)
    assert report.fields == (report.rms,)
    assert fit_error(apply, theta, snapshot(apply, theta), KEY) == (0.0, 0.0, (0.0,))


def test_same_key_gives_the_same_bits(one, fitted):
    apply, theta = one
    np.testing.assert_array_equal(FIT(apply, theta, bump, KEY)[0], fitted[0])
    assert not np.array_equal(FIT(apply, theta, bump, jax.random.key(8))[0], fitted[0])


@pytest.mark.parametrize("n", [300, 40])
def test_a_step_is_that_of_the_normal_equations_from_the_gram_matrix_and_from_the_kernel(n):
    """With 300 points for 121 weights of a field, and with 40."""
    apply, theta = network(2)
    x, weights = LINE.uniform(KEY, n), jax.random.uniform(KEY, (n,), minval=0.5, maxval=1.5)
    wanted = jax.vmap(two)(x)
    dampings = jnp.array([[0.1, 0.2]])
    ours = _gauss_newton._changes(apply, theta, x, weights, 0.0, wanted, dampings, 64)[0].reshape(2, -1)
    jacobian = jax.jit(jax.vmap(jax.jacrev(apply), in_axes=(None, 0)))(theta, x).reshape(n, 2, 2, -1)
    for o in range(2):
        J = np.asarray(jacobian[:, o, o])
        M = J.T @ (weights[:, None] * J) / n
        F = J.T @ (weights * (wanted - apply.values(theta, x))[:, o]) / n
        A = M + dampings[0, o] * np.trace(M) / len(M) * np.eye(len(M))
        np.testing.assert_allclose(ours[o], np.linalg.solve(A, F), rtol=1e-7, atol=1e-9)


def test_fields_are_fitted_side_by_side_each_as_if_alone(fitted):
    """Field 0 of two fields with the weights of the single network follows it step by step."""
    single, weights = network()
    pair, both = network(2)
    both = both.reshape(2, -1).at[0].set(weights).reshape(-1)
    theta, report = FIT(pair, both, two, KEY)
    np.testing.assert_allclose(
        pair.values(theta, jnp.linspace(-1, 1, 9)[:, None])[:, 0],
        single.values(fitted[0], jnp.linspace(-1, 1, 9)[:, None])[:, 0],
        atol=1e-5,
    )
    assert report.fields[1] < 1e-15


def test_a_field_that_is_zero_keeps_its_layers_awake():
    """From antisymmetric weights it is 0 at once; from random ones the fit shrinks the Jacobian."""
    apply, theta = network(2, SQUARE)

    jacobian, x = jax.jit(jax.vmap(jax.jacrev(apply), in_axes=(None, 0))), SQUARE.uniform(KEY, 150)

    def rank(theta):
        J = jacobian(theta, x).reshape(150, 2, 2, -1)
        return int(np.sum(np.linalg.svd(J[:, 1, 1], compute_uv=False) > 1e-3))

    ours, report = GaussNewtonFit(steps=20, points=300)(apply, theta, two, KEY)
    plain, _ = GaussNewtonFit(steps=20, points=300, start="given")(apply, theta, two, KEY)
    assert report.fields[1] < 1e-15
    assert rank(ours) > rank(plain)


@pytest.mark.parametrize("width", [6, 7])
def test_antisymmetric_weights_are_zero_as_a_function_and_random_in_their_jacobian(width):
    apply, theta = functional(SinusoidalMLP(SQUARE, 2, width, 3, 2, rngs=nnx.Rngs(1)))
    start = antisymmetric(apply, theta)
    x = SQUARE.uniform(KEY, 60)
    assert np.abs(apply.values(start, x)).max() < 1e-15
    jacobian = jax.jit(jax.jacrev(apply))
    size = [np.linalg.norm(jacobian(weights, x[0]), axis=1) for weights in (theta, start)]
    assert np.all(size[1] > 0.2 * size[0])
    no_chain, weights = functional(EDNN(SQUARE, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(antisymmetric(no_chain, weights), weights)


def test_refits_to_other_solutions_compile_nothing_new(one, fitted):
    apply, theta = one
    one_step = GaussNewtonFit(steps=1, points=300)
    one_step(apply, theta, snapshot(apply, fitted[0], 0.0), KEY)
    compiled = _gauss_newton._step._cache_size()
    _, report = FIT(apply, apply.init(KEY), snapshot(apply, 0.5 * fitted[0], 0.2), KEY)
    assert _gauss_newton._step._cache_size() == compiled
    assert report.relative < 0.05


def test_boundary_values_at_the_time_of_the_fit_are_taken():
    apply, theta = network(bc=Dirichlet(lambda x, t: t * x))
    new, report = FIT(apply, theta, lambda x: 0.5 * x + 0.1 * jnp.cos(jnp.pi / 2 * x), KEY, t=0.5)
    assert report.relative < 1e-3
    np.testing.assert_allclose(apply(new, jnp.ones(1), 0.5), [0.5], atol=1e-15)


def test_weighted_points_a_shared_trunk_and_float32_work():
    apply, theta = network(2, shared_trunk=True, param_dtype=jnp.float32)
    theta, report = GaussNewtonFit(steps=15, sampler=GaussLegendre(80))(apply, theta, two, KEY)
    assert theta.dtype == jnp.float64
    assert report.relative < 2e-2


def test_a_fit_stops_at_its_tolerance_and_when_it_stalls(one):
    apply, theta = one
    _, report = GaussNewtonFit(points=300, tol=5e-3)(apply, theta, bump, KEY)
    assert report.history[-1] <= 5e-3 < min(report.history[:-1])
    _, report = GaussNewtonFit(points=300, patience=4, tol=1e-9)(apply, theta, bump, KEY)
    assert report.steps < 100
    assert min(report.history) > 0.95 * min(report.history[:-4])


def test_points_grow_with_the_network_up_to_a_kernel_of_4096_rows():
    sizes = []
    for width in (8, 30, 60):
        apply, _ = functional(SinusoidalMLP(LINE, 2, width, 3, 2, rngs=nnx.Rngs(0)))
        sizes.append((apply.num_params // 2, GaussNewtonFit()._sampler(apply).n))
    assert sizes == [(193, 1000), (2041, 4082), (7681, 4096)]


def test_adam_lowers_the_error_and_reports_it(one):
    apply, theta = one
    fit = AdamFit(steps=400, lr=1e-2, batch=100)
    assert isinstance(fit, Fit)
    new, report = fit(apply, theta, bump, KEY)
    assert report.steps == 400
    assert report.relative < 0.1 < report.history[0]
    np.testing.assert_array_equal(fit(apply, theta, bump, KEY)[0], new)
    _, again = AdamFit(steps=3, batch=100)(apply, new, snapshot(apply, new), KEY)
    assert again.relative < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GaussNewtonFit(points=0), "points of a fit must be positive, but is 0"),
        (lambda: AdamFit(lr=-1.0), "lr of a fit must be positive, but is -1.0"),
        (lambda: GaussNewtonFit(start="zero"), "start of a fit must be 'antisymmetric' or 'given', but is 'zero'"),
        (lambda: FIT(*network(), two, KEY), r"1 fields of the network, shape \(1,\), but gives \(2,\)"),
        (lambda: FIT(*network(), lambda x: jnp.log(x), KEY), r"target of the fit is \[nan\] at x=\[-0"),
        (lambda: AdamFit(steps=1)(*network(), lambda x: 1 / (0 * x), KEY), r"target of the fit is \[-?inf\] at x="),
        (lambda: GaussNewtonFit(start="given")(network()[0], network()[1] * jnp.nan, bump, KEY), "not finite where"),
    ],
)
def test_mistakes_are_named(unchecked_types, call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_adam_that_explodes_is_stopped(one):
    apply, theta = one
    with pytest.raises(NonFiniteError):
        AdamFit(steps=3, batch=10)(apply, jnp.full_like(theta, 1e200), bump, KEY)
