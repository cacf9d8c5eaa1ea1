"""Integrals over the box: by quadrature, by Monte Carlo within their error bars, constant where they should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._conserved import (
    Quantity,
    expectation,
    integrate,
    marginal,
    mass,
    moments,
    square,
    wave_energy,
)
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import CurvedWaveReference

BOX = Box([-1.0, 0.0], [1.0, 3.0])
DENSITY = ics.gaussian_density([0.1, 1.5], [[0.02, 0.01], [0.01, 0.08]])


def gauss_points(box, n):
    """A quadrature as points with weights of mean 1."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    axes = [(nodes + 1) / 2] * box.dim
    X = box.from_unit(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, box.dim))
    w = np.ones(1)
    for _ in range(box.dim):
        w = np.multiply.outer(w, weights * n / 2).ravel()
    return X, jnp.asarray(w)


def test_mass_square_and_energy_are_those_by_hand():
    X, w = gauss_points(BOX, 12)

    def u(x):
        return jnp.stack([x[0] + x[1], x[0] * x[1]])

    np.testing.assert_allclose(integrate(mass(), u, BOX, X, weights=w).value, 9.0, rtol=1e-12)
    np.testing.assert_allclose(integrate(mass(1), u, BOX, X, weights=w).value, 0.0, atol=1e-12)
    np.testing.assert_allclose(integrate(square(0), u, BOX, X, weights=w).value, 20.0, rtol=1e-12)
    np.testing.assert_allclose(integrate(square(), u, BOX, X, weights=w).value, 26.0, rtol=1e-12)
    # ½ ∫ (x y)² + c² |(1, 1)|² = ½ (6 + 0.1 · 2 · 6)
    np.testing.assert_allclose(integrate(wave_energy(0.1), u, BOX, X, weights=w).value, 3.6, rtol=1e-12)


def test_moments_are_those_of_the_density_and_do_not_depend_on_its_mass():
    X, w = gauss_points(BOX, 40)
    for size in (1.0, -3.0):
        mean, cov = moments(lambda x, size=size: size * DENSITY(x), X, w)
        np.testing.assert_allclose(mean.value, DENSITY.mean, atol=1e-6)
        np.testing.assert_allclose(cov.value, DENSITY.cov, atol=1e-6)
    np.testing.assert_allclose(expectation(lambda x: x[0] * x[1], DENSITY, X, w).value, 0.1 * 1.5 + 0.01, atol=1e-6)


@jax.jit
def by_chance(key):
    X = BOX.uniform(key, 2000)
    mean, cov = moments(DENSITY, X)
    return integrate(mass(), DENSITY, BOX, X), mean, cov, marginal(DENSITY, BOX, X, 0, jnp.array([0.0, 0.1]))


def test_error_bars_are_the_spread_of_independent_estimates():
    estimates = jax.lax.map(by_chance, jax.random.split(jax.random.key(3), 200))
    for estimate in estimates:
        spread = np.asarray(estimate.value).std(axis=0)
        np.testing.assert_allclose(np.asarray(estimate.error).mean(axis=0), spread, rtol=0.25)
    whole, mean, cov, _ = estimates
    for estimate, truth in ((whole, 1.0), (mean, np.array(DENSITY.mean)), (cov, np.array(DENSITY.cov))):
        # 200 estimates: the mean of them is 14 times closer; a ratio has a bias of the order of error², allow for it
        off = np.abs(np.asarray(estimate.value).mean(axis=0) - truth)
        assert (off < 0.4 * np.asarray(estimate.error).mean(axis=0)).all()


def test_a_marginal_of_a_normal_density_is_normal():
    X, w = gauss_points(BOX, 60)
    grid = jnp.array([-0.2, 0.1, 0.3])
    # Weights of a product rule that do not depend on the axis that stays: those of the other one alone.
    w = w.reshape(60, 60).mean(axis=0)
    points = X.reshape(60, 60, 2)[0]
    curve = marginal(DENSITY, BOX, points, 0, grid, weights=w)
    expected = np.exp(-((np.asarray(grid) - 0.1) ** 2) / 0.04) / np.sqrt(2 * np.pi * 0.02)
    np.testing.assert_allclose(curve.value, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="axis=2 of a box in 2 dimensions"):
        marginal(DENSITY, BOX, points, 2, grid)


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 1000))
def test_estimates_are_linear_in_the_field(a, b, seed):
    X = BOX.uniform(jax.random.key(seed), 50)
    parts = [integrate(mass(), f, BOX, X).value for f in (DENSITY, lambda x: x[:1] ** 2)]
    both = integrate(mass(), lambda x: a * DENSITY(x) + b * x[:1] ** 2, BOX, X).value
    np.testing.assert_allclose(both, a * parts[0] + b * parts[1], rtol=1e-10, atol=1e-10)


def test_a_density_of_any_shape_can_be_watched():
    X, w = gauss_points(BOX, 40)
    first = Quantity("first moment", lambda u, x, t: t * x * u(x)[0])
    np.testing.assert_allclose(integrate(first, DENSITY, BOX, X, 2.0, w).value, [0.2, 3.0], atol=1e-5)


KEPT = {
    "advection": (lambda: problems.advection(ic=ics.gaussian(0.15, 1.0)), 0.3, 40),
    "wave": (lambda: problems.wave(ic=ics.gaussian(0.15, 1.0)), 1.0, 60),
    "kdv": (lambda: problems.kdv(domain=Box([-30], [40])), 2.0, 500),
    "schrodinger": (problems.schrodinger, 0.7, 60),
    "fokker_planck": (lambda: problems.fokker_planck(dim=2, ic=ics.gaussian_density(0.0, 0.02, 2)), 0.5, 60),
}


@pytest.mark.parametrize("name", KEPT)
def test_exact_solutions_keep_what_is_conserved(name):
    build, t, n = KEPT[name]
    problem = build()
    X, w = gauss_points(problem.domain, n)

    @jax.jit
    def watched(t):
        return [integrate(q, lambda x: problem.exact(x, t), problem.domain, X, t, w).value for q in problem.conserved]

    assert problem.conserved
    np.testing.assert_allclose(watched(t), watched(0.0), rtol=1e-5)


def test_the_energy_of_waves_around_a_black_hole_is_kept():
    problem = problems.wave_maps()
    reference = CurvedWaveReference(problem.ic, num_intervals=20)
    ts = np.array([0.0, 0.25, 0.5])
    values = np.asarray(reference.solve(ts))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    X = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    w = np.einsum("a,b,c->abc", weights, weights, weights).ravel()
    h = 1e-5
    phi = [np.asarray(reference.at(values, X + h * step)) for step in np.concatenate([np.eye(3), -np.eye(3)])]
    slope = np.stack([phi[i][:, 0] - phi[i + 3][:, 0] for i in range(3)], axis=-1) / (2 * h)
    rate = np.asarray(reference.at(values, X))[:, 1]

    def energy(i):
        """The problem's density at fields with these values and slopes."""

        def density(x, rate, slope):
            return problem.conserved[0].density(lambda y: jnp.stack([slope @ (y - x), rate]), x, 0.0)

        return w @ np.asarray(jax.jit(jax.vmap(density))(X, rate[i], slope[i]))

    np.testing.assert_allclose([energy(1), energy(2)], energy(0), rtol=1e-3)
