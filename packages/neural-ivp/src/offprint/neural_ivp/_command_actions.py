"""What the commands of `offprint-neural-ivp` do."""

import inspect
import shutil
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import jax
import numpy as np

from offprint.core.program import UsageError, check_output, print_table, write_rows
from offprint.core.train import Checkpoint, Interrupted
from offprint.neural_ivp._command_diagnose import diagnose
from offprint.neural_ivp._command_figures import comparison_figure, draw, spectrum_figure
from offprint.neural_ivp._command_files import (
    IMAGES,
    history_rows,
    measured,
    open_run,
    open_solution,
    start_run,
    summary,
)
from offprint.neural_ivp._command_plan import Plan, plan_of
from offprint.neural_ivp._command_settings import PRESETS, PROBLEMS, read_settings, settings_of
from offprint.neural_ivp._solution import Solution

__all__ = ["Stopped", "compare", "diagnose_run", "list_problems", "plot", "resume", "run"]

SAVE_EVERY = 20
"""Steps between checkpoints of a run."""
SHARED = ("problem", "ic", "domain", "time")
"""Sections that go for all methods of a comparison."""


class Stopped(Exception):
    """A run that was asked to end, or that could not go on."""


def in_float64(action: Callable[[Any], None]) -> Callable[[Any], None]:
    """With JAX's 64-bit types, which the linear systems need, for the time of a command."""

    @wraps(action)
    def inner(command: Any) -> None:
        with jax.enable_x64(True):
            action(command)

    return inner


@in_float64
def run(command: Any) -> None:
    """Solve a problem in a run folder."""
    flags = {"preset": command.preset, **command.settings.flags()}
    settings = read_settings(command.settings.config, flags, command.settings.set)
    plan = plan_of(settings)
    start_run(command.out, settings)
    _solve(command.out, plan, command.figures)


@in_float64
def resume(command: Any) -> None:
    """Go on with a run."""
    _, plan = open_run(command.run)
    _solve(command.run, plan, command.figures)


def _solve(folder: Path, plan: Plan, figures: bool) -> None:
    """A solution, from where it stands in the folder; tables and figures of it."""
    if (folder / "solution.npz").is_file():
        _, _, solution = open_solution(folder)
    else:
        unfinished = folder / "checkpoints"
        try:
            solution = plan.solve(checkpoint=Checkpoint(unfinished, every=SAVE_EVERY, keep=1), progress=True)
        except Interrupted as stop:
            raise Stopped(f"{stop}; offprint-neural-ivp resume {folder} does so too") from None
        solution.save(folder / "writing.npz")  # so that it is there whole or not at all
        (folder / "writing.npz").replace(folder / "solution.npz")
        shutil.rmtree(unfinished, ignore_errors=True)
    rows = measured(solution)
    write_rows(folder / "history.csv", history_rows(solution))
    write_rows(folder / "outputs.csv", rows)
    print_table(plan.problem.name or "problem", rows)
    print_table(summary(solution), [])
    if figures:
        draw(folder, solution, rows)
    if not solution.success:
        raise Stopped(f"the run in {folder} ended early: {solution.message}")


@in_float64
def plot(command: Any) -> None:
    """Figures of a run."""
    _, plan, solution = open_solution(command.run)
    box = plan.problem.domain
    for axis in command.axes if box.dim > 1 else ():
        if not 0 <= axis < box.dim:
            raise UsageError(f"--axes {axis}: the domain has the coordinates 0 to {box.dim - 1}")
    if not 0 <= command.field < plan.problem.n_fields:
        raise UsageError(f"--field {command.field}: the problem has the fields 0 to {plan.problem.n_fields - 1}")
    if command.frames < 2:
        raise UsageError(f"--frames {command.frames}: at least 2 are needed")
    outputs = measured(solution) if command.what in ("all", "errors") else []
    drawn = draw(command.run, solution, outputs, command.what, command.axes, command.field, command.frames)
    print_table("\n".join(map(str, drawn)), [])


@in_float64
def diagnose_run(command: Any) -> None:
    """The linear systems of a run at its output times."""
    for name, value in {"points": command.points, "rank": command.rank}.items():
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: at least 1 is needed")
    _, plan, solution = open_solution(command.run)
    more = {"points": command.points, "rank": command.rank, "mu": command.mu}
    found = [diagnose(plan, solution, i, **more) for i in range(len(solution.ts))]
    rows = [diagnosis.row for diagnosis in found]
    print_table(f"{plan.problem.name}: {solution.thetas.shape[1]} weights", rows)
    write_rows(command.run / "diagnose.csv", rows)
    spectra = [diagnosis.eigenvalues for diagnosis in found]
    names = [f"t = {row['t']:g}" for row in rows]
    write_rows(command.run / "spectrum.csv", (dict(zip(names, row)) for row in np.stack(spectra, axis=1).tolist()))
    spectrum_figure(solution, spectra).savefig(command.run / "spectrum.png")


@in_float64
def compare(command: Any) -> None:
    """The same problem by several methods."""
    check_output(command.out, (".csv",))
    check_output(command.plot, IMAGES)
    methods = [name.strip() for name in command.methods.split(",")]
    for name in methods:
        if name != "neural-ivp" and name not in PRESETS:
            raise UsageError(f"--methods: {name!r} is unknown; there are neural-ivp, {', '.join(PRESETS)}")
    given = command.settings
    plans: dict[str, Plan] = {}
    for name in methods:
        settings = read_settings(given.config, given.flags(), given.set)
        if name != "neural-ivp":
            asked = {section: values for section, values in settings.items() if section in (*SHARED, "seed")}
            sizes = {"network.width": given.width, "sampler.n": given.points, "preset": name}
            settings = read_settings(None, sizes, ()) | asked
        plans[name] = plan_of(settings)
    table: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    solutions: dict[str, Solution] = {}
    for name, plan in plans.items():
        start = time.perf_counter()
        solution = solutions[name] = plan.solve(progress=True)
        seconds = time.perf_counter() - start
        outputs = measured(solution)
        rows += [{"method": name, **row} for row in outputs]
        table.append(_compared(name, solution, outputs, seconds))
    print_table(f"{next(iter(plans.values())).problem.name}, at the last output", table)
    write_rows(command.out, rows)
    if command.plot is not None:
        comparison_figure(solutions, rows).savefig(command.plot)
    for name, solution in solutions.items():
        if not solution.success:
            print_table(f"{name} ended early: {solution.message}", [])


def _compared(name: str, solution: Solution, outputs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    history = solution.history
    return {
        "method": name,
        "weights": solution.thetas.shape[1],
        **outputs[-1],
        "median residual": float(np.median(history["rho_fresh"])) if len(history) else np.nan,
        "steps": len(history),
        "right-hand sides": solution.num_rhs,
        "seconds": seconds,
    }


def list_problems(command: Any) -> None:
    """A table of the problems."""
    rows = []
    for name, maker in PROBLEMS.items():
        what = (inspect.getdoc(maker) or "").splitlines()[0]
        given = [f"{key}={value:g}" for key, value in settings_of(maker).items() if isinstance(value, float | int)]
        others = [key for key, value in settings_of(maker).items() if not isinstance(value, float | int)]
        rows.append({"problem": name, "what": what, "settings": ", ".join([*given, *others])})
    print_table("", rows)
