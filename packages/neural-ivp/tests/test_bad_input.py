"""Every mistake with an initial-value problem gets one error, or a warning, that says what was given and what to do."""

import logging
import re
import warnings
from importlib.metadata import requires

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import (
    LSMR,
    RK,
    Anchored,
    Auto,
    Box,
    Constrained,
    Dense,
    Dual,
    GaussianMixture,
    GaussNewtonFit,
    Grid,
    Lstsq,
    NystromPCG,
    Problem,
    RandomSparse,
    Restart,
    SinusoidalMLP,
    Sobol,
    Uniform,
    bc,
    functional,
    ics,
    linear_maps,
    ops,
    presets,
    problems,
    solve_ivp,
    theta_dot,
)

pytestmark = pytest.mark.usefixtures("unchecked_types")

BOX = Box.cube(2)
KEY = jax.random.key(0)
EULER = RK("euler", step=0.02)
POINTS = Uniform(60)
VELOCITY = jax.jit(theta_dot, static_argnames=("problem", "apply", "linear"))


def refuses(call, *parts, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def bump(x):
    return jnp.prod(1 - x**2)[None]


@pytest.fixture(scope="module")
def problem():
    return problems.advection(ic=bump)


@pytest.fixture(scope="module")
def network(problem):
    return functional(SinusoidalMLP(problem.domain, 1, width=4, n_freq=1, rngs=nnx.Rngs(0)))


def solve(problem, network, **changes):
    """A solve from random weights in two steps."""
    settings = {"ts": [0.0, 0.04], "key": KEY, "fit": None, "linear": Dense(), "ode": EULER, "sampler": POINTS}
    return solve_ivp(problem, network, **{**settings, "max_residual": 100.0, **changes})


# The equation and the initial condition


@pytest.mark.parametrize(
    ("pde", "parts"),
    [
        (lambda u, x, t: ops.laplacian(u, x)[0], ("pde must return shape (1,)", "got ()", "[None]", "jnp.stack")),
        (lambda u, x, t: ops.grad(u, x)[0], ("pde must return shape (1,)", "got (2,)", "one number for each field")),
        (lambda u, x, t: None, ("pde must return shape (1,)", "got NoneType")),
        (lambda u, x, t: u(x[:, :1]), ("pde failed at one point", "one x of shape (2,)", "(vmap) is done for you")),
        (lambda u, x, t: jax.vmap(u)(x), ("one x of shape (2,), no batch of points", "(vmap) is done for you")),
    ],
)
def test_a_pde_of_the_wrong_shape_or_for_a_batch(pde, parts):
    refuses(lambda: Problem(pde, bump, BOX), *parts)


def test_an_ic_of_the_wrong_shape():
    refuses(lambda: Problem(lambda u, x, t: u(x), lambda x: bump(x)[0], BOX), "ic must return shape (1,)", "[None]")
    two = Problem(lambda u, x, t: u(x), lambda x: jnp.tile(bump(x), 2), BOX, n_fields=2)
    assert two.dim == 2


def test_the_first_point_without_a_finite_value_is_named(problem, network):
    def log(x):
        return jnp.log(x[:1] + 0.5) * bump(x)

    refuses(lambda: solve(problem.replace(ic=log), network), "ic is not finite at", "first at x=[", "singular")
    broken = problem.replace(pde=lambda u, x, t: u(x) / jnp.where(x[0] > 0.9, 0.0, 1.0))
    refuses(lambda: solve(broken, network), "pde (with u = ic) is not finite at", "first at x=[0.9", "Choose a domain")


def test_an_ic_that_is_not_zero_on_the_boundary_is_warned_of(problem, network):
    with pytest.warns(UserWarning, match=r"ic is not zero on the zero-Dirichlet boundary: up to 0\.1\d+, 0\.1\d "):
        solve(problem.replace(ic=ics.gaussian(0.5, 1.0)), network)


def test_second_derivatives_of_a_relu_network_are_warned_of(network):
    heat = problems.heat(ic=bump)
    model = SinusoidalMLP(BOX, 1, width=4, n_freq=1, activation=jax.nn.relu, rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="second derivatives: those of such a network are 0 almost everywhere"):
        solve(heat, functional(model))


# The domain and the model


@pytest.mark.parametrize(
    ("lo", "hi", "part"),
    [
        ([0, 1], [1, 1], "a box needs lo < hi in every coordinate, but lo[1]=1.0 and hi[1]=1.0"),
        ([0], [1, 1], "their shapes are (1,) and (2,)"),
        ([0, 0], [1, np.inf], "a box needs finite bounds"),
    ],
)
def test_boxes(lo, hi, part):
    refuses(lambda: Box(lo, hi), part)


def test_a_model_of_another_domain_or_number_of_fields(problem):
    flat = SinusoidalMLP(Box.cube(3), 1, width=4, rngs=nnx.Rngs(0))
    refuses(lambda: solve(problem, flat), "the model is made for Box", "make the model with this domain")
    pair = SinusoidalMLP(BOX, 2, width=4, rngs=nnx.Rngs(0))
    refuses(lambda: solve(problem, pair), "the model returns shape (2,)", "the problem has n_fields=1")
    own = functional(lambda w, x: w * bump(x)[0], jnp.ones(3), domain=BOX)
    refuses(lambda: solve(problem, own), "the model returns shape (3,)", "n_fields=1")
    refuses(lambda: SinusoidalMLP(BOX, 1, width=0, rngs=nnx.Rngs(0)), "width")
    refuses(lambda: Constrained(flat, BOX, bc.Periodic()), "a factor cannot make a network periodic")
    refuses(lambda: bc.Mixed(["periodic", ("periodic", "free")]), "direction 1 is periodic on one face alone")
    refuses(lambda: bc.Mixed(["wall", "free"]), "direction 0 must have one of the kinds", "'wall'")


# Times, restarts, points, steps


@pytest.mark.parametrize("ts", [[0.0], [0.0, 0.0], [0.0, 0.2, 0.1], [0.0, np.nan], 0.5, [[0.0, 1.0]], []])
def test_times_that_do_not_ascend(ts, problem, network):
    refuses(lambda: solve(problem, network, ts=ts), "ts must be at least two finite times that ascend", "[0, 0.5, 1]")


def test_a_first_time_at_which_the_initial_condition_does_not_hold(problem, network):
    refuses(lambda: solve(problem, network, ts=[0.1, 0.2], fit=GaussNewtonFit()), "ts must begin with 0", "fit=None")


def test_restarts_that_cannot_be(problem, network):
    refuses(lambda: solve(problem, network, restart=Restart.every(0.1)), "restarts need a fit", "GaussNewtonFit()")
    refuses(lambda: Restart.every(0), "interval of a restart must be positive, but is 0")
    refuses(lambda: Restart.when(), "Restart.when needs at least one limit of residual, d_eff, cg_iters")
    refuses(lambda: Restart.when(residual=-1), "residual of a restart must be positive")


def test_a_refit_that_is_not_good_enough_keeps_the_old_weights(problem, network):
    policy = Restart.at([0.02], tolerance=1e-9)
    with pytest.warns(UserWarning, match=r"the refit at t = 0.02 has a relative error of .* the old weights are kept"):
        sol = solve(problem, network, fit=GaussNewtonFit(steps=2, points=60), restart=policy)
    assert [record["kept"] for record in sol.restarts] == [True, False]
    assert sol.success


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: Uniform(0), ("at least one point", "n=0")),
        (lambda: Uniform(10, resample="often"), ("resample must be one of step, never, rhs", "'often'")),
        (lambda: Sobol(100), ("power of two", "n=100", "Halton")),
        (lambda: Grid((4, 0)), ("at least one point",)),
        (lambda: GaussianMixture(0), ("at least one point",)),
        (lambda: RK("rk5"), ("there is no method 'rk5'", "euler, heun, rk23")),
        (lambda: RK("rk4"), ("no error estimate", "step=...")),
        (lambda: RK(rtol=0), ("rtol must be positive, but is 0",)),
        (lambda: RK(norm="max"), ("norm must be 'theta' or 'function'",)),
        (lambda: RK(controller="pid"), ("controller must be 'standard' or 'official'",)),
        (lambda: GaussNewtonFit(steps=0), ("steps of a fit must be positive, but is 0",)),
    ],
)
def test_settings(make, parts):
    refuses(make, *parts)


