"""Exact and reference solutions against stored arrays, each other, and the equations that they solve."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._exact import (
    fokker_planck_moments,
    radial_wave,
    trace_back,
    two_solitons,
)


@pytest.fixture(scope="module")
def stored(golden):
    return golden("exact_solutions")


def relative(value, reference):
    return np.linalg.norm(np.asarray(value) - reference) / np.linalg.norm(reference)


def over(exact, X, T):
    """exact at all points X (n, d) and times T: (times, n, k)."""
    return jax.jit(jax.vmap(jax.vmap(exact, (0, None)), (None, 0)))(jnp.asarray(X), jnp.asarray(T))


def test_the_heat_equation(stored):
    u = over(problems.heat().exact, stored["X2"], stored["T2"])
    assert relative(u[..., 0], stored["heat_u"]) < 1e-12


def test_the_wave_equation_in_two_dimensions_and_its_rate(stored):
    u = over(problems.wave().exact, stored["X2"], stored["T2"])
    assert relative(u[..., 0], stored["wave2d_u"]) < 1e-12
    assert relative(u[..., 1], stored["wave2d_ut"]) < 1e-11


def test_the_wave_equation_in_three_dimensions(stored):
    wave = problems.wave(dim=3, ic=ics.gaussian(float(stored["wave3d_sigma"]), float(stored["wave3d_amp"])))
    assert relative(over(wave.exact, stored["X3"], stored["T3"])[..., 0], stored["wave3d_u"]) < 1e-12


def test_dalemberts_formula_holds_until_the_wall_is_felt(stored):
    width = float(stored["wave3d_sigma"])

    def u(x, t):
        return radial_wave(lambda r: jnp.exp(-(r**2) / (2 * width**2)), x, t)

    assert relative(over(u, stored["X3"], stored["T3"][:2]), stored["wave3d_u"][:2]) < 1e-12
    np.testing.assert_allclose(u(jnp.zeros(3), 0.1), u(jnp.full(3, 1e-6), 0.1), rtol=1e-9)  # through the centre


def test_characteristics_of_the_vlasov_equation(stored):
    f = over(problems.vlasov().exact, stored["Z6"], stored["T6"])
    assert relative(f[..., 0], stored["vlasov_f"]) < 1e-11


def test_going_back_along_a_rotation_is_turning_the_other_way():
    z = trace_back(lambda z: jnp.stack([-z[1], z[0]]), jnp.array([0.6, 0.0]), 0.5)
    np.testing.assert_allclose(z, [0.6 * np.cos(0.5), -0.6 * np.sin(0.5)], rtol=1e-11)


def test_moments_and_density_of_the_fokker_planck_equation(stored):
    m0, S0 = stored["fp_m0"], stored["fp_S0"]
    for trap in (0.2, lambda t: 0.2 + 0 * t):
        mean, cov = jax.vmap(lambda t, trap=trap: fokker_planck_moments(t, m0, S0, trap=trap))(stored["fp_T"])
        assert relative(mean, stored["fp_mean"]) < 1e-12
        assert relative(cov, stored["fp_cov"]) < 1e-12
    exact = problems.fokker_planck(ic=ics.gaussian_density(m0, S0)).exact
    assert relative(over(exact, stored["fp_X"], stored["fp_T"])[..., 0], stored["fp_pdf"]) < 1e-12


def test_moments_from_the_papers_start_have_their_closed_form():
    t, D = 0.5, 0.01
    mean, cov = fokker_planck_moments(t, np.zeros(5), 0.2 * np.eye(5))
    np.testing.assert_allclose(mean, 0.2 * (1 - np.exp(-t)), rtol=1e-12)
    along, across = np.full(5, 5**-0.5), np.array([1, -1, 0, 0, 0]) / 2**0.5
    np.testing.assert_allclose(along @ cov @ along, D + (0.2 - D) * np.exp(-2 * t), rtol=1e-12)
    np.testing.assert_allclose(across @ cov @ across, D / 1.25 + (0.2 - D / 1.25) * np.exp(-2.5 * t), rtol=1e-12)


def test_a_trap_that_moves_pulls_the_mean_as_the_ordinary_equation_says():
    """m' = a(t) - m with a = sin πt, from 0."""
    mean, _ = fokker_planck_moments(1.5, np.zeros(3), np.eye(3), trap=lambda t: jnp.sin(np.pi * t))
    by_hand = (np.sin(np.pi * 1.5) - np.pi * np.cos(np.pi * 1.5) + np.pi * np.exp(-1.5)) / (1 + np.pi**2)
    np.testing.assert_allclose(mean, by_hand, rtol=1e-12)


def test_two_solitons(stored):
    u = over(problems.kdv().exact, stored["kdv_x"][:, None], stored["kdv_T"])
    assert relative(u[..., 0], stored["kdv_u"]) < 1e-12


def test_solitons_far_away_are_of_their_own_height_and_do_not_overflow():
    """They have passed one another: the fast one is where 5^1.5 t and its phase have brought it, height k²/2."""
    t = jnp.array(300.0)
    x = jnp.linspace(0, 1700, 170_001)
    u = jax.vmap(lambda x: two_solitons(x, t))(x)
    assert np.isfinite(u).all()
    np.testing.assert_allclose(u.max(), 2.5, rtol=1e-3)
    np.testing.assert_allclose(u[x < 1000].max(), 0.5, rtol=1e-3)


def test_the_steep_front_of_burgers_equation_has_its_known_slope():
    """For ν = 0.01/π the literature gives |u_x(0)| = 152.00516 at t = 1.6037/π (Basdevant et al. 1986)."""
    exact = problems.burgers().exact
    slope = jax.jvp(lambda x: exact(x, 1.6037 / np.pi), (jnp.zeros(1),), (jnp.ones(1),))[1]
    np.testing.assert_allclose(slope, -152.00516, rtol=1e-6)


def test_series_of_functions_that_are_no_gaussians_are_exact_for_single_modes():
    box = Box([0.0, -1.0], [2.0, 2.0])

    def mode(x):
        return (jnp.sin(np.pi * 3 * x[0] / 2) * jnp.sin(np.pi * 2 * (x[1] + 1) / 3))[None]

    lam = (np.pi * 3 / 2) ** 2 + (np.pi * 2 / 3) ** 2
    x, t = jnp.array([0.3, 0.4]), 0.2
    heat = problems.heat(diffusivity=0.05, ic=mode, domain=box)
    np.testing.assert_allclose(heat.exact(x, t), np.exp(-0.05 * lam * t) * mode(x), rtol=1e-11)
    wave = problems.wave(c2=0.3, ic=lambda x: 0 * mode(x), velocity=mode, domain=box)
    omega = np.sqrt(0.3 * lam)
    expected = np.array([np.sin(omega * t) / omega, np.cos(omega * t)]) * mode(x)
    np.testing.assert_allclose(wave.exact(x, t), expected, rtol=1e-11)


def test_exact_solutions_keep_float32():
    for problem in (problems.heat(), problems.wave(), problems.burgers(), problems.kdv(), problems.schrodinger()):
        x = problem.domain.uniform(jax.random.key(1), 1)[0]
        exact = jax.jit(partial(problem.exact, t=0.2))
        low, high = exact(x.astype(jnp.float32)), exact(x)
        assert low.dtype == jnp.float32
        np.testing.assert_allclose(low, high, atol=2e-5 * max(1.0, float(jnp.abs(high).max())))
