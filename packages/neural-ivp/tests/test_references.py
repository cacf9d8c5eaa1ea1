"""Reference solutions on grids: against stored arrays, exact solutions and the equations that they solve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp import problems
from offprint.neural_ivp._exact import CurvedWaveReference, PeriodicReference


def relative(value, reference):
    return np.linalg.norm(np.asarray(value) - reference) / np.linalg.norm(reference)


def test_burgers_equation_by_cole_and_hopf_against_fourier():
    """ν = 0.1/π, t = 0.5: a front that 128 points resolve; -sin πx is odd, so that periodic and zero ends agree."""
    nu = 0.1 / np.pi
    reference = PeriodicReference(
        lambda u, D: nu * D(u, 2) - D(u**2 / 2, 1), lambda x: -jnp.sin(np.pi * x), -1, 1, num_points=128
    )
    X = np.linspace(-1, 1, 41)[:, None]
    exact = problems.burgers(viscosity=nu).exact
    u = jax.jit(jax.vmap(lambda x: exact(x, 0.5)))(X)
    assert relative(u, np.asarray(jax.jit(jax.vmap(reference, (0, None)))(X, 0.5))) < 1e-8
    np.testing.assert_allclose(np.asarray(u)[[0, -1]], 0, atol=1e-12)


def test_waves_around_a_black_hole_within_the_accuracy_of_the_stored_ones(golden):
    stored, problem = golden("exact_solutions"), problems.wave_maps()
    reference = CurvedWaveReference(problem.ic, num_intervals=24)
    values = reference.at(reference.solve(stored["wm_T"]), stored["wm_X"])
    assert relative(values[:, 0], stored["wm_phi"]) < 5e-6
    assert relative(values[1:, 1], stored["wm_phit"][1:]) < 1e-4
    X = np.stack([axis[[0, 3, 7]] for axis in reference.axes], axis=1)  # on the grid the interpolant is the value
    at_start = reference.at(reference.solve(np.array([0.0]))[0], X)
    np.testing.assert_allclose(at_start[0], jax.vmap(problem.ic)(X)[:, 0], atol=1e-13)


def test_derivatives_on_the_fourier_grid_are_those_of_waves():
    reference = PeriodicReference(lambda u, D: u, lambda x: x, 1.0, 5.0, num_points=16)
    x = reference.grid
    wave = 2 * np.pi / 4
    u = jnp.asarray(np.stack([np.sin(3 * wave * x), np.cos(2 * wave * x)]))
    for order, factors in ((1, (3, -2)), (3, (-27, 8))):
        shapes = [factors[0] * np.cos(3 * wave * x), factors[1] * np.sin(2 * wave * x)]
        np.testing.assert_allclose(reference._derivative(u, order), wave**order * np.array(shapes), atol=1e-10)
    with pytest.raises(ValueError, match="even number"):
        PeriodicReference(lambda u, D: u, lambda x: x, 0.0, 1.0, num_points=7)


@pytest.mark.parametrize("build", [problems.allen_cahn, problems.kuramoto_sivashinsky, problems.reaction_diffusion])
def test_reference_solutions_satisfy_the_equation_and_the_initial_condition(build):
    """∂u/∂t by differences of order 4 against the problem's own right-hand side at the interpolant."""
    problem = build()
    reference, t, h = problem.exact, 0.3, 2e-3
    X = problem.domain.uniform(jax.random.key(0), 12)
    solved = reference.solve(np.array([0.0, t - 2 * h, t - h, t, t + h, t + 2 * h]))
    u = jax.jit(jax.vmap(lambda x: reference.at(solved, x), out_axes=1))(X)
    rate = (u[1] - 8 * u[2] + 8 * u[4] - u[5]) / (12 * h)
    rhs = jax.jit(jax.vmap(lambda x: problem.pde(lambda y: reference.at(solved[3], y), x, t)))(X)
    assert np.linalg.norm(rate - rhs) < 2e-6 * np.linalg.norm(rhs)
    np.testing.assert_allclose(u[0], jax.vmap(problem.ic)(X), atol=1e-9)
    np.testing.assert_allclose(jax.jit(reference)(X[0], t), u[3, 0], atol=1e-8)
