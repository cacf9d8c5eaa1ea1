"""Presets are arguments of `solve_ivp`."""

import inspect

import jax
import pytest
from flax import nnx

from offprint.neural_ivp import ics, presets, problems
from offprint.neural_ivp._solve import solve_ivp


@pytest.fixture(scope="module")
def problem():
    return problems.advection(dim=1, ic=ics.gaussian(0.15))


def test_every_preset_gives_arguments_of_the_solver(problem):
    known = set(inspect.signature(solve_ivp).parameters)
    makers = {presets.paper: {}, presets.ednn: {}, presets.neural_galerkin: {}, presets.rsng: {"step": 0.1}}
    for make, own in makers.items():
        arguments = make(problem, width=4, rngs=nnx.Rngs(0), **own)
        assert set(arguments) <= known
        assert arguments["model"].domain == problem.domain


def test_the_papers_settings_are_those_of_the_authors_code(problem):
    found = presets.paper(problem, rngs=nnx.Rngs(0))
    linear, ode = found["linear"], found["ode"]
    assert (linear.rank, linear.mu, linear.tol, linear.maxiter) == (250, 1e-6, 1e-7, 500)
    assert (ode.method, ode.rtol, ode.controller) == ("rk23", 1e-4, "official")
    assert (found["fit"].steps, found["fit"].lr, found["fit"].batch, found["sampler"].n) == (
        100_000,
        3e-4,
        10_000,
        5000,
    )
    assert found["restart"].share == 0.5


@pytest.mark.parametrize("name", ["ednn", "rsng"])
def test_a_baseline_takes_a_step(name, problem):
    own = {"step": 0.01, "size": 20} if name == "rsng" else {}
    arguments = getattr(presets, name)(problem, width=5, points=100, rngs=nnx.Rngs(0), **own)
    sol = solve_ivp(problem, ts=[0, 0.01], key=jax.random.key(0), max_steps=1, **{**arguments, "fit": None})
    assert len(sol.history) == 1
    assert sol.status in ("finished", "max steps")
