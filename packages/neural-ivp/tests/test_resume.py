"""A run that is cut off and called again ends in the same weights, to the last bit."""

import json

import jax
import numpy as np
import pytest
from flax import nnx

from offprint.core.train import Checkpoint, CheckpointError, JsonlLog
from offprint.neural_ivp import ics, problems
from offprint.neural_ivp._controller import RK
from offprint.neural_ivp._direct import Dense
from offprint.neural_ivp._gauss_newton import GaussNewtonFit
from offprint.neural_ivp._mlp import SinusoidalMLP
from offprint.neural_ivp._restart import Restart
from offprint.neural_ivp._samplers import Uniform
from offprint.neural_ivp._solve import solve_ivp


@pytest.fixture(scope="module")
def arguments():
    problem = problems.advection(ic=ics.gaussian(0.2))
    return {
        "problem": problem,
        "model": SinusoidalMLP(problem.domain, 1, width=4, n_freq=2, rngs=nnx.Rngs(0)),
        "ts": [0.0, 0.05, 0.1],
        "key": jax.random.key(0),
        "fit": GaussNewtonFit(steps=15, points=200),
        "linear": Dense(mu=1e-6),
        "ode": RK("heun", rtol=1e-2, first_step=0.01),
        "sampler": Uniform(150),
        "restart": Restart.at([0.07], tolerance=10.0),
        "max_residual": 10.0,
    }


@pytest.fixture(scope="module")
def whole(arguments):
    return solve_ivp(**arguments)


class Power(Exception):
    """The power is cut."""


def cut_after(steps):
    def cut(event):
        if event.step == steps:
            raise Power

    return cut


def same(a, b):
    for name in ("ts", "thetas", "theta_last"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in a.history.dtype.names:
        np.testing.assert_array_equal(a.history[name], b.history[name])
    timeless = [[{**fit, "seconds": None} for fit in solution.restarts] for solution in (a, b)]
    assert timeless[0] == timeless[1]
    assert (a.status, a.num_rhs) == (b.status, b.num_rhs)


def test_the_same_key_gives_the_same_bits(whole, arguments):
    same(whole, solve_ivp(**arguments))
    assert [fit["t"] for fit in whole.restarts] == [0.0, pytest.approx(0.07)]


@pytest.mark.parametrize("where", ["before the restart", "after the restart"])
def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_been(where, whole, arguments, tmp_path):
    before = int((whole.history["t"] < 0.07 - 1e-9).sum())
    steps = before - 1 if where == "before the restart" else before + 1
    checkpoint = Checkpoint(tmp_path / "run", every=1)
    with pytest.raises(Power):
        solve_ivp(**arguments, checkpoint=checkpoint, callbacks=[cut_after(steps)])
    seen = []
    log = JsonlLog(tmp_path / "log.jsonl")
    again = solve_ivp(**arguments, checkpoint=checkpoint, callbacks=[lambda e: seen.append(e.step), log])
    same(whole, again)
    assert seen == list(range(steps, len(whole.history) + 1))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == seen


def test_a_finished_run_is_only_read(whole, arguments, tmp_path):
    same(whole, solve_ivp(**arguments, checkpoint=tmp_path / "run"))
    steps = []
    again = solve_ivp(**arguments, checkpoint=tmp_path / "run", callbacks=[lambda event: steps.append(event.step)])
    same(whole, again)
    assert not steps
    assert [fit["seconds"] for fit in again.restarts] != [fit["seconds"] for fit in whole.restarts]


def test_another_run_does_not_go_on_from_it(whole, arguments, tmp_path):
    solve_ivp(**arguments, checkpoint=tmp_path / "run", max_steps=1)
    with pytest.raises(CheckpointError, match="of a run with other settings"):
        solve_ivp(**{**arguments, "ts": [0.0, 0.05, 0.11]}, checkpoint=tmp_path / "run")
    with pytest.raises(CheckpointError, match="of a run with other key"):
        solve_ivp(**{**arguments, "key": jax.random.key(1)}, checkpoint=tmp_path / "run")
    other = SinusoidalMLP(arguments["problem"].domain, 1, width=5, n_freq=2, rngs=nnx.Rngs(0))
    with pytest.raises(CheckpointError, match="is of another model"):
        solve_ivp(**{**arguments, "model": other}, checkpoint=tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds a run already, and resume=False"):
        solve_ivp(**arguments, checkpoint=Checkpoint(tmp_path / "run", resume=False))
