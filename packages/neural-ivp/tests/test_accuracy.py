"""Accuracy against an exact solution: what regularisation, error control and restarts do to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._metrics import interior_grid, relative_l2
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import Uniform
from offprint.neural_ivp._solve import solve_ivp

TIMES = [0.0, 0.3, 0.6]
RESTART = Restart.at([0.3])


@pytest.fixture(scope="module")
def advected():
    """(mu, restart, norm) -> the solution of an advected bump in one dimension, and its errors at the outputs."""
    problem = problems.advection(dim=1, ic=ics.gaussian(0.15))
    model = SinusoidalMLP(problem.domain, 1, width=6, depth=2, n_freq=3, rngs=nnx.Rngs(0))
    x = interior_grid(problem.domain, 200)
    known = {}

    def run(mu, restart=None, norm="theta"):
        policy = restart or Restart.never()
        if (mu, policy, norm) not in known:
            sol = solve_ivp(
                problem, model, TIMES, key=jax.random.key(0), fit=GaussNewtonFit(steps=50, points=300),
                linear=Dense(mu=mu), sampler=Uniform(200), ode=RK(rtol=1e-3, norm=norm), restart=policy,
            )  # fmt: skip
            exact = [jax.vmap(lambda x: problem.exact(x, t))(jnp.asarray(x)) for t in TIMES]  # noqa: B023
            known[mu, policy, norm] = sol, [float(relative_l2(sol(x, i), u)) for i, u in enumerate(exact)]
        return known[mu, policy, norm]

    return run


def test_a_bump_is_advected_to_within_a_hundredth(advected):
    sol, errors = advected(1e-8)
    assert sol.success
    assert errors[0] < 1.5e-3
    assert errors[1] < 7e-3
    assert errors[2] < 1.3e-2
    assert sol.restarts[0]["error"] == pytest.approx(errors[0], rel=0.3)


def test_too_much_regularisation_costs_accuracy(advected):
    strong, weak = advected(1e-5), advected(1e-8)
    assert strong[1][2] > 3 * weak[1][2]
    assert strong[0].history["rho_fresh"][0] > 3 * weak[0].history["rho_fresh"][0]


def test_control_in_function_space_is_as_accurate(advected):
    sol, errors = advected(1e-8, norm="function")
    assert sol.success
    assert errors[2] < 1.3e-2
    accepted = sol.history[sol.history["accepted"]]
    assert (accepted["error"] < 1.1e-3).all()


def test_a_restart_brings_the_residual_back_to_that_of_a_fresh_fit(advected):
    without, with_one = advected(1e-8)[0], advected(1e-8, RESTART)[0]
    assert without.history["rho_fresh"].max() > 5 * without.history["rho_fresh"][0]
    assert [fit["t"] for fit in with_one.restarts] == [0.0, pytest.approx(0.3)]
    first = with_one.history[with_one.history["t"] >= 0.3 - 1e-12][0]
    assert first["rho_fresh"] < 2 * with_one.history["rho_fresh"][0]


def test_a_restart_can_lower_the_error_at_the_end(advected):
    assert advected(1e-5, RESTART)[1][2] < advected(1e-5)[1][2]


def test_the_weights_before_a_restart_are_those_of_a_run_without(advected):
    without, with_one = advected(1e-8)[0], advected(1e-8, RESTART)[0]
    np.testing.assert_array_equal(with_one.thetas[:2], without.thetas[:2])
    assert not np.array_equal(with_one.thetas[2], without.thetas[2])