def test_diffrax_comes_with_the_package_and_its_implicit_solvers_are_refused():
    assert any(re.match(r"diffrax\b(?!.*extra)", text) for text in requires("offprint-neural-ivp"))
    refuses(lambda: RK(diffrax.Kvaerno3()), "an explicit Runge-Kutta solver of diffrax", "Kvaerno3")
    assert RK(diffrax.Dopri8()).order == 8


# The linear solve


@pytest.mark.parametrize("solver", [NystromPCG, Dense, Dual, LSMR, Auto])
@pytest.mark.parametrize("mu", [0, -1e-6, float("nan")])
def test_mu(solver, mu):
    refuses(lambda: solver(mu=mu), f"mu={mu}", "a regularisation above 0 is needed", "Lstsq(rcond=...)")


def test_other_settings_of_linear_solvers(problem, network):
    refuses(lambda: NystromPCG(rank=0), "rank=0", "at least 1 of each is needed")
    refuses(lambda: NystromPCG(tol=0), "tol=0", "a tolerance above 0")
    X = BOX.uniform(KEY, 30)
    for solver in (NystromPCG(), RandomSparse()):
        refuses(lambda: VELOCITY(problem, *network, X, 0.0, solver), "a key is needed")  # noqa: B023


def test_a_rank_that_is_more_than_there_is_is_clipped(problem, network):
    apply, theta = network
    with pytest.warns(UserWarning, match="rank=200 is more than there is: M has at most rank 30, N k; 30 is taken"):
        info = VELOCITY(problem, apply, theta, BOX.uniform(KEY, 30), 0.0, NystromPCG(rank=200), KEY)[1]
    assert info.rank == 30
    with pytest.warns(UserWarning, match=rf"rank=999 .* the block of M is {theta.size} x {theta.size}"):
        jax.eval_shape(lambda X: theta_dot(problem, apply, theta, X, 0.0, NystromPCG(rank=999), KEY), jnp.ones((99, 2)))


