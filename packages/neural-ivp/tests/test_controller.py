"""Step-size control: the official controller to the last digit, the standard one as diffrax has it."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offprint.neural_ivp._controller import RK, Control, norm2, sizes
from offprint.neural_ivp._step import attempt


def linear(t, y, args):
    return jnp.array([-1.0, -5.0, -0.2]) * y + jnp.sin(3 * t), {}


def van_der_pol(t, y, args):
    return jnp.stack([y[1], 2 * (1 - y[0] ** 2) * y[1] - y[0]]), {}


def evolve(ode, rhs, y0, ts):
    """The outputs, and rows of time, step tried, error, and whether it was accepted."""

    @jax.jit
    def step(t, y, control, stop):
        h = ode.clip(control, stop - t)
        made = attempt(rhs, ode.solver, t, h, y)
        error = norm2(made.error)
        accepted, control = ode.judge(control, h, error, norm2(y), norm2(made.theta))
        row = jnp.stack([t, h, error, accepted])
        return jnp.where(accepted, t + h, t), jnp.where(accepted, made.theta, y), control, row

    t, y, control = jnp.asarray(ts[0]), jnp.asarray(y0), ode.start(float(ts[-1] - ts[0]))
    ys, rows = [y], []
    for stop in ts[1:]:
        while t < stop - 1e-7:
            t, y, control, row = step(t, y, control, jnp.asarray(stop))
            rows.append(row)
        ys.append(y)
    return np.stack(ys), np.stack(rows)


@pytest.mark.parametrize(
    ("name", "method", "rhs"),
    [("lin_rk23", "rk23", linear), ("lin_heun", "heun", linear), ("vdp_rk23", "rk23", van_der_pol)],
)
def test_the_official_controller_takes_the_published_steps(name, method, rhs, golden):
    stored = golden("ode_controller")
    ode = RK(method, rtol=float(stored[f"{name}_rtol"]), controller="official")
    assert ode.order == stored[f"{name}_order"]
    ys, rows = evolve(ode, rhs, stored[f"{name}_y0"], stored[f"{name}_teval"])
    assert rows.shape == stored[f"{name}_hist_t_h_err_ok"].shape
    np.testing.assert_allclose(rows, stored[f"{name}_hist_t_h_err_ok"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(ys, stored[f"{name}_ys"], rtol=1e-12, atol=1e-13)


def test_on_one_unknown_the_standard_controller_takes_the_steps_of_diffrax():
    decay = lambda t, y, args: ((1 + 0.9 * jnp.sin(20 * t)) * jnp.cos(y), {})  # noqa: E731
    ys, rows = evolve(RK("rk23", rtol=1e-4, first_step=0.01), decay, [0.1], np.array([0.0, 1.5]))
    control = diffrax.PIDController(rtol=1e-4, atol=1e-12, error_order=3)
    term = diffrax.ODETerm(lambda t, y, args: decay(t, y, args)[0])
    found = diffrax.diffeqsolve(
        term, diffrax.Bosh3(), 0.0, 1.5, 0.01, jnp.array([0.1]), stepsize_controller=control
    )  # fmt: skip
    assert len(rows) == found.stats["num_steps"]
    assert found.stats["num_rejected_steps"] > 0
    np.testing.assert_allclose(ys[1:], found.ys, rtol=1e-12)


@pytest.mark.parametrize("controller", ["standard", "official"])
def test_a_smaller_tolerance_gives_a_smaller_error(controller):
    ts = np.array([0.0, 3.0])
    fine, _ = evolve(RK("dopri5", rtol=1e-9), van_der_pol, [2.0, 0.0], ts)
    errors = [
        np.linalg.norm(evolve(RK(rtol=rtol, controller=controller), van_der_pol, [2.0, 0.0], ts)[0][-1] - fine[-1])
        for rtol in (1e-3, 1e-5)
    ]
    assert errors[1] < errors[0] / 10


@given(
    error=st.floats(1e-12, 1e3),
    h=st.floats(1e-6, 1.0),
    cut=st.floats(0.01, 1.0),
    controller=st.sampled_from(["standard", "official"]),
)
@settings(max_examples=30, deadline=None)
def test_what_is_accepted_and_what_comes_next(error, h, cut, controller):
    ode = RK("rk23", rtol=1e-3, controller=controller)
    control = Control(jnp.asarray(h), jnp.array([2e-3, 0.0]) if controller == "official" else jnp.ones(2))
    tried = ode.clip(control, jnp.asarray(cut * h))
    assert tried <= cut * h
    accepted, following = ode.judge(control, tried, jnp.asarray(error), jnp.asarray(2.0), jnp.asarray(2.0))
    assert accepted == (error < 2e-3)
    if not accepted:
        assert 0 < following.h < tried
    elif tried < h:
        assert following.h >= h
    if controller == "standard":
        assert 0.2 * tried <= following.h <= max(10 * tried, h) * (1 + 1e-12)


def test_a_fixed_step_is_never_refused_and_leaves_no_sliver():
    ode = RK("rk4", step=0.1)
    _, rows = evolve(ode, linear, [1.0, 0.5, -2.0], np.array([0.0, 0.3, 1.0]))
    assert len(rows) == 10
    assert rows[:, 3].all()
    np.testing.assert_allclose(rows[:, 1], 0.1, rtol=1e-6)


def test_an_error_of_zero_is_no_division_by_zero():
    still = lambda t, y, args: (jnp.zeros_like(y), {})  # noqa: E731
    for controller in ("standard", "official"):
        ys, rows = evolve(RK("rk23", controller=controller), still, [1.0, 2.0], np.array([0.0, 1.0]))
        assert np.isfinite(rows).all()
        assert (ys[-1] == ys[0]).all()


def test_a_step_that_is_not_finite_is_not_accepted():
    ode = RK("rk23")
    nan = jnp.asarray(jnp.nan)
    assert not ode.judge(ode.start(1.0), jnp.asarray(1e-3), nan, jnp.asarray(1.0), nan).accepted


def test_directions_that_do_not_change_the_function_cost_nothing_in_function_space():
    u = lambda theta: theta[0] * jnp.ones((4, 1))  # noqa: E731
    theta, error = jnp.array([2.0, 3.0]), jnp.array([0.5, 100.0])
    found = sizes(u, theta, jnp.array([4.0, 0.0]), error)
    np.testing.assert_allclose(found, [0.5, 2.0, 4.0], rtol=1e-14)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"method": "rk45"}, "there is no method 'rk45'"),
        ({"method": "rk4"}, "has no error estimate"),
        ({"method": "euler"}, "has no error estimate"),
        ({"rtol": 0.0}, "rtol must be positive"),
        ({"step": -0.1}, "step must be positive"),
        ({"atol": -1.0}, "atol must not be negative"),
        ({"norm": "max"}, "norm must be 'theta' or 'function'"),
        ({"controller": "pid"}, "controller must be 'standard' or 'official'"),
    ],
)
def test_settings_that_cannot_serve(settings_, message):
    with pytest.raises(ValueError, match=message):
        RK(**settings_)
