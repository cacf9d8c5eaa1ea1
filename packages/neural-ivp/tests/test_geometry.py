"""Metrics and wave operators against stored arrays and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp import ops
from offprint.neural_ivp.geometry import (
    christoffel,
    contracted_gamma,
    curved_acceleration,
    dalembertian,
    schwarzschild,
)
from offprint.neural_ivp.problems import curved_wave, wave, wave_maps


@pytest.fixture(scope="module")
def black_hole(golden):
    arrays = golden("geometry_networks")
    points = jnp.concatenate([jnp.zeros((len(arrays["x"]), 1)), arrays["x"]], axis=1)
    return arrays, schwarzschild(float(arrays["M"]), arrays["hole"]), points


def test_the_metric_and_its_inverse_are_the_stored_ones(black_hole):
    arrays, metric, X = black_hole
    g = jax.vmap(metric)(X)
    np.testing.assert_allclose(g, arrays["g"], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(jnp.linalg.inv(g), arrays["ginv"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(jnp.linalg.det(g), -1.0, rtol=1e-12)


def test_christoffel_symbols_are_the_stored_ones(black_hole):
    arrays, metric, X = black_hole
    symbols = jax.vmap(lambda x: christoffel(metric, x))(X)
    np.testing.assert_allclose(symbols, arrays["christoffel_abC"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(symbols, jnp.swapaxes(symbols, 1, 2), rtol=1e-12, atol=1e-13)


def test_the_contracted_symbols_are_the_stored_ones_and_their_closed_form(black_hole):
    arrays, metric, X = black_hole
    gamma = jax.vmap(lambda x: contracted_gamma(metric, x))(X)
    np.testing.assert_allclose(gamma, arrays["contracted_gamma"], rtol=1e-12, atol=1e-13)
    away = arrays["x"] - arrays["hole"]
    r = np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(gamma[:, 1:], 2 * float(arrays["M"]) * away / r**3, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gamma[:, 0], 0, atol=1e-13)


def test_the_dalembertian_without_curvature_is_minus_the_second_time_derivative_plus_the_laplacian():
    def phi(X):
        return jnp.sin(X @ jnp.array([1.3, 0.7, -0.4]))

    X = jnp.array([0.2, 0.5, -0.3])
    box = dalembertian(lambda X: jnp.diag(jnp.array([-1.0, 1.0, 1.0])))
    np.testing.assert_allclose(box(phi, X), (1.3**2 - 0.7**2 - 0.4**2) * np.sin(0.26 + 0.35 + 0.12), rtol=1e-13)


def test_the_smooth_form_and_the_general_metric_give_one_acceleration():
    problem, general = wave_maps(), curved_wave(schwarzschild())

    def u(x):
        return jnp.stack([jnp.sin(x @ jnp.array([1.0, 2.0, -1.0])), jnp.cos(x @ jnp.array([0.5, -1.0, 1.0]))])

    X = 0.9 * problem.domain.uniform(jax.random.key(0), 20)
    both = jax.jit(jax.vmap(lambda x: (problem.pde(u, x, 0.0), general.pde(u, x, 0.0))))(X)
    np.testing.assert_allclose(both[0], both[1], rtol=1e-10, atol=1e-12)


def test_the_box_of_a_function_of_time_and_space_vanishes_with_the_acceleration():
    """A metric that mixes time and space and depends on all coordinates: no term may be missing."""

    def metric(X):
        wave = 0.1 * jnp.sin(X.sum())
        return jnp.diag(jnp.array([-1.0, 1.0, 1.0]) + wave) + 0.1 * jnp.cos(X[1]) * jnp.ones((3, 3))

    def phi(X):
        return jnp.sin(X @ jnp.array([0.7, 1.0, -2.0])) + X[0] ** 2 * X[1]

    X = jnp.array([0.3, 0.2, -0.5])
    t, x = X[0], X[1:]
    at = jnp.array([1.0, 0, 0])

    def fields(y):
        point = jnp.concatenate([t[None], y])
        return jnp.stack([phi(point), ops.directional(phi, point, at)])

    given = ops.directional(phi, X, at, order=2)
    solved = curved_acceleration(metric)(fields, x, t)
    inverse = jnp.linalg.inv(metric(X))
    np.testing.assert_allclose(solved - given, -dalembertian(metric)(phi, X) / inverse[0, 0], rtol=1e-12)


def test_far_from_a_light_hole_waves_are_those_of_flat_space():
    curved, flat = wave_maps(mass=1e-12), wave(dim=3)
    x = jnp.array([0.1, -0.4, 0.3])
    np.testing.assert_allclose(curved.pde(flat.ic, x, 0.0), flat.pde(flat.ic, x, 0.0), atol=1e-9)


def test_the_smooth_form_is_finite_where_the_box_touches_the_horizon():
    problem = wave_maps()
    assert np.isfinite(problem.pde(problem.ic, jnp.array([-1.0, 0.0, 0.0]), 0.0)).all()


def test_a_hole_in_the_box_and_a_mass_without_weight_are_refused():
    with pytest.raises(ValueError, match="lies in the box"):
        wave_maps(hole=(0.5, 0.0, 0.0))
    with pytest.raises(ValueError, match="mass=0; it must be positive"):
        schwarzschild(mass=0)