def test_fewer_values_than_weights_are_solved_by_the_dual_and_told(problem, network, caplog):
    apply, theta = network
    X = BOX.uniform(KEY, 30)
    with caplog.at_level(logging.INFO):
        v, _ = VELOCITY(problem, apply, theta, X, 0.0, Dense())
    assert f"N k = 30 < p = {theta.size}: the dual is solved" in caplog.text
    np.testing.assert_array_equal(v, VELOCITY(problem, apply, theta, X, 0.0, Dual())[0])
    assert np.isfinite(VELOCITY(problem, apply, theta, X, 0.0, Lstsq())[0]).all()


def test_conjugate_gradients_that_do_not_converge(problem, network):
    linear = NystromPCG(rank=2, mu=1e-8, tol=1e-12, maxiter=1)
    with pytest.warns(UserWarning, match="have not converged") as told:
        sol = solve(problem, network, linear=linear)
    texts = [str(w.message) for w in told if "converged" in str(w.message)]
    assert len(texts) == 1  # of two steps
    assert re.search(r"relative residual \d.* after 1 iterations. A larger rank, maxiter or mu helps", texts[0])
    assert not sol.history["converged"].any()
    assert (sol.history["cg_residual"] > 1e-12).all()
    refuses(lambda: solve(problem, network, linear=linear, strict=True), "have not converged", error=RuntimeError)


def test_chunks_that_do_not_divide_the_points_change_nothing(network):
    apply, theta = network
    X = BOX.uniform(KEY, 30)
    whole, parts = linear_maps(apply, theta, X), linear_maps(apply, theta, X, chunk=7)
    v = jax.random.normal(KEY, theta.shape)
    np.testing.assert_allclose(jax.jit(parts.matvec)(v), jax.jit(whole.matvec)(v), rtol=1e-12, atol=1e-14)
    refuses(lambda: linear_maps(apply, theta, X, chunk=0), "chunk=0")


