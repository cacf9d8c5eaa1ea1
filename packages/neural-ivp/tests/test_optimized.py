"""Discretise, then optimise: orders of the schemes, misfits, agreement with projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._metrics import interior_grid, relative_l2
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._optimized import Optimized
from offprint.neural_ivp._samplers import Uniform
from offprint.neural_ivp._solve import solve_ivp


@pytest.fixture(scope="module")
def heat():
    """The heat equation, and a network that was fitted to its initial condition."""
    problem = problems.heat(dim=1, ic=ics.gaussian(0.2))
    apply, theta = functional(SinusoidalMLP(problem.domain, 1, width=8, depth=2, n_freq=3, rngs=nnx.Rngs(0)))
    theta, report = GaussNewtonFit(steps=60, points=300)(apply, theta, problem.ic, jax.random.key(1))
    assert report.relative < 1e-3
    return problem, apply, theta


def error_at_the_end(heat, ode):
    problem, apply, theta = heat
    sol = solve_ivp(
        problem, (apply, theta), [0, 0.2], key=jax.random.key(0), fit=None, linear=Dense(mu=1e-9), sampler=Uniform(300),
        ode=ode,
    )  # fmt: skip
    assert sol.success
    assert sol.num_rhs == ode.num_rhs * len(sol.history)
    x = interior_grid(problem.domain, 200)
    exact = jax.vmap(lambda x: problem.exact(x, 0.2))(jnp.asarray(x))
    return float(relative_l2(sol(x, -1), exact)), sol


@pytest.mark.parametrize(
    ("scheme", "steps", "order"), [("euler", 8, 1), ("implicit-euler", 2, 1), ("trapezoidal", 2, 2)]
)
def test_halving_the_step_shows_the_order_of_the_scheme(scheme, steps, order, heat):
    errors = [error_at_the_end(heat, Optimized(scheme, step=0.2 / n, iterations=4))[0] for n in (steps, 2 * steps)]
    assert 0.7 * order <= np.log2(errors[0] / errors[1]) <= 1.4 * order


def test_the_second_slope_of_heun_makes_it_more_accurate_than_euler(heat):
    ode = [Optimized(scheme, step=0.0125, iterations=4) for scheme in ("euler", "heun")]
    euler, heun = (error_at_the_end(heat, one)[0] for one in ode)
    assert heun < 0.3 * euler


def test_two_implicit_steps_suffice_for_the_whole_time(heat):
    error, sol = error_at_the_end(heat, Optimized("trapezoidal", step=0.1, iterations=4))
    assert error < 3e-3
    assert (sol.history["rho"] < 0.02).all()
    assert (sol.history["rho_fresh"] < 3 * sol.history["rho"] + 1e-3).all()


def test_one_step_of_euler_by_optimisation_is_that_of_the_exact_flow_on_linear_networks():
    # u = theta . (phi_1, phi_2): the tangent space is the same everywhere, so that both kinds of step agree
    features = lambda x: jnp.stack([x[0] * (1 - x[0] ** 2), 1 - x[0] ** 2])  # noqa: E731
    network = functional(lambda w, x: (w @ features(x))[None], jnp.array([1.0, 2.0]), domain=Box(-1, 1))
    problem = problems.heat(dim=1)
    thetas = [
        solve_ivp(
            problem, network, [0, 0.01], key=jax.random.key(0), fit=None, linear=Dense(mu=1e-12), ode=ode,
            sampler=Uniform(50, resample="never"), max_residual=10.0,
        ).theta_last
        for ode in (RK("euler", step=0.01), Optimized("euler", step=0.01, iterations=1))
    ]  # fmt: skip
    np.testing.assert_allclose(thetas[0], thetas[1], rtol=1e-8)


@pytest.mark.usefixtures("unchecked_types")
def test_settings_that_cannot_serve():
    with pytest.raises(ValueError, match="scheme must be one of euler, heun, implicit-euler, trapezoidal"):
        Optimized("rk4")
    with pytest.raises(ValueError, match="step must be positive and iterations at least 1"):
        Optimized("heun", step=0.0)
