"""The program offprint-neural-ivp, through its function main: from settings to solutions, tables and figures."""

import csv
import os
import shutil
import signal

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from offprint.neural_ivp import (
    EDNN,
    RK,
    Dense,
    GaussNewtonFit,
    NystromPCG,
    Restart,
    Uniform,
    _command_plan,
    interior_grid,
    load,
    presets,
    problems,
    relative_l2,
)
from offprint.neural_ivp._command import main
from offprint.neural_ivp._command_plan import plan_of
from offprint.neural_ivp._command_settings import PROBLEMS, read_settings

TINY = ["--end", "0.1", "--outputs", "2", "--width", "4", "--points", "100", "--set", "problem.dim=1", "ic.sigma=0.3"]
TINY += ["ic.amp=1", "network.n_freq=2", "fit.steps=10", "fit.points=100", "ode.method=heun", "ode.step=0.025"]
OWN = """
import jax.numpy as jnp
from offprint.neural_ivp import Box, Problem, ops

def problem(speed=1.0):
    return Problem(
        lambda u, x, t: -speed * ops.grad(u, x)[:, 0],
        lambda x: (1 - x**2) ** 2,
        Box([-1], [1]),
        name="mine",
    )

other = problem(2.0)
number = 3
"""


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a finished run, and files to run."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    (folder / "wave.toml").write_text('[problem]\nname = "wave"\ndim = 1\n[restart]\nkind = "at"\ntimes = [0.1]\n')
    (folder / "own.toml").write_text('seed = 3\n[problem]\nname = "own.py"\nspeed = 0.5\n')
    (folder / "bad.toml").write_text("[linear\n")
    (folder / "other.toml").write_text("[solver]\nmu = 1\n")
    assert main(["run", *TINY, "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    """The same folder to work in, with its run left as it is."""
    shutil.copytree(place, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def loaded(folder):
    plan = plan_of(read_settings(None, {}, TINY[9:]) | {"network": {"width": 4, "n_freq": 2}})
    return load(folder / "solution.npz", plan.problem, plan.model)


def test_a_run_holds_a_solution_and_what_was_measured_of_it(here):
    names = {"config.json", "solution.npz", "history.csv", "outputs.csv"}
    names |= {f"{name}.png" for name in ("solution", "errors", "residual", "history")}
    assert {path.name for path in (here / "run").iterdir()} == names
    sol = loaded(here / "run")
    assert sol.success
    rows = table(here / "run" / "outputs.csv")
    assert [float(row["t"]) for row in rows] == sol.ts.tolist() == [0, 0.05, 0.1]
    X = interior_grid(sol.problem.domain, 20_000)
    expected = relative_l2(sol(X, 1)[:, 0], pulse(X, 0.05))
    assert float(rows[1]["relative L2"]) == pytest.approx(float(expected), rel=1e-6)
    assert len(table(here / "run" / "history.csv")) == len(sol.history) == 4


def pulse(X, t):
    """The pulse of the runs, which moves to the left."""
    return np.exp(-((X[:, 0] + t) ** 2) / (2 * 0.3**2))


def test_the_same_command_shows_the_run_and_another_one_is_refused(here, capsys):
    before = (here / "run" / "solution.npz").read_bytes()
    assert main(["run", *TINY, "--no-figures"]) == 0
    printed = capsys.readouterr().out
    assert "relative L2" in printed
    assert "finished at t = 0.1, 65 weights, initial condition fitted to " in printed
    assert (here / "run" / "solution.npz").read_bytes() == before
    assert main(["run", *TINY, "--seed", "1"]) == 2
    assert "the run in run has seed=0, not 1; choose another --out" in capsys.readouterr().err


def test_a_run_that_is_stopped_goes_on_and_ends_in_the_same_weights(here, capsys, monkeypatch):
    solve = _command_plan.solve_ivp

    def stopped(*arguments, **options):
        def stop(event):
            if event.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return solve(*arguments, **options, callbacks=[stop])

    monkeypatch.setattr(_command_plan, "solve_ivp", stopped)
    assert main(["run", *TINY, "--out", "cut"]) == 1
    error = capsys.readouterr().err
    assert "SIGINT" in error
    assert "resume cut" in error
    assert main(["diagnose", "cut"]) == 2
    assert "the run in cut is not finished; resume cut goes on with it" in capsys.readouterr().err
    monkeypatch.setattr(_command_plan, "solve_ivp", solve)
    assert main(["resume", "cut", "--no-figures"]) == 0
    np.testing.assert_array_equal(loaded(here / "cut").thetas, loaded(here / "run").thetas)
    assert not (here / "cut" / "checkpoints").exists()


def test_a_run_that_breaks_off_keeps_what_it_has(here, capsys):
    limits = ["fit.steps=1", "solve.max_residual=1e-9"]
    assert main(["run", *TINY, *limits, "--out", "early"]) == 1
    error = capsys.readouterr().err
    assert "the run in early ended early: the relative residual" in error
    assert len(loaded(here / "early").ts) == 1
    assert (here / "early" / "solution.png").is_file()


def test_figures_of_a_run(here, capsys):
    for what, name in {"solution": "solution.png", "animation": "animation.gif"}.items():
        (here / "run" / name).unlink(missing_ok=True)
        assert main(["plot", "run", "--what", what, "--frames", "3"]) == 0
        assert (here / "run" / name).stat().st_size > 4000
        assert name in capsys.readouterr().out


def test_diagnose_tells_of_every_output(here, capsys):
    assert main(["diagnose", "run", "--rank", "20", "--mu", "1e-5"]) == 0
    assert "advection" in capsys.readouterr().out
    rows = table(here / "run" / "diagnose.csv")
    assert [float(row["t"]) for row in rows] == [0, 0.05, 0.1]
    spectra = table(here / "run" / "spectrum.csv")
    assert len(spectra) == 65
    for row in rows:
        lam = np.array([float(line[f"t = {float(row['t']):g}"]) for line in spectra])
        assert (np.diff(lam) <= 0).all()
        a = 1e-5 * lam[0]
        assert float(row["d_eff"]) == pytest.approx((np.maximum(lam, 0) / (np.maximum(lam, 0) + a)).sum(), rel=1e-2)
        assert int(row["CG"]) < int(row["CG, plain"])
        assert 0 < float(row["residual"]) < 0.2
        assert 0 < float(row["on fresh points"]) < 0.2
    assert (here / "run" / "spectrum.png").stat().st_size > 5000


def test_compare_solves_the_problem_by_every_method(here, capsys):
    command = ["compare", *TINY, "--methods", "neural-ivp,ednn", "--out", "all.csv", "--plot", "all.png"]
    assert main(command) == 0
    assert "right-hand sides" in capsys.readouterr().out
    rows = table(here / "all.csv")
    assert [(row["method"], float(row["t"])) for row in rows] == [
        (method, t) for method in ("neural-ivp", "ednn") for t in (0, 0.05, 0.1)
    ]
    assert rows[1]["relative L2"] == table(here / "run" / "outputs.csv")[1]["relative L2"]  # the same solve
    assert (here / "all.png").stat().st_size > 5000


def test_an_equation_of_ones_own(here, capsys):
    flags = ["--end", "0.05", "--outputs", "1", "--width", "4", "--points", "60", "--no-figures"]
    more = ["network.n_freq=2", "fit.steps=5", "fit.points=100", "ode.method=euler", "ode.step=0.05"]
    assert main(["run", "--config", "own.toml", *flags, "--set", *more, "--out", "mine"]) == 0
    assert "mine" in capsys.readouterr().out
    os.chdir(here.parent)  # the file is found from anywhere
    assert main(["run", "--config", str(here / "own.toml"), *flags, "--set", *more, "--out", str(here / "mine")]) == 0


def test_every_problem_is_listed(capsys):
    assert main(["problems"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PROBLEMS)
    assert len(PROBLEMS) == len(problems.__all__) - 3  # without the two coefficients and the general metric


def test_settings_become_the_arguments_of_the_library(here):
    flags = {"network.width": 4, "restart.kind": "every", "restart.dt": 0.2, "time.end": 1.0}
    assigned = ["linear.kind=pcg", "linear.rank=30", "ode.norm=function", "time.outputs=4", "sampler.kind=sobol"]
    plan = plan_of(read_settings(None, flags, [*assigned, "sampler.n=64", "solve.strict=true"]))
    assert plan.problem.name == problems.advection().name
    assert plan.arguments["linear"] == NystromPCG(rank=30)
    assert plan.arguments["ode"] == RK(norm="function")
    assert plan.arguments["restart"] == Restart.every(0.2)
    assert plan.arguments["strict"] is True
    assert plan.arguments["ts"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    wave = plan_of(read_settings(here / "wave.toml", {"network.width": 4}, ["ic.kind=product-bump"]))
    assert (wave.problem.dim, wave.problem.n_fields) == (1, 2)
    assert wave.problem.ic(jnp.zeros(1)).tolist() == [0.75, 0]
    assert wave.arguments["restart"] == Restart.at([0.1])
    other = read_settings(here / "wave.toml", {"restart.kind": "every", "restart.dt": 0.5}, [])
    assert other["restart"] == {"kind": "every", "dt": 0.5}  # instead of that of the file
    assert plan_of(read_settings(here / "own.toml", {}, [])).arguments["model"].width == 30
    assert plan_of(read_settings(None, {"problem.name": "own.py:other"}, [])).problem.name == "mine"


def test_a_preset_is_that_of_the_library_but_for_what_is_given():
    plan = plan_of(read_settings(None, {"preset": "ednn", "network.width": 5, "sampler.n": 70}, ["problem.dim=1"]))
    assert isinstance(plan.model, EDNN)
    assert plan.model.width == 5
    assert plan.arguments["sampler"] == Uniform(70)
    assert plan.arguments["linear"] == presets.ednn(plan.problem, rngs=nnx.Rngs(0))["linear"]
    step = plan_of(read_settings(None, {"preset": "rsng", "network.width": 5}, ["problem.dim=1", "ode.step=0.1"]))
    assert step.arguments["ode"] == RK("rk4", step=0.1)
    dense = plan_of(read_settings(None, {"preset": "ednn"}, ["linear.kind=dense", "network.anchored=true"]))
    assert dense.arguments["linear"] == Dense()
    assert dense.arguments["fit"] is None
    assert plan_of(read_settings(None, {}, ["fit.steps=7"])).arguments["fit"] == GaussNewtonFit(steps=7)


BAD = {
    "no command": ([], "see offprint-neural-ivp --help"),
    "unknown flag": (["run", "--bogus", "1"], "bogus"),
    "unknown problem": (["run", "--problem", "waves"], "the problem 'waves' is neither one of advection, advection-"),
    "no file": (["run", "--problem", "none.py"], "the problem's file none.py is not there"),
    "no problem in it": (["run", "--problem", "own.py:number"], "needs a Problem, or a function that returns one"),
    "settings for an object": (["run", "--problem", "own.py:other", "--set", "problem.speed=1"], "takes no settings"),
    "no config": (["run", "--config", "none.toml"], "--config none.toml is not there"),
    "no TOML": (["run", "--config", "bad.toml"], "--config bad.toml is not TOML"),
    "section in a file": (["run", "--config", "other.toml"], "other.toml: there is no section 'solver'; there are"),
    "section": (["run", "--set", "solver.mu=1"], "--set solver.mu: there is no section 'solver'"),
    "no section": (["run", "--set", "mu=1"], "'mu' stands alone; only preset and seed do"),
    "no value": (["run", "--set", "linear.mu"], "section.name=value is needed, such as linear.rank=300"),
    "kind": (["run", "--set", "linear.kind=cg"], "[linear] has the unknown kind 'cg'; there are auto, pcg, dense"),
    "setting": (["run", "--set", "linear.ranks=9"], "[linear] has no setting 'ranks'; there are chunk, products, mu"),
    "type": (["run", "--set", "linear.rank=many"], "[linear]: rank='many'; a number is needed"),
    "truth": (["run", "--set", "solve.strict=1"], "[solve]: strict=1; true or false is needed"),
    "mu": (["run", "--set", "linear.mu=0"], "mu=0: M is singular in all but name"),
    "method": (["run", "--set", "ode.method=rk5"], "there is no method 'rk5'"),
    "problem's setting": (["run", "--set", "problem.speed=1"], "[problem] advection has no setting 'speed'; there are"),
    "problem's value": (["run", "--problem", "heat", "--set", "problem.diffusivity=-1"], "diffusivity=-1"),
    "ic": (["run", "--set", "ic.sigma=0"], "sigma=0; widths are positive"),
    "box": (["run", "--set", "domain.lo=[0,0]", "domain.hi=[0,1]"], "a box needs lo < hi in every coordinate"),
    "half a box": (["run", "--set", "domain.lo=[0,0]"], "[domain] needs lo and hi"),
    "times": (["run", "--set", "time.times=[0, 0.2, 0.1]"], "ts must be at least two finite times that ascend"),
    "end": (["run", "--end", "0"], "[time] end=0.0, outputs=5; a time above 0"),
    "seed": (["run", "--seed", "-1"], "seed=-1; a whole number from 0 is needed"),
    "restart": (["run", "--set", "restart.dt=1"], "[restart] needs a kind: never, every, at, when, wallclock"),
    "preset's network": (
        ["run", "--preset", "ednn", "--set", "network.n_freq=2"],
        "n_freq beside a preset: give a kind",
    ),
    "activation": (["run", "--set", "network.activation=sine"], "activation 'sine' is unknown; there are swish, tanh"),
    "anchored": (["run", "--set", "network.anchored=true", "fit.steps=3"], "leave [fit] out"),
    "taken folder": (["run", "--out", "."], "is there and holds no run; choose another --out"),
    "no run": (["resume", "nowhere"], "nowhere holds no run; run --out nowhere makes one"),
    "axes": (["plot", "run", "--axes", "0", "1", "--field", "1"], "--field 1: the problem has the fields 0 to 0"),
    "frames": (["plot", "run", "--what", "animation", "--frames", "1"], "--frames 1: at least 2 are needed"),
    "rank": (["diagnose", "run", "--rank", "0"], "--rank 0: at least 1 is needed"),
    "methods": (["compare", "--methods", "pinn"], "--methods: 'pinn' is unknown; there are neural-ivp, paper, ednn"),
    "output format": (["compare", "--out", "x.txt"], "x.txt has an unknown format; .csv is needed"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(arguments, message, here, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("offprint-neural-ivp: ")
    assert error.count("\n") == 1