def test_without_float64_there_is_one_warning_for_a_whole_solve(problem):
    with jax.enable_x64(False), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = SinusoidalMLP(problem.domain, 1, width=4, n_freq=1, rngs=nnx.Rngs(0))
        sol = solve(problems.advection(ic=bump), model, linear=Dense(mu=1e-9), ode=RK("heun", step=0.02))
    texts = [str(w.message) for w in caught if "x64 is off" in str(w.message)]
    assert len(texts) == 1
    assert "raised to at least 1e-06" in texts[0]
    assert sol.success
    assert sol.thetas.dtype == np.float32
    np.testing.assert_allclose(sol.history["adjusted_mu"] / sol.history["lam_max"], 1e-6, rtol=1e-4)


# Runs that cannot go on


def test_a_stage_that_is_not_finite_ends_the_run_with_what_there_is(problem, network):
    broken = problem.replace(pde=lambda u, x, t: jnp.where(t < 0.03, u(x), jnp.nan))
    sol = solve(broken, network, ts=[0.0, 0.02, 0.06])
    assert (sol.status, sol.success, len(sol.ts)) == ("non-finite", False, 2)
    assert "the right-hand side of the pde, first at x = [" in sol.message
    assert all(word in sol.message for word in ("restart", "mu", "points N"))
    assert np.isfinite(sol.theta_last).all()
    assert sol.t_last == pytest.approx(0.04)


def test_a_residual_near_one_ends_the_run(problem, network):
    linear = RandomSparse(size=1)
    sol = solve(problem, network, linear=linear, max_residual=0.9)
    assert sol.status == "residual"
    assert re.match(r"the relative residual (0\.9|1)\d* at t = 0 is above 0.9: the network can no longer", sol.message)
    assert all(word in sol.message for word in ("restart", "mu", "points N"))
    np.testing.assert_array_equal(sol.thetas, network[1][None])


def test_a_step_that_would_have_to_be_too_small_ends_the_run(problem, network):
    noisy = Uniform(60, resample="rhs")  # every stage has its own points, so that no step is short enough
    sol = solve(problem, network, ode=RK("heun", rtol=1e-14, first_step=1e-3), sampler=noisy)
    assert sol.status == "step size"
    assert re.match(r"the step at t = \S+ would have to be \S+, below 4e-12", sol.message)
    assert all(word in sol.message for word in ("restart", "mu", "points N", "rtol", "norm='function'"))
    assert len(sol.ts) == 1
    assert sol.history["h"][-1] < 1e-9


# Problems and presets


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: problems.wave(c2=0), "c2=0; it must be positive"),
        (lambda: problems.heat(diffusivity=-1), "diffusivity=-1; it must be positive"),
        (lambda: problems.vlasov(dim=5), "dim=5; a phase space has as many velocities as positions"),
        (lambda: problems.wave_maps(hole=(0, 0, 0)), "lies in the box"),
        (lambda: ics.gaussian(sigma=0), "sigma=0; widths are positive"),
        (lambda: ics.gaussian_density(0, [[1, 2], [2, 1]]), "not symmetric positive definite"),
        (lambda: Problem(lambda u, x, t: u(x), bump, BOX, n_fields=0), "n_fields=0"),
    ],
)
def test_problems(make, part):
    refuses(make, part)


def test_a_preset_and_an_anchored_network_are_checked_alike(problem):
    arguments = presets.ednn(problem, width=4, points=60, rngs=nnx.Rngs(0))
    refuses(lambda: solve_ivp(problem, ts=[0.0], key=KEY, **arguments), "ts must be at least two")
    other = Anchored(SinusoidalMLP(Box.cube(3), 1, width=4, rngs=nnx.Rngs(0)), bump)
    refuses(lambda: solve(problem, other), "the model is made for Box")
