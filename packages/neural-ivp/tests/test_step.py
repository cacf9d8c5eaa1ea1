"""One attempted step: orders of the methods, what the stages report, jit, vmap and grad."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.neural_ivp._step import METHODS, RK4, attempt, finite_stages, num_stages, order_of, solver_of

RATES = np.array([-1.0, -2.0, -0.3])


def linear(t, y, args):
    return args * y + jnp.sin(3 * t), {"t": t, "count": jnp.int32(7)}


def solution(method, num_steps, dtype=float):
    rates = jnp.asarray(RATES, dtype)
    step = jax.jit(lambda t, h, y: attempt(linear, solver_of(method), t, h, y, rates).theta)
    y = jnp.asarray([1.0, 0.5, -2.0], dtype)
    for i in range(num_steps):
        y = step(jnp.asarray(i / num_steps, dtype), jnp.asarray(1 / num_steps, dtype), y)
    return np.asarray(y)


@pytest.fixture(scope="module")
def exact():
    term = diffrax.ODETerm(lambda t, y, args: args * y + jnp.sin(3 * t))
    control = diffrax.PIDController(rtol=1e-12, atol=1e-14)
    y0 = jnp.array([1.0, 0.5, -2.0])
    return np.asarray(
        diffrax.diffeqsolve(
            term, diffrax.Dopri8(), 0.0, 1.0, 0.01, y0, jnp.array(RATES), stepsize_controller=control
        ).ys[0]
    )


@pytest.mark.parametrize(
    ("method", "order", "within"),
    [("euler", 1, 0.15), ("heun", 2, 0.15), ("rk23", 3, 0.15), ("rk4", 4, 0.15), ("tsit5", 5, 0.5), ("dopri5", 5, 0.5)],
)
def test_halving_the_step_shows_the_order_of_the_method(method, order, within, exact):
    errors = [np.linalg.norm(solution(method, n) - exact) for n in (16, 32)]
    assert abs(np.log2(errors[0] / errors[1]) - order) < within
    assert order_of(solver_of(method)) == order


def test_every_stage_reports():
    made = attempt(linear, METHODS["rk23"], 0.5, 0.1, jnp.ones(3), jnp.array(RATES))
    np.testing.assert_allclose(made.reports["t"], [0.5, 0.55, 0.575, 0.6], rtol=1e-14)
    np.testing.assert_allclose(made.reports["count"], [7, 7, 7, 7], rtol=1e-14)
    np.testing.assert_allclose(made.stages[0], RATES + np.sin(1.5), rtol=1e-13)


@pytest.mark.parametrize("method", ["euler", "heun", "rk23", "rk4", "tsit5", "dopri5"])
def test_a_step_is_the_tableaus_combination_of_its_stages(method):
    solver, h, y = METHODS[method], 0.1, jnp.array([1.0, 2.0, 3.0])
    made = attempt(linear, solver, 0.2, h, y, jnp.array(RATES))
    assert made.stages.shape == (num_stages(solver), 3)
    weights = np.array([1.0]) if method == "euler" else solver.tableau.b_sol
    np.testing.assert_allclose(made.theta, y + h * weights @ np.asarray(made.stages), rtol=1e-13)
    if method != "euler":
        expected = h * solver.tableau.b_error @ np.asarray(made.stages)
        np.testing.assert_allclose(made.error, expected, rtol=1e-9, atol=1e-15)


def test_the_error_of_bogacki_shampine_is_the_published_one():
    made = attempt(linear, METHODS["rk23"], 0.0, 0.1, jnp.ones(3), jnp.array(RATES))
    weights = np.array([7 / 24, 1 / 4, 1 / 3, 1 / 8]) - np.array([2 / 9, 1 / 3, 4 / 9, 0])
    np.testing.assert_allclose(np.abs(made.error), np.abs(0.1 * weights @ np.asarray(made.stages)), rtol=1e-10)


def test_a_stage_that_is_not_finite_is_named():
    def blows_up(t, y, args):
        return jnp.where(t > 0.05, jnp.nan, 1.0) * y, {}

    made = attempt(blows_up, METHODS["rk23"], 0.0, 0.1, jnp.ones(2))
    assert finite_stages(made).tolist() == [True, True, False, False]


def test_jit_vmap_and_loop_agree():
    ys, hs = jnp.arange(6.0).reshape(2, 3), jnp.array([0.1, 0.2])
    one = lambda h, y: attempt(linear, METHODS["rk23"], 0.0, h, y, jnp.array(RATES)).theta  # noqa: E731
    batched = jax.jit(jax.vmap(one))(hs, ys)
    np.testing.assert_allclose(batched, jnp.stack([one(h, y) for h, y in zip(hs, ys)]), rtol=1e-14)


@pytest.mark.parametrize("method", ["euler", "rk23", "rk4"])
def test_the_gradient_of_a_step_is_that_of_differences(method):
    def loss(rates):
        return jnp.sum(attempt(linear, METHODS[method], 0.0, 0.2, jnp.ones(3), rates).theta ** 2)

    slope = jax.grad(loss)(jnp.array(RATES))
    for i in range(3):
        unit = 1e-6 * np.eye(3)[i]
        difference = (loss(jnp.array(RATES + unit)) - loss(jnp.array(RATES - unit))) / 2e-6
        assert slope[i] == pytest.approx(float(difference), rel=1e-6)


def test_float32_stays_float32():
    assert solution("rk23", 4, np.float32).dtype == np.float32


def test_methods_may_be_diffrax_solvers_but_only_explicit_ones():
    assert isinstance(solver_of(diffrax.Ralston()), diffrax.Ralston)
    assert isinstance(solver_of("rk4"), RK4)
    with pytest.raises(ValueError, match="there is no method 'rk5'; give one of euler, heun, rk23"):
        solver_of("rk5")
    with pytest.raises(ValueError, match="explicit Runge-Kutta solver of diffrax"):
        solver_of(diffrax.Kvaerno3())
