"""Restarts: when a policy fires, what a refit gives and when it is thrown away, what it does to a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._refit import Fitter
from offprint.neural_ivp._restart import Restart

ROW = {"rho_fresh": 0.2, "d_eff": 80.0, "cg_iters": 120}


def test_restarts_at_given_times_are_due_strictly_inside():
    assert Restart.at([0.5, 0.1, 2.0, 0.0]).due(0.0, 2.0) == [0.1, 0.5]
    np.testing.assert_allclose(Restart.every(0.25).due(0.0, 1.0), [0.25, 0.5, 0.75])
    assert Restart.never().due(0.0, 1.0) == []
    assert Restart.when(residual=0.1).due(0.0, 1.0) == []


@given(dt=st.floats(0.01, 3.0), t0=st.floats(-2.0, 2.0), span=st.floats(0.1, 5.0))
@settings(max_examples=30, deadline=None)
def test_regular_restarts_leave_no_interval_longer_than_theirs(dt, t0, span):
    due = Restart.every(dt).due(t0, t0 + span)
    gaps = np.diff([t0, *due, t0 + span])
    assert (gaps > 0).all()
    assert gaps.max() <= dt * (1 + 1e-6)
    np.testing.assert_allclose(gaps[:-1], dt, rtol=1e-9)


def test_a_limit_counts_once_the_time_to_wait_is_over():
    fires = lambda policy, since=0.5, ratio=0.0: policy.fires(ROW, since, 1.0, ratio)  # noqa: E731
    assert fires(Restart.when(residual=0.1)) == "residual 0.2 is above 0.1"
    assert fires(Restart.when(residual=0.3)) is None
    assert fires(Restart.when(residual=0.3, d_eff=50)) == "d_eff 80 is above 50"
    assert fires(Restart.when(cg_iters=100)) == "cg_iters 120 is above 100"
    assert fires(Restart.when(residual=0.1), since=0.04) is None
    assert fires(Restart.when(residual=0.1, wait=0.6)) is None
    assert fires(Restart.never(), ratio=100.0) is None


def test_the_clock_lets_a_third_of_the_time_go_to_fits():
    policy = Restart.wallclock(0.5)
    assert policy.fires(ROW, 0.0, 1.0, 1.9) is None
    assert policy.fires(ROW, 0.0, 1.0, 2.1) == "the steps have taken 2.1 times as long as a fit"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Restart.when(), "needs at least one limit of residual, d_eff, cg_iters"),
        (lambda: Restart.when(residual=0.0), "residual of a restart must be positive"),
        (lambda: Restart.every(-1.0), "interval of a restart must be positive"),
        (lambda: Restart.wallclock(0.0), "share of a restart must be positive"),
        (lambda: Restart.at([0.1], tolerance=0.0), "tolerance of a restart must be positive"),
    ],
)
def test_policies_that_cannot_be_meant(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.fixture(scope="module")
def fitted():
    problem = problems.advection(ic=ics.gaussian(0.3))
    apply, theta = functional(SinusoidalMLP(problem.domain, 1, width=6, n_freq=1, rngs=nnx.Rngs(0)))
    fitter = Fitter(problem, apply, GaussNewtonFit(steps=25, points=200), False, jax.random.key(3), 0.5)
    return fitter, *fitter.first(theta, 0.0)


def test_the_first_fit_is_of_the_initial_condition(fitted):
    fitter, theta, record = fitted
    x = fitter.problem.domain.uniform(jax.random.key(9), 2000)
    u, wanted = fitter.apply.values(theta, x), jax.vmap(fitter.problem.ic)(x)
    error = jnp.linalg.norm(u - wanted) / jnp.linalg.norm(wanted)
    assert error == pytest.approx(record["error"], rel=0.2)
    assert error < 0.1
    assert (record["t"], record["reason"], record["kept"]) == (0.0, "initial condition", True)


def test_a_refit_is_of_the_present_solution_from_new_weights(fitted):
    fitter, theta, _ = fitted
    new, record = fitter.again(theta, 0.4, 1, "residual")
    x = fitter.problem.domain.uniform(jax.random.key(9), 2000)
    u, wanted = fitter.apply.values(new, x), fitter.apply.values(theta, x)
    assert jnp.linalg.norm(u - wanted) / jnp.linalg.norm(wanted) == pytest.approx(record["error"], rel=0.2)
    assert record["error"] < 0.1
    assert record["kept"]
    assert record["reason"] == "residual"
    assert record["t"] == 0.4
    assert jnp.linalg.norm(new - theta) > 0.5 * jnp.linalg.norm(theta)


def test_the_same_key_gives_the_same_refit_and_the_next_number_another(fitted):
    fitter, theta, _ = fitted
    first, again, other = (fitter.again(theta, 0.4, number, "")[0] for number in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_refit_that_is_not_good_enough_is_thrown_away(fitted):
    fitter, theta, _ = fitted
    strict = Fitter(fitter.problem, fitter.apply, fitter.fit, False, fitter.key, 1e-9)
    with pytest.warns(UserWarning, match=r"above the tolerance 1e-09: the old weights are kept"):
        new, record = strict.again(theta, 0.4, 1, "")
    np.testing.assert_array_equal(new, theta)
    assert not record["kept"]


def test_the_head_is_tuned_where_that_lowers_the_error(fitted):
    fitter, _, _ = fitted
    few = GaussNewtonFit(steps=2, points=200)
    rough, tuned = (
        Fitter(fitter.problem, fitter.apply, few, tune, fitter.key, 0.5).first(
            fitter.apply.init(jax.random.key(1)), 0.0
        )
        for tune in (False, True)
    )
    assert tuned[1]["error"] < rough[1]["error"]
