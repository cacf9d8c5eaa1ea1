"""Whole solves: the golden trajectories, what a solution tells, how a run ends early, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden_network import positions

from offprint.core.train import Event
from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._domain import Box
from offprint.neural_ivp._evolution import Evolution
from offprint.neural_ivp._functional import functional
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._linear import NystromPCG
from offprint.neural_ivp._metrics import interior_grid, relative_l2
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import Uniform
from offprint.neural_ivp._solution import load
from offprint.neural_ivp._solve import solve_ivp
from offprint.neural_ivp._watch import Watch

LINEAR = Dense(mu=1e-6)
EULER = RK("euler", step=0.01)


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """The same given points for ever."""

    points: jax.Array
    resample: str = "never"

    def sample(self, key, apply, theta, t=0.0, **_):
        return self.points, None


@pytest.fixture(scope="module")
def problem():
    return problems.advection(ic=ics.gaussian(0.2))


@pytest.fixture(scope="module")
def network(problem):
    model = SinusoidalMLP(problem.domain, 1, width=5, n_freq=2, rngs=nnx.Rngs(0))
    return functional(model)


@pytest.fixture(scope="module")
def solved(problem, network):
    """A solve from random weights, without a fit, with fixed steps."""
    return solve_ivp(
        problem, network, [0, 0.02, 0.05], key=jax.random.key(0), fit=None, linear=LINEAR, ode=EULER,
        sampler=Uniform(200),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "linear", "tolerance"),
    [("adv2d", "dense", 1e-6), ("wave2d", "dense", 1e-4), ("wave2d", "pcg", 1e-4)],
)
def test_a_golden_trajectory_is_followed_step_by_step(name, linear, tolerance, golden):
    stored = golden(f"traj_{name}")
    problem = problems.advection(dim=2) if name == "adv2d" else problems.wave(dim=2)
    model = SinusoidalMLP(
        problem.domain, int(stored["n_outputs"]), int(stored["width"]), n_freq=int(stored["L"]),
        alpha=float(stored["scaling"]), rngs=nnx.Rngs(0),
    )  # fmt: skip
    apply, _ = functional(model)
    mu, rank = float(stored["mu"]), int(stored["rank"])
    solver = Dense(mu=mu) if linear == "dense" else NystromPCG(rank=rank, mu=mu, tol=1e-10, couple_components=True)
    theta = jnp.asarray(stored["theta0"][positions(stored)])
    sol = solve_ivp(
        problem, (apply, theta), stored["T"], key=jax.random.key(0), fit=None,
        linear=solver, ode=RK("rk23", rtol=float(stored["rtol"]), controller="official"),
        sampler=Given(jnp.asarray(stored["X"])),
    )  # fmt: skip
    assert sol.success
    assert sol.num_rhs == stored["n_rhs"]
    np.testing.assert_allclose(sol.history["t"], stored["rhs_t"][::4], rtol=1e-6, atol=1e-12)
    for i, expected in enumerate(stored["U_eval"]):
        assert relative_l2(sol(stored["X_eval"], i), expected) < tolerance
    if linear == "pcg":
        iterations = stored["cg_iters"].reshape(-1, 4).max(axis=1)
        assert (np.abs(sol.history["cg_iters"] - iterations) <= np.maximum(3, 0.05 * iterations)).all()


def test_the_first_output_is_the_start_and_each_output_is_recorded(solved, network):
    _, theta = network
    assert solved.success
    assert solved.status == "finished"
    assert solved.t_last == 0.05
    np.testing.assert_array_equal(solved.ts, [0, 0.02, 0.05])
    np.testing.assert_array_equal(solved.thetas[0], theta)
    np.testing.assert_array_equal(solved.thetas[-1], solved.theta_last)
    assert (np.abs(np.diff(solved.thetas, axis=0)).max(axis=1) > 0).all()
    assert solved.restarts == ({"t": 0.0, "reason": "as given", "error": None, "kept": True, "seconds": 0.0},)


def test_the_history_has_a_row_for_every_step(solved):
    np.testing.assert_allclose(solved.history["t"], [0, 0.01, 0.02, 0.03, 0.04], atol=1e-15)
    np.testing.assert_array_equal(solved.history["step"], [1, 2, 3, 4, 5])
    assert solved.history["accepted"].all()
    assert solved.num_rhs == 5
    assert (solved.history["rho"] > 0).all()
    assert (solved.history["rho_fresh"] > solved.history["rho"]).any()
    assert np.isfinite(solved.history["d_eff"]).all()


def test_a_step_moves_u_as_the_reported_residual_says(problem, network):
    apply, first = network
    sol = solve_ivp(
        problem, network, [0, 1e-6, 0.01], key=jax.random.key(0), fit=None, linear=LINEAR, ode=EULER,
        sampler=Uniform(200),
    )  # fmt: skip
    x = problem.domain.uniform(jax.random.key(5), 2000)
    moved = (sol(x, 1) - sol(x, 0)) / 1e-6
    wanted = jax.vmap(lambda x: problem.pde(lambda y: apply(first, y), x, 0.0))(x)
    assert relative_l2(moved, wanted) == pytest.approx(sol.history["rho_fresh"][0], rel=0.2)


def test_a_solution_is_a_function_of_points_and_outputs_or_times(solved, network):
    apply, _ = network
    x = jnp.zeros((2, 3, 2)) + 0.1
    assert solved(x, 1).shape == (2, 3, 1)
    assert solved(x[0, 0], -1).shape == (1,)
    np.testing.assert_allclose(solved(x[0, 0], 1), apply(jnp.asarray(solved.thetas[1]), x[0, 0]), rtol=1e-12)
    np.testing.assert_array_equal(solved(x, t=0.02), solved(x, 1))
    np.testing.assert_allclose(solved.model(1)(x[0, 0]), solved(x[0, 0], 1), rtol=1e-12)
    np.testing.assert_array_equal(solved.apply.flatten(solved.params(2)), solved.thetas[2])
    between = solved(x, t=0.02 + 1e-7)
    np.testing.assert_allclose(between, solved(x, 1), atol=1e-5)
    with pytest.raises(ValueError, match="give either i, the number of an output, or t, a time"):
        solved(x)
    with pytest.raises(ValueError, match=r"t = 0\.06 is not between the first and the last output"):
        solved(x, t=0.06)


def test_between_outputs_the_solution_is_a_cubic_with_slopes_from_the_equation(solved, problem, network):
    apply, _ = network
    x, h = jnp.array([0.2, -0.1]), 1e-6
    slope = (solved(x, t=0.02 + h) - solved(x, 1)) / h
    expected = problem.pde(lambda y: apply(jnp.asarray(solved.thetas[1]), y), x, 0.02)
    np.testing.assert_allclose(slope, expected, rtol=1e-3)


def test_what_was_saved_is_loaded_again(solved, problem, network, tmp_path):
    solved.save(tmp_path / "run.npz")
    again = load(tmp_path / "run.npz", problem, network[0])
    for name in ("ts", "thetas", "theta_last"):
        np.testing.assert_array_equal(getattr(again, name), getattr(solved, name))
    for name in solved.history.dtype.names:  # one by one: what a solver does not know is NaN
        np.testing.assert_array_equal(again.history[name], solved.history[name])
    assert again.history.dtype == solved.history.dtype
    for name in ("restarts", "status", "message", "t_last", "num_rhs"):
        assert getattr(again, name) == getattr(solved, name)
    other = SinusoidalMLP(problem.domain, 1, width=6, n_freq=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"holds networks of 111 weights, but the model given has 145"):
        load(tmp_path / "run.npz", problem, other)
    np.savez(tmp_path / "other.npz", text="{}")
    with pytest.raises(ValueError, match="is no solution that was saved by this package"):
        load(tmp_path / "other.npz", problem, network[0])


def test_the_points_may_be_split_over_devices(solved, problem, network):
    mesh = jax.make_mesh((8,), ("batch",))
    sol = solve_ivp(
        problem, network, [0, 0.02, 0.05], key=jax.random.key(0), fit=None, linear=LINEAR, ode=EULER,
        sampler=Uniform(200), mesh=mesh,
    )  # fmt: skip
    x = interior_grid(problem.domain, 10)
    assert relative_l2(sol(x, -1), solved(x, -1)) < 1e-7


def test_a_value_that_is_not_finite_ends_the_run_and_is_named(problem, network):
    broken = problem.replace(pde=lambda u, x, t: jnp.where(t < 0.025, u(x), jnp.nan))
    sol = solve_ivp(
        broken, network, [0, 0.02, 0.05], key=jax.random.key(0), fit=None, linear=LINEAR, ode=EULER,
        sampler=Uniform(200),
    )  # fmt: skip
    assert sol.status == "non-finite"
    assert not sol.success
    assert sol.message.startswith("the right-hand side of the pde, first at x = ")
    assert "is not finite at t = 0.03" in sol.message
    assert "larger mu" in sol.message
    np.testing.assert_array_equal(sol.ts, [0, 0.02])
    assert np.isfinite(sol.thetas).all()
    assert np.isfinite(sol.theta_last).all()
    assert sol.t_last == pytest.approx(0.03)


def test_a_run_may_end_by_steps_or_by_a_callback(problem, network):
    common = {"key": jax.random.key(0), "fit": None, "linear": LINEAR, "ode": EULER, "sampler": Uniform(200)}
    sol = solve_ivp(problem, network, [0, 0.02, 0.05], max_steps=3, **common)
    assert (sol.status, len(sol.ts), sol.t_last) == ("max steps", 2, pytest.approx(0.03))
    times = []

    def until(event):
        times.append(event.row["t"])
        return "enough" if event.state.t > 0.015 else None

    sol = solve_ivp(problem, network, [0, 0.02, 0.05], callbacks=[until], **common)
    assert (sol.status, sol.message) == ("callback", "enough")
    np.testing.assert_allclose(times, [0, 0.01], atol=1e-15)


ROW = {
    "step": 1, "t": 0.2, "h": 0.1, "h_next": 0.1, "accepted": 1.0, "reached": 0.0, "passed": 1.0, "bad_stage": -1.0,
    "rho": 0.1, "rho_fresh": 0.1, "converged": 1.0, "cg_residual": 1e-8, "cg_iters": 7.0, "d_eff": 5.0, "rank": 9.0,
    "lam_max": 1.0, "lam_min": 0.1, "adjusted_mu": 0.1,
}  # fmt: skip


@pytest.fixture(scope="module")
def watched(problem, network):
    evolution = Evolution(problem, network[0], LINEAR, EULER, Uniform(200))
    return lambda row, policy=None, **changes: watch_row(evolution, row, policy, **changes)


def watch_row(evolution, row, policy, **changes):
    settings = {"due": {2}, "num_stops": 3, "span": (0.0, 1.0), "begun": 0.0, "fit_seconds": 1.0, "strict": False}
    watch = Watch(policy or Restart.never(), evolution, **{**settings, **changes})
    return watch(Event(1, 10, {**ROW, **row}, lambda: None))


def test_what_ends_a_stretch(watched):
    assert watched({}) is None
    assert watched({"passed": 3.0, "reached": 1.0}).startswith("finished: ")
    assert watched({"rho": 0.95}).startswith("residual: the relative residual 0.95 at t = 0.2 is above 0.9")
    assert watched({"h_next": 1e-11, "accepted": 0.0}).startswith(
        "step size: the step at t = 0.2 would have to be 1e-11"
    )
    assert watched({"passed": 2.0, "reached": 1.0}) == "restart: due at this time"
    assert watched({"passed": 2.0, "reached": 0.0}) is None
    grown = {"rho_fresh": 0.25}
    assert watched(grown, Restart.when(residual=0.2)) == "restart: residual 0.25 is above 0.2"
    assert watched({**grown, "accepted": 0.0}, Restart.when(residual=0.2)) is None
    assert watched(grown, Restart.when(residual=0.2), begun=0.28) is None


def test_a_residual_that_is_larger_on_fresh_points_is_told_of(watched):
    with pytest.warns(UserWarning, match=r"the residual on fresh points, 0.4, is more than 3 times that"):
        watched({"rho_fresh": 0.4})


def test_conjugate_gradients_that_do_not_converge_are_told_of_or_refused(watched):
    row = {"converged": 0.0, "cg_residual": 1e-3, "cg_iters": 500.0}
    with pytest.warns(UserWarning, match=r"not converged at t = 0.2: relative residual 0.001 after 500 iterations"):
        watched(row)
    with pytest.raises(RuntimeError, match="have not converged"):
        watched(row, strict=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ts": [0.0]}, "ts must be at least two finite times that ascend"),
        ({"ts": [0.0, 0.2, 0.1]}, "ts must be at least two finite times that ascend"),
        ({"ts": [0.0, np.nan]}, "ts must be at least two finite times that ascend"),
        ({"ts": [0.1, 0.2], "fit": GaussNewtonFit()}, "ts must begin with 0, where the initial condition holds"),
        ({"restart": Restart.every(0.01)}, "restarts need a fit, but fit is None"),
    ],
)
def test_what_cannot_be_solved_is_refused(changes, message, problem, network):
    with pytest.raises(ValueError, match=message):
        solve_ivp(problem, network, **{"ts": [0.0, 0.1], "key": jax.random.key(0), "fit": None, **changes})


def test_models_that_do_not_fit_the_problem_are_refused(problem):
    elsewhere = SinusoidalMLP(Box([0, 0], [1, 1]), 1, width=5, n_freq=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="the model is made for Box"):
        solve_ivp(problem, elsewhere, [0, 0.1], key=jax.random.key(0))
    fields = SinusoidalMLP(problem.domain, 2, width=5, n_freq=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="the problem has n_fields=1"):
        solve_ivp(problem, fields, [0, 0.1], key=jax.random.key(0))
    plain = functional(lambda w, x: w * jnp.prod(1 - x**2)[None], jnp.ones(1), domain=problem.domain)
    with pytest.raises(ValueError, match="restarts need new random weights, but this model cannot draw them"):
        solve_ivp(problem, plain, [0, 0.1], key=jax.random.key(0), restart=Restart.every(0.01))


def test_the_published_error_is_taken_on_interior_points():
    grid = interior_grid(Box([-1, 0], [1, 4]), 3)
    np.testing.assert_allclose(grid[:2], [[-0.5, 1], [0, 1]])
    assert grid.shape == (9, 2)
    assert relative_l2(np.array([[3.0], [0.0]]), np.array([[0.0], [4.0]])) == pytest.approx(5 / 4)
    with pytest.raises(ValueError, match="u and ref must have the same shape"):
        relative_l2(np.ones(3), np.ones((3, 1)))
